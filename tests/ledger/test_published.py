"""Reading what was published, and what may have been changed on the way."""

import os
import shutil
import tracemalloc
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger import (
    ED25519,
    EMPTY_ROOT,
    ConsistencyError,
    DecodeError,
    EquivocationError,
    LedgerError,
    ProofError,
    PublishedLog,
    QuorumError,
    SignatureError,
    StoreError,
    VerifierKey,
    leaf_hash,
    parse_checkpoint,
    parse_note,
    publish,
    read_published,
    sign_checkpoint,
)
from ledger.checkpoint import Checkpoint
from ledger.policy_file import TrustedLog, TrustPolicy
from ledger.published import (
    PublishedTree,
    published_consistency_proof,
    published_entry,
    published_inclusion_proof,
    verify_published,
)
from ledger.source import DirectorySource
from ledger.tile import Tile, encode_bundle
from ledger.verify import verify_log
from tests.ledger.federation import NAMES, ORIGIN, Federation, key_of
from tests.ledger.publishing import files, published


def test_three_levels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)  # hundreds of files: nothing here is about durability
    federation = published(tmp_path, 65_536 + 300)
    assert read_published(tmp_path).entries[-1] == b"entry 65835"
    tile = tmp_path / "tile" / "2" / "000.p" / "1"
    tile.write_bytes(tile.read_bytes()[::-1])
    with pytest.raises(ProofError, match=r"hash 0 of tile/2/000\.p/1 is not the root of tile/1/000"):
        read_published(tmp_path)
    assert federation.log.size == 65_836


def test_a_reader_of_an_older_checkpoint_finds_the_full_tile(tmp_path: Path) -> None:
    federation = published(tmp_path, 200)
    old = (tmp_path / "checkpoint").read_bytes()
    publish(federation.log, federation.grow(100), tmp_path)
    (tmp_path / "checkpoint").write_bytes(old)
    assert len(read_published(tmp_path).entries) == 200


# --- every change to the published files is found, and named ----------------------------------------------------------


def test_a_changed_entry_is_named(tmp_path: Path) -> None:
    published(tmp_path, 300)
    bundle = tmp_path / "tile/entries/000"
    bundle.write_bytes(bundle.read_bytes().replace(b"entry 17", b"entry XX"))
    with pytest.raises(ProofError, match="entry 17 was changed: in tile/entries/000"):
        read_published(tmp_path)


def test_a_removed_entry_is_named(tmp_path: Path) -> None:
    federation = published(tmp_path, 300)
    entries = federation.log.entries(256, 300)
    (tmp_path / "tile/entries/001.p/44").write_bytes(encode_bundle(entries[:9] + entries[10:]))
    with pytest.raises(ProofError, match=r"entry 265 was removed: tile/entries/001\.p/44 holds 43 entries"):
        read_published(tmp_path)
    (tmp_path / "tile/entries/001.p/44").write_bytes(encode_bundle(entries[:-1]))
    with pytest.raises(ProofError, match="entry 299 was removed"):
        read_published(tmp_path)


def test_an_inserted_entry_is_named(tmp_path: Path) -> None:
    federation = published(tmp_path, 20)
    entries = federation.log.entries()
    (tmp_path / "tile/entries/000.p/20").write_bytes(encode_bundle([*entries[:5], b"new", *entries[5:]]))
    with pytest.raises(ProofError, match="entry 5 was inserted"):
        read_published(tmp_path)


def test_reordered_entries_are_named(tmp_path: Path) -> None:
    federation = published(tmp_path, 300)
    entries = federation.log.entries(256, 300)
    entries[3], entries[7] = entries[7], entries[3]
    (tmp_path / "tile/entries/001.p/44").write_bytes(encode_bundle(entries))
    with pytest.raises(ProofError, match=r"entry 259 is out of order: .* has at 263"):
        read_published(tmp_path)


