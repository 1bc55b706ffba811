"""A process that has strace spoil one system call after another of what its children do, and looks at what is left.

For every system call that an act makes, and each way to spoil it (it fails with EIO or ENOSPC, or the process is killed
at it), a fresh child does the act in a fresh copy of a folder. Prints one JSON object with what was counted.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ledger import (
    DirectoryBlobs,
    LedgerError,
    Log,
    SqliteStore,
    SqliteWitnessStore,
    Witness,
    blob_digest,
    publish,
    read_published,
    verify_checkpoint,
)
from ledger.errors import ConsistencyError
from tests.ledger.federation import ORIGIN, Federation, key_of

CALLS = (
    *("openat", "close", "read", "write", "pread64", "pwrite64", "fsync", "fdatasync", "ftruncate", "fcntl", "flock"),
    *("mkdir", "rename", "link", "unlink", "rmdir", "lseek", "fstat", "newfstatat", "getdents64"),
)
FULL = ("openat", "write", "pwrite64", "fsync", "fdatasync", "ftruncate", "mkdir", "rename", "link")
STARTED, BATCH = 254, 2
BLOBS = [bytes([i]) * 3000 for i in range(3)]

Say = Callable[[str], None]


def entry(i: int) -> bytes:
    return b"entry %d" % i


def opened(folder: Path) -> Log:
    return Log(SqliteStore(folder / "log.db", create=True), ORIGIN, key_of("sequencer"))


def in_memory() -> Federation:
    """A log with the same entries, which no system call can spoil."""
    federation = Federation()
    federation.log.append_all([entry(i) for i in range(STARTED)])
    return federation


def attempt(say: Say, what: str, act: Callable[[], object]) -> bool:
    """Do it, and say that it is done, or that it was refused. Anything but the ledger's own errors goes further."""
    try:
        act()
    except LedgerError as exc:
        say(f"refused {what}: {type(exc).__name__}")
        return False
    say(f"done {what}")
    return True


# Each act, in a child; and what must hold afterwards, given what the child said.


def append(folder: Path, say: Say) -> None:
    """Open, append across the end of a tile, keep a certificate, close."""
    opening: list[Log] = []
    if not attempt(say, "open", lambda: opening.append(opened(folder))):
        return
    log = opening[0]
    for size in range(STARTED, STARTED + 3 * BATCH, BATCH):
        attempt(say, f"size {size + BATCH}", lambda size=size: log.append_all([entry(size), entry(size + 1)]))  # type: ignore[misc]
    log.close()


def found(folder: Path, say: Say) -> None:
    """Make a new log, append twice, close."""
    opening: list[Log] = []
    if not attempt(say, "open", lambda: opening.append(opened(folder / "new"))):
        return
    for size in (0, BATCH):
        attempt(say, f"size {size + BATCH}", lambda size=size: opening[0].append_all([entry(size), entry(size + 1)]))  # type: ignore[misc]
    opening[0].close()


def check_found(folder: Path, done: list[str]) -> None:
    check_append(folder / "new", done, started=0)


def check_append(folder: Path, done: list[str], *, started: int = STARTED) -> None:
    log = opened(folder)
    sizes = [int(what.split()[1]) for what in done if what.startswith("size")]
    assert log.size >= max(sizes, default=started), f"{log.size} entries, acknowledged: {done}"
    assert log.size <= STARTED + 3 * BATCH
    assert log.entries() == [entry(i) for i in range(log.size)]
    log.append(entry(log.size))
    assert verify_checkpoint(log.checkpoint(), log.verifier).size == log.size
    log.close()


def cosign(folder: Path, say: Say) -> None:
    """Cosign three checkpoints, each after the last."""
    log = in_memory().log
    opening: list[SqliteWitnessStore] = []
    if not attempt(say, "open", lambda: opening.append(SqliteWitnessStore(folder / "witness.db"))):
        return
    witness = Witness("member-1", key_of("member-1"), log.verifier, opening[0])
    at = [STARTED]
    for i in range(3):
        log.append(entry(STARTED + i))
        new = log.size

        def add(new: int = new) -> None:
            witness.add_checkpoint(at[0], log.consistency_proof(at[0], new), log.checkpoint(), now=1_700_000_000)
            at[0] = new

        attempt(say, f"size {new}", add)
    opening[0].close()


def check_cosign(folder: Path, done: list[str]) -> None:
    log = in_memory().log
    store = SqliteWitnessStore(folder / "witness.db")
    witness = Witness("member-1", key_of("member-1"), log.verifier, store)
    least = max((int(what.split()[1]) for what in done if what.startswith("size")), default=STARTED)
    assert witness.size >= least, f"the witness is back at {witness.size}, it cosigned {least}"
    try:  # and it still refuses to go back
        witness.add_checkpoint(least - 1, [], log.checkpoint(), now=1_700_000_001)
    except ConsistencyError:
        store.close()
        return
    raise AssertionError("a witness cosigned what does not follow its last checkpoint")


def keep(folder: Path, say: Say) -> None:
    """Put a blob, stream another, put the first again, read the third in every way, and delete it."""
    blobs = DirectoryBlobs(folder / "blobs")
    digest = blob_digest(BLOBS[2])

    def read() -> None:
        assert blobs.has(digest)
        assert digest in blobs.digests()
        assert blobs.get(digest, size=3000) == b"".join(blobs.stream(digest, size=3000)) == BLOBS[2]
        assert blobs.get_range(digest, 9, 9, size=3000) == BLOBS[2][9:18]

    attempt(say, "put 0", lambda: blobs.put(BLOBS[0]))
    attempt(say, "put 1", lambda: blobs.put_stream([BLOBS[1][:9], BLOBS[1][9:]], size=3000))
    attempt(say, "put 0", lambda: blobs.put(BLOBS[0]))
    attempt(say, "read 2", read)
    attempt(say, "delete 2", lambda: blobs.delete(digest))


