"""The stores, and the one suite of tests that all of them pass.

A store joins by a subclass of `StoreContract` that says how it is opened and how its bytes are spoiled behind its back.
"""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from ledger import (
    EMPTY_ROOT,
    DamagedStoreError,
    Head,
    Log,
    MemoryStore,
    SqliteStore,
    StateError,
    Store,
    StoreError,
    Tree,
    leaf_hash,
    verify_inclusion,
)
from ledger.tile import Tile
from ledger.tiled import Growth, TiledTree, completed_tiles
from tests.ledger.federation import ORIGIN, Federation, key_of

# What the memory stores of one test hold, as a disk holds what a file store wrote.
_DISK: dict[Path, MemoryStore] = {}


def memory_store(path: Path) -> Store:
    """A store in memory that has what another one with this path had: as after a restart."""
    store = MemoryStore()
    if path in _DISK:
        before = _DISK[path]
        store._entries, store._tiles, store._head = before._entries, before._tiles, before._head
    _DISK[path] = store
    return store


STORES: dict[str, Callable[[Path], Store]] = {"memory": memory_store, "sqlite": SqliteStore}
"""How to open each store at a path; opened again there after closing, it holds what it held."""


def entries_of(start: int, stop: int) -> list[bytes]:
    return [b"entry %d" % i for i in range(start, stop)]


def new_log(store: Store) -> Log:
    return Log(store, ORIGIN, key_of("sequencer"))


def growth_of(store: Store, entries: Sequence[bytes]) -> Growth:
    """What appending these makes of the tree of what the store holds."""
    size = store.head().size
    tree = TiledTree(lambda *_: None)
    tree.commit(tree.prepare([leaf_hash(entry) for entry in store.entries(0, size)]))
    return tree.prepare([leaf_hash(entry) for entry in entries])


def put(store: Store, entries: Sequence[bytes], checkpoint: bytes | None = None) -> Head:
    """Append entries as a log does."""
    growth = growth_of(store, entries)
    head = Head(growth.size, growth.root, checkpoint)
    store.append(entries, growth.tiles, head)
    return head


