"""Hostile bytes: one encoding a value, bounded work, no foreign exception."""

import hashlib
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.arrays import UInt64Array
from protocols.errors import DecodeError, ProtocolError
from protocols.suites import RING_DEGREES, suite
from protocols.tckks import EncryptedVector, wire
from protocols.tckks.wire import HEADER_BYTES, WireKind, decode, encode, encoded_size, hash_to_polynomial
from tests.protocols.polynomials import random_residues
from tests.protocols.tckks.committee import SUITE, committee, rand

DEGREE = 16
PRIMES = SUITE.key_primes  # 6, 6, 4, 6, 3 and 3 bytes a residue
CONTEXT = rand("context")
RESIDUES = np.stack([random_residues(s, DEGREE, PRIMES) for s in (1, 2)])
MESSAGE = encode(WireKind.CIPHERTEXT, RESIDUES, PRIMES, context=CONTEXT)


def read(
    data: bytes, *, kind: WireKind = WireKind.CIPHERTEXT, polynomials: int = 2, context: bytes = CONTEXT
) -> UInt64Array:
    return decode(kind, data, PRIMES, polynomials=polynomials, degree=DEGREE, context=context)


def test_the_layout_byte_by_byte() -> None:
    expected = struct.pack("<4sBBBBI32s", b"SBFL", 1, 2, 0, 4, 2, CONTEXT)
    for polynomial in RESIDUES.tolist():
        for row, width in zip(polynomial, (6, 6, 4, 6, 3, 3), strict=True):
            expected += b"".join(value.to_bytes(width, "little") for value in row)
    assert expected == MESSAGE
    assert len(MESSAGE) == encoded_size(2, DEGREE, PRIMES) == HEADER_BYTES + 2 * DEGREE * 28


