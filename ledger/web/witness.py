"""Witnesses over HTTP: the application that serves some, and the client that asks one.

Spec: C2SP tlog-witness, `add-checkpoint`. Requests are not authenticated beyond the log's signature on the checkpoint.
An application may be asked by several threads, and several processes may serve one witness from one store: the store's
compare-and-swap decides between them.
"""

from __future__ import annotations

import threading
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from ..checkpoint import MAX_SIZE, parse_checkpoint, verify_checkpoint
from ..cosign import verify_cosignature
from ..errors import (
    ConsistencyError,
    DecodeError,
    EquivocationError,
    LedgerError,
    SignatureError,
    SizeConflictError,
    StateError,
    escaped,
)
from ..evidence import MAX_EVIDENCE, Equivocation, parse_equivocation
from ..merkle import HASH_SIZE
from ..note import MAX_NOTE, MAX_SIGNATURES, Note, NoteSignature, VerifierKey, parse_note, parse_signature_line
from ..octets import is_octets
from ..witness import Witness
from .client import HttpClient, RemoteError, Response

__all__ = [
    "MAX_ADD_CHECKPOINT",
    "MAX_PROOF",
    "AddCheckpoint",
    "RemoteWitness",
    "parse_add_checkpoint",
    "witness_app",
]

MAX_PROOF: Final = 63
"""Hashes that a request may have."""
_LINE_SIZE: Final = 4 * ((HASH_SIZE + 2) // 3)
MAX_ADD_CHECKPOINT: Final = len(f"old {MAX_SIZE}\n") + MAX_PROOF * (_LINE_SIZE + 1) + 1 + MAX_NOTE
"""Bytes that a request may have."""
_PATH: Final = "add-checkpoint"
_TEXT: Final = "text/plain; charset=utf-8"
_SIZE: Final = "text/x.tlog.size"
_EVIDENCE: Final = "text/x.equivocation"
_REASONS: Final = {
    200: "OK",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    409: "Conflict",
    411: "Length Required",
    413: "Content Too Large",
    422: "Unprocessable Content",
    500: "Internal Server Error",
}


@dataclass(frozen=True, slots=True)
class AddCheckpoint:
    """The body of an `add-checkpoint` request. Shapes: proof up to 63 hashes of 32 bytes, note up to `MAX_NOTE` bytes.

    Raises:
        ValueError: a size, a hash or the note is out of these bounds.
    """

    old_size: int
    proof: tuple[bytes, ...]
    note: bytes

    def __post_init__(self) -> None:
        if not 0 <= self.old_size <= MAX_SIZE or not is_octets(self.note, 1, MAX_NOTE):
            raise ValueError(f"a request has an old size in [0, 2^63 - 1] and a note of at most {MAX_NOTE} bytes")
        if len(self.proof) > MAX_PROOF or not all(is_octets(item, HASH_SIZE) for item in self.proof):
            raise ValueError(f"a request has at most {MAX_PROOF} hashes of {HASH_SIZE} bytes")

    def encode(self) -> bytes:
        """The body: old size line, a line for each hash, an empty line, the note."""
        lines = (b"old %d\n" % self.old_size, *(b64encode(item) + b"\n" for item in self.proof), b"\n")
        return b"".join(lines) + self.note


def parse_add_checkpoint(data: bytes) -> AddCheckpoint:
    """Read the body of a request; the note is not read.

    Run by: the witness, on hostile bytes.

    Raises:
        DecodeError: over `MAX_ADD_CHECKPOINT` bytes, or not the one spelling of a request.
    """
    if len(data) > MAX_ADD_CHECKPOINT:
        raise DecodeError(f"a request of {len(data)} bytes is over {MAX_ADD_CHECKPOINT}")
    head, _, note = data.partition(b"\n\n")
    if head.count(b"\n") > MAX_PROOF:
        raise DecodeError(f"a request has at most {MAX_PROOF} consistency proof lines")
    first, *lines = head.split(b"\n")
    try:
        proof = tuple(b64decode(line, validate=True) for line in lines)
        parsed = AddCheckpoint(_decimal(first.removeprefix(b"old ")), proof, note)
    except ValueError as exc:
        raise DecodeError(f"not an add-checkpoint request: {exc}") from exc
    if parsed.encode() != data:
        raise DecodeError("the add-checkpoint request is not in its one spelling")
    return parsed


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    body: str | bytes
    content_type: str = _TEXT


def witness_app(witnesses: Mapping[str, Witness], clock: Callable[[], int]) -> WSGIApplication:
    """Serve `POST add-checkpoint` for these witnesses, each of one log, by the log's origin.

    Run by: a witness's operator, in one process for many logs.  Units: `clock` gives POSIX seconds.

    Raises:
        ValueError: a witness stands under another origin than that of its log.
    """
    served = dict(witnesses)
    for origin, witness in served.items():
        if witness.log_key.name != origin:
            raise ValueError(f"the witness of {witness.log_key.name} stands under the origin {origin}")

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        answer = _answer(served, clock, environ)
        body = answer.body if isinstance(answer.body, bytes) else answer.body.encode("utf-8", "backslashreplace")
        headers = [("Content-Type", answer.content_type), ("Content-Length", str(len(body)))]
        if answer.status == 405:
            headers.append(("Allow", "POST"))
        start_response(f"{answer.status} {_REASONS[answer.status]}", headers)
        return [body]

    return app


def _answer(witnesses: Mapping[str, Witness], clock: Callable[[], int], environ: WSGIEnvironment) -> _Answer:
    if environ.get("PATH_INFO") != f"/{_PATH}":
        return _Answer(404, "there is only add-checkpoint here\n")
    if environ["REQUEST_METHOD"] != "POST":
        return _Answer(405, "add-checkpoint is asked with POST\n")
    length = environ.get("CONTENT_LENGTH") or ""
    if not (length.isascii() and length.isdigit() and len(length) <= 19):
        return _Answer(411, "a request states its length\n")
    if int(length) > MAX_ADD_CHECKPOINT:
        return _Answer(413, f"a request has at most {MAX_ADD_CHECKPOINT} bytes\n")
    try:
        return _cosigned(witnesses, clock, environ["wsgi.input"].read(int(length)))
    except Exception as exc:  # noqa: BLE001 - the storage, the clock, or a defect: the reason is for the operator alone
        environ["wsgi.errors"].write(f"add-checkpoint: {type(exc).__name__}: {escaped(exc)}\n")
        return _Answer(500, "the witness cannot record checkpoints now\n")


def _cosigned(witnesses: Mapping[str, Witness], clock: Callable[[], int], body: bytes) -> _Answer:
    """The answer to one request. Raises what the storage raises where it fails."""
    try:
        asked = parse_add_checkpoint(body)
        checkpoint = parse_checkpoint(parse_note(asked.note).text)
    except DecodeError as exc:
        return _Answer(400, f"{exc}\n")
    witness = witnesses.get(checkpoint.origin)
    if witness is None:
        return _Answer(404, f"the log {checkpoint.origin} is not witnessed here\n")
    try:
        return _Answer(200, witness.add_checkpoint(asked.old_size, asked.proof, asked.note, now=clock()))
    except DecodeError as exc:
        return _Answer(400, f"{exc}\n")
    except SignatureError as exc:
        return _Answer(403, f"{exc}\n")
    except EquivocationError as exc:
        return _Answer(409, Equivocation(witness.log_key, *exc.evidence).encode(), _EVIDENCE)
    except ConsistencyError as exc:
        if asked.old_size > checkpoint.size:
            return _Answer(400, f"the old size {asked.old_size} is over the checkpoint's {checkpoint.size}\n")
        if isinstance(exc, SizeConflictError):
            return _Answer(409, f"{exc.size}\n", _SIZE)
        return _Answer(422, f"{exc}\n")
    except StateError:
        return _Answer(409, f"{witness.size}\n", _SIZE)  # another request came between


class RemoteWitness:
    """A witness behind HTTP, for `ledger.log.certify`. While a thread waits for its answer, another is turned away.

    `client` has the witness's submission prefix as its address, `key` is the witness's. Its answers are verified here.
    """

    def __init__(self, client: HttpClient, key: VerifierKey) -> None:
        self._client = client
        self._key = key
        self._size = 0
        self._asked = threading.Lock()

    @property
    def verifier(self) -> VerifierKey:
        """The witness's public key, for a policy."""
        return self._key

    @property
    def size(self) -> int:
        """The size last cosigned as far as this client has learned, 0 at first. A wrong one costs one more request."""
        return self._size

    def add_checkpoint(self, old_size: int, proof: Sequence[bytes], note: bytes, *, now: int) -> str:
        """Ask for a cosignature; returns the one line by this witness's key. See `Witness.add_checkpoint`.

        Run by: the log.  `now` is not sent: the witness states the time of its own clock.

        Raises:
            DecodeError: `note` holds no checkpoint, or the witness's answer is malformed.
            SignatureError: the log's signature was refused, or the answer is not signed by the witness.
            SizeConflictError, EquivocationError, ConsistencyError: as the witness raises them.
            RemoteError: any other answer.
            OSError: the witness cannot be reached, or has not answered the last request yet.
            ValueError: the proof is longer than a request may hold.
        """
        parsed = parse_note(note)
        checkpoint = parse_checkpoint(parsed.text)
        if old_size > checkpoint.size:
            raise ConsistencyError(f"a checkpoint of size {checkpoint.size} does not extend size {old_size}")
        answer = self._post(AddCheckpoint(old_size, tuple(proof), bytes(note)).encode())
        if answer.status != 200:
            raise self._refused(answer, bytes(note), checkpoint.origin)
        line = self._line(answer, parsed.text)
        self._size = checkpoint.size
        return line

    def _post(self, body: bytes) -> Response:
        """Ask, and once more if the kept connection was closed meanwhile: asking twice does no harm."""
        if not self._asked.acquire(blocking=False):
            raise TimeoutError(f"{self._key.name} has not answered the last request yet")
        try:
            return self._client.post(_PATH, body, limit=MAX_EVIDENCE)
        except ConnectionError:
            return self._client.post(_PATH, body, limit=MAX_EVIDENCE)
        finally:
            self._asked.release()

    def _line(self, answer: Response, text: str) -> str:
        culprits = (self._key.name,)
        try:
            *lines, rest = answer.body.decode("utf-8").split("\n", MAX_SIGNATURES)
            if rest:
                raise DecodeError(f"not 1 to {MAX_SIGNATURES} lines that end in a newline")
            found = [parse_signature_line(line + "\n") for line in lines]
            ours: list[NoteSignature] = [f for f in found if (f.name, f.key_id) == (self._key.name, self._key.key_id)]
            if not ours:
                raise SignatureError(f"{self._key.name} answered without a cosignature by its key", culprits=culprits)
            verify_cosignature(Note(text, tuple(ours)), self._key)
        except (ValueError, DecodeError) as exc:
            raise DecodeError(f"{self._key.name} answered no signature lines: {exc}", culprits=culprits) from exc
        return ours[0].line()

    def _refused(self, answer: Response, note: bytes, origin: str) -> LedgerError:
        name, culprits = self._key.name, (self._key.name,)
        said = ascii(answer.body[:200].decode("utf-8", "replace").strip())
        kind = answer.content_type.partition(";")[0].strip().lower()
        match answer.status:
            case 400:
                return DecodeError(f"{name} finds the request malformed: {said}")
            case 403:
                return SignatureError(f"{name} refuses the log's signature: {said}")
            case 409 if kind == _SIZE:
                try:
                    size = _decimal(answer.body.removesuffix(b"\n"))
                except ValueError as exc:
                    return DecodeError(f"{name} answered a conflict without a size: {exc}", culprits=culprits)
                if answer.body != b"%d\n" % size:
                    return DecodeError(f"{name} answered a size in another spelling", culprits=culprits)
                self._size = size
                return SizeConflictError(f"{name} needs a proof from size {self._size}", size=self._size)
            case 409 if kind == _EVIDENCE:
                return self._equivocation(answer.body, note, origin)
            case 409 | 422:
                return ConsistencyError(f"{name} refuses the checkpoint as inconsistent: {said}")
        return RemoteError(
            f"{self._client.url}: {name} answered with status {answer.status}: {said}", culprits=culprits
        )

    def _equivocation(self, body: bytes, note: bytes, origin: str) -> LedgerError:
        try:
            found = parse_equivocation(body)
            proven = found.verify()
            if proven.origin != origin:
                raise DecodeError(f"it is against {proven.origin}")
            verify_checkpoint(note, found.log_key)  # anybody can make evidence against a key of his own
        except LedgerError as exc:
            message = f"{self._key.name} claims an equivocation that its evidence does not prove: {exc}"
            return DecodeError(message, culprits=(self._key.name,))
        message = f"{origin} signed two roots for size {proven.size}"
        return EquivocationError(message, evidence=(found.first, found.second), culprits=(origin,))


def _decimal(digits: bytes) -> int:
    if not (digits.isdigit() and len(digits) <= 19) or int(digits) > MAX_SIZE:
        raise ValueError("a size is decimal digits, at most 2^63 - 1")
    return int(digits)
