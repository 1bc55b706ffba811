"""The log over both stores: order, durability, damage, crashes, one writer, and certification."""

import dataclasses
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from ledger import (
    Certificate,
    Checkpoint,
    CosigningWitness,
    EquivocationError,
    Head,
    Log,
    MemoryStore,
    MemoryWitnessStore,
    Policy,
    QuorumError,
    SqliteStore,
    StateError,
    Store,
    StoreError,
    Tree,
    Witness,
    certify,
    cosign,
    leaf_hash,
    sign_checkpoint,
    verify_checkpoint,
    verify_consistency,
    verify_inclusion,
)
from tests.ledger.federation import NAMES, ORIGIN, Federation, key_of, signed

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    made: Store = MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "log.db")
    yield made
    made.close()


def new_log(store: Store) -> Log:
    return Log(store, ORIGIN, key_of("sequencer"))


def test_entries_keep_their_order_and_place(store: Store) -> None:
    log = new_log(store)
    assert (log.size, log.entries(), log.certified()) == (0, [], None)
    assert log.append(b"a") == 0
    assert log.append_all([b"b", b"c"]) == range(1, 3)
    assert log.append_all([]) == range(3, 3)
    assert (log.size, log.entries(), log.entry(1), log.entries(1, 2)) == (3, [b"a", b"b", b"c"], b"b", [b"b"])
    again = new_log(store)
    assert (again.size, again.entries(), again.checkpoint()) == (3, log.entries(), log.checkpoint())


def test_checkpoints_and_proofs_verify(store: Store) -> None:
    log = new_log(store)
    log.append_all([b"%d" % i for i in range(9)])
    old = verify_checkpoint(log.checkpoint(), log.verifier)
    log.append_all([b"%d" % i for i in range(9, 20)])
    new = verify_checkpoint(log.checkpoint(), log.verifier)
    assert (old.size, new.size, new.origin) == (9, 20, ORIGIN)
    assert (log.root(9), log.root(20)) == (old.root, new.root)
    verify_consistency(9, 20, log.consistency_proof(9, 20), old.root, new.root)
    verify_inclusion(leaf_hash(b"4"), 4, 20, log.inclusion_proof(4, 20), new.root)
    assert log.checkpoint() == log.checkpoint()


def test_the_caller_asks_within_the_log(store: Store) -> None:
    log = new_log(store)
    log.append(b"a")
    for ask in (
        lambda: log.append(b""),
        lambda: log.append(bytes(65_536)),
        lambda: log.append("text"),  # type: ignore[arg-type]
        lambda: log.append_all([b"fine", b""]),
        lambda: log.entry(1),
        lambda: log.entry(-1),
        lambda: log.entries(0, 2),
        lambda: log.entries(1, 0),
        lambda: log.root(2),
    ):
        with pytest.raises(ValueError):
            ask()
    assert (log.size, log.entries()) == (1, [b"a"])
    for entries, head in (([b""], Head(2)), ([b"x"], Head(3))):
        with pytest.raises(ValueError):
            store.append(entries, head)
    log.close()
    with pytest.raises(StateError, match="closed"):
        log.append(b"b")
    assert log.size == 1


def test_a_head_is_checked_on_construction() -> None:
    for changes in ({"size": -1}, {"root": b"short"}, {"checkpoint": b""}, {"checkpoint": bytes(65_537)}):
        with pytest.raises(ValueError):
            dataclasses.replace(Head(), **changes)


# --- damage -----------------------------------------------------------------------------------------------------------


def _damaged(tmp_path: Path, *statements: tuple[str, tuple[Any, ...]]) -> Callable[[], Log]:
    """A log of ten entries, certified at size 10, on which statements are run behind its back."""
    path = tmp_path / "log.db"
    federation = Federation(SqliteStore(path))
    federation.grow(10)
    federation.log.close()
    sql = sqlite3.connect(path, isolation_level=None)
    for statement, arguments in statements:
        sql.execute(statement, arguments)
    sql.close()
    return lambda: new_log(SqliteStore(path))


def test_an_undamaged_log_opens(tmp_path: Path) -> None:
    log = _damaged(tmp_path)()
    assert log.size == 10
    assert log.certified() is not None
    log.close()


