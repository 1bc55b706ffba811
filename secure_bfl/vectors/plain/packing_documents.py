"""packing, computed from the specification."""

import math

from .arithmetic import ExpectedFailure, Json, MismatchError, caught, is_prime

__all__ = ["packing"]

VALUE_BITS, STEP_BITS, WIDTH, COEFFICIENTS, CLIENTS, COUNT = 8, 4, 12, 4, 10, 3
LARGEST, DIGIT = (1 << (VALUE_BITS - 1)) - 1, (1 << (WIDTH - 1)) - 1
REALS = [0.0, 0.03125, 0.09375, -0.03125, 1.0, -2.71875, 7.9375, 100.0, -1e300, 3.14159, 0.5, -0.5, 6.25, 2.0**-50]
Blocks = list[list[list[int]]]


def _quantize(values: list[float]) -> list[int]:
    if not all(map(math.isfinite, values)):
        raise ExpectedFailure("ValueError")
    return [max(-LARGEST, min(LARGEST, round(value * 2.0**STEP_BITS))) for value in values]  # round: ties to even


def _modulus(value_bits: int, width: int) -> int:
    """The largest prime in a value's range that divides neither 2^w - 1 nor 2^w + 1."""
    found = (c for c in range((1 << value_bits) - 1, 4, -1) if is_prime(c) and (4**width - 1) % c)
    modulus = next(found, None)
    if modulus is None:
        raise ExpectedFailure("CapacityError")
    return modulus


def _checksum(column: list[int], modulus: int) -> int:
    rest = sum(column) % modulus
    return rest - modulus if rest > modulus // 2 else rest


def _pack(units: list[int], checksum: int, clients: int = CLIENTS) -> Blocks:
    if clients * LARGEST > DIGIT:
        raise ExpectedFailure("CapacityError")
    count = COUNT - bool(checksum)
    size = count * COEFFICIENTS
    blocks = []
    for start in range(0, len(units), size):
        line = (units[start : start + size] + [0] * size)[:size]
        planes = [line[d * COEFFICIENTS : (d + 1) * COEFFICIENTS] for d in range(count)]
        if checksum:
            planes.append([_checksum(list(column), checksum) for column in zip(*planes, strict=True)])
        blocks.append(planes)
    return blocks


