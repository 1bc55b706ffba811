"""Asking an HTTP server: bounded answers, one kept connection, no redirects.

Everything that comes back is hostile until its signatures are verified, so this module only bounds it.
"""

from __future__ import annotations

import http.client
import ssl
import zlib
from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import urlsplit

from ..errors import LedgerError

__all__ = ["HttpClient", "RemoteError", "Response"]

_TIMEOUT: Final = 10.0


class RemoteError(LedgerError):
    """A server answered something that it may not answer, or more than was asked for; `culprits` is its address."""


@dataclass(frozen=True, slots=True)
class Response:
    """What a server answered."""

    status: int
    content_type: str
    body: bytes


class HttpClient:
    """A connection to one server, made at the first request and again after it was lost. One thread at a time.

    `url` is `http://` or `https://`, with a path that every request's path is appended to. Certificates of https are
    verified against the system's store. Units: timeout in seconds, for each read and write.

    Raises:
        ValueError: not such an URL.
    """

    def __init__(self, url: str, *, timeout: float = _TIMEOUT) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ValueError(f"{url!r} is not an http or https address")
        if parts.username is not None or not url.isascii() or not url.isprintable() or " " in url:
            raise ValueError(f"{url!r}: an address is printable ASCII without a user name")
        self.url = url.rstrip("/")
        self._prefix = parts.path.rstrip("/")
        self._connection: http.client.HTTPConnection
        if parts.scheme == "https":
            context = ssl.create_default_context()
            self._connection = http.client.HTTPSConnection(parts.hostname, parts.port, timeout=timeout, context=context)
        else:
            self._connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout)

    def get(self, path: str, *, limit: int) -> bytes | None:
        """The body of GET `path` (relative, no leading slash), at most `limit` bytes decoded; None if 404.

        Raises:
            OSError: the server cannot be reached, or is too slow.
            RemoteError: another status than 200 and 404, or a longer body.
        """
        response = self.request("GET", path, limit=limit)
        if response.status == 404:
            return None
        if response.status != 200:
            raise RemoteError(f"{self.url}/{path}: answered with status {response.status}", culprits=(self.url,))
        return response.body

    def post(self, path: str, body: bytes, *, limit: int) -> Response:
        """POST `body` to `path` and return the answer, whatever its status, with a body of at most `limit` bytes.

        Raises:
            OSError: the server cannot be reached, or is too slow. Whether it took the request is then not known.
            RemoteError: a longer body, or no HTTP.
        """
        return self.request("POST", path, body=body, limit=limit)

    def request(self, method: str, path: str, *, body: bytes | None = None, limit: int) -> Response:
        """Send one request; see `get` and `post`. A GET is sent again if a kept connection turns out to be closed."""
        for attempt in (1, 2):
            fresh = self._connection.sock is None
            try:
                return self._once(method, path, body, limit)
            except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
                self.close()
                if fresh or attempt == 2 or method != "GET":
                    raise
            except http.client.HTTPException as exc:
                self.close()
                raise RemoteError(f"{self.url}: not an HTTP answer ({exc!r})", culprits=(self.url,)) from exc
            except BaseException:
                self.close()
                raise
        raise AssertionError("the loop returns or raises")

    def _once(self, method: str, path: str, body: bytes | None, limit: int) -> Response:
        headers = {"Accept-Encoding": "gzip, identity"}
        if body is not None:
            headers["Content-Type"] = "application/octet-stream"
        self._connection.request(method, f"{self._prefix}/{path}", body=body, headers=headers)
        answer = self._connection.getresponse()
        if answer.length is not None and answer.length > limit:
            raise RemoteError(
                f"{self.url}/{path}: {answer.length} bytes, more than the {limit} it may have", culprits=(self.url,)
            )
        data = answer.read(limit + 1)
        if len(data) > limit:
            raise RemoteError(f"{self.url}/{path}: more than the {limit} bytes it may have", culprits=(self.url,))
        if answer.length:
            raise RemoteError(f"{self.url}/{path}: the answer ended early", culprits=(self.url,))
        if not answer.isclosed():
            answer.read()
        return Response(answer.status, answer.headers.get("Content-Type", ""), self._decoded(path, answer, data, limit))

    def _decoded(self, path: str, answer: http.client.HTTPResponse, data: bytes, limit: int) -> bytes:
        """The body without its Content-Encoding (RFC 9110 §8.4): tlog-tiles lets a log send gzip unasked."""
        encoding = answer.headers.get("Content-Encoding", "identity").lower()
        if encoding == "identity" or not data:
            return data
        if encoding not in ("gzip", "x-gzip"):
            raise RemoteError(f"{self.url}/{path}: in the encoding {encoding!r}", culprits=(self.url,))
        inflater = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        try:
            plain = inflater.decompress(data, limit + 1)
        except zlib.error as exc:
            raise RemoteError(f"{self.url}/{path}: not gzip ({exc})", culprits=(self.url,)) from exc
        if len(plain) > limit:
            raise RemoteError(f"{self.url}/{path}: more than the {limit} bytes it may have", culprits=(self.url,))
        if not inflater.eof or inflater.unused_data:
            raise RemoteError(f"{self.url}/{path}: gzip that ends early, or is followed by more", culprits=(self.url,))
        return plain

    def close(self) -> None:
        """Drop the connection; the next request makes a new one."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
