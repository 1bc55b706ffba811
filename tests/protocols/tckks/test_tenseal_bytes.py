"""Hostile bytes for the reader of TenSEAL's vectors: nothing but `DecodeError`, and bounded memory."""

import math
import struct
import tracemalloc

import numpy as np
import pytest
import tenseal as ts
import zstandard

from protocols.errors import DecodeError
from protocols.tckks import _tenseal_bytes as tenseal_bytes
from tests.protocols.tckks.stock_users import (
    SCALE,
    SIZES,
    SUITE,
    VALUES,
    read,
    sent,
    team,
    user_values,
)

HEADER = struct.Struct("<HBBBBHQ")
META = struct.Struct("<32sBQQQdQ")


def varint(value: int) -> bytes:
    return bytes([value & 0x7F | 0x80]) + varint(value >> 7) if value > 0x7F else bytes([value])


def inflated(user: int) -> list[bytes]:
    """The bodies of a vector's ciphertexts."""
    data, bodies = sent(user), []
    at = 2 + data[1]
    while data[at] == 0x12:
        size, shift, at = 0, 0, at + 1
        while True:
            byte = data[at]
            size, shift, at = size | (byte & 0x7F) << shift, shift + 7, at + 1
            if byte < 0x80:
                break
        bodies.append(zstandard.ZstdDecompressor().decompress(data[at + 16 : at + size]))
        at += size
    return bodies


def blob(payload: bytes, *, mode: int = 2, version: tuple[int, int] = (4, 3), stated: int | None = None) -> bytes:
    size = 16 + len(payload) if stated is None else stated
    return HEADER.pack(0xA15E, 16, *version, mode, 0, size) + payload


def packed(body: bytes) -> bytes:
    return blob(zstandard.ZstdCompressor().compress(body))


def message(blobs: list[bytes], *, sizes: tuple[int, ...] = SIZES, scale: float = SCALE) -> bytes:
    stated = b"".join(map(varint, sizes))
    fields = b"".join(b"\x12" + varint(len(one)) + one for one in blobs)
    return b"\x0a" + varint(len(stated)) + stated + fields + b"\x19" + struct.pack("<d", scale)


def with_first(first: bytes) -> bytes:
    return message([first, *map(packed, inflated(0)[1:])])


def with_meta(**fields: object) -> bytes:
    """The first ciphertext with other fields."""
    names = ("parms_id", "ntt", "size", "degree", "rows", "scale", "factor")
    body = inflated(0)[0]
    values = dict(zip(names, META.unpack_from(body), strict=True)) | fields
    return with_first(packed(META.pack(*values.values()) + body[META.size :]))


def with_residue(polynomial: int, row: int, coefficient: int, value: int) -> bytes:
    body = bytearray(inflated(0)[0])
    at = len(body) - 8 * 2 * 5 * 8192 + 8 * ((polynomial * 5 + row) * 8192 + coefficient)
    body[at : at + 8] = value.to_bytes(8, "little")
    return with_first(packed(bytes(body)))


def transparent(row: int) -> bytes:
    body = bytearray(inflated(0)[0])
    at = len(body) - 8 * (5 - row) * 8192
    body[at : at + 8 * 8192] = bytes(8 * 8192)
    return with_first(packed(bytes(body)))


def refused(data: bytes, reason: str, *, values: int = VALUES) -> None:
    with pytest.raises(DecodeError, match=reason) as caught:
        read(data, values=values)
    assert caught.value.culprits == ("client-7",)
    assert str(caught.value).startswith("client-7: not a TenSEAL vector of the plan: ")


def test_our_own_assembly_is_read() -> None:
    """The forgeries below differ from this one in a single thing."""
    assert np.array_equal(read(message([packed(body) for body in inflated(0)])).residues, read(sent(0)).residues)


def test_the_message_that_crashes_tenseal_is_refused() -> None:
    """17 bytes: sizes and scale without a ciphertext. TenSEAL 0.3.18 loads it, and `+` ends the process."""
    crash = bytes.fromhex("0a0680208020a806190000000000009045")
    assert crash == message([], scale=2.0**90)
    with pytest.raises(DecodeError, match="where the ciphertext of chunk 0 should begin"):
        read(crash, scale_bits=90)
    refused(message([]), "where the ciphertext of chunk 0 should begin")


