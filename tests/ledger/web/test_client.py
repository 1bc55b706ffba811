"""The client against servers that answer what they may not, or never to the end."""

import datetime
import socket
import ssl
import threading
import time
from http.client import HTTPConnection
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from ledger.web.client import HttpClient, RemoteError, _Deadline
from tests.ledger.web.hostile import BAD_CHUNKS, CHUNKED, SLOW, answering, dripping, once

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.mark.parametrize("size", BAD_CHUNKS)
def test_a_chunk_has_a_size(size: bytes) -> None:
    with answering(once(CHUNKED + size + b"\r\nabcde\r\n0\r\n\r\n")) as url, HttpClient(url, timeout=5) as client:
        for _ in range(2):  # and the next request is made on another connection
            with pytest.raises(RemoteError, match="not an HTTP answer") as caught:
                client.get("a", limit=100)
            assert caught.value.culprits == (url,)


def test_no_chunk_goes_around_the_limit() -> None:
    sent = 0

    def endless(connection: socket.socket, stop: threading.Event) -> None:
        nonlocal sent
        connection.sendall(CHUNKED + b"-1\r\n")
        while not stop.is_set() and sent < 1 << 27:
            connection.sendall(bytes(1 << 16))
            sent += 1 << 16

    with answering(endless) as url, HttpClient(url, timeout=5) as client, pytest.raises(RemoteError):
        client.get("a", limit=100)
    assert sent < 1 << 26


def test_chunks_are_read() -> None:
    data = CHUNKED + b"A;of=ten \r\n0123456789\r\n003 \t\r\nabc\r\n0\r\ntrailer: x\r\n\r\n"
    with answering(once(data)) as url, HttpClient(url, timeout=5) as client:
        for _ in range(2):
            assert client.get("a", limit=13) == b"0123456789abc"
        with pytest.raises(RemoteError, match="more than the 12 bytes"):
            client.get("a", limit=12)


@pytest.mark.parametrize("what", SLOW)
def test_a_request_has_a_deadline(what: str) -> None:
    with answering(SLOW[what]) as url, HttpClient(url, timeout=5, deadline=0.2) as client:
        for method in ("GET", "POST"):
            start = time.monotonic()
            with pytest.raises(TimeoutError, match=r"no whole answer within 0\.2 seconds"):
                client.request(method, "a", limit=1 << 20)
            assert time.monotonic() - start < 2


def test_a_server_that_reads_nothing_has_a_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf, HttpClient(_url(deaf), timeout=5, deadline=0.2) as client:
        start = time.monotonic()
        with pytest.raises(TimeoutError, match="no whole answer"):
            client.post("a", bytes(1 << 24), limit=100)
        assert time.monotonic() - start < 2


def _url(listener: socket.socket) -> str:
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_an_answer_that_the_deadline_cut_is_none() -> None:
    """A body that lasts until the connection ends looks whole when the client itself ends it."""
    with (
        answering(dripping(b"HTTP/1.1 200 OK\r\n\r\nall of it?", b"", every=5)) as url,
        HttpClient(url, timeout=5, deadline=0.2) as client,
        pytest.raises(TimeoutError, match="no whole answer"),
    ):
        client.get("a", limit=100)


def test_the_deadline_of_one_request_is_not_that_of_the_next() -> None:
    with answering(once(OK)) as url, HttpClient(url, timeout=5, deadline=0.3) as client:
        for _ in range(4):
            assert client.get("a", limit=2) == b"ok"
            time.sleep(0.15)


def test_the_same_over_tls(tls: ssl.SSLContext) -> None:
    with answering(once(OK), tls=tls) as url, HttpClient(url, timeout=5) as client:
        assert client.get("a", limit=2) == b"ok"
        assert client.get("a", limit=2) == b"ok"
    for what in ("the body", "an answer on a connection it gives up", "nothing"):
        with answering(SLOW[what], tls=tls) as url, HttpClient(url, timeout=5, deadline=0.3) as client:
            start = time.monotonic()
            with pytest.raises(TimeoutError, match=r"no whole answer within 0\.3 seconds"):
                client.get("a", limit=1 << 20)
            assert time.monotonic() - start < 2


def test_nothing_is_sent_when_connecting_took_all_the_time(tls: ssl.SSLContext) -> None:
    asked: list[bool] = []
    with (
        answering(lambda *_: asked.append(True), tls=tls, delay=0.4) as url,
        HttpClient(url, timeout=5, deadline=0.1) as client,
        pytest.raises(TimeoutError, match="no whole answer") as caught,
    ):
        client.post("a", b"b", limit=2)
    assert str(caught.value.__cause__) == "the time was up before the request was sent"
    assert asked == []


def test_a_handshake_that_never_ends_has_the_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = _url(silent).replace("http:", "https:")
        with HttpClient(url, timeout=0.2) as client, pytest.raises(TimeoutError):
            client.get("a", limit=2)


def test_a_name_that_no_server_can_have_is_said() -> None:
    with HttpClient(f"http://{'a' * 64}.example") as client, pytest.raises(RemoteError, match="label"):
        client.get("a", limit=2)


def test_a_deadline_that_comes_when_all_is_answered_cuts_nothing() -> None:
    with answering(once(OK)) as url:
        connection = HTTPConnection(url.removeprefix("http://"), timeout=5)
        deadline = _Deadline(connection, 60)
        connection.connect()
        deadline.check()
        assert not deadline.end()
        deadline._cut()
        connection.request("GET", "/")
        assert connection.getresponse().read() == b"ok"
        connection.close()


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf")])
def test_a_server_is_given_some_time(seconds: float) -> None:
    for given in ({"timeout": seconds}, {"deadline": seconds}):
        with pytest.raises(ValueError, match="a timeout and a deadline above 0 seconds"):
            HttpClient("http://localhost", **given)


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """What a server named localhost speaks TLS with; clients trust its certificate."""
    key = Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, None)
    )
    path = tmp_path / "server.pem"
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(secret + certificate.public_bytes(Encoding.PEM))
    trusting = ssl.create_default_context(cafile=path)
    monkeypatch.setattr(ssl, "create_default_context", lambda: trusting)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(path)
    return server
