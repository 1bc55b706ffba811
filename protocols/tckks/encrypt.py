"""Encryption of digit blocks under the joint key.

Spec: tckks §4 (v1). Everything follows from `rand`, the key and the message, byte for byte, whatever computes it:

    seed = SHAKE-256("secure-bfl/encrypt/v2" || key digest || block || rand, 32), one for each block
    u ternary, e0 and e1 centred binomial, in this order, from the ChaCha20 stream of the seed
    (z0, z1) = (b*u + e0, a*u + e1) / p, rounded, p the special prime
    (c0, c1) = (z0 + Delta*M, z1), in NTT form

The division needs the representative r of b*u + e0 modulo p in (-p/2, p/2), which the special prime's row alone gives:
z0 = (b/p)*u + (e0 - r)/p modulo every data prime. So u is transformed once, and e0 - r only with the message.
"""

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from .. import _seal
from ..arrays import Int64Array, UInt64Array
from ..digits import DigitBlocks, DigitLayout
from ..ring import Engine, Ring, engine, ring
from ..sampling import Keystream
from ..suites import Suite
from ..workers import in_processes, in_threads
from . import wire
from .keygen import centred_binomial, ternary
from .keys import JointKey
from .noise import NoiseBudget
from .vector import EncryptedVector

if TYPE_CHECKING:
    from .._encryption import FusedEncryption

__all__ = ["RAND_BYTES", "EncryptedVector", "Encryptor", "SealBuild", "check_suite", "message_residues", "seal_build"]

RAND_BYTES: Final = 32
_LABEL: Final = b"secure-bfl/encrypt/v2"
_EXACT_BITS: Final = 48  # every product of a residue and such an integer is exact (`ring`)


@dataclass(frozen=True, slots=True)
class SealBuild:
    """The SEAL that is installed here: its version, and how its ciphertexts are read."""

    version: str
    memory_file: bool


def seal_build() -> SealBuild:
    """Ask SEAL. Run by: anyone."""
    return SealBuild(_seal.version(), _seal.HAS_MEMFD)


def check_suite(suite: Suite) -> None:
    """Refuse a suite that SEAL does not accept at 128-bit security.

    Raises:
        ValueError: SEAL refuses it.
    """
    if not _seal.accepts(suite):
        raise ValueError(f"SEAL refuses suite {suite.name} at 128-bit security")


def message_residues(polynomials: Ring, digits: DigitBlocks, scale: int, block: int) -> UInt64Array:
    """scale * sum of digit_d * 2^(width*d), coefficient by coefficient, uint64[K, N], coefficient form."""
    return _message(polynomials, digits.digits[block], digits.layout.width, scale)


