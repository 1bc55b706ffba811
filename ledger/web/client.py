"""Asking an HTTP server: bounded answers, one kept connection, no redirects.

Everything that comes back is hostile until its signatures are verified, so this module only bounds it.
"""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import threading
import zlib
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import urlsplit

from ..errors import LedgerError

__all__ = ["HttpClient", "RemoteError", "Response"]

_TIMEOUT: Final = 10.0
_DEADLINE: Final = 6
"""Timeouts that a whole request may take, unless another deadline is given."""
_MAX_CHUNK_LINE: Final = 1024
_CHUNK_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r?\n")


class RemoteError(LedgerError):
    """A server answered something that it may not answer, or more than was asked for; `culprits` is its address."""


@dataclass(frozen=True, slots=True)
class Response:
    """What a server answered."""

    status: int
    content_type: str
    body: bytes


class _Answer(http.client.HTTPResponse):
    """An answer whose chunks have sizes (RFC 9112 §7.1): Python's own reader takes `-1`, and then reads to the end."""

    def _read_next_chunk_size(self) -> int:
        line = self.fp.readline(_MAX_CHUNK_LINE + 1)
        found = _CHUNK_SIZE.fullmatch(line)
        if found is None:
            raise http.client.HTTPException(f"a chunk of size {line[:20]!r}")
        return int(found[1], 16)


class _Deadline:
    """Ends an exchange when its time is up, at whatever step it is: the socket is shut down, which ends every wait.

    A socket's timeout is for one read; a server that sends a byte before each runs out would be read for ever.
    """

    def __init__(self, connection: http.client.HTTPConnection, seconds: float) -> None:
        self._connection = connection
        self._reading: socket.socket | None = None
        self._lock = threading.Lock()
        self._over = self._expired = False
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True
        self._timer.start()

    def check(self) -> None:
        """Go on only if there is time; from here on also the socket that is connected now is shut down."""
        self._reading = self._connection.sock
        if self._expired:
            raise TimeoutError("the time was up before the request was sent")

    def end(self) -> bool:
        """Stop the clock. Whether it had run out."""
        with self._lock:
            self._over = True
        self._timer.cancel()
        return self._expired

    def _cut(self) -> None:
        with self._lock:
            if self._over:
                return
            self._expired = True
            for each in (self._reading, self._connection.sock):
                if each is not None:
                    with suppress(OSError):  # not SSLSocket.shutdown: what is read after it would not be decrypted
                        socket.socket.shutdown(each, socket.SHUT_RDWR)


class HttpClient:
    """A connection to one server, made at the first request and again after it was lost. One thread at a time.

    `url` is `http://` or `https://`, with a path that every request's path is appended to. Certificates of https are
    verified against the system's store. Units: timeout in seconds, for each read and write; deadline in seconds, for a
    whole request and its answer (default: six timeouts).

    Raises:
        ValueError: not such an URL, or no time is given.
    """

    def __init__(self, url: str, *, timeout: float = _TIMEOUT, deadline: float | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ValueError(f"{url!r} is not an http or https address")
        if parts.username is not None or not url.isascii() or not url.isprintable() or " " in url:
            raise ValueError(f"{url!r}: an address is printable ASCII without a user name")
        self._deadline = _DEADLINE * timeout if deadline is None else deadline
        if not (0 < timeout <= threading.TIMEOUT_MAX and 0 < self._deadline <= threading.TIMEOUT_MAX):
            raise ValueError("a server is given some time: a timeout and a deadline above 0 seconds")
        self.url = url.rstrip("/")
        self._prefix = parts.path.rstrip("/")
        self._connection: http.client.HTTPConnection
        if parts.scheme == "https":
            context = ssl.create_default_context()
            self._connection = http.client.HTTPSConnection(parts.hostname, parts.port, timeout=timeout, context=context)
        else:
            self._connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout)
        self._connection.response_class = _Answer

    def get(self, path: str, *, limit: int) -> bytes | None:
        """The body of GET `path` (relative, no leading slash), at most `limit` bytes decoded; None if 404.

        Raises:
            OSError: the server cannot be reached, or is too slow.
            RemoteError: another status than 200 and 404, a longer body, or no HTTP.
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
        deadline = _Deadline(self._connection, self._deadline)
        try:
            response = self._again_if_closed(deadline, method, path, body, limit)
        except BaseException as exc:
            self.close()
            if deadline.end() and isinstance(exc, Exception):
                raise self._late() from exc
            if isinstance(exc, http.client.HTTPException | ValueError) and not isinstance(exc, OSError):
                raise RemoteError(f"{self.url}: not an HTTP answer ({exc!r})", culprits=(self.url,)) from exc
            raise
        if deadline.end():
            self.close()
            raise self._late()
        return response

    def _late(self) -> TimeoutError:
        return TimeoutError(f"{self.url}: no whole answer within {self._deadline:g} seconds")

    def _again_if_closed(self, deadline: _Deadline, method: str, path: str, body: bytes | None, limit: int) -> Response:
        kept = self._connection.sock is not None
        try:
            return self._once(deadline, method, path, body, limit)
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
            if not kept or method != "GET":
                raise
        self.close()
        return self._once(deadline, method, path, body, limit)

    def _once(self, deadline: _Deadline, method: str, path: str, body: bytes | None, limit: int) -> Response:
        if self._connection.sock is None:
            self._connection.connect()
        deadline.check()
        headers = {"Accept-Encoding": "gzip, identity"}
        if body is not None:
            headers["Content-Type"] = "application/octet-stream"
        self._connection.request(method, f"{self._prefix}/{path}", body=body, headers=headers)
        with self._connection.getresponse() as answer:
            data = self._body(path, answer, limit)
        return Response(answer.status, answer.headers.get("Content-Type", ""), self._decoded(path, answer, data, limit))

    def _body(self, path: str, answer: http.client.HTTPResponse, limit: int) -> bytes:
        if answer.length is not None and answer.length > limit:
            raise RemoteError(
                f"{self.url}/{path}: {answer.length} bytes, more than the {limit} it may have", culprits=(self.url,)
            )
        data = answer.read(limit + 1)
        if len(data) > limit:
            raise RemoteError(f"{self.url}/{path}: more than the {limit} bytes it may have", culprits=(self.url,))
        if answer.length:
            raise RemoteError(f"{self.url}/{path}: the answer ended early", culprits=(self.url,))
        return data

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
