"""Readers of the package `protocols`: polynomials, ciphertexts, answers, fingerprints, sub-shares, TenSEAL's vectors.

The ring is small (256 coefficients over the primes of a real suite), so that many inputs can be read; no bound and no
check of a reader depends on it.
"""

import hashlib
import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from random import Random

import numpy as np
import zstandard

from protocols.arrays import UInt64Array
from protocols.errors import BadShareError, DecodeError, KeyGenerationError
from protocols.suites import residue_bytes
from protocols.tckks import (
    Ceremony,
    EncryptedVector,
    JointKey,
    PartialDecryption,
    ReplicatedSharing,
    ShamirSharing,
    aggregate,
)
from protocols.tckks import _tenseal_bytes as tenseal_bytes
from protocols.tckks.aggregate import Adder
from protocols.tckks.compat import SCALE_BITS, read_vector
from protocols.tckks.crosscheck import challenge_weights, check_answer, fingerprint, fingerprint_bytes
from protocols.tckks.degree import DegreeProof, check_subshare
from protocols.tckks.keygen import PieceSeed, check_piece, derive_piece, join
from protocols.tckks.subshare import SubShare
from protocols.tckks.wire import HEADER_BYTES, WireKind, decode, encode
from tests.fuzz.mutation import altered
from tests.fuzz.target import Target
from tests.protocols.tckks.dealt import SMALL, Dealt, dealt

DEGREE, PRIMES = SMALL.ring_degree, SMALL.data_primes
SHARING = ReplicatedSharing(3, 2)
CONTEXT = bytes(range(32))
BLOCKS = 2
Reshape = Callable[[Random, bytes], bytes]


def uniform(words: str, shape: tuple[int, ...], primes: tuple[int, ...]) -> UInt64Array:
    """Uniform residues uint64[*shape, K, N]."""
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(words.encode()).digest(), "little"))
    rows = [rng.integers(0, q, (*shape, DEGREE), dtype=np.uint64) for q in primes]
    return np.stack(rows, axis=-2)


@cache
def joint_key() -> JointKey:
    b, a = (uniform(name, (), SMALL.key_primes) for name in "ba")
    return JointKey(SMALL, SHARING, b, a)


