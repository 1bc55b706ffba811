"""What befalls a machine: its disk fills up, two processes write, an old copy is put back, its clock is wrong."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from ledger import (
    Certificate,
    DirectoryBlobs,
    EquivocationError,
    Log,
    Policy,
    QuorumError,
    SqliteStore,
    SqliteWitnessStore,
    StoreError,
    Witness,
    certify,
    parse_note,
    publish,
    read_published,
    verify_consistency,
    verify_cosignature,
)
from ledger.errors import ConsistencyError
from ledger.published import published_consistency_proof
from ledger.source import DirectorySource
from tests.ledger.federation import NAMES, ORIGIN, Federation, key_of

ROOT = Path(__file__).parents[3]
FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)


# --- a full disk ------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with 1.5 MB, of which 300 kB can be freed by removing `ballast`."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1536k", "tmpfs", str(folder)]
    if not hasattr(os, "geteuid") or os.geteuid() != 0 or subprocess.run(mount, check=False).returncode != 0:
        pytest.skip("needs the right to mount")
    try:
        (folder / "ballast").write_bytes(bytes(300_000))
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _entry(i: int) -> bytes:
    return b"entry %d" % i + bytes(2000)


def test_a_log_on_a_disk_that_fills_up(small_disk: Path) -> None:
    path = small_disk / "log.db"
    log = Log(SqliteStore(path, create=True), ORIGIN, key_of("sequencer"))
    acknowledged = 0

    def fill() -> None:
        nonlocal acknowledged
        while True:
            acknowledged = log.append_all([_entry(acknowledged + i) for i in range(3)]).stop

    with pytest.raises(StoreError, match="the disk is full: free some space, then open it again; nothing acknowledged"):
        fill()
    assert acknowledged > 50
    with pytest.raises(StoreError, match="open it again"):
        log.append(b"more")
    log.close()

    with suppress(StoreError):  # on the full disk it may open or not, but loses nothing
        log = Log(SqliteStore(path, create=True), ORIGIN, key_of("sequencer"))
        assert log.size == acknowledged
        log.close()

    (small_disk / "ballast").unlink()
    log = Log(SqliteStore(path, create=True), ORIGIN, key_of("sequencer"))
    assert log.entries() == [_entry(i) for i in range(acknowledged)]
    assert log.append(_entry(acknowledged)) == acknowledged
    log.close()
    print(f"full disk: {acknowledged} entries acknowledged before it was full, {acknowledged} there after")


def test_blobs_and_files_on_a_disk_that_fills_up(small_disk: Path) -> None:
    blobs = DirectoryBlobs(small_disk / "blobs")
    digests: list[bytes] = []

    def fill(put: Callable[[bytes], bytes]) -> None:
        for i in range(len(digests), 300):
            digests.append(put(bytes([i % 256]) * 50_000))

    acts: list[Callable[[bytes], bytes]] = [blobs.put, lambda data: blobs.put_stream([data], size=len(data))]
    for put in acts:
        with pytest.raises(StoreError, match="the disk is full; free some space"):
            fill(put)
    assert len(digests) > 10
    print(f"full disk: {len(digests)} blobs acknowledged, {len(digests)} there")
    assert sorted(digests) == list(blobs.digests())
    assert list(small_disk.rglob("*.tmp")) == []
    (small_disk / "ballast").unlink()
    digests.append(blobs.put(b"last"))
    assert all(blobs.get(digest, size=50_000) == bytes([i]) * 50_000 for i, digest in enumerate(digests[:-1]))


def test_publishing_to_a_disk_that_fills_up(small_disk: Path) -> None:
    federation, folder = Federation(), small_disk / "public"
    publish(federation.log, federation.grow(100), folder)
    federation.log.append_all([_entry(i) for i in range(900)])
    certificate = federation.certify()
    with pytest.raises(StoreError, match="the disk is full; free some space"):
        publish(federation.log, certificate, folder)
    assert len(read_published(folder).entries) == 100
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    publish(federation.log, certificate, folder)
    assert len(read_published(folder).entries) == 1000


# --- two writers ------------------------------------------------------------------------------------------------------


def test_four_processes_write_one_at_a_time(tmp_path: Path) -> None:
    path, count = tmp_path / "log.db", 8
    command = [sys.executable, "-m", "tests.ledger.faults.appender", str(path)]
    with ExitStack() as stack:
        held = SqliteStore(path, create=True)
        writers = [
            stack.enter_context(
                subprocess.Popen([*command, f"writer-{i}", str(count)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
            )
            for i in range(4)
        ]
        for writer in writers:  # each was refused once before any may write
            assert writer.stdout is not None
            assert writer.stdout.readline() == "waiting\n"
        held.close()
        said = [writer.communicate(timeout=60)[0].splitlines() for writer in writers]
        assert [writer.returncode for writer in writers] == [0] * 4
    indices = {int(line.split(" ", 1)[0]): line.split(" ", 1)[1] for lines in said for line in lines[:-1]}
    assert sorted(indices) == list(range(4 * count))
    log = Log(SqliteStore(path, create=True), ORIGIN, key_of("sequencer"))
    assert log.entries() == [indices[i].encode() for i in range(4 * count)]
    log.close()
    refused = sum(int(lines[-1].split()[1]) for lines in said)
    print(f"four writers: {4 * count} entries, each once; refused {refused} times")
    assert refused >= 4


# --- an old copy is put back ------------------------------------------------------------------------------------------


class _Kept:
    """A log on disk, with witnesses whose own disks are elsewhere."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = self.reopened()
        self.witnesses = {
            name: Witness(name, key_of(name), self.log.verifier, SqliteWitnessStore(folder.with_name(f"{name}.db")))
            for name in NAMES
        }
        self.policy = Policy(ORIGIN, self.log.verifier, tuple(w.verifier for w in self.witnesses.values()))

    def reopened(self) -> Log:
        return Log(SqliteStore(self.folder / "log.db", create=True), ORIGIN, key_of("sequencer"))

    def grow(self, *entries: bytes) -> Certificate:
        self.log.append_all(entries)
        return certify(self.log, self.witnesses, self.policy, now=1_700_000_000)


