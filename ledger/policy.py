"""Who has to sign a checkpoint before anybody acts on it.

Spec: C2SP tlog-policy for the idea. The quorum rule is that of Byzantine agreement: with n witnesses, of which
f = floor((n - 1) / 3) may be dishonest, n - f cosignatures are needed. Any two such sets share an honest witness, which
never signs two inconsistent checkpoints; so no two inconsistent checkpoints can both be certified.
"""

from __future__ import annotations

from dataclasses import dataclass

from .checkpoint import Checkpoint, verify_checkpoint_note
from .cosign import verify_cosignature
from .errors import QuorumError
from .note import COSIGNATURE_V1, ED25519, MAX_NOTE, MAX_SIGNATURES, VerifierKey, parse_note
from .octets import is_octets

__all__ = ["Certificate", "Policy", "byzantine_quorum"]


def byzantine_quorum(n: int) -> int:
    """The cosignatures a certificate needs among `n` witnesses: n - floor((n - 1) / 3)."""
    if n < 1:
        raise ValueError("a policy has at least one witness")
    return n - (n - 1) // 3


@dataclass(frozen=True, slots=True)
class Certificate:
    """A checkpoint with enough cosignatures. Made by `Policy.verify`; `note` is what was verified."""

    checkpoint: Checkpoint
    cosigners: tuple[str, ...]
    note: bytes

    def __post_init__(self) -> None:
        if not self.cosigners or len(set(self.cosigners)) != len(self.cosigners):
            raise ValueError("a certificate names its cosigners, each once")
        if not is_octets(self.note, 1, MAX_NOTE) or not self.note.startswith(f"{self.checkpoint.text()}\n".encode()):
            raise ValueError("a certificate's note holds its checkpoint")


@dataclass(frozen=True, slots=True)
class Policy:
    """The log's key, the witnesses' keys and the quorum.

    `log_key` is of type 0x01 and named as the origin; `witnesses` are of type 0x04 with distinct names and distinct
    public keys. `quorum` defaults to `byzantine_quorum`; less is refused:
    with n = 3f + 1 witnesses it admits conflicting certificates.
    """

    origin: str
    log_key: VerifierKey
    witnesses: tuple[VerifierKey, ...]
    quorum: int | None = None

    def __post_init__(self) -> None:
        if self.log_key.kind != ED25519 or self.log_key.name != self.origin:
            raise ValueError("the log's key is of signature type 0x01 and named as the origin")
        if len(self.witnesses) >= MAX_SIGNATURES:
            raise ValueError(f"a note holds the signatures of at most {MAX_SIGNATURES - 1} witnesses")
        if any(witness.kind != COSIGNATURE_V1 for witness in self.witnesses):
            raise ValueError("a witness's key is of signature type 0x04")
        if len({witness.name for witness in self.witnesses}) != len(self.witnesses):
            raise ValueError("two witnesses have one name")
        if len({witness.public for witness in self.witnesses}) != len(self.witnesses):
            raise ValueError("one public key is registered for two witnesses")
        if self.log_key.public in {witness.public for witness in self.witnesses}:
            raise ValueError("the log's key is registered as a witness")
        least = byzantine_quorum(len(self.witnesses))
        if self.quorum is not None and not least <= self.quorum <= len(self.witnesses):
            raise ValueError(f"the quorum of {len(self.witnesses)} witnesses is {least} to {len(self.witnesses)}")

    @property
    def needed(self) -> int:
        """How many cosignatures a certificate takes."""
        return byzantine_quorum(len(self.witnesses)) if self.quorum is None else self.quorum

    def verify(self, note: bytes) -> Certificate:
        """Verify the log's signature and a quorum of cosignatures.

        Run by: anyone, on hostile bytes.  Signatures by unknown keys are ignored.

        Raises:
            DecodeError: not a note with a checkpoint of this origin.
            SignatureError: the log did not sign, or a signature under a known key is bad.
            QuorumError: too few witnesses cosigned.
        """
        parsed = parse_note(note)
        checkpoint = verify_checkpoint_note(parsed, self.log_key)
        signed = {witness.name: verify_cosignature(parsed, witness) is not None for witness in self.witnesses}
        have = tuple(name for name, present in signed.items() if present)
        if len(have) < self.needed:
            missing = tuple(name for name, present in signed.items() if not present)
            raise QuorumError(needed=self.needed, have=have, missing=missing)
        return Certificate(checkpoint, have, bytes(note))
