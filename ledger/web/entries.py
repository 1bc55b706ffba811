"""`POST add-entries`: handing signed entries to a sequencer over HTTP.

Request: the entries, each behind its length as a big-endian uint16 (the entry bundle of C2SP tlog-tiles, but as many
as fit). Reply 200: one line for each entry, in order: its index in the log in decimal, or `- ` and why it was refused.
What has an index is durable. 400: not such a request. 413: too long. 503: nothing is acknowledged, try again after the
seconds in `Retry-After`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Final
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from ..entry import MAX_ENTRY
from ..errors import BusyError, DecodeError, StateError, StoreError, VerifierError
from ..sequencer import MAX_REASON, Admission, Sequencer
from ..tile import decode_bundle
from .client import HttpClient, RemoteError

__all__ = [
    "ADD_ENTRIES",
    "MAX_ADD_ENTRIES",
    "MAX_BODY",
    "decode_admissions",
    "decode_entries",
    "encode_admissions",
    "encode_entries",
    "entries_app",
    "submit",
]

ADD_ENTRIES: Final = "add-entries"
"""The path, below the log's address."""
MAX_BODY: Final = 16 * 1024 * 1024
"""Bytes a request may have."""
MAX_ADD_ENTRIES: Final = 16_384
"""Entries a request may hold."""
_LINE: Final = 4 * (MAX_REASON + 2) + 1  # bytes of a line: UTF-8 takes up to 4 a character
_SOON: Final = "1"
_LATER: Final = "30"


def encode_entries(entries: Sequence[bytes]) -> bytes:
    """The body of a request.

    Raises:
        ValueError: there are none or too many, one is empty or over `MAX_ENTRY` bytes, or all are over `MAX_BODY`.
    """
    if not 1 <= len(entries) <= MAX_ADD_ENTRIES or not all(1 <= len(entry) <= MAX_ENTRY for entry in entries):
        raise ValueError(f"a request holds 1 to {MAX_ADD_ENTRIES} entries of 1 to {MAX_ENTRY} bytes")
    body = b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)
    if len(body) > MAX_BODY:
        raise ValueError(f"a request of {len(body)} bytes is over {MAX_BODY}: divide it")
    return body


def decode_entries(body: bytes) -> list[bytes]:
    """The entries of a request.

    Run by: the sequencer, on hostile bytes.

    Raises:
        DecodeError: not what `encode_entries` writes.
    """
    if len(body) > MAX_BODY:
        raise DecodeError(f"a request of {len(body)} bytes is over {MAX_BODY}")
    entries = decode_bundle(body, most=MAX_ADD_ENTRIES)
    if not entries or not all(entries):
        raise DecodeError("a request holds at least one entry, and none is empty")
    return entries


def encode_admissions(admissions: Sequence[Admission]) -> bytes:
    """The body of a reply."""
    return "".join(_line(each) for each in admissions).encode()


def decode_admissions(body: bytes, count: int) -> list[Admission]:
    """The admissions of a reply to `count` entries.

    Run by: whoever sent them, on hostile bytes.

    Raises:
        DecodeError: not the one spelling of so many admissions.
    """
    if len(body) > count * _LINE:
        raise DecodeError(f"the reply to {count} entries has {len(body)} bytes, more than it may have")
    try:
        lines = body.decode().split("\n")
        if lines.pop() or len(lines) != count:
            raise DecodeError(f"the reply to {count} entries has other than {count} lines")
        admissions = [_admission(line) for line in lines]
    except ValueError as exc:
        raise DecodeError(f"not a reply to {count} entries: {exc}") from exc
    if encode_admissions(admissions) != body:
        raise DecodeError("the reply has numbers in another than their one spelling")
    return admissions


def _line(admission: Admission) -> str:
    return f"- {admission.reason}\n" if admission.index is None else f"{admission.index}\n"


def _admission(line: str) -> Admission:
    if line.startswith("- "):
        return Admission(reason=line[2:])
    if len(line) > 19:
        raise DecodeError("an index has at most 19 digits")
    return Admission(index=int(line))


def submit(client: HttpClient, entries: Sequence[bytes]) -> list[Admission]:
    """Send entries to a sequencer, and return what it says became of each.

    Run by: whoever has signed entries. What it says is believed only when a certified checkpoint covers the entry.

    Raises:
        OSError: the server cannot be reached, or is too slow. Whether it took the entries is then not known.
        BusyError: it took nothing, or does not know whether it did: try again later. Replay ignores what came twice.
        RemoteError: it refused the request as a whole, or answered what it may not answer; `culprits` is its address.
        ValueError: see `encode_entries`.
    """
    response = client.post(ADD_ENTRIES, encode_entries(entries), limit=max(1024, len(entries) * _LINE))
    if response.status == HTTPStatus.SERVICE_UNAVAILABLE:
        raise BusyError(f"{client.url}: {_shown(response.body)}", culprits=(client.url,))
    if response.status != HTTPStatus.OK:
        raise RemoteError(f"{client.url}: status {response.status}: {_shown(response.body)}", culprits=(client.url,))
    try:
        return decode_admissions(response.body, len(entries))
    except DecodeError as exc:
        raise RemoteError(f"{client.url}: {exc}", culprits=(client.url,)) from exc


def _shown(body: bytes) -> str:
    text = body[: 4 * MAX_REASON].decode(errors="replace")[:MAX_REASON].strip()
    return "".join(c if c.isprintable() else "?" for c in text) or "without a reason"


def entries_app(sequencer: Sequencer) -> WSGIApplication:
    """The application that answers `POST /add-entries` and nothing else.

    Run by: the sequencer. A reader that is no party may send whatever it likes: put limits by address in front of it.
    """

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        def answer(status: HTTPStatus, body: bytes, *headers: tuple[str, str]) -> Iterable[bytes]:
            fixed = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
            start_response(f"{status.value} {status.phrase}", [*fixed, *headers])
            return [body]

        if environ.get("PATH_INFO") != f"/{ADD_ENTRIES}":
            return answer(HTTPStatus.NOT_FOUND, b"only add-entries is served here\n")
        if environ["REQUEST_METHOD"] != "POST":
            return answer(HTTPStatus.METHOD_NOT_ALLOWED, b"entries are sent with POST\n", ("Allow", "POST"))
        size = environ.get("CONTENT_LENGTH") or ""
        if not (size.isascii() and size.isdigit()):
            return answer(HTTPStatus.LENGTH_REQUIRED, b"say how long the request is\n")
        if len(size) > 9 or int(size) > MAX_BODY:
            return answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, b"a request has at most %d bytes\n" % MAX_BODY)
        body = environ["wsgi.input"].read(int(size))
        if len(body) != int(size):
            return answer(HTTPStatus.BAD_REQUEST, b"the request ended early\n")
        try:
            admissions = sequencer.admit(decode_entries(body), wait=False)
        except DecodeError as exc:
            return answer(HTTPStatus.BAD_REQUEST, f"{exc}\n".encode())
        except ValueError as exc:
            return answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"{exc}\n".encode())
        except BusyError:
            return answer(HTTPStatus.SERVICE_UNAVAILABLE, b"too many entries wait\n", ("Retry-After", _SOON))
        except (StoreError, VerifierError, StateError):
            failed = b"the log cannot take entries now; whether these are in it is not known\n"
            return answer(HTTPStatus.SERVICE_UNAVAILABLE, failed, ("Retry-After", _LATER))
        return answer(HTTPStatus.OK, encode_admissions(admissions))

    return app
