"""suites, ring, hash_to_polynomial, wire, sharing and noise, computed from the specification."""

import math
from typing import Any

from .arithmetic import (
    ExpectedFailure,
    Json,
    MismatchError,
    Rows,
    back,
    bytes_of,
    caught,
    compose,
    divide,
    interpolation,
    inverse_ntt,
    ntt,
    residues,
    reversed_bits,
    root_of,
    summary,
    times,
    width_of,
)
from .committee import Replicated, Shamir, share_among
from .key import SUITES, TABLE, Budget, preset
from .wire import message, read, uniform

__all__ = ["hash_to_polynomial", "noise", "ring", "sharing", "suites", "wire"]

SMALL = preset(8192)


def _refuse(name: str, *culprits: str) -> Any:
    raise ExpectedFailure(name, *culprits)


def suites() -> Json:
    """The three presets."""
    rows = []
    for degree in SUITES:
        suite = preset(degree)
        bits = sum(q.bit_length() for q in suite.keys)
        if bits > TABLE[degree] or any(q % (2 * degree) != 1 for q in suite.keys):
            raise MismatchError(f"the primes of {suite.name} break the rules")
        rows.append(
            {
                "name": suite.name,
                "ring_degree": degree,
                "kept_primes": list(suite.kept),
                "dropped_primes": list(suite.data[-2:]),
                "special_prime": suite.special,
                "dropped_modulus": str(suite.divisor),
                "residue_bytes": [width_of(q) for q in suite.data],
                "smudging_bits": suite.bits,
                "modulus_bits": bits,
            }
        )
    refused = {"operation": "suite", "ring_degree": 4096}
    return {"suites": rows, "failures": [refused | caught(lambda: 4096 in TABLE or _refuse("ValueError"))]}


def _by_definition(row: list[int], q: int, i: int) -> int:
    point, total = pow(root_of(len(row), q), 2 * reversed_bits(i, len(row)) + 1, q), 0
    for c in reversed(row):
        total = (total * point + c) % q
    return total


def _schoolbook(x: Rows, y: Rows) -> Rows:
    product = []
    for a, b, q in zip(x, y, SMALL.keys, strict=True):
        row = [0] * len(a)
        for i, c in enumerate(a):
            for j, d in enumerate(b):
                at = i + j
                row[at % len(a)] += c * d if at < len(a) else -c * d
        product.append([value % q for value in row])
    return product


