"""Checkpoints of logs by others: whatever C2SP tlog-checkpoint allows, and not only what this package writes.

Spec: C2SP tlog-checkpoint, signed-note. An origin may hold spaces and plus signs, extension lines may follow, and the
log's key may have another name than the origin.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from dataclasses import dataclass

from .checkpoint import MAX_SIZE
from .cosign import verify_cosignature
from .errors import DecodeError, SignatureError
from .merkle import HASH_SIZE
from .note import ED25519, MLDSA44, VerifierKey, parse_note, verify_note
from .octets import is_octets

__all__ = ["ForeignCheckpoint", "parse_foreign_checkpoint", "verify_foreign_checkpoint"]


@dataclass(frozen=True, slots=True)
class ForeignCheckpoint:
    """The root of any log's tree at one size. Shapes: root 32 bytes. Units: size in entries.

    `extensions` are opaque: the log says something there that nobody can check.
    """

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not all(line and "\n" not in line for line in (self.origin, *self.extensions)):
            raise ValueError("an origin and an extension are lines that are not empty")
        if not 0 <= self.size <= MAX_SIZE:
            raise ValueError("a tree size is in [0, 2^63 - 1]")
        if not is_octets(self.root, HASH_SIZE):
            raise ValueError(f"a root is {HASH_SIZE} bytes")

    def text(self) -> str:
        """The note text: origin, size, root and extensions, a line each."""
        return "".join(
            f"{line}\n" for line in (self.origin, self.size, b64encode(self.root).decode(), *self.extensions)
        )


def parse_foreign_checkpoint(text: str) -> ForeignCheckpoint:
    """Read a checkpoint's note text, extension lines included.

    Run by: anyone, on the text of a parsed note, which bounds it.

    Raises:
        DecodeError: not the one spelling of a checkpoint.
    """
    lines = text.split("\n")
    if len(lines) < 4 or lines[-1]:
        raise DecodeError("a checkpoint is at least three lines: origin, size and root")
    origin, size, root, *extensions = lines[:-1]
    if not (size.isascii() and size.isdigit() and len(size) <= 19):
        raise DecodeError("a checkpoint's size is decimal digits")
    try:
        hashed = b64decode(root.encode("ascii"), validate=True)
        parsed = ForeignCheckpoint(origin, int(size), hashed, tuple(extensions))
    except ValueError as exc:
        raise DecodeError(f"not a checkpoint: {exc}") from exc
    if parsed.text() != text:
        raise DecodeError("the checkpoint is not in its one spelling")
    return parsed


def verify_foreign_checkpoint(note: bytes, log_key: VerifierKey, *, origin: str | None = None) -> ForeignCheckpoint:
    """Verify that a log's key signed this note, and return its checkpoint. Other signatures are ignored.

    Run by: anyone, on hostile bytes. `origin` is the log's, by default the key's name, as tlog-policy has it: one key
    may sign for several logs, so whoever expects another origin has to say which.

    Raises:
        DecodeError: not a note, not a checkpoint, or of another origin; `culprits` is the key's name.
        SignatureError: not signed by the key.
        ValueError: the key is not of type 0x01 or 0x06: a witness's (0x04) says that it saw a log, not that it is one.
    """
    if log_key.kind not in (ED25519, MLDSA44):
        raise ValueError(f"{log_key.name}: a log's key is of signature type 0x01 or 0x06")
    parsed = parse_note(note)
    if log_key.kind == ED25519:
        verify_note(parsed, log_key)
    elif verify_cosignature(parsed, log_key) is None:
        raise SignatureError(f"the note is not signed by {log_key.name}", culprits=(log_key.name,))
    checkpoint = parse_foreign_checkpoint(parsed.text)
    expected = log_key.name if origin is None else origin
    if checkpoint.origin != expected:
        raise DecodeError(f"the checkpoint is of {checkpoint.origin!r}, not of {expected!r}", culprits=(log_key.name,))
    return checkpoint
