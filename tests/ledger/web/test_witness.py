"""`add-checkpoint` over HTTP: every status, hostile requests and answers, races between processes, and SIGKILL."""

import http.client
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import RemoteDisconnected
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import (
    ED25519,
    Checkpoint,
    ConsistencyError,
    DecodeError,
    EquivocationError,
    Log,
    MemoryStore,
    MemoryWitnessStore,
    Policy,
    QuorumError,
    SignatureError,
    SqliteWitnessStore,
    StoreError,
    Tree,
    VerifierKey,
    Witness,
    WitnessState,
    certify,
    leaf_hash,
    parse_note,
    sign_checkpoint,
)
from ledger.cosign import CosigningKey, cosign, cosigner
from ledger.errors import LedgerError, SizeConflictError
from ledger.evidence import Equivocation, parse_equivocation
from ledger.mldsa import MlDsaKey
from ledger.note import MAX_NOTE, NoteSignature, sign_note
from ledger.web.client import HttpClient, RemoteError, Response
from ledger.web.server import running
from ledger.web.witness import (
    MAX_ADD_CHECKPOINT,
    MAX_PROOF,
    AddCheckpoint,
    RemoteWitness,
    parse_add_checkpoint,
    witness_app,
)
from tests.ledger.federation import ORIGIN, key_of

LOG_KEY = VerifierKey(ORIGIN, ED25519, key_of("sequencer").public)
KEY = cosigner("member-1", key_of("member-1"))
TREE = Tree([leaf_hash(b"%d" % i) for i in range(40)])
FORK = Tree([leaf_hash(b"%d" % i) for i in range(4)] + [leaf_hash(b"other")] * 36)
NOW = 1_700_000_000


def note(size: int, tree: Tree = TREE) -> bytes:
    return sign_checkpoint(Checkpoint(ORIGIN, size, tree.root(size)), key_of("sequencer"))


def body(old: int, size: int, tree: Tree = TREE) -> bytes:
    proof = tree.consistency_proof(old, size) if 0 < old < size else []
    return AddCheckpoint(old, tuple(proof), note(size, tree)).encode()


def witness(store: Any = None) -> Witness:
    return Witness("member-1", key_of("member-1"), LOG_KEY, store or MemoryWitnessStore())


@pytest.fixture
def client() -> Iterator[HttpClient]:
    """A client of a served witness that has cosigned size 8."""
    me = witness()
    me.add_checkpoint(0, [], note(8), now=1)
    with running(witness_app({ORIGIN: me}, lambda: NOW)) as server, HttpClient(server.url) as asking:
        yield asking


def ask(client: HttpClient, data: bytes) -> Response:
    return client.post("add-checkpoint", data, limit=1 << 20)


# The request


def test_the_example_of_the_specification_is_read() -> None:
    text = """old 20852014
PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=
jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=
5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=
/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=

example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
— example.com/behind-the-sofa opLqBQsREYCgu6xQkYQwJr9fo45a62DN9EdmHXnZdXNqlcVGlCum2Wks+49/V6267UEjw6QUXTS5Rovnzv++qbSzm9Q=
"""  # noqa: E501
    parsed = parse_add_checkpoint(text.encode())
    assert (parsed.old_size, len(parsed.proof), parsed.proof[0].hex()[:8]) == (20_852_014, 4, "3e544d0a")
    assert parse_note(parsed.note).text.startswith("example.com/behind-the-sofa\n20852163\n")
    assert parsed.encode() == text.encode()


@given(
    st.integers(0, 2**63 - 1),
    st.lists(st.binary(min_size=32, max_size=32), max_size=MAX_PROOF),
    st.binary(min_size=1, max_size=99),
)
def test_requests_round_trip(old: int, proof: list[bytes], data: bytes) -> None:
    request = AddCheckpoint(old, tuple(proof), data)
    assert parse_add_checkpoint(request.encode()) == request


HASH = b"A" * 43 + b"=\n"
MALFORMED = (
    b"",
    b"old 0\n",
    b"old 0\n\n",
    b"0\n\nnote",
    b"old  0\n\nnote",
    b"old 00\n\nnote",
    b"old -1\n\nnote",
    b"old \xd9\xa3\n\nnote",
    b"old 9223372036854775808\n\nnote",
    b"old 99999999999999999999\n\nnote",
    b"OLD 0\n\nnote",
    b"old 0\r\n\r\nnote",
    b"old 0\nnote",
    b"old 8\n" + HASH + b"note",
    b"old 8\n" + HASH[:-5] + b"\n\nnote",
    b"old 8\n" + HASH.replace(b"A=", b"B=") + b"\nnote",
    b"old 8\n" + HASH * (MAX_PROOF + 1) + b"\nnote",
    b"old 0\n\n" + b"x" * (MAX_NOTE + 1),
    b"x" * (MAX_ADD_CHECKPOINT + 1),
)


