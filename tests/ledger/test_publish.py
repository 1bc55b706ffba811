"""Publishing a log into a folder: what is written, in which order, and what a failing disk leaves."""

import errno
import os
from pathlib import Path

import pytest

from ledger import ConsistencyError, Log, StateError, StoreError, leaf_hash, publish, read_published
from ledger.tile import Tile, tiles_of
from tests.ledger.federation import Federation, signed
from tests.ledger.publishing import files, published


def _written(monkeypatch: pytest.MonkeyPatch, folder: Path) -> list[str]:
    """The files that are put in place from now on, in order."""
    order: list[str] = []
    real = os.replace

    def replace(source: Path, target: Path) -> None:
        order.append(str(Path(target).relative_to(folder)))
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    return order


def _read_entries(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int | None]]:
    """The ranges of entries that are read from a log from now on."""
    ranges: list[tuple[int, int | None]] = []
    real = Log.entries

    def entries(self: Log, start: int = 0, stop: int | None = None) -> list[bytes]:
        ranges.append((start, stop))
        return real(self, start, stop)

    monkeypatch.setattr(Log, "entries", entries)
    return ranges


@pytest.mark.parametrize("size", [0, 1, 2, 255, 256, 257, 512, 700])
def test_what_is_published_is_read_back(tmp_path: Path, size: int) -> None:
    federation = published(tmp_path, size)
    found = read_published(tmp_path)
    assert found.entries == federation.log.entries()
    assert federation.policy.verify(found.note).checkpoint.size == size


def test_paths_are_those_of_tlog_tiles(tmp_path: Path) -> None:
    assert Tile(0, 1_234_067).path() == "tile/0/x001/x234/067"
    assert Tile(0, 1_000, 7).bundle_path() == "tile/entries/x001/000.p/7"
    tiles = list(tiles_of(70_000))  # the example of the specification
    widths = {level: [tile.width for tile in tiles if tile.level == level] for level in range(3)}
    assert widths == {0: [256] * 273 + [112], 1: [256, 17], 2: [1]}
    published(tmp_path, 257)
    assert files(tmp_path) == {
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
    federation = published(tmp_path, 3, 3, 200, 256, 300)
    assert read_published(tmp_path).entries == federation.log.entries()
    # partial tiles stay for old checkpoints, until their full tile is there
    assert not (tmp_path / "tile/0/000.p").exists()
    assert not (tmp_path / "tile/entries/000.p").exists()
    assert (tmp_path / "tile/1/000.p/1").exists()


def test_only_what_is_new_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    federation = published(tmp_path, 600)
    written, read = _written(monkeypatch, tmp_path), _read_entries(monkeypatch)
    publish(federation.log, federation.grow(10), tmp_path)
    assert written == ["tile/0/002.p/98", "tile/entries/002.p/98", "checkpoint"]
    assert read == [(512, 610)]
    written.clear()
    publish(federation.log, federation.grow(200), tmp_path)
    assert written == [
        *("tile/0/002", "tile/entries/002", "tile/0/003.p/42", "tile/entries/003.p/42", "tile/1/000.p/3"),
        "checkpoint",
    ]
    written.clear()
    publish(federation.log, federation.certify(now=1_800_000_000), tmp_path)  # other cosignatures, the same tree
    assert written == ["checkpoint"]


def test_lost_files_are_written_again_once_the_checkpoint_is_removed(tmp_path: Path) -> None:
    federation = published(tmp_path, 300)
    whole = files(tmp_path)
    for name in ("tile/0/000", "tile/entries/000", "checkpoint"):
        (tmp_path / name).unlink()
    publish(federation.log, federation.certify(), tmp_path)
    assert files(tmp_path) == whole
    assert read_published(tmp_path).entries == federation.log.entries()


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
    federation = published(tmp_path, 250)
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
        assert not [name for name in files(tmp_path) if name.endswith(".tmp")]
    left = 6
    publish(federation.log, certificate, tmp_path)
    monkeypatch.undo()
    assert len(read_published(tmp_path).entries) == 300


def test_the_checkpoint_is_written_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = _written(monkeypatch, tmp_path)
    published(tmp_path, 300)
    assert written[-1] == "checkpoint"
    assert sorted(written[:-1]) == sorted(files(tmp_path) - {"checkpoint"})


@pytest.mark.parametrize(("owner", "name", "least"), [(os, "replace", 6), (os, "unlink", 2), (Path, "rmdir", 2)])
def test_an_interrupted_publication_is_made_good_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: object, name: str, least: int
) -> None:
    """Every single rename and removal is made to fail once: a reader then finds the old log or the new one, whole."""
    published(tmp_path / "clean", 200, 500, 900)
    real = getattr(owner, name)
    refused, call, left = 0, -1, -1
    while left < 0:
        call += 1
        folder = tmp_path / f"copy{call}"
        federation = published(folder, 200)
        certificate = federation.grow(300)
        left = call

        def fail(*args: object, **kwargs: object) -> object:
            nonlocal left
            left -= 1
            if left == -1:
                raise OSError(errno.EIO, "Input/output error")
            return real(*args, **kwargs)

        with monkeypatch.context() as patched:
            patched.setattr(owner, name, fail)
            try:
                publish(federation.log, certificate, folder)
            except StoreError:
                refused += 1
        assert len(read_published(folder).entries) in (200, 500)
        publish(federation.log, federation.grow(400), folder)  # a later size, so that other tiles are partial
        assert read_published(folder).entries == federation.log.entries()
        assert files(folder) <= files(tmp_path / "clean"), "what was left behind is not removed"
    assert refused >= least


def test_partial_tiles_that_cannot_be_removed_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    federation = published(tmp_path, 200)
    certificate = federation.grow(100)

    def fail(_: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "rmdir", fail)
    with pytest.raises(StoreError, match=r"000\.p cannot be removed: Permission denied"):
        publish(federation.log, certificate, tmp_path)
    assert len(read_published(tmp_path).entries) == 200
    monkeypatch.undo()
    publish(federation.log, certificate, tmp_path)
    assert len(read_published(tmp_path).entries) == 300


def test_entries_of_any_size_are_bundled(tmp_path: Path) -> None:
    federation = Federation()
    federation.log.append_all([b"x", bytes(65_535), signed(1)])
    publish(federation.log, federation.certify(), tmp_path)
    assert read_published(tmp_path).entries == [b"x", bytes(65_535), signed(1)]
