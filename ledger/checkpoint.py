"""Checkpoints: the signed size and root of a log.

Spec: C2SP tlog-checkpoint v1, with two restrictions: no extension lines, and the log's key name is its origin. A log
signs with Ed25519 (type 0x01); checkpoints that other logs signed with ML-DSA-44 (type 0x06) are verified too.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from dataclasses import dataclass
from typing import Final

from .errors import DecodeError, SignatureError
from .merkle import EMPTY_ROOT, HASH_SIZE
from .mldsa import MLDSA44_SIGNATURE_SIZE, subtree_message, verify_mldsa44
from .note import MLDSA44, Note, VerifierKey, parse_note, sign_note, verify_note
from .octets import is_octets
from .signing import SigningKey

__all__ = [
    "MAX_SIZE",
    "MAX_TIME",
    "Checkpoint",
    "parse_checkpoint",
    "sign_checkpoint",
    "verify_checkpoint",
    "verify_checkpoint_note",
    "verify_subtree",
]

MAX_SIZE: Final = 2**63 - 1
MAX_TIME: Final = 2**63 - 1
TIME_SIZE: Final = 8


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The root of a log's tree at one size. Shapes: root 32 bytes. Units: size in entries."""

    origin: str
    size: int
    root: bytes

    def __post_init__(self) -> None:
        if not self.origin or "+" in self.origin or any(c.isspace() or c < " " for c in self.origin):
            raise ValueError("an origin is not empty and has no spaces, control characters or plus")
        if not 0 <= self.size <= MAX_SIZE:
            raise ValueError("a tree size is in [0, 2^63 - 1]")
        if not is_octets(self.root, HASH_SIZE):
            raise ValueError(f"a root is {HASH_SIZE} bytes")
        if self.size == 0 and self.root != EMPTY_ROOT:
            raise ValueError("the root of an empty tree is SHA-256 of nothing")

    def text(self) -> str:
        """The note text: origin, size and root, a line each."""
        return f"{self.origin}\n{self.size}\n{b64encode(self.root).decode()}\n"


def parse_checkpoint(text: str) -> Checkpoint:
    """Read a checkpoint's note text.

    Raises:
        DecodeError: not the one spelling of a checkpoint, or it has extension lines.
    """
    lines = text.split("\n")
    if len(lines) != 4 or lines[3]:
        raise DecodeError("a checkpoint is three lines: origin, size and root; extension lines are refused")
    origin, size, root = lines[:3]
    if not (size.isascii() and size.isdigit() and len(size) <= 19):
        raise DecodeError("a checkpoint's size is decimal digits")
    try:
        parsed = Checkpoint(origin, int(size), b64decode(root.encode("ascii"), validate=True))
    except ValueError as exc:
        raise DecodeError(f"not a checkpoint: {exc}") from exc
    if parsed.text() != text:
        raise DecodeError("the checkpoint is not in its one spelling")
    return parsed


def sign_checkpoint(checkpoint: Checkpoint, key: SigningKey) -> bytes:
    """Sign a checkpoint as the log; the key name is the origin.

    Run by: the log, never for two roots of one size (`ledger.log.Log` sees to that).
    """
    return sign_note(checkpoint.text(), checkpoint.origin, key).encode()


def verify_checkpoint(note: bytes, log_key: VerifierKey) -> Checkpoint:
    """Verify that the log signed this note, and return its checkpoint.

    Run by: anyone, on hostile bytes.

    Raises:
        DecodeError: not a note, not a checkpoint, or of another origin than the key's name.
        SignatureError: not signed by the log.
    """
    return verify_checkpoint_note(parse_note(note), log_key)


def verify_checkpoint_note(note: Note, log_key: VerifierKey) -> Checkpoint:
    """As `verify_checkpoint`, on a note already parsed.

    Raises:
        ValueError: the key is not of type 0x01 or 0x06.
    """
    if log_key.kind == MLDSA44:
        checkpoint = parse_checkpoint(note.text)
        found = note.signatures_by(log_key)
        if not found:
            raise SignatureError(f"the note is not signed by {log_key.name}", culprits=(log_key.name,))
        for signature in found:
            verify_subtree(checkpoint, signature, log_key)
    else:
        verify_note(note, log_key)
        checkpoint = parse_checkpoint(note.text)
    if checkpoint.origin != log_key.name:
        raise DecodeError(f"the checkpoint is of {checkpoint.origin}, not of {log_key.name}", culprits=(log_key.name,))
    return checkpoint


def verify_subtree(checkpoint: Checkpoint, signature: bytes, key: VerifierKey) -> int:
    """Verify one timestamped ML-DSA-44 signature of a whole checkpoint and return its time, 0 where it states none.

    Spec: C2SP tlog-cosignature, `timestamped_signature` and `cosigned_message`.

    Raises:
        SignatureError: a wrong length, a time over 2^63 - 1, or not by this key; `culprits` is the key's name.
    """
    culprits = (key.name,)
    if len(signature) != TIME_SIZE + MLDSA44_SIGNATURE_SIZE:
        raise SignatureError(f"the ML-DSA-44 signature by {key.name} has a wrong length", culprits=culprits)
    time = int.from_bytes(signature[:TIME_SIZE], "big")
    if time > MAX_TIME:
        raise SignatureError(f"the ML-DSA-44 signature by {key.name} has a time over 2^63 - 1", culprits=culprits)
    try:
        message = subtree_message(key.name, time, checkpoint.origin, checkpoint.size, checkpoint.root)
        verify_mldsa44(key.public, signature[TIME_SIZE:], message)
    except (SignatureError, ValueError) as exc:
        raise SignatureError(f"the signature by {key.name} is bad: {exc}", culprits=culprits) from exc
    return time
