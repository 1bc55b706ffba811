"""What anybody may publish: proofs in files, checkpoints and tiles of foreign logs, and whole logs that are shown."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from random import Random

from ledger import DecodeError, EquivocationError, ProofError, SignatureError, StoreError
from ledger.foreign import parse_foreign_checkpoint
from ledger.merkle import leaf_hash
from ledger.proof import LogProof, parse_proof
from ledger.published import published_entry
from ledger.source import CHECKPOINT, FileSource
from ledger.tile import Tile, decode_bundle, encode_bundle, tiles_of
from ledger.verify import verify_log
from tests.fuzz.ledger_targets import SEQUENCER, TREE, bytes_of, certified, other_lines, text_of
from tests.fuzz.mutation import altered
from tests.fuzz.target import Target

__all__ = ["PUBLISHED_TARGETS"]

LARGEST = 1 << 20  # what a source hands out at most here: a bundle may have sixteen times that
FOREIGN = Path(__file__).parents[1] / "ledger" / "foreign" / "log"

# Proofs in files


def read_log_proof(data: bytes) -> None:
    proof = parse_proof(data)
    assert proof.encode() == data
    federation, _ = certified()
    entry = federation.log.entry(proof.index) if proof.index < TREE else b""
    proof.verify(entry, SEQUENCER)
    assert leaf_hash(entry) == federation.log.subtree(0, proof.index)


def log_proof_seeds() -> Sequence[bytes]:
    federation, certificate = certified()
    proofs = [(i, tuple(federation.log.inclusion_proof(i, TREE))) for i in (0, 17, TREE - 1)]
    return [LogProof(i, path, certificate.note, extra).encode() for i, path in proofs for extra in (b"", b"extra")]


# Checkpoints and bundles of others


def read_foreign(data: bytes) -> None:
    text = text_of(data)
    assert bytes_of(parse_foreign_checkpoint(text).text()) == data


def foreign_seeds() -> Sequence[bytes]:
    notes = [path.read_bytes() for path in sorted(FOREIGN.glob("checkpoint*"))]
    return [note[: note.rindex(b"\n\n") + 1] for note in notes]


def read_bundle(data: bytes) -> None:
    entries = decode_bundle(data)
    assert encode_bundle(entries) == data
    source = FileSource(lambda path, limit: data if path == "tile/entries/000" else None, "input")
    assert source.bundle(Tile(0, 0, 3)) == entries[:3]


def bundle_seeds() -> Sequence[bytes]:
    return [b"", encode_bundle([b""]), encode_bundle([b"a", b"", b"ccc"]), encode_bundle([b"x"] * 256)]


# A whole log, under a checkpoint that the log signed


@cache
def _names() -> tuple[str, ...]:
    tiles = list(tiles_of(TREE))
    return (CHECKPOINT, *(tile.path() for tile in tiles), *(tile.bundle_path() for tile in tiles if tile.level == 0))


def _parted(data: bytes) -> dict[str, bytes]:
    """The files of an input; one that is missing is empty, and then the source has none of that name."""
    files, at = {}, 0
    for name in _names():
        size = int.from_bytes(data[at : at + 3], "big")
        files[name] = data[at + 3 : at + 3 + size]
        at += 3 + size
    return files


def _joined(files: Sequence[bytes]) -> bytes:
    return b"".join(len(file).to_bytes(3, "big") + file for file in files)


def read_shown_log(data: bytes) -> None:
    """Whatever the files are: only entries of the log are shown, as the checkpoint is signed."""
    files = _parted(data)
    federation, certificate = certified()

    def read(path: str, limit: int) -> bytes | None:
        file = files.get(path) or None
        if file is not None and len(file) > min(limit, LARGEST):
            raise StoreError(f"{path} is too large")
        return file

    source = FileSource(read, "input")
    shown: list[bytes] = []
    try:
        report = verify_log(source, SEQUENCER, old=certificate.note, on_entry=lambda _, entry: shown.append(entry))
        assert published_entry(source, report, 17).entry == shown[17]
    finally:
        assert shown == federation.log.entries(0, len(shown))
    assert len(shown) == report.size == TREE


def shown_log_seeds() -> Sequence[bytes]:
    federation, certificate = certified()
    files = [certificate.note]
    files += [federation.log.tile(tile) for tile in tiles_of(TREE)]
    files += [encode_bundle(federation.log.entries(t.start, t.start + t.width)) for t in tiles_of(TREE) if not t.level]
    return [_joined(files)]


def other_shown_log(rng: Random, data: bytes) -> bytes:
    """One file changed, and the leaf hashes mended or not."""
    files = _parted(data)
    name = rng.choice(_names())
    files[name] = altered(rng, files[name])
    if rng.random() < 0.5:
        for tile in (Tile(0, 0), Tile(0, 1, TREE - 256)):
            try:
                entries = decode_bundle(files[tile.bundle_path()])
            except DecodeError:
                continue
            files[tile.path()] = b"".join(leaf_hash(entry) for entry in entries)
    return _joined([file[: (1 << 24) - 1] for file in files.values()])


PUBLISHED_TARGETS = (
    Target(
        "ledger.log-proof", read_log_proof, (DecodeError, ProofError, SignatureError), log_proof_seeds, other_lines,
        share=2, slack=1 << 16,
    ),
    Target("ledger.foreign-checkpoint", read_foreign, (DecodeError,), foreign_seeds, other_lines),
    Target("ledger.bundle", read_bundle, (DecodeError,), bundle_seeds, slack=1 << 16, multiple=64),
    Target(
        "ledger.shown-log", read_shown_log, (DecodeError, EquivocationError, ProofError, SignatureError, StoreError),
        shown_log_seeds, other_shown_log, share=0.3, slack=1 << 18, multiple=40,
    ),
)  # fmt: skip
