"""TenSEAL's and SEAL's serialised objects, written and read by hand.

TenSEAL's own parser never sees a peer's bytes: a well-formed CKKSVectorProto without ciphertexts makes it read outside
its memory. Everything here is compared with the one form that the plan calls for, before anything is decompressed, and
a decompressed object has the one length it must have.

Formats: TenSEAL 0.3 `tensealcontext.proto`, `tensors.proto` (proto3); SEAL 4.3 `serialization.h`, `ciphertext.cpp`,
`encryptionparams.cpp`, `publickey.h`; RFC 8878 (zstd); RFC 7693 (BLAKE2b).
"""

import hashlib
import struct
from typing import Final

import numpy as np
import zstandard

from ..arrays import UInt64Array
from ..errors import DecodeError
from ..suites import Suite

__all__ = ["SEAL_VERSION", "context_proto", "parms_id", "read_vector_proto", "vector_proto_limit"]

SEAL_VERSION: Final = (4, 3)
_HEADER: Final = struct.Struct("<HBBBBHQ")  # magic, header size, major, minor, compression, reserved, total size
_MAGIC: Final = 0xA15E
_PLAIN, _ZSTD = 0, 2  # SEAL's compr_mode_type
_CKKS: Final = 2  # SEAL's scheme_type
_META: Final = struct.Struct("<32sBQQQdQ")  # parms_id, NTT form, polynomials, N, K, scale, correction factor
_COUNT: Final = struct.Struct("<Q")
_VARINT, _FIXED64, _BYTES = 0, 1, 2  # protobuf's wire types
_LONGEST_LENGTH: Final = 5  # bytes of a varint that states a length


def _header(version: tuple[int, int], compression: int, body_bytes: int) -> bytes:
    return _HEADER.pack(_MAGIC, _HEADER.size, *version, compression, 0, _HEADER.size + body_bytes)


def _object(body: bytes) -> bytes:
    """An uncompressed SEAL object."""
    return _header(SEAL_VERSION, _PLAIN, len(body)) + body


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _tag(number: int, wire_type: int) -> bytes:
    return _varint(number << 3 | wire_type)


def _field(number: int, value: bytes) -> bytes:
    return _tag(number, _BYTES) + _varint(len(value)) + value


def _double(number: int, value: float) -> bytes:
    return _tag(number, _FIXED64) + struct.pack("<d", value)


def parms_id(ring_degree: int, primes: tuple[int, ...]) -> bytes:
    """SEAL's name for a level: BLAKE2b-256 of scheme, N, the level's primes and the plain modulus, which CKKS lacks."""
    words = (_CKKS, ring_degree, *primes, 0)
    return hashlib.blake2b(struct.pack(f"<{len(words)}Q", *words), digest_size=32).digest()


def _parameters(suite: Suite) -> bytes:
    moduli = b"".join(_object(struct.pack("<Q", q)) for q in (*suite.key_primes, 0))
    return _object(struct.pack("<BQQ", _CKKS, suite.ring_degree, len(suite.key_primes)) + moduli)


def _ciphertext_head(suite: Suite, primes: tuple[int, ...], scale: float) -> bytes:
    """All of an uncompressed ciphertext of two polynomials that comes before its residues, without the outer header."""
    count = 2 * len(primes) * suite.ring_degree
    meta = _META.pack(parms_id(suite.ring_degree, primes), 1, 2, suite.ring_degree, len(primes), scale, 1)
    return meta + _header(SEAL_VERSION, _PLAIN, _COUNT.size + 8 * count) + _COUNT.pack(count)


def context_proto(suite: Suite, b: UInt64Array, a: UInt64Array, scale: float) -> bytes:
    """A TenSEALContextProto of encryption parameters, public key and scale: no secret, relinearisation or Galois key.

    The automatic flags are off: nothing is rescaled or switched to another level behind a user's back.
    """
    residues = np.stack([b, a]).astype("<u8").tobytes()
    public_key = _object(_ciphertext_head(suite, suite.key_primes, 1.0) + residues)
    return _field(1, _parameters(suite)) + _field(2, _field(1, public_key) + _double(3, scale))


def _limits(suite: Suite) -> tuple[int, int]:
    """Bytes of a ciphertext's body, and the most that zstd makes of them (ZSTD_compressBound from 128 kB up)."""
    body = len(_ciphertext_head(suite, suite.data_primes, 1.0)) + 16 * len(suite.data_primes) * suite.ring_degree
    return body, body + (body >> 8)


def vector_proto_limit(suite: Suite, sizes: tuple[int, ...]) -> int:
    """No honest CKKSVectorProto of these chunks is longer."""
    chunk = 1 + _LONGEST_LENGTH + _HEADER.size + _limits(suite)[1]
    return len(_field(1, b"".join(map(_varint, sizes)))) + len(sizes) * chunk + len(_double(3, 1.0))


