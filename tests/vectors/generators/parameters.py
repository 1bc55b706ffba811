"""suites, ring, hash_to_polynomial, wire, sharing and noise."""

from typing import cast

import numpy as np

from protocols.ring import Ring
from protocols.suites import MAX_MODULUS_BITS, RING_DEGREES, suite
from protocols.tckks import NoiseBudget, ReplicatedSharing, ShamirSharing, share_among
from protocols.tckks.shamir import lagrange
from protocols.tckks.wire import WireKind, decode, encode, hash_to_polynomial
from tests.vectors.generators.example import DATA, FULL, SUITE, Json, bytes_of, failure, summary

SMALL = Ring(256, SUITE.key_primes)


def suites_json() -> Json:
    rows = []
    for degree in RING_DEGREES:
        preset = suite(degree)
        bits = sum(q.bit_length() for q in preset.key_primes)
        assert bits <= MAX_MODULUS_BITS[degree]
        rows.append(
            {
                "name": preset.name,
                "ring_degree": degree,
                "kept_primes": list(preset.answer_primes),
                "dropped_primes": list(preset.data_primes[-preset.dropped :]),
                "special_prime": preset.special_prime,
                "dropped_modulus": str(preset.dropped_modulus),
                "residue_bytes": list(preset.residue_bytes),
                "smudging_bits": preset.smudging_bits,
                "modulus_bits": bits,
            }
        )
    refused = failure(lambda: suite(4096), "no preset has this ring degree")
    return {"suites": rows, "failures": [{"operation": "suite", "ring_degree": 4096} | refused]}