@pytest.mark.parametrize(
    ("statement", "arguments", "words"),
    [
        ("UPDATE entries SET bytes = ? WHERE i = 4", (b"entry 5",), "not those that were acknowledged"),
        ("UPDATE entries SET bytes = ? WHERE i = 4", ("text",), "entry 4 is damaged"),
        ("UPDATE entries SET bytes = ? WHERE i = 4", (b"",), "entry 4 is damaged"),
        ("DELETE FROM entries WHERE i = 4", (), "entry 4 is missing"),
        ("DELETE FROM entries WHERE i >= 4", (), "entry 4 of 10 is missing"),
        ("UPDATE entries SET i = 20 WHERE i = 4", (), "entry 4 is missing"),
        ("INSERT INTO entries VALUES (10, ?)", (b"entry 10",), "beyond its head"),
        ("UPDATE head SET root = ?", (bytes(32),), "not those that were acknowledged"),
        ("UPDATE head SET root = ?", (b"short",), "the head is damaged"),
        ("UPDATE head SET size = 9", (), "beyond its head"),
        ("UPDATE head SET size = 11", (), "entry 10 of 11 is missing"),
        ("UPDATE head SET size = 'ten'", (), "the head is damaged"),
        ("UPDATE head SET checkpoint = ?", (b"garbage",), "certificate is damaged"),
        ("DELETE FROM head", (), "beyond its head"),
        ("DROP TABLE entries", (), "lacks the table entries"),
    ],
)
def test_damage_is_refused_at_opening(tmp_path: Path, statement: str, arguments: tuple[Any, ...], words: str) -> None:
    with pytest.raises(StoreError, match=words):
        _damaged(tmp_path, (statement, arguments))()


def test_entries_rewritten_with_their_head_contradict_the_certificate(tmp_path: Path) -> None:
    entries = [b"entry %d" % i for i in range(10)]
    entries[4] = b"rewritten"
    root = Tree([leaf_hash(entry) for entry in entries]).root()
    reopen = _damaged(
        tmp_path,
        ("UPDATE entries SET bytes = ? WHERE i = 4", (b"rewritten",)),
        ("UPDATE head SET root = ?", (root,)),
    )
    with pytest.raises(StoreError, match="not those certified at size 10"):
        reopen()


def test_a_rolled_back_store_contradicts_its_certificate(tmp_path: Path) -> None:
    root = Tree([leaf_hash(b"entry %d" % i) for i in range(6)]).root()
    reopen = _damaged(
        tmp_path, ("DELETE FROM entries WHERE i >= 6", ()), ("UPDATE head SET size = 6, root = ?", (root,))
    )
    with pytest.raises(StoreError, match="not those certified at size 10"):
        reopen()