def read_vector_proto(data: bytes, suite: Suite, sizes: tuple[int, ...], scale: float) -> UInt64Array:
    """The ciphertexts of a CKKSVectorProto that has exactly these chunks and this scale.

    Shapes: result uint64[len(sizes), 2, K, N], NTT form, every residue below its prime.

    Raises:
        DecodeError: anything else.
    """
    limit = vector_proto_limit(suite, sizes)
    if len(data) > limit:
        raise DecodeError(f"{len(data)} bytes are more than {len(sizes)} ciphertexts can take, {limit}")
    head, tail = _field(1, b"".join(map(_varint, sizes))), _double(3, scale)
    if not data.startswith(head):
        raise DecodeError(f"it does not begin with the sizes of its chunks, {', '.join(map(str, sizes))}")
    view, at = memoryview(data), len(head)
    blobs: list[memoryview] = []
    for chunk in range(len(sizes)):
        size, at = _length(view, at, chunk)
        if not _HEADER.size < size <= len(view) - at:
            raise DecodeError(f"the ciphertext of chunk {chunk} is said to have {size} bytes, which it cannot have")
        blobs.append(view[at : at + size])
        at += size
    if view[at:] != tail:
        raise DecodeError(f"after its {len(sizes)} ciphertexts stands something else than the scale {scale:g}")
    residues = np.empty((len(sizes), 2, len(suite.data_primes), suite.ring_degree), dtype=np.uint64)
    for chunk, blob in enumerate(blobs):
        try:
            residues[chunk] = _ciphertext(blob, suite, scale)
        except DecodeError as exc:
            raise DecodeError(f"chunk {chunk}: {exc}") from exc
    return residues


def _length(view: memoryview, at: int, chunk: int) -> tuple[int, int]:
    """The length of a ciphertext field, in its shortest varint, and where its bytes begin."""
    tag = _tag(2, _BYTES)
    if view[at : at + len(tag)] != tag:
        raise DecodeError(f"where the ciphertext of chunk {chunk} should begin stands something else")
    at += len(tag)
    size = 0
    for place, byte in enumerate(view[at : at + _LONGEST_LENGTH]):
        size |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            if _varint(size) != view[at : at + place + 1]:
                break
            return size, at + place + 1
    raise DecodeError(f"the length of the ciphertext of chunk {chunk} is not a shortest varint")


def _ciphertext(blob: memoryview, suite: Suite, scale: float) -> UInt64Array:
    body, most = _limits(suite)
    if blob[: _HEADER.size] != _header(SEAL_VERSION, _ZSTD, len(blob) - _HEADER.size):
        raise DecodeError("the header is not that of one zstd-compressed object of SEAL {}.{}".format(*SEAL_VERSION))
    if len(blob) - _HEADER.size > most:
        raise DecodeError(f"{len(blob)} bytes are more than a ciphertext of this suite can take")
    raw = _inflated(blob[_HEADER.size :], body)
    head = _ciphertext_head(suite, suite.data_primes, scale)
    if raw[: len(head)] != head:
        raise DecodeError(_difference(raw, suite, scale))
    shape = (2, len(suite.data_primes), suite.ring_degree)
    residues = np.frombuffer(raw, dtype="<u8", offset=len(head)).astype(np.uint64, copy=False).reshape(shape)
    if (residues >= np.array(suite.data_primes, dtype=np.uint64)[:, None]).any():
        raise DecodeError("a residue is not below its prime")
    if not residues[1].any(axis=-1).all():
        raise DecodeError("the ciphertext is transparent: its second polynomial is zero modulo a prime")
    return residues


def _inflated(payload: memoryview, size: int) -> bytes:
    """Exactly `size` bytes out of exactly one frame that says so itself: no more memory is ever asked for."""
    try:
        frame = zstandard.get_frame_parameters(payload)
        if frame.content_size != size:
            raise DecodeError(f"the zstd frame does not announce the {size} bytes of a ciphertext of this suite")
        inflater = zstandard.ZstdDecompressor(max_window_size=1 << size.bit_length())
        return inflater.decompress(payload, max_output_size=size, allow_extra_data=False)
    except zstandard.ZstdError as exc:
        raise DecodeError(f"not one whole zstd frame: {exc}") from exc


def _difference(raw: bytes, suite: Suite, scale: float) -> str:
    """What is wrong with the fields of a ciphertext, in the words of whoever made it."""
    level, _, polynomials, _, _, sent_scale, _ = _META.unpack_from(raw)
    if level != parms_id(suite.ring_degree, suite.data_primes):
        return "it was made under other parameters, or was multiplied or rescaled since"
    if polynomials != 2:
        return f"it has {polynomials} polynomials instead of 2: it was multiplied since"
    if sent_scale != scale:
        return f"its scale is {sent_scale:g} instead of {scale:g}"
    return "its fields are not those of a ciphertext in NTT form"
