"""What a blob is called, and the checks that every store of blobs makes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Final

from .errors import BlobError
from .octets import is_octets

__all__ = [
    "CHUNK",
    "DIGEST_SIZE",
    "blob_digest",
    "blob_path",
    "check_range",
    "check_request",
    "checked",
    "checked_chunks",
    "counted_chunks",
    "missing",
    "other_bytes",
    "parse_digest",
    "wrong_size",
]

DIGEST_SIZE: Final = 32
CHUNK: Final = 1 << 20
"""Bytes read at a time where a blob is streamed."""


def blob_digest(data: bytes) -> bytes:
    """The 32-byte name of a blob: SHA-256 of its bytes."""
    return sha256(data).digest()


def blob_path(digest: bytes) -> str:
    """Where a blob stands below its store's folder or prefix: `ab/cd/abcd...`."""
    name = digest.hex()
    return f"{name[:2]}/{name[2:4]}/{name}"


def parse_digest(name: str) -> bytes | None:
    """The digest that a file's name spells in lower-case hexadecimal, or None."""
    try:
        digest = bytes.fromhex(name)
    except ValueError:
        return None
    return digest if len(digest) == DIGEST_SIZE and digest.hex() == name else None


def check_request(digest: bytes, size: int = 0) -> None:
    """Refuse what no blob has."""
    if not is_octets(digest, DIGEST_SIZE):
        raise ValueError(f"a digest is {DIGEST_SIZE} bytes")
    if size < 0:
        raise ValueError("a blob's size is not negative")


def check_range(start: int, length: int, size: int) -> None:
    """Refuse a range that is not within a blob of `size` bytes."""
    if not (start >= 0 and length >= 0 and start + length <= size):
        raise ValueError(f"{length} bytes from {start} on are not within a blob of {size}")


def counted_chunks(chunks: Iterable[bytes], size: int) -> Iterator[bytes]:
    """The chunks, as long as they do not exceed `size` bytes, and an error if there are fewer at the end."""
    if size < 0:
        raise ValueError("a blob's size is not negative")
    seen = 0
    for chunk in chunks:
        seen += len(chunk)
        if seen > size:
            raise ValueError(f"the chunks have more than the {size} bytes that were announced; nothing was kept")
        yield chunk
    if seen < size:
        raise ValueError(f"the chunks have {seen} of the {size} bytes that were announced; nothing was kept")


def checked_chunks(chunks: Iterable[bytes], digest: bytes, size: int) -> Iterator[bytes]:
    """The chunks of a blob, one behind: the last is handed out after the digest of all was checked.

    Raises:
        BlobError: more or fewer than `size` bytes, or not those that the digest names.
    """
    hashed, seen, held = sha256(), 0, b""
    for chunk in chunks:
        seen += len(chunk)
        if seen > size:
            raise wrong_size(digest, seen, size)
        hashed.update(chunk)
        if held:
            yield held
        held = chunk
    if seen != size:
        raise wrong_size(digest, seen, size)
    if hashed.digest() != digest:
        raise other_bytes(digest)
    if held:
        yield held


def missing(digest: bytes) -> BlobError:
    """The error for a blob that is not kept."""
    return BlobError(f"blob {digest.hex()} is missing: ask its sender, or whoever keeps copies, for it", digest=digest)


def wrong_size(digest: bytes, stored: int, size: int) -> BlobError:
    """The error for a blob of another size than the entry states."""
    return BlobError(f"blob {digest.hex()} is corrupt: {stored} bytes, not {size}", digest=digest)


def other_bytes(digest: bytes) -> BlobError:
    """The error for a blob that has the size but not the bytes."""
    return BlobError(f"blob {digest.hex()} is corrupt: its bytes are not those the digest names", digest=digest)


def checked(data: bytes, digest: bytes, size: int) -> bytes:
    """The bytes of a blob, if they are the `size` bytes that the digest names; else a BlobError."""
    if len(data) != size:
        raise wrong_size(digest, len(data), size)
    if blob_digest(data) != digest:
        raise other_bytes(digest)
    return data
