"""Changes to bytes and to CBOR values. All chance comes from the generator that is passed in."""

import struct
from collections.abc import Callable, Sequence
from random import Random

from ledger import Value

__all__ = ["altered", "altered_value", "mutated"]

LONGEST = 1 << 20  # no mutation makes an input longer
_NUMBERS = (0, 1, 2, 7, 8, 15, 16, 31, 32, 63, 64, 127, 128, 255, 256, 4095, 4096, 65535, 65536, 2**31 - 1, 2**31,
            2**32 - 1, 2**32, 2**53, 2**63 - 1, 2**63, 2**64 - 1)  # fmt: skip
_TEXTS = ("", "a", "client-1", "member-1", "member-1@1", "operator", "é", "\x00", "\n", "+", " ", "0" * 300)


def _flipped(rng: Random, data: bytearray) -> None:
    for _ in range(rng.choice((1, 1, 1, 2, 8))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _overwritten(rng: Random, data: bytearray) -> None:
    data[rng.randrange(len(data))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))


def _number(rng: Random, data: bytearray) -> None:
    """A number of note, little or big endian, over what is there."""
    form = rng.choice(("<B", "<H", ">H", "<I", ">I", "<Q", ">Q"))
    size = struct.calcsize(form)
    at = rng.randrange(len(data))
    value = rng.choice(_NUMBERS) + rng.choice((0, 0, -1, 1))
    data[at : at + size] = struct.pack(form, value % (1 << (8 * size)))


def _cut(rng: Random, data: bytearray) -> None:
    del data[rng.randrange(len(data)) :]


def _removed(rng: Random, data: bytearray) -> None:
    at = rng.randrange(len(data))
    del data[at : at + rng.choice((1, 1, 2, 4, 32, 1000))]


def _inserted(rng: Random, data: bytearray) -> None:
    at = rng.randrange(len(data) + 1)
    data[at:at] = rng.randbytes(rng.choice((1, 1, 2, 4, 32, 1000)))


def _doubled(rng: Random, data: bytearray) -> None:
    at, size = rng.randrange(len(data)), rng.choice((1, 4, 16, 64, 1000))
    data[at:at] = data[at : at + size] * rng.choice((1, 1, 2, 50))


def _blanked(rng: Random, data: bytearray) -> None:
    at, size = rng.randrange(len(data)), rng.choice((1, 4, 32, 1000))
    data[at : at + size] = bytes([rng.choice((0, 0xFF))]) * len(data[at : at + size])


def _moved(rng: Random, data: bytearray) -> None:
    """A stretch of the input over another place of it."""
    source, at, size = rng.randrange(len(data)), rng.randrange(len(data)), rng.choice((1, 8, 32, 200))
    data[at : at + size] = data[source : source + size]


_CHANGES: tuple[Callable[[Random, bytearray], None], ...] = (
    _flipped, _flipped, _overwritten, _number, _cut, _removed, _inserted, _doubled, _blanked, _moved,
)  # fmt: skip


def altered(rng: Random, data: bytes) -> bytes:
    """The bytes with one to four changes that know nothing about them."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        if not changed:
            changed = bytearray(rng.randbytes(rng.choice((1, 16, 44, 200))))
        rng.choice(_CHANGES)(rng, changed)
    return bytes(changed[:LONGEST])


def altered_value(rng: Random, value: Value) -> Value:
    """A CBOR value with one part changed, of the same type or another. The argument is not changed."""
    if isinstance(value, list) and value and rng.random() < 0.85:
        at = rng.randrange(len(value))
        items = list(value)
        match rng.randrange(10):
            case 0:
                del items[at]
            case 1:
                items.insert(at, items[at])
            case 2:
                item = items[at] if isinstance(items[at], int) else 0  # many containers in one another would take long
                items = [item] * (30 if rng.random() < 0.9 else rng.choice((4096, 4097)))
            case 3:
                other = rng.randrange(len(items))
                items[at], items[other] = items[other], items[at]
            case _:
                items[at] = altered_value(rng, items[at])
        return items
    if isinstance(value, dict) and value and rng.random() < 0.85:
        key = rng.choice(sorted(value))
        return {**value, key: altered_value(rng, value[key])}
    return _other(rng, value)


def _other(rng: Random, value: Value) -> Value:
    if rng.random() < 0.2:
        wild: Sequence[Value] = (
            rng.choice(_NUMBERS),
            -1 - rng.choice(_NUMBERS),
            b"",
            rng.randbytes(32),
            "",
            [],
            {},
            [[]],
        )
        return rng.choice(wild)
    if isinstance(value, int):
        near = value + rng.choice((-2, -1, 1, 2))
        return rng.choice((near, near, rng.choice(_NUMBERS), -1 - rng.choice(_NUMBERS), value ^ 1 << rng.randrange(63)))
    if isinstance(value, bytes):
        return altered(rng, value)
    if isinstance(value, str):
        return rng.choice((*_TEXTS, value + "x", value[:-1], value.replace("1", "2"), value.upper()))
    return rng.choice((0, b"", []))


def mutated(
    rng: Random, seeds: Sequence[bytes], reshape: Callable[[Random, bytes], bytes] | None, data: bytes | None = None
) -> bytes:
    """One mutation of `data`, or else of one of the seeds."""
    start = rng.choice(seeds) if data is None else data
    kind = rng.random()
    if reshape is not None and kind < 0.6:
        reshaped = reshape(rng, start)
        return (altered(rng, reshaped) if kind < 0.1 else reshaped)[:LONGEST]
    if kind > 0.95:  # the head of one seed, the tail of another
        other = rng.choice(seeds)
        return (start[: rng.randrange(len(start) + 1)] + other[rng.randrange(len(other) + 1) :])[:LONGEST]
    return altered(rng, start)
