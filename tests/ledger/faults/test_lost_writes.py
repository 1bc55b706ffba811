"""Power cuts, kills and disk errors at any call: what was acknowledged is there; nothing is there in part."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from ledger import (
    BlobError,
    Certificate,
    DirectoryBlobs,
    Log,
    ProofError,
    StoreError,
    blob_digest,
    create_durably,
    publish,
    read_bounded,
    read_published,
    write_durably,
)
from ledger import blobs as blobs_module
from ledger import files as files_module
from ledger.files import DurableFile
from tests.ledger.faults.pagecache import PageCache, PowerCut
from tests.ledger.federation import Federation

FILES = [Path(f"/data/{name}") for name in ("a", "b/c", "b/d", "new/folder/e")]
BLOBS = Path("/blobs")
TILES = Path("/log")
MOST = 64
ALL = os.environ.get("FAULTS") == "all"

contents = st.binary(max_size=MOST)
counts = {"acts": 0, "cuts": 0, "kills": 0, "errors": 0, "calls": 0}


class Disk(RuleBasedStateMachine):
    """A process that writes, and is cut off, killed or refused. `may`: what may stand in each place now."""

    def __init__(self) -> None:
        super().__init__()
        self.files = PageCache()
        self.may: dict[Path, set[bytes | None]] = {path: {None} for path in FILES}
        self.blobs: dict[bytes, set[bool]] = {}
        self.bodies: dict[bytes, bytes] = {}
        self.published = 0
        self.attempted = 0

    @initialize()
    def folders(self) -> None:
        for path in ("/data", "/blobs", "/log"):
            self.files.make_folder(Path(path))
        self.files.sync_folder(Path("/"))

    @property
    def store(self) -> DirectoryBlobs:
        return DirectoryBlobs(BLOBS, files=self.files)

    def attempt(self, act: Callable[[], object], *, done: Callable[[object], None]) -> None:
        """Run an act to its end, its refusal, or the cut; only the first is an acknowledgement."""
        counts["acts"] += 1
        before = self.files.calls
        try:
            result = act()
        except (PowerCut, StoreError):
            pass
        else:
            done(result)
        counts["calls"] += self.files.calls - before

    # What goes wrong

    @rule(after=st.integers(0, 14))
    @precondition(lambda self: not self.files.dead)
    def plan_a_stop(self, after: int) -> None:
        self.files.left, self.files.error = after, None

    @rule(after=st.integers(0, 14), code=st.sampled_from([errno.EIO, errno.ENOSPC]))
    @precondition(lambda self: not self.files.dead)
    def plan_an_error(self, after: int, code: int) -> None:
        self.files.left, self.files.error = after, code
        counts["errors"] += 1

    @rule(seed=st.integers(0, 2**32))
    def power_cut(self, seed: int) -> None:
        counts["cuts"] += 1
        self.files.cut(Random(seed))
        self.look(settle=True)

    @rule()
    def kill(self) -> None:
        counts["kills"] += 1
        self.files.kill()
        self.look(settle=False)

    # What is done

    @rule(path=st.sampled_from(FILES), data=contents)
    def write(self, path: Path, data: bytes) -> None:
        self.may[path].add(data)
        self.attempt(
            lambda: write_durably(path, data, files=self.files), done=lambda _: self.may.__setitem__(path, {data})
        )

    @rule(path=st.sampled_from(FILES), data=contents)
    def create(self, path: Path, data: bytes) -> None:
        if None in self.may[path]:
            self.may[path].add(data)

        def done(created: object) -> None:
            if created:
                assert None in self.may[path], "a file that was acknowledged is gone"
                self.may[path] = {data}
            else:
                self.may[path].discard(None)  # the name that was taken is on disk

        self.attempt(lambda: create_durably(path, data, files=self.files), done=done)

    @rule(data=contents, streamed=st.booleans())
    def put(self, data: bytes, streamed: bool) -> None:
        digest = blob_digest(data)
        self.bodies[digest] = data
        self.blobs.setdefault(digest, {False}).add(True)
        chunks = [data[:20], data[20:]]
        self.attempt(
            lambda: self.store.put_stream(chunks, size=len(data)) if streamed else self.store.put(data),
            done=lambda _: self.blobs.__setitem__(digest, {True}),
        )

    @rule(pick=st.integers(0, 100))
    @precondition(lambda self: self.blobs)
    def delete(self, pick: int) -> None:
        digest = sorted(self.blobs)[pick % len(self.blobs)]
        self.blobs[digest].add(False)
        self.attempt(lambda: self.store.delete(digest), done=lambda _: self.blobs.__setitem__(digest, {False}))

    @rule()
    def publish_tiles(self) -> None:
        """Tiles first, then the checkpoint that names how many there are."""
        count = max(self.published, self.attempted) + 1

        def act() -> None:
            for i in range(count):
                if not create_durably(TILES / f"tile/{i}", b"tile %d" % i, files=self.files):
                    assert read_bounded(TILES / f"tile/{i}", limit=MOST, files=self.files) == b"tile %d" % i
            self.attempted = count
            write_durably(TILES / "checkpoint", b"%d" % count, files=self.files)

        def done(_: object) -> None:
            self.published = count

        self.attempt(act, done=done)

    # What must hold, for whoever looks

    def look(self, *, settle: bool) -> None:
        """Check every place; after a power cut what is there is on disk, and must stay."""
        for path, may in self.may.items():
            found = read_bounded(path, limit=MOST, files=self.files)
            assert found in may, f"{path} holds {found!r}, not one of {may}"
            if settle:
                self.may[path] = {found}
        for digest, states in self.blobs.items():
            there = self.store.has(digest)
            assert there in states, f"blob {self.bodies[digest]!r} is there: {there}"
            if there:
                assert self.store.get(digest, size=len(self.bodies[digest])) == self.bodies[digest]
            if settle:
                self.blobs[digest] = {there}
        assert set(self.store.digests()) == {digest for digest in self.blobs if self.store.has(digest)}
        checkpoint = read_bounded(TILES / "checkpoint", limit=MOST, files=self.files)
        size = int(checkpoint or b"0")
        assert self.published <= size <= self.attempted
        for i in range(size):
            assert read_bounded(TILES / f"tile/{i}", limit=MOST, files=self.files) == b"tile %d" % i

    @invariant()
    def holds(self) -> None:
        if not self.files.dead:
            self.look(settle=False)

    def teardown(self) -> None:
        self.power_cut(7)


@pytest.mark.slow
def test_nothing_acknowledged_is_lost_at_any_power_cut() -> None:
    for key in counts:
        counts[key] = 0
    run_state_machine_as_test(
        Disk, settings=settings(max_examples=1000 if ALL else 60, stateful_step_count=40, deadline=None, database=None)
    )
    assert min(counts.values()) > 20, counts
    print("simulated page cache, random:", counts)


# --- every call of every act, exhaustively ----------------------------------------------------------------------------

DATA = bytes(range(40))
NAME = blob_digest(DATA)


def _file(files: PageCache) -> bytes | None:
    return read_bounded(Path("/data/new/a"), limit=MOST, files=files)


def _blob(files: PageCache) -> bytes | None:
    store = DirectoryBlobs(Path("/data/blobs"), files=files)
    return store.get(NAME, size=len(DATA)) if store.has(NAME) else None


ACTS: dict[str, tuple[Callable[[PageCache], object], Callable[[PageCache], bytes | None]]] = {
    "write": (lambda files: write_durably(Path("/data/new/a"), DATA, files=files), _file),
    "create": (lambda files: create_durably(Path("/data/new/a"), DATA, files=files), _file),
    "put": (lambda files: DirectoryBlobs(Path("/data/blobs"), files=files).put(DATA), _blob),
    "put_stream": (lambda files: DirectoryBlobs(Path("/data/blobs"), files=files).put_stream([DATA], size=40), _blob),
}


def exhaust(act: Callable[[PageCache], object], found: Callable[[PageCache], bytes | None]) -> int:
    """An act stopped at each of its calls, in each way; then done again and acknowledged; then a power cut."""
    cases, last = 0, False
    for stop in range(60):
        for how in ("cut", "kill", errno.EIO, errno.ENOSPC):
            for seed in range(12):
                files = PageCache()
                files.make_folder(Path("/data"))
                files.sync_folder(Path("/"))
                files.left, files.error = stop, how if isinstance(how, int) else None
                finished = _finishes(act, files)
                if how == "cut" or finished:
                    files.cut(Random(seed))
                    assert found(files) in ((DATA,) if finished else (None, DATA))
                files.kill()
                act(files)
                files.cut(Random(~seed))
                assert found(files) == DATA
                cases += 1
                last = finished
        if last:
            return cases
    raise AssertionError("the act has more calls than that")


def _finishes(act: Callable[[PageCache], object], files: PageCache) -> bool:
    try:
        act(files)
    except (PowerCut, StoreError):
        return False
    return True


@pytest.mark.parametrize("name", ACTS)
def test_a_stop_at_every_call(name: str) -> None:
    cases = exhaust(*ACTS[name])
    assert cases > 300
    print(f"simulated page cache, {name}: {cases} cases")


def _deleted(files: PageCache) -> None:
    store = DirectoryBlobs(Path("/data/blobs"), files=files)
    store.put(DATA)
    store.delete(NAME)


def test_a_deleted_blob_does_not_come_back() -> None:
    for seed in range(50):
        files = PageCache()
        files.make_folder(Path("/data"))
        files.sync_folder(Path("/"))
        _deleted(files)
        files.cut(Random(seed))
        assert _blob(files) is None


# --- publishing -------------------------------------------------------------------------------------------------------

PUBLIC = Path("/data/public")


@pytest.fixture(scope="module")
def certified() -> tuple[Log, Certificate, Certificate]:
    """A log, and its certificates at 255 entries and at 258, when two tiles are full."""
    federation = Federation()
    return federation.log, federation.grow(255), federation.grow(3)


def _published(files: PageCache, folder: Path) -> int:
    """How many entries a reader finds below the checkpoint, all of them verified."""
    copy = folder / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    files.copy_to(copy, PUBLIC)
    if not (copy / "checkpoint").exists():
        return 0
    return len(read_published(copy).entries)


@pytest.mark.slow
def test_a_checkpoint_never_names_a_tile_that_is_not_there(
    certified: tuple[Log, Certificate, Certificate], tmp_path: Path
) -> None:
    log, first, second = certified
    cases, stop, finished = 0, 0, False
    while not finished:
        for how in ("cut", "kill", errno.EIO):
            for seed in range(2):
                files = PageCache()
                files.make_folder(Path("/data"))
                files.sync_folder(Path("/"))
                publish(log, first, PUBLIC, files=files)
                files.left, files.error = stop, how if isinstance(how, int) else None
                finished = _finishes(lambda files: publish(log, second, PUBLIC, files=files), files)
                if how == "cut":
                    files.cut(Random(seed))
                else:
                    files.kill()
                assert _published(files, tmp_path) in ((258,) if finished else (255, 258))
                publish(log, second, PUBLIC, files=files)
                files.cut(Random(~seed))
                assert _published(files, tmp_path) == 258
                cases += 1
        stop += 1 if ALL else 11
    print(f"simulated page cache, publish: {cases} cases")
    assert cases > 30


# --- and that a forgotten sync would be noticed -----------------------------------------------------------------------


def _call_only(self: PageCache, _: object) -> None:
    self._call()


def _no_folder_above(folder: Path, files: PageCache) -> None:
    if not files.is_folder(folder):
        _no_folder_above(folder.parent, files)
        files.make_folder(folder)
        files.sync_folder(folder.parent)


def _sync_again(self: DurableFile, path: Path) -> None:
    """What fsync's errors tempt to: the same file once more."""
    assert self._handle is not None
    for attempt in (1, 2):
        try:
            self._files.sync(self._handle)
            break
        except OSError:
            if attempt == 2:
                raise
    self._close()
    if path.parent != self.path.parent:
        files_module._have_folder(path.parent, self._files)