def other_residues(primes: tuple[int, ...], degree: int = DEGREE) -> Reshape:
    """Changes of residues after the header that no check of length or header sees: at, below and above the prime."""
    rows, at = [], 0
    for q, width in zip(primes, residue_bytes(primes), strict=True):
        rows.append((q, width, at))
        at += width * degree

    def reshape(rng: Random, data: bytes) -> bytes:
        changed = bytearray(data)
        polynomials = max(1, (len(data) - HEADER_BYTES) // at)
        for _ in range(rng.choice((1, 1, 3, 20))):
            q, width, start = rng.choice(rows)
            place = HEADER_BYTES + rng.randrange(polynomials) * at + start
            match rng.randrange(5):
                case 0:  # a whole row of one value: all zero, or beyond the prime
                    changed[place : place + width * degree] = (
                        rng.choice((0, 1, q - 1, q)).to_bytes(width, "little") * degree
                    )
                case 1:
                    where = rng.randrange(HEADER_BYTES)
                    changed[where] ^= 1 << rng.randrange(8)
                case _:
                    value = rng.choice((0, 1, q - 2, q - 1, q - 1, q, q + 1, (1 << 8 * width) - 1)) % (1 << 8 * width)
                    place += width * rng.choice((0, 1, degree - 1, rng.randrange(degree)))
                    changed[place : place + width] = value.to_bytes(width, "little")
        return bytes(changed[: len(data)])

    return reshape


# Polynomials, ciphertexts, answers


def plainly_read(data: bytes, header: bytes, polynomials: int, primes: tuple[int, ...]) -> UInt64Array | None:
    """The residues uint64[polynomials, K, N] of a message, or None if it is not one: byte by byte, without engine."""
    widths = residue_bytes(primes)
    if len(data) != HEADER_BYTES + polynomials * DEGREE * sum(widths) or data[:HEADER_BYTES] != header:
        return None
    octets = np.frombuffer(data, dtype=np.uint8, offset=HEADER_BYTES).astype(np.uint64)
    found, at = np.zeros((polynomials, len(primes), DEGREE), dtype=np.uint64), 0
    for polynomial in found:
        for row, width in zip(polynomial, widths, strict=True):
            for byte in range(width):
                row |= octets[at + byte : at + width * DEGREE : width] << np.uint64(8 * byte)
            at += width * DEGREE
    return found if (found < np.array(primes, dtype=np.uint64)[:, None]).all() else None


def read_polynomials(data: bytes) -> None:
    """The wire format by itself."""
    expected = plainly_read(data, polynomial_seeds()[0][:HEADER_BYTES], BLOCKS, PRIMES)
    try:
        residues = decode(WireKind.PUBLIC_PART, data, PRIMES, polynomials=BLOCKS, degree=DEGREE, context=CONTEXT)
    except DecodeError:
        assert expected is None, "refused without reason"
        raise
    assert expected is not None
    assert np.array_equal(residues, expected)
    assert encode(WireKind.PUBLIC_PART, residues, PRIMES, context=CONTEXT) == data


@cache
def polynomial_seeds() -> Sequence[bytes]:
    zero = np.zeros((BLOCKS, len(PRIMES), DEGREE), dtype=np.uint64)
    top = zero + np.array(PRIMES, dtype=np.uint64)[:, None] - np.uint64(1)
    shapes = (zero, top, uniform("p", (BLOCKS,), PRIMES))
    return tuple(encode(WireKind.PUBLIC_PART, residues, PRIMES, context=CONTEXT) for residues in shapes)


def read_ciphertexts(data: bytes) -> None:
    expected = plainly_read(data, ciphertext_seeds()[0][:HEADER_BYTES], 2 * BLOCKS, PRIMES)
    if expected is not None and not expected[1::2].any(axis=-1).all():
        expected = None  # a second polynomial is zero modulo a prime
    try:
        vector = EncryptedVector.decode(data, joint_key(), blocks=BLOCKS, sender="client-2")
    except DecodeError as exc:
        if expected is not None or exc.culprits != ("client-2",):
            raise AssertionError("refused without reason, or nobody is blamed") from exc
        raise
    assert expected is not None
    assert np.array_equal(vector.residues.reshape(expected.shape), expected)
    assert EncryptedVector(SMALL, joint_key().digest, vector.residues).encode() == vector.encode() == data


def add_ciphertexts(data: bytes) -> None:
    """To a sum that holds one message already, and must not change if this one is refused."""
    adder, own = Adder(joint_key(), BLOCKS, most=2), ciphertexts("own")
    adder.add(own.encode(), sender="client-1")
    try:
        adder.add(data, sender="client-2")
    except DecodeError as exc:
        if exc.culprits != ("client-2",) or not np.array_equal(adder.total().residues, own.residues):
            raise AssertionError("what was refused is in the sum, or nobody is blamed") from exc
        raise
    theirs = EncryptedVector.decode(data, joint_key(), blocks=BLOCKS, sender="client-2")
    assert adder.total().encode() == aggregate([theirs, own], most=2).encode()


@cache
def ciphertext_seeds() -> Sequence[bytes]:
    return [ciphertexts(name).encode() for name in ("one", "two")]


@cache
def ciphertexts(name: str) -> EncryptedVector:
    return EncryptedVector(SMALL, joint_key().digest, uniform(name, (BLOCKS, 2), PRIMES))


def read_answer(data: bytes) -> None:
    answer = PartialDecryption.decode(data, joint_key(), sender="member-1", blocks=BLOCKS)
    assert answer.encode() == data


def honest_answer() -> PartialDecryption:
    return PartialDecryption(SMALL, joint_key().digest, uniform("answer", (BLOCKS,), SMALL.answer_primes))


def answer_seeds() -> Sequence[bytes]:
    return [honest_answer().encode()]


# Fingerprints of the answers of two pieces


def read_fingerprints(data: bytes) -> None:
    """The first half is the fingerprint of one piece, the second half that of the other."""
    size = fingerprint_bytes(SMALL)
    stated = {0: data[:size], 1: data[size:]}
    check_answer("member-1", honest_answer(), challenge_weights(CONTEXT, BLOCKS, DEGREE), (0, 1), stated)
    total = [
        sum(pair) for pair in zip(*(struct.unpack(f"<{size // 8}Q", part) for part in stated.values()), strict=True)
    ]
    repetitions = size // (8 * len(SMALL.answer_primes))
    honest = struct.unpack(f"<{size // 8}Q", fingerprint_of(honest_answer().residues))
    assert all((a - b) % q == 0 for a, b, q in zip(total, honest, SMALL.answer_primes * repetitions, strict=True))


def fingerprint_of(residues: UInt64Array) -> bytes:
    return fingerprint(SMALL, residues, challenge_weights(CONTEXT, BLOCKS, DEGREE))


def fingerprint_seeds() -> Sequence[bytes]:
    one, column = (
        uniform("piece", (BLOCKS,), SMALL.answer_primes),
        np.array(SMALL.answer_primes, dtype=np.uint64)[:, None],
    )
    other = (honest_answer().residues + column - one) % column
    return [fingerprint_of(one) + fingerprint_of(other)]


def other_fingerprints(rng: Random, data: bytes) -> bytes:
    """One residue more here, one less there, with or without a wrap around the prime: the sum may stay right."""
    words = list(struct.unpack(f"<{len(data) // 8}Q", data[: len(data) // 8 * 8]))
    if len(words) < 2:
        return altered(rng, data)
    at = rng.randrange(len(words) // 2)
    q = SMALL.answer_primes[at % len(SMALL.answer_primes)]
    step = rng.choice((1, q, q - 1, rng.randrange(q)))
    for place, sign in ((at, 1), (at + len(words) // 2, rng.choice((-1, -1, 1)))):
        words[place] = (words[place] + sign * step) % rng.choice((q, q, q, 1 << 64))
    return struct.pack(f"<{len(words)}Q", *words)


# Public parts of the key


@cache
def ceremony() -> tuple[Ceremony, tuple[PieceSeed, ...], dict[int, bytes]]:
    made = Ceremony(SMALL, SHARING, CONTEXT)
    seeds = tuple(PieceSeed(i, bytes([i]) * 32) for i in range(SHARING.addends))
    return made, seeds, {seed.piece: derive_piece(made, seed)[1] for seed in seeds}


def read_public_part(data: bytes) -> None:
    """As everybody does, who sums it, and as a holder does, who has its seed."""
    made, seeds, parts = ceremony()
    joined = join(made, {**parts, 1: data})
    assert joined.digest == join(made, parts).digest or data != parts[1]
    check_piece(made, seeds[1], data)
    assert data == parts[1]


def public_part_seeds() -> Sequence[bytes]:
    return [ceremony()[2][1]]


# Sub-shares and the degree test

REPLICATED, TESTED = ReplicatedSharing(4, 2), ShamirSharing(8, 4)
SEED_PIECE, BOUND_PIECE = 0, 5  # the first travels as a seed, the other in full, with the masks of the degree test


@cache
def dealing(*, tested: bool) -> Dealt:
    return dealt(TESTED if tested else REPLICATED, "fuzz", tested)


def subshare_reader(piece: int, *, tested: bool) -> Callable[[bytes], None]:
    def read(data: bytes) -> None:
        subshare = SubShare.decode(data, dealing(tested=tested).terms, piece)
        assert subshare.encode() == data
        assert (subshare.value() < np.array(PRIMES, dtype=np.uint64)[:, None]).all()

    return read


def subshare_seeds(piece: int, *, tested: bool) -> Callable[[], Sequence[bytes]]:
    return lambda: [dealing(tested=tested).data(piece)]


def read_published_subshare(data: bytes) -> None:
    """Bytes whose digest the dealer did publish: only their content and the degree test can refuse them."""
    honest = dealing(tested=True)
    assert honest.proof is not None
    digests = list(honest.published.digests)
    digests[BOUND_PIECE] = hashlib.sha256(data).digest()
    published = replace(honest.published, digests=tuple(digests))
    proof = replace(honest.proof, published=published)
    check_subshare(published, BOUND_PIECE, data, sender="member-1", proof=proof)
    body = HEADER_BYTES + 32 * (1 + honest.terms.pairs)
    assert data[body:] == honest.data(BOUND_PIECE)[body:]  # contributions to keys of noise are the dealer's to choose


def read_degree_proof(data: bytes) -> None:
    honest = dealing(tested=True)
    proof = DegreeProof.decode(data, honest.published, honest.challenge, prover="member-1")
    assert proof.encode() == data


def degree_proof_seeds() -> Sequence[bytes]:
    proof = dealing(tested=True).proof
    assert proof is not None
    return [proof.encode()]


# TenSEAL's vectors

VALUES = DEGREE // 2 + 7
SIZES = (DEGREE // 2, 7)
SCALE = math.ldexp(1.0, SCALE_BITS)
_OBJECT = struct.Struct("<HBBBBHQ")
_META = struct.Struct("<32sBQQQdQ")


def read_stock_vector(data: bytes) -> None:
    vector = read_vector(data, joint_key(), sender="client-1", values=VALUES)
    again = EncryptedVector.decode(vector.encode(), joint_key(), blocks=len(SIZES), sender="client-2")
    assert np.array_equal(again.residues, vector.residues)


def varint(value: int) -> bytes:
    return bytes([value & 0x7F | 0x80]) + varint(value >> 7) if value > 0x7F else bytes([value])


def seal_object(payload: bytes, mode: int, *, version: tuple[int, int] = tenseal_bytes.SEAL_VERSION) -> bytes:
    """A serialised object of SEAL; the mode is 0 for plain bytes and 2 for a zstd frame."""
    return _OBJECT.pack(0xA15E, _OBJECT.size, *version, mode, 0, _OBJECT.size + len(payload)) + payload


def stock_body(name: str) -> bytes:
    """The content of one serialised ciphertext, as SEAL lays it out."""
    residues = uniform(name, (2,), PRIMES).astype("<u8").tobytes()
    level = tenseal_bytes.parms_id(DEGREE, PRIMES)
    meta = _META.pack(level, 1, 2, DEGREE, len(PRIMES), SCALE, 1)
    return meta + seal_object(struct.pack("<Q", len(residues) // 8) + residues, 0)


def stock_message(bodies: Sequence[bytes | bytearray], *, sizes: Sequence[int] = SIZES, scale: float = SCALE) -> bytes:
    """A CKKSVectorProto."""
    stated = b"".join(map(varint, sizes))
    blobs = [seal_object(zstandard.ZstdCompressor().compress(body), 2) for body in bodies]
    fields = b"".join(b"\x12" + varint(len(blob)) + blob for blob in blobs)
    return b"\x0a" + varint(len(stated)) + stated + fields + b"\x19" + struct.pack("<d", scale)


def stock_seeds() -> Sequence[bytes]:
    return [stock_message([stock_body(f"chunk {i}"), stock_body("last")]) for i in range(2)]


def other_stock_vector(rng: Random, data: bytes) -> bytes:
    """A vector with one thing changed under right lengths: its chunks, a field, a residue, a header, a frame."""
    bodies = [bytearray(stock_body("chunk 0")), bytearray(stock_body("last"))]
    body = rng.choice(bodies)
    head = len(body) - 16 * len(PRIMES) * DEGREE
    match rng.randrange(9):
        case 0:
            bodies = bodies * rng.choice((0, 2, 40)) + bodies[: rng.randrange(3)]
        case 1:
            return stock_message(bodies, sizes=rng.choice(((), SIZES[:1], SIZES[::-1], (*SIZES, 0), (2**64 - 1, 7))))
        case 2:
            wild = (0.0, -SCALE, math.nan, math.inf, 2.0**40, SCALE * (1 + 2**-52))
            if rng.random() < 0.5:
                return stock_message(bodies, scale=rng.choice(wild))
            struct.pack_into("<d", body, 32 + 1 + 24, rng.choice(wild))
        case 3:
            body[rng.randrange(head)] ^= 1 << rng.randrange(8)
        case 4:
            row = rng.randrange(2 * len(PRIMES))
            q, place = PRIMES[row % len(PRIMES)], head + 8 * (row * DEGREE + rng.randrange(DEGREE))
            struct.pack_into("<Q", body, place, rng.choice((0, q - 1, q, q + 1, 2**64 - 1)))
        case 5:
            row = rng.randrange(2 * len(PRIMES))
            body[head + 8 * row * DEGREE : head + 8 * (row + 1) * DEGREE] = bytes(8 * DEGREE)
        case 6:  # a frame that announces what it does not hold, or holds what it does not announce
            frame = zstandard.ZstdCompressor(write_content_size=rng.random() < 0.5).compress(
                bytes(rng.choice((0, 1 << 20)))
            )
            blob = seal_object(altered(rng, frame), rng.choice((0, 1, 2, 2, 2)))
            return wrapped([blob, blob])
        case 7:
            blob = seal_object(
                bytes(body), rng.choice((0, 2)), version=rng.choice(((4, 3), (4, 2), (3, 7), (255, 255)))
            )
            return wrapped([blob, blob])
        case _:
            del body[rng.randrange(len(body)) :]
    return stock_message(bodies)


def wrapped(blobs: Sequence[bytes]) -> bytes:
    """A message of the right sizes and scale around any objects."""
    stated = b"".join(map(varint, SIZES))
    fields = b"".join(b"\x12" + varint(len(blob)) + blob for blob in blobs)
    return b"\x0a" + varint(len(stated)) + stated + fields + b"\x19" + struct.pack("<d", SCALE)


TCKKS_TARGETS = (
    Target(
        "wire.polynomials", read_polynomials, (DecodeError,), polynomial_seeds, other_residues(PRIMES), share=2,
        multiple=40,
    ),
    Target(
        "tckks.ciphertexts", read_ciphertexts, (DecodeError,), ciphertext_seeds, other_residues(PRIMES), share=2,
        multiple=40,
    ),
    Target(
        "tckks.adder", add_ciphertexts, (DecodeError,), ciphertext_seeds, other_residues(PRIMES), share=2, slack=1 << 20
    ),
    Target("tckks.answer", read_answer, (BadShareError,), answer_seeds, other_residues(SMALL.answer_primes), share=2),
    Target(
        "tckks.fingerprints", read_fingerprints, (BadShareError,), fingerprint_seeds, other_fingerprints, slack=1 << 17
    ),
    Target(
        "tckks.public-part", read_public_part, (KeyGenerationError,), public_part_seeds,
        other_residues(SMALL.key_primes), share=0.5, slack=1 << 18,
    ),
    Target(
        "tckks.subshare-seed", subshare_reader(SEED_PIECE, tested=False), (DecodeError,),
        subshare_seeds(SEED_PIECE, tested=False), slack=1 << 16,
    ),
    Target(
        "tckks.subshare-value", subshare_reader(REPLICATED.pieces - 1, tested=False), (DecodeError,),
        subshare_seeds(REPLICATED.pieces - 1, tested=False), other_residues(PRIMES),
    ),
    Target(
        "tckks.subshare-shamir", subshare_reader(BOUND_PIECE, tested=True), (DecodeError,),
        subshare_seeds(BOUND_PIECE, tested=True), other_residues(PRIMES),
    ),
    Target(
        "tckks.published-subshare", read_published_subshare, (KeyGenerationError,),
        subshare_seeds(BOUND_PIECE, tested=True), other_residues(PRIMES), share=0.5, slack=1 << 19,
    ),
    Target(
        "tckks.degree-proof", read_degree_proof, (KeyGenerationError,), degree_proof_seeds, other_residues(PRIMES, 16)
    ),
    Target("tckks.stock-vector", read_stock_vector, (DecodeError,), stock_seeds, other_stock_vector, slack=1 << 17),
)  # fmt: skip
