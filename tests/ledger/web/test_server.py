"""The server stops when it is told to, whoever still holds a connection."""

import threading
from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIEnvironment

import pytest

pytest.importorskip("waitress")

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
