"""Large byte strings, kept outside the log and named by their SHA-256 digest.

An entry holds a blob's digest and size. Nobody needs to trust the blob store: it can lose bytes, not change them.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Final, Protocol

from .errors import BlobError, StoreError
from .files import create_durably, read_bounded
from .octets import is_octets

__all__ = ["DIGEST_SIZE", "Blobs", "DirectoryBlobs", "MemoryBlobs", "blob_digest"]

DIGEST_SIZE: Final = 32


def blob_digest(data: bytes) -> bytes:
    """The 32-byte name of a blob: SHA-256 of its bytes."""
    return sha256(data).digest()


class Blobs(Protocol):
    """A content-addressed store."""

    def put(self, data: bytes) -> bytes:
        """Keep bytes durably and return their 32-byte SHA-256 digest. Doing it again changes nothing."""
        ...

    def get(self, digest: bytes, *, size: int) -> bytes:
        """The bytes of this digest, which must be `size` bytes: the entry that names the blob says so.

        Raises:
            BlobError: missing, or not the bytes the digest names.
        """
        ...

    def has(self, digest: bytes) -> bool:
        """Whether a blob of this digest is kept. Its bytes are not checked."""
        ...

    def digests(self) -> Iterator[bytes]:
        """The digests of all blobs kept, in ascending order."""
        ...


class MemoryBlobs:
    """Blobs in memory: for tests and simulations."""

    def __init__(self) -> None:
        self._blobs: dict[bytes, bytes] = {}

    def put(self, data: bytes) -> bytes:
        """See `Blobs`."""
        digest = blob_digest(data)
        self._blobs.setdefault(digest, bytes(data))
        return digest

    def get(self, digest: bytes, *, size: int) -> bytes:
        """See `Blobs`."""
        _check_request(digest, size)
        data = self._blobs.get(digest)
        if data is None:
            raise _missing(digest)
        return _checked(data, digest, size)

    def has(self, digest: bytes) -> bool:
        """See `Blobs`."""
        _check_request(digest, 0)
        return digest in self._blobs

    def digests(self) -> Iterator[bytes]:
        """See `Blobs`."""
        return iter(sorted(self._blobs))


class DirectoryBlobs:
    """Blobs as files `<path>/ab/cd/abcd...` (the digest in hexadecimal), written durably and never overwritten."""

    def __init__(self, path: Path) -> None:
        self._path = Path(path)

    def put(self, data: bytes) -> bytes:
        """See `Blobs`.

        Raises:
            StoreError: the disk is full or fails; nothing half-written is left.
            BlobError: a damaged file stands under this digest; it is left as it is.
        """
        digest = blob_digest(data)
        path = self._file(digest)
        if not path.exists() and create_durably(path, data):
            return digest
        self.get(digest, size=len(data))
        return digest

    def get(self, digest: bytes, *, size: int) -> bytes:
        """See `Blobs`. The file's size is compared before it is read."""
        _check_request(digest, size)
        try:
            data = read_bounded(self._file(digest), limit=size)
        except StoreError as exc:
            raise BlobError(f"blob {digest.hex()} is corrupt or unreadable: {exc}", digest=digest) from exc
        if data is None:
            raise _missing(digest)
        return _checked(data, digest, size)

    def has(self, digest: bytes) -> bool:
        """See `Blobs`."""
        _check_request(digest, 0)
        return self._file(digest).is_file()

    def digests(self) -> Iterator[bytes]:
        """See `Blobs`. Files with other names are passed over."""
        for path in sorted(self._path.glob("[0-9a-f][0-9a-f]/[0-9a-f][0-9a-f]/*")):
            try:
                digest = bytes.fromhex(path.name)
            except ValueError:
                continue
            if len(digest) == DIGEST_SIZE and path == self._file(digest):
                yield digest

    def _file(self, digest: bytes) -> Path:
        name = digest.hex()
        return self._path / name[:2] / name[2:4] / name


def _check_request(digest: bytes, size: int) -> None:
    if not is_octets(digest, DIGEST_SIZE):
        raise ValueError(f"a digest is {DIGEST_SIZE} bytes")
    if size < 0:
        raise ValueError("a blob's size is not negative")


def _missing(digest: bytes) -> BlobError:
    return BlobError(f"blob {digest.hex()} is missing: ask its sender, or whoever keeps copies, for it", digest=digest)


def _checked(data: bytes, digest: bytes, size: int) -> bytes:
    if len(data) != size:
        raise BlobError(f"blob {digest.hex()} is corrupt: {len(data)} bytes, not {size}", digest=digest)
    if blob_digest(data) != digest:
        raise BlobError(f"blob {digest.hex()} is corrupt: its bytes are not those the digest names", digest=digest)
    return data
