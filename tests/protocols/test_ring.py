"""The ring against Python's integers and against SEAL."""

from collections.abc import Callable

import numpy as np
import pytest

from protocols.arrays import UInt64Array
from protocols.ring import MAX_PRIME_BITS, Ring, is_prime, ring
from protocols.suites import RING_DEGREES, suite
from tests.protocols.polynomials import adversarial_residues, negacyclic_product, random_residues
from tests.protocols.seal import SealRing

EVERY_PRIME = tuple(dict.fromkeys(q for degree in RING_DEGREES for q in suite(degree).key_primes))
SMALL = 256  # every suite's primes are 1 modulo 512 too


@pytest.fixture(scope="module")
def small() -> Ring:
    return Ring(SMALL, EVERY_PRIME)


def product(polynomials: Ring, x: UInt64Array, y: UInt64Array) -> UInt64Array:
    return polynomials.inverse_ntt(polynomials.multiply(polynomials.ntt(x), polynomials.ntt(y)))


def test_the_oracle_is_the_schoolbook_product() -> None:
    q, n = 65537, 8
    x, y = random_residues(1, n, (q,))[0], random_residues(2, n, (q,))[0]
    expected = [0] * n
    for i in range(n):
        for j in range(n):
            sign = 1 if i + j < n else -1
            expected[(i + j) % n] = (expected[(i + j) % n] + sign * int(x[i]) * int(y[j])) % q
    assert negacyclic_product(x, y, q) == expected


@pytest.mark.parametrize("make", [random_residues, adversarial_residues])
def test_products_equal_big_integers_for_every_prime_of_every_suite(
    make: Callable[[int, int, tuple[int, ...]], UInt64Array], small: Ring
) -> None:
    x, y = make(1, SMALL, EVERY_PRIME), make(2, SMALL, EVERY_PRIME)
    for q, got, a, b in zip(EVERY_PRIME, product(small, x, y), x, y, strict=True):
        assert got.tolist() == negacyclic_product(a, b, q), q


@pytest.mark.parametrize(("degree", "rows"), [(8192, slice(None)), (16384, slice(-3, None)), (32768, slice(-2, None))])
def test_products_equal_big_integers_at_the_suites_degrees(degree: int, rows: slice) -> None:
    primes = suite(degree).key_primes[rows]
    polynomials = ring(degree, primes)
    for make in (random_residues, adversarial_residues):
        x, y = make(3, degree, primes), make(4, degree, primes)
        for q, got, a, b in zip(primes, product(polynomials, x, y), x, y, strict=True):
            assert got.tolist() == negacyclic_product(a, b, q), q


