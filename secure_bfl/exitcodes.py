"""The exit codes of `secure-bfl`, documented in docs/reference/cli.md.

One table decides which error gives which code, so that the documentation, `--help` and the program agree.
"""

from enum import IntEnum
from typing import Final

import ledger
import protocols
from protocols.errors import CapacityError, KeyGenerationError, PrivacyError, ProtocolError, QuorumError

from .errors import ChainError, DatasetError, EdgeError, KeystoreError, OutputError, StateError, UnverifiedError

__all__ = ["ExitCode", "code_of"]


class ExitCode(IntEnum):
    """What the process says to its caller."""

    OK = 0
    FINDINGS = 1
    USAGE = 2
    BUDGET = 3
    ACCOUNTANTS = 4
    CHAIN = 5
    AUDIT = 6
    QUORUM = 7
    OUTPUT = 8
    DATASET = 9
    PEER = 10
    STATE = 11
    KEYSTORE = 12

    @property
    def meaning(self) -> str:
        """One line for people."""
        return _MEANING[self]


_MEANING: Final = {
    ExitCode.OK: "fine",
    ExitCode.FINDINGS: "the run, or a file of test vectors, does not verify; what is wrong is listed",
    ExitCode.USAGE: "an option or the plan it asks for is impossible",
    ExitCode.BUDGET: "the privacy budget would be exceeded",
    ExitCode.ACCOUNTANTS: "the privacy accountants disagree",
    ExitCode.CHAIN: "an odometer or a store is broken or was rolled back",
    ExitCode.AUDIT: "an audit found less noise, or more leakage, than the privacy account claims",
    ExitCode.QUORUM: "too few parties took part; start again when they are back",
    ExitCode.OUTPUT: "the output folder, a file in it or the disk cannot be used",
    ExitCode.DATASET: "the data set is unknown or not installed",
    ExitCode.PEER: "a party sent something wrong; it is named where that can be known",
    ExitCode.STATE: "a step came out of order, or something single-use was used twice",
    ExitCode.KEYSTORE: "a keystore is missing or damaged, or its passphrase is wrong",
}

_CODES: Final[tuple[tuple[type[Exception], ExitCode], ...]] = (
    (CapacityError, ExitCode.USAGE),
    (PrivacyError, ExitCode.BUDGET),
    (ChainError, ExitCode.CHAIN),
    (QuorumError, ExitCode.QUORUM),
    (ledger.QuorumError, ExitCode.QUORUM),
    (UnverifiedError, ExitCode.FINDINGS),
    (OutputError, ExitCode.OUTPUT),
    (ledger.DamagedStoreError, ExitCode.CHAIN),
    (ledger.StoreError, ExitCode.OUTPUT),
    (KeystoreError, ExitCode.KEYSTORE),
    (OSError, ExitCode.OUTPUT),
    (DatasetError, ExitCode.DATASET),
    (StateError, ExitCode.STATE),
    (ledger.StateError, ExitCode.STATE),
    (protocols.StateError, ExitCode.STATE),
    (KeyGenerationError, ExitCode.PEER),
    (ProtocolError, ExitCode.PEER),
    (ledger.LedgerError, ExitCode.PEER),
    (EdgeError, ExitCode.PEER),
    (ValueError, ExitCode.USAGE),
)


def code_of(error: Exception) -> ExitCode | None:
    """The exit code of an expected error, or None for one that is a defect of this program."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), None)
