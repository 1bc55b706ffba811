"""The server stops when it is told to, whoever still holds a connection."""

import threading
import time
from collections.abc import Callable, Iterable
from wsgiref.types import StartResponse, WSGIEnvironment

import pytest

pytest.importorskip("waitress")

from waitress.trigger import trigger

from ledger.web.client import HttpClient
from ledger.web.server import Server, running


def _app(_: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


def test_a_kept_connection_does_not_keep_the_server() -> None:
    server = Server(_app)
    thread = threading.Thread(target=server.run)
    thread.start()
    with HttpClient(server.url) as client:
        assert client.get("", limit=2) == b"ok"
        server.close()
        thread.join(timeout=5)
        assert not thread.is_alive()
        server.close()
        with pytest.raises(OSError):
            client.get("", limit=2)


def test_a_server_that_never_ran_lets_go_of_its_port() -> None:
    first = Server(_app)
    first.close()
    second = Server(_app, port=first.port)
    second.close()
    second.run()  # returns at once


def test_running_for_a_block() -> None:
    with running(_app) as server, HttpClient(server.url) as client:
        assert client.get("", limit=2) == b"ok"
    with pytest.raises(OSError):
        HttpClient(server.url).get("", limit=2)


def test_no_worker_writes_to_a_pipe_that_is_closed(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A byte to the thread that waits on sockets, after its pipe is closed, may go into any file opened since then."""
    real, closing, woken = trigger.pull_trigger, threading.Event(), threading.Event()

    def late(self: trigger, thunk: Callable[[], None] | None = None) -> None:
        if thunk is None:  # a worker that has answered
            closing.wait(timeout=5)
            time.sleep(0.1)
            woken.set()
        real(self, thunk)

    monkeypatch.setattr(trigger, "pull_trigger", late)
    with running(_app) as server, HttpClient(server.url) as client:
        assert client.get("", limit=2) == b"ok"
        closing.set()
        server.close()
        assert woken.wait(timeout=5)
    assert [record for record in caplog.records if record.exc_info] == []