def _ring_checks(x: Rows, y: Rows, product: Rows, large: Rows, transformed: Rows) -> None:
    if _schoolbook(x, y) != product:
        raise MismatchError("a product by transforms is not the schoolbook's")
    for rows, values in ((x, [ntt(r, q) for r, q in zip(x, SMALL.keys, strict=True)]), (large, transformed)):
        for row, line, q in zip(rows, values, SMALL.keys, strict=True):
            n = len(row)
            if any(_by_definition(row, q, i) != line[i] for i in (0, 1, n // 2, n - 1)):
                raise MismatchError("a transform is not what its definition says")
            if inverse_ntt(line, q) != row:
                raise MismatchError("the inverse transform does not undo the transform")


def ring() -> Json:
    """Transform, product, Chinese remainder, division by primes."""
    keys, data = SMALL.keys, SMALL.data
    x, y = (uniform(label, 256, keys) for label in (b"x", b"y"))
    ntt_x, ntt_y = ([ntt(r, q) for r, q in zip(rows, keys, strict=True)] for rows in (x, y))
    product = back(times(ntt_x, ntt_y, keys), keys)
    large = uniform(b"x", SMALL.n, keys)
    transformed = [ntt(r, q) for r, q in zip(large, keys, strict=True)]
    _ring_checks(x, y, product, large, transformed)
    modulus = math.prod(data)
    values = [0, 1, -1, (modulus - 1) // 2, -(modulus - 1) // 2, 2**120, -(2**75)]
    if compose(residues(values, data), data) != values:
        raise MismatchError("Chinese remainders do not give the integers back")
    divisor = SMALL.divisor
    halves = [0, 1, divisor // 2, divisor // 2 + 1, -(divisor // 2), -(divisor // 2) - 1, 7 * divisor - 1, -(2**180)]
    divided = divide(residues(halves, data), data, 2)
    for before, after in zip(halves, compose(divided, SMALL.kept), strict=True):
        if abs(before - after * divisor) > divisor:
            raise MismatchError("a division is off by more than one")
    field = bytes_of("small uniform", 10 * 256)
    small = [(int.from_bytes(field[i : i + 10], "little") & (1 << 76) - 1) - (1 << 75) for i in range(0, 2560, 10)]
    return {
        "primes": list(keys),
        "small": {"degree": 256, "x": "x", "y": "y", "ntt_x": summary(ntt_x), "product": summary(product)},
        "large": {"degree": SMALL.n, "x": "x", "ntt_x": summary(transformed)},
        "compose": [{"value": str(v), "residues": [v % q for q in data]} for v in values],
        "divide": [
            {"value": str(v), "dropped": 2, "residues": [row[i] for row in divided]} for i, v in enumerate(halves)
        ],
        "small_uniform": {
            "degree": 256,
            "bits": 76,
            "stream": "small uniform",
            "first": [str(v) for v in small[:4]],
            "residues": summary(residues(small, data)),
        },
    }


def hash_to_polynomial() -> Json:
    """Uniform polynomials from strings."""
    rows = []
    for label, degree in ((b"", 256), (b"label", 256), (bytes(range(64)), SMALL.n)):
        polynomial = uniform(label, degree, SMALL.keys)
        rows.append({"label": label.hex(), "degree": degree, "residues": summary(polynomial)})
    return {"primes": list(SMALL.keys), "cases": rows}


def wire() -> Json:
    """Messages, and malformed ones."""
    primes, degree, context = SMALL.keys[-3:], 8, bytes_of("context")
    messages = []
    for kind, polynomials in ((1, 1), (2, 2), (3, 1)):
        parts = [uniform(b"%d" % p, degree, primes) for p in range(polynomials)]
        for i, q in enumerate(primes):
            parts[0][i][0], parts[-1][i][-1] = 0, q - 1
        data = message(kind, parts, primes, context)
        if read(data, kind, primes, polynomials, degree, context) != parts:
            raise MismatchError("a message does not read back")
        messages.append({"kind": kind, "polynomials": polynomials, "residues": parts, "message": data.hex()})
    good, width = bytes.fromhex(str(messages[1]["message"])), width_of(primes[0])
    changed = {
        "empty": b"",
        "seventeen bytes": good[:17],
        "truncated": good[:-1],
        "extended": good + b"\0",
        "magic": b"SBFM" + good[4:],
        "version": good[:4] + b"\2" + good[5:],
        "kind": good[:5] + b"\3" + good[6:],
        "mode": good[:6] + b"\1" + good[7:],
        "degree": good[:7] + b"\4" + good[8:],
        "polynomials": good[:8] + b"\3" + good[9:],
        "context": good[:43] + bytes([good[43] ^ 1]) + good[44:],
        "residue equal to its prime": good[:44] + primes[0].to_bytes(width, "little") + good[44 + width :],
        "last residue too large": good[:-3] + b"\xff\xff\xff",
    }
    return {
        "primes": list(primes),
        "degree": degree,
        "context": context.hex(),
        "messages": messages,
        "failures": [
            {"operation": "decode", "change": name, "message": data.hex()}
            | caught(lambda data=data: read(data, 2, primes, 2, degree, context))
            for name, data in changed.items()
        ],
    }


def sharing() -> Json:
    """Committees, their pieces, and who answers for which."""
    replicated = []
    for members in range(2, 9):
        for threshold in range(2, members + 1):
            shared = Replicated(members, threshold)
            everyone = list(range(1, members + 1))
            quorums = [everyone[:threshold], everyone[-threshold:], everyone]
            few = everyone[: threshold - 1]
            replicated.append(
                {
                    "members": members,
                    "threshold": threshold,
                    "missing": [list(missing) for missing in shared.missing],
                    "dealers": [shared.dealer(piece) for piece in range(shared.pieces)],
                    "assignments": [{"active": q, "pieces": list(shared.assign(q).values())} for q in quorums],
                    "refused": {"active": few} | caught(lambda s=shared, few=few: s.assign(few)),
                }
            )
    shamir, primes = [], SMALL.data
    for members, threshold in ((5, 3), (9, 5), (16, 10), (32, 2), (32, 32)):
        points = Shamir(members, threshold)
        active = list(range(members, members - threshold, -1))[::-1]
        columns = [interpolation(active, 0, q) for q in primes]
        if any(
            sum(f * (7 + 5 * x) for f, x in zip(column, active, strict=True)) % q != 7
            for column, q in zip(columns, primes, strict=True)
        ):
            raise MismatchError("Lagrange factors do not interpolate")
        shamir.append(
            {
                "members": members,
                "threshold": threshold,
                "dealers": [points.dealer(addend) for addend in range(points.addends)],
                "trial_sets": points.trial_sets,
                "active": active,
                "lagrange": [
                    {"member": member, "factors": [column[i] for column in columns]} for i, member in enumerate(active)
                ],
            }
        )
    five = Shamir(5, 3)
    refused: list[list[int]] = [[1, 2], [1, 2, 3, 4], [1, 1, 2], [1, 2, 6]]
    return {
        "replicated": replicated,
        "kinds": [
            {
                "members": members,
                "shamir_thresholds": [t for t in range(2, members + 1) if isinstance(share_among(members, t), Shamir)],
            }
            for members in range(2, 33)
        ],
        "shamir": shamir,
        "failures": [
            {"operation": "assignment", "sharing": "shamir 3 of 5", "active": active}
            | caught(lambda active=active: five.assign(active))
            for active in refused
        ],
    }


def noise() -> Json:
    """Bounds, scale, capacity and statistical bits."""
    rows = []
    for degree in SUITES:
        for addends, answers, clients in (
            (1, 1, 1),
            (3, 3, 2),
            (10, 10, 10),
            (10, 10, 1000),
            (10, 10, 1),
            (70, 70, 10_000),
        ):
            budget = Budget(preset(degree), addends, answers, clients)
            rows.append(
                {
                    "ring_degree": degree,
                    "addends": addends,
                    "answers": answers,
                    "clients": clients,
                    "error_std": budget.error_std,
                    "error_bound": budget.error_bound,
                    "test_error_std": budget.test_error_std,
                    "test_error_bound": budget.test_error_bound,
                    "noise_bound": str(budget.bound(answers)),
                    "scale_shift": budget.shift,
                    "scale": str(budget.suite.divisor << budget.shift),
                    "plaintext_bits": budget.plaintext_bits,
                    "digits_of_20_bits": budget.plaintext_bits // 20,
                    "lambda": [
                        {
                            "coefficients": count * degree,
                            "tests": tests,
                            "bits": budget.bits_left(count * degree, tests),
                        }
                        for count, tests in ((1, 1), (11, 1), (1001, 2), (100_001, 3))
                    ],
                    "admits": [
                        {"replicated": [n, t], "admitted": budget.admits(Replicated(n, t).pieces)}
                        for n, t in ((2, 2), (3, 2), (5, 3), (12, 2), (8, 5))
                    ],
                }
            )

    def require(degree: int, count: int) -> None:
        if Budget(preset(degree), 10, 10, 1000).bits_left(count, 1) < 40:
            raise ExpectedFailure("CapacityError")

    refused = {"operation": "require", "ring_degree": 8192, "addends": 10, "answers": 10, "clients": 1000}
    count = 8192 * 1001
    wide = {"operation": "layout", "ring_degree": 8192, "addends": 3, "answers": 3, "clients": 2, "width": 128}
    room = Budget(SMALL, 3, 3, 2).plaintext_bits
    return {
        "budgets": rows,
        "failures": [
            refused | {"coefficients": count} | caught(lambda: require(8192, count)),
            wide | caught(lambda: room >= 128 or _refuse("CapacityError")),
        ],
    }
