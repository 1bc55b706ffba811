"""A published log over HTTP: a WSGI application that serves the files of one folder and nothing else.

Spec: C2SP tlog-tiles. Tiles and bundles never change, the checkpoint does.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Final
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment
from wsgiref.util import FileWrapper

__all__ = ["static_app"]

_NUMBER: Final = r"(?:x(?!000)[0-9]{3}/(?:x[0-9]{3}/)*)?[0-9]{3}"
_WIDTH: Final = r"(?:\.p/(?:[1-9][0-9]?|1[0-9]{2}|2[0-4][0-9]|25[0-5]))?"
_TILE: Final = re.compile(rf"/tile/(?:[0-9]|[1-5][0-9]|6[0-3]|entries)/{_NUMBER}{_WIDTH}")
_LONGEST: Final = 100
_CHECKPOINT: Final = "/checkpoint"
_FOREVER: Final = "public, max-age=31536000, immutable"
_BRIEFLY: Final = "public, max-age=2"
_BLOCK: Final = 64 * 1024


def static_app(directory: Path) -> WSGIApplication:
    """An application that serves `checkpoint`, tiles and bundles of a folder, on GET and HEAD.

    Run by: the log, or whoever has a copy. What tlog-tiles does not name is not found, whatever the folder holds.
    """
    folder = Path(directory)

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        method = str(environ.get("REQUEST_METHOD", "GET"))
        path = str(environ.get("PATH_INFO", ""))
        checkpoint = path == _CHECKPOINT
        if not checkpoint and not (len(path) <= _LONGEST and _TILE.fullmatch(path)):
            return _refused(start_response, "404 Not Found", method)
        if method not in ("GET", "HEAD"):
            return _refused(start_response, "405 Method Not Allowed", method, ("Allow", "GET, HEAD"))
        file = _opened(folder / path[1:])
        if file is None:
            return _refused(start_response, "404 Not Found", method)
        headers = [
            ("Content-Type", "text/plain; charset=utf-8" if checkpoint else "application/octet-stream"),
            ("Content-Length", str(os.fstat(file.fileno()).st_size)),
            ("Cache-Control", _BRIEFLY if checkpoint else _FOREVER),
            ("X-Content-Type-Options", "nosniff"),
        ]
        start_response("200 OK", headers)
        if method == "HEAD":
            file.close()
            return ()
        wrapper = environ.get("wsgi.file_wrapper", FileWrapper)
        wrapped: Iterable[bytes] = wrapper(file, _BLOCK)
        return wrapped

    return app


def _opened(path: Path) -> IO[bytes] | None:
    """Open a regular file; None if there is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError:
        return None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return None
    return os.fdopen(descriptor, "rb")


def _refused(start_response: StartResponse, status: str, method: str, *more: tuple[str, str]) -> Iterable[bytes]:
    body = f"{status}\n".encode()
    headers = [
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Length", str(len(body))),
        ("Cache-Control", "no-store"),
        *more,
    ]
    start_response(status, headers)
    return () if method == "HEAD" else (body,)
