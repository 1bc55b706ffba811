"""Having a log's checkpoint cosigned by a quorum of witnesses.

Run by: the sequencer. Spec: C2SP tlog-witness, the log's side. Witnesses of this process are asked in turn, all others
at once, each in a thread of its own, with one time limit: those that are slow on purpose hold nobody up together longer
than one of them alone. The log is read by the calling thread only.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Final, Protocol

from .checkpoint import parse_checkpoint, verify_checkpoint
from .cosign import verify_cosignature
from .errors import (
    DecodeError,
    EquivocationError,
    LedgerError,
    QuorumError,
    RolledBackError,
    SignatureError,
    SizeConflictError,
    StateError,
)
from .note import Note, NoteSignature, VerifierKey, parse_note, parse_signature_line
from .policy import Certificate, Policy, byzantine_quorum
from .witness import Witness

__all__ = ["CertifiableLog", "CosigningWitness", "certify"]

_TIMEOUT: Final = 5.0


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


class _AheadError(StateError):
    """A witness has cosigned more than the log has."""


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
    log: CertifiableLog,
    witnesses: Mapping[str, CosigningWitness | None],
    policy: Policy,
    *,
    now: int,
    timeout: float = _TIMEOUT,
) -> Certificate:
    """Have the log's current checkpoint cosigned by a quorum, and keep the certificate in the log.

    Run by: the sequencer.  Units: now in POSIX seconds; timeout in seconds, for all witnesses together.  `witnesses`
    maps names of the policy to witnesses, None for one that cannot be reached. Every reachable one is asked, once more
    if it answers with the size it has cosigned; an answer that is late, refused or bad counts as missing. One that is
    no `ledger.witness.Witness` is asked in a thread, which is left behind if it does not answer in time.

    Raises:
        QuorumError: too few cosigned; it names needed, have and missing, and each witness's reason.
        EquivocationError: a witness proved that this log signed two roots for one size.
        RolledBackError: the same, and more than f of the n witnesses, f = (n - 1) // 3, have cosigned more than the log
            has.
        ValueError: the policy is of another log, `witnesses` has a name the policy does not know, or no time is given.
    """
    if policy.origin != log.origin or policy.log_key != log.verifier:
        raise ValueError(f"the policy is of {policy.origin}, the log is {log.origin}")
    unknown = set(witnesses) - {key.name for key in policy.witnesses}
    if unknown:
        raise ValueError(f"not witnesses of this policy: {', '.join(sorted(unknown))}")
    if not 0 < timeout <= threading.TIMEOUT_MAX:
        raise ValueError("witnesses are given some time: a timeout above 0 seconds")
    note = parse_note(log.checkpoint())
    reached = {key: witness for key in policy.witnesses if (witness := witnesses.get(key.name)) is not None}
    answers = _ask_all(log, reached, note, now, timeout)
    lines: dict[str, NoteSignature] = {}
    reasons: list[str] = []
    culprits: list[str] = []
    for key in reached:
        answer = answers[key.name]
        if isinstance(answer, NoteSignature):
            lines[key.name] = answer
            continue
        if isinstance(answer, EquivocationError):
            if _proves_equivocation(answer.evidence, log.verifier):
                raise answer
            answer = DecodeError("claims an equivocation that its evidence does not prove")
        kind = "" if isinstance(answer, LedgerError | OSError) else f"{type(answer).__name__}: "
        reasons.append(f"{key.name}: {kind}{answer}")
        if isinstance(answer, DecodeError | SignatureError):
            culprits.append(key.name)
    if len(lines) < policy.needed:
        missing = tuple(key.name for key in policy.witnesses if key.name not in lines)
        ahead = [name for name, answer in answers.items() if isinstance(answer, _AheadError)]
        error = QuorumError
        if len(ahead) > len(policy.witnesses) - byzantine_quorum(len(policy.witnesses)):
            error = RolledBackError
            reasons.append(
                f"{log.origin} was rolled back: {', '.join(ahead)} cosigned more than its {log.size} entries; never go "
                "on from here, bring back the newest copy, or found a new log under another origin"
            )
        raise error(
            needed=policy.needed, have=tuple(lines), missing=missing, reasons=tuple(reasons), culprits=tuple(culprits)
        )
    certificate = policy.verify(Note(note.text, (*note.signatures, *lines.values())).encode())
    log.keep_certificate(certificate)
    return certificate


_Prove = Callable[[int], Sequence[bytes]]


def _ask_all(
    log: CertifiableLog, witnesses: Mapping[VerifierKey, CosigningWitness], note: Note, now: int, timeout: float
) -> dict[str, NoteSignature | Exception]:
    """Each witness's cosignature, or why there is none."""
    size = parse_checkpoint(note.text).size

    def prove(old: int) -> Sequence[bytes]:
        return log.consistency_proof(old, size) if 0 < old < size else []

    far = {key: witness for key, witness in witnesses.items() if not isinstance(witness, Witness)}
    answers: dict[str, NoteSignature | Exception] = {}
    with _FarWitnesses(far, note, size, now, timeout) as asked:
        for key, witness in witnesses.items():
            if key not in far:
                try:
                    answers[key.name] = _ask(prove, witness, key, note, size, now)
                except (LedgerError, OSError) as exc:
                    answers[key.name] = exc
        return answers | asked.answers(prove)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A thread wants the proof that starts from this size."""

    name: str
    old: int


@dataclass(frozen=True, slots=True)
class _Answered:
    """What a thread came to, by whatever its witness did."""

    name: str
    answer: NoteSignature | Exception


class _FarWitnesses:
    """Witnesses that are asked in threads, for a time. The thread that calls `answers` makes the proofs they need."""

    def __init__(
        self, witnesses: Mapping[VerifierKey, CosigningWitness], note: Note, size: int, now: int, timeout: float
    ) -> None:
        self._witnesses = witnesses
        self._note = note
        self._size = size
        self._now = now
        self._timeout = timeout
        self._events: SimpleQueue[_Wanted | _Answered | None] = SimpleQueue()  # None: the time is up
        self._timer = threading.Timer(timeout, self._events.put, (None,))
        self._timer.daemon = True
        self._proofs: dict[str, SimpleQueue[Sequence[bytes] | Exception]] = {k.name: SimpleQueue() for k in witnesses}

    def __enter__(self) -> _FarWitnesses:
        if self._witnesses:
            self._timer.start()
        for key, witness in self._witnesses.items():
            threading.Thread(target=self._run, args=(witness, key), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        for proofs in self._proofs.values():  # a thread that still wants a proof ends
            proofs.put(TimeoutError("asked for a proof when the time was up"))

    def answers(self, prove: _Prove) -> dict[str, NoteSignature | Exception]:
        """What they answered before the time was up, and of the others that they did not."""
        late = TimeoutError(f"no answer within {self._timeout:g} seconds")
        found: dict[str, NoteSignature | Exception] = {}
        while len(found) < len(self._witnesses) and (event := self._events.get()) is not None:
            if isinstance(event, _Answered):
                found[event.name] = event.answer
                continue
            try:
                self._proofs[event.name].put(prove(event.old))
            except LedgerError as exc:
                self._proofs[event.name].put(exc)
        return {key.name: found.get(key.name, late) for key in self._witnesses}

    def _run(self, witness: CosigningWitness, key: VerifierKey) -> None:
        def prove(old: int) -> Sequence[bytes]:
            self._events.put(_Wanted(key.name, old))
            proof = self._proofs[key.name].get()
            if isinstance(proof, Exception):
                raise proof
            return proof

        try:
            answer: NoteSignature | Exception = _ask(prove, witness, key, self._note, self._size, self._now)
        except Exception as exc:  # noqa: BLE001 - whatever a stranger brings about, the others are asked all the same
            answer = exc
        self._events.put(_Answered(key.name, answer))


def _ask(prove: _Prove, witness: CosigningWitness, key: VerifierKey, note: Note, size: int, now: int) -> NoteSignature:
    """Ask one witness, with a proof from the size that it last cosigned, and verify its answer."""
    old = witness.size
    try:
        return _ask_from(prove, witness, old, key, note, size, now)
    except SizeConflictError as exc:
        if exc.size == old:
            raise
        return _ask_from(prove, witness, exc.size, key, note, size, now)


def _ask_from(
    prove: _Prove, witness: CosigningWitness, old: int, key: VerifierKey, note: Note, size: int, now: int
) -> NoteSignature:
    if not 0 <= old <= size:
        raise _AheadError(f"has cosigned size {old}, the log has {size} entries: the log was rolled back, or it errs")
    answer = parse_signature_line(witness.add_checkpoint(old, prove(old), note.encode(), now=now))
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