@pytest.mark.parametrize("data", MALFORMED)
def test_other_spellings_of_requests_are_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        parse_add_checkpoint(data)


def test_requests_are_bounded() -> None:
    largest = AddCheckpoint(2**63 - 1, (bytes(32),) * MAX_PROOF, b"x" * MAX_NOTE)
    assert len(largest.encode()) == MAX_ADD_CHECKPOINT
    assert parse_add_checkpoint(largest.encode()) == largest
    for old, proof, data in (
        (-1, (), b"x"),
        (2**63, (), b"x"),
        (0, (bytes(31),), b"x"),
        (0, (bytes(32),) * (MAX_PROOF + 1), b"x"),
        (0, (), b""),
        (0, (), b"x" * (MAX_NOTE + 1)),
    ):
        with pytest.raises(ValueError, match="a request has"):
            AddCheckpoint(old, proof, data)


# What the witness answers


def test_a_cosignature_is_answered_with_200(client: HttpClient) -> None:
    answer = ask(client, body(8, 12))
    assert (answer.status, answer.content_type) == (200, "text/plain; charset=utf-8")
    assert answer.body.decode() == cosign(note(12), "member-1", key_of("member-1"), now=NOW)
    assert ask(client, body(12, 12)).status == 200  # the same again


def test_another_size_is_answered_with_409_and_the_size(client: HttpClient) -> None:
    for data in (body(0, 12), body(4, 12), body(9, 12), body(0, 8, FORK), body(0, 4), body(7, 7)):
        assert ask(client, data) == Response(409, "text/x.tlog.size", b"8\n")


def test_another_root_for_the_size_is_answered_with_409_and_evidence(client: HttpClient) -> None:
    answer = ask(client, body(8, 8, FORK))
    assert (answer.status, answer.content_type) == (409, "text/x.equivocation")
    assert parse_equivocation(answer.body) == Equivocation(LOG_KEY, note(8), note(8, FORK))


def test_the_other_refusals(client: HttpClient) -> None:
    stranger = sign_checkpoint(Checkpoint(ORIGIN, 12, TREE.root(12)), key_of("stranger"))
    foreign = sign_checkpoint(Checkpoint("example.com/other", 12, TREE.root(12)), key_of("sequencer"))
    extended = sign_note(Checkpoint(ORIGIN, 12, TREE.root(12)).text() + "more\n", ORIGIN, key_of("sequencer"))
    cases = (
        (422, AddCheckpoint(8, (), note(12)).encode()),
        (422, AddCheckpoint(8, (bytes(32),), note(12)).encode()),
        (422, AddCheckpoint(8, (bytes(32),), note(8)).encode()),
        (422, body(8, 12, FORK)),
        (403, AddCheckpoint(8, tuple(TREE.consistency_proof(8, 12)), stranger).encode()),
        (404, AddCheckpoint(8, tuple(TREE.consistency_proof(8, 12)), foreign).encode()),
        (400, AddCheckpoint(8, (), note(4)).encode()),
        (400, AddCheckpoint(13, (), note(12)).encode()),
        (400, AddCheckpoint(8, (), b"no note").encode()),
        (400, AddCheckpoint(8, (), extended.encode()).encode()),
        (400, AddCheckpoint(8, (), sign_note("no checkpoint\n", ORIGIN, key_of("sequencer")).encode()).encode()),
        *((400, data) for data in MALFORMED[:-1]),
        (413, MALFORMED[-1]),
    )
    for status, data in cases:
        answer = ask(client, data)
        assert (answer.status, answer.content_type) == (status, "text/plain; charset=utf-8"), data[:80]
        assert answer.body.endswith(b"\n")
    assert ask(client, body(8, 12)).status == 200  # none of them changed anything


def test_other_methods_and_paths(client: HttpClient) -> None:
    assert client.request("GET", "add-checkpoint", limit=1000).status == 405
    assert client.request("PUT", "add-checkpoint", body=body(8, 12), limit=1000).status == 405
    for path in ("", "add-checkpoint/", "other", "add-checkpoint/x"):
        assert client.post(path, body(8, 12), limit=1000).status == 404
    host = http.client.HTTPConnection(client.url.removeprefix("http://"))
    host.request("GET", "/add-checkpoint")
    assert host.getresponse().headers["Allow"] == "POST"
    host.close()


