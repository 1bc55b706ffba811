"""A published log over HTTP: what is served, what is not, and that it verifies as from the folder."""

import gzip
import http.client
import os
import tracemalloc
from collections.abc import Iterable, Iterator
from pathlib import Path
from wsgiref.types import StartResponse, WSGIEnvironment

import pytest

pytest.importorskip("waitress")

from ledger import DecodeError, ProofError, StoreError, publish
from ledger.checkpoint import parse_checkpoint
from ledger.note import parse_note
from ledger.published import published_consistency_proof, published_entry
from ledger.source import DirectorySource
from ledger.tile import Tile
from ledger.verify import verify_log
from ledger.web.client import HttpClient, RemoteError
from ledger.web.log import static_app
from ledger.web.server import Server, running
from ledger.web.source import HttpSource
from tests.ledger.federation import Federation
from tests.ledger.publishing import files, published


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def federation(folder: Path) -> Federation:
    return published(folder, 600)


@pytest.fixture
def server(folder: Path, federation: Federation) -> Iterator[Server]:
    with running(static_app(folder)) as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[HttpClient]:
    with HttpClient(server.url) as client:
        yield client


def _ask(server: Server, method: str, path: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(server.host, server.port, timeout=10)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def test_it_verifies_over_http_as_from_the_folder(folder: Path, federation: Federation, client: HttpClient) -> None:
    shown: list[bytes] = []
    source = HttpSource(client)
    old = source.checkpoint()
    report = verify_log(source, federation.policy, on_entry=lambda _, entry: shown.append(entry))
    assert report == verify_log(DirectorySource(folder), federation.policy)
    assert shown == federation.log.entries()
    publish(federation.log, federation.grow(200), folder)
    assert verify_log(source, federation.policy, old=old).size == 800
    before, now = (parse_checkpoint(parse_note(note).text) for note in (old, source.checkpoint()))
    assert published_consistency_proof(source, before, now) == federation.log.consistency_proof(600, 800)
    assert published_entry(source, now, 777).entry == federation.log.entry(777)
    assert source.hashes(Tile(0, 2, 88)) == [federation.log.subtree(0, i) for i in range(512, 600)]  # partial, now full
    assert source.bundle(Tile(0, 2, 88)) == federation.log.entries(512, 600)


def test_every_file_is_served_as_it_is(folder: Path, server: Server) -> None:
    for name in sorted(files(folder)):
        data = (folder / name).read_bytes()
        status, headers, body = _ask(server, "GET", f"/{name}")
        assert (status, body) == (200, data)
        assert headers["content-length"] == str(len(data))
        assert headers["x-content-type-options"] == "nosniff"
        if name == "checkpoint":
            assert headers["content-type"] == "text/plain; charset=utf-8"
            assert headers["cache-control"] == "public, max-age=2"
        else:
            assert headers["content-type"] == "application/octet-stream"
            assert headers["cache-control"] == "public, max-age=31536000, immutable"
        status, only, body = _ask(server, "HEAD", f"/{name}")
        assert (status, body) == (200, b"")
        assert {name: only[name] for name in only if name != "date"} == {
            name: headers[name] for name in headers if name != "date"
        }


def test_a_large_bundle_is_streamed(folder: Path, federation: Federation, client: HttpClient) -> None:
    federation.log.append_all([bytes([i % 256]) * 65_535 for i in range(168)])
    publish(federation.log, federation.certify(), folder)
    assert (folder / "tile/entries/002").stat().st_size > 10_000_000
    assert verify_log(HttpSource(client), federation.policy).size == 768


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/tile",
        "/tile/",
        "/tile/0",
        "/tile/0/",
        "/checkpoint/",
        "/Checkpoint",
        "/secret",
        "/tile/0/secret",
        "/tile/0/0",
        "/tile/0/0000",
        "/tile/00/000",
        "/tile/64/000",
        "/tile/-1/000",
        "/tile/0/x000/000",
        "/tile/0/000.p",
        "/tile/0/000.p/",
        "/tile/0/000.p/0",
        "/tile/0/000.p/01",
        "/tile/0/007.p/256",
        "/tile/0/000.p/88/",
        "/tile/entries/000/",
        "/tile/data/000",
        "/tile/0/../0/000",
        "/tile/0/%2e%2e/0/000",
        "/../checkpoint",
        "/%2e%2e/secret",
        "/tile/..%2f..%2fsecret",
        "/tile/0/00%30%0a",
        "/checkpoint%0a",
        "/checkpoint%00",
        "/tile/0/%D9%A3%D9%A3%D9%A3",
        "/tile/0/" + "x001/" * 30 + "000",
        "/tile/0/003",
        "/tile/0/002.p/87",
    ],
)
def test_nothing_else_is_served(folder: Path, server: Server, path: str) -> None:
    for place in (folder, folder.parent, folder / "tile/0"):
        (place / "secret").write_bytes(b"secret")
    for name in ("tile/0/x000/000", "tile/0/0", "tile/64/000", "tile/data/000", "tile/0/007.p/256"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"secret")
    status, headers, body = _ask(server, "GET", path)
    assert (status, body) == (404, b"404 Not Found\n")
    assert headers["cache-control"] == "no-store"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_it_is_read_only(folder: Path, server: Server, method: str) -> None:
    status, headers, _ = _ask(server, method, "/checkpoint")
    assert (status, headers["allow"]) == (405, "GET, HEAD")
    assert _ask(server, method, "/secret")[0] == 404
    assert _ask(server, "HEAD", "/secret")[::2] == (404, b"")


