"""Durable writing and the lock file."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ledger import StateError, StoreError, create_durably, read_bounded, write_durably
from ledger import locking as locking_module
from ledger.files import DurableFile, remove_durably, sync_name
from ledger.locking import WriterLock

DATA = b"some bytes"


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
    assert steps == ["fsync", "write", "fsync", "replace", "fsync"]  # the folder's own name first
    steps.clear()
    create_durably(tmp_path / "two", DATA)
    assert steps == ["fsync", "write", "fsync", "link", "fsync"]
    steps.clear()
    write_durably(tmp_path / "new" / "three", DATA)
    assert steps == ["fsync", "fsync", "write", "fsync", "replace", "fsync"]
    steps.clear()
    with DurableFile(tmp_path / "four") as file:
        file.write(DATA)
        file.create(tmp_path / "other" / "four")
    assert steps == ["fsync", "write", "fsync", "fsync", "fsync", "link", "fsync"]
    steps.clear()
    assert sync_name(tmp_path / "one")
    remove_durably(tmp_path / "one")
    assert steps == ["fsync", "fsync", "fsync"]


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
        if calls % 3 == 0:
            raise OSError(errno.EIO, "Input/output error")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    for write in (write_durably, create_durably):
        with pytest.raises(StoreError, match="Input/output error"):
            write(tmp_path / "file", DATA)


def test_a_file_whose_sync_failed_is_never_synced_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for call in ("fsync", "write"):
        file = DurableFile(tmp_path / "file")
        if call == "fsync":
            file.write(DATA)
        with monkeypatch.context() as patch:
            patch.setattr(os, call, _failing(errno.EIO))
            with pytest.raises(StoreError, match="Input/output error"):
                file.replace() if call == "fsync" else file.write(DATA)
        for act in (file.replace, file.create, lambda file=file: file.write(DATA)):
            with pytest.raises(StateError, match="is whole or failed; write a new one"):
                act()
        file.__exit__()
        assert _names(tmp_path) == []


def test_a_failing_close_is_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.close

    def close(descriptor: int) -> None:
        real(descriptor)
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch, DurableFile(tmp_path / "file") as file:
        file.write(DATA)
        patch.setattr(os, "close", close)
        with pytest.raises(StoreError, match="Input/output error"):
            file.replace()
    with monkeypatch.context() as patch, DurableFile(tmp_path / "file"):
        patch.setattr(os, "close", close)
    assert _names(tmp_path) == []
    (tmp_path / "file").write_bytes(DATA)
    with monkeypatch.context() as patch:
        patch.setattr(os, "close", close)
        assert read_bounded(tmp_path / "file", limit=10) == DATA


def test_a_file_that_is_not_named_leaves_nothing(tmp_path: Path) -> None:
    with DurableFile(tmp_path / "file") as file:
        file.write(DATA)
    assert _names(tmp_path) == []
    with DurableFile(tmp_path / "file") as file:
        file.write(DATA)
        file.replace()
        for act in (file.replace, file.create, lambda: file.write(DATA)):
            with pytest.raises(StateError, match="is whole"):
                act()
    assert _names(tmp_path) == ["file"]


def test_removing_and_what_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "folder" / "file"
    remove_durably(path)
    assert not sync_name(path)
    write_durably(path, DATA)
    remove_durably(path / "below")
    remove_durably(path)
    assert _names(tmp_path) == []
    with pytest.raises(StoreError, match="was not removed"):
        remove_durably(path.parent)
    write_durably(path, DATA)
    monkeypatch.setattr(os, "fsync", _failing(errno.EIO))
    with pytest.raises(StoreError, match="was not removed"):
        remove_durably(path)
    write = tmp_path / "other"
    write.write_bytes(DATA)
    with pytest.raises(StoreError, match="was not written"):
        sync_name(write)


def test_a_folder_above_that_may_not_be_read_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    real = os.open

    def guarded(path: Path, flags: int, mode: int = 0o777) -> int:
        if path == tmp_path:
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", guarded)
    write_durably(folder / "file", DATA)
    assert (folder / "file").read_bytes() == DATA
    with pytest.raises(StoreError, match="Permission denied"):
        write_durably(tmp_path / "file", DATA)


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


def test_a_lock_that_fails_is_not_taken_for_another_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fcntl.flock", _failing(errno.EIO))
    with pytest.raises(StoreError, match="cannot be locked: Input/output error"):
        WriterLock(tmp_path / "lock")


def test_a_lock_is_let_go_whatever_the_disk_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock, real = WriterLock(tmp_path / "lock"), os.close

    def close(descriptor: int) -> None:
        real(descriptor)
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "close", close)
        lock.release()
    WriterLock(tmp_path / "lock").release()