def environ_of(data: bytes, **changes: str) -> dict[str, Any]:
    plain = {"PATH_INFO": "/add-checkpoint", "REQUEST_METHOD": "POST", "CONTENT_LENGTH": str(len(data))}
    return {**plain, "wsgi.input": BytesIO(data), "wsgi.errors": StringIO(), **changes}


def answer_of(me: Witness, environ: dict[str, Any]) -> tuple[str, bytes]:
    lines: list[str] = []

    def start(line: str, headers: list[tuple[str, str]], exc_info: object = None) -> Callable[[bytes], object]:
        lines.append(line)
        return lambda data: None

    found = b"".join(witness_app({ORIGIN: me}, lambda: NOW)(environ, start))
    return lines[0], found


def test_a_request_states_its_length() -> None:
    for length in ("", "x", "-1", "\u0663", "9" * 20):
        environ = environ_of(body(0, 8), CONTENT_LENGTH=length)
        assert answer_of(witness(), environ)[0] == "411 Length Required"
    assert answer_of(witness(), environ_of(body(0, 8), CONTENT_LENGTH="9" * 19))[0].startswith("413")
    short = environ_of(body(0, 8)[:-10], CONTENT_LENGTH=str(len(body(0, 8))))  # the connection was lost
    assert answer_of(witness(), short)[0].startswith("400")


class _Failing(MemoryWitnessStore):
    def compare_and_swap(self, expected: WitnessState | None, new: WitnessState) -> None:
        raise StoreError("/secret/path: the disk is full")


def test_a_failing_disk_is_told_to_the_operator_alone() -> None:
    environ = environ_of(body(0, 8))
    status, said = answer_of(witness(_Failing()), environ)
    assert status == "500 Internal Server Error"
    assert said == b"the witness cannot record checkpoints now\n"
    assert "/secret/path" in environ["wsgi.errors"].getvalue()


class _Broken(MemoryWitnessStore):
    def load(self) -> WitnessState | None:
        raise OSError("/secret/\x1b[2Jpath: input/output error\x9b")


@pytest.mark.parametrize(("store", "now"), [(_Broken(), NOW), (MemoryWitnessStore(), -1)])
def test_whatever_fails_is_answered_with_500_and_tells_nothing(store: MemoryWitnessStore, now: int) -> None:
    lines: list[str] = []
    environ = environ_of(body(0, 8))
    app = witness_app({ORIGIN: witness(store)}, lambda: now)
    said = b"".join(app(environ, lambda *a: lines.append(a[0])))  # type: ignore[arg-type]
    assert lines == ["500 Internal Server Error"]
    assert said == b"the witness cannot record checkpoints now\n"
    told = environ["wsgi.errors"].getvalue()
    assert told.startswith("add-checkpoint: OSError: " if now > 0 else "add-checkpoint: ValueError: ")
    assert told.removesuffix("\n").isprintable()


def test_a_closed_store_is_answered_with_500(tmp_path: Path) -> None:
    store = SqliteWitnessStore(tmp_path / "w.db")
    store.close()
    assert answer_of(witness(store), environ_of(body(0, 8)))[0].startswith("500")


def test_a_lost_race_is_answered_with_the_size_to_start_from() -> None:
    class Racing(MemoryWitnessStore):
        def compare_and_swap(self, expected: WitnessState | None, new: WitnessState) -> None:
            super().compare_and_swap(expected, WitnessState(12, TREE.root(12), note(12)))
            super().compare_and_swap(expected, new)

    assert answer_of(witness(Racing()), environ_of(body(0, 8))) == ("409 Conflict", b"12\n")


def test_one_process_serves_many_logs() -> None:
    logs = {f"example.com/{i}": Log(MemoryStore(), f"example.com/{i}", key_of(str(i))) for i in range(3)}
    for log in logs.values():
        log.append(b"entry")
    served = {origin: Witness("w", key_of("w"), log.verifier, MemoryWitnessStore()) for origin, log in logs.items()}
    with running(witness_app(served, lambda: NOW)) as server:
        for log in logs.values():
            policy = Policy(log.origin, log.verifier, (cosigner("w", key_of("w")),))
            with HttpClient(server.url) as asking:
                certificate = certify(log, {"w": RemoteWitness(asking, policy.witnesses[0])}, policy, now=0)
            assert certificate.checkpoint.origin == log.origin
    with pytest.raises(ValueError, match=r"stands under the origin example\.com/0"):
        witness_app({"example.com/0": served["example.com/1"]}, lambda: NOW)