def test_it_reads_what_was_written() -> None:
    assert np.array_equal(read(MESSAGE), RESIDUES)
    edges = np.array([[[0, q - 1] * (DEGREE // 2) for q in PRIMES]], dtype=np.uint64)
    data = encode(WireKind.PUBLIC_PART, edges, PRIMES, context=CONTEXT)
    assert np.array_equal(read(data, kind=WireKind.PUBLIC_PART, polynomials=1), edges)


@pytest.mark.parametrize("size", [0, 1, 17, HEADER_BYTES - 1, HEADER_BYTES, len(MESSAGE) - 1, len(MESSAGE) + 1])
def test_any_other_length_is_refused(size: int) -> None:
    with pytest.raises(DecodeError, match=f"CIPHERTEXT: expected {len(MESSAGE)} bytes, got {size}"):
        read((MESSAGE + b"\0")[:size])


@pytest.mark.parametrize("at", range(HEADER_BYTES))
@pytest.mark.parametrize("mask", [0x01, 0x80, 0xFF])
def test_every_header_byte_counts(at: int, mask: int) -> None:
    data = bytearray(MESSAGE)
    data[at] ^= mask
    with pytest.raises(DecodeError, match="the header is for another key, ring, version or kind"):
        read(bytes(data))


def test_a_message_of_another_kind_key_or_count_is_refused() -> None:
    with pytest.raises(DecodeError, match="header"):
        read(MESSAGE, kind=WireKind.PARTIAL_DECRYPTION)
    with pytest.raises(DecodeError, match="header"):
        read(MESSAGE, context=rand("other"))
    with pytest.raises(DecodeError, match="expected"):
        read(MESSAGE, polynomials=1)


@pytest.mark.parametrize("polynomial", [0, 1])
@pytest.mark.parametrize("row", range(len(PRIMES)))
def test_a_residue_not_below_its_prime_is_refused(polynomial: int, row: int) -> None:
    widths = [6, 6, 4, 6, 3, 3]
    for value in (PRIMES[row], PRIMES[row] + 1, (1 << (8 * widths[row])) - 1):
        for column in (0, DEGREE - 1):
            at = HEADER_BYTES + DEGREE * (28 * polynomial + sum(widths[:row])) + widths[row] * column
            data = MESSAGE[:at] + value.to_bytes(widths[row], "little") + MESSAGE[at + widths[row] :]
            with pytest.raises(DecodeError, match=f"a residue is not below its prime {PRIMES[row]}"):
                read(data)


def test_the_length_is_checked_before_anything_is_allocated() -> None:
    tracemalloc.start()
    try:
        with pytest.raises(DecodeError, match="got 17"):
            decode(WireKind.CIPHERTEXT, bytes(17), PRIMES, polynomials=1 << 31, degree=1 << 15, context=CONTEXT)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 100_000


@given(st.data())
@settings(max_examples=300)
def test_mutations_are_refused_or_are_another_value_in_its_one_encoding(data: st.DataObject) -> None:
    message = bytearray(MESSAGE)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(message) - 1))
        match data.draw(st.sampled_from(["flip", "set", "cut", "insert", "fill"])):
            case "flip":
                message[at] ^= 1 << data.draw(st.integers(0, 7))
            case "set":
                message[at] = data.draw(st.integers(0, 255))
            case "cut":
                del message[at : at + data.draw(st.integers(1, 64))]
            case "insert":
                message[at:at] = data.draw(st.binary(min_size=1, max_size=64))
            case "fill":
                size = min(data.draw(st.integers(1, 64)), len(message) - at)
                message[at : at + size] = bytes([data.draw(st.sampled_from([0, 255]))]) * size
        if not message:
            break
    try:
        value = read(bytes(message))
    except ProtocolError:
        return
    assert encode(WireKind.CIPHERTEXT, value, PRIMES, context=CONTEXT) == bytes(message)


@given(st.binary(max_size=200))
def test_random_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        read(data)


def test_the_encoder_refuses_what_the_decoder_would() -> None:
    with pytest.raises(ValueError, match="6 residue rows for 5 primes"):
        encode(WireKind.CIPHERTEXT, RESIDUES, PRIMES[:-1], context=CONTEXT)
    with pytest.raises(ValueError, match="32-byte digest"):
        encode(WireKind.CIPHERTEXT, RESIDUES, PRIMES, context=b"short")
    large = RESIDUES.copy()
    large[1, 5, 3] = PRIMES[5]
    with pytest.raises(ValueError, match=f"a residue is not below its prime {PRIMES[5]}"):
        encode(WireKind.CIPHERTEXT, large, PRIMES, context=CONTEXT)


# Ciphertexts of a real key.


@pytest.fixture(scope="module")
def ciphertext() -> bytes:
    team = committee()
    return team.encrypt(team.digits(1, blocks=2), "wire").encode()


def test_a_vector_round_trips_at_its_exact_size(ciphertext: bytes) -> None:
    assert len(ciphertext) == EncryptedVector.encoded_size(SUITE, 2) == 44 + 2 * 2 * 8192 * 25
    vector = EncryptedVector.decode(ciphertext, committee().joint, blocks=2, sender="client")
    assert vector.encode() == ciphertext
    assert vector.key_digest == committee().joint.digest


def test_a_vector_of_another_length_or_key_is_refused(ciphertext: bytes) -> None:
    team = committee()
    for data, key, blocks in (
        (ciphertext, team.joint, 1),
        (ciphertext[:-1], team.joint, 2),
        (ciphertext + ciphertext, team.joint, 2),
        (ciphertext, committee(5, 4).joint, 2),
        (b"\x0a\x0f" + bytes(15), team.joint, 2),
    ):
        with pytest.raises(DecodeError):
            EncryptedVector.decode(data, key, blocks=blocks, sender="client")


@pytest.mark.parametrize("block", [0, 1])
@pytest.mark.parametrize("row", [0, 3, 4])
def test_a_transparent_ciphertext_is_refused(block: int, row: int, ciphertext: bytes) -> None:
    team = committee()
    residues = EncryptedVector.decode(ciphertext, team.joint, blocks=2, sender="client").residues.copy()
    residues[block, 1, row] = 0
    data = EncryptedVector(SUITE, team.joint.digest, residues).encode()
    with pytest.raises(DecodeError, match="transparent: its second polynomial is zero modulo a prime"):
        EncryptedVector.decode(data, team.joint, blocks=2, sender="client")
    residues[block, 1, row, 8191] = 1
    EncryptedVector.decode(
        EncryptedVector(SUITE, team.joint.digest, residues).encode(), team.joint, blocks=2, sender="client"
    )


# Uniform polynomials from a string.


def test_hash_to_polynomial_by_another_computation() -> None:
    primes = (65537, *suite(8192).data_primes[-2:])
    got = hash_to_polynomial(b"label", DEGREE, primes)
    for j, q in enumerate(primes):
        width, mask = (q.bit_length() + 7) // 8, (1 << q.bit_length()) - 1
        stream = hashlib.shake_256(b"label" + bytes([j]) + q.to_bytes(8, "little")).digest(4 * DEGREE * width)
        draws = [int.from_bytes(stream[i : i + width], "little") & mask for i in range(0, len(stream), width)]
        assert got[j].tolist() == [v for v in draws if v < q][:DEGREE]


@pytest.mark.parametrize("degree", RING_DEGREES)
def test_hash_to_polynomial_is_uniform_below_each_prime(degree: int) -> None:
    primes = suite(degree).key_primes[-2:]
    residues = hash_to_polynomial(b"uniform", degree, primes)
    for row, q in zip(residues, primes, strict=True):
        assert int(row.max()) < q
        counts = np.bincount((row.astype(np.float64) * 32 / q).astype(np.int64), minlength=32)
        assert 8 < ((counts - degree / 32) ** 2 / (degree / 32)).sum() < 68


def test_another_label_or_prime_or_place_gives_another_polynomial() -> None:
    q, r = suite(8192).data_primes[:2]
    rows = [
        hash_to_polynomial(b"a", 64, (q,))[0],
        hash_to_polynomial(b"b", 64, (q,))[0],
        *hash_to_polynomial(b"a", 64, (r, q)),
    ]
    assert all(not np.array_equal(x, y) for i, x in enumerate(rows) for y in rows[:i])


def test_a_hash_stream_without_enough_small_values_is_refused() -> None:
    """At degree 1 four draws can all be too large; at a suite's degree the chance is below 2^-1000."""
    q = 65537

    def lucky(label: bytes) -> bool:
        stream = hashlib.shake_256(label + bytes([0]) + q.to_bytes(8, "little")).digest(12)
        return any(int.from_bytes(stream[i : i + 3], "little") % (1 << 17) < q for i in range(0, 12, 3))

    unlucky = next(label for label in (b"%d" % i for i in range(1000)) if not lucky(label))
    with pytest.raises(DecodeError, match="the hash stream ran out of values below the prime"):
        hash_to_polynomial(unlucky, 1, (q,))


# The compiled reader and writer.


def test_the_compiled_writer_and_reader_are_those_of_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba")
    primes = (*SUITE.key_primes, suite(16384).data_primes[-1])  # 6, 6, 4, 6, 3, 3 and 5 bytes
    edges = np.array([[[0, q - 1] * 8 for q in primes]], dtype=np.uint64)
    x = np.concatenate([edges, np.stack([random_residues(1, 16, primes)])])
    messages, read_back, totals = [], [], []
    for engine in ("numba", "numpy"):
        monkeypatch.setattr(wire, "engine", lambda name=engine: name)
        messages.append(encode(WireKind.CIPHERTEXT, x, primes, context=CONTEXT))
        read_back.append(decode(WireKind.CIPHERTEXT, messages[0], primes, polynomials=2, degree=16, context=CONTEXT))
        total = x.copy()
        wire.accumulate(messages[0], primes, total)
        totals.append(total)
    assert messages[0] == messages[1]
    assert all(np.array_equal(one, x) for one in read_back)
    assert all(np.array_equal(one, 2 * x) for one in totals)


@pytest.mark.parametrize("engine", ["numba", "numpy"])
def test_every_residue_is_checked_by_both(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba")
    monkeypatch.setattr(wire, "engine", lambda: engine)
    at = HEADER_BYTES
    for row in range(2 * len(PRIMES)):
        q, width = PRIMES[row % len(PRIMES)], (PRIMES[row % len(PRIMES)].bit_length() + 7) // 8
        for place in (0, 7, 8, 15):
            data = bytearray(MESSAGE)
            data[at + place * width : at + (place + 1) * width] = q.to_bytes(width, "little")
            with pytest.raises(DecodeError, match="a residue is not below its prime"):
                read(bytes(data))
            data[at + place * width : at + (place + 1) * width] = (q - 1).to_bytes(width, "little")
            read(bytes(data))
        at += width * DEGREE


@pytest.mark.parametrize("engine", ["numba", "numpy"])
@pytest.mark.parametrize("row", range(12))
def test_a_zero_row_of_one_parity_is_refused_by_both(engine: str, row: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba")
    monkeypatch.setattr(wire, "engine", lambda: engine)
    residues = RESIDUES.copy()
    residues[row // 6, row % 6] = 0
    data = encode(WireKind.CIPHERTEXT, residues, PRIMES, context=CONTEXT)

    def check(transparent: int | None) -> None:
        kind = WireKind.CIPHERTEXT
        wire.check(kind, data, PRIMES, polynomials=2, degree=DEGREE, context=CONTEXT, transparent=transparent)

    for parity in (None, 0, 1):
        if parity == row // 6:
            with pytest.raises(DecodeError, match="transparent"):
                check(parity)
        else:
            check(parity)
