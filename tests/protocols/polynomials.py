"""Polynomials for the tests: random, adversarial, and multiplied by big integers alone."""

import numpy as np

from protocols.arrays import UInt64Array


def random_residues(seed: int, degree: int, primes: tuple[int, ...]) -> UInt64Array:
    generator = np.random.default_rng(seed)
    return np.stack([generator.integers(0, q, degree, dtype=np.uint64) for q in primes])


def adversarial_residues(seed: int, degree: int, primes: tuple[int, ...]) -> UInt64Array:
    """Residues where a float quotient is most easily wrong: around 0, q/2 and q."""
    generator = np.random.default_rng(seed)
    rows = []
    for q in primes:
        edges = [0, 1, 2, q - 1, q - 2, q // 2, q // 2 + 1, (1 << (q.bit_length() - 1)) - 1, 1 << (q.bit_length() - 1)]
        rows.append(generator.choice(np.array(edges, dtype=np.uint64), degree))
    return np.stack(rows)


def negacyclic_product(x: UInt64Array, y: UInt64Array, q: int) -> list[int]:
    """x * y in Z_q[X]/(X^n + 1) by one product of two big integers (Kronecker substitution)."""
    n = len(x)
    width = (2 * q.bit_length() + n.bit_length() + 7) // 8
    left, right = (int.from_bytes(b"".join(int(c).to_bytes(width, "little") for c in p), "little") for p in (x, y))
    raw = (left * right).to_bytes(2 * n * width, "little")
    full = [int.from_bytes(raw[i * width : (i + 1) * width], "little") for i in range(2 * n)]
    return [(full[i] - full[n + i]) % q for i in range(n)]
