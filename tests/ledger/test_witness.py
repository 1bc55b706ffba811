"""A witness signs only consistent extensions, and only after it has recorded them; the same over HTTP as in process."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from ledger import (
    Checkpoint,
    ConsistencyError,
    CosigningWitness,
    DecodeError,
    EquivocationError,
    LedgerError,
    MemoryWitnessStore,
    SignatureError,
    SigningKey,
    SqliteWitnessStore,
    StateError,
    StoreError,
    Tree,
    Witness,
    WitnessState,
    WitnessStore,
    leaf_hash,
    parse_note,
    sign_checkpoint,
    verify_cosignature,
)
from ledger.cosign import cosign, cosigner
from ledger.errors import SizeConflictError
from ledger.evidence import Equivocation, ProvenEquivocation
from ledger.mldsa import MlDsaKey
from ledger.note import COSIGNATURE_V1, ED25519, Note, VerifierKey, parse_signature_line, sign_note
from ledger.web.client import HttpClient
from ledger.web.server import running
from ledger.web.witness import RemoteWitness, witness_app
from tests.ledger.federation import ORIGIN, key_of

LOG_KEY = VerifierKey(ORIGIN, ED25519, key_of("sequencer").public)
TREE = Tree([leaf_hash(b"%d" % i) for i in range(20)])
FORK = Tree([leaf_hash(b"%d" % i) for i in range(4)] + [leaf_hash(b"other")] * 16)
MLDSA = MlDsaKey.from_seed(bytes(32))
NOW = 1_700_000_000


def note(size: int, tree: Tree = TREE, key: SigningKey | None = None) -> bytes:
    return sign_checkpoint(Checkpoint(ORIGIN, size, tree.root(size)), key or key_of("sequencer"))


def witness(store: WitnessStore | None = None) -> Witness:
    return Witness("member-1", key_of("member-1"), LOG_KEY, store or MemoryWitnessStore())


@pytest.fixture(params=["memory", "sqlite"])
def new_store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], WitnessStore]:
    """Opens the one store of this test, again and again."""
    memory = MemoryWitnessStore()
    return lambda: memory if request.param == "memory" else SqliteWitnessStore(tmp_path / "witness.db")


Opener = Callable[[], CosigningWitness]


@pytest.fixture(params=["ed25519", "mldsa", "http", "http-mldsa"])
def reach(request: pytest.FixtureRequest, new_store: Callable[[], WitnessStore]) -> Iterator[Opener]:
    """Starts the one witness of this test anew, in this process or behind HTTP, on the state that it left."""
    key = MLDSA if request.param.endswith("mldsa") else key_of("member-1")

    def local() -> Witness:
        return Witness("member-1", key, LOG_KEY, new_store())

    with ExitStack() as stack:

        def remote() -> RemoteWitness:
            server = stack.enter_context(running(witness_app({ORIGIN: local()}, lambda: NOW)))
            return RemoteWitness(stack.enter_context(HttpClient(server.url)), cosigner("member-1", key))

        yield remote if request.param.startswith("http") else local


def verifier_of(me: CosigningWitness) -> VerifierKey:
    assert isinstance(me, Witness | RemoteWitness)
    return me.verifier


def recorded(me: CosigningWitness) -> int:
    """The size that a witness has recorded: it says so to whoever states a wrong one."""
    with pytest.raises(SizeConflictError) as caught:
        me.add_checkpoint(13, [], note(20), now=NOW)
    return caught.value.size


def test_it_cosigns_what_extends_and_remembers_it(reach: Opener) -> None:
    old = 0
    for size in (3, 3, 8, 20):
        me = reach()
        assert recorded(me) == me.size == old
        proof = TREE.consistency_proof(old, size) if 0 < old < size else []
        line = me.add_checkpoint(old, proof, note(size), now=NOW)
        found = verify_cosignature(parse_note(note(size) + line.encode()), verifier_of(me))
        assert found is not None
        assert found.time == NOW
        assert me.size == size
        old = size


def test_an_empty_log_can_be_cosigned_and_grows_without_a_proof(reach: Opener) -> None:
    me = reach()
    me.add_checkpoint(0, [], note(0), now=1)
    me.add_checkpoint(0, [], note(5), now=2)
    assert recorded(me) == 5


def test_equivocation_is_refused_with_evidence_anyone_can_check(reach: Opener) -> None:
    me = reach()
    me.add_checkpoint(0, [], note(8), now=1)
    with pytest.raises(EquivocationError, match="signed two roots for size 8") as caught:
        me.add_checkpoint(8, [], note(8, FORK), now=2)
    assert caught.value.culprits == (ORIGIN,)
    assert caught.value.evidence == (note(8), note(8, FORK))
    proven = Equivocation(LOG_KEY, *caught.value.evidence).verify()
    assert proven == ProvenEquivocation(ORIGIN, 8, (TREE.root(8), FORK.root(8)))
    me.add_checkpoint(8, TREE.consistency_proof(8, 12), note(12), now=3)


def test_a_fork_that_grew_is_refused(reach: Opener) -> None:
    me = reach()
    me.add_checkpoint(0, [], note(8), now=1)
    for proof in (FORK.consistency_proof(8, 12), TREE.consistency_proof(8, 12), [], [bytes(32)] * 63):
        with pytest.raises(ConsistencyError, match="refuses size 12") as caught:
            me.add_checkpoint(8, proof, note(12, FORK), now=2)
        assert not isinstance(caught.value, SizeConflictError)
    assert recorded(me) == 8


def test_it_does_not_go_back_or_start_elsewhere(reach: Opener) -> None:
    me = reach()
    with pytest.raises(SizeConflictError) as caught:
        me.add_checkpoint(3, [], note(8), now=1)
    assert caught.value.size == 0
    with pytest.raises(ConsistencyError, match="cosigned nothing yet"):
        me.add_checkpoint(0, [bytes(32)], note(8), now=1)
    me.add_checkpoint(0, [], note(8), now=1)
    for old, proof, new in (
        (4, TREE.consistency_proof(4, 12), note(12)),
        (0, [], note(12, FORK)),
        (0, [], note(8, FORK)),
        (0, [], note(4)),
        (4, [], note(4)),
        (9, TREE.consistency_proof(9, 12), note(12)),
    ):
        with pytest.raises(SizeConflictError, match="needs a proof from size 8") as caught:
            me.add_checkpoint(old, proof, new, now=2)
        assert caught.value.size == 8
    with pytest.raises(ConsistencyError, match=r"not going back to 4|does not extend size 8"):
        me.add_checkpoint(8, [], note(4), now=2)
    with pytest.raises(ConsistencyError, match="no proof is due"):
        me.add_checkpoint(8, [bytes(32)], note(8), now=2)
    assert recorded(me) == 8


def test_only_the_log_is_heard(reach: Opener) -> None:
    me = reach()
    with pytest.raises(SignatureError, match="not signed by"):
        me.add_checkpoint(0, [], note(3, key=key_of("stranger")), now=1)
    bad = Note(Checkpoint(ORIGIN, 3, FORK.root(3)).text().replace("\n3\n", "\n4\n"), parse_note(note(3)).signatures)
    with pytest.raises(SignatureError, match="is bad"):
        me.add_checkpoint(0, [], bad.encode(), now=1)
    with pytest.raises(DecodeError):
        me.add_checkpoint(0, [], b"garbage", now=1)
    other = sign_note(Checkpoint("example.com/other", 3, TREE.root(3)).text(), ORIGIN, key_of("sequencer"))
    with pytest.raises(LedgerError, match=r"example\.com/other"):
        me.add_checkpoint(0, [], other.encode(), now=1)
    assert recorded(me) == 0


def test_cosignatures_of_others_on_the_checkpoint_are_passed_over(reach: Opener) -> None:
    submitted = note(3) + cosign(note(3), "member-2", key_of("member-2"), now=1).encode()
    line = reach().add_checkpoint(0, [], submitted, now=2)
    assert line.startswith("\u2014 member-1 ")


def test_the_time_must_be_one() -> None:
    me = witness()
    for now in (-1, 2**63):
        with pytest.raises(ValueError, match="time"):
            me.add_checkpoint(0, [], note(3), now=now)
    assert me.size == 0


def test_a_clock_that_goes_back_decides_nothing() -> None:
    me = witness()
    me.add_checkpoint(0, [], note(3), now=2_000_000_000)
    line = me.add_checkpoint(3, TREE.consistency_proof(3, 8), note(8), now=1_000_000_000)
    found = verify_cosignature(parse_note(note(8) + line.encode()), me.verifier)
    assert found is not None
    assert found.time == 1_000_000_000


def test_a_witness_is_checked_on_construction() -> None:
    with pytest.raises(ValueError, match="0x01 or 0x06"):
        Witness("w", MLDSA, VerifierKey(ORIGIN, COSIGNATURE_V1, LOG_KEY.public), MemoryWitnessStore())
    with pytest.raises(ValueError, match="at most 255 bytes"):
        Witness("w", MLDSA, VerifierKey("n" * 256, ED25519, LOG_KEY.public), MemoryWitnessStore())
    with pytest.raises(ValueError, match="key name"):
        Witness("two words", MLDSA, LOG_KEY, MemoryWitnessStore())


def test_a_log_that_signs_with_mldsa_is_witnessed() -> None:
    log = MlDsaKey.from_seed(b"log".ljust(32, b"\x00"))
    me = Witness("member-1", MLDSA, cosigner(ORIGIN, log), MemoryWitnessStore())

    def signed(tree: Tree) -> bytes:
        plain = sign_checkpoint(Checkpoint(ORIGIN, 8, tree.root(8)), key_of("x"))
        return Note(parse_note(plain).text, (parse_signature_line(cosign(plain, ORIGIN, log, now=0)),)).encode()

    me.add_checkpoint(0, [], signed(TREE), now=1)
    with pytest.raises(EquivocationError) as caught:
        me.add_checkpoint(8, [], signed(FORK), now=1)
    assert Equivocation(me.log_key, *caught.value.evidence).verify().size == 8


# Evidence


def test_evidence_outlives_the_process(new_store: Callable[[], WitnessStore]) -> None:
    me = witness(new_store())
    assert me.evidence is None
    me.add_checkpoint(0, [], note(8), now=1)
    with pytest.raises(SizeConflictError):
        me.add_checkpoint(0, [], note(8, FORK), now=2)  # the proof is seen even where another size was stated
    later = Tree([leaf_hash(b"later")] * 8)
    with pytest.raises(EquivocationError):
        me.add_checkpoint(8, [], note(8, later), now=2)
    kept = witness(new_store()).evidence
    assert kept == Equivocation(LOG_KEY, note(8), note(8, FORK))  # the first: one piece is enough
    assert kept.verify().size == 8


def test_evidence_is_durable_before_it_is_answered() -> None:
    class Forgetful(MemoryWitnessStore):
        def keep_evidence(self, evidence: bytes) -> None:
            raise StoreError("the disk is full")

    me = witness(Forgetful())
    me.add_checkpoint(0, [], note(8), now=1)
    with pytest.raises(StoreError, match="disk is full"):
        me.add_checkpoint(8, [], note(8, FORK), now=2)


def test_damaged_evidence_is_refused(tmp_path: Path) -> None:
    for kept in (b"garbage", Equivocation(LOG_KEY, note(8), note(8)).encode(), "text", None):
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.db"
        store = SqliteWitnessStore(path)
        with store._database.transaction() as sql:
            sql.execute("INSERT INTO evidence VALUES (1, ?)", (kept,))
        if kept is None:
            assert witness(store).evidence is None
            continue
        with pytest.raises(StoreError, match="evidence that member-1 keeps is damaged"):
            _ = witness(store).evidence


def test_the_state_of_an_earlier_version_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "w.db"
    store = SqliteWitnessStore(path)
    witness(store).add_checkpoint(0, [], note(8), now=1)
    with store._database.transaction() as sql:
        sql.execute("DROP TABLE evidence")
    store.close()
    again = witness(SqliteWitnessStore(path))
    assert (again.size, again.evidence) == (8, None)


# Races


@pytest.mark.parametrize("shared", [True, False], ids=["one store", "a store each"])
def test_of_many_threads_one_decides_which_fork_it_is(new_store: Callable[[], WitnessStore], shared: bool) -> None:
    witness(new_store()).add_checkpoint(0, [], note(4), now=1)
    one, barrier = new_store(), threading.Barrier(8)

    def ask(tree: Tree, size: int) -> tuple[int, bytes] | None:
        me = witness(one if shared else new_store())
        barrier.wait()
        try:
            me.add_checkpoint(4, tree.consistency_proof(4, size), note(size, tree), now=2)
        except (StateError, SizeConflictError):
            return None
        return size, tree.root(size)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, (TREE, FORK) * 4, (8, 8, 8, 12, 12, 8, 12, 12)))
    cosigned = [answer for answer in answers if answer is not None]
    state = new_store().load()
    assert state is not None
    assert cosigned == [(state.size, state.root)]


class _Racing(MemoryWitnessStore):
    """A store in which another request wins between reading and writing, once."""

    def __init__(self) -> None:
        super().__init__()
        self.rival: WitnessState | None = None

    def compare_and_swap(self, expected: WitnessState | None, new: WitnessState) -> None:
        if self.rival is not None:
            rival, self.rival = self.rival, None
            super().compare_and_swap(expected, rival)
        super().compare_and_swap(expected, new)


def test_of_two_racing_requests_one_is_refused() -> None:
    store = _Racing()
    me = witness(store)
    store.rival = WitnessState(8, FORK.root(8), note(8, FORK))
    with pytest.raises(StateError, match="recorded meanwhile"):
        me.add_checkpoint(0, [], note(8), now=1)
    assert me.size == 8
    with pytest.raises(EquivocationError):
        me.add_checkpoint(8, [], note(8), now=2)


def test_compare_and_swap_is_atomic_across_connections(new_store: Callable[[], WitnessStore]) -> None:
    one, other = new_store(), new_store()
    first, second = WitnessState(3, TREE.root(3), note(3)), WitnessState(8, TREE.root(8), note(8))
    one.compare_and_swap(None, first)
    with pytest.raises(StateError, match="recorded meanwhile"):
        other.compare_and_swap(None, second)
    assert other.load() == first
    other.compare_and_swap(first, second)
    assert one.load() == second


COUNT = """
import sys
from pathlib import Path
from ledger import StateError
from ledger.witness import SqliteWitnessStore, WitnessState
taken = 0
while taken < 40:
    store = SqliteWitnessStore(Path(sys.argv[1]))
    for _ in range(20):
        state = store.load()
        size = 1 if state is None else state.size + 1
        try:
            store.compare_and_swap(state, WitnessState(size, bytes(32), b"n" * 300))
        except StateError:
            continue
        taken += 1
        print(size)
    store.close()
