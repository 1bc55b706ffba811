"""Blobs: one suite for memory, a folder, an object store in memory and one over HTTP; then a folder alone."""

import errno
import os
import tracemalloc
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger import BlobError, Blobs, DirectoryBlobs, MemoryBlobs, StoreError
from ledger.blob_checks import checked_chunks

DATA = b"some bytes"
DIGEST = sha256(DATA).digest()
CHUNK = 1 << 20


@pytest.fixture(params=["memory", "folder", "objects", "s3"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Blobs]:
    if request.param == "memory":
        yield MemoryBlobs()
        return
    if request.param == "folder":
        yield DirectoryBlobs(tmp_path / "blobs")
        return
    pytest.importorskip("obstore")
    from obstore.store import MemoryStore

    from ledger.object_blobs import ObjectBlobs

    if request.param == "objects":
        yield ObjectBlobs(MemoryStore(), prefix="some/prefix/")
        return
    pytest.importorskip("waitress")
    from ledger.web.server import running
    from tests.ledger.s3 import Bucket

    with running(Bucket()) as server:
        config = {"endpoint": server.url, "region": "nowhere", "access_key_id": "a", "secret_access_key": "b"}
        yield ObjectBlobs.at("s3://bucket", config=config)


def _names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# --- every store ------------------------------------------------------------------------------------------------------


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20, deadline=None)
@given(st.lists(st.binary(max_size=100), max_size=4))
def test_blobs_round_trip(blobs: Blobs, chunks: list[bytes]) -> None:
    data = b"".join(chunks)
    digest = blobs.put(data)
    assert digest == sha256(data).digest()
    assert blobs.put(data) == digest
    assert blobs.put_stream(iter(chunks), size=len(data)) == digest
    assert blobs.has(digest)
    assert blobs.get(digest, size=len(data)) == data
    assert b"".join(blobs.stream(digest, size=len(data))) == data
    assert digest in blobs.digests()
    blobs.delete(digest)
    blobs.delete(digest)
    assert not blobs.has(digest)
    assert digest not in blobs.digests()
    with pytest.raises(BlobError, match=f"blob {digest.hex()} is missing"):
        blobs.get(digest, size=len(data))
    assert blobs.put_stream(chunks, size=len(data)) == digest
    assert blobs.get(digest, size=len(data)) == data


def test_blobs_are_listed_in_order(blobs: Blobs) -> None:
    assert list(blobs.digests()) == []
    made = [blobs.put(bytes([i])) for i in range(20)]
    assert list(blobs.digests()) == sorted(made)


def test_large_blobs_in_parts(blobs: Blobs) -> None:
    pieces = [bytes([i]) * (CHUNK - 7) for i in range(10)]  # over the size that an object store takes in one request
    data = b"".join(pieces)
    digest = blobs.put_stream(iter(pieces), size=len(data))
    assert digest == sha256(data).digest()
    assert blobs.put_stream(iter(pieces), size=len(data)) == digest
    assert blobs.put(data) == digest
    assert sha256(b"".join(blobs.stream(digest, size=len(data)))).digest() == digest
    assert blobs.get_range(digest, 3 * CHUNK, 5, size=len(data)) == data[3 * CHUNK : 3 * CHUNK + 5]


def test_ranges(blobs: Blobs) -> None:
    digest = blobs.put(DATA)
    for start in range(len(DATA) + 1):
        for length in range(len(DATA) - start + 1):
            assert blobs.get_range(digest, start, length, size=10) == DATA[start : start + length]
    for start, length in ((0, 11), (10, 1), (-1, 1), (0, -1)):
        with pytest.raises(ValueError, match="not within a blob of 10"):
            blobs.get_range(digest, start, length, size=10)
    with pytest.raises(BlobError, match="is missing"):
        blobs.get_range(bytes(32), 0, 1, size=10)
    for start, length, size in ((0, 9, 9), (0, 10, 11), (0, 0, 9), (0, 0, 11)):
        with pytest.raises(BlobError, match="is corrupt"):
            blobs.get_range(digest, start, length, size=size)


