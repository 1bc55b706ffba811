"""What every entry's body is: its kind, and the one encoding of its fields.

Spec: round §2 (v1). A body is a CBOR array of the class's fields in order. A reader checks every type, every fixed
length and every bound before it builds the object, so a body that exists is well formed; whether it is *allowed* is for
`secure_bfl.replay` to decide.
"""

import dataclasses
from enum import IntEnum
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Final, Self, get_args, get_origin, get_type_hints

from ledger import DecodeError, Value

__all__ = ["DENSE", "MAX_BYTES", "MAX_INT", "MAX_LIST", "MAX_TEXT", "Body", "Digest", "Kind", "PublicKey", "Role"]


class Kind(IntEnum):
    """The closed list of entry kinds. Unknown kinds stay in the log and are ignored by replay."""

    GENESIS = 1
    KEY_COMMIT = 2
    KEY_REVEAL = 3
    KEY_CHECK = 4
    KEY_ANSWER = 5
    COMPLAINT = 6
    KEY_ACCEPT = 7
    KEY_OPEN = 8
    COMMITTEE_CHANGE = 9
    KEY_DROP = 10
    CHANGE_CERTIFICATE = 11
    KEY_ROTATION = 12
    KEY_REVOCATION = 13
    ROUND_OPEN = 16
    BUDGET_SPEND = 17
    UPDATE_COMMIT = 18
    ROUND_CLOSE = 19
    AGGREGATE = 20
    AGGREGATE_VOTE = 21
    DECRYPTION_REQUEST = 22
    PARTIAL_DECRYPTION = 23
    MODEL = 24
    PIECE_CHECK = 25
    ROUND_VOID = 26
    BLOB_RELEASE = 27
    PRIVACY_AUDIT = 28


class Role(IntEnum):
    """What a party may do."""

    OPERATOR = 1
    CLIENT = 2
    MEMBER = 3


DENSE: Final = 0  # the mode of an update whose digits are all encrypted; the only one in this version
MAX_LIST: Final = 4096
MAX_TEXT: Final = 256
MAX_BYTES: Final = 32_768
MAX_INT: Final = (1 << 63) - 1

Hint = Any
Digest = Annotated[bytes, 32]
PublicKey = Annotated[bytes, 32]


def _to_value(value: Any) -> Value:
    if isinstance(value, Body):
        return [_to_value(getattr(value, name)) for name in _field_names(type(value))]
    if isinstance(value, tuple):
        return [_to_value(item) for item in value]
    if isinstance(value, IntEnum):
        return int(value)
    return value  # type: ignore[no-any-return]  # int, bytes or str


def _field_names(cls: Any) -> tuple[str, ...]:
    return tuple(f.name for f in dataclasses.fields(cls))


def _from_value(hint: Hint, value: Value, where: str) -> Any:
    origin: Any = get_origin(hint)
    if origin is Annotated:
        base, size = get_args(hint)
        if not isinstance(value, base) or len(value) != size:
            raise DecodeError(f"{where}: expected {size} bytes")
        return value
    if origin is tuple:
        item, _ = get_args(hint)
        if not isinstance(value, list) or len(value) > MAX_LIST:
            raise DecodeError(f"{where}: expected a list of at most {MAX_LIST} items")
        return tuple(_from_value(item, v, where) for v in value)
    if isinstance(hint, type) and issubclass(hint, Body):
        return hint.from_value(value)
    if isinstance(hint, type) and issubclass(hint, IntEnum):
        if type(value) is not int or value not in set(hint):
            raise DecodeError(f"{where}: {value!r:.20} is not a {hint.__name__}")
        return hint(value)
    if hint is int:
        if type(value) is not int or not -1 <= value <= MAX_INT:
            raise DecodeError(f"{where}: expected an integer from -1 to 2^63 - 1")
    elif hint is str:
        if not isinstance(value, str) or not value or len(value) > MAX_TEXT:
            raise DecodeError(f"{where}: expected text of 1 to {MAX_TEXT} characters")
    elif not isinstance(value, bytes) or len(value) > MAX_BYTES:
        raise DecodeError(f"{where}: expected at most {MAX_BYTES} bytes")
    return value


@lru_cache(maxsize=64)
def _hints(cls: Any) -> dict[str, Hint]:
    return get_type_hints(cls, include_extras=True)


class Body:
    """Base of all bodies; knows how to become a CBOR value and back."""

    __slots__ = ()
    kind: ClassVar[Kind]

    def to_value(self) -> Value:
        """The CBOR array of the fields, in order."""
        return _to_value(self)

    @classmethod
    def from_value(cls, value: Value) -> Self:
        """Check and build.

        Raises:
            DecodeError: a field is missing, too many, of a wrong type, length or range.
        """
        names = _field_names(cls)
        if not isinstance(value, list) or len(value) != len(names):
            raise DecodeError(f"{cls.__name__}: expected {len(names)} fields")
        hints = _hints(cls)  # type: ignore[arg-type]  # a class is hashable
        fields = {n: _from_value(hints[n], v, f"{cls.__name__}.{n}") for n, v in zip(names, value, strict=True)}
        return cls(**fields)
