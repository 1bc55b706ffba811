"""The tree over tiles against the tree in memory, and what it does with tiles that are not those it stored."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import EMPTY_ROOT, DamagedStoreError, StateError, Tree, leaf_hash, node_hash
from ledger.merkle import consistency_proof, inclusion_proof, root
from ledger.tile import MAX_TILE, Tile, tiles_of
from ledger.tiled import Growth, TiledTree, completed_tiles, tile_root

MOST = 256 * 256 + 256 * 3 + 77
LEAVES = [leaf_hash(b"%d" % i) for i in range(MOST)]
TREE = Tree(LEAVES)
Kept = dict[tuple[int, int], bytes]


class Counted:
    """Tiles in memory; counts how often each is read."""

    def __init__(self, kept: Kept) -> None:
        self.kept = kept
        self.read: list[tuple[int, int]] = []

    def __call__(self, level: int, index: int) -> bytes | None:
        self.read.append((level, index))
        return self.kept.get((level, index))


def grown(kept: Kept, leaves: Sequence[bytes]) -> TiledTree:
    tree = TiledTree(lambda level, index: kept.get((level, index)))
    growth = tree.prepare(leaves)
    kept.update(growth.tiles)
    tree.commit(growth)
    return tree


def opened(kept: Kept, size: int) -> tuple[TiledTree, Counted]:
    read = Counted(kept)
    return TiledTree(read, size, TREE.root(size), LEAVES[size - size % 256 : size]), read


ALL: Kept = {}
grown(ALL, LEAVES)


@given(st.lists(st.sampled_from([0, 1, 2, 3, 100, 255, 256, 257, 511, 700]), max_size=12), st.data())
def test_it_equals_the_tree_in_memory_after_any_appends_and_at_any_older_size(
    batches: list[int], draw: st.DataObject
) -> None:
    kept: Kept = {}
    tree = TiledTree(lambda level, index: kept.get((level, index)))
    for batch in batches:
        size = tree.size
        growth = tree.prepare(LEAVES[size : size + batch])
        assert (tree.size, tree.root()) == (size, TREE.root(size))
        assert growth.tiles.keys().isdisjoint(kept)
        kept.update(growth.tiles)
        tree.commit(growth)
        assert (tree.size, tree.root(), growth.root) == (size + batch, TREE.root(size + batch), tree.root())
    size = tree.size
    assert kept.keys() == completed_tiles(0, size)
    again, _ = opened(kept, size)
    for _ in range(4):
        old = draw.draw(st.integers(0, size))
        assert tree.root(old) == again.root(old) == TREE.root(old)
        if old:
            start = draw.draw(st.integers(1, old))
            assert again.consistency_proof(start, old) == TREE.consistency_proof(start, old)
            assert again.inclusion_proof(start - 1, old) == TREE.inclusion_proof(start - 1, old)


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 65_535, 65_536, 65_537, MOST])
def test_every_tile_subtree_and_proof_of_a_large_tree(size: int) -> None:
    tree, _ = opened(ALL, size)
    for tile in tiles_of(size):
        if tile.index % 37 == 0 or not tile.is_full:
            hashes = [TREE.subtree(8 * tile.level, tile.start + i) for i in range(tile.width)]
            assert tree.tile(tile) == b"".join(hashes)
    for height in range(size.bit_length()):
        for index in {0, (size >> height) - 1, (size >> height) // 2} - {-1}:
            if (index + 1) << height <= size:
                assert tree.subtree(height, index) == TREE.subtree(height, index)
    for old in {1, size // 3, size // 2 + 1, size - 1, size} & set(range(1, size + 1)):
        assert tree.root(old) == TREE.root(old) == root(TREE, old)
        assert tree.consistency_proof(old, size) == consistency_proof(TREE, old, size)
        assert tree.inclusion_proof(old - 1, size) == inclusion_proof(TREE, old - 1, size)
        assert tree.inclusion_proof(0, old) == inclusion_proof(TREE, 0, old)


def test_opening_reads_the_edge_only_and_a_proof_few_tiles() -> None:
    tree, read = opened(ALL, MOST)
    assert sorted(read.read) == [(0, 256), (0, 257), (0, 258), (1, 0)]
    read.read.clear()
    tree.inclusion_proof(1000, MOST)
    assert read.read == [(0, 3)]
    tree.inclusion_proof(1001, MOST)
    assert read.read == [(0, 3)]
    for index in range(0, 256 * 256, 256):
        tree.subtree(0, index)
    assert read.read.count((0, 3)) == 1
    assert read.read.count((1, 0)) == 0
    for rows in tree._edge:
        assert len(rows[0]) < MAX_TILE
    for index in range(256, 259):
        tree.subtree(0, index * 256)
    assert len(tree._leaf_tiles) == 256
    tree.subtree(0, 0)
    assert read.read.count((0, 0)) == 2  # it had to make room


# --- what was stored is not what is read ------------------------------------------------------------------------------


def rotten(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


@pytest.mark.parametrize("place", [0, 31, 4096, 8191])
@pytest.mark.parametrize("tile", [(0, 0), (0, 100), (0, 255), (0, 257), (1, 0)])
def test_a_rotten_tile_is_refused_wherever_a_bit_is_flipped(tile: tuple[int, int], place: int) -> None:
    kept = ALL | {tile: rotten(ALL[tile], place)}
    number = tile[1] if tile[0] == 0 else 5
    with pytest.raises(DamagedStoreError):
        opened(kept, MOST)[0].inclusion_proof(256 * number + 7, MOST)
    # after opening, too
    kept = dict(ALL)
    tree, _ = opened(kept, MOST)
    tree._leaf_tiles.clear()
    tree._upper_tiles.clear()
    kept[tile] = rotten(kept[tile], place)
    level, index = tile
    for ask in (
        lambda: tree.subtree(8 * level, 256 * index),
        lambda: tree.tile(Tile(level, index)),
        lambda: tree.tile(Tile(level, index, 3)),
        lambda: tree.inclusion_proof((256 * index) << 8 * level, MOST),
    ):
        with pytest.raises(DamagedStoreError, match=f"tile/{level}/{index:03d} changed in the store"):
            ask()
    kept[tile] = ALL[tile]
    assert tree.subtree(8 * level, 256 * index) == TREE.subtree(8 * level, 256 * index)


def test_a_tile_is_checked_against_a_checked_tile_above_it() -> None:
    """A level-0 tile and the hash of it in the level-1 tile, changed together, are found by the edge."""
    forged = rotten(ALL[0, 9], 77)
    above = ALL[1, 0][: 32 * 9] + Tree([forged[i : i + 32] for i in range(0, MAX_TILE, 32)]).root()
    tree, _ = opened(dict(ALL), MOST)
    tree._leaf_tiles.clear()
    tree._upper_tiles.clear()
    tree._read = lambda level, index: (ALL | {(0, 9): forged, (1, 0): above + ALL[1, 0][len(above) :]})[level, index]
    with pytest.raises(DamagedStoreError, match="tile/1/000 changed"):
        tree.inclusion_proof(256 * 9, MOST)


def test_missing_and_misshapen_tiles_are_said() -> None:
    kept = {key: data for key, data in ALL.items() if key != (0, 257)}
    with pytest.raises(DamagedStoreError, match="tile/0/257 is missing"):
        opened(kept, MOST)
    for wrong in (b"", bytes(MAX_TILE - 1), bytes(MAX_TILE + 1), "text"):
        tree, read = opened(dict(ALL), MOST)
        read.kept[0, 5] = wrong  # type: ignore[assignment]
        with pytest.raises(DamagedStoreError, match="tile/0/005 is damaged"):
            tree.subtree(0, 5 * 256)


def test_another_root_or_tail_is_refused_at_opening() -> None:
    def read(level: int, index: int) -> bytes | None:
        return ALL.get((level, index))

    tail = LEAVES[MOST - MOST % 256 :]
    TiledTree(read, MOST, TREE.root(), tail)
    for size, stated, leaves in (
        (MOST, TREE.root(MOST - 1), tail),
        (MOST, TREE.root(), [*tail[:-1], bytes(32)]),
        (MOST - 256, TREE.root(), tail),
        (0, TREE.root(), []),
        (MOST - MOST % 256, EMPTY_ROOT, []),
    ):
        with pytest.raises(DamagedStoreError, match="do not lead to the stored root"):
            TiledTree(read, size, stated, leaves)


# --- appending --------------------------------------------------------------------------------------------------------


def test_an_append_that_was_not_stored_leaves_no_trace() -> None:
    kept: Kept = {}
    tree = grown(kept, LEAVES[:300])
    lost = tree.prepare(LEAVES[300:900])
    assert (tree.size, tree.root()) == (300, TREE.root(300))
    done = tree.prepare(LEAVES[300:301])
    tree.commit(done)
    with pytest.raises(StateError, match="prepared at size 300, the tree has 301 leaves now"):
        tree.commit(lost)
    assert (tree.size, tree.root()) == (301, TREE.root(301))


def test_the_caller_asks_within_the_tree() -> None:
    tree = grown({}, LEAVES[:300])
    for ask in (
        lambda: tree.root(301),
        lambda: tree.root(-1),
        lambda: tree.inclusion_proof(300, 300),
        lambda: tree.inclusion_proof(0, 301),
        lambda: tree.consistency_proof(0, 300),
        lambda: tree.consistency_proof(300, 301),
        lambda: tree.subtree(8, 1),
        lambda: tree.subtree(0, 300),
        lambda: tree.subtree(0, -1),
        lambda: tree.subtree(-1, 0),
        lambda: tree.subtree(10**9, 0),
        lambda: tree.tile(Tile(0, 1, 45)),
        lambda: tree.tile(Tile(0, 1)),
        lambda: tree.tile(Tile(1, 0, 2)),
        lambda: tree.prepare([b"short"]),
        lambda: tree.prepare([bytes(31), bytes(33)]),
        lambda: TiledTree(lambda *_: None, 3, EMPTY_ROOT, LEAVES[:2]),
        lambda: Growth(0, 256, EMPTY_ROOT, {}, ()),
        lambda: tile_root(bytes(8191)),
    ):
        with pytest.raises(ValueError):
            ask()
    assert tile_root(tree.tile(Tile(0, 0))) == tree.subtree(8, 0)
    assert tree.tile(Tile(0, 1, 44)) == b"".join(LEAVES[256:300])
    assert node_hash(tree.subtree(0, 0), tree.subtree(0, 1)) == tree.subtree(1, 0)