def _message(polynomials: Ring, digits: Int64Array, width: int, scale: int) -> UInt64Array:
    """Digits are joined to integers of at most 48 bits, each of which is one product for every prime."""
    joined, half = max(1, _EXACT_BITS // width), 1 << (_EXACT_BITS - 1)
    q = np.array(polynomials.primes, dtype=np.uint64)[:, None]
    total = np.zeros((len(q), polynomials.degree), dtype=np.uint64)
    lift = 0  # what is added to make the integers non-negative
    for first in range(0, len(digits), joined):
        group = sum(digit << np.int64(width * d) for d, digit in enumerate(digits[first : first + joined]))
        lifted = (group + np.int64(half)).astype(np.uint64)[None]
        weight = scale << (width * first)
        total += polynomials.multiply(lifted, polynomials.constant(weight))
        lift += half * weight
    return polynomials.subtract(total % q, np.broadcast_to(polynomials.constant(lift), total.shape))


def stream_bytes(degree: int) -> int:
    """How much of the stream one block takes: candidates for u, then e0, then e1."""
    return degree + degree // 8 + 256 + 16 * degree


@dataclass(frozen=True, slots=True, eq=False)
class _BlockPlan:
    """What every block of a key needs, in plain values: it may go to another process."""

    suite: Suite
    divided: UInt64Array  # [2, K, N]: (b, a) over the special prime, modulo the data primes
    special: UInt64Array  # [2, N]: (b, a) modulo the special prime
    width: int
    scale: int
    compute: Engine

    @classmethod
    def of(cls, key: JointKey, width: int, scale: int, compute: Engine) -> "_BlockPlan":
        suite, columns = key.suite, np.stack([key.b, key.a])
        data = ring(suite.ring_degree, suite.data_primes, compute=compute)
        inverse = data.constant(pow(suite.special_prime, -1, data.modulus))
        return cls(suite, data.multiply(columns[:, :-1], inverse), columns[:, -1], width, scale, compute)

    def encrypted(self, digits: Int64Array, seed: bytes) -> UInt64Array:
        """One ciphertext uint64[2, K, N], by the ring's own operations: what the fused engine is compared with."""
        suite, n = self.suite, self.suite.ring_degree
        data, p = ring(n, suite.data_primes, compute=self.compute), suite.special_prime
        special = ring(n, (p,), compute="numpy")  # three transforms, too short to be worth a way through SEAL
        stream = Keystream(seed, purpose=b"encrypt")
        u = ternary(stream.read(n + n // 8 + 256), n)
        u_special, u_data = special.ntt(special.reduce(u)), data.ntt(data.reduce(u))
        inverse, payloads = data.constant(pow(p, -1, data.modulus)), []
        for column, message in zip(self.special, (digits, None), strict=True):
            error = centred_binomial(stream.read(8 * n))
            product = special.inverse_ntt(special.multiply(column[None], u_special))[0].astype(np.int64)
            remainder = (product + error + p // 2) % p - p // 2
            payload = data.multiply(data.reduce(error - remainder), inverse)
            if message is not None:
                payload = data.add(payload, _message(data, message, self.width, self.scale))
            payloads.append(payload)
        return data.add(data.multiply(self.divided, u_data), data.ntt(np.stack(payloads)))


_PLAN: list[_BlockPlan] = []  # of a worker process, which serves one call


def _start(plan: _BlockPlan) -> None:
    _PLAN.append(plan)


def _encrypted(digits: Int64Array, seed: bytes) -> UInt64Array:
    return _PLAN[0].encrypted(digits, seed)


class Encryptor:
    """The joint key, loaded once, ready to encrypt. Run by: a client.

    `compute` forces an engine; the bytes are the same.
    """

    _engine: "FusedEncryption | _BlockPlan"

    def __init__(
        self, key: JointKey, budget: NoiseBudget, layout: DigitLayout, *, compute: Engine | None = None
    ) -> None:
        if budget.suite != key.suite or budget.addends != key.founding.addends:
            raise ValueError("the noise budget is for another key")
        if (
            layout.coefficients != key.suite.ring_degree
            or layout.width * layout.per_coefficient > budget.plaintext_bits
        ):
            raise ValueError("the digit layout does not fit the noise budget")
        self._key, self._layout = key, layout
        chosen = compute or engine()
        if chosen != "numba":
            self._engine = _BlockPlan.of(key, layout.width, budget.scale, chosen)
        else:
            from .._encryption import FusedEncryption

            full = ring(key.suite.ring_degree, key.suite.key_primes, compute="numba")
            kept = len(key.suite.answer_primes)
            self._engine = FusedEncryption(full, key.b, key.a, layout, budget.scale, kept)

    @property
    def suite(self) -> Suite:
        """The suite of that key."""
        return self._key.suite

    @property
    def key_digest(self) -> bytes:
        """The digest of the joint key it encrypts under."""
        return self._key.digest

    def _seed(self, block: int, rand: bytes) -> bytes:
        label = _LABEL + self._key.digest + block.to_bytes(4, "little")
        return hashlib.shake_256(label + rand).digest(32)

    def encrypt(self, digits: DigitBlocks, *, rand: bytes, workers: int = 1) -> EncryptedVector:
        """Encrypt every block with its own randomness.

        `rand` is 32 fresh bytes of the operating system, used for this call and never again: the blocks' seeds are
        derived from it, and the same `rand` on two messages would give away their difference. The result does not
        depend on `workers`: threads of the compiled engine, processes of the others.

        Raises:
            ValueError: `rand` has another length, the digits another layout, or there is no worker.
        """
        if len(rand) != RAND_BYTES:
            raise ValueError(f"encrypt needs {RAND_BYTES} fresh random bytes")
        if digits.layout != self._layout:
            raise ValueError("the digits have another layout")
        suite, blocks = self._key.suite, len(digits.digits)
        seeds = [self._seed(block, rand) for block in range(blocks)]
        fused = self._engine
        if isinstance(fused, _BlockPlan):
            return EncryptedVector(suite, self._key.digest, self._residues(fused, digits.digits, seeds, workers))
        size, n = EncryptedVector.encoded_size(suite, blocks), suite.ring_degree
        head = wire.header(wire.WireKind.CIPHERTEXT, 2 * blocks, n, self._key.digest)
        message = wire.Message(size, head)
        each = 2 * n * sum(suite.residue_bytes)

        def encrypt_share(share: range) -> None:
            octets = message.octets
            with fused.scratch() as scratch:
                for block in share:
                    stream = Keystream(seeds[block], purpose=b"encrypt").read(stream_bytes(n))
                    fused.write(digits.digits[block], stream, octets, wire.HEADER_BYTES + each * block, scratch)

        in_threads(encrypt_share, blocks, workers=workers)
        return EncryptedVector.of_bytes(suite, self._key.digest, message.finish(), blocks)

    def _residues(self, plan: _BlockPlan, digits: Int64Array, seeds: list[bytes], workers: int) -> UInt64Array:
        given = list(zip(digits, seeds, strict=True))
        if workers <= 1 or len(given) <= 1:
            made = [plan.encrypted(*one) for one in given]
        else:
            made = in_processes(_encrypted, given, workers=workers, start=_start, state=(plan,))
        shape = (0, 2, len(self._key.suite.data_primes), self._key.suite.ring_degree)
        return np.stack(made) if made else np.empty(shape, dtype=np.uint64)

    def encrypt_block(self, digits: Int64Array, block: int, *, rand: bytes) -> bytes:
        """One block of `encrypt`, for messages too long for memory: the bytes of its ciphertext, without a header.

        Shapes: digits int64[k, N]. The same `rand` serves all blocks of one message, each block once.

        Raises:
            ValueError: a length, shape or digit is not what the layout calls for, or the block's number is negative.
        """
        if not 0 <= block < 1 << 32:
            raise ValueError(f"a block has a 32-bit number, not {block}")
        one = DigitBlocks(self._layout, digits[None])
        if len(rand) != RAND_BYTES:
            raise ValueError(f"encrypt needs {RAND_BYTES} fresh random bytes")
        suite, n, seed = self._key.suite, self._key.suite.ring_degree, self._seed(block, rand)
        fused = self._engine
        if isinstance(fused, _BlockPlan):
            residues = fused.encrypted(one.digits[0], seed)
            encoded = EncryptedVector(suite, self._key.digest, residues[None]).encode()
            return encoded[wire.HEADER_BYTES :]
        message = wire.Message(2 * n * sum(suite.residue_bytes), b"")
        with fused.scratch() as scratch:
            stream = Keystream(seed, purpose=b"encrypt").read(stream_bytes(n))
            fused.write(one.digits[0], stream, message.octets, 0, scratch)
        return message.finish()