class StoreContract:
    """Subclass it as `Test...`, and give `open` and the three `spoil_...`."""

    def open(self, path: Path) -> Store:
        """Open the store of this path: a new one, or what was closed there."""
        raise AssertionError

    def spoil_entry(self, path: Path, index: int, data: bytes | None) -> None:
        """Behind the store's back: other bytes for an entry, None to delete it, a new row beyond the end."""
        raise AssertionError

    def spoil_tile(self, path: Path, level: int, index: int, data: bytes | None) -> None:
        """Behind the store's back: other bytes for a tile, None to delete it, a new row where there is none."""
        raise AssertionError

    def spoil_head(self, path: Path, size: int, root: bytes) -> None:
        """Behind the store's back: another size and root."""
        raise AssertionError

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "log.db"

    @pytest.fixture
    def store(self, path: Path) -> Iterator[Store]:
        store = self.open(path)
        yield store
        store.close()

    def test_a_new_store_is_empty(self, store: Store) -> None:
        assert store.head() == Head(0, EMPTY_ROOT, None)
        assert store.entries(0, 10) == []
        assert store.tile(0, 0) is None

    def test_what_was_appended_is_there_after_opening_again(self, path: Path) -> None:
        everything = entries_of(0, 1000)
        with closing(self.open(path)) as store:
            put(store, everything[:3])
            put(store, everything[3:600], b"a note")
            assert put(store, []).size == 600
            head = put(store, everything[600:], b"another note")
        with closing(self.open(path)) as store:
            assert store.head() == head
            assert head.root == Tree([leaf_hash(entry) for entry in everything]).root()
            assert store.entries(0, 1000) == everything
            for index in range(3):
                leaves = [leaf_hash(entry) for entry in everything[256 * index : 256 * (index + 1)]]
                assert store.tile(0, index) == b"".join(leaves)
            for level, index in ((0, 3), (1, 0), (5, 0), (0, 2**40)):
                assert store.tile(level, index) is None

    def test_ranges_of_entries(self, store: Store) -> None:
        put(store, entries_of(0, 10))
        assert store.entries(0, 10) == entries_of(0, 10)
        assert store.entries(3, 5) == entries_of(3, 5)
        assert store.entries(8, 20) == entries_of(8, 10)
        assert store.entries(-5, 2) == entries_of(0, 2)
        assert store.entries(5, 5) == store.entries(6, 5) == store.entries(10, 11) == store.entries(-3, -1) == []

    def test_entries_of_every_byte_and_length_come_back_as_they_were(self, store: Store) -> None:
        entries = [b"\x00", bytes(range(256)), b"\\x00", b"'; --", bytes(65_535), b"\xff" * 300]
        put(store, entries)
        assert store.entries(0, 6) == entries

    def test_a_full_tile_above_the_lowest_is_kept(self, store: Store) -> None:
        entries = [b"%d" % i for i in range(65_540)]
        growth = growth_of(store, entries)
        assert growth.tiles.keys() == completed_tiles(0, 65_540)
        assert (1, 0) in growth.tiles
        store.append(entries, growth.tiles, Head(growth.size, growth.root))
        assert store.tile(1, 0) == growth.tiles[1, 0]
        assert store.tile(0, 255) == growth.tiles[0, 255]

    def test_an_append_that_does_not_fit_changes_nothing(self, store: Store) -> None:
        head = put(store, entries_of(0, 200))
        good = growth_of(store, entries_of(200, 300))
        fits = Head(good.size, good.root)
        one = {(0, 0): good.tiles[0, 0]}
        for entries, tiles, new in (
            (entries_of(200, 300), one, Head(299, good.root)),
            (entries_of(200, 299), one, fits),
            ([*entries_of(200, 299), b""], one, fits),
            ([*entries_of(200, 299), bytes(65_536)], one, fits),
            ([*entries_of(200, 299), "text"], one, fits),
            (entries_of(200, 300), {}, fits),
            (entries_of(200, 300), {(0, 1): one[0, 0]}, fits),
            (entries_of(200, 300), {**one, (1, 0): one[0, 0]}, fits),
            (entries_of(200, 300), {(0, 0): one[0, 0][:-1]}, fits),
            (entries_of(200, 300), {(0, 0): "text"}, fits),
            ([], {}, Head(199, bytes(32))),
        ):
            with pytest.raises(ValueError):
                store.append(entries, tiles, new)  # type: ignore[arg-type]
            assert (store.head(), store.entries(0, 1000), store.tile(0, 0)) == (head, entries_of(0, 200), None)
        store.append(entries_of(200, 300), one, fits)
        assert store.head() == fits

    def test_a_closed_store_refuses_all_work(self, path: Path) -> None:
        store = self.open(path)
        store.close()
        store.close()
        for ask in (
            store.head,
            lambda: store.entries(0, 1),
            lambda: store.tile(0, 0),
            lambda: store.append([], {}, Head()),
        ):
            with pytest.raises(StateError, match="closed"):
                ask()

    def test_a_log_goes_on_where_it_was(self, path: Path) -> None:
        federation = Federation(self.open(path))
        certificate = federation.grow(700)
        federation.log.append_all(entries_of(700, 1100))
        checkpoint = federation.log.checkpoint()
        federation.log.close()
        with closing(new_log(self.open(path))) as log:
            assert (log.size, log.certified(), log.checkpoint()) == (1100, certificate.note, checkpoint)
            assert log.entries() == entries_of(0, 1100)
            assert log.tile(Tile(1, 0, 4)) == b"".join(log.subtree(8, i) for i in range(4))
            log.append_all(entries_of(1100, 1300))
            for index in (0, 500, 1299):
                proof = log.inclusion_proof(index, 1300)
                verify_inclusion(leaf_hash(b"entry %d" % index), index, 1300, proof, log.root(1300))

    # --- bytes that are not those that were stored

    def grown(self, path: Path) -> None:
        """A log of 600 entries, certified at 300."""
        federation = Federation(self.open(path))
        federation.grow(300)
        federation.log.append_all(entries_of(300, 600))
        federation.log.close()

    def refused(self, path: Path) -> None:
        """Opening the store, or a log on it, says that it is damaged; nothing is changed by it."""
        for _ in range(2):
            with pytest.raises(DamagedStoreError):
                self.open_log(path)

    def open_log(self, path: Path) -> Log:
        store = self.open(path)
        try:
            return new_log(store)
        except StoreError:
            store.close()
            raise

    @pytest.mark.parametrize("index", [300, 400, 511, 512, 599])
    @pytest.mark.parametrize("data", [b"entry 7", None])
    def test_damage_beyond_the_certificate_is_refused_at_opening(
        self, path: Path, index: int, data: bytes | None
    ) -> None:
        self.grown(path)
        self.spoil_entry(path, index, data)
        self.refused(path)

    @pytest.mark.parametrize("index", [0, 77, 255])
    @pytest.mark.parametrize("data", [b"entry 9", None])
    def test_damage_below_the_certificate_is_refused_when_it_is_read(
        self, path: Path, index: int, data: bytes | None
    ) -> None:
        self.grown(path)
        self.spoil_entry(path, index, data)
        with closing(self.open_log(path)) as log:
            with pytest.raises(DamagedStoreError):
                log.entry(index)
            with pytest.raises(DamagedStoreError):
                log.entries(0, 256)
            assert log.entries(256, 600) == entries_of(256, 600)

    def test_a_missing_or_changed_tile_is_refused(self, path: Path) -> None:
        self.grown(path)
        for data in (None, bytes(8192), bytes(8191), b""):
            self.spoil_tile(path, 0, 1, data)
            self.refused(path)

    def test_what_is_beyond_the_head_is_refused(self, path: Path) -> None:
        self.grown(path)
        self.spoil_entry(path, 600, b"entry 600")
        self.refused(path)

    def test_a_tile_beyond_the_head_is_refused(self, path: Path) -> None:
        self.grown(path)
        self.spoil_tile(path, 0, 2, bytes(8192))
        self.refused(path)

    @pytest.mark.parametrize("size", [0, 299, 300, 599, 601, 1000, 2**62])
    def test_a_head_of_another_size_is_refused(self, path: Path, size: int) -> None:
        self.grown(path)
        self.spoil_head(path, size, Tree([leaf_hash(entry) for entry in entries_of(0, min(size, 600))]).root())
        self.refused(path)

    def test_a_head_of_another_root_is_refused(self, path: Path) -> None:
        self.grown(path)
        self.spoil_head(path, 600, bytes(32))
        self.refused(path)