def check_keep(folder: Path, done: list[str]) -> None:
    blobs = DirectoryBlobs(folder / "blobs")
    for i, data in enumerate(BLOBS):
        there = blobs.has(blob_digest(data))
        if there:
            assert blobs.get(blob_digest(data), size=3000) == data
        assert there or f"put {i}" not in done, f"blob {i} was acknowledged"
        assert not there or f"delete {i}" not in done
    assert set(blobs.digests()) <= {blob_digest(data) for data in BLOBS}


def write_out(folder: Path, say: Say) -> None:
    """Publish a log that outgrew a tile."""
    federation = in_memory()
    certificate = federation.grow(4)
    attempt(say, f"size {STARTED + 4}", lambda: publish(federation.log, certificate, folder / "public"))


def check_write_out(folder: Path, done: list[str]) -> None:
    found = read_published(folder / "public")
    assert len(found.entries) in ((STARTED + 4,) if done else (STARTED, STARTED + 4))
    assert list(found.entries) == [entry(i) for i in range(len(found.entries))]


@dataclass(frozen=True)
class Act:
    do: Callable[[Path, Say], None]
    check: Callable[[Path, list[str]], None]


ACTS = {
    "found": Act(found, check_found),
    "append": Act(append, check_append),
    "cosign": Act(cosign, check_cosign),
    "blobs": Act(keep, check_keep),
    "publish": Act(write_out, check_write_out),
}


def prepare(folder: Path) -> None:
    """A certified and published log of 254 entries, a witness that cosigned it, a blob, and an empty folder."""
    (folder / "new").mkdir()
    federation = Federation(SqliteStore(folder / "log.db", create=True))
    publish(federation.log, federation.grow(STARTED), folder / "public")
    store = SqliteWitnessStore(folder / "witness.db")
    witness = Witness("member-1", key_of("member-1"), federation.log.verifier, store)
    witness.add_checkpoint(0, [], federation.log.checkpoint(), now=1_700_000_000)
    store.close()
    federation.log.close()
    DirectoryBlobs(folder / "blobs").put(BLOBS[2])


# Running them


def run(act: Act, folder: Path, options: list[str], also: tuple[str, ...] = ()) -> tuple[int, list[str]]:
    """One child under strace: how it ended (its exit status, or minus the signal) and what it said."""
    mouth, ear = socket.socketpair()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            mouth.recv(1)  # a call that is not among those spoiled
            act.do(folder, lambda text: mouth.sendall(f"{text}\n".encode()))
            status = 0
        except BaseException as exc:  # noqa: BLE001 - whatever it is, it is reported
            mouth.sendall(f"crashed {exc!r}\n".encode())
        os._exit(status)
    mouth.close()
    command = ["strace", "-p", str(child), "-e", f"trace={','.join((*CALLS, *also))}", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer, ear:
        assert tracer.stderr is not None
        attached = tracer.stderr.readline()
        ear.sendall(b"g")
        said = b"".join(iter(lambda: ear.recv(65536), b"")).decode().splitlines()
        _, status = os.waitpid(child, 0)
    if "attached" not in attached:
        raise RuntimeError(attached)
    return os.waitstatus_to_exitcode(status), said


def unsynced(trace: list[str]) -> list[str]:
    """Acknowledgements, in a trace, that came before the changes before them were synced."""
    dirty, found = "", list[str]()
    for line in trace:
        call = line.partition("(")[0]
        if " = -1 " in line:
            continue
        if call in ("write", "pwrite64", "ftruncate", "mkdir", "rename", "link", "unlink"):
            dirty = line
        elif call in ("fsync", "fdatasync"):
            dirty = ""
        elif call == "sendto" and "done" in line and "open" not in line and dirty:
            found.append(f"{line} after {dirty}")
    return found


def main(name: str, scratch: Path, stride: int) -> None:
    act = ACTS[name]
    start, folder, trace = scratch / "start", scratch / "case", scratch / "trace"
    start.mkdir()
    prepare(start)
    shutil.copytree(start, folder)
    status, said = run(act, folder, ["-o", str(trace)], ("sendto",))
    assert status == 0, said
    assert all(line.startswith("done") for line in said), said
    lines = trace.read_text().splitlines()
    made = Counter(call for call in (line.partition("(")[0] for line in lines) if call in CALLS)
    counts, wrong = Counter[str](), unsynced(lines)
    number = 0
    for call in CALLS:
        for k in range(1, made[call] + 1):
            for how in ("error=EIO", "error=ENOSPC", "signal=SIGKILL"):
                if how == "error=ENOSPC" and call not in FULL:
                    continue
                number += 1
                if number % stride:
                    continue
                shutil.rmtree(folder)
                shutil.copytree(start, folder)
                status, said = run(act, folder, ["-o", os.devnull, "-e", f"inject={call}:{how}:when={k}"])
                counts[how.partition("=")[2]] += 1
                counts["refused"] += any(line.startswith("refused") for line in said)
                if status not in (0, -9) or (status == -9) != (how == "signal=SIGKILL"):
                    wrong.append(f"{call} {k} {how}: ended with {status}, said {said}")
                try:
                    act.check(folder, [line[5:] for line in said if line.startswith("done")])
                except (LedgerError, AssertionError, OSError) as exc:
                    wrong.append(f"{call} {k} {how}: {exc!r} after {said}")
    print(json.dumps({"calls": sum(made.values()), "all": number, **counts, "wrong": wrong}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
