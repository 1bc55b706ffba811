"""Durable writing, blobs and the lock file."""

import errno
import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger import (
    BlobError,
    Blobs,
    DirectoryBlobs,
    MemoryBlobs,
    StoreError,
    create_durably,
    read_bounded,
    write_durably,
)
from ledger import locking as locking_module
from ledger.locking import WriterLock

DATA = b"some bytes"
DIGEST = sha256(DATA).digest()


def _names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def _failing(code: int) -> Callable[..., int]:
    def fail(*_: object, **__: object) -> int:
        raise OSError(code, os.strerror(code))

    return fail


def test_write_replaces_and_create_does_not(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    write_durably(path, b"one")
    write_durably(path, b"two", mode=0o600)
    assert read_bounded(path, limit=3) == b"two"
    assert path.stat().st_mode & 0o777 == 0o600
    assert not create_durably(path, b"three")
    assert path.read_bytes() == b"two"
    assert create_durably(path.with_name("other"), b"three")
    assert _names(tmp_path) == ["a/b/file", "a/b/other"]


def test_bytes_are_synced_before_the_name_and_the_folder_after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    for name in ("write", "fsync", "replace", "link"):
        real = getattr(os, name)

        def step(*arguments: object, _name: str = name, _real: Callable[..., object] = real) -> object:
            steps.append(_name)
            return _real(*arguments)

        monkeypatch.setattr(os, name, step)
    write_durably(tmp_path / "one", DATA)
    assert steps == ["write", "fsync", "replace", "fsync"]
    steps.clear()
    create_durably(tmp_path / "two", DATA)
    assert steps == ["write", "fsync", "link", "fsync"]
    steps.clear()
    write_durably(tmp_path / "new" / "three", DATA)
    assert steps == ["fsync", "write", "fsync", "replace", "fsync"]  # the new folder's name first


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, bytes(data)[:3]))
    write_durably(tmp_path / "file", DATA)
    assert (tmp_path / "file").read_bytes() == DATA


@pytest.mark.parametrize("call", ["write", "fsync", "open"])
@pytest.mark.parametrize(
    ("code", "words"), [(errno.ENOSPC, "the disk is full; free some space"), (errno.EIO, "check the disk")]
)
def test_a_failing_disk_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int, words: str
) -> None:
    path = tmp_path / "file"
    write_durably(path, b"old")
    for write in (write_durably, create_durably):
        target = path if write is write_durably else tmp_path / "new"
        with monkeypatch.context() as patch:
            patch.setattr(os, call, _failing(code))
            with pytest.raises(StoreError, match=words):
                write(target, DATA)
        assert _names(tmp_path) == ["file"]
        assert path.read_bytes() == b"old"


@pytest.mark.parametrize(("call", "write"), [("replace", write_durably), ("link", create_durably)])
def test_a_failing_rename_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, write: Callable[[Path, bytes], object]
) -> None:
    monkeypatch.setattr(os, call, _failing(errno.ENOSPC))
    with pytest.raises(StoreError, match="the disk is full"):
        write(tmp_path / "file", DATA)
    assert _names(tmp_path) == []


def test_an_interrupted_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "write", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_durably(tmp_path / "file", DATA)
    assert _names(tmp_path) == []