# The client, and answers that a hostile or foreign witness may give


@contextmanager
def answering(status: str, content_type: str, data: bytes) -> Iterator[RemoteWitness]:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response(status, [("Content-Type", content_type), ("Content-Length", str(len(data)))])
        return [data]

    with running(app) as server, HttpClient(server.url) as asking:
        yield RemoteWitness(asking, KEY)


LINE = cosign(note(8), "member-1", key_of("member-1"), now=NOW).encode()
OTHERS = cosign(note(8), "member-2", key_of("member-2"), now=NOW).encode()


def test_the_line_by_its_key_is_taken_from_among_others() -> None:
    with answering("200 OK", "text/plain", OTHERS + LINE + OTHERS) as remote:
        assert remote.add_checkpoint(0, [], note(8), now=0) == LINE.decode()
        assert remote.size == 8


BAD = NoteSignature("member-1", KEY.key_id, bytes(72)).line().encode()
OLDER = cosign(note(7), "member-1", key_of("member-1"), now=NOW).encode()
SPLIT = Equivocation(LOG_KEY, note(8), note(8, FORK))


@pytest.mark.parametrize(
    ("status", "content_type", "data", "error", "words"),
    [
        ("200 OK", "text/plain", OTHERS, SignatureError, "without a cosignature by its key"),
        ("200 OK", "text/plain", BAD, SignatureError, "is bad"),
        ("200 OK", "text/plain", LINE + BAD, SignatureError, "is bad"),
        ("200 OK", "text/plain", OLDER, SignatureError, "is bad"),
        ("200 OK", "text/plain", b"", SignatureError, "without a cosignature"),
        ("200 OK", "text/plain", LINE[:-1], DecodeError, "no signature lines"),
        ("200 OK", "text/plain", b"garbage\n", DecodeError, "no signature lines"),
        ("200 OK", "text/plain", b"\xff\n", DecodeError, "no signature lines"),
        ("200 OK", "text/plain", OTHERS * 65, DecodeError, "no signature lines"),
        ("200 OK", "text/plain", b"x" * (1 << 20), RemoteError, "more than the"),
        ("400 Bad Request", "text/plain", b"why", DecodeError, "malformed: 'why'"),
        ("403 Forbidden", "text/plain", b"\x1b[2J", SignatureError, r"refuses the log's signature: '\\x1b"),
        ("404 Not Found", "text/plain", b"", RemoteError, "answered with status 404"),
        ("409 Conflict", "text/x.tlog.size", b"5\n", SizeConflictError, "needs a proof from size 5"),
        ("409 Conflict", "Text/X.Tlog.Size; a=b", b"5\n", SizeConflictError, "needs a proof from size 5"),
        ("409 Conflict", "text/x.tlog.size", b"", DecodeError, "without a size"),
        ("409 Conflict", "text/x.tlog.size", b"5", DecodeError, "another spelling"),
        ("409 Conflict", "text/x.tlog.size", b"05\n", DecodeError, "another spelling"),
        ("409 Conflict", "text/x.tlog.size", b"-5\n", DecodeError, "without a size"),
        ("409 Conflict", "text/x.tlog.size", b"9223372036854775808\n", DecodeError, "without a size"),
        ("409 Conflict", "text/plain", b"", ConsistencyError, "inconsistent"),
        ("409 Conflict", "text/x.equivocation", SPLIT.encode(), EquivocationError, "two roots for size 8"),
        ("409 Conflict", "text/x.equivocation", b"garbage", DecodeError, "does not prove"),
        (
            "409 Conflict", "text/x.equivocation", Equivocation(LOG_KEY, note(8), note(9)).encode(), DecodeError,
            "does not prove: .* do not contradict",
        ),
        ("422 Unprocessable Content", "text/plain", b"why", ConsistencyError, "inconsistent: 'why'"),
        ("500 Internal Server Error", "text/plain", b"", RemoteError, "answered with status 500"),
        ("302 Found", "text/plain", b"", RemoteError, "answered with status 302"),
    ],
)  # fmt: skip
def test_every_answer_has_its_error(
    status: str, content_type: str, data: bytes, error: type[LedgerError], words: str
) -> None:
    with answering(status, content_type, data) as remote:
        with pytest.raises(error, match=words) as caught:
            remote.add_checkpoint(0, [], note(8), now=0)
        assert type(caught.value) is error
        assert remote.size == (5 if error is SizeConflictError else 0)


