"""Cosignatures: a witness's timestamped statement that a checkpoint is the largest consistent one it has seen.

Spec: C2SP tlog-cosignature, type 0x04 (`cosignature/v1`, Ed25519). Times are POSIX seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from .checkpoint import parse_checkpoint
from .errors import SignatureError
from .note import COSIGNATURE_V1, Note, NoteSignature, VerifierKey, parse_note
from .signing import SIGNATURE_SIZE, SigningKey, verify_strict

__all__ = ["MAX_TIME", "Cosignature", "cosign", "verify_cosignature"]

MAX_TIME: Final = 2**63 - 1
_TIME_SIZE: Final = 8


@dataclass(frozen=True, slots=True)
class Cosignature:
    """A verified cosignature. Units: time in POSIX seconds, as the witness states it."""

    name: str
    time: int

    def __post_init__(self) -> None:
        if not 0 <= self.time <= MAX_TIME:
            raise ValueError("a cosignature's time is in [0, 2^63 - 1] seconds")


def cosign(checkpoint_note: bytes, name: str, key: SigningKey, *, now: int) -> str:
    """Cosign a checkpoint and return the signature line, newline included.

    Run by: a witness, through `ledger.witness.Witness`, which first checks consistency and persists. Called directly it
    checks only that the note holds a checkpoint.

    Raises:
        DecodeError: the note does not hold a checkpoint.
        ValueError: the name is no key name, or the time is out of range.
    """
    text = parse_note(checkpoint_note).text
    parse_checkpoint(text)
    Cosignature(name, now)
    signature = now.to_bytes(_TIME_SIZE, "big") + key.sign(_message(text, now))
    return NoteSignature(name, VerifierKey(name, COSIGNATURE_V1, key.public).key_id, signature).line()


def verify_cosignature(note: Note, witness: VerifierKey) -> Cosignature | None:
    """Verify every cosignature of one witness on a note; None if there is none, else the latest.

    Run by: anyone.

    Raises:
        SignatureError: a signature line under the witness's name and key ID does not verify; `culprits` is the witness.
        ValueError: the key is not of type 0x04.
    """
    if witness.kind != COSIGNATURE_V1:
        raise ValueError(f"{witness.name}: not a key of signature type 0x04")
    times = [_verified_time(note.text, signature, witness) for signature in note.signatures_by(witness)]
    return Cosignature(witness.name, max(times)) if times else None


def _verified_time(text: str, signature: bytes, witness: VerifierKey) -> int:
    if len(signature) != _TIME_SIZE + SIGNATURE_SIZE:
        raise SignatureError(f"the cosignature by {witness.name} has a wrong length", culprits=(witness.name,))
    time = int.from_bytes(signature[:_TIME_SIZE], "big")
    if time > MAX_TIME:
        raise SignatureError(f"the cosignature by {witness.name} has a time over 2^63 - 1", culprits=(witness.name,))
    try:
        verify_strict(witness.public, signature[_TIME_SIZE:], _message(text, time))
    except SignatureError as exc:
        raise SignatureError(f"the cosignature by {witness.name} is bad: {exc}", culprits=(witness.name,)) from exc
    return time


def _message(text: str, time: int) -> bytes:
    return f"cosignature/v1\ntime {time}\n{text}".encode()
