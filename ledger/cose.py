"""The envelope of an entry: a COSE_Sign1 with or without an inclusion proof, read byte by byte.

Spec: RFC 9052 §4.2 and §4.4 (untagged COSE_Sign1, Sig_structure), RFC 9942 §5.1 and §5.2 (inclusion proofs of the
verifiable data structure 1, RFC9162_SHA256). Everything has one spelling, the deterministic one of RFC 8949 §4.2.1; as
little may vary, it is read without a CBOR decoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Final

from .errors import DecodeError
from .merkle import HASH_SIZE, leaf_hash
from .signing import SIGNATURE_SIZE

__all__ = ["MAX_TOGETHER", "Inclusion", "Sign1", "read_sign1", "sig_structure"]

MAX_TOGETHER: Final = 64
"""Entries that one signature may cover."""

_ARRAY_OF_4: Final = 0x84
_NOTHING: Final = 0xA0  # {}
_PROOF: Final = bytes.fromhex("a119018ca12081")  # {396: {-1: [
_SIGNATURE: Final = bytes((0x58, SIGNATURE_SIZE))
_HASH: Final = bytes((0x58, HASH_SIZE))
_PREFIX: Final = b"\x84\x6aSignature1"


@dataclass(frozen=True, slots=True)
class Inclusion:
    """That a payload is number `index` of the `size` that were signed together. Shapes: path of 32-byte hashes."""

    size: int
    index: int
    path: tuple[bytes, ...]

    def __post_init__(self) -> None:
        if not 2 <= self.size <= MAX_TOGETHER:
            raise ValueError(f"2 to {MAX_TOGETHER} entries are signed together")
        if not 0 <= self.index < self.size:
            raise ValueError(f"there is no number {self.index} of {self.size}")
        if len(self.path) != len(_siblings_on_the_left(self.size, self.index)):
            raise ValueError(f"{len(self.path)} hashes do not lead from number {self.index} of {self.size} to a root")
        for each in self.path:
            if not isinstance(each, bytes) or len(each) != HASH_SIZE:
                raise ValueError(f"a hash of a path is {HASH_SIZE} bytes")

    def root(self, payload: bytes) -> bytes:
        """The root that was signed, if this is the payload (RFC 9162 §2.1.3.2)."""
        found = leaf_hash(payload)
        for left, sibling in zip(_siblings_on_the_left(self.size, self.index), self.path, strict=True):
            found = sha256(b"\x01" + sibling + found if left else b"\x01" + found + sibling).digest()
        return found


@dataclass(frozen=True, slots=True)
class Sign1:
    """The parts of a COSE_Sign1 that vary; `inclusion` is None where the signature is over this payload alone."""

    protected: bytes
    inclusion: Inclusion | None
    payload: bytes
    signature: bytes

    def encode(self) -> bytes:
        """The one spelling, which `read_sign1` reads."""
        proof = b"\xa0" if self.inclusion is None else _PROOF + _octets(_encode_inclusion(self.inclusion))
        return b"".join(
            (b"\x84", _octets(self.protected), proof, _octets(self.payload), _octets(self.signature)),
        )

    def message(self, context: bytes) -> bytes:
        """What the signature is over."""
        if self.inclusion is None:
            return sig_structure(self.protected, context, self.payload)
        return sig_structure(self.protected, context, self.inclusion.root(self.payload), self.inclusion.size)


def sig_structure(protected: bytes, context: bytes, payload: bytes, size: int | None = None) -> bytes:
    """The bytes that are signed (RFC 9052 §4.4): `external_aad` is the context.

    Where the payload is the root over `size` payloads, one byte follows the context: that size. A root of RFC 6962 does
    not determine the size of its tree, and without it anybody could spell the position of an entry in several ways.
    """
    return _before_payload(protected, context if size is None else context + bytes((size,))) + _octets(payload)


@lru_cache(maxsize=4096)
def _before_payload(protected: bytes, aad: bytes) -> bytes:
    return _PREFIX + _octets(protected) + _octets(aad)


def read_sign1(data: bytes) -> Sign1:
    """Read the parts of a COSE_Sign1 whose parts are byte strings.

    Run by: anyone, on hostile bytes of a bounded size.

    Raises:
        DecodeError: not the one spelling of such a structure.
    """
    try:
        if data[0] != _ARRAY_OF_4:
            raise DecodeError("an entry is a COSE_Sign1 [protected, unprotected, payload, signature]")
        start, at = _read_octets(data, 1)
        protected = data[start:at]
        inclusion = None
        if data[at] == _NOTHING:
            at += 1
        elif data.startswith(_PROOF, at):
            start, at = _read_octets(data, at + len(_PROOF))
            inclusion = _read_inclusion(data[start:at])
        else:
            raise DecodeError("the unprotected header of an entry is {} or {396: {-1: [proof]}}")
        start, at = _read_octets(data, at)
    except IndexError as exc:
        raise DecodeError("the entry ends early") from exc
    end = at + len(_SIGNATURE)
    if data[at:end] != _SIGNATURE or len(data) != end + SIGNATURE_SIZE:
        raise DecodeError(f"an entry ends with a signature of {SIGNATURE_SIZE} bytes")
    return Sign1(protected, inclusion, data[start:at], data[end:])


def _read_octets(data: bytes, at: int) -> tuple[int, int]:
    """Start and end of the byte string whose head is at `at`."""
    head = data[at]
    if 0x40 <= head < 0x58:
        start, size = at + 1, head - 0x40
    elif head == 0x58 and data[at + 1] >= 24:
        start, size = at + 2, data[at + 1]
    elif head == 0x59 and data[at + 1]:
        start, size = at + 3, data[at + 1] << 8 | data[at + 2]
    else:
        raise DecodeError("a part of an entry is not a byte string in its shortest spelling")
    if start + size > len(data):
        raise DecodeError("the entry ends early")
    return start, start + size


def _read_inclusion(data: bytes) -> Inclusion:
    """Read `[size, index, [hash, ...]]`."""
    if data[0] != 0x83:
        raise DecodeError("an inclusion proof is [size, index, path]")
    size, at = _read_small(data, 1)
    index, at = _read_small(data, at)
    count, first, step = data[at] - 0x80, at + 1, len(_HASH) + HASH_SIZE
    if not 0 < count < 24 or len(data) != first + count * step:
        raise DecodeError("the path of an inclusion proof is an array of hashes, and nothing follows it")
    if data[first::step] != _HASH[:1] * count or data[first + 1 :: step] != _HASH[1:] * count:
        raise DecodeError(f"the path of an inclusion proof is an array of hashes of {HASH_SIZE} bytes")
    first += len(_HASH)
    path = [data[place : place + HASH_SIZE] for place in range(first, len(data), step)]
    try:
        return Inclusion(size, index, tuple(path))
    except ValueError as exc:
        raise DecodeError(f"not an inclusion proof: {exc}") from exc


def _read_small(data: bytes, at: int) -> tuple[int, int]:
    head = data[at]
    if head < 24:
        return head, at + 1
    if head == 24 and data[at + 1] >= 24:
        return data[at + 1], at + 2
    raise DecodeError(f"size and index of an inclusion proof are below {MAX_TOGETHER + 1}, in their shortest spelling")


def _encode_inclusion(inclusion: Inclusion) -> bytes:
    numbers = b"".join(
        bytes((number,)) if number < 24 else bytes((24, number)) for number in (inclusion.size, inclusion.index)
    )
    path: Sequence[bytes] = [_HASH + each for each in inclusion.path]
    return b"\x83" + numbers + bytes((0x80 + len(path),)) + b"".join(path)


def _octets(data: bytes) -> bytes:
    """A byte string behind its head; the caller bounds it."""
    size = len(data)
    if size < 24:
        return bytes((0x40 + size,)) + data
    if size < 256:
        return bytes((0x58, size)) + data
    if size < 65536:
        return b"\x59" + size.to_bytes(2, "big") + data
    return b"\x5a" + size.to_bytes(4, "big") + data


@lru_cache(maxsize=MAX_TOGETHER * MAX_TOGETHER)
def _siblings_on_the_left(size: int, index: int) -> tuple[bool, ...]:
    """For each hash of the path, leaf to root, whether it stands left of what it is hashed with (RFC 6962 §2.1.1)."""
    if size == 1:
        return ()
    half = 1 << (size - 1).bit_length() - 1
    if index < half:
        return (*_siblings_on_the_left(half, index), False)
    return (*_siblings_on_the_left(size - half, index - half), True)