def test_entry_and_hash_changed_together_are_found_one_level_up(tmp_path: Path) -> None:
    federation = published(tmp_path, 300)
    for start, name, words in (
        (0, "000", r"hash 0 of tile/1/000\.p/1 is not the root of tile/0/000"),
        (256, "001.p/44", "do not have the root the checkpoint states"),
    ):
        copy = tmp_path / f"copy{start}"
        publish(federation.log, federation.certify(), copy)
        entries = federation.log.entries(start, min(start + 256, 300))
        entries[1] = b"forged"
        (copy / "tile/entries" / name).write_bytes(encode_bundle(entries))
        (copy / "tile/0" / name).write_bytes(b"".join(map(leaf_hash, entries)))
        with pytest.raises(ProofError, match=words):
            read_published(copy)


def test_a_shortened_log_with_an_own_checkpoint_fails_the_policy(tmp_path: Path) -> None:
    federation = published(tmp_path / "true", 20)
    forger = Federation()
    forger.log.append_all([b"entry %d" % i for i in range(19)])
    shutil.copytree(tmp_path / "true", tmp_path / "forged")
    (tmp_path / "forged/checkpoint").write_bytes(forger.log.checkpoint())
    with pytest.raises(ProofError, match=r"tile/0/000\.p/19 is missing"):
        read_published(tmp_path / "forged")
    publish(forger.log, forger.certify(), tmp_path / "whole")
    found = read_published(tmp_path / "whole")
    stripped = found.note.split("— member".encode())[0]
    with pytest.raises(LedgerError, match="has 0; missing"):
        federation.policy.verify(stripped)


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("tile/0/000", None, "tile/0/000 is missing"),
        ("tile/entries/000", None, "tile/entries/000 is missing"),
        ("tile/1/000.p/1", None, "tile/1/000.p/1 is missing"),
        ("tile/0/000", bytes(8160), "holds 8160 bytes, not 256 hashes"),
        ("tile/0/001.p/44", bytes(44 * 32), "entry 256 was changed"),
        ("tile/1/000.p/1", bytes(32), "hash 0 of tile/1/000.p/1"),
        ("tile/entries/001.p/44", b"\x00", r"001\.p/44: the bundle ends within its entry 0"),
        ("tile/entries/001.p/44", b"\x00\x05abc", "ends within its entry 0"),
        ("tile/entries/001.p/44", b"\x00\x00" * 257, "more than 256 entries"),
        ("tile/entries/001.p/44", b"", "entry 256 was removed"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, name: str, data: bytes | None, words: str) -> None:
    published(tmp_path, 300)
    if data is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(ProofError, match=words):
        read_published(tmp_path)


def test_files_are_not_read_beyond_their_bound(tmp_path: Path) -> None:
    published(tmp_path, 300)
    for name, size in (("tile/0/000", 8193), ("tile/entries/000", 256 * 65_537 + 1), ("checkpoint", 65_537)):
        whole = (tmp_path / name).read_bytes()
        with (tmp_path / name).open("wb") as file:
            file.truncate(size)  # sparse: takes no space
        with pytest.raises(StoreError, match=f"{size} bytes, more than"):
            read_published(tmp_path)
        (tmp_path / name).write_bytes(whole)
    (tmp_path / "tile/0/000").unlink()
    (tmp_path / "tile/0/000").mkdir()
    with pytest.raises(LedgerError):
        read_published(tmp_path)


