"""Publishing, and reading what may have been changed on the way."""

import errno
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger import (
    ConsistencyError,
    DecodeError,
    LedgerError,
    ProofError,
    PublishedLog,
    StateError,
    StoreError,
    leaf_hash,
    publish,
    read_published,
    sign_checkpoint,
)
from ledger.checkpoint import Checkpoint
from ledger.tiles import _Tile, _tiles
from tests.ledger.federation import ORIGIN, Federation, key_of, signed


def _published(folder: Path, *sizes: int) -> Federation:
    federation = Federation()
    for size in sizes:
        publish(federation.log, federation.grow(size - federation.log.size), folder)
    return federation


def _files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def _bundle(entries: list[bytes]) -> bytes:
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)


@pytest.mark.parametrize("size", [0, 1, 2, 255, 256, 257, 512, 700])
def test_what_is_published_is_read_back(tmp_path: Path, size: int) -> None:
    federation = _published(tmp_path, size)
    found = read_published(tmp_path)
    assert found.entries == federation.log.entries()
    assert federation.policy.verify(found.note).checkpoint.size == size


def test_three_levels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)  # hundreds of files: nothing here is about durability
    federation = _published(tmp_path, 65_536 + 300)
    assert read_published(tmp_path).entries[-1] == b"entry 65835"
    tile = tmp_path / "tile" / "2" / "000.p" / "1"
    tile.write_bytes(tile.read_bytes()[::-1])
    with pytest.raises(ProofError, match=r"hash 0 of tile/2/000\.p/1 is not the root of tile/1/000"):
        read_published(tmp_path)
    assert federation.log.size == 65_836


def test_paths_are_those_of_tlog_tiles(tmp_path: Path) -> None:
    assert _Tile(0, 1_234_067, 256).path() == "tile/0/x001/x234/067"
    assert _Tile(0, 1_000, 7).path("entries") == "tile/entries/x001/000.p/7"
    tiles = list(_tiles(70_000))  # the example of the specification
    widths = {level: [tile.width for tile in tiles if tile.level == level] for level in range(3)}
    assert widths == {0: [256] * 273 + [112], 1: [256, 17], 2: [1]}
    _published(tmp_path, 257)
    assert _files(tmp_path) == {
        "checkpoint",
        "tile/0/000",
        "tile/0/001.p/1",
        "tile/1/000.p/1",
        "tile/entries/000",
        "tile/entries/001.p/1",
    }
    assert (tmp_path / "tile/entries/001.p/1").read_bytes() == b"\x00\x09entry 256"
    assert (tmp_path / "tile/0/001.p/1").read_bytes() == leaf_hash(b"entry 256")


def test_a_growing_log_is_published_again_and_again(tmp_path: Path) -> None:
    federation = _published(tmp_path, 3, 3, 200, 256, 300)
    assert read_published(tmp_path).entries == federation.log.entries()
    # partial tiles stay for old checkpoints, until their full tile is there
    assert not (tmp_path / "tile/0/000.p").exists()
    assert not (tmp_path / "tile/entries/000.p").exists()
    assert (tmp_path / "tile/1/000.p/1").exists()
    (tmp_path / "tile/0/000").unlink()
    (tmp_path / "tile/entries/000").unlink()
    publish(federation.log, federation.certify(), tmp_path)
    assert read_published(tmp_path).entries == federation.log.entries()


def test_a_reader_of_an_older_checkpoint_finds_the_full_tile(tmp_path: Path) -> None:
    federation = _published(tmp_path, 200)
    old = (tmp_path / "checkpoint").read_bytes()
    publish(federation.log, federation.grow(100), tmp_path)
    (tmp_path / "checkpoint").write_bytes(old)
    assert len(read_published(tmp_path).entries) == 200


# --- every change to the published files is found, and named ----------------------------------------------------------


def test_a_changed_entry_is_named(tmp_path: Path) -> None:
    _published(tmp_path, 300)
    bundle = tmp_path / "tile/entries/000"
    bundle.write_bytes(bundle.read_bytes().replace(b"entry 17", b"entry XX"))
    with pytest.raises(ProofError, match="entry 17 was changed: in tile/entries/000"):
        read_published(tmp_path)


def test_a_removed_entry_is_named(tmp_path: Path) -> None:
    federation = _published(tmp_path, 300)
    entries = federation.log.entries(256, 300)
    (tmp_path / "tile/entries/001.p/44").write_bytes(_bundle(entries[:9] + entries[10:]))
    with pytest.raises(ProofError, match=r"entry 265 was removed: tile/entries/001\.p/44 holds 43 entries"):
        read_published(tmp_path)
    (tmp_path / "tile/entries/001.p/44").write_bytes(_bundle(entries[:-1]))
    with pytest.raises(ProofError, match="entry 299 was removed"):
        read_published(tmp_path)


def test_an_inserted_entry_is_named(tmp_path: Path) -> None:
    federation = _published(tmp_path, 20)
    entries = federation.log.entries()
    (tmp_path / "tile/entries/000.p/20").write_bytes(_bundle([*entries[:5], b"new", *entries[5:]]))
    with pytest.raises(ProofError, match="entry 5 was inserted"):
        read_published(tmp_path)