def test_messages_of_another_form() -> None:
    own, bodies = sent(0), [packed(body) for body in inflated(0)]
    refused(b"", "does not begin with the sizes")
    refused(message(bodies, sizes=(4096, 4096, 807)), "does not begin with the sizes of its chunks, 4096, 4096, 808")
    refused(message(bodies[:2]), "ciphertext of chunk 2 should begin")
    refused(message([*bodies, bodies[0]]), "more than 3 ciphertexts can take|something else than the scale")
    refused(message(bodies, scale=2.0**90), "something else than the scale")
    refused(message(bodies, scale=math.nan), "something else than the scale")
    refused(own + b"\0", "something else than the scale")
    refused(own[:-9], "something else than the scale")
    refused(own + own, "more than 3 ciphertexts can take|something else than the scale")
    refused(own + bytes(4_000_000), "more than 3 ciphertexts can take")
    refused(own[9:] + own[:9], "does not begin with the sizes")


@pytest.mark.parametrize("length", [b"\x80\x80\x80\x80\x80\x01", b"\x83\x80\x00", b"\x80", b""])
def test_lengths_that_are_no_shortest_varint(length: bytes) -> None:
    refused(b"\x0a\x06\x80\x20\x80\x20\xa8\x06\x12" + length, "is not a shortest varint")


@pytest.mark.parametrize("size", [0, 15, 16, 1 << 31, (1 << 35) - 1])
def test_lengths_beyond_the_message(size: int) -> None:
    refused(b"\x0a\x06\x80\x20\x80\x20\xa8\x06\x12" + varint(size) + bytes(100), f"said to have {size} bytes")


def test_headers_of_another_object() -> None:
    payload = zstandard.ZstdCompressor().compress(inflated(0)[0])
    for other in (
        blob(payload, mode=1),
        blob(inflated(0)[0], mode=0),
        blob(payload, version=(3, 7)),
        blob(payload, version=(4, 2)),
        blob(payload, stated=16),
        blob(payload, stated=1 << 63),
        b"\0" + blob(payload)[1:],
    ):
        refused(with_first(other), "chunk 0: the header is not that of one zstd-compressed object of SEAL 4.3")


def frame(content: int, *blocks: bytes) -> bytes:
    """A zstd frame (RFC 8878) of one segment with an 8-byte content size."""
    return b"\x28\xb5\x2f\xfd\xe0" + content.to_bytes(8, "little") + b"".join(blocks)


def repeated(count: int, *, last: bool = False) -> bytes:
    """A block of one byte, repeated: 4 bytes for up to 128 kB."""
    return (count << 3 | 1 << 1 | last).to_bytes(3, "little") + b"\0"


BODY = 97 + 8 * 2 * 5 * 8192


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"\x28", "not one whole zstd frame"),
        (b"not zstd at all", "not one whole zstd frame"),
        (frame(1 << 40, *[repeated(1 << 17)] * 100_000), "does not announce"),
        (frame(BODY, *[repeated(1 << 17)] * 100_000), "not one whole zstd frame"),
        (frame(BODY, repeated(1 << 17, last=True)), "not one whole zstd frame"),
        (frame(BODY), "not one whole zstd frame"),
        (b"\x50\x2a\x4d\x18" + BODY.to_bytes(4, "little") + bytes(BODY), "not one whole zstd frame"),
        (zstandard.ZstdCompressor(write_content_size=False).compress(bytes(BODY)), "does not announce"),
        (zstandard.ZstdCompressor().compress(bytes(BODY)) + b"\0", "not one whole zstd frame"),
        (zstandard.ZstdCompressor().compress(bytes(BODY + 8)), "does not announce"),
        (zstandard.ZstdCompressor().compress(bytes(BODY - 8)), "does not announce"),
        (zstandard.ZstdCompressor().compress(bytes(BODY)), "made under other parameters"),
    ],
    ids=[
        "byte",
        "noise",
        "terabyte",
        "bomb",
        "short",
        "no-block",
        "skippable",
        "unsized",
        "tail",
        "long",
        "few",
        "zero",
    ],
)
def test_frames_that_are_no_ciphertext(payload: bytes, reason: str) -> None:
    data = with_first(blob(payload))
    tracemalloc.start()
    try:
        refused(data, f"chunk 0: .*{reason}")
        assert tracemalloc.get_traced_memory()[1] < 3 * len(SIZES) * BODY  # the result, and one ciphertext at a time
    finally:
        tracemalloc.stop()