def test_a_missing_or_foreign_checkpoint_is_said(tmp_path: Path) -> None:
    with pytest.raises(DecodeError, match="holds no checkpoint"):
        read_published(tmp_path)
    (tmp_path / "checkpoint").write_bytes(b"garbage")
    with pytest.raises(DecodeError):
        read_published(tmp_path)
    huge = sign_checkpoint(Checkpoint(ORIGIN, 2**63 - 1, bytes(32)), key_of("sequencer"))
    (tmp_path / "checkpoint").write_bytes(huge)
    with pytest.raises(ProofError, match=r"tile/7/000\.p/127 is missing"):
        read_published(tmp_path)
    with pytest.raises(ValueError, match="as many entries"):
        PublishedLog(huge, [])


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(draw=st.data())
def test_no_mutated_file_is_read_as_another_log(draw: st.DataObject, tmp_path: Path) -> None:
    if not (tmp_path / "checkpoint").exists():
        published(tmp_path, 260)
    federation = Federation()
    federation.log.append_all([b"entry %d" % i for i in range(260)])
    path = tmp_path / draw.draw(st.sampled_from(sorted(files(tmp_path))))
    whole = path.read_bytes()
    data = bytearray(whole)
    data[draw.draw(st.integers(0, len(data) - 1))] ^= draw.draw(st.integers(1, 255))
    path.write_bytes(data)
    try:
        found = read_published(tmp_path)
        federation.policy.verify(found.note)
    except LedgerError:
        return
    finally:
        path.write_bytes(whole)
    assert found.entries == federation.log.entries()
    assert path.name == "checkpoint"  # one cosignature became an unknown key's: four are left


# --- verified before it is shown, and within bounded memory -----------------------------------------------------------


def _head(folder: Path) -> Checkpoint:
    return parse_checkpoint(parse_note(DirectorySource(folder).checkpoint()).text)


