"""`POST add-entries`: framing, replies, and what each failure looks like from outside."""

import io
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("waitress")

from ledger import DecodeError, Log, MemoryStore, StoreError, sign_entry
from ledger.errors import BusyError, StateError, VerifierError
from ledger.sequencer import MAX_REASON, Admission, Sequencer
from ledger.verifying import VerifierPool
from ledger.web.client import HttpClient, RemoteError, Response
from ledger.web.entries import (
    MAX_ADD_ENTRIES,
    MAX_BODY,
    decode_admissions,
    decode_entries,
    encode_admissions,
    encode_entries,
    entries_app,
    submit,
)
from ledger.web.server import running
from tests.ledger.federation import CONTEXT, ORIGIN, key_of, signed

ADMISSIONS = st.integers(0, 2**63 - 1).map(lambda index: Admission(index=index)) | st.text(
    st.characters(categories=["L", "N", "P", "S"], include_characters=" "), min_size=1, max_size=MAX_REASON
).map(lambda reason: Admission(reason=reason))


class Refusing(Sequencer):
    """A sequencer that fails in the stated way."""

    error: Exception = StoreError("the disk is full")

    def admit(self, batch: Sequence[bytes], *, wait: bool = True) -> list[Admission]:
        raise self.error


@pytest.fixture
def sequencer() -> Iterator[Sequencer]:
    with VerifierPool({"client-1": key_of("client-1").public}, context=CONTEXT, workers=0) as pool:
        yield Sequencer(Log(MemoryStore(), ORIGIN, key_of("sequencer")), pool)


def asked(
    sequencer: Sequencer, body: bytes, *, method: str = "POST", path: str = "/add-entries", **environ: str
) -> tuple[str, dict[str, str], bytes]:
    """Status, headers and body of the application's answer."""
    started: list[Any] = []
    wsgi = {"REQUEST_METHOD": method, "PATH_INFO": path, "CONTENT_LENGTH": str(len(body)), **environ}
    parts = entries_app(sequencer)({**wsgi, "wsgi.input": io.BytesIO(body)}, lambda *a: started.extend(a))  # type: ignore[arg-type]
    answer = b"".join(parts)
    headers = dict(started[1])
    assert headers["Content-Length"] == str(len(answer))
    assert headers["Content-Type"] == "text/plain; charset=utf-8"
    return started[0], headers, answer


def test_entries_are_admitted_over_http(sequencer: Sequencer) -> None:
    batch = [signed(1), b"bad", sign_entry(1, "nobody", 0, key_of("x"), context=CONTEXT), signed(2)]
    with running(entries_app(sequencer)) as server, HttpClient(server.url) as client:
        found = submit(client, batch)
        assert [each.index for each in found] == [0, None, None, 1]
        assert found[2].reason == "no key of nobody is known here"
        assert submit(client, [signed(number) for number in range(3, 303)])[-1] == Admission(index=301)
        with HttpClient(server.url + "/elsewhere") as elsewhere, pytest.raises(RemoteError, match="404"):
            submit(elsewhere, batch)
    with sequencer.exclusively() as log:
        assert log.size == 302
        assert log.entry(1) == signed(2)


def test_the_body_is_lines(sequencer: Sequencer) -> None:
    status, _, body = asked(sequencer, encode_entries([signed(1), b"bad", signed(2)]))
    assert status == "200 OK"
    lines = body.decode().split("\n")
    assert (lines[0], lines[2], lines[3]) == ("0", "1", "")
    assert lines[1].startswith("- an entry is a COSE_Sign1")


@pytest.mark.parametrize(
    ("body", "environ", "status"),
    [
        (b"", {}, "400"),
        (b"\x00\x05abc", {}, "400"),
        (b"\x00", {}, "400"),
        (b"\x00\x00", {}, "400"),
        (b"\x00\x01a\x00\x00", {}, "400"),
        (b"\x00\x01a" * (MAX_ADD_ENTRIES + 1), {}, "400"),
        (b"\x00\x01a", {"CONTENT_LENGTH": "4"}, "400"),
        (b"", {"CONTENT_LENGTH": ""}, "411"),
        (b"", {"CONTENT_LENGTH": "-1"}, "411"),
        (b"", {"CONTENT_LENGTH": "１"}, "411"),
        (b"", {"CONTENT_LENGTH": str(MAX_BODY + 1)}, "413"),
        (b"", {"CONTENT_LENGTH": "9" * 5000}, "413"),
        (b"\x00\x01a", {"method": "GET"}, "405"),
        (b"\x00\x01a", {"path": "/"}, "404"),
        (b"\x00\x01a", {"path": "/add-entries/"}, "404"),
    ],
)
def test_other_requests_are_refused(sequencer: Sequencer, body: bytes, environ: dict[str, str], status: str) -> None:
    assert asked(sequencer, body, **environ)[0].startswith(status)
    with sequencer.exclusively() as log:
        assert log.size == 0


