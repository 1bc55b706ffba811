"""Verifying a whole published log, one's own or anybody's: signatures, entries, tiles, and what was seen before.

Spec: C2SP tlog-tiles, tlog-checkpoint, tlog-policy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from .checkpoint import Checkpoint
from .errors import DecodeError, EquivocationError
from .foreign import ForeignCheckpoint, verify_foreign_checkpoint
from .note import VerifierKey
from .published import published_consistency_proof, verify_published
from .source import LogSource

__all__ = ["CheckpointPolicy", "LogReport", "Trusted", "verify_log"]


class Trusted(Protocol):
    """What a policy returns: `ledger.policy.Certificate` or `ledger.policy_file.TrustedCheckpoint`."""

    @property
    def checkpoint(self) -> Checkpoint:
        """The checkpoint whose signatures were verified."""
        ...

    @property
    def cosigners(self) -> tuple[str, ...]:
        """The witnesses whose cosignatures were verified."""
        ...


TrustedT = TypeVar("TrustedT", bound=Trusted, covariant=True)


class CheckpointPolicy(Protocol[TrustedT]):
    """Whose signatures a checkpoint needs: `ledger.policy.Policy` or `ledger.policy_file.TrustPolicy`."""

    def verify(self, note: bytes) -> TrustedT:
        """Verify the signatures on a note, or raise."""
        ...


@dataclass(frozen=True, slots=True)
class LogReport:
    """What `verify_log` verified: all `size` entries, under `root`, which is that of the checkpoint `note`.

    `signers` are the names of the log and the witnesses whose signatures on it were verified, `extensions` its further
    lines, which nobody can check. `since` is the size of the earlier checkpoint that the log was shown to extend, None
    if none was given. Units: size and since in entries.
    """

    origin: str
    size: int
    root: bytes
    signers: tuple[str, ...]
    note: bytes
    extensions: tuple[str, ...] = ()
    since: int | None = None


def verify_log(
    source: LogSource,
    trusted: VerifierKey | CheckpointPolicy[Trusted],
    *,
    origin: str | None = None,
    old: bytes | None = None,
    on_entry: Callable[[int, bytes], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> LogReport:
    """Verify a published log from its newest checkpoint down to every entry.

    Run by: anyone, on a log of anybody's. `trusted` is the log's key, or a policy with its witnesses. `origin` is the
    log's if it is not the key's name. `old` is a checkpoint seen before, which the log must extend. `on_entry` is
    called with every verified entry, in order; `progress` with the numbers of entries verified and in all. Memory does
    not grow with the log.

    Raises:
        ValueError: an origin beside a policy, which has its own.
        DecodeError: there is no checkpoint, or it (or `old`) is none or of another log.
        SignatureError, QuorumError: the signatures on the checkpoint (or on `old`) are not those that it needs.
        EquivocationError: the log signed another root for the size of `old`; `evidence` is the two notes.
        ConsistencyError: the log does not extend `old`: it was rolled back, or showed two histories.
        ProofError: the first file that is missing or was changed, by name.
        StoreError, RemoteError: a file cannot be read, or is larger than it may be.
    """
    note = source.checkpoint()
    checkpoint, signers = _verified(note, trusted, origin=origin)
    since = None
    if old is not None:
        before, _ = _verified(old, trusted, origin=origin)
        if before.origin != checkpoint.origin:
            raise DecodeError(
                f"the checkpoint seen before is of {before.origin!r}, this log is {checkpoint.origin!r}: "
                "compare it with that log"
            )
        if before.size == checkpoint.size and before.root != checkpoint.root:
            raise EquivocationError(
                f"{checkpoint.origin} signed two roots for size {before.size}",
                evidence=(bytes(old), note),
                culprits=(checkpoint.origin,),
            )
        published_consistency_proof(source, before, checkpoint)
        since = before.size

    def checked(count: int) -> None:
        if progress is not None:
            progress(count, checkpoint.size)

    verify_published(source, checkpoint, on_entry=on_entry, progress=checked)
    return LogReport(checkpoint.origin, checkpoint.size, checkpoint.root, signers, note, checkpoint.extensions, since)


def _verified(
    note: bytes, trusted: VerifierKey | CheckpointPolicy[Trusted], *, origin: str | None
) -> tuple[ForeignCheckpoint, tuple[str, ...]]:
    """The checkpoint, and the names of those whose signatures were verified."""
    if isinstance(trusted, VerifierKey):
        return verify_foreign_checkpoint(note, trusted, origin=origin), (trusted.name,)
    if origin is not None:
        raise ValueError("a policy names the log's origin itself")
    found = trusted.verify(note)
    head = found.checkpoint
    return ForeignCheckpoint(head.origin, head.size, head.root), (head.origin, *found.cosigners)
