"""What is on a ledger, entry by entry, and how final it is."""

import json
from pathlib import Path

import pytest

from ledger import DirectoryBlobs, Log, MemoryBlobs, MemoryStore, SigningKey, publish
from ledger.policy_file import TrustedLog, TrustPolicy
from ledger.proof import LogProof
from secure_bfl.board import Board
from secure_bfl.errors import UnverifiedError
from secure_bfl.inspection import Finality, anchored_text, inspect
from secure_bfl.layout import PublicFolder
from secure_bfl.messages import Kind
from tests.secure_bfl.federation import NOW, Federation, digest
from tests.secure_bfl.script import Script


def published(federation: Federation, folder: Path) -> PublicFolder:
    public = PublicFolder(folder)
    certificate = federation.board.certify(federation.witnesses, now=NOW)
    publish(federation.log, certificate, public.ledger)
    return public


class OtherLog:
    """A log of somebody else, and proofs of what is in it."""

    def __init__(self, name: str = "anchor.example/log") -> None:
        self.log = Log(MemoryStore(), name, SigningKey.from_seed(digest(name)))
        self.policy = TrustPolicy((TrustedLog(self.log.verifier),))

    def prove(self, entry: bytes) -> bytes:
        self.log.append(b"something else")
        index = self.log.append(entry)
        size = self.log.size
        return LogProof(index, tuple(self.log.inclusion_proof(index, size)), self.log.checkpoint()).encode()


@pytest.fixture
def anchor() -> OtherLog:
    return OtherLog()


def put_anchor(public: PublicFolder, name: str, data: bytes) -> None:
    public.anchors.mkdir(exist_ok=True)
    (public.anchors / name).write_bytes(data)


# Finality.


def test_a_log_at_hand_is_certified_up_to_its_newest_certificate(requested: Federation) -> None:
    federation = requested.copy()
    found = inspect(federation.board)
    certificate = federation.log.certified()
    assert certificate is not None
    at = federation.board.certify(federation.witnesses, now=NOW).checkpoint.size
    assert found.checkpointed == found.certified < at
    levels = [entry.finality for entry in found.entries]
    assert levels == [Finality.CERTIFIED] * found.certified + [Finality.SEQUENCED] * (at - found.certified)
    federation.log.keep_certificate(federation.board.certify(federation.witnesses, now=NOW))
    assert inspect(federation.board).certified == at
    assert found.cosigners == tuple(federation.witnesses)


def test_a_log_without_a_certificate_is_sequenced(founded: Federation) -> None:
    found = inspect(founded.copy().board)
    assert [entry.finality for entry in found.entries] == [Finality.SEQUENCED]
    assert (found.checkpointed, found.certified, found.cosigners) == (0, 0, ())


def test_a_published_log_is_certified(finished: Federation, tmp_path: Path) -> None:
    federation = finished.copy()
    found = inspect(published(federation, tmp_path))
    assert found.genesis == federation.board.replay.context
    assert found.certified == found.checkpointed == federation.log.size == len(found.entries)
    assert {entry.finality for entry in found.entries} == {Finality.CERTIFIED}
    assert [entry.index for entry in found.entries] == list(range(federation.log.size))


def test_a_note_without_enough_cosignatures_is_checkpointed_only(finished: Federation, tmp_path: Path) -> None:
    public = published(finished.copy(), tmp_path)
    lines = (public.ledger / "checkpoint").read_bytes().split(b"\n")
    (public.ledger / "checkpoint").write_bytes(b"\n".join(lines[:7]) + b"\n")
    found = inspect(public)
    assert (found.checkpointed, found.certified) == (len(found.entries), 0)
    assert {entry.finality for entry in found.entries} == {Finality.CHECKPOINTED}


def test_a_note_that_the_log_did_not_sign_is_nothing(finished: Federation, tmp_path: Path) -> None:
    public = published(finished.copy(), tmp_path)
    stranger = Log(MemoryStore(), finished.log.origin, SigningKey.from_seed(digest("stranger")))
    stranger.append_all(finished.log.entries())
    (public.ledger / "checkpoint").write_bytes(stranger.checkpoint())
    found = inspect(public)
    assert (found.checkpointed, found.certified) == (0, 0)
    assert {entry.finality for entry in found.entries} == {Finality.SEQUENCED}