def test_bytes_that_change_while_the_log_is_open_are_not_served(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    log = new_log(SqliteStore(path))
    log.append_all([b"a", b"b"])
    sql = sqlite3.connect(path, isolation_level=None)
    sql.execute("UPDATE entries SET bytes = ? WHERE i = 1", (b"x",))
    assert log.entry(0) == b"a"
    with pytest.raises(StoreError, match="entry 1 changed in the store"):
        log.entry(1)
    sql.execute("DELETE FROM entries WHERE i = 1")
    sql.close()
    with pytest.raises(StoreError, match="are missing"):
        log.entry(1)
    log.close()


def test_a_flipped_or_torn_file_never_opens_with_other_content(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    federation = Federation(SqliteStore(path))
    federation.grow(40)
    federation.log.close()
    whole = path.read_bytes()
    good = federation.log.size
    names = [whole.index(b"tableentries"), whole.index(b"tablehead")]
    content = whole.index(b"entry 7")
    places = [content, *(at + 5 for at in names), *range(0, len(whole), 199)]
    flipped = [whole[:p] + bytes([whole[p] ^ 0x41]) + whole[p + 1 :] for p in places]
    torn = [whole[:-5000], whole[:4096], whole[:100]]
    refused = []
    for damaged in (*flipped, *torn):
        path.write_bytes(damaged)
        try:
            log = new_log(SqliteStore(path))
        except StoreError:
            refused.append(damaged)
        else:
            assert log.entries() == [b"entry %d" % i for i in range(good)]
            log.close()
    # damage in unused space may pass, since the content is whole; these may not
    assert all(damaged in refused for damaged in (*flipped[:3], *torn))


# --- crashes, full disks, second writers ------------------------------------------------------------------------------


def test_a_kill_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    acknowledged = -1
    for _ in range(2):
        command = [sys.executable, "-m", "tests.ledger.writer", str(path)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            for _ in range(15):
                acknowledged = int(writer.stdout.readline())
            writer.kill()
            said = writer.stdout.read().split()
            acknowledged = int(said[-1]) if said else acknowledged
        log = new_log(SqliteStore(path))
        assert log.size >= acknowledged + 1
        assert log.entries() == [signed(i) for i in range(log.size)]
        log.close()
    assert acknowledged >= 29


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    first = SqliteStore(path)
    with pytest.raises(StoreError, match="another process writes here"):
        SqliteStore(path)
    command = [sys.executable, "-m", "tests.ledger.writer", str(path)]
    other = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert other.returncode != 0
    assert "another process writes here" in other.stderr
    first.close()
    first.close()
    SqliteStore(path).close()


def test_a_full_disk_is_said_and_the_log_must_be_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    store = SqliteStore(path)
    log = new_log(store)
    log.append(b"a")
    pages = store._database.query("PRAGMA page_count")[0][0]
    store._database.query(f"PRAGMA max_page_count = {pages + 2}")  # SQLite's own way to have the disk full
    with pytest.raises(StoreError, match="the disk is full: free some space"):
        log.append_all([bytes(60_000)] * 3)
    assert log.size == 1
    for act in (lambda: log.append(b"b"), lambda: log.entries()):
        with pytest.raises(StoreError, match="earlier write failed; close it and open it again"):
            act()
    log.close()
    again = new_log(SqliteStore(path))
    assert again.entries() == [b"a"]
    again.append(b"b")
    again.close()


class _FailingCommit:
    """A connection whose next COMMIT fails, as after a failed sync."""

    def __init__(self, real: sqlite3.Connection) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def execute(self, statement: str, *arguments: Any) -> Any:
        if statement == "COMMIT":
            raise sqlite3.OperationalError("disk I/O error")
        return self._real.execute(statement, *arguments)


def test_a_failed_commit_poisons_the_store(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    store = SqliteStore(path)
    log = new_log(store)
    log.append(b"a")
    store._database._sql = _FailingCommit(store._database._sql)  # type: ignore[arg-type,assignment]
    with pytest.raises(StoreError, match="disk I/O error"):
        log.append(b"b")
    with pytest.raises(StoreError, match="open it again"):
        log.append(b"c")
    log.close()
    again = new_log(SqliteStore(path))
    assert again.entries() == [b"a"]
    again.close()


def test_a_path_that_cannot_be_opened_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be made"):
        SqliteStore(tmp_path / "no" / "folder" / "log.db")
    (tmp_path / "folder.db").mkdir()
    with pytest.raises(StoreError, match="cannot be opened"):
        SqliteStore(tmp_path / "folder.db")
    (tmp_path / "text.db").write_bytes(b"not a database" * 100)
    with pytest.raises(StoreError, match="damaged"):
        SqliteStore(tmp_path / "text.db")
    (tmp_path / "text.db").unlink()
    SqliteStore(tmp_path / "text.db").close()  # the lock was let go


def test_synced_commits_in_write_ahead_mode(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "log.db")
    assert store._database.query("PRAGMA journal_mode") == [("wal",)]
    assert store._database.query("PRAGMA synchronous") == [(2,)]  # FULL
    store.close()


# --- certification ----------------------------------------------------------------------------------------------------


def test_a_certificate_is_kept(store: Store) -> None:
    federation = Federation(store)
    first = federation.grow(5)
    assert first.cosigners == NAMES
    assert federation.log.certified() == first.note
    federation.log.append(b"more")
    again = new_log(store)
    assert again.certified() == first.note
    second = federation.grow(1)
    assert (second.checkpoint.size, federation.log.certified()) == (7, second.note)
    federation.log.keep_certificate(first)
    assert federation.log.certified() == second.note
    assert federation.certify(now=99).checkpoint == second.checkpoint


def test_members_that_are_away_are_named() -> None:
    federation = Federation()
    federation.log.append(b"a")
    some = dict.fromkeys(NAMES[:2]) | dict(list(federation.witnesses.items())[2:])
    with pytest.raises(QuorumError, match=r"needs 4 of 5 cosignatures, has 3; missing: member-1, member-2$") as caught:
        certify(federation.log, some, federation.policy, now=1)
    assert (caught.value.have, caught.value.culprits) == (NAMES[2:], ())
    assert federation.log.certified() is None
    some["member-2"] = federation.witnesses["member-2"]
    assert certify(federation.log, some, federation.policy, now=1).cosigners == NAMES[1:]
    # the one that was away needs a proof from 0 now, and catches up
    assert federation.grow(3).cosigners == NAMES


class _Answering:
    """A far witness that answers as told."""

    def __init__(self, answer: str | Exception, size: int = 0) -> None:
        self._answer = answer
        self.size = size

    def add_checkpoint(self, old_size: int, proof: Sequence[bytes], note: bytes, *, now: int) -> str:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


def test_bad_answers_count_as_missing_and_are_named() -> None:
    federation = Federation()
    federation.log.append(b"a")
    note = federation.log.checkpoint()
    other = sign_checkpoint(Checkpoint(ORIGIN, 9, bytes(32)), key_of("sequencer"))
    lie = EquivocationError("lie", evidence=(note, other))
    forged = EquivocationError("lie", evidence=(note, b"garbage"))
    for answer, size, reason, blamed in (
        ("garbage", 0, "em dash", True),
        (cosign(other, "member-1", key_of("member-1"), now=1), 0, "member-1 is bad", True),
        (cosign(note, "member-1", key_of("stranger"), now=1), 0, "not its key", True),
        (cosign(note, "member-2", key_of("member-2"), now=1), 0, "signature line of member-2", True),
        (cosign(note, "member-1", key_of("member-1"), now=1) * 2, 0, "signature line", True),
        (TimeoutError("no answer in 5 s"), 0, "no answer in 5 s", False),
        (StateError("busy"), 0, "busy", False),
        ("", 7, "has cosigned size 7", False),
        (lie, 0, "does not prove", True),
        (forged, 0, "does not prove", True),
    ):
        witnesses: dict[str, CosigningWitness | None] = {"member-1": _Answering(answer, size), "member-2": None}
        with pytest.raises(QuorumError, match=reason) as caught:
            certify(federation.log, witnesses, federation.policy, now=1)
        assert caught.value.culprits == (("member-1",) if blamed else ())
        assert caught.value.missing == NAMES
    # with one such member, four others are a quorum
    good: dict[str, CosigningWitness | None] = {**federation.witnesses, "member-1": _Answering("garbage")}
    assert certify(federation.log, good, federation.policy, now=1).cosigners == NAMES[1:]


def test_proved_equivocation_is_not_passed_over() -> None:
    honest, forked = Federation(), Federation()
    honest.log.append(b"a")
    forked.log.append(b"b")
    honest.certify()
    with pytest.raises(EquivocationError) as caught:
        certify(forked.log, honest.witnesses, forked.policy, now=1)
    one, other = (verify_checkpoint(note, honest.log.verifier) for note in caught.value.evidence)
    assert one.size == other.size
    assert one.root != other.root


def test_no_two_forks_are_both_certified_with_one_dishonest_witness() -> None:
    federation, fork = Federation(), Federation()
    federation.log.append(b"a")
    fork.log.append(b"b")
    two_faced = Witness("member-5", key_of("member-5"), fork.log.verifier, MemoryWitnessStore())
    assert (
        len(certify(federation.log, {**federation.witnesses, "member-1": None}, federation.policy, now=1).cosigners)
        == 4
    )
    faces = {"member-1": federation.witnesses["member-1"], "member-5": two_faced}
    with pytest.raises(QuorumError, match="has 2; missing: member-2, member-3, member-4"):
        certify(fork.log, faces, fork.policy, now=1)


def test_certify_is_called_with_the_logs_own_policy() -> None:
    federation = Federation()
    other = Log(MemoryStore(), "example.com/other", key_of("other"))
    with pytest.raises(ValueError, match="the policy is of"):
        certify(other, {}, federation.policy, now=1)
    with pytest.raises(ValueError, match="not witnesses of this policy: member-9"):
        certify(federation.log, {"member-9": None}, federation.policy, now=1)
    foreign = Policy("example.com/other", other.verifier, federation.policy.witnesses)
    with pytest.raises(QuorumError):
        certify(other, {}, foreign, now=1)
    with pytest.raises(StateError, match="not of the entries of this log"):
        federation.log.keep_certificate(Certificate(Checkpoint(ORIGIN, 1, bytes(32)), ("a",), _note(1)))


def _note(size: int) -> bytes:
    return sign_checkpoint(Checkpoint(ORIGIN, size, bytes(32)), key_of("sequencer"))