"""


def test_processes_that_share_a_state_lose_none(tmp_path: Path) -> None:
    command = [sys.executable, "-c", COUNT, str(tmp_path / "w.db")]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    sizes = [int(line) for each in processes for line in each.communicate(timeout=60)[0].split()]
    assert [each.returncode for each in processes] == [0, 0, 0]
    assert sorted(sizes) == list(range(1, len(sizes) + 1))
    assert len(sizes) >= 120
    store = SqliteWitnessStore(tmp_path / "w.db")
    state = store.load()
    assert state is not None
    assert state.size == len(sizes)
    store.close()
    assert [path.name for path in tmp_path.iterdir()] == ["w.db"]


# Read-only


def test_a_reader_sees_the_state_and_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "w.db"
    store = SqliteWitnessStore(path)
    me = witness(store)
    me.add_checkpoint(0, [], note(8), now=1)
    with pytest.raises(EquivocationError):
        me.add_checkpoint(8, [], note(8, FORK), now=2)
    before = [(each.name, each.read_bytes(), each.stat().st_mtime_ns) for each in tmp_path.iterdir()]
    reader = SqliteWitnessStore(path, readonly=True)
    assert witness(reader).size == 8
    assert witness(reader).evidence == Equivocation(LOG_KEY, note(8), note(8, FORK))
    with pytest.raises(StateError, match="reading only"):
        reader.compare_and_swap(reader.load(), WitnessState(9, TREE.root(9), note(9)))
    with pytest.raises(StateError, match="reading only"):
        reader.keep_evidence(b"other")
    assert [(each.name, each.read_bytes(), each.stat().st_mtime_ns) for each in tmp_path.iterdir()] == before
    me.add_checkpoint(8, TREE.consistency_proof(8, 12), note(12), now=3)  # the witness goes on beside it
    assert witness(reader).size == 12
    reader.close()
    store.close()


def test_a_reader_makes_no_file_and_no_table(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be opened"):
        SqliteWitnessStore(tmp_path / "none.db", readonly=True)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "empty.db").touch()
    with pytest.raises(StoreError, match="holds no state of a witness"):
        SqliteWitnessStore(tmp_path / "empty.db", readonly=True)
    assert (tmp_path / "empty.db").stat().st_size == 0
    old = SqliteWitnessStore(tmp_path / "old.db")
    with old._database.transaction() as sql:
        sql.execute("DROP TABLE evidence")
    old.close()
    before = (tmp_path / "old.db").read_bytes()
    reader = SqliteWitnessStore(tmp_path / "old.db", readonly=True)
    assert (reader.load(), reader.evidence()) == (None, None)
    reader.close()
    assert (tmp_path / "old.db").read_bytes() == before


class _Failing(MemoryWitnessStore):
    def compare_and_swap(self, expected: WitnessState | None, new: WitnessState) -> None:
        raise StoreError("the disk is full")


def test_nothing_is_signed_that_was_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    signed: list[int] = []
    monkeypatch.setattr("ledger.witness.cosign", lambda *_, now: signed.append(now))
    with pytest.raises(StoreError):
        witness(_Failing()).add_checkpoint(0, [], note(3), now=1)
    assert signed == []
    witness().add_checkpoint(0, [], note(3), now=2)
    assert signed == [2]


def test_a_damaged_state_is_refused(tmp_path: Path) -> None:
    for state in (
        WitnessState(8, TREE.root(8), note(7)),
        WitnessState(8, FORK.root(8), note(8)),
        WitnessState(8, TREE.root(8), b"garbage"),
        WitnessState(8, TREE.root(8), note(8, key=key_of("stranger"))),
    ):
        store = MemoryWitnessStore()
        store.compare_and_swap(None, state)
        with pytest.raises(StoreError, match="damaged"):
            witness(store).add_checkpoint(8, TREE.consistency_proof(8, 12), note(12), now=1)
    file = SqliteWitnessStore(tmp_path / "w.db")
    with file._database.transaction() as sql:
        sql.execute("INSERT INTO state VALUES (1, 8, ?, ?)", (b"short", note(8)))
    with pytest.raises(StoreError, match="damaged"):
        file.load()
    file.close()
    with pytest.raises(StateError, match="closed"):
        file.load()
    with pytest.raises(ValueError):
        WitnessState(-1, bytes(32), b"note")