def test_a_stream_of_another_size_leaves_nothing(blobs: Blobs) -> None:
    for chunks, size, words in (
        ([b"ab", b"c"], 2, "more than the 2"),
        ([b"ab", b"c"], 4, "3 of the 4"),
        ([], -1, "not negative"),
    ):
        with pytest.raises(ValueError, match=words):
            blobs.put_stream(chunks, size=size)
    assert list(blobs.digests()) == []


def test_a_source_that_breaks_off_leaves_nothing(blobs: Blobs) -> None:
    def source() -> Iterator[bytes]:
        yield b"some"
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        blobs.put_stream(source(), size=10)
    assert list(blobs.digests()) == []


def test_missing_and_wrong_size_are_told_apart(blobs: Blobs) -> None:
    assert not blobs.has(DIGEST)
    with pytest.raises(BlobError, match=f"blob {DIGEST.hex()} is missing") as caught:
        blobs.get(DIGEST, size=10)
    assert caught.value.digest == DIGEST
    with pytest.raises(BlobError, match="is missing"):
        list(blobs.stream(DIGEST, size=10))
    blobs.put(DATA)
    for size in (9, 11):
        with pytest.raises(BlobError, match="is corrupt"):
            blobs.get(DIGEST, size=size)
        with pytest.raises(BlobError, match="is corrupt"):
            list(blobs.stream(DIGEST, size=size))
    acts: list[Callable[[], object]] = [
        lambda: blobs.get(b"short", size=1),
        lambda: blobs.get(DIGEST, size=-1),
        lambda: blobs.stream(b"short", size=1),
        lambda: blobs.stream(DIGEST, size=-1),
        lambda: blobs.get_range(b"short", 0, 0, size=1),
        lambda: blobs.has(b"short"),
        lambda: blobs.delete(b"short"),
    ]
    for act in acts:
        with pytest.raises(ValueError):
            act()


# --- what a reader of a stream may rely on ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chunks", "handed", "words"),
    [
        ([b"some", b" byte", b"x"], [b"some", b" byte"], "its bytes are not those"),
        ([b"some", b" byte"], [b"some"], "9 bytes, not 10"),
        ([b"some", b" bytes", b"!"], [b"some"], "11 bytes, not 10"),
        ([b"other byte"], [], "its bytes are not those"),
        ([], [], "0 bytes, not 10"),
    ],
)
def test_the_last_chunk_comes_after_the_check(chunks: list[bytes], handed: list[bytes], words: str) -> None:
    seen = []

    def read() -> None:
        for chunk in checked_chunks(chunks, DIGEST, 10):
            seen.append(chunk)

    with pytest.raises(BlobError, match=words):
        read()
    assert seen == handed
    assert list(checked_chunks([b"some", b" byt", b"", b"es"], DIGEST, 10)) == [b"some", b" byt", b"es"]


# --- a folder ---------------------------------------------------------------------------------------------------------


def _damaged(path: Path, data: bytes) -> tuple[DirectoryBlobs, Path]:
    blobs = DirectoryBlobs(path)
    blobs.put(DATA)
    name = DIGEST.hex()
    file = path / name[:2] / name[2:4] / name
    file.write_bytes(data)
    return blobs, file


