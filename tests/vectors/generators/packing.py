"""packing: grid, digits, messages, sums, checksums."""

import numpy as np

from protocols import Grid, GridVector, checksum_modulus, digit_width, pack, unpack
from protocols.arrays import Int64Array
from protocols.digits import DigitBlocks, DigitLayout
from protocols.errors import BadShareError
from protocols.ring import ring
from tests.vectors.generators.example import SUITE, Json, failure

REALS = [0.0, 0.03125, 0.09375, -0.03125, 1.0, -2.71875, 7.9375, 100.0, -1e300, 3.14159, 0.5, -0.5, 6.25, 2.0**-50]
GRID, WIDTH, CLIENTS, SHIFT = Grid(8, 4), 12, 10, 7


def messages(digits: Int64Array) -> list[list[int]]:
    weights = np.array([1 << (WIDTH * d) for d in range(3)], dtype=object)
    return [[int(m) for m in (block.astype(object) * weights[:, None]).sum(axis=0)] for block in digits]


def opened(sums: list[list[int]], layout: DigitLayout) -> DigitBlocks:
    """The digits of exact sums, by the opening that a sum of ciphertexts takes."""
    kept = ring(256, SUITE.answer_primes)
    blocks = []
    for line in sums:
        row = [number << SHIFT for number in line] + [0] * 252
        residues = np.array([[value % q for value in row] for q in SUITE.answer_primes], dtype=np.uint64)
        digits = kept.open_digits(residues, shift=SHIFT, noise_bound=0, width=WIDTH, count=3)
        if digits is None:
            raise BadShareError("a digit is out of bounds")
        blocks.append(digits[:, :4])
    return DigitBlocks(layout, np.stack(blocks))


def total(digits: Int64Array, times: int, other: Int64Array) -> list[list[int]]:
    pairs = zip(messages(digits), messages(other), strict=True)
    return [[times * x + y for x, y in zip(mine, theirs, strict=True)] for mine, theirs in pairs]


def changed(digits: Int64Array, where: tuple[int, int, int], value: int) -> Int64Array:
    result = digits.copy()
    result[where] = value
    return result


def packing_json() -> Json:
    vector, modulus = GRID.quantize(np.array(REALS)), checksum_modulus(GRID, WIDTH)
    plain, checked = DigitLayout(WIDTH, 3, 4), DigitLayout(WIDTH, 3, 4, modulus)
    digits, with_checks = (pack(vector, layout, clients=CLIENTS).digits for layout in (plain, checked))
    layouts = []
    for layout, packed in ((plain, digits), (checked, with_checks)):
        summed = opened(total(packed, CLIENTS - 1, packed), layout)
        layouts.append(
            {
                "per_coefficient": 3,
                "checksum": layout.checksum,
                "digits": packed.tolist(),
                "messages": messages(packed),
                "sum_of_all_clients": unpack(summed, len(REALS)).tolist(),
            }
        )
    unseen = opened(total(digits, CLIENTS - 1, changed(digits, (0, 1, 0), plain.largest)), plain)
    over = changed(with_checks, (0, 1, 0), plain.largest)
    rest = int(over[0, :2, 0].sum()) % modulus
    over[0, 2, 0] = rest - modulus if rest > modulus // 2 else rest
    seen = opened(total(with_checks, CLIENTS - 1, over), checked)
    lowest = total(digits, 1, changed(digits, (0, 0, 3), -plain.largest - 1 - int(digits[0, 0, 3])))
    unpacking = {"operation": "unpack", "values": 14, "checksum": 0}
    spoiled = DigitBlocks(plain, changed(digits, (1, 2, 3), 1))
    off = DigitBlocks(checked, changed(with_checks, (1, 0, 0), int(with_checks[1, 0, 0]) + 1))
    large = np.full((1, 3, 4), plain.largest + 1, dtype=np.int64)
    return {
        "value_bits": GRID.value_bits,
        "step_bits": GRID.step_bits,
        "width": WIDTH,
        "coefficients": 4,
        "clients": CLIENTS,
        "reals": [value.hex() for value in REALS],
        "units": vector.values.tolist(),
        "layouts": layouts,
        "widths": [
            {"value_bits": v, "clients": c, "width": digit_width(Grid(v, 0), c)}
            for v, c in ((2, 1), (8, 10), (16, 10), (16, 11), (24, 1000), (32, 10_000))
        ],
        "checksum_moduli": [
            {"value_bits": v, "width": w, "modulus": checksum_modulus(Grid(v, 0), w)}
            for v, w in ((8, 12), (16, 20), (16, 23), (4, 12), (4, 6), (32, 46))
        ],
        "not_seen": {
            "checksum": 0,
            "client_sends": [0, 1, 0, plain.largest],
            "opened": unseen.digits.tolist(),
            "values": unpack(unseen, 14).tolist(),
        },
        "failures": [
            {"operation": "quantize", "reals": ["nan"]}
            | failure(lambda: GRID.quantize(np.array([np.nan])), "not a number"),
            {"operation": "grid_vector", "units": [GRID.largest + 1]}
            | failure(lambda: GridVector(GRID, np.array([GRID.largest + 1])), "outside the grid"),
            {"operation": "digit_blocks", "digit": plain.largest + 1}
            | failure(lambda: DigitBlocks(plain, large), "a digit does not fit its width"),
            {"operation": "pack", "clients": 17}
            | failure(lambda: pack(vector, plain, clients=17), "the sum of 17 would not fit"),
            unpacking
            | {"values": 25}
            | failure(lambda: unpack(DigitBlocks(plain, digits), 25), "another number of blocks"),
            unpacking | {"set_to_one": [1, 2, 3]} | failure(lambda: unpack(spoiled, 14), "padding is not zero"),
            {"operation": "open", "client_sends": [0, 0, 3, -plain.largest - 1]}
            | failure(lambda: opened(lowest, plain), "a digit is -2^(w-1), which honest sums never are"),
            unpacking
            | {"checksum": modulus, "client_sends": [0, 1, 0, plain.largest], "opened": seen.digits.tolist()}
            | failure(lambda: unpack(seen, 14), "an over-norm value carried into the next digit"),
            unpacking
            | {"checksum": modulus, "add_one": [1, 0, 0]}
            | failure(lambda: unpack(off, 14), "a digit does not belong to its checksum"),
            {"operation": "checksum_modulus", "value_bits": 2, "width": 12}
            | failure(lambda: checksum_modulus(Grid(2, 0), 12), "no prime in so small a range"),
        ],
    }