def test_evidence_against_another_log_proves_nothing_here() -> None:
    other = VerifierKey("example.com/other", ED25519, key_of("sequencer").public)
    notes = (sign_checkpoint(Checkpoint(other.name, 8, tree.root(8)), key_of("sequencer")) for tree in (TREE, FORK))
    with answering("409 Conflict", "text/x.equivocation", Equivocation(other, *notes).encode()) as remote:
        with pytest.raises(DecodeError, match=r"against example\.com/other") as caught:
            remote.add_checkpoint(0, [], note(8), now=0)
        assert caught.value.culprits == ("member-1",)


def test_evidence_is_against_the_key_that_signed_the_note() -> None:
    """Anybody can make a key of the log's name that signs two roots: it says nothing about the log."""
    own = key_of("stranger")
    notes = (sign_checkpoint(Checkpoint(ORIGIN, 8, tree.root(8)), own) for tree in (TREE, FORK))
    made = Equivocation(VerifierKey(ORIGIN, ED25519, own.public), *notes)
    assert made.verify().origin == ORIGIN
    with answering("409 Conflict", "text/x.equivocation", made.encode()) as remote:
        with pytest.raises(DecodeError, match="does not prove") as caught:
            remote.add_checkpoint(0, [], note(8), now=0)
        assert caught.value.culprits == ("member-1",)


def test_what_can_be_refused_here_is_not_sent() -> None:
    with HttpClient("http://127.0.0.1:9") as nobody:
        remote = RemoteWitness(nobody, KEY)
        with pytest.raises(ConsistencyError, match="does not extend size 9"):
            remote.add_checkpoint(9, [], note(8), now=0)
        with pytest.raises(DecodeError):
            remote.add_checkpoint(0, [], b"garbage", now=0)
        with pytest.raises(ValueError, match="at most 63"):
            remote.add_checkpoint(8, [bytes(32)] * 64, note(12), now=0)
        with pytest.raises(ConnectionRefusedError):
            remote.add_checkpoint(0, [], note(8), now=0)


def test_a_kept_connection_that_was_closed_is_made_again(client: HttpClient, monkeypatch: pytest.MonkeyPatch) -> None:
    remote, post, calls = RemoteWitness(client, KEY), client.post, []

    def closing(path: str, data: bytes, *, limit: int) -> Response:
        calls.append(path)
        if len(calls) % 2:
            raise RemoteDisconnected("the server closed the connection")
        return post(path, data, limit=limit)

    monkeypatch.setattr(client, "post", closing)
    remote.add_checkpoint(8, TREE.consistency_proof(8, 12), note(12), now=0)
    assert len(calls) == 2


def test_far_witnesses_certify_a_log() -> None:
    log = Log(MemoryStore(), ORIGIN, key_of("sequencer"))
    keys: dict[str, CosigningKey] = {
        "w1": key_of("w1"),
        "w2": MlDsaKey.from_seed(bytes(32)),
        "w3": key_of("w3"),
        "w4": key_of("w4"),
    }
    policy = Policy(ORIGIN, log.verifier, tuple(cosigner(name, key) for name, key in keys.items()))
    apps = {name: witness_app({ORIGIN: Witness(name, key, log.verifier, MemoryWitnessStore())}, lambda: NOW)
            for name, key in keys.items()}  # fmt: skip
    with (
        running(apps["w1"]) as one,
        running(apps["w2"]) as two,
        running(apps["w3"]) as three,
        HttpClient("http://127.0.0.1:9") as nobody,
    ):
        clients = [HttpClient(server.url) for server in (one, two, three)] + [nobody]
        far = {key.name: RemoteWitness(reached, key) for key, reached in zip(policy.witnesses, clients, strict=True)}
        for round_ in range(3):
            log.append_all([b"%d" % i for i in range(5)])
            assert certify(log, far, policy, now=0).cosigners == ("w1", "w2", "w3")
            assert far["w1"].size == 5 * (round_ + 1)
        with pytest.raises(QuorumError, match="has 2") as caught:
            certify(log, {**far, "w1": None}, policy, now=0)
        assert "w4" in caught.value.missing
        for reached in clients:
            reached.close()


def test_certify_learns_the_size_from_the_witness() -> None:
    log = Log(MemoryStore(), ORIGIN, key_of("sequencer"))
    me = witness()
    policy = Policy(ORIGIN, log.verifier, (me.verifier,))
    with running(witness_app({ORIGIN: me}, lambda: NOW)) as server:
        for size in (3, 8):
            log.append_all([b"%d" % i for i in range(log.size, size)])
            with HttpClient(server.url) as fresh:  # a new client knows no size
                assert certify(log, {"member-1": RemoteWitness(fresh, KEY)}, policy, now=0).checkpoint.size == size
