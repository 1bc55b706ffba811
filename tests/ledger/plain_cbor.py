"""Restricted deterministic CBOR read byte by byte from RFC 8949 §3 and §4.2.1, in a few lines and with no library."""

from typing import Any


class RefusedError(Exception):
    """Not the one spelling of a value."""


def read(data: bytes, *, depth: int = 8, values: int = 8192) -> Any:
    """The value that these bytes spell."""
    value, end = _item(data, 0, depth)
    if _count(value) > values:
        raise RefusedError("too many values")
    if end != len(data):
        raise RefusedError("bytes follow")
    return value


def _count(value: Any) -> int:
    """How many values there are, map keys included."""
    if isinstance(value, list):
        return 1 + sum(map(_count, value))
    if isinstance(value, dict):
        return 1 + len(value) + sum(map(_count, value.values()))
    return 1


def _item(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    if at >= len(data):
        raise RefusedError("ends early")
    major, low = data[at] >> 5, data[at] & 31
    at += 1
    if low < 24:
        number = low
    elif low < 28:
        width = 1 << low - 24
        number = int.from_bytes(data[at : at + width], "big")
        if at + width > len(data) or number < (24, 1 << 8, 1 << 16, 1 << 32)[low - 24]:
            raise RefusedError("ends early, or could be shorter")
        at += width
    else:
        raise RefusedError("indefinite or reserved")
    if major < 2:
        return (number if major == 0 else -1 - number), at
    if major < 4:
        if at + number > len(data):
            raise RefusedError("ends early")
        text = data[at : at + number]
        try:
            return (text if major == 2 else text.decode("utf-8")), at + number
        except UnicodeDecodeError as exc:
            raise RefusedError("not UTF-8") from exc
    if major > 5 or depth == 0:
        raise RefusedError("a tag, a simple value, a float, or too deep")
    if number > len(data):
        raise RefusedError("ends early")
    if major == 4:
        items = []
        for _ in range(number):
            item, at = _item(data, at, depth - 1)
            items.append(item)
        return items, at
    entries: dict[int, Any] = {}
    last = b""
    for _ in range(number):
        key, end = _item(data, at, depth - 1)
        if not isinstance(key, int) or data[at:end] <= last:
            raise RefusedError("a key is no integer, or out of order")
        last = data[at:end]
        entries[key], at = _item(data, end, depth - 1)
    return entries, at
