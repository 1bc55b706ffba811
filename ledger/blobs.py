"""Large byte strings, kept outside the log and named by their SHA-256 digest.

An entry holds a blob's digest and size. Nobody needs to trust the blob store: it can lose bytes, not change them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Protocol

from .blob_checks import (
    CHUNK,
    DIGEST_SIZE,
    blob_digest,
    blob_path,
    check_range,
    check_request,
    checked,
    checked_chunks,
    counted_chunks,
    missing,
    parse_digest,
    wrong_size,
)
from .disk import DISK, Files
from .errors import BlobError, StoreError
from .files import DurableFile, open_bounded, read_bounded, remove_durably, sync_name

__all__ = ["DIGEST_SIZE", "Blobs", "DirectoryBlobs", "MemoryBlobs", "blob_digest"]


class Blobs(Protocol):
    """A content-addressed store. Every digest is 32 bytes; every size is the one that the entry naming the blob states.

    Raises:
        ValueError: a digest of another length, a negative size, a range that is not within the blob.
        StoreError: the disk is full or fails, or the store cannot be reached.
    """

    def put(self, data: bytes) -> bytes:
        """Keep bytes durably and return their 32-byte SHA-256 digest. Doing it again changes nothing.

        Raises:
            BlobError: other bytes stand under this digest. They are left as they are: `delete` them, then put again.
        """
        ...

    def put_stream(self, chunks: Iterable[bytes], *, size: int) -> bytes:
        """`put` for the chunks of a blob of `size` bytes, in bounded memory. Whatever fails, no part of it is kept.

        Raises:
            ValueError: the chunks have more or fewer than `size` bytes together.
        """
        ...

    def get(self, digest: bytes, *, size: int) -> bytes:
        """The bytes of this digest, which must be `size` bytes: the entry that names the blob says so.

        Raises:
            BlobError: missing, or not the bytes the digest names.
        """
        ...

    def stream(self, digest: bytes, *, size: int) -> Iterator[bytes]:
        """`get` in chunks, in bounded memory. A chunk but the last is handed out before anything is checked.

        The last chunk is handed out after the digest of the whole was: who is at the end without an error has the right
        bytes, and nobody may act on a chunk before. At most `size` bytes ever come, however many are stored.

        Raises:
            BlobError: as in `get`; while iterating, after chunks that may be wrong.
        """
        ...

    def get_range(self, digest: bytes, start: int, length: int, *, size: int) -> bytes:
        """Bytes [start, start + length) of a blob, **unchecked**: a digest of the whole says nothing of a part.

        For bytes that prove themselves (a signed record, a chunk whose own digest the caller has), and for no others.

        Raises:
            BlobError: missing, or the blob stored has not `size` bytes.
        """
        ...

    def has(self, digest: bytes) -> bool:
        """Whether a blob of this digest is kept. Its bytes are not checked."""
        ...

    def digests(self) -> Iterator[bytes]:
        """The digests of all blobs kept, in ascending order."""
        ...

    def delete(self, digest: bytes) -> None:
        """Keep a blob no longer, durably; nothing if it is not kept. The log still names it; `get` says it is missing.

        The name is gone; a disk, an object store's versions and every copy may still hold the bytes.
        """
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

    def put_stream(self, chunks: Iterable[bytes], *, size: int) -> bytes:
        """See `Blobs`; here the blob is in memory at once, as all are."""
        return self.put(b"".join(counted_chunks(chunks, size)))

    def get(self, digest: bytes, *, size: int) -> bytes:
        """See `Blobs`."""
        return checked(self._stored(digest, size), digest, size)

    def stream(self, digest: bytes, *, size: int) -> Iterator[bytes]:
        """See `Blobs`."""
        data = self._stored(digest, size)
        return checked_chunks((data[at : at + CHUNK] for at in range(0, len(data), CHUNK)), digest, size)

    def get_range(self, digest: bytes, start: int, length: int, *, size: int) -> bytes:
        """See `Blobs`."""
        check_range(start, length, size)
        data = self._stored(digest, size)
        if len(data) != size:
            raise wrong_size(digest, len(data), size)
        return data[start : start + length]

    def has(self, digest: bytes) -> bool:
        """See `Blobs`."""
        check_request(digest)
        return digest in self._blobs

    def digests(self) -> Iterator[bytes]:
        """See `Blobs`."""
        return iter(sorted(self._blobs))

    def delete(self, digest: bytes) -> None:
        """See `Blobs`."""
        check_request(digest)
        self._blobs.pop(digest, None)

    def _stored(self, digest: bytes, size: int) -> bytes:
        check_request(digest, size)
        data = self._blobs.get(digest)
        if data is None:
            raise missing(digest)
        return data


class DirectoryBlobs:
    """Blobs as files `<path>/ab/cd/abcd...` (the digest in hexadecimal), written durably and never overwritten.

    A stream is written to a temporary file `<path>/.blob.<...>.tmp` first; a crash may leave one, which may be removed.
    """

    def __init__(self, path: Path, *, files: Files = DISK) -> None:
        self._path = Path(path)
        self._files = files

    def put(self, data: bytes) -> bytes:
        """See `Blobs`."""
        digest = blob_digest(data)
        path = self._file(digest)
        if not sync_name(path, files=self._files):
            with DurableFile(path, files=self._files) as file:
                file.write(data)
                if file.create():
                    return digest
        self.get(digest, size=len(data))
        return digest

    def put_stream(self, chunks: Iterable[bytes], *, size: int) -> bytes:
        """See `Blobs`."""
        hashed = sha256()
        with DurableFile(self._path / "blob", files=self._files) as file:
            for chunk in counted_chunks(chunks, size):
                hashed.update(chunk)
                file.write(chunk)
            digest = hashed.digest()
            if file.create(self._file(digest)):
                return digest
        for _ in self.stream(digest, size=size):
            pass  # what stands there already is checked as it is read
        return digest

    def get(self, digest: bytes, *, size: int) -> bytes:
        """See `Blobs`. The file's size is compared before it is read."""
        check_request(digest, size)
        try:
            data = read_bounded(self._file(digest), limit=size, files=self._files)
        except StoreError as exc:
            raise _unreadable(digest, exc) from exc
        if data is None:
            raise missing(digest)
        return checked(data, digest, size)

    def stream(self, digest: bytes, *, size: int) -> Iterator[bytes]:
        """See `Blobs`. The file's size is compared before it is read."""
        check_request(digest, size)
        return checked_chunks(self._read(digest, 0, size), digest, size)

    def get_range(self, digest: bytes, start: int, length: int, *, size: int) -> bytes:
        """See `Blobs`."""
        check_request(digest, size)
        check_range(start, length, size)
        data = bytearray()
        for chunk in self._read(digest, start, size):
            data += chunk[: length - len(data)]
            if len(data) == length:
                break
        if len(data) != length:
            raise wrong_size(digest, start + len(data), size)
        return bytes(data)

    def has(self, digest: bytes) -> bool:
        """See `Blobs`."""
        check_request(digest)
        try:
            return self._files.is_file(self._file(digest))
        except OSError as exc:
            raise StoreError(f"{self._file(digest)} cannot be looked for: {exc.strerror}; check the disk") from exc

    def digests(self) -> Iterator[bytes]:
        """See `Blobs`. Files with other names are passed over."""
        for first in self._names(self._path):
            for second in self._names(self._path / first):
                for name in self._names(self._path / first / second):
                    digest = parse_digest(name)
                    if digest is not None and name.startswith(first + second):
                        yield digest

    def delete(self, digest: bytes) -> None:
        """See `Blobs`."""
        check_request(digest)
        remove_durably(self._file(digest), files=self._files)

    def _names(self, folder: Path) -> list[str]:
        try:
            return sorted(self._files.names(folder))
        except OSError as exc:
            raise StoreError(f"{folder} cannot be listed: {exc.strerror}") from exc

    def _read(self, digest: bytes, start: int, size: int) -> Iterator[bytes]:
        """Chunks from `start` on of a file that has `size` bytes."""
        try:
            with open_bounded(self._file(digest), limit=size, files=self._files) as found:
                if found is None:
                    raise missing(digest)
                handle, stored = found
                if stored != size:
                    raise wrong_size(digest, stored, size)
                if start:
                    self._files.seek(handle, start)
                while chunk := self._files.read(handle, CHUNK):
                    yield chunk
        except StoreError as exc:
            raise _unreadable(digest, exc) from exc

    def _file(self, digest: bytes) -> Path:
        return self._path / blob_path(digest)


def _unreadable(digest: bytes, exc: StoreError) -> BlobError:
    return BlobError(f"blob {digest.hex()} is corrupt or unreadable: {exc}", digest=digest)