def test_reordered_entries_are_named(tmp_path: Path) -> None:
    federation = _published(tmp_path, 300)
    entries = federation.log.entries(256, 300)
    entries[3], entries[7] = entries[7], entries[3]
    (tmp_path / "tile/entries/001.p/44").write_bytes(_bundle(entries))
    with pytest.raises(ProofError, match=r"entry 259 is out of order: .* has at 263"):
        read_published(tmp_path)


def test_entry_and_hash_changed_together_are_found_one_level_up(tmp_path: Path) -> None:
    federation = _published(tmp_path, 300)
    for start, name, words in (
        (0, "000", r"hash 0 of tile/1/000\.p/1 is not the root of tile/0/000"),
        (256, "001.p/44", "do not have the root the checkpoint states"),
    ):
        copy = tmp_path / f"copy{start}"
        publish(federation.log, federation.certify(), copy)
        entries = federation.log.entries(start, min(start + 256, 300))
        entries[1] = b"forged"
        (copy / "tile/entries" / name).write_bytes(_bundle(entries))
        (copy / "tile/0" / name).write_bytes(b"".join(map(leaf_hash, entries)))
        with pytest.raises(ProofError, match=words):
            read_published(copy)


def test_a_shortened_log_with_an_own_checkpoint_fails_the_policy(tmp_path: Path) -> None:
    federation = _published(tmp_path / "true", 20)
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
        ("tile/entries/001.p/44", b"\x00", "ends within entry 256"),
        ("tile/entries/001.p/44", b"\x00\x05abc", "ends within entry 256"),
        ("tile/entries/001.p/44", b"\x00\x00" * 257, "more than 256 entries"),
        ("tile/entries/001.p/44", b"", "entry 256 was removed"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, name: str, data: bytes | None, words: str) -> None:
    _published(tmp_path, 300)
    if data is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(ProofError, match=words):
        read_published(tmp_path)


def test_files_are_not_read_beyond_their_bound(tmp_path: Path) -> None:
    _published(tmp_path, 300)
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
    with pytest.raises(ProofError, match="tile/0/000 is missing"):
        read_published(tmp_path)
    with pytest.raises(ValueError, match="as many entries"):
        PublishedLog(huge, [])


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(draw=st.data())
def test_no_mutated_file_is_read_as_another_log(draw: st.DataObject, tmp_path: Path) -> None:
    if not (tmp_path / "checkpoint").exists():
        _published(tmp_path, 260)
    federation = Federation()
    federation.log.append_all([b"entry %d" % i for i in range(260)])
    path = tmp_path / draw.draw(st.sampled_from(sorted(_files(tmp_path))))
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


# --- what may be published, and when the disk fails -------------------------------------------------------------------


def test_only_an_own_certificate_is_published_and_only_forwards(tmp_path: Path) -> None:
    federation, other = Federation(), Federation()
    other.log.append(b"other")
    foreign = other.certify()
    with pytest.raises(StateError, match="not of the entries"):
        publish(federation.log, foreign, tmp_path)
    old = federation.grow(3)
    with pytest.raises(StateError, match="not of the entries"):
        publish(federation.log, foreign, tmp_path)
    publish(federation.log, federation.grow(3), tmp_path)
    with pytest.raises(ConsistencyError, match="size 6 that size 3"):
        publish(federation.log, old, tmp_path)
    other.grow(9)
    with pytest.raises(ConsistencyError, match="does not extend"):
        publish(other.log, other.certify(), tmp_path)
    (tmp_path / "checkpoint").write_bytes(b"garbage")
    with pytest.raises(StoreError, match="publish into an empty folder"):
        publish(federation.log, federation.certify(), tmp_path)


def test_a_full_disk_leaves_the_last_publication_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    federation = _published(tmp_path, 250)
    before = federation.log.entries()
    certificate = federation.grow(50)
    real, left = os.write, 0

    def write(descriptor: int, data: bytes) -> int:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", write)
    for writes in range(6):  # every one of the writes of this publication fails once
        left = writes
        with pytest.raises(StoreError, match="the disk is full; free some space"):
            publish(federation.log, certificate, tmp_path)
        assert read_published(tmp_path).entries == before
        assert not [name for name in _files(tmp_path) if name.endswith(".tmp")]
    left = 6
    publish(federation.log, certificate, tmp_path)
    monkeypatch.undo()
    assert len(read_published(tmp_path).entries) == 300


def test_the_checkpoint_is_written_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    real = os.replace

    def replace(source: Path, target: Path) -> None:
        order.append(str(Path(target).relative_to(tmp_path)))
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    _published(tmp_path, 300)
    assert order[-1] == "checkpoint"
    assert sorted(order[:-1]) == sorted(_files(tmp_path) - {"checkpoint"})


def test_partial_tiles_that_cannot_be_removed_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    federation = _published(tmp_path, 200)
    certificate = federation.grow(100)

    def fail(_: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(shutil, "rmtree", fail)
    with pytest.raises(StoreError, match="cannot be removed"):
        publish(federation.log, certificate, tmp_path)
    assert len(read_published(tmp_path).entries) == 300


def test_entries_of_any_size_are_bundled(tmp_path: Path) -> None:
    federation = Federation()
    federation.log.append_all([b"x", bytes(65_535), signed(1)])
    publish(federation.log, federation.certify(), tmp_path)
    assert read_published(tmp_path).entries == [b"x", bytes(65_535), signed(1)]