def ring_json() -> Json:
    x, y = (hash_to_polynomial(label, 256, SUITE.key_primes) for label in (b"x", b"y"))
    product = SMALL.inverse_ntt(SMALL.multiply(SMALL.ntt(x), SMALL.ntt(y)))
    large = hash_to_polynomial(b"x", SUITE.ring_degree, SUITE.key_primes)
    values = (0, 1, -1, (DATA.modulus - 1) // 2, -(DATA.modulus - 1) // 2, 2**120, -(2**75))
    divisor = SUITE.dropped_modulus
    halves = [0, 1, divisor // 2, divisor // 2 + 1, -(divisor // 2), -(divisor // 2) - 1, 7 * divisor - 1, -(2**180)]
    before = np.zeros((len(SUITE.data_primes), 256), dtype=np.uint64)
    before[:, : len(halves)] = [[value % q for value in halves] for q in SUITE.data_primes]
    data = Ring(256, SUITE.data_primes)
    divided = data.rescale(before, SUITE.dropped)
    small = data.small_uniform(bytes_of("small uniform", 10 * 256), 76)
    return {
        "primes": list(SUITE.key_primes),
        "small": {"degree": 256, "x": "x", "y": "y", "ntt_x": summary(SMALL.ntt(x)), "product": summary(product)},
        "large": {"degree": SUITE.ring_degree, "x": "x", "ntt_x": summary(FULL.ntt(large))},
        "compose": [{"value": str(v), "residues": [v % q for q in SUITE.data_primes]} for v in values],
        "divide": [{"value": str(v), "dropped": 2, "residues": divided[:, i].tolist()} for i, v in enumerate(halves)],
        "small_uniform": {
            "degree": 256,
            "bits": 76,
            "stream": "small uniform",
            "first": [str(v) for v in data.compose(small)[:4]],
            "residues": summary(small),
        },
    }


def hash_to_polynomial_json() -> Json:
    rows = []
    for label, degree in ((b"", 256), (b"label", 256), (bytes(range(64)), SUITE.ring_degree)):
        residues = hash_to_polynomial(label, degree, SUITE.key_primes)
        rows.append({"label": label.hex(), "degree": degree, "residues": summary(residues)})
    return {"primes": list(SUITE.key_primes), "cases": rows}


def wire_json() -> Json:
    primes, degree, context = SUITE.key_primes[-3:], 8, bytes_of("context")
    messages = []
    for kind, polynomials in ((WireKind.PUBLIC_PART, 1), (WireKind.CIPHERTEXT, 2), (WireKind.PARTIAL_DECRYPTION, 1)):
        residues = np.stack([hash_to_polynomial(b"%d" % p, degree, primes) for p in range(polynomials)])
        residues[0, :, 0], residues[-1, :, -1] = 0, [q - 1 for q in primes]
        messages.append(
            {
                "kind": int(kind),
                "polynomials": polynomials,
                "residues": residues.tolist(),
                "message": encode(kind, residues, primes, context=context).hex(),
            }
        )
    good, width = bytes.fromhex(cast(str, messages[1]["message"])), (primes[0].bit_length() + 7) // 8
    too_long, key, large = "another length", "another header than the plan's", "a residue is not below its prime"
    changed = {
        "empty": (b"", too_long),
        "seventeen bytes": (good[:17], too_long),
        "truncated": (good[:-1], too_long),
        "extended": (good + b"\0", too_long),
        "magic": (b"SBFM" + good[4:], key),
        "version": (good[:4] + b"\2" + good[5:], key),
        "kind": (good[:5] + b"\3" + good[6:], key),
        "mode": (good[:6] + b"\1" + good[7:], key),
        "degree": (good[:7] + b"\4" + good[8:], key),
        "polynomials": (good[:8] + b"\3" + good[9:], key),
        "context": (good[:43] + bytes([good[43] ^ 1]) + good[44:], key),
        "residue equal to its prime": (good[:44] + primes[0].to_bytes(width, "little") + good[44 + width :], large),
        "last residue too large": (good[:-3] + b"\xff\xff\xff", large),
    }

    def read(data: bytes) -> object:
        return decode(WireKind.CIPHERTEXT, data, primes, polynomials=2, degree=degree, context=context)

    return {
        "primes": list(primes),
        "degree": degree,
        "context": context.hex(),
        "messages": messages,
        "failures": [
            {"operation": "decode", "change": name, "message": data.hex()} | failure(lambda data=data: read(data), why)  # type: ignore[misc]
            for name, (data, why) in changed.items()
        ],
    }


def sharing_json() -> Json:
    replicated = []
    for members in range(2, 9):
        for threshold in range(2, members + 1):
            sharing = ReplicatedSharing(members, threshold)
            everyone = tuple(range(1, members + 1))
            quorums = [everyone[:threshold], everyone[-threshold:], everyone]
            few = everyone[: threshold - 1]
            replicated.append(
                {
                    "members": members,
                    "threshold": threshold,
                    "missing": [list(missing) for missing in sharing.missing_sets],
                    "dealers": [sharing.dealer(piece) for piece in range(sharing.pieces)],
                    "assignments": [
                        {"active": list(q), "pieces": [list(sharing.assignment(q)[m]) for m in q]} for q in quorums
                    ],
                    "refused": {"active": list(few)}
                    | failure(lambda s=sharing, few=few: s.assignment(few), "too few members"),  # type: ignore[misc]
                }
            )
    shamir = []
    for members, threshold in ((5, 3), (9, 5), (16, 10), (32, 2), (32, 32)):
        points = ShamirSharing(members, threshold)
        active = tuple(range(members - threshold + 1, members + 1))
        factors = lagrange(active, SUITE.data_primes)
        shamir.append(
            {
                "members": members,
                "threshold": threshold,
                "dealers": [points.dealer(addend) for addend in range(points.addends)],
                "trial_sets": [list(trial) for trial in points.trial_sets],
                "active": list(active),
                "lagrange": [{"member": m, "factors": factors[m].reshape(-1).tolist()} for m in active],
            }
        )
    five = ShamirSharing(5, 3)
    refused = {
        (1, 2): "too few members",
        (1, 2, 3, 4): "an active set has exactly t members",
        (1, 1, 2): "a member named twice",
        (1, 2, 6): "no such member",
    }
    return {
        "replicated": replicated,
        "kinds": [
            {
                "members": members,
                "shamir_thresholds": [
                    t for t in range(2, members + 1) if isinstance(share_among(members, t), ShamirSharing)
                ],
            }
            for members in range(2, 33)
        ],
        "shamir": shamir,
        "failures": [
            {"operation": "assignment", "sharing": "shamir 3 of 5", "active": list(active)}
            | failure(lambda active=active: five.assignment(active), why)  # type: ignore[misc]
            for active, why in refused.items()
        ],
    }


def noise_json() -> Json:
    rows = []
    cases = ((1, 1, 1), (3, 3, 2), (10, 10, 10), (10, 10, 1000), (10, 10, 1), (70, 70, 10_000))
    for degree in RING_DEGREES:
        for addends, answers, clients in cases:
            budget = NoiseBudget(suite(degree), addends, answers, clients)
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
                    "noise_bound": str(budget.noise_bound),
                    "scale_shift": budget.scale_shift,
                    "scale": str(budget.scale),
                    "plaintext_bits": budget.plaintext_bits,
                    "digits_of_20_bits": budget.layout(20).per_coefficient,
                    "lambda": [
                        {
                            "coefficients": count * degree,
                            "tests": tests,
                            "bits": budget.smudging_lambda(count * degree, tests=tests),
                        }
                        for count, tests in ((1, 1), (11, 1), (1001, 2), (100_001, 3))
                    ],
                    "admits": [
                        {"replicated": [n, t], "admitted": budget.admits(ReplicatedSharing(n, t))}
                        for n, t in ((2, 2), (3, 2), (5, 3), (12, 2), (8, 5))
                    ],
                }
            )
    refused = {"operation": "require", "ring_degree": 8192, "addends": 10, "answers": 10, "clients": 1000}
    count = 8192 * 1001
    wide = {"operation": "layout", "ring_degree": 8192, "addends": 3, "answers": 3, "clients": 2, "width": 128}
    return {
        "budgets": rows,
        "failures": [
            refused
            | {"coefficients": count}
            | failure(lambda: NoiseBudget(suite(8192), 10, 10, 1000).require(count), "too little smudging is left"),
            wide | failure(lambda: NoiseBudget(suite(8192), 3, 3, 2).layout(128), "no such digit fits"),
        ],
    }