def test_a_ciphertext_that_is_too_long_for_its_suite_is_not_decompressed() -> None:
    stretched = zstandard.ZstdCompressor().compress(inflated(0)[0]) + bytes(700_000)
    short = packed(bytes(BODY))
    refused(message([blob(stretched), short, short]), "chunk 0: .* more than a ciphertext of this suite can take")


def test_fields_of_another_ciphertext() -> None:
    other = tenseal_bytes.parms_id(8192, SUITE.data_primes[:-1])
    refused(with_meta(parms_id=other), "other parameters, or was multiplied or rescaled since")
    refused(with_meta(parms_id=tenseal_bytes.parms_id(8192, SUITE.key_primes)), "other parameters")
    refused(with_meta(scale=math.nan), "chunk 0: its scale is nan instead of")
    refused(with_meta(scale=2.0**90), "its scale is 1.23794e.27 instead of")
    refused(with_meta(scale=-SCALE), "its scale is -")
    refused(with_meta(size=3), "it has 3 polynomials instead of 2")
    for fields in ({"ntt": 0}, {"ntt": 2}, {"degree": 4096}, {"rows": 4}, {"factor": 0}):
        refused(with_meta(**fields), "its fields are not those of a ciphertext in NTT form")


def test_residues_at_and_above_their_prime() -> None:
    for row, q in enumerate(SUITE.data_primes):
        assert read(with_residue(row % 2, row, 17, q - 1)).residues[0, row % 2, row, 17] == q - 1
        for value in (q, (1 << 64) - 1):
            refused(with_residue(row % 2, row, 17, value), "a residue is not below its prime")


@pytest.mark.parametrize("row", [0, 4])
def test_a_transparent_ciphertext(row: int) -> None:
    refused(transparent(row), "transparent: its second polynomial is zero modulo a prime")


def test_products_are_refused() -> None:
    """A user who multiplied: the scale moved on, or the level, or the number of polynomials."""
    context = team().context(60)
    vector = ts.ckks_vector(context, user_values(0).tolist())
    for other in (vector * 0.5, vector * vector):
        with pytest.raises(DecodeError, match=r"its scale is|polynomials instead of 2|more than 3 ciphertexts"):
            read(other.serialize(), scale_bits=60)


def test_every_truncation_and_many_mutations_only_ever_raise_decode_errors() -> None:
    own = ts.ckks_vector(team().context(), [1.0, 2.0]).serialize()
    generator = np.random.default_rng(11)
    cuts = [*range(160), *generator.integers(160, len(own), 40).tolist()]
    for cut in cuts:
        with pytest.raises(DecodeError):
            read(own[:cut], values=2)
    survived, culprits = 0, []
    for at in [*range(160), *generator.integers(160, len(own), 100).tolist(), *range(len(own) - 12, len(own))]:
        changed = bytearray(own)
        changed[at] ^= 1 << int(generator.integers(8))
        try:
            vector = read(bytes(changed), values=2)
        except DecodeError as exc:
            culprits.append(exc.culprits)
        else:  # SEAL's zstd frames carry no checksum: another ciphertext, no less well-formed
            survived += 1
            assert 30 < at < len(own) - 9
            assert (vector.residues < np.array(SUITE.data_primes, dtype=np.uint64)[:, None]).all()
    assert set(culprits) == {("client-7",)}
    assert survived < 200


def test_no_values_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="at least one value"):
        read(sent(0), values=0)