@pytest.fixture
def rolled_back(tmp_path: Path) -> tuple[_Kept, Certificate]:
    """A log that had five certified entries, opened on a copy from when it had three; and the newer certificate."""
    folder = tmp_path / "log"
    folder.mkdir()
    kept = _Kept(folder)
    publish(kept.log, kept.grow(b"a", b"b", b"c"), folder / "public")
    kept.log.close()
    shutil.copytree(folder, tmp_path / "old")
    kept.log = kept.reopened()
    newer = kept.grow(b"d", b"e")
    publish(kept.log, newer, folder / "public")
    kept.log.close()
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "old", folder)
    kept.log = kept.reopened()
    return kept, newer


def test_witnesses_refuse_a_log_that_was_rolled_back(rolled_back: tuple[_Kept, Certificate]) -> None:
    kept, _ = rolled_back
    assert kept.log.size == 3  # the copy is whole, nothing in it says that it is old
    with pytest.raises(QuorumError, match="has cosigned size 5, the log has 3 entries: the log was rolled back") as old:
        certify(kept.log, kept.witnesses, kept.policy, now=1_700_000_000)
    assert old.value.have == ()
    with pytest.raises(EquivocationError, match="two roots for size 5") as forked:
        kept.grow(b"other", b"history")
    assert forked.value.culprits == (ORIGIN,)
    with pytest.raises(QuorumError, match=r"consistency|refuses size 6"):
        kept.grow(b"and longer")
    assert kept.log.certified() is not None
    kept.log.close()


def test_the_same_entries_again_are_certified_again(rolled_back: tuple[_Kept, Certificate]) -> None:
    """Who still has what came after the copy can put it back, entry by entry."""
    kept, newer = rolled_back
    assert kept.grow(b"d", b"e").checkpoint == newer.checkpoint
    kept.log.close()


def test_who_remembers_a_checkpoint_finds_a_folder_rolled_back(rolled_back: tuple[_Kept, Certificate]) -> None:
    kept, remembered = rolled_back
    public = DirectorySource(kept.folder / "public")
    shown = kept.policy.verify(public.checkpoint()).checkpoint  # an old certificate is a good one, and says nothing
    with pytest.raises(ConsistencyError, match="had 5 entries and now has 3: it was rolled back"):
        published_consistency_proof(public, remembered.checkpoint, shown)
    kept.log.append_all([b"other", b"history", b"longer"])
    with pytest.raises(ConsistencyError):
        verify_consistency(5, 6, kept.log.consistency_proof(5, 6), remembered.checkpoint.root, kept.log.root(6))
    kept.log.close()


# --- a wrong clock ----------------------------------------------------------------------------------------------------


def under(moment: str, module: str, *arguments: str) -> list[str]:
    """What a process printed whose clock started at `moment`."""
    environment = dict(os.environ, LD_PRELOAD=str(FAKETIME), FAKETIME=f"@{moment}", TZ="UTC")
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=60
    ).stdout.splitlines()


@pytest.mark.skipif(FAKETIME is None, reason="needs libfaketime")
def test_no_validity_depends_on_a_clock(tmp_path: Path) -> None:
    moments = ("1970-01-01 00:00:05", "2014-05-05 00:00:00", "2036-05-05 00:00:00", "2099-12-31 23:59:59")
    folder, seen, note = tmp_path / "log", list[int](), b""
    folder.mkdir()
    for i, moment in enumerate(moments):  # the next process is always off by decades, forwards or back
        said = under(moment, "tests.ledger.faults.sequencer_process", str(folder))
        assert said == [str(i + 1)]
        note = read_published(folder / "public").note
        cosignature = verify_cosignature(parse_note(note), Federation().policy.witnesses[0])
        assert cosignature is not None
        seen.append(cosignature.time)
    certificate = Federation().policy.verify(note)
    assert certificate.cosigners == NAMES
    assert certificate.checkpoint.size == len(moments)
    assert [time.gmtime(moment).tm_year for moment in seen] == [1970, 2014, 2036, 2099]


def test_a_time_out_of_range_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    federation = Federation()
    federation.log.append(b"a")
    witness = next(iter(federation.witnesses.values()))
    for now in (-1, 1 << 63, 1 << 64):
        with pytest.raises(ValueError):
            witness.add_checkpoint(0, [], federation.log.checkpoint(), now=now)
    assert witness.size == 0
