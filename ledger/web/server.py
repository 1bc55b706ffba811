"""Running a WSGI application over HTTP/1.1: the only importer of waitress (the extra `server`).

It speaks plain HTTP. Across machines, put a reverse proxy with TLS in front of it; the formats are signed, so a network
that changes bytes is noticed, but one that reads them reads them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final
from wsgiref.types import WSGIApplication

import waitress
from waitress import wasyncore

__all__ = ["MAX_REQUEST", "Server", "running"]

MAX_REQUEST: Final = 16 * 1024 * 1024
"""Bytes a request's body may have; the server refuses more with 413 before the application sees it."""
_IDLE_SECONDS: Final = 30


class Server:
    """A bound and listening server for one application.

    Raises:
        OSError: the address is taken or not of this machine.
    """

    def __init__(self, app: WSGIApplication, *, host: str = "127.0.0.1", port: int = 0, threads: int = 4) -> None:
        self._server: Any = waitress.create_server(
            app,
            host=host,
            port=port,
            threads=threads,
            ident=None,
            max_request_body_size=MAX_REQUEST,
            channel_timeout=_IDLE_SECONDS,
            clear_untrusted_proxy_headers=True,
        )
        self._started = self._closed = False
        self.host = host
        self.port: int = self._server.effective_port

    @property
    def url(self) -> str:
        """Where it listens, without a slash at the end."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    def run(self) -> None:
        """Serve until `close`, or until the process is interrupted."""
        self._started = True
        self._server.run()
        self._server.task_dispatcher.shutdown()

    def close(self) -> None:
        """Stop serving: kept connections are dropped, no new request is taken, and `run` returns. From any thread.

        Closing twice does nothing.
        """
        if self._closed:
            return
        self._closed = True
        if not self._started:
            self._stop()
            return
        woken = threading.Event()

        def stop() -> None:
            woken.wait()  # it may be awake already: the pipe that wakes it is not closed while it is written to
            self._stop()

        self._server.trigger.pull_trigger(stop)  # sockets are closed by the thread that waits on them
        woken.set()

    def _stop(self) -> None:
        for channel in list(self._server.active_channels.values()):
            channel.handle_close()  # with the temporary files of large answers
        # The workers end before the pipe is closed that they wake this thread by: they would write to a closed
        # descriptor, or to the file that has its number by then.
        self._server.task_dispatcher.shutdown()
        wasyncore.close_all(self._server._map)


@contextmanager
def running(app: WSGIApplication, *, host: str = "127.0.0.1", port: int = 0, threads: int = 4) -> Iterator[Server]:
    """Serve an application in a thread of this process for as long as the block runs. For tests and for embedding."""
    server = Server(app, host=host, port=port, threads=threads)
    thread = threading.Thread(target=_run_quietly, args=(server,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.close()
        thread.join(timeout=10)


def _run_quietly(server: Server) -> None:
    try:
        server.run()
    except OSError:
        return  # the listening socket was closed under the loop: that is how it is told to stop