class Counting(DirectorySource):
    """Counts the tiles and bundles that are read."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.tiles: list[Tile] = []
        self.bundles: list[Tile] = []

    def hashes(self, tile: Tile) -> list[bytes]:
        self.tiles.append(tile)
        return super().hashes(tile)

    def bundle(self, tile: Tile) -> list[bytes]:
        self.bundles.append(tile)
        return super().bundle(tile)


def _changed_together(folder: Path, entries: list[bytes], name: str) -> None:
    """Entries and their hashes, changed so that they agree with each other."""
    (folder / "tile/entries" / name).write_bytes(encode_bundle(entries))
    (folder / "tile/0" / name).write_bytes(b"".join(map(leaf_hash, entries)))


def test_only_verified_entries_are_shown(tmp_path: Path) -> None:
    federation = published(tmp_path, 700)
    entries = federation.log.entries()
    shown: dict[int, bytes] = {}
    verify_published(DirectorySource(tmp_path), _head(tmp_path), on_entry=shown.__setitem__)
    assert list(shown.values()) == entries
    shown.clear()
    whole = {name: (tmp_path / name).read_bytes() for name in files(tmp_path)}
    _changed_together(tmp_path, [*entries[256:511], b"forged"], "001")
    with pytest.raises(ProofError, match=r"hash 1 of tile/1/000\.p/2 is not the root of tile/0/001"):
        verify_published(DirectorySource(tmp_path), _head(tmp_path), on_entry=shown.__setitem__)
    assert list(shown.values()) == entries[:256]
    shown.clear()
    for name, data in whole.items():
        (tmp_path / name).write_bytes(data)
    _changed_together(tmp_path, [*entries[512:699], b"forged"], "002.p/188")
    with pytest.raises(ProofError, match="do not have the root"):
        verify_published(DirectorySource(tmp_path), _head(tmp_path), on_entry=shown.__setitem__)
    assert shown == {}


def test_a_source_that_changes_its_mind_is_not_believed(tmp_path: Path) -> None:
    """Each tile is read once, or checked each time that it is read."""
    federation = published(tmp_path, 600)

    class Fickle(Counting):
        def hashes(self, tile: Tile) -> list[bytes]:
            found = super().hashes(tile)
            return found if self.tiles.count(tile) == 1 else found[::-1]

    source = Fickle(tmp_path)
    tree = PublishedTree(source, _head(tmp_path))
    assert tree.is_authentic
    first = [tree.subtree(0, index) for index in (0, 599, 300)]
    assert first == [federation.log.subtree(0, index) for index in (0, 599, 300)]
    assert [tree.subtree(0, 599), tree.subtree(8, 1)] == [first[1], federation.log.subtree(8, 1)]
    with pytest.raises(ProofError, match="is not the root of tile/0/000"):
        tree.subtree(0, 0)  # read again, as one tile a level is kept


def test_the_tree_of_a_published_log_is_the_log_s(tmp_path: Path) -> None:
    log = published(tmp_path, 700).log
    tree = PublishedTree(DirectorySource(tmp_path), _head(tmp_path))
    assert tree.size == 700
    for height in range(10):
        assert all(tree.subtree(height, i) == log.subtree(height, i) for i in range(700 >> height))
    assert tree.tile(0, 2) == Tile(0, 2, 188)
    for level, index in ((0, 3), (1, 1), (2, 0), (0, -1)):
        with pytest.raises(ValueError, match="no tile has level"):
            tree.tile(level, index)
    for height, index in ((10, 0), (0, 700), (1, 350), (-1, 0), (0, -1), (10**9, 0)):
        with pytest.raises(ValueError, match="no complete subtree"):
            tree.subtree(height, index)


@pytest.mark.parametrize("size", [-1, 2**63])
def test_a_tree_has_a_size_that_a_checkpoint_can_have(tmp_path: Path, size: int) -> None:
    @dataclass
    class Head:
        size: int
        root: bytes

    with pytest.raises(ValueError, match="a tree size is in"):
        PublishedTree(DirectorySource(tmp_path), Head(size, bytes(32)))


def test_memory_does_not_grow_with_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)
    peaks = []
    for size in (2_000, 20_000):
        published(tmp_path / str(size), size)
        tracemalloc.start()
        verify_published(DirectorySource(tmp_path / str(size)), _head(tmp_path / str(size)))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0] < 500_000


# --- parts of a published log -----------------------------------------------------------------------------------------


def test_proofs_are_made_from_few_tiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)
    log = published(tmp_path, 20_000).log
    source, head = Counting(tmp_path), _head(tmp_path)
    for index in (0, 255, 256, 9_999, 19_968, 19_999):
        source.tiles.clear()
        found = published_entry(source, head, index)
        assert (found.index, found.entry) == (index, log.entry(index))
        assert list(found.proof) == log.inclusion_proof(index, 20_000)
        assert published_inclusion_proof(source, head, index) == found.proof
        assert len(source.tiles) <= 2 * 3
    for old in (1, 255, 256, 257, 9_999, 19_999, 20_000):
        source.tiles.clear()
        before = Checkpoint(ORIGIN, old, log.root(old))
        expected = log.consistency_proof(old, 20_000)
        assert published_consistency_proof(source, before, head) == expected
        assert len(source.tiles) <= 3
    assert published_consistency_proof(source, Checkpoint(ORIGIN, 0, EMPTY_ROOT), head) == []


def test_entries_that_are_not_there_are_refused(tmp_path: Path) -> None:
    published(tmp_path, 300)
    source, head = DirectorySource(tmp_path), _head(tmp_path)
    for index in (-1, 300):
        with pytest.raises(ValueError, match=f"no entry {index} in a log of 300"):
            published_entry(source, head, index)
    bundle = tmp_path / "tile/entries/000"
    bundle.write_bytes(bundle.read_bytes().replace(b"entry 17", b"entry XX"))
    with pytest.raises(ProofError, match="entry 17 was changed: in tile/entries/000"):
        published_entry(source, head, 16)
    assert published_entry(source, head, 256).entry == b"entry 256"
    (tmp_path / "tile/1/000.p/1").write_bytes(bytes(32))
    with pytest.raises(ProofError, match="do not have the root"):
        published_entry(source, head, 256)


def test_two_histories_are_found(tmp_path: Path) -> None:
    published(tmp_path, 300)
    source, head = DirectorySource(tmp_path), _head(tmp_path)
    with pytest.raises(ConsistencyError, match="had 301 entries and now has 300: it was rolled back"):
        published_consistency_proof(source, Checkpoint(ORIGIN, 301, bytes(32)), head)
    for size in (1, 256, 299, 300):
        with pytest.raises(ConsistencyError, match=r"is not shown to extend|consistent only if their roots are equal"):
            published_consistency_proof(source, Checkpoint(ORIGIN, size, bytes(32)), head)


# --- the whole of it: `verify_log` ------------------------------------------------------------------------------------


def test_a_log_is_verified_by_its_key_or_by_a_policy(tmp_path: Path) -> None:
    federation = published(tmp_path, 300)
    source = DirectorySource(tmp_path)
    old = source.checkpoint()
    report = verify_log(source, federation.policy)
    assert (report.origin, report.size, report.root) == (ORIGIN, 300, federation.log.root(300))
    assert report.signers == (ORIGIN, *NAMES)
    assert (report.note, report.extensions, report.since) == (old, (), None)
    assert verify_log(source, federation.log.verifier).signers == (ORIGIN,)
    publish(federation.log, federation.grow(300), tmp_path)
    assert verify_log(source, federation.policy, old=old).since == 300
    with pytest.raises(ValueError, match="names the log's origin itself"):
        verify_log(source, federation.policy, origin=ORIGIN)


def test_a_log_without_its_signatures_is_refused(tmp_path: Path) -> None:
    federation = published(tmp_path, 20)
    old = (tmp_path / "checkpoint").read_bytes()
    (tmp_path / "checkpoint").write_bytes(federation.log.checkpoint())
    source = DirectorySource(tmp_path)
    with pytest.raises(QuorumError, match="needs 4 of 5 cosignatures, has 0"):
        verify_log(source, federation.policy)
    with pytest.raises(QuorumError, match="needs 4 of 5 cosignatures, has 0"):
        verify_log(source, federation.policy, old=old)
    with pytest.raises(SignatureError, match="not signed by"):
        verify_log(source, VerifierKey(ORIGIN, ED25519, key_of("another").public))
    (tmp_path / "checkpoint").write_bytes(old)
    with pytest.raises(QuorumError, match="needs 4 of 5 cosignatures, has 0"):
        verify_log(source, federation.policy, old=federation.log.checkpoint())


def test_a_checkpoint_seen_before_is_of_the_same_log(tmp_path: Path) -> None:
    federation = published(tmp_path, 20)
    source, key = DirectorySource(tmp_path), federation.log.verifier
    other_key = VerifierKey("other.example", ED25519, key_of("other").public)
    trusted = TrustPolicy((TrustedLog(key), TrustedLog(other_key)))
    assert verify_log(source, trusted, old=federation.log.checkpoint()).since == 20
    for size, root in ((0, EMPTY_ROOT), (20, federation.log.root(20)), (7, federation.log.root(7))):
        old = sign_checkpoint(Checkpoint("other.example", size, root), key_of("other"))
        with pytest.raises(DecodeError, match=r"is of 'other\.example', this log is 'example\.com/federation'"):
            verify_log(source, trusted, old=old)


def test_a_split_view_is_shown_with_its_evidence(tmp_path: Path) -> None:
    federation = published(tmp_path, 20)
    seen = sign_checkpoint(Checkpoint(ORIGIN, 20, bytes(32)), key_of("sequencer"))
    source, key = DirectorySource(tmp_path), federation.log.verifier
    with pytest.raises(EquivocationError, match="signed two roots for size 20") as caught:
        verify_log(source, key, old=seen)
    assert caught.value.evidence == (seen, source.checkpoint())
    assert caught.value.culprits == (ORIGIN,)
    earlier = sign_checkpoint(Checkpoint(ORIGIN, 19, bytes(32)), key_of("sequencer"))
    with pytest.raises(ConsistencyError, match=r"is not shown to extend"):
        verify_log(source, key, old=earlier)
    later = sign_checkpoint(Checkpoint(ORIGIN, 21, bytes(32)), key_of("sequencer"))
    with pytest.raises(ConsistencyError, match="rolled back"):
        verify_log(source, key, old=later)