def test_a_publication_that_is_not_synced_is_found(
    certified: tuple[Log, Certificate, Certificate], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PageCache, "sync_folder", _call_only)
    with pytest.raises((AssertionError, ProofError, FileNotFoundError)):
        test_a_checkpoint_never_names_a_tile_that_is_not_there(certified, tmp_path)


@pytest.mark.parametrize(
    ("target", "name", "instead", "acts"),
    [
        (PageCache, "sync", _call_only, ["write", "create", "put", "put_stream"]),
        (PageCache, "sync_folder", _call_only, ["write", "create", "put", "put_stream"]),
        (files_module, "_have_folder", _no_folder_above, ["write", "create", "put", "put_stream"]),
        (blobs_module, "sync_name", lambda path, files: files.is_file(path), ["put"]),
        (DurableFile, "_finish", _sync_again, ["write", "create", "put", "put_stream"]),
    ],
)
def test_a_forgotten_sync_is_found(
    monkeypatch: pytest.MonkeyPatch, target: Any, name: str, instead: Any, acts: list[str]
) -> None:
    monkeypatch.setattr(target, name, instead)
    for act in acts:
        with pytest.raises((AssertionError, BlobError)):
            exhaust(*ACTS[act])


def test_a_delete_that_is_not_synced_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blobs_module, "remove_durably", lambda path, files: files.unlink(path))
    with pytest.raises(AssertionError):
        test_a_deleted_blob_does_not_come_back()
