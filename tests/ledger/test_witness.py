"""A witness signs only consistent extensions, and only after it has recorded them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ledger import (
    Checkpoint,
    ConsistencyError,
    DecodeError,
    EquivocationError,
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
    verify_checkpoint,
    verify_cosignature,
)
from ledger.note import ED25519, VerifierKey, sign_note
from tests.ledger.federation import ORIGIN, key_of

LOG_KEY = VerifierKey(ORIGIN, ED25519, key_of("sequencer").public)
TREE = Tree([leaf_hash(b"%d" % i) for i in range(20)])
FORK = Tree([leaf_hash(b"%d" % i) for i in range(4)] + [leaf_hash(b"other")] * 16)


def note(size: int, tree: Tree = TREE, key: SigningKey | None = None) -> bytes:
    return sign_checkpoint(Checkpoint(ORIGIN, size, tree.root(size)), key or key_of("sequencer"))


def witness(store: WitnessStore | None = None) -> Witness:
    return Witness("member-1", key_of("member-1"), LOG_KEY, store or MemoryWitnessStore())


@pytest.fixture(params=["memory", "sqlite"])
def new_store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], WitnessStore]:
    """Opens the one store of this test, again and again."""
    memory = MemoryWitnessStore()
    return lambda: memory if request.param == "memory" else SqliteWitnessStore(tmp_path / "witness.db")


def test_it_cosigns_what_extends_and_remembers_it(new_store: Callable[[], WitnessStore]) -> None:
    old = 0
    for size in (3, 3, 8, 20):
        me = witness(new_store())
        assert me.size == old
        proof = TREE.consistency_proof(old, size) if 0 < old < size else []
        line = me.add_checkpoint(old, proof, note(size), now=size)
        found = verify_cosignature(parse_note(note(size) + line.encode()), me.verifier)
        assert found is not None
        assert found.time == size
        old = me.size
        assert old == size


def test_an_empty_log_can_be_cosigned_and_grows_without_a_proof() -> None:
    me = witness()
    me.add_checkpoint(0, [], note(0), now=1)
    me.add_checkpoint(0, [], note(5), now=2)
    assert me.size == 5


def test_equivocation_is_refused_with_evidence_anyone_can_check() -> None:
    me = witness()
    me.add_checkpoint(0, [], note(8), now=1)
    with pytest.raises(EquivocationError, match="signed two roots for size 8") as caught:
        me.add_checkpoint(8, [], note(8, FORK), now=2)
    assert caught.value.culprits == (ORIGIN,)
    one, other = (verify_checkpoint(item, LOG_KEY) for item in caught.value.evidence)
    assert one.size == other.size == 8
    assert one.root != other.root


def test_a_fork_that_grew_is_refused() -> None:
    me = witness()
    me.add_checkpoint(0, [], note(8), now=1)
    for proof in (FORK.consistency_proof(8, 12), TREE.consistency_proof(8, 12), [], [bytes(32)] * 65):
        with pytest.raises(ConsistencyError, match="refuses size 12") as caught:
            me.add_checkpoint(8, proof, note(12, FORK), now=2)
        assert caught.value.culprits == (ORIGIN,)
    assert me.size == 8


def test_it_does_not_go_back_or_start_elsewhere() -> None:
    me = witness()
    with pytest.raises(ConsistencyError, match="cosigned nothing yet"):
        me.add_checkpoint(3, [], note(8), now=1)
    with pytest.raises(ConsistencyError, match="cosigned nothing yet"):
        me.add_checkpoint(0, [bytes(32)], note(8), now=1)
    me.add_checkpoint(0, [], note(8), now=1)
    with pytest.raises(ConsistencyError, match="not going back to 4"):
        me.add_checkpoint(8, [], note(4), now=2)
    with pytest.raises(ConsistencyError, match="proof from size 8, not from 4"):
        me.add_checkpoint(4, TREE.consistency_proof(4, 12), note(12), now=2)
    with pytest.raises(ConsistencyError, match="proof from size 8, not from 0"):
        me.add_checkpoint(0, [], note(12, FORK), now=2)
    with pytest.raises(ConsistencyError, match="no proof is due"):
        me.add_checkpoint(8, [bytes(32)], note(8), now=2)


def test_only_the_log_is_heard() -> None:
    me = witness()
    with pytest.raises(SignatureError, match="not signed by"):
        me.add_checkpoint(0, [], note(3, key=key_of("stranger")), now=1)
    with pytest.raises(DecodeError):
        me.add_checkpoint(0, [], b"garbage", now=1)
    other = sign_note(Checkpoint("example.com/other", 3, TREE.root(3)).text(), ORIGIN, key_of("sequencer"))
    with pytest.raises(DecodeError, match=r"example\.com/other"):
        me.add_checkpoint(0, [], other.encode(), now=1)
    with pytest.raises(ValueError, match="time"):
        me.add_checkpoint(0, [], note(3), now=-1)
    assert me.size == 0


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