def _unpack(blocks: Blocks, checksum: int, values: int) -> list[int]:
    count = COUNT - bool(checksum)
    if len(blocks) != -(-values // (count * COEFFICIENTS)):
        raise ExpectedFailure("DecodeError")
    for planes in blocks if checksum else []:
        if any((sum(column[:-1]) - column[-1]) % checksum for column in zip(*planes, strict=True)):
            raise ExpectedFailure("DecodeError")
    line = [value for planes in blocks for plane in planes[:count] for value in plane]
    if any(line[values:]):
        raise ExpectedFailure("DecodeError")
    return line[:values]


def _messages(blocks: Blocks) -> list[list[int]]:
    return [
        [sum(c << (WIDTH * d) for d, c in enumerate(column)) for column in zip(*planes, strict=True)]
        for planes in blocks
    ]


def _opened(messages: list[list[int]]) -> Blocks:
    blocks = []
    for line in messages:
        columns = []
        for number in line:
            rest, column = number, []
            for _ in range(COUNT):
                column.append((rest + DIGIT + 1) % (1 << WIDTH) - DIGIT - 1)
                rest = (rest - column[-1]) >> WIDTH
            if rest or min(column) < -DIGIT:
                raise ExpectedFailure("BadShareError")
            columns.append(column)
        blocks.append([[column[d] for column in columns] for d in range(COUNT)])
    return blocks


def _sum(blocks: Blocks, times: int, other: Blocks) -> list[list[int]]:
    pairs = zip(_messages(blocks), _messages(other), strict=True)
    return [[times * x + y for x, y in zip(mine, theirs, strict=True)] for mine, theirs in pairs]


def _layout(units: list[int], checksum: int) -> Json:
    digits = _pack(units, checksum)
    summed = _opened(_sum(digits, CLIENTS - 1, digits))
    if _unpack(summed, checksum, len(units)) != [CLIENTS * u for u in units]:
        raise MismatchError("the sum of all clients is not the sum")
    return {
        "per_coefficient": COUNT,
        "checksum": checksum,
        "digits": digits,
        "messages": _messages(digits),
        "sum_of_all_clients": _unpack(summed, checksum, len(units)),
    }


def _set(digits: Blocks, where: tuple[int, int, int], value: int) -> Blocks:
    changed = [[list(plane) for plane in planes] for planes in digits]
    changed[where[0]][where[1]][where[2]] = value
    return changed


def packing() -> Json:
    """Grid, digits, messages, sums, checksums; what is refused; what is not seen."""
    units, modulus = _quantize(REALS), _modulus(VALUE_BITS, WIDTH)
    plain, checked = _pack(units, 0), _pack(units, modulus)
    cheat = _set(plain, (0, 1, 0), DIGIT)
    unseen = _opened(_sum(plain, CLIENTS - 1, cheat))
    over = _set(checked, (0, 1, 0), DIGIT)
    over[0][2][0] = _checksum([over[0][0][0], over[0][1][0]], modulus)
    seen = _opened(_sum(checked, CLIENTS - 1, over))
    lowest = _sum(plain, 1, _set(plain, (0, 0, 3), -DIGIT - plain[0][0][3] - 1))

    def grid_vector(values: list[int]) -> None:
        if any(abs(v) > LARGEST for v in values):
            raise ExpectedFailure("ValueError")

    def digit_blocks(value: int) -> None:
        if abs(value) > DIGIT:
            raise ExpectedFailure("ValueError")

    def widened(value_bits: int, clients: int) -> int:
        sums = clients * ((1 << (value_bits - 1)) - 1)
        return next(w for w in range(2, 64) if sums < 1 << (w - 1))

    unpack = {"operation": "unpack", "values": 14, "checksum": 0}
    return {
        "value_bits": VALUE_BITS,
        "step_bits": STEP_BITS,
        "width": WIDTH,
        "coefficients": COEFFICIENTS,
        "clients": CLIENTS,
        "reals": [value.hex() for value in REALS],
        "units": units,
        "layouts": [_layout(units, 0), _layout(units, modulus)],
        "widths": [
            {"value_bits": v, "clients": c, "width": widened(v, c)}
            for v, c in ((2, 1), (8, 10), (16, 10), (16, 11), (24, 1000), (32, 10_000))
        ],
        "checksum_moduli": [
            {"value_bits": v, "width": w, "modulus": _modulus(v, w)}
            for v, w in ((8, 12), (16, 20), (16, 23), (4, 12), (4, 6), (32, 46))
        ],
        "not_seen": {
            "checksum": 0,
            "client_sends": [0, 1, 0, DIGIT],
            "opened": unseen,
            "values": _unpack(unseen, 0, 14),
        },
        "failures": [
            {"operation": "quantize", "reals": ["nan"]} | caught(lambda: _quantize([math.nan])),
            {"operation": "grid_vector", "units": [LARGEST + 1]} | caught(lambda: grid_vector([LARGEST + 1])),
            {"operation": "digit_blocks", "digit": DIGIT + 1} | caught(lambda: digit_blocks(DIGIT + 1)),
            {"operation": "pack", "clients": 17} | caught(lambda: _pack(units, 0, 17)),
            unpack | {"values": 25} | caught(lambda: _unpack(plain, 0, 25)),
            unpack | {"set_to_one": [1, 2, 3]} | caught(lambda: _unpack(_set(plain, (1, 2, 3), 1), 0, 14)),
            {"operation": "open", "client_sends": [0, 0, 3, -DIGIT - 1]} | caught(lambda: _opened(lowest)),
            unpack
            | {"checksum": modulus, "client_sends": [0, 1, 0, DIGIT], "opened": seen}
            | caught(lambda: _unpack(seen, modulus, 14)),
            unpack
            | {"checksum": modulus, "add_one": [1, 0, 0]}
            | caught(lambda: _unpack(_set(checked, (1, 0, 0), checked[1][0][0] + 1), modulus, 14)),
            {"operation": "checksum_modulus", "value_bits": 2, "width": 12} | caught(lambda: _modulus(2, 12)),
        ],
    }
