"""A published log read over HTTP.

Spec: C2SP tlog-tiles.
"""

from __future__ import annotations

from ..errors import StoreError
from ..source import FileSource
from .client import HttpClient

__all__ = ["HttpSource"]


class HttpSource(FileSource):
    """A log at an address. One thread at a time.

    A server that cannot be reached, or is too slow, raises StoreError; one that answers what it may not, RemoteError.
    """

    def __init__(self, client: HttpClient) -> None:
        self._client = client
        super().__init__(self._fetch, client.url)

    def _fetch(self, path: str, limit: int) -> bytes | None:
        try:
            return self._client.get(path, limit=limit)
        except OSError as exc:
            raise StoreError(f"{self._client.url}/{path} cannot be read: {exc}", culprits=(self._client.url,)) from exc