def test_what_is_no_file_is_not_served(folder: Path, server: Server) -> None:
    (folder / "tile/0/007").mkdir()
    os.mkfifo(folder / "tile/0/008")
    assert _ask(server, "GET", "/tile/0/007")[0] == 404
    assert _ask(server, "GET", "/tile/0/008")[0] == 404


# --- a server that is not to be trusted -------------------------------------------------------------------------------


def test_a_changed_or_missing_file_is_named(folder: Path, federation: Federation, client: HttpClient) -> None:
    source = HttpSource(client)
    tile = folder / "tile/0/001"
    tile.write_bytes(bytes(8192))
    with pytest.raises(ProofError, match="entry 256 was changed: in tile/entries/001"):
        verify_log(source, federation.policy)
    tile.unlink()
    with pytest.raises(ProofError, match="tile/0/001 is missing"):
        verify_log(source, federation.policy)
    tile.write_bytes(bytes(8193))
    with pytest.raises(RemoteError, match="tile/0/001: 8193 bytes, more than the 8192 it may have"):
        verify_log(source, federation.policy)
    (folder / "checkpoint").unlink()
    with pytest.raises(DecodeError, match=f"{client.url} holds no checkpoint"):
        verify_log(source, federation.policy)


def _encoded(body: bytes, encoding: str) -> Iterator[HttpClient]:
    """A client of a server that answers everything with this body."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        assert environ["HTTP_ACCEPT_ENCODING"] == "gzip, identity"
        start_response("200 OK", [("Content-Encoding", encoding), ("Content-Length", str(len(body)))])
        return (body,)

    with running(app) as server, HttpClient(server.url) as client:
        yield client


def test_a_log_that_is_served_compressed_is_read() -> None:
    data = bytes(range(256)) * 32
    for body, encoding in ((gzip.compress(data, mtime=0), "gzip"), (gzip.compress(data), "GZIP"), (data, "identity")):
        for client in _encoded(body, encoding):
            assert b"".join(HttpSource(client).hashes(Tile(0, 0))) == data


@pytest.mark.parametrize(
    ("body", "encoding", "words"),
    [
        (b"br", "br", "in the encoding 'br'"),
        (gzip.compress(b"a", mtime=0), "gzip, gzip", "in the encoding 'gzip, gzip'"),
        (b"not gzip", "gzip", r"not gzip \("),
        (gzip.compress(bytes(32), mtime=0)[:-1], "gzip", "gzip that ends early"),
        (gzip.compress(bytes(32), mtime=0) + b"more", "gzip", "or is followed by more"),
        (gzip.compress(bytes(8193), mtime=0), "gzip", "more than the 8192 bytes it may have"),
        (gzip.compress(bytes(5_000_000), mtime=0), "gzip", "more than the 8192 bytes it may have"),
    ],
)
def test_what_cannot_be_decoded_is_refused(body: bytes, encoding: str, words: str) -> None:
    for client in _encoded(body, encoding):
        tracemalloc.start()
        with pytest.raises(RemoteError, match=words):
            HttpSource(client).hashes(Tile(0, 0))
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
        tracemalloc.stop()


def test_a_server_that_is_gone_is_said(folder: Path, federation: Federation) -> None:
    with running(static_app(folder)) as server:
        url = server.url
    with HttpClient(url) as client, pytest.raises(StoreError, match=f"{url}/checkpoint cannot be read: ") as caught:
        HttpSource(client).checkpoint()
    assert caught.value.culprits == (url,)