def test_a_certificate_of_another_history_is_nothing(finished: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same parties certified a fork: it says nothing about the entries at hand."""
    federation, fork = finished.copy(), finished.copy()
    federation.operator.release_blobs(federation.board, 1)
    fork.identities["client-1"].rotate(fork.board)
    other = fork.board.certify(fork.witnesses, now=NOW)
    assert other.checkpoint.size == federation.log.size
    monkeypatch.setattr(federation.log, "certified", lambda: other.note)
    found = inspect(federation.board)
    assert (found.checkpointed, found.certified) == (0, 0)


def test_a_checkpoint_in_another_log_anchors_what_is_under_it(
    finished: Federation, tmp_path: Path, anchor: OtherLog
) -> None:
    federation = finished.copy()
    early = federation.board.certify(federation.witnesses, now=NOW).checkpoint
    federation.operator.release_blobs(federation.board, 1)
    public = published(federation, tmp_path)
    put_anchor(public, f"{early.size}.tlog-proof", anchor.prove(anchored_text(early)))
    found = inspect(public, anchors=anchor.policy)
    assert [a.problem for a in found.anchors] == [None]
    assert (found.anchored, found.certified) == (early.size, early.size + 1)
    assert [entry.finality for entry in found.entries][-2:] == [Finality.ANCHORED, Finality.CERTIFIED]
    without = inspect(public)
    assert (without.anchored, without.anchors[0].problem) == (0, "no policy says which other logs to trust")


def test_what_is_not_certified_is_not_anchored(finished: Federation, tmp_path: Path, anchor: OtherLog) -> None:
    public = published(finished.copy(), tmp_path)
    head = inspect(public)
    checkpoint = finished.copy().board.certify(finished.copy().witnesses, now=NOW).checkpoint
    put_anchor(public, f"{checkpoint.size}.tlog-proof", anchor.prove(anchored_text(checkpoint)))
    assert inspect(public, anchors=anchor.policy).anchored == head.certified
    lines = (public.ledger / "checkpoint").read_bytes().split(b"\n")
    (public.ledger / "checkpoint").write_bytes(b"\n".join(lines[:7]) + b"\n")
    found = inspect(public, anchors=anchor.policy)
    assert (found.anchored, found.anchors[0].problem) == (0, None)


def test_proofs_that_anchor_nothing(finished: Federation, tmp_path: Path, anchor: OtherLog) -> None:
    federation = finished.copy()
    public = published(federation, tmp_path)
    checkpoint = federation.board.certify(federation.witnesses, now=NOW).checkpoint
    good = anchor.prove(anchored_text(checkpoint))
    stranger = OtherLog("stranger.example/log")
    bad = {
        "x.tlog-proof": good,
        f"{checkpoint.size - 1}.tlog-proof": good,
        f"{checkpoint.size + 1}.tlog-proof": good,
        "0.tlog-proof": good,
        f"{checkpoint.size}.tlog-proof": stranger.prove(anchored_text(checkpoint)),
        "1.tlog-proof": b"\xff",
        "2.tlog-proof": b"",
    }
    for name, data in bad.items():
        put_anchor(public, name, data)
    put_anchor(public, "notes.txt", b"not a proof")
    (public.anchors / "3.tlog-proof").mkdir()
    found = inspect(public, anchors=anchor.policy)
    assert {a.name for a in found.anchors} == {*bad, "3.tlog-proof"}
    assert all(a.problem for a in found.anchors)
    assert found.anchored == 0


def test_a_proof_that_is_gone_when_it_is_read(
    finished: Federation, tmp_path: Path, anchor: OtherLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    public = published(finished.copy(), tmp_path)
    put_anchor(public, "1.tlog-proof", b"x")
    monkeypatch.setattr("secure_bfl.inspection.read_bounded", lambda path, limit: None)
    assert inspect(public, anchors=anchor.policy).anchors[0].problem == "it cannot be read"


# Entries.


def test_every_entry_is_shown_with_what_it_does(script: Script) -> None:
    board = Board(script.log, MemoryBlobs())
    log = Log(MemoryStore(), script.log.origin, script.identities["operator"].note)
    spend = script.steps[script.first(type(script.spend(1, "client-1")))]
    extra = [spend.data, script.sign(spend.body, "member-1"), b"\xff", script.sign_value(99, [1], "client-1")]
    log.append_all([*board.log.entries(), *extra])
    found = inspect(Board(log, MemoryBlobs()))
    assert [(e.index, e.kind, e.sender) for e in found.entries[: len(script.steps)]] == [
        (index, step.body.kind.name, step.sender) for index, step in enumerate(script.steps)
    ]
    listed = found.entries[len(script.steps) :]
    assert [(e.kind, e.sender, e.round, e.hostile) for e in listed] == [
        ("BUDGET_SPEND", "client-1", 1, False),
        ("BUDGET_SPEND", "member-1", 1, True),
        ("bytes", "nobody", None, True),
        ("kind 99", "client-1", None, False),
    ]
    assert all(e.ignored for e in listed)
    assert [e.ignored for e in found.entries if e.ignored] == [e.ignored for e in listed]
    assert [r.number for r in found.rounds] == [1, 2]
    assert {r.status for r in found.rounds} == {"finished, 3 updates"}
    kinds = {e.kind for e in found.others if e.ignored is None}
    assert kinds == {"GENESIS", "KEY_COMMIT", "KEY_REVEAL", "KEY_CHECK", "KEY_ANSWER", "KEY_ACCEPT"}
    assert Kind.MODEL.name in {e.kind for e in found.rounds[1].entries}


@pytest.mark.parametrize(
    ("stage", "status"),
    [("opened", "open"), ("voted", "summed, 4 votes"), ("requested", "opening, 0 answers")],
)
def test_the_status_of_a_round(request: pytest.FixtureRequest, stage: str, status: str) -> None:
    federation: Federation = request.getfixturevalue(stage).copy()
    assert inspect(federation.board).rounds[0].status == status
    if stage == "voted":
        federation.operator.void_round(federation.board, 1, "no\ttime")
        federation.operator.release_blobs(federation.board, 1)
        at = federation.log.size - 1
        assert inspect(federation.board).rounds[0].status == f"void: no\\ttime, updates released by entry {at}"


def test_a_closed_round(updated: Federation) -> None:
    federation = updated.copy()
    federation.operator.close_round(federation.board, 1)
    assert inspect(federation.board).rounds[0].status == "closed"


def test_a_log_of_something_else(tmp_path: Path) -> None:
    log = Log(MemoryStore(), "example.org/log", SigningKey.from_seed(bytes(32)))
    log.append(b"hello")
    with pytest.raises(UnverifiedError, match="does not begin with a genesis entry"):
        inspect(Board(log, DirectoryBlobs(tmp_path)))


# Renderings.


def test_the_rendering_says_everything_once(finished: Federation, tmp_path: Path, anchor: OtherLog) -> None:
    federation = finished.copy()
    public = published(federation, tmp_path)
    checkpoint = federation.board.certify(federation.witnesses, now=NOW).checkpoint
    put_anchor(public, f"{checkpoint.size}.tlog-proof", anchor.prove(anchored_text(checkpoint)))
    put_anchor(public, "1.tlog-proof", b"x")
    found = inspect(public, anchors=anchor.policy)
    lines = found.lines()
    size = federation.log.size
    assert lines[:3] == [
        f"log {federation.log.origin}, genesis {federation.board.replay.context.hex()}",
        f"{size} entries: {size} checkpointed, {size} certified, {size} anchored",
        "certified by member-1, member-2, member-3, member-4",
    ]
    assert lines[3].startswith("1.tlog-proof anchors nothing: ")
    assert lines[4] == f"{size}.tlog-proof: the checkpoint of {size} entries is in anchor.example/log"
    assert lines[5:7] == ["outside rounds", "     0 GENESIS by operator, anchored"]
    assert "round 1: finished, 3 updates" in lines
    assert len(lines) == 3 + 2 + 1 + size + 1
    value = json.loads(json.dumps(found.to_json()))
    assert value["certified"] == size
    assert sum(len(r["entries"]) for r in value["rounds"]) + len(value["others"]) == size
    assert [a["problem"] is None for a in value["anchors"]] == [False, True]


def test_one_round_by_itself(script: Script) -> None:
    found = inspect(Board(script.log, MemoryBlobs()))
    lines = found.lines(round=2)
    at = lines.index("round 2: finished, 3 updates")
    assert not any(line.startswith(("round 1", "outside")) for line in lines)
    assert [line.split()[0] for line in lines[at + 1 :]] == [str(entry.index) for entry in found.rounds[1].entries]
    value = found.to_json(round=2)
    assert ([r["number"] for r in value["rounds"]], value["others"]) == ([2], [])
    for number in (0, 3):
        for render in (found.lines, found.to_json):
            with pytest.raises(ValueError, match=f"there is no round {number}; the ledger has 2"):
                render(round=number)


def test_names_of_strangers_are_safe_to_print(script: Script) -> None:
    log = Log(MemoryStore(), script.log.origin, script.identities["operator"].note)
    log.append_all([step.data for step in script.steps[:1]])
    log.append(script.sign_value(99, [1], "cliént-1", key=SigningKey.from_seed(bytes(32))))
    text = "\n".join(inspect(Board(log, MemoryBlobs())).lines())
    assert text.isascii()
    assert "clie" not in text
    assert "cli\\xe9nt-1" in text