def test_a_folder_that_fails_to_sync_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = os.fsync, 0

    def fsync(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls % 2 == 0:
            raise OSError(errno.EIO, "Input/output error")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    for write in (write_durably, create_durably):
        with pytest.raises(StoreError, match="Input/output error"):
            write(tmp_path / "file", DATA)


def test_temporary_files_left_by_a_crash_do_not_disturb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ledger.files._ATTEMPTS", 1)
    monkeypatch.setattr(os, "getpid", lambda: 7)
    monkeypatch.setattr("threading.get_ident", lambda: 8)
    (tmp_path / ".file.7-8-0.tmp").write_bytes(b"left")
    with pytest.raises(StoreError, match="too many temporary files"):
        write_durably(tmp_path / "file", DATA)
    monkeypatch.setattr("ledger.files._ATTEMPTS", 2)
    write_durably(tmp_path / "file", DATA)
    assert (tmp_path / "file").read_bytes() == DATA


def test_reading_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(DATA)
    assert read_bounded(path, limit=len(DATA)) == DATA
    assert read_bounded(tmp_path / "none", limit=1) is None
    assert read_bounded(path / "below", limit=1) is None
    with pytest.raises(StoreError, match="10 bytes, more than the 9"):
        read_bounded(path, limit=9)
    os.mkfifo(tmp_path / "pipe")
    for odd in ("pipe", "."):
        with pytest.raises(StoreError):
            read_bounded(tmp_path / odd, limit=9)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(StoreError, match="cannot be read"):
        read_bounded(tmp_path / "loop", limit=9)

    real = os.fstat

    def smaller(descriptor: int) -> os.stat_result:
        found = real(descriptor)
        return os.stat_result((*found[:6], 0, *found[7:]))

    monkeypatch.setattr(os, "fstat", smaller)  # as if the file grew after it was looked at
    with pytest.raises(StoreError, match="grew over 9 bytes"):
        read_bounded(path, limit=9)


# --- blobs ------------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["memory", "directory"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
    return MemoryBlobs() if request.param == "memory" else DirectoryBlobs(tmp_path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
@given(st.binary(max_size=300))
def test_blobs_round_trip(blobs: Blobs, data: bytes) -> None:
    digest = blobs.put(data)
    assert digest == sha256(data).digest()
    assert blobs.put(data) == digest
    assert blobs.has(digest)
    assert blobs.get(digest, size=len(data)) == data
    assert digest in blobs.digests()


def test_blobs_are_listed_in_order(blobs: Blobs) -> None:
    assert list(blobs.digests()) == []
    made = [blobs.put(bytes([i])) for i in range(20)]
    assert list(blobs.digests()) == sorted(made)


def test_missing_and_wrong_size_are_told_apart(blobs: Blobs) -> None:
    assert not blobs.has(DIGEST)
    with pytest.raises(BlobError, match=f"blob {DIGEST.hex()} is missing") as caught:
        blobs.get(DIGEST, size=10)
    assert caught.value.digest == DIGEST
    blobs.put(DATA)
    for size in (9, 11):
        with pytest.raises(BlobError, match="is corrupt"):
            blobs.get(DIGEST, size=size)
    for act in (lambda: blobs.get(b"short", size=1), lambda: blobs.get(DIGEST, size=-1), lambda: blobs.has(b"short")):
        with pytest.raises(ValueError):
            act()


def test_a_damaged_blob_is_named_and_never_overwritten(tmp_path: Path) -> None:
    blobs = DirectoryBlobs(tmp_path)
    blobs.put(DATA)
    name = DIGEST.hex()
    path = tmp_path / name[:2] / name[2:4] / name
    path.write_bytes(b"other byte")
    acts: list[Callable[[], object]] = [lambda: blobs.get(DIGEST, size=10), lambda: blobs.put(DATA)]
    for act in acts:
        with pytest.raises(BlobError, match=f"blob {name} is corrupt: its bytes are not"):
            act()
    assert path.read_bytes() == b"other byte"
    with path.open("wb") as file:
        file.truncate(10**12)  # sparse: must be refused without being read
    with pytest.raises(BlobError, match="is corrupt or unreadable"):
        blobs.get(DIGEST, size=10)


def test_other_files_are_passed_over(tmp_path: Path) -> None:
    blobs = DirectoryBlobs(tmp_path)
    blobs.put(DATA)
    folder = tmp_path / DIGEST.hex()[:2] / DIGEST.hex()[2:4]
    for name in (f".{DIGEST.hex()}.1-1-0.tmp", "notes.txt", "abcd", bytes(32).hex()):
        (folder / name).write_bytes(b"")
    assert list(blobs.digests()) == [DIGEST]


def test_a_full_disk_leaves_no_half_blob(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", _failing(errno.ENOSPC))
    with pytest.raises(StoreError, match="the disk is full"):
        DirectoryBlobs(tmp_path / "blobs").put(DATA)
    assert _names(tmp_path) == []


# --- the lock file ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("with_file_locks", [True, False])
def test_one_writer_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_file_locks: bool) -> None:
    if not with_file_locks:
        monkeypatch.setattr(locking_module, "fcntl", None)
    path = tmp_path / "lock"
    first = WriterLock(path)
    with pytest.raises(StoreError, match="another process writes here"):
        WriterLock(path)
    first.release()
    first.release()
    second = WriterLock(path)
    second.release()
    with pytest.raises(StoreError, match="cannot be made"):
        WriterLock(tmp_path / "no" / "folder")
