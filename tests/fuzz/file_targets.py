"""Files that `ledger` reads: a published folder, which anybody may have made; blobs; and databases of one's own."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from random import Random

from ledger import (
    BlobError,
    DecodeError,
    DirectoryBlobs,
    Log,
    MemoryStore,
    ProofError,
    SqliteStore,
    SqliteWitnessStore,
    StateError,
    StoreError,
    Witness,
    blob_digest,
    leaf_hash,
    node_hash,
    parse_checkpoint,
    parse_note,
    publish,
    read_published,
)
from ledger.note import MAX_NOTE
from tests.fuzz.folder import emptied, scratch
from tests.fuzz.ledger_targets import NOW, SEQUENCER, TREE, certified
from tests.fuzz.mutation import altered
from tests.fuzz.target import Target
from tests.ledger.federation import NAMES, ORIGIN, Federation, key_of

__all__ = ["FILE_TARGETS", "file_of"]

# Published files


def folder_paths() -> tuple[str, ...]:
    return (
        "checkpoint", "tile/0/000", "tile/0/001.p/44", "tile/1/000.p/1", "tile/entries/000", "tile/entries/001.p/44",
        "tile/0/001", "tile/entries/001",
    )  # fmt: skip


def joined(files: Sequence[bytes]) -> bytes:
    return b"".join(len(file).to_bytes(3, "big") + file for file in files)


def parted(data: bytes) -> list[bytes]:
    """The files of an input, as many as there are paths; a file that is missing is empty."""
    files, at = [], 0
    for _ in folder_paths():
        size = int.from_bytes(data[at : at + 3], "big")
        files.append(data[at + 3 : at + 3 + size])
        at += 3 + size
    return files


def read_folder(data: bytes) -> None:
    folder = emptied("published")
    for path, file in zip(folder_paths(), parted(data), strict=True):
        if file:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(file)
    found = read_published(folder)
    checkpoint = parse_checkpoint(parse_note(found.note).text)
    log = Log(MemoryStore(), ORIGIN, key_of("sequencer"))
    log.append_all(found.entries)
    assert log.root(log.size) == checkpoint.root


def folder_seeds() -> Sequence[bytes]:
    federation, certificate = certified()
    folder = emptied("seed")
    publish(federation.log, certificate, folder)
    return [joined([(folder / p).read_bytes() if (folder / p).exists() else b"" for p in folder_paths()])]


def other_folder(rng: Random, data: bytes) -> bytes:
    """One file changed, with the hashes above it mended or not."""
    files = parted(data)
    at = rng.randrange(len(files))
    if rng.random() < 0.3:
        files[at] = rng.choice(files)
    else:
        files[at] = altered(rng, files[at])
    if rng.random() < 0.5:  # hashes that follow from the entries, under a checkpoint that follows or does not
        leaves = [leaf_hash(entry) for bundle in (files[4], files[5]) for entry in bundled(bundle)]
        files[1], files[2] = b"".join(leaves[:256]), b"".join(leaves[256:])
        if len(leaves) >= 256:
            level = leaves[:256]
            while len(level) > 1:
                level = [node_hash(level[i], level[i + 1]) for i in range(0, len(level), 2)]
            files[3] = level[0]
    return joined(files)


def bundled(data: bytes) -> list[bytes]:
    entries, at = [], 0
    while at + 2 <= len(data):
        size = int.from_bytes(data[at : at + 2], "big")
        entries.append(data[at + 2 : at + 2 + size])
        at += 2 + size
    return entries


# Files of one's own that a failing disk, or somebody with access to it, changed


def read_blob(data: bytes) -> None:
    """The file under the digest of the seed holds the input."""
    good = blob_seeds()[0]
    folder = scratch("blobs")
    name = blob_digest(good).hex()
    path = folder / name[:2] / name[2:4] / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    assert DirectoryBlobs(folder).get(blob_digest(good), size=len(good)) == good == data


def blob_seeds() -> Sequence[bytes]:
    return [bytes(range(256)) * 5]


def log_database(data: bytes) -> None:
    path = emptied("log") / "log.sqlite"
    path.write_bytes(data)
    store = SqliteStore(path, create=True)
    try:
        log = Log(store, ORIGIN, key_of("sequencer"))
        log.entries()
        log.checkpoint()
    finally:
        store.close()


def file_of(path: Path) -> bytes:
    """The whole database in one file."""
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode=DELETE")
    connection.close()
    return path.read_bytes()


def log_database_seeds() -> Sequence[bytes]:
    path = emptied("seed") / "log.sqlite"
    federation = Federation(SqliteStore(path, create=True))
    federation.grow(5)
    federation.store.close()
    return [file_of(path)]


def witness_database(data: bytes) -> None:
    path = emptied("witness") / "witness.sqlite"
    path.write_bytes(data)
    store = SqliteWitnessStore(path)
    try:
        assert Witness(NAMES[0], key_of(NAMES[0]), SEQUENCER, store).size in (0, TREE)
    finally:
        store.close()


def witness_database_seeds() -> Sequence[bytes]:
    path = emptied("seed") / "witness.sqlite"
    store = SqliteWitnessStore(path)
    witness = Witness(NAMES[0], key_of(NAMES[0]), SEQUENCER, store)
    witness.add_checkpoint(0, [], certified()[1].note, now=NOW)
    store.close()
    return [file_of(path)]


FILE_TARGETS = (
    Target(
        "ledger.published", read_folder, (DecodeError, ProofError, StoreError), folder_seeds, other_folder, share=0.3,
        slack=4 * MAX_NOTE, multiple=40,
    ),
    Target("ledger.blob", read_blob, (BlobError,), blob_seeds, share=0.5),
    Target("ledger.log-database", log_database, (StoreError, StateError), log_database_seeds, share=0.1, slack=1 << 17),
    Target(
        "ledger.witness-database", witness_database, (StoreError,), witness_database_seeds, share=0.1, slack=1 << 17
    ),
)  # fmt: skip