@pytest.mark.parametrize(
    ("error", "status", "retry"),
    [
        (BusyError("full"), "503 Service Unavailable", "1"),
        (StoreError("the disk is full"), "503 Service Unavailable", "30"),
        (VerifierError("died"), "503 Service Unavailable", "30"),
        (StateError("closed"), "503 Service Unavailable", "30"),
        (ValueError("no room for so many"), "413 Request Entity Too Large", None),
    ],
)
def test_what_fails_inside_is_not_acknowledged(
    sequencer: Sequencer, error: Exception, status: str, retry: str | None
) -> None:
    refusing = Refusing.__new__(Refusing)
    refusing.error = error
    found, headers, body = asked(refusing, encode_entries([signed(1)]))
    assert found == status
    assert headers.get("Retry-After") == retry
    assert b"disk" not in body
    with running(entries_app(refusing)) as server, HttpClient(server.url) as client:
        expected = BusyError if retry else RemoteError
        with pytest.raises(expected) as caught:
            submit(client, [signed(1)])
        assert caught.value.culprits == (server.url,)


def test_a_full_queue_is_not_waited_for(sequencer: Sequencer) -> None:
    small = Sequencer(sequencer._log, sequencer._pool, room=1000)
    small._taken = 1000
    assert asked(small, encode_entries([signed(1)]))[0].startswith("503")
    small._taken = 0
    assert asked(small, encode_entries([signed(1)]))[0].startswith("200")
    assert asked(small, encode_entries([signed(1)] * 20))[0].startswith("413")


@given(st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=20))
def test_requests_have_one_spelling(entries: list[bytes]) -> None:
    assert decode_entries(encode_entries(entries)) == entries


@given(st.binary(max_size=60))
def test_any_bytes_are_a_request_or_refused(body: bytes) -> None:
    try:
        entries = decode_entries(body)
    except DecodeError:
        return
    assert encode_entries(entries) == body


@pytest.mark.parametrize("entries", [[], [b""], [bytes(65_536)], [b"x"] * (MAX_ADD_ENTRIES + 1), [bytes(65_535)] * 257])
def test_requests_are_bounded_where_they_are_made(entries: list[bytes]) -> None:
    with pytest.raises(ValueError, match="a request"):
        encode_entries(entries)


def test_requests_are_bounded_where_they_are_read() -> None:
    with pytest.raises(DecodeError, match="over 16777216"):
        decode_entries(bytes(MAX_BODY + 1))


@given(st.lists(ADMISSIONS, max_size=8))
def test_replies_have_one_spelling(admissions: list[Admission]) -> None:
    assert decode_admissions(encode_admissions(admissions), len(admissions)) == admissions


@given(st.binary(max_size=40) | st.text("0123456789- \n+_", max_size=12).map(str.encode), st.integers(0, 3))
def test_any_bytes_are_a_reply_or_refused(body: bytes, count: int) -> None:
    try:
        admissions = decode_admissions(body, count)
    except DecodeError:
        return
    assert len(admissions) == count
    assert encode_admissions(admissions) == body


@pytest.mark.parametrize(
    "body",
    [
        b"", b"1", b"1\n2\n", b"1\r\n", b"01\n", b"+1\n", b" 1\n", b"1_0\n", b"-1\n", b"- \n", b"-\n", b"- a\tb\n",
        b"x\n", b"\n", b"9223372036854775808\n", b"1" * 5000 + b"\n", "１\n".encode(), b"\xff\n",
        b"- " + b"x" * 201 + b"\n",
    ],
)  # fmt: skip
def test_other_replies_are_refused(body: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_admissions(body, 1)


class Answers(HttpClient):
    """A server that answers as it likes."""

    def __init__(self, response: Response) -> None:
        super().__init__("http://example.com")
        self._response = response

    def post(self, path: str, body: bytes, *, limit: int) -> Response:
        assert (path, limit >= len(self._response.body)) == ("add-entries", True)
        return self._response


@pytest.mark.parametrize(
    ("status", "body", "why"),
    [
        (200, b"1\n2\n", "other than 1 lines"),
        (200, b"one\n", "not a reply"),
        (500, b"\x00\xff sorry", "status 500: \\?\ufffd sorry"),
        (302, b"", "without a reason"),
    ],
)
def test_servers_that_answer_otherwise_are_blamed(status: int, body: bytes, why: str) -> None:
    with pytest.raises(RemoteError, match=why) as caught:
        submit(Answers(Response(status, "text/plain", body)), [b"entry"])
    assert caught.value.culprits == ("http://example.com",)
