"""Having a log's checkpoint cosigned by a quorum of witnesses.

Run by: the sequencer. Spec: C2SP tlog-witness, the log's side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from .checkpoint import verify_checkpoint
from .cosign import verify_cosignature
from .errors import (
    DecodeError,
    EquivocationError,
    LedgerError,
    QuorumError,
    SignatureError,
    SizeConflictError,
    StateError,
)
from .note import Note, NoteSignature, VerifierKey, parse_note, parse_signature_line
from .policy import Certificate, Policy

__all__ = ["CertifiableLog", "CosigningWitness", "certify"]


class CertifiableLog(Protocol):
    """What `certify` needs of a log: `ledger.log.Log`, or one that is pinned to a size while it grows."""

    @property
    def origin(self) -> str:
        """The log's name."""
        ...

    @property
    def verifier(self) -> VerifierKey:
        """The log's public key."""
        ...

    @property
    def size(self) -> int:
        """The size that is to be certified."""
        ...

    def checkpoint(self) -> bytes:
        """The checkpoint of that size, signed by the log."""
        ...

    def consistency_proof(self, old: int, new: int) -> list[bytes]:
        """The proof that the first `new` entries begin with the first `old`."""
        ...

    def keep_certificate(self, certificate: Certificate) -> None:
        """Keep the certificate durably."""
        ...


class CosigningWitness(Protocol):
    """What `certify` needs of a witness, near or far. A far one raises OSError (ConnectionError, TimeoutError)."""

    @property
    def size(self) -> int:
        """The size it last cosigned, 0 before the first."""
        ...

    def add_checkpoint(self, old_size: int, proof: Sequence[bytes], note: bytes, *, now: int) -> str:
        """Cosign a checkpoint; see `ledger.witness.Witness.add_checkpoint`."""
        ...


def certify(
    log: CertifiableLog, witnesses: Mapping[str, CosigningWitness | None], policy: Policy, *, now: int
) -> Certificate:
    """Have the log's current checkpoint cosigned by a quorum, and keep the certificate in the log.

    Run by: the sequencer.  Units: now in POSIX seconds.  `witnesses` maps names of the policy to witnesses, None for
    one that cannot be reached. Every reachable one is asked, once more if it answers with the size it has cosigned; an
    answer that is late, refused or bad counts as missing.

    Raises:
        QuorumError: too few cosigned; it names needed, have and missing, and each witness's reason.
        EquivocationError: a witness proved that this log signed two roots for one size.
        ValueError: the policy is of another log, or `witnesses` has a name the policy does not know.
    """
    if policy.origin != log.origin or policy.log_key != log.verifier:
        raise ValueError(f"the policy is of {policy.origin}, the log is {log.origin}")
    unknown = set(witnesses) - {key.name for key in policy.witnesses}
    if unknown:
        raise ValueError(f"not witnesses of this policy: {', '.join(sorted(unknown))}")
    note = parse_note(log.checkpoint())
    lines: dict[str, NoteSignature] = {}
    reasons: list[str] = []
    culprits: list[str] = []
    for key in policy.witnesses:
        witness = witnesses.get(key.name)
        if witness is None:
            continue
        try:
            lines[key.name] = _ask(log, witness, key, note, now)
        except EquivocationError as exc:
            if _proves_equivocation(exc.evidence, log.verifier):
                raise
            reasons.append(f"{key.name}: claims an equivocation that its evidence does not prove")
            culprits.append(key.name)
        except (LedgerError, OSError) as exc:
            reasons.append(f"{key.name}: {exc}")
            if isinstance(exc, DecodeError | SignatureError):
                culprits.append(key.name)
    if len(lines) < policy.needed:
        missing = tuple(key.name for key in policy.witnesses if key.name not in lines)
        raise QuorumError(
            needed=policy.needed, have=tuple(lines), missing=missing, reasons=tuple(reasons), culprits=tuple(culprits)
        )
    certificate = policy.verify(Note(note.text, (*note.signatures, *lines.values())).encode())
    log.keep_certificate(certificate)
    return certificate


def _ask(log: CertifiableLog, witness: CosigningWitness, key: VerifierKey, note: Note, now: int) -> NoteSignature:
    """Ask one witness, with a proof from the size that it last cosigned, and verify its answer."""
    old = witness.size
    try:
        return _ask_from(log, witness, old, key, note, now)
    except SizeConflictError as exc:
        if exc.size == old:
            raise
        return _ask_from(log, witness, exc.size, key, note, now)


def _ask_from(
    log: CertifiableLog, witness: CosigningWitness, old: int, key: VerifierKey, note: Note, now: int
) -> NoteSignature:
    if not 0 <= old <= log.size:
        raise StateError(
            f"has cosigned size {old}, the log has {log.size} entries: the log was rolled back, or it errs"
        )
    proof = log.consistency_proof(old, log.size) if 0 < old < log.size else []
    answer = parse_signature_line(witness.add_checkpoint(old, proof, note.encode(), now=now))
    try:
        cosigned = Note(note.text, (answer,))
    except ValueError as exc:
        raise DecodeError(f"answered with a signature line that no note can hold: {exc}") from exc
    if verify_cosignature(cosigned, key) is None:
        raise SignatureError(f"answered with a signature line of {answer.name}, which is not its key")
    return answer


def _proves_equivocation(evidence: tuple[bytes, bytes], log_key: VerifierKey) -> bool:
    try:
        one, other = (verify_checkpoint(note, log_key) for note in evidence)
    except (LedgerError, ValueError):
        return False
    return one.size == other.size and one.root != other.root
