"""The one check that a value is a byte string of an allowed length."""

from __future__ import annotations

__all__ = ["is_octets"]


def is_octets(value: object, least: int, most: int | None = None) -> bool:
    """Whether a value is `bytes` of at least `least` and at most `most` (by default: exactly `least`) bytes."""
    return isinstance(value, bytes) and least <= len(value) <= (least if most is None else most)
