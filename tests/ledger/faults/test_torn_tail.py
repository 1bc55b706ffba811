"""A write-ahead log cut or changed at any byte: a verified prefix or a refusal, never another history.

Sampled by default; `FAULTS=all` cuts at every byte.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger import Log, SqliteStore, StoreError
from tests.ledger.federation import ORIGIN, key_of

ALL = os.environ.get("FAULTS") == "all"
MEMORY = Path("/dev/shm")


def _opened(folder: Path) -> Log:
    return Log(SqliteStore(folder / "log.db", create=True), ORIGIN, key_of("sequencer"))


def _entries(size: int) -> list[bytes]:
    return [b"entry %d" % i for i in range(size)]


class Copies:
    """The files of a log as they were after each of four acknowledged appends, none of them in the database yet."""

    def __init__(self, folder: Path) -> None:
        log = _opened(folder)
        self.sizes, self.lengths = [0], [0]
        for count in (253, 2, 2, 1):
            log.append_all(_entries(log.size + count)[log.size :])
            self.sizes.append(log.size)
            self.lengths.append((folder / "log.db-wal").stat().st_size)
        self.database = (folder / "log.db").read_bytes()
        self.wal = (folder / "log.db-wal").read_bytes()
        log.close()

    def acknowledged(self, length: int) -> int:
        """The size of the last append that was acknowledged when the file had this length."""
        return max(size for size, end in zip(self.sizes, self.lengths, strict=True) if end <= length)

    def open(self, folder: Path, wal: bytes, *, go_on: bool) -> int | None:
        """The size of the log over these files, after comparing all of it; None if it is refused."""
        for old in folder.iterdir():
            old.unlink()
        (folder / "log.db").write_bytes(self.database)
        (folder / "log.db-wal").write_bytes(wal)
        try:
            log = _opened(folder)
        except StoreError:
            return None
        assert log.entries() == _entries(log.size)
        size = log.size
        if go_on:
            assert log.append(b"entry %d" % size) == size
        log.close()
        return size


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A folder where a sync costs nothing, if there is one: what a sync is good for is tested elsewhere."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        yield Path(folder)


@pytest.fixture
def copies(scratch: Path) -> Copies:
    (scratch / "start").mkdir()
    (scratch / "case").mkdir()
    return Copies(scratch / "start")


@pytest.mark.slow
def test_cut_at_any_byte(copies: Copies, scratch: Path) -> None:
    whole, counts = len(copies.wal), Counter[str]()
    assert copies.lengths[-1] == whole
    near = {end + i for end in copies.lengths for i in range(-60, 61)}
    for cut in range(whole + 1):
        if not (ALL or cut in near or cut % 97 == 0):
            continue
        size = copies.open(scratch / "case", copies.wal[:cut], go_on=cut in near)
        counts["cuts"] += 1
        counts["opened" if size is not None else "refused"] += 1
        if size is not None:
            assert size in copies.sizes
            assert size == copies.acknowledged(cut)
        assert size is not None or copies.acknowledged(cut) == 0, f"refused when cut at {cut}"
    print(f"torn tail, {whole} bytes:", dict(counts))
    assert counts["cuts"] > 500


@pytest.mark.slow
def test_changed_at_any_place(copies: Copies, scratch: Path) -> None:
    counts = Counter[str]()
    last = copies.lengths[-2]
    for at in range(0, len(copies.wal), 64 if ALL else 331):
        for where in {at, max(at, last + at % (len(copies.wal) - last))}:
            changed = bytearray(copies.wal)
            changed[where] ^= 1 << at % 8
            size = copies.open(scratch / "case", bytes(changed), go_on=at % 5 == 0)
            counts["flips"] += 1
            counts["refused" if size is None else "cut short" if size < copies.sizes[-1] else "whole"] += 1
            assert size is None or size in copies.sizes
            if where >= last:  # in what the last append wrote: the appends before it are all there
                assert size in copies.sizes[-2:]
    print("changed tail:", dict(counts))
    assert counts["flips"] > 100
    assert counts["cut short"] > counts["flips"] // 2
