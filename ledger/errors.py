"""What the ledger raises when bytes, proofs, signatures or the disk are not as they must be.

`ValueError` and `TypeError` mean a bug in the calling code. Everything here means that data made by somebody else,
or the storage underneath, was refused. `culprits` names those whose data it was, where that is known.
"""

from __future__ import annotations

__all__ = [
    "BlobError",
    "BusyError",
    "ConsistencyError",
    "DamagedStoreError",
    "DecodeError",
    "EquivocationError",
    "LedgerError",
    "ProofError",
    "QuorumError",
    "RolledBackError",
    "SignatureError",
    "SizeConflictError",
    "StateError",
    "StoreError",
    "VerifierError",
    "escaped",
]


class LedgerError(Exception):
    """Base of every error of this package. `culprits`: names of those whose data was refused."""

    def __init__(self, message: str, *, culprits: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.culprits = culprits


class DecodeError(LedgerError):
    """Bytes are not the one accepted spelling of what they claim to be."""


class SignatureError(LedgerError):
    """A signature is missing or does not verify."""


class ProofError(LedgerError):
    """A proof, a published tile or evidence does not show what it is offered for."""


class ConsistencyError(LedgerError):
    """A checkpoint does not extend, or was not shown to extend, an earlier one."""


class SizeConflictError(ConsistencyError):
    """A proof starts from another size than the one last cosigned. `size` is that one: start from it."""

    def __init__(self, message: str, *, size: int, culprits: tuple[str, ...] = ()) -> None:
        super().__init__(message, culprits=culprits)
        self.size = size


class EquivocationError(LedgerError):
    """One log signed two roots for one size. `evidence` holds the two signed notes, which prove it to anyone."""

    def __init__(self, message: str, *, evidence: tuple[bytes, bytes], culprits: tuple[str, ...] = ()) -> None:
        super().__init__(message, culprits=culprits)
        self.evidence = evidence


class QuorumError(LedgerError):
    """Too few cosignatures. `needed`: how many a certificate takes; `have`, `missing`: names of witnesses.

    `reasons` says, one text a witness, why it is missing, where known; `culprits` are those that answered badly.
    """

    def __init__(
        self,
        *,
        needed: int,
        have: tuple[str, ...],
        missing: tuple[str, ...],
        reasons: tuple[str, ...] = (),
        culprits: tuple[str, ...] = (),
    ) -> None:
        total = len(have) + len(missing)
        message = (
            f"a certificate needs {needed} of {total} cosignatures, has {len(have)}; missing: {', '.join(missing)}"
        )
        super().__init__("; ".join((message, *reasons)), culprits=culprits)
        self.needed = needed
        self.have = have
        self.missing = missing
        self.reasons = reasons


class RolledBackError(QuorumError):
    """More witnesses than may lie have cosigned more entries than the log has: it lost some, or is an old copy."""


class StoreError(LedgerError):
    """The storage failed, is in use by another writer, or holds other bytes than were written."""


class DamagedStoreError(StoreError):
    """Stored bytes are not those that were acknowledged; nothing was changed."""


class BlobError(LedgerError):
    """A blob is missing or is not the bytes its digest names. `digest` is that digest."""

    def __init__(self, message: str, *, digest: bytes, culprits: tuple[str, ...] = ()) -> None:
        super().__init__(message, culprits=culprits)
        self.digest = digest


class StateError(LedgerError):
    """A call came out of order: something moved on, was closed, or was used before."""


class BusyError(LedgerError):
    """There is more to do than there is room for: nothing was done, try again later."""


class VerifierError(LedgerError):
    """The processes that verify entries died or hung: nothing is known about the entries they were given."""


def escaped(text: object) -> str:
    """A text, or an error's message, for a terminal or a log file: one line, of printable characters only.

    Names, origins and reasons of strangers stand in messages as they are, for programs. Whoever prints them uses this:
    control characters, line ends and marks that reorder what is shown become escapes such as `\\x9b` and `\\u202e`.
    """
    shown = str(text)
    if shown.isprintable():
        return shown
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown)
