"""What can go wrong at the edge: files, budgets, peers."""

__all__ = [
    "ChainError",
    "DatasetError",
    "EdgeError",
    "KeystoreError",
    "OutputError",
    "RefusedError",
    "StateError",
    "UnopenableError",
    "UnverifiedError",
]


class EdgeError(Exception):
    """Base of this package's own errors; `culprits` names the senders, where they are known."""

    def __init__(self, message: str, *, culprits: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.culprits = culprits


class KeystoreError(EdgeError):
    """A keystore is missing, damaged, or its passphrase is wrong."""


class ChainError(EdgeError):
    """An odometer's chain is broken, or it was rolled back behind what the ledger shows."""


class RefusedError(EdgeError):
    """A member refuses to answer: the request breaks one of its rules."""


class StateError(EdgeError):
    """Something single-use was used twice, or a step came out of order."""


class UnopenableError(EdgeError):
    """A sum does not open although every answer is confirmed, or opens to what no honest updates add up to.

    `culprits` are the clients among whom the fault is, and where nobody checks answers also the members that answered.
    """


class OutputError(EdgeError):
    """The output folder cannot be used."""


class UnverifiedError(EdgeError):
    """A run does not verify, so nothing is reported from it."""


class DatasetError(EdgeError):
    """A data set is unknown or not installed."""