class MemoryContract(StoreContract):
    """The store in memory."""

    def open(self, path: Path) -> Store:
        return memory_store(path)

    def spoil_entry(self, path: Path, index: int, data: bytes | None) -> None:
        entries = _DISK[path]._entries
        entries[index : index + 1] = [b"" if data is None else data]  # a list has no gaps

    def spoil_tile(self, path: Path, level: int, index: int, data: bytes | None) -> None:
        tiles = _DISK[path]._tiles
        tiles.pop((level, index), None)
        if data is not None:
            tiles[level, index] = data

    def spoil_head(self, path: Path, size: int, root: bytes) -> None:
        store = _DISK[path]
        store._head = Head(size, root, store._head.checkpoint)


class SqliteContract(StoreContract):
    """The store in an SQLite file."""

    def open(self, path: Path) -> Store:
        return SqliteStore(path, create=True)

    @staticmethod
    def run(path: Path, statement: str, *arguments: object) -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as sql:
            sql.execute(statement, arguments)

    def spoil_entry(self, path: Path, index: int, data: bytes | None) -> None:
        self.run(path, "DELETE FROM entries WHERE i = ?", index)
        if data is not None:
            self.run(path, "INSERT INTO entries VALUES (?, ?)", index, data)

    def spoil_tile(self, path: Path, level: int, index: int, data: bytes | None) -> None:
        self.run(path, "DELETE FROM tiles WHERE level = ? AND i = ?", level, index)
        if data is not None:
            self.run(path, "INSERT INTO tiles VALUES (?, ?, ?)", level, index, data)

    def spoil_head(self, path: Path, size: int, root: bytes) -> None:
        self.run(path, "UPDATE head SET size = ?, root = ?", size, root)