@pytest.mark.parametrize("q", EVERY_PRIME)
def test_the_product_of_residues_is_exact_at_the_edges(q: int) -> None:
    polynomials = Ring(SMALL, (q,))
    near = [0, 1, 2, 3, q - 1, q - 2, q - 3, q // 2, q // 2 + 1, q // 3, (1 << (q.bit_length() - 1)) - 1]
    x, y = np.array([[(a, b) for b in near] for a in near], dtype=np.uint64).reshape(-1, 2).T
    got = polynomials.multiply(x[None], y[None])[0]
    assert got.tolist() == [a * b % q for a, b in zip(x.tolist(), y.tolist(), strict=True)]
    assert polynomials.add(x[None], y[None])[0].tolist() == [
        (a + b) % q for a, b in zip(x.tolist(), y.tolist(), strict=True)
    ]
    assert polynomials.subtract(x[None], y[None])[0].tolist() == [
        (a - b) % q for a, b in zip(x.tolist(), y.tolist(), strict=True)
    ]


def test_the_product_is_exact_where_the_quotient_is_an_integer_or_just_below() -> None:
    """x*y = h*q + r with r = 0, 1, q-1: the float quotient rounds across the integer there."""
    for q in EVERY_PRIME:
        inverse = [pow(x, -1, q) for x in range(q - 40, q)]
        x = np.array([range(q - 40, q)], dtype=np.uint64)
        polynomials = Ring(SMALL, (q,))
        assert set(polynomials.multiply(x, np.array([inverse], dtype=np.uint64))[0].tolist()) == {1}
        minus = np.array([[q - v for v in inverse]], dtype=np.uint64)
        assert set(polynomials.multiply(x, minus)[0].tolist()) == {q - 1}


@pytest.mark.parametrize("degree", RING_DEGREES)
def test_the_inverse_transform_inverts(degree: int) -> None:
    primes = suite(degree).data_primes[-2:]
    polynomials = ring(degree, primes)
    for x in (random_residues(5, degree, primes), adversarial_residues(6, degree, primes)):
        kept = x.copy()
        assert np.array_equal(polynomials.inverse_ntt(polynomials.ntt(x)), x)
        assert np.array_equal(polynomials.ntt(polynomials.inverse_ntt(x)), x)
        assert np.array_equal(x, kept)  # the argument is not changed


@pytest.mark.parametrize("degree", [8192, 16384])
def test_the_transform_and_the_product_are_seals_bit_for_bit(degree: int) -> None:
    seal_ring, primes = SealRing(suite(degree)), suite(degree).data_primes
    polynomials = ring(degree, primes)
    for make in (random_residues, adversarial_residues):
        x = np.stack([make(7, degree, primes), make(8, degree, primes)])
        assert np.array_equal(seal_ring.ntt(x), np.stack([polynomials.ntt(p) for p in x]))
        ours = polynomials.multiply(x[0], x[1])
        assert np.array_equal(seal_ring.product(x[0], x[1]), ours)


def test_seals_encryption_and_seals_decryptor_agree_with_this_ring() -> None:
    parameters = suite(8192)
    seal_ring, data = SealRing(parameters), ring(8192, parameters.data_primes)
    secret, ciphertext, decrypted = seal_ring.encryption_of_zero()
    opened = data.add(ciphertext[0], data.multiply(ciphertext[1], secret[:-1]))
    assert np.array_equal(opened, decrypted)
    full = ring(8192, parameters.key_primes)
    assert set(full.compose(full.inverse_ntt(secret)).tolist()) == {-1, 0, 1}
    error = data.compose(data.inverse_ntt(opened)).astype(np.float64)
    assert np.std(error) == pytest.approx(21.33, rel=0.05)  # sqrt(2N/36), rounding when the special prime is dropped


def test_leading_axes_are_blocks(small: Ring) -> None:
    x = np.stack([random_residues(s, SMALL, EVERY_PRIME) for s in (1, 2)])
    y = random_residues(3, SMALL, EVERY_PRIME)
    for operation in (small.add, small.subtract, small.multiply):
        assert np.array_equal(operation(x, y), np.stack([operation(p, y) for p in x]))


def test_reduce_of_negative_and_extreme_values(small: Ring) -> None:
    values = np.array([0, 1, -1, -2, 5, (1 << 62), -(1 << 62), (1 << 63) - 1, -(1 << 63)], dtype=np.int64)
    padded = np.zeros(SMALL, dtype=np.int64)
    padded[: len(values)] = values
    for q, row in zip(EVERY_PRIME, small.reduce(padded), strict=True):
        assert row.tolist() == [v % q for v in padded.tolist()]
    assert small.reduce(np.stack([padded, padded])).shape == (2, len(EVERY_PRIME), SMALL)


def test_constant_of_any_integer(small: Ring) -> None:
    for value in (0, 1, -1, 1 << 200, -(1 << 300) + 7):
        assert small.constant(value)[:, 0].tolist() == [value % q for q in EVERY_PRIME]


@pytest.mark.parametrize("degree", RING_DEGREES)
def test_compose_at_the_boundaries(degree: int) -> None:
    primes = suite(degree).data_primes
    polynomials = Ring(SMALL, primes)
    modulus = polynomials.modulus
    half = (modulus - 1) // 2
    values = [0, 1, -1, half, -half, half - 1, 1 - half, modulus // 3, -modulus // 3, 2**90, -(2**90)]
    values += [0] * (SMALL - len(values))
    residues = np.array([[v % q for v in values] for q in primes], dtype=np.uint64)
    assert polynomials.compose(residues).tolist() == values
    beyond = np.array([[(half + 1) % q] * SMALL for q in primes], dtype=np.uint64)
    assert set(polynomials.compose(beyond).tolist()) == {-half}  # Q/2 and above is negative


def test_the_ring_is_cached() -> None:
    primes = suite(8192).data_primes
    assert ring(8192, primes) is ring(8192, primes)


@pytest.mark.parametrize(
    ("degree", "primes", "message"),
    [
        (100, (65537,), "power of two"),
        (128, (65537,), "at least 256"),
        (384, (65537,), "power of two"),
        (256, (), "at least one"),
        (256, (65537, 65537), "distinct"),
        (256, (12289, 12290), "12290 is not a prime"),
        (256, (65539,), "q = 1 mod 512"),
        (256, (513,), "513 is not a prime"),
        (256, ((1 << 48) + 512 * 29 + 1,), "at most 48 bits"),
    ],
)
def test_refusals(degree: int, primes: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Ring(degree, primes)


def test_primality_against_a_sieve_and_known_pseudoprimes() -> None:
    sieve = [True] * 5000
    sieve[0] = sieve[1] = False
    for i in range(2, 71):
        for j in range(i * i, 5000, i):
            sieve[j] = False
    assert [is_prime(n) for n in range(5000)] == sieve
    assert not is_prime(-7)
    # Carmichael numbers, and the smallest strong pseudoprimes to the first 1, 4 and 9 bases (OEIS A014233).
    assert not any(is_prime(n) for n in (561, 41041, 2047, 3215031751, 3825123056546413051))
    assert is_prime((1 << 61) - 1)
    assert not is_prime(((1 << 31) - 1) ** 2)


def test_the_primes_leave_the_float_quotient_room() -> None:
    assert max(q.bit_length() for q in EVERY_PRIME) == MAX_PRIME_BITS
