"""What can go wrong in a protocol step because of somebody else's bytes.

A caller's own mistake raises `ValueError` or `TypeError`; everything here is about data that arrived.
No message of these classes ever holds a secret.
"""

__all__ = [
    "BadShareError",
    "CapacityError",
    "DecodeError",
    "KeyGenerationError",
    "PrivacyError",
    "ProtocolError",
    "QuorumError",
    "StateError",
]


class ProtocolError(Exception):
    """Base of this package's errors; `culprits` names the senders, where they are known."""

    def __init__(self, message: str, *, culprits: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.culprits = culprits


class DecodeError(ProtocolError):
    """Bytes that are not the one canonical encoding of a value."""


class CapacityError(ProtocolError):
    """A plan asks for more than its digits, ring or noise bounds can hold."""


class KeyGenerationError(ProtocolError):
    """A dealer's piece or public part failed its check."""


class BadShareError(ProtocolError):
    """A partial decryption does not belong to the request it claims to answer."""


class QuorumError(ProtocolError):
    """Too few members answered; `missing` names those who could still help."""

    def __init__(self, message: str, *, needed: int, have: tuple[str, ...], missing: tuple[str, ...]) -> None:
        super().__init__(message, culprits=missing)
        self.needed = needed
        self.have = have
        self.missing = missing


class PrivacyError(ProtocolError):
    """A step would spend more privacy than the budget allows, or spend it unaccounted."""


class StateError(ProtocolError):
    """Something single-use was used twice, or a step came out of order."""
