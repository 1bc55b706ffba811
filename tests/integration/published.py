"""The published ledger as an attacker edits it: bundles, level-0 tiles and checkpoint, each alone or together.

The runs of these tests have fewer than 256 entries, so the ledger is one bundle and one tile.
"""

import base64
from pathlib import Path

from ledger import Note, Tree, leaf_hash, parse_checkpoint, parse_note, read_published
from secure_bfl.layout import PublicFolder


def entries_of(folder: PublicFolder) -> list[bytes]:
    return read_published(folder.ledger).entries


def bundle_path(folder: PublicFolder, size: int) -> Path:
    return folder.ledger / "tile" / "entries" / "000.p" / str(size)


def tile_path(folder: PublicFolder, size: int) -> Path:
    return folder.ledger / "tile" / "0" / "000.p" / str(size)


def write_entries(folder: PublicFolder, size: int, entries: list[bytes]) -> None:
    """Replace the entries of the bundle for `size`, and nothing else."""
    path = bundle_path(folder, size)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries))


def write_hashes(folder: PublicFolder, size: int, entries: list[bytes]) -> None:
    """Make the level-0 tile fit the entries."""
    path = tile_path(folder, size)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(leaf_hash(entry) for entry in entries))


def note_of(folder: PublicFolder) -> Note:
    return parse_note((folder.ledger / "checkpoint").read_bytes())


def write_note(folder: PublicFolder, note: Note) -> None:
    (folder.ledger / "checkpoint").write_bytes(note.encode())


def write_root(folder: PublicFolder, entries: list[bytes]) -> None:
    """State another size and root under the old signatures."""
    note = note_of(folder)
    origin = parse_checkpoint(note.text).origin
    root = base64.b64encode(Tree([leaf_hash(entry) for entry in entries]).root()).decode()
    write_note(folder, Note(f"{origin}\n{len(entries)}\n{root}\n", note.signatures))


def flip(path: Path, *, at: int | None = None) -> None:
    """Change one bit of one byte, in the middle unless told."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2 if at is None else at] ^= 0x10
    path.write_bytes(bytes(data))