def test_a_damaged_blob_is_named_and_never_overwritten(tmp_path: Path) -> None:
    blobs, path = _damaged(tmp_path, b"other byte")
    acts: list[Callable[[], object]] = [
        lambda: blobs.get(DIGEST, size=10),
        lambda: list(blobs.stream(DIGEST, size=10)),
        lambda: blobs.put(DATA),
        lambda: blobs.put_stream([DATA], size=10),
    ]
    for act in acts:
        with pytest.raises(BlobError, match=f"blob {DIGEST.hex()} is corrupt: its bytes are not"):
            act()
    assert path.read_bytes() == b"other byte"
    with path.open("wb") as file:
        file.truncate(10**12)  # sparse: must be refused without being read
    acts.append(lambda: blobs.get_range(DIGEST, 0, 1, size=10))
    for act in acts:
        with pytest.raises(BlobError, match="is corrupt or unreadable"):
            act()
    blobs.delete(DIGEST)
    assert blobs.put(DATA) == DIGEST
    assert blobs.get(DIGEST, size=10) == DATA
    assert _names(tmp_path) == [str(path.relative_to(tmp_path))]


def test_a_blob_cut_while_it_is_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs, _ = _damaged(tmp_path, DATA)
    monkeypatch.setattr(os, "read", lambda *_: b"")
    for act in (lambda: list(blobs.stream(DIGEST, size=10)), lambda: blobs.get_range(DIGEST, 2, 3, size=10)):
        with pytest.raises(BlobError, match=r"is corrupt: . bytes, not 10"):
            act()


def test_other_files_are_passed_over(tmp_path: Path) -> None:
    blobs = DirectoryBlobs(tmp_path)
    blobs.put(DATA)
    folder = tmp_path / DIGEST.hex()[:2] / DIGEST.hex()[2:4]
    for name in (f".{DIGEST.hex()}.1-1-0.tmp", "notes.txt", "abcd", bytes(32).hex(), DIGEST.hex().upper()):
        (folder / name).write_bytes(b"")
    (tmp_path / ".blob.1-1-0.tmp").write_bytes(b"left by a crash")
    assert list(blobs.digests()) == [DIGEST]


def test_memory_stays_bounded(tmp_path: Path) -> None:
    blobs, pieces = DirectoryBlobs(tmp_path), [bytes([i]) * CHUNK for i in range(16)]
    tracemalloc.start()
    try:
        digest = blobs.put_stream(iter(pieces), size=16 * CHUNK)
        assert sum(map(len, blobs.stream(digest, size=16 * CHUNK))) == 16 * CHUNK
        assert blobs.get_range(digest, 15 * CHUNK, 1, size=16 * CHUNK) == b"\x0f"
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 5 * CHUNK


def _failing(code: int) -> Callable[..., int]:
    def fail(*_: object, **__: object) -> int:
        raise OSError(code, os.strerror(code))

    return fail


@pytest.mark.parametrize("call", ["open", "write", "fsync", "link"])
def test_a_full_disk_leaves_no_half_blob(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    blobs = DirectoryBlobs(tmp_path / "blobs")
    monkeypatch.setattr(os, call, _failing(errno.ENOSPC))
    acts: list[Callable[[], object]] = [lambda: blobs.put(DATA), lambda: blobs.put_stream([DATA], size=10)]
    for act in acts:
        with pytest.raises(StoreError, match="the disk is full"):
            act()
    assert _names(tmp_path) == []


def test_a_disk_that_fails_at_deleting_or_listing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs = DirectoryBlobs(tmp_path)
    blobs.put(DATA)
    for call, words, act in (
        ("fsync", "was not removed", lambda: blobs.delete(DIGEST)),
        ("listdir", "cannot be listed", lambda: list(blobs.digests())),
        ("stat", "cannot be looked for", lambda: blobs.has(DIGEST)),
        ("stat", "was not written", lambda: blobs.put(DATA)),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(os, call, _failing(errno.EIO))
            with pytest.raises(StoreError, match=words):
                act()


def test_a_name_not_on_disk_yet_is_synced_before_it_is_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = DirectoryBlobs(tmp_path)
    blobs.put(DATA)  # as if by a process killed before it synced the folder
    monkeypatch.setattr(os, "fsync", _failing(errno.EIO))
    with pytest.raises(StoreError, match="was not written"):
        blobs.put(DATA)
