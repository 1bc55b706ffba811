"""Evidence that a log equivocated: two notes that it signed, of one size with different roots.

It needs nothing beside the log's public key: anyone can verify it, and nobody can make it against an honest log. The
file is a text: a first line, the log's key, and each note behind a line with its number of bytes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from .checkpoint import Checkpoint, verify_checkpoint
from .errors import DecodeError, ProofError
from .note import ED25519, MAX_NOTE, MLDSA44, VerifierKey, parse_vkey
from .octets import is_octets

__all__ = ["MAX_EVIDENCE", "Equivocation", "ProvenEquivocation", "parse_equivocation"]

_HEADER: Final = b"equivocation/v1\n"
_LENGTH: Final = re.compile(rb"[1-9][0-9]{0,5}")
MAX_EVIDENCE: Final = len(_HEADER) + 3 * MAX_NOTE + 64
"""Bytes that a file of evidence may have."""


@dataclass(frozen=True, slots=True)
class ProvenEquivocation:
    """What verified evidence proves: `origin` signed both `roots` for one size. Made by `Equivocation.verify`."""

    origin: str
    size: int
    roots: tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Equivocation:
    """A log's key and two notes, not verified yet. Shapes: notes 1 to `MAX_NOTE` bytes.

    Raises:
        ValueError: the key is not of type 0x01 or 0x06, or a note is empty or too long.
    """

    log_key: VerifierKey
    first: bytes
    second: bytes

    def __post_init__(self) -> None:
        if self.log_key.kind not in (ED25519, MLDSA44):
            raise ValueError("a log's key is of signature type 0x01 or 0x06")
        if not all(is_octets(note, 1, MAX_NOTE) for note in (self.first, self.second)):
            raise ValueError(f"evidence is two notes of 1 to {MAX_NOTE} bytes")
        if len(self.log_key.to_vkey().encode("utf-8")) > MAX_NOTE:
            raise ValueError("the log's key is longer than a note may be")

    def encode(self) -> bytes:
        """The file that `parse_equivocation` reads."""
        notes = (b"%d\n%b" % (len(note), note) for note in (self.first, self.second))
        return b"".join((_HEADER, self.log_key.to_vkey().encode("utf-8"), b"\n", *notes))

    def verify(self) -> ProvenEquivocation:
        """Verify both signatures, and that the notes contradict each other.

        Run by: anyone who knows whose key `log_key` is.

        Raises:
            DecodeError: a note holds no checkpoint of this log.
            SignatureError: a note is not signed by the log.
            ProofError: the sizes differ or the roots do not: the notes prove nothing.
        """
        one, other = self._checkpoints()
        if one.size != other.size or one.root == other.root:
            raise ProofError(f"two notes of {one.origin}, of size {one.size} and {other.size}, do not contradict")
        return ProvenEquivocation(one.origin, one.size, (one.root, other.root))

    def _checkpoints(self) -> tuple[Checkpoint, Checkpoint]:
        return verify_checkpoint(self.first, self.log_key), verify_checkpoint(self.second, self.log_key)


def parse_equivocation(data: bytes) -> Equivocation:
    """Read a file of evidence; nothing is verified.

    Run by: anyone, on hostile bytes.

    Raises:
        DecodeError: over `MAX_EVIDENCE` bytes, or not the one spelling of evidence.
    """
    if len(data) > MAX_EVIDENCE:
        raise DecodeError(f"evidence of {len(data)} bytes is over {MAX_EVIDENCE}")
    if not data.startswith(_HEADER):
        raise DecodeError("not a file of evidence of an equivocation, version 1")
    vkey, _, rest = data[len(_HEADER) :].partition(b"\n")
    first, rest = _note(rest)
    second, rest = _note(rest)
    try:
        parsed = Equivocation(parse_vkey(vkey.decode("utf-8")), first, second)
    except ValueError as exc:
        raise DecodeError(f"not evidence of an equivocation: {exc}") from exc
    if rest or parsed.encode() != data:
        raise DecodeError("the evidence is not in its one spelling")
    return parsed


def _note(data: bytes) -> tuple[bytes, bytes]:
    """The note at the start, and what follows it."""
    length, newline, rest = data.partition(b"\n")
    if not newline or not _LENGTH.fullmatch(length) or int(length) > len(rest):
        raise DecodeError("evidence has each note behind a line with its number of bytes")
    return rest[: int(length)], rest[int(length) :]
