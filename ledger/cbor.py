"""Restricted deterministic CBOR: every value has exactly one spelling.

Spec: RFC 8949 §4.2.1 (core deterministic encoding), restricted to integers in [-2^64, 2^64 - 1], byte strings, text
strings, arrays and maps with integer keys, at most `MAX_DEPTH` containers deep and `MAX_VALUES` values in all. No
floats, tags, booleans, null, undefined, simple values or indefinite lengths.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, TypeAlias

import cbor2

from .errors import DecodeError

__all__ = ["MAX_DEPTH", "MAX_VALUES", "Value", "decode", "encode"]

MAX_DEPTH: Final = 8
MAX_VALUES: Final = 8192
"""Values that one encoding may hold: itself, all that stands in it, and map keys. It bounds the time to read one."""
_LOWEST: Final = -(2**64)
_HIGHEST: Final = 2**64 - 1

Value: TypeAlias = int | bytes | str | list["Value"] | dict[int, "Value"]
"""What can be encoded: int, bytes, str, list of values, dict from int to value. A bool is not an int here."""


class _RefuseTags(Mapping[int, Any]):
    """Stands in for cbor2's table of tag decoders, so that no tag content is ever interpreted."""

    def __getitem__(self, tag: int) -> Any:
        raise DecodeError(f"CBOR tag {tag} is not allowed")

    def __contains__(self, tag: object) -> bool:
        return True

    def __iter__(self) -> Iterator[int]:
        return iter(())

    def __len__(self) -> int:
        return 1


_NO_TAGS: Final = _RefuseTags()


def encode(value: Value) -> bytes:
    """Encode a value; equal values give equal bytes.

    Run by: anyone.  Spec: RFC 8949 §4.2.1.

    Raises:
        TypeError: a part is of a type that has no spelling here (bool, float, None, tuple, a map key that is no int).
        ValueError: an integer is out of range, a text is not valid Unicode, containers nest deeper than `MAX_DEPTH`, or
            there are more than `MAX_VALUES` values.
    """
    as_it_is = type(value) in (list, dict) and _is_ordered(value, MAX_DEPTH)
    encoded = cbor2.dumps(value if as_it_is else _ordered(value, MAX_DEPTH))
    if _holds_too_much(encoded):
        raise ValueError(f"more than {MAX_VALUES} values")
    return encoded


def decode(data: bytes, *, max_size: int = 65535) -> Value:
    """Decode bytes, accepting them only if they are what `encode` writes.

    Run by: anyone, on hostile bytes.  Spec: RFC 8949 §4.2.1.

    Raises:
        DecodeError: longer than `max_size` bytes, too deep, too many values, malformed, trailing bytes, a forbidden
            type, or another spelling.
    """
    if len(data) > max_size:
        raise DecodeError(f"CBOR of {len(data)} bytes is longer than the {max_size} allowed")
    if _holds_too_much(data):
        raise DecodeError(f"CBOR of more than {MAX_VALUES} values")
    try:
        value = cbor2.loads(
            bytes(data),
            semantic_decoders=_NO_TAGS,
            max_depth=MAX_DEPTH,
            allow_indefinite=False,
            allow_duplicate_keys=False,
        )
        if type(value) in (list, dict):  # a copy in the right order would not be what was read
            again = cbor2.dumps(value) if _is_ordered(value, MAX_DEPTH) else b""
        else:
            again = encode(value)
    except (cbor2.CBORError, TypeError, ValueError, OverflowError, RecursionError, MemoryError) as exc:
        raise DecodeError(f"not restricted CBOR: {exc}") from exc
    if again != data:
        raise DecodeError("CBOR is not in its deterministic spelling, holds what is not allowed, or bytes follow it")
    checked: Value = value
    return checked


def _holds_too_much(data: bytes) -> bool:
    """Whether there are more than `MAX_VALUES` heads in these bytes, as far as they are CBOR that is allowed."""
    at, left, end = 0, MAX_VALUES, len(data)
    if end <= left:  # no value is shorter than a byte
        return False
    while at < end:
        if not left:
            return True
        left -= 1
        head = data[at]
        at += 1
        low = head & 31
        if low >= 24:
            if low > 27:
                return False  # reserved or indefinite: the decoder refuses it
            width = 1 << low - 24
            low = int.from_bytes(data[at : at + width], "big")
            at += width
        if 0x40 <= head < 0x80:
            at += low
    return False


def _is_ordered(container: Any, depth: int) -> bool:
    """Whether `_ordered` would copy this list or dict as it is: nothing to convert, to sort or to refuse."""
    if type(container) is dict:
        if not _keys_in_order(container):
            return False
        container = container.values()
    for item in container:
        kind = type(item)
        if kind is int:
            if not _LOWEST <= item <= _HIGHEST:
                return False
        elif kind is list or kind is dict:
            if depth == 1 or not _is_ordered(item, depth - 1):
                return False
        elif kind is not bytes and kind is not str:
            return False
    return True


def _keys_in_order(keys: Iterable[Any]) -> bool:
    """Whether all are of type int, in range, and in the order of their encodings."""
    last = -1
    for key in keys:
        if type(key) is not int or not _LOWEST <= key <= _HIGHEST:
            return False
        place = key if key >= 0 else _HIGHEST - key
        if place <= last:
            return False
        last = place
    return True


def _ordered(value: object, depth: int) -> object:
    """A copy with plain types and map keys in the order of their encodings: 0, 1, 2, ... then -1, -2, ..."""
    if isinstance(value, bool):
        raise TypeError("bool has no spelling in restricted CBOR: use 0 or 1")
    if isinstance(value, int):
        if not _LOWEST <= value <= _HIGHEST:
            raise ValueError("integer outside [-2^64, 2^64 - 1]")
        return int(value)
    if isinstance(value, bytes):
        return bytes(value)
    if isinstance(value, str):
        value.encode("utf-8")
        return str(value)
    if not isinstance(value, list | dict):
        raise TypeError(f"{type(value).__name__} has no spelling in restricted CBOR")
    if depth == 0:
        raise ValueError(f"more than {MAX_DEPTH} containers inside one another")
    if isinstance(value, list):
        return [_ordered(item, depth - 1) for item in value]
    for key in value:
        if isinstance(key, bool) or not isinstance(key, int):
            raise TypeError("a map key must be an int")
        if not _LOWEST <= key <= _HIGHEST:
            raise ValueError("map key outside [-2^64, 2^64 - 1]")
    return {int(key): _ordered(value[key], depth - 1) for key in sorted(value, key=lambda k: (k < 0, abs(k)))}
