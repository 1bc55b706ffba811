"""Cosignatures: a witness's timestamped statement that a checkpoint is the largest consistent one it has seen.

Spec: C2SP tlog-cosignature, types 0x04 (`cosignature/v1`, Ed25519) and 0x06 (`subtree/v1`, ML-DSA-44). Times are POSIX
seconds, and what the cosigner states: no rule of validity depends on them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from .checkpoint import MAX_TIME, TIME_SIZE, parse_checkpoint, verify_subtree
from .errors import SignatureError
from .mldsa import MlDsaKey, subtree_message
from .note import COSIGNATURE_V1, MLDSA44, Note, NoteSignature, VerifierKey, parse_note
from .signing import SIGNATURE_SIZE, SigningKey, verify_strict

__all__ = ["COSIGNER_KINDS", "MAX_TIME", "Cosignature", "CosigningKey", "cosign", "cosigner", "verify_cosignature"]

CosigningKey = SigningKey | MlDsaKey
"""What a witness signs with: Ed25519 makes cosignatures of type 0x04, ML-DSA-44 of type 0x06."""
COSIGNER_KINDS: Final = (COSIGNATURE_V1, MLDSA44)
"""The signature types that cosign."""


@dataclass(frozen=True, slots=True)
class Cosignature:
    """A verified cosignature. Units: time in POSIX seconds, as the witness states it."""

    name: str
    time: int

    def __post_init__(self) -> None:
        if not 0 <= self.time <= MAX_TIME:
            raise ValueError("a cosignature's time is in [0, 2^63 - 1] seconds")


def cosigner(name: str, key: CosigningKey) -> VerifierKey:
    """The public key under which a cosigner of this name is known, for a policy.

    Raises:
        ValueError: the name is no key name.
    """
    return VerifierKey(name, MLDSA44 if isinstance(key, MlDsaKey) else COSIGNATURE_V1, key.public)


def cosign(checkpoint_note: bytes, name: str, key: CosigningKey, *, now: int) -> str:
    """Cosign a checkpoint and return the signature line, newline included.

    Run by: a witness, through `ledger.witness.Witness`, which first checks consistency and persists. Called directly it
    checks only that the note holds a checkpoint.

    Raises:
        DecodeError: the note does not hold a checkpoint.
        ValueError: the name is no key name, the time is out of range, or the origin is too long for ML-DSA-44.
    """
    text = parse_note(checkpoint_note).text
    point = parse_checkpoint(text)
    Cosignature(name, now)
    if isinstance(key, MlDsaKey):
        message = subtree_message(name, now, point.origin, point.size, point.root)
    else:
        message = _message(text, now)
    signature = now.to_bytes(TIME_SIZE, "big") + key.sign(message)
    return NoteSignature(name, cosigner(name, key).key_id, signature).line()


def verify_cosignature(note: Note, witness: VerifierKey) -> Cosignature | None:
    """Verify every cosignature of one witness on a note; None if there is none, else the latest.

    Run by: anyone.

    Raises:
        DecodeError: an ML-DSA-44 cosignature on a note that holds no checkpoint.
        SignatureError: a signature line under the witness's name and key ID does not verify; `culprits` is the witness.
        ValueError: the key is not of type 0x04 or 0x06.
    """
    if witness.kind not in COSIGNER_KINDS:
        raise ValueError(f"{witness.name}: not a key of signature type 0x04 or 0x06")
    found = note.signatures_by(witness)
    if not found:
        return None
    if witness.kind == MLDSA44:
        point = parse_checkpoint(note.text)
        times = [verify_subtree(point, signature, witness) for signature in found]
    else:
        times = [_verified_time(note.text, signature, witness) for signature in found]
    return Cosignature(witness.name, max(times))


def _verified_time(text: str, signature: bytes, witness: VerifierKey) -> int:
    if len(signature) != TIME_SIZE + SIGNATURE_SIZE:
        raise SignatureError(f"the cosignature by {witness.name} has a wrong length", culprits=(witness.name,))
    time = int.from_bytes(signature[:TIME_SIZE], "big")
    if time > MAX_TIME:
        raise SignatureError(f"the cosignature by {witness.name} has a time over 2^63 - 1", culprits=(witness.name,))
    try:
        verify_strict(witness.public, signature[TIME_SIZE:], _message(text, time))
    except SignatureError as exc:
        raise SignatureError(f"the cosignature by {witness.name} is bad: {exc}", culprits=(witness.name,)) from exc
    return time


def _message(text: str, time: int) -> bytes:
    return f"cosignature/v1\ntime {time}\n{text}".encode()
