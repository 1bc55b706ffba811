"""Blobs in an object store that speaks the S3 protocol: the only importer of obstore (the extra `object-store`).

Small blobs are put with `If-None-Match: *`, so that a store that obeys it never overwrites one. Larger ones go in
parts, which the store joins in one step; that can only put the same bytes again, since a blob's name is its digest.
An upload that breaks off leaves parts that are billed and not listed: have the bucket's lifecycle rule remove them.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from typing import IO, Any, Final, Self, cast

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import LocalStore, ObjectStore, from_url

from .blob_checks import (
    CHUNK,
    blob_path,
    check_range,
    check_request,
    checked_chunks,
    counted_chunks,
    missing,
    parse_digest,
    wrong_size,
)
from .errors import StoreError

__all__ = ["MOST_LISTED", "ObjectBlobs"]

_PART: Final = 8 << 20
_RETRIES: Final = 3
MOST_LISTED: Final = 1 << 20
"""How many objects below the prefix `ObjectBlobs.digests` takes in: they are held in memory, about 130 bytes each."""
_PREFIX: Final = re.compile(r"([A-Za-z0-9_-][A-Za-z0-9_.-]*/)*", re.ASCII)


# What an address may hold before its host and after its path: user, password, signature.
_CREDENTIALS: Final = re.compile(r"(?<=://)\S*@")
_QUERY: Final = re.compile(r"(?<=\?)[^\s)\"']+")


class ObjectBlobs:
    """Blobs as objects `<prefix>ab/cd/abcd...` (the digest in hexadecimal); see `ledger.blobs.Blobs`.

    What is acknowledged is as durable as the object store says. Its answers are not trusted: sizes bound what is read,
    digests are checked.

    Raises:
        ValueError: obstore's store of local files, which does not sync: use `ledger.DirectoryBlobs`; or a prefix
            that is neither empty nor folders, each with a slash behind it.
    """

    def __init__(self, store: ObjectStore, *, prefix: str = "") -> None:
        if not _PREFIX.fullmatch(prefix):
            raise ValueError(f"{prefix!r} is not a prefix: folders, each with a slash behind it")
        if isinstance(store, LocalStore):
            raise ValueError("obstore does not sync local files to the disk: use DirectoryBlobs")
        self._store = store
        self._prefix = prefix

    @classmethod
    def at(cls, url: str, *, prefix: str = "", config: Mapping[str, str] | None = None) -> Self:
        """The blobs at `s3://bucket`; `config` as obstore takes it (endpoint, region, access_key_id, ...).

        What is not in `config` comes from the environment (AWS_ACCESS_KEY_ID, ...).

        Raises:
            ValueError: not an address or a setting that obstore knows, or one of local files.
        """
        options = dict(config or {})
        client: dict[str, Any] = {"allow_http": options.get("endpoint", "").startswith("http://")}
        try:
            store = from_url(
                url,
                config=cast(Any, options),
                client_options=cast(Any, client),
                retry_config=cast(Any, {"max_retries": _RETRIES}),
            )
        except (BaseError, ValueError) as exc:
            problem = _without_secrets(exc, *options.values())
        else:
            return cls(store, prefix=prefix)
        # What follows is no longer the handler: nothing hangs on the error, neither the address nor a setting.
        raise ValueError(f"{_without_secrets(url)} is not an object store's address: {problem}")

    def put(self, data: bytes) -> bytes:
        """See `Blobs`."""
        return self.put_stream((data[at : at + CHUNK] for at in range(0, len(data), CHUNK)), size=len(data))

    def put_stream(self, chunks: Iterable[bytes], *, size: int) -> bytes:
        """See `Blobs`. The chunks go through a temporary file: an object's name must be known before its first byte."""
        hashed = sha256()
        with tempfile.TemporaryFile() as spool:
            for chunk in counted_chunks(chunks, size):
                hashed.update(chunk)
                _spool(spool, chunk)
            digest = hashed.digest()
            if self._upload(digest, spool, size):
                return digest
        for _ in self.stream(digest, size=size):
            pass  # what stands there already is checked as it is read
        return digest

    def _upload(self, digest: bytes, source: IO[bytes], size: int) -> bool:
        key = self._key(digest)
        source.seek(0)
        with self._reaching("was not written"):
            if size <= _PART:
                try:
                    obstore.put(self._store, key, source.read(), mode="create", use_multipart=False)
                except AlreadyExistsError:
                    return False
            elif self.has(digest):
                return False
            else:
                obstore.put(self._store, key, source, use_multipart=True, chunk_size=_PART, max_concurrency=2)
        return True

    def get(self, digest: bytes, *, size: int) -> bytes:
        """See `Blobs`. The object's size is compared before it is read."""
        return b"".join(self.stream(digest, size=size))

    def stream(self, digest: bytes, *, size: int) -> Iterator[bytes]:
        """See `Blobs`. The object's size is compared before it is read."""
        check_request(digest, size)
        return checked_chunks(self._read(digest, size), digest, size)

    def get_range(self, digest: bytes, start: int, length: int, *, size: int) -> bytes:
        """See `Blobs`."""
        check_request(digest, size)
        check_range(start, length, size)
        with self._reaching("cannot be read"):
            try:
                stored = obstore.head(self._store, self._key(digest))["size"]
                if stored != size:
                    raise wrong_size(digest, stored, size)
                if not length:
                    return b""
                data = bytes(obstore.get_range(self._store, self._key(digest), start=start, length=length))
            except FileNotFoundError as exc:
                raise missing(digest) from exc
        if len(data) != length:
            raise wrong_size(digest, start + len(data), size)
        return data

    def has(self, digest: bytes) -> bool:
        """See `Blobs`."""
        check_request(digest)
        with self._reaching("cannot be read"):
            try:
                obstore.head(self._store, self._key(digest))
            except FileNotFoundError:
                return False
        return True

    def digests(self) -> Iterator[bytes]:
        """See `Blobs`. All are listed before the first is handed out; objects with other names are passed over.

        Raises:
            StoreError: the listing failed, or has more than `MOST_LISTED` objects.
        """
        found, listed = set(), 0
        with self._reaching("cannot be listed"):
            for page in obstore.list(self._store, prefix=self._prefix or None):
                listed += len(page)
                if listed > MOST_LISTED:
                    raise StoreError(
                        f"the object store lists more than {MOST_LISTED} objects: keep them below several prefixes"
                    )
                for item in page:
                    digest = parse_digest(item["path"].rpartition("/")[2])
                    if digest is not None and item["path"] == self._key(digest):
                        found.add(digest)
        return iter(sorted(found))

    def delete(self, digest: bytes) -> None:
        """See `Blobs`."""
        check_request(digest)
        with self._reaching("cannot be deleted"):
            try:
                obstore.delete(self._store, self._key(digest))
            except FileNotFoundError:
                return

    def _read(self, digest: bytes, size: int) -> Iterator[bytes]:
        with self._reaching("cannot be read"):
            try:
                answer = obstore.get(self._store, self._key(digest))
            except FileNotFoundError as exc:
                raise missing(digest) from exc
            stored = answer.meta["size"]
            if stored != size:
                raise wrong_size(digest, stored, size)
            for chunk in answer.stream(min_chunk_size=CHUNK):
                yield bytes(chunk)

    def _key(self, digest: bytes) -> str:
        return self._prefix + blob_path(digest)

    @contextmanager
    def _reaching(self, what: str) -> Iterator[None]:
        try:
            yield
        except (BaseError, OSError) as exc:
            problem = _without_secrets(exc)
            # Not from `exc`: it shows the request, with the address.
            raise StoreError(f"the object store {what}: {problem}; check its address and keys") from None


def _spool(spool: IO[bytes], chunk: bytes) -> None:
    try:
        spool.write(chunk)
        spool.flush()
    except OSError as exc:
        raise StoreError(f"the blob was not written: its temporary file failed ({exc.strerror}): free space") from exc


def _without_secrets(text: object, *secrets: str) -> str:
    """The first line, as obstore shows the request in others; without what addresses hold, and without `secrets`."""
    line = _QUERY.sub("<secret>", _CREDENTIALS.sub("<secret>@", str(text).partition("\n")[0]))
    for secret in secrets:
        line = line.replace(secret, "<secret>") if secret else line
    return line
