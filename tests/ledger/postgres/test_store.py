"""The store in PostgreSQL: what it keeps, what it refuses, and what it says when it is not let in or not obeyed."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ledger import _postgres
from ledger.errors import DamagedStoreError, StateError, StoreError
from ledger.fsck import fsck
from ledger.log import Log
from ledger.merkle import leaf_hash
from ledger.postgres import PostgresStore
from ledger.publishing import publish
from ledger.store import Head, SqliteStore, Store
from ledger.tile import tiles_of
from ledger.tiled import TiledTree
from tests.ledger.federation import ORIGIN, Federation, key_of
from tests.ledger.postgres.cluster import Cluster
from tests.ledger.postgres.loader import entry_of

Opener = Callable[..., PostgresStore]
SECRET = "correct-horse"


def log_of(store: Store) -> Log:
    return Log(store, ORIGIN, key_of("sequencer"))


def batch(start: int, stop: int) -> list[bytes]:
    return [entry_of(i) for i in range(start, stop)]


def head_of(count: int) -> Head:
    tree = TiledTree(lambda level, index: None)
    tree.commit(tree.prepare([leaf_hash(entry_of(i)) for i in range(count)]))
    return Head(count, tree.root())


def run(pair: Cluster, schema: str, *statements: str) -> list[tuple[object, ...]]:
    return pair.servers[0].run(f"SET search_path = {schema}", *statements)


def files_below(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_log_is_the_same_as_in_sqlite(opened: Opener, tmp_path: Path) -> None:
    federations = [Federation(opened()), Federation(SqliteStore(tmp_path / "log.db", create=True))]
    for federation, name in zip(federations, ("postgres", "sqlite"), strict=True):
        for start, stop in ((0, 1), (1, 300), (300, 700)):
            federation.log.append_all(batch(start, stop))
        publish(federation.log, federation.certify(), tmp_path / name)
        federation.log.append_all(batch(700, 703))
        federation.log.close()
    reopened = [log_of(opened()), log_of(SqliteStore(tmp_path / "log.db", create=True))]
    a, b = reopened
    assert (a.size, a.checkpoint(), a.certified()) == (b.size, b.checkpoint(), b.certified())
    assert a.entries() == b.entries() == batch(0, 703)
    assert [a.tile(tile) for tile in tiles_of(703)] == [b.tile(tile) for tile in tiles_of(703)]
    assert a.inclusion_proof(5, 703) == b.inclusion_proof(5, 703)
    assert a.consistency_proof(300, 703) == b.consistency_proof(300, 703)
    assert files_below(tmp_path / "postgres") == files_below(tmp_path / "sqlite") != {}
    for log in reopened:
        log.close()


def test_what_was_appended_is_there_when_opened_again(opened: Opener) -> None:
    store = opened()
    assert (store.head(), store.entries(0, 9), store.tile(0, 0)) == (Head(), [], None)
    log = log_of(store)
    log.append_all(batch(0, 600))
    tiles = [store.tile(0, 0), store.tile(0, 1)]
    head = store.head()
    log.close()
    again = opened()
    assert again.head() == head == head_of(600)
    assert [again.tile(0, 0), again.tile(0, 1)] == tiles
    assert None not in tiles
    assert again.tile(0, 2) is None
    assert again.tile(-1, 0) is None
    assert again.tile(0, 2**70) is None
    assert again.entries(598, 2**70) == batch(598, 600)
    assert again.entries(-5, 2) == batch(0, 2)
    assert again.entries(2, 2) == again.entries(3, 1) == again.entries(2**70, 2**71) == []
    assert again.strays() == []


def test_large_entries_pass_in_pieces(opened: Opener) -> None:
    log = log_of(opened())
    entries = [bytes([i]) * 65535 for i in range(40)]
    log.append_all(entries)
    assert log.entries() == entries


def test_an_append_that_does_not_fit_is_refused_and_harms_nothing(opened: Opener) -> None:
    store = opened()
    for entries, tiles, head in (
        ([b""], {}, head_of(1)),
        ([b"x" * 65536], {}, head_of(1)),
        ([b"x"], {}, head_of(2)),
        ([b"x"], {(0, 0): bytes(8192)}, head_of(1)),
        (batch(0, 256), {(0, 0): bytes(8191)}, head_of(256)),
        (batch(0, 256), {}, head_of(256)),
    ):
        with pytest.raises(ValueError, match=r"an entry has|do not make|the tiles are not"):
            store.append(entries, tiles, head)
    store.append(batch(0, 1), {}, head_of(1))
    assert store.head() == head_of(1)


def test_a_closed_store_does_nothing(opened: Opener) -> None:
    store = opened()
    store.close()
    store.close()
    for use in (store.head, store.strays, lambda: store.entries(0, 1), lambda: store.append((), {}, Head())):
        with pytest.raises(StateError, match="is closed"):
            use()


def test_a_reader_sees_what_is_committed_on_either_server_and_writes_nothing(opened: Opener, pair: Cluster) -> None:
    standby = pair.servers[1]
    with pytest.raises(StoreError, match="open it for writing first"):
        opened(readonly=True)
    log = log_of(opened())
    for dsn in (None, standby.dsn()):
        reader = opened(dsn, readonly=True)
        log.append_all(batch(log.size, log.size + 200))
        with standby.connect() as connection:  # replayed there soon after it is on its disk
            while connection.execute("SELECT pg_last_wal_receive_lsn() <> pg_last_wal_replay_lsn()").fetchall()[0][0]:
                continue
        assert log_of(reader).entries() == batch(0, log.size)
        with pytest.raises(StateError, match="reading only"):
            reader.append((), {}, reader.head())
        with pytest.raises(StoreError, match="takes no writes"), reader._session.transaction():
            reader._session.change("DELETE FROM {schema}.entries")
    log.append_all(batch(log.size, log.size + 1))


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("UPDATE head SET size = -1", "head"),
        ("UPDATE head SET root = 'short'", "head"),
        ("UPDATE head SET checkpoint = ''", "head"),
        ("UPDATE head SET checkpoint = convert_to(repeat('x', 70000), 'UTF8')", "head"),
        ("DELETE FROM head", "head"),
        ("ALTER TABLE head ALTER root TYPE text USING repeat('x', 32)", "head"),
        ("DELETE FROM entries WHERE i = 1", "entries"),
        ("UPDATE entries SET bytes = '' WHERE i = 1", "entries"),
        ("UPDATE entries SET bytes = convert_to(repeat('x', 65536), 'UTF8') WHERE i = 1", "entries"),
        ("ALTER TABLE entries ALTER bytes TYPE text USING 'x'", "entries"),
        ("ALTER TABLE entries ALTER i TYPE text", "entries"),
        ("DROP TABLE entries", "entries"),
        ("UPDATE tiles SET bytes = 'short'", "tile"),
        ("ALTER TABLE tiles ALTER bytes TYPE text USING repeat('x', 8192)", "tile"),
        ("ALTER TABLE tiles DROP bytes", "tile"),
    ],
)
def test_stored_bytes_of_another_form_are_refused(
    opened: Opener, pair: Cluster, schema: str, statement: str, what: str
) -> None:
    store = opened()
    log_of(store).append_all(batch(0, 256))
    run(pair, schema, statement)
    read: dict[str, Callable[[], object]] = {
        "head": store.head,
        "entries": lambda: store.entries(0, 256),
        "tile": lambda: store.tile(0, 0),
    }
    with pytest.raises(DamagedStoreError, match=r"restore a copy|not 8192 bytes"):
        read[what]()


def test_what_lies_beyond_the_head_is_listed_and_stops_an_append(opened: Opener, pair: Cluster, schema: str) -> None:
    store = opened()
    log_of(store).append_all(batch(0, 300))
    run(pair, schema, "INSERT INTO entries VALUES (300, 'x'), (-1, 'y')", "INSERT INTO tiles VALUES (0, 1, 'x')")
    assert store.strays() == ["entry -1", "entry 300", "tile 1 of level 0"]
    with pytest.raises(DamagedStoreError, match="duplicate key"):
        store.append([b"x"], {}, Head(301, bytes(32)))


def test_a_log_whose_entry_changed_in_the_database_is_refused(opened: Opener, pair: Cluster, schema: str) -> None:
    log = log_of(opened())
    log.append_all(batch(0, 300))
    log.close()
    run(pair, schema, "UPDATE entries SET bytes = set_byte(bytes, 7, get_byte(bytes, 7) # 1) WHERE i = 123")
    with pytest.raises(DamagedStoreError):
        log_of(opened())


@pytest.mark.parametrize(
    ("code", "kind", "message"),
    [
        ("53100", StoreError, "the server's disk is full"),
        ("42501", StoreError, "lacks a permission"),
        ("25006", StoreError, "takes no writes"),
        ("55P03", StoreError, "another transaction holds it"),
        ("58030", StoreError, "check the server"),
        ("XX001", DamagedStoreError, "restore a copy"),
    ],
)
def test_a_failing_server_is_understood_and_the_write_undone(
    opened: Opener, pair: Cluster, schema: str, code: str, kind: type[StoreError], message: str
) -> None:
    log = log_of(opened())
    log.append_all(batch(0, 3))
    body = f"BEGIN RAISE 'no' USING ERRCODE = '{code}'; END"
    run(
        pair,
        schema,
        f"CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ {body} $$",
        "CREATE TRIGGER fail BEFORE INSERT ON entries EXECUTE FUNCTION fail()",
    )
    with pytest.raises(StoreError, match=message) as caught:
        log.append(entry_of(3))
    assert type(caught.value) is kind
    log.close()
    run(pair, schema, "DROP TRIGGER fail ON entries")
    again = log_of(opened())
    assert again.entries() == batch(0, 3)
    again.append(entry_of(3))


def test_a_row_held_by_somebody_else_does_not_stop_us_for_ever(opened: Opener, pair: Cluster, schema: str) -> None:
    store = opened(timeout=2.0)
    with pair.servers[0].connect() as other:
        other.execute(f"BEGIN; LOCK TABLE {schema}.head".encode())
        with pytest.raises(StoreError, match="another transaction holds it"):
            store.append([entry_of(0)], {}, head_of(1))


def test_an_interrupted_read_or_write_poisons(opened: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    for broken, use in (("cursor", PostgresStore.head), ("wait", lambda s: s.append([entry_of(0)], {}, head_of(1)))):
        store = opened()
        with monkeypatch.context() as patched:
            patched.setattr(_postgres._Connection, broken, interrupt)
            with pytest.raises(KeyboardInterrupt):
                use(store)
        with pytest.raises(StoreError, match="close it and open it again"):
            store.head()
        store.close()
    assert opened().head() == Head()


def test_fsck_reads_it_on_either_server(opened: Opener, pair: Cluster, schema: str) -> None:
    federation = Federation(opened())
    federation.grow(600)
    for dsn in (None, pair.servers[1].dsn()):
        assert fsck(opened(dsn, readonly=True), federation.log.verifier, policy=federation.policy) == []
    run(pair, schema, "UPDATE entries SET bytes = 'x' WHERE i = 77")
    findings = fsck(opened(readonly=True), federation.log.verifier)
    assert any("77" in finding.where for finding in findings)
