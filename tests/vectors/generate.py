"""Write the test vectors, or with `--check` compare them byte for byte with what the library makes now.

    python tests/vectors/generate.py            writes tests/vectors/*.json
    python tests/vectors/generate.py --check    changes nothing; fails where a file differs

All randomness is SHAKE-256 of a label. Large arrays are stored as their SHA-256 (little-endian, row by row) and their
first and last eight values. `verify.py` computes everything again from the specification, without this library.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from protocols import Grid, GridVector, ProtocolError, digit_width, pack, unpack  # noqa: E402
from protocols.arrays import UInt64Array  # noqa: E402
from protocols.digits import DigitBlocks, DigitLayout  # noqa: E402
from protocols.ring import Ring, ring  # noqa: E402
from protocols.suites import RING_DEGREES, suite  # noqa: E402
from protocols.tckks import (  # noqa: E402
    Ceremony,
    EncryptedVector,
    Encryptor,
    MemberKey,
    NoiseBudget,
    PartialDecryption,
    PieceSeed,
    Purpose,
    ReplicatedSharing,
    aggregate,
    check_piece,
    combine,
    commitment,
    deal,
    derive_piece,
    dryrun,
    join,
    partial_decrypt,
)
from protocols.tckks.decrypt import _smudging  # noqa: E402
from protocols.tckks.encrypt import message_residues  # noqa: E402
from protocols.tckks.keygen import _expand, centred_binomial, ternary  # noqa: E402
from protocols.tckks.wire import WireKind, decode, encode, hash_to_polynomial  # noqa: E402

Json: TypeAlias = dict[str, Any]
SUITE = suite(8192)
DATA = ring(SUITE.ring_degree, SUITE.data_primes)
FULL = ring(SUITE.ring_degree, SUITE.key_primes)
CLIENTS = 2
WIDTH = 20


def bytes_of(label: str, size: int = 32) -> bytes:
    """The vectors' only source of randomness."""
    return hashlib.shake_256(b"secure-bfl/vectors/v1/" + label.encode()).digest(size)


def summary(array: NDArray[Any]) -> Json:
    """A large array in short."""
    kind = {"u": "<u8", "i": "<i8"}[array.dtype.kind]
    flat = np.ascontiguousarray(array, dtype=kind).reshape(-1)
    return {
        "shape": list(array.shape),
        "sha256": hashlib.sha256(flat.tobytes()).hexdigest(),
        "first": flat[:8].tolist(),
        "last": flat[-8:].tolist(),
    }


def failure(operation: Callable[[], object]) -> Json:
    """Run what must fail; which error it is, and whom it names."""
    try:
        operation()
    except ProtocolError as error:
        return {"error": type(error).__name__, "culprits": list(error.culprits)}
    except ValueError:
        return {"error": "ValueError", "culprits": []}
    raise AssertionError("this operation must fail")


def suites_json() -> Json:
    rows = []
    for degree in RING_DEGREES:
        preset = suite(degree)
        rows.append(
            {
                "name": preset.name,
                "ring_degree": degree,
                "data_primes": list(preset.data_primes),
                "special_prime": preset.special_prime,
                "residue_bytes": list(preset.residue_bytes),
                "smudging_bits": preset.smudging_bits,
            }
        )
    return {"suites": rows}


def ring_json() -> Json:
    small = Ring(256, SUITE.key_primes)
    x, y = (hash_to_polynomial(label, 256, SUITE.key_primes) for label in (b"x", b"y"))
    product = small.inverse_ntt(small.multiply(small.ntt(x), small.ntt(y)))
    large = hash_to_polynomial(b"x", SUITE.ring_degree, SUITE.key_primes)
    return {
        "primes": list(SUITE.key_primes),
        "small": {"degree": 256, "x": "x", "y": "y", "ntt_x": summary(small.ntt(x)), "product": summary(product)},
        "large": {"degree": SUITE.ring_degree, "x": "x", "ntt_x": summary(FULL.ntt(large))},
        "compose": [
            {"value": str(value), "residues": [value % q for q in SUITE.data_primes]}
            for value in (0, 1, -1, (DATA.modulus - 1) // 2, -(DATA.modulus - 1) // 2, 2**120, -(2**75))
        ],
    }


def hash_to_polynomial_json() -> Json:
    rows = []
    for label, degree in ((b"", 256), (b"label", 256), (bytes(range(64)), SUITE.ring_degree)):
        residues = hash_to_polynomial(label, degree, SUITE.key_primes)
        rows.append({"label": label.hex(), "degree": degree, "residues": summary(residues)})
    return {"primes": list(SUITE.key_primes), "cases": rows}


def sharing_json() -> Json:
    rows = []
    for members in range(2, 9):
        for threshold in range(2, members + 1):
            sharing = ReplicatedSharing(members, threshold)
            everyone = tuple(range(1, members + 1))
            quorums = [everyone[:threshold], everyone[-threshold:], everyone]
            rows.append(
                {
                    "members": members,
                    "threshold": threshold,
                    "missing": [list(missing) for missing in sharing.missing_sets],
                    "dealers": [sharing.dealer(piece) for piece in range(sharing.pieces)],
                    "assignments": [
                        {"active": list(q), "pieces": [list(sharing.assignment(q)[m]) for m in q]} for q in quorums
                    ],
                    "refused": {"active": list(everyone[: threshold - 1])}
                    | failure(lambda s=sharing, few=everyone[: threshold - 1]: s.assignment(few)),  # type: ignore[misc]
                }
            )
    return {"committees": rows}


CEREMONY = Ceremony(SUITE, ReplicatedSharing(3, 2), bytes_of("position"))
SEEDS = {s.piece: s for m in (1, 2, 3) for s in deal(CEREMONY, m, rand=bytes_of(f"deal/{m}"))}
DERIVED = {piece: derive_piece(CEREMONY, SEEDS[piece]) for piece in sorted(SEEDS)}
JOINT = join(CEREMONY, {piece: part for piece, (_, part) in DERIVED.items()})
KEYS = {m: MemberKey(m, JOINT, {p: DERIVED[p][0] for p in JOINT.sharing.held_by(m)}) for m in (1, 2, 3)}
BUDGET = NoiseBudget(SUITE, JOINT.sharing.pieces, CLIENTS)
LAYOUT = BUDGET.layout(WIDTH)


def keygen_json() -> Json:
    degree = SUITE.ring_degree
    pieces = []
    for piece, (key, part) in DERIVED.items():
        seed = SEEDS[piece]
        b = decode(
            WireKind.PUBLIC_PART, part, SUITE.key_primes, polynomials=1, degree=degree, context=CEREMONY.identity
        )
        pieces.append(
            {
                "piece": piece,
                "seed": seed.reveal().hex(),
                "ternary": summary(ternary(_expand(CEREMONY, seed, b"ternary", degree + degree // 8 + 256), degree)),
                "error": summary(centred_binomial(_expand(CEREMONY, seed, b"error", 8 * degree))),
                "noise_key": key.noise_key.hex(),
                "secret_ntt": summary(key.secret_ntt),
                "b": summary(b[0]),
                "commitment": commitment(part).hex(),
            }
        )
    flipped = bytearray(DERIVED[1][1])
    flipped[1000] ^= 1
    return {
        "suite": SUITE.name,
        "members": 3,
        "threshold": 2,
        "position": CEREMONY.position.hex(),
        "identity": CEREMONY.identity.hex(),
        "common_polynomial": summary(CEREMONY.common_polynomial()),
        "dealers": [{"member": m, "rand": bytes_of(f"deal/{m}").hex()} for m in (1, 2, 3)],
        "pieces": pieces,
        "joint_b": summary(JOINT.b),
        "joint_digest": JOINT.digest.hex(),
        "failures": [
            {"operation": "check_piece", "piece": 1, "seed": bytes_of("wrong seed").hex(), "flipped_byte": None}
            | failure(lambda: check_piece(CEREMONY, PieceSeed(1, bytes_of("wrong seed")), DERIVED[1][1])),
            {"operation": "check_piece", "piece": 1, "seed": SEEDS[1].reveal().hex(), "flipped_byte": 1000}
            | failure(lambda: check_piece(CEREMONY, SEEDS[1], bytes(flipped))),
            {"operation": "join", "piece": 2, "seed": None, "flipped_byte": None}
            | failure(lambda: join(CEREMONY, {0: DERIVED[0][1], 1: DERIVED[1][1]})),
        ],
    }


def packing_json() -> Json:
    grid, layout, clients = Grid(8, 4), DigitLayout(12, 3, 4), 10
    reals = [0.0, 0.03125, 0.09375, -0.03125, 1.0, -2.71875, 7.9375, 100.0, -1e300, 3.14159, 0.5, -0.5, 6.25, 2.0**-50]
    vector = grid.quantize(np.array(reals))
    digits = pack(vector, layout, clients=clients)
    weights = np.array([1 << (layout.width * d) for d in range(layout.per_coefficient)], dtype=object)
    messages = [(block.astype(object) * weights[:, None]).sum(axis=0).tolist() for block in digits.digits]
    total = DigitBlocks(layout, digits.digits * clients)
    spoiled = digits.digits.copy()
    spoiled[1, 2, 3] = 1
    return {
        "value_bits": 8,
        "step_bits": 4,
        "width": 12,
        "per_coefficient": 3,
        "coefficients": 4,
        "clients": clients,
        "reals": [value.hex() for value in reals],
        "units": vector.values.tolist(),
        "digits": digits.digits.tolist(),
        "messages": messages,
        "sum_of_all_clients": unpack(total, len(reals)).tolist(),
        "widths": [
            {"value_bits": v, "clients": c, "width": digit_width(Grid(v, 0), c)}
            for v, c in ((2, 1), (8, 10), (16, 10), (16, 11), (24, 1000), (32, 10_000))
        ],
        "failures": [
            {"operation": "quantize", "reals": ["nan"]} | failure(lambda: grid.quantize(np.array([np.nan]))),
            {"operation": "pack", "clients": 17} | failure(lambda: pack(vector, layout, clients=17)),
            {"operation": "unpack", "values": 25} | failure(lambda: unpack(digits, 25)),
            {"operation": "unpack", "values": 14, "set_to_one": [1, 2, 3]}
            | failure(lambda: unpack(DigitBlocks(layout, spoiled), 14)),
            {"operation": "grid_vector", "units": [128]}
            | failure(lambda: GridVector(grid, np.array([128], dtype=np.int64))),
        ],
    }


def noise_json() -> Json:
    rows = []
    for degree in RING_DEGREES:
        for pieces, clients in ((1, 1), (3, 2), (10, 10), (10, 1000), (70, 10_000)):
            budget = NoiseBudget(suite(degree), pieces, clients)
            rows.append(
                {
                    "ring_degree": degree,
                    "pieces": pieces,
                    "clients": clients,
                    "error_std": budget.error_std,
                    "error_bound": budget.error_bound,
                    "test_error_std": budget.test_error_std,
                    "test_error_bound": budget.test_error_bound,
                    "noise_bound": str(budget.noise_bound),
                    "scale_bits": budget.scale_bits,
                    "plaintext_bits": budget.plaintext_bits,
                    "digits_of_20_bits": budget.layout(20).per_coefficient,
                    "lambda": [
                        {"coefficients": count * degree, "bits": budget.smudging_lambda(count * degree)}
                        for count in (1, 11, 1001, 100_001)
                    ],
                }
            )
    return {
        "budgets": rows,
        "failures": [
            {"operation": "require", "ring_degree": 8192, "pieces": 10, "clients": 1000, "coefficients": 8192 * 1001}
            | failure(lambda: NoiseBudget(suite(8192), 10, 1000).require(8192 * 1001)),
        ],
    }


def textbook(client: int) -> tuple[DigitBlocks, EncryptedVector]:
    """A client's ciphertext by the textbook formula, from a label: SEAL's sampling is not part of these vectors."""
    count, degree = LAYOUT.values_per_block, SUITE.ring_degree
    span = 2 * (LAYOUT.largest // CLIENTS) + 1
    raw = np.frombuffer(bytes_of(f"client/{client}/digits", 8 * count), dtype="<u8") % np.uint64(span)
    values = raw.astype(np.int64) - span // 2
    digits = DigitBlocks(LAYOUT, values.reshape(1, LAYOUT.per_coefficient, degree))
    u = DATA.ntt(DATA.reduce(ternary(bytes_of(f"client/{client}/u", degree + degree // 8 + 256), degree)))
    e0, e1 = (DATA.reduce(centred_binomial(bytes_of(f"client/{client}/e{i}", 8 * degree))) for i in (0, 1))
    message = message_residues(DATA, digits, BUDGET.scale_bits, 0)
    rows = len(SUITE.data_primes)
    c0 = DATA.add(DATA.multiply(JOINT.b[:rows], u), DATA.ntt(DATA.add(message, e0)))
    c1 = DATA.add(DATA.multiply(JOINT.a[:rows], u), DATA.ntt(e1))
    return digits, EncryptedVector(SUITE, JOINT.digest, np.stack([c0, c1])[None])


def opens(total: EncryptedVector, answers: dict[str, UInt64Array]) -> bool:
    """Whether these answers open to something."""
    try:
        combine(total, answers, BUDGET, LAYOUT)
    except ProtocolError:
        return False
    return True


def decryption_json() -> Json:
    clients = [textbook(client) for client in range(1, CLIENTS + 1)]
    total = aggregate(vector for _, vector in clients)
    c1 = hashlib.sha256(total.residues[0, 1].astype("<u8").tobytes()).digest()
    quorums, answers = [], {}
    for active in ((1, 2), (1, 3), (2, 3)):
        parts = {f"member-{m}": partial_decrypt(KEYS[m], total, active) for m in active}
        answers[active] = {name: part.residues for name, part in parts.items()}
        opened = combine(total, answers[active], BUDGET, LAYOUT)
        quorums.append(
            {
                "active": list(active),
                "answers": [
                    {"member": name, "sha256": hashlib.sha256(p.encode()).hexdigest(), "residues": summary(p.residues)}
                    for name, p in parts.items()
                ],
                "digits": summary(opened.digits),
            }
        )

    def flipped(coefficient: int) -> dict[str, UInt64Array]:
        changed = answers[1, 2]["member-1"].copy()
        changed[0, 1, coefficient] = (int(changed[0, 1, coefficient]) + 1) % SUITE.data_primes[1]
        return {**answers[1, 2], "member-1": changed}

    seen = next(c for c in range(100) if not opens(total, flipped(c)))
    unseen = next(c for c in range(100) if opens(total, flipped(c)))
    wrong = combine(total, flipped(unseen), BUDGET, LAYOUT).digits[0, :, unseen]
    mixed = {"member-1": answers[1, 2]["member-1"], "member-3": answers[2, 3]["member-3"]}
    message = PartialDecryption(SUITE, JOINT.digest, answers[1, 2]["member-1"]).encode()
    foreign = message[:12] + bytes_of("another key") + message[44:]
    return {
        "suite": SUITE.name,
        "key": "keygen.json",
        "clients": CLIENTS,
        "width": WIDTH,
        "per_coefficient": LAYOUT.per_coefficient,
        "scale_bits": BUDGET.scale_bits,
        "noise_bound": str(BUDGET.noise_bound),
        "ciphertexts": [
            {"client": i, "digits": summary(d.digits), "sha256": hashlib.sha256(v.encode()).hexdigest()}
            for i, (d, v) in enumerate(clients, start=1)
        ],
        "aggregate": summary(total.residues),
        "c1_sha256": c1.hex(),
        "smudging": [
            {
                "piece": piece,
                "purpose": int(purpose),
                "residues": summary(_smudging(DATA, SUITE, key, JOINT.digest, purpose, c1)),
            }
            for piece, (key, _) in DERIVED.items()
            for purpose in Purpose
        ],
        "quorums": quorums,
        "not_seen": {"member": "member-1", "row": 1, "coefficient": unseen, "digits": wrong.tolist()},
        "failures": [
            {"operation": "flipped_coefficient", "active": [1, 2], "member": "member-1", "row": 1, "coefficient": seen}
            | failure(lambda: combine(total, flipped(seen), BUDGET, LAYOUT)),
            {"operation": "answers_of", "active": [1, 2], "member": "member-1"}
            | failure(lambda: combine(total, {"member-1": answers[1, 2]["member-1"]}, BUDGET, LAYOUT)),
            {
                "operation": "mixed_quorums",
                "active": [1, 2],
                "member": "member-1",
                "other": [2, 3],
                "other_member": "member-3",
            }
            | failure(lambda: combine(total, mixed, BUDGET, LAYOUT)),
            {"operation": "foreign_header", "header": foreign[:44].hex(), "member": "member-1"}
            | failure(lambda: PartialDecryption.decode(foreign, JOINT, sender="member-1", blocks=1)),
        ],
    }


def dry_run_json() -> Json:
    test = dryrun.test_ciphertext(JOINT, BUDGET, LAYOUT)
    answers = {piece: dryrun.answer_test(key, test) for piece, (key, _) in DERIVED.items()}
    dryrun.check_test(JOINT, BUDGET, LAYOUT, answers)
    return {
        "key": "keygen.json",
        "scale_bits": BUDGET.scale_bits,
        "digits": summary(dryrun.test_digits(JOINT, LAYOUT).digits),
        "ciphertext": summary(test.residues),
        "ciphertext_sha256": hashlib.sha256(test.encode()).hexdigest(),
        "answers": [{"piece": p, "sha256": hashlib.sha256(data).hexdigest()} for p, data in answers.items()],
        "failures": [
            {"operation": "check_test", "missing_piece": 2}
            | failure(lambda: dryrun.check_test(JOINT, BUDGET, LAYOUT, {0: answers[0], 1: answers[1]})),
        ],
    }


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
    good = bytes.fromhex(messages[1]["message"])
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
        "residue equal to its prime": good[:44] + primes[0].to_bytes(4, "little") + good[48:],
        "last residue too large": good[:-3] + b"\xff\xff\xff",
    }

    def read(data: bytes) -> object:
        return decode(WireKind.CIPHERTEXT, data, primes, polynomials=2, degree=degree, context=context)

    return {
        "primes": list(primes),
        "degree": degree,
        "context": context.hex(),
        "messages": messages,
        "failures": [
            {"change": name, "message": data.hex()} | failure(lambda data=data: read(data))  # type: ignore[misc]
            for name, data in changed.items()
        ],
    }


def seal_json() -> Json:
    """SEAL's encryption with a fixed seed. Not in `verify.py`: it would have to repeat SEAL's sampling."""
    digits, _ = textbook(1)
    encrypted = Encryptor(JOINT, BUDGET, LAYOUT).encrypt(digits, rand=bytes_of("encrypt"))
    return {
        "key": "keygen.json",
        "rand": bytes_of("encrypt").hex(),
        "digits": "client 1 of decryption.json",
        "c0": summary(encrypted.residues[0, 0]),
        "c1": summary(encrypted.residues[0, 1]),
        "sha256": hashlib.sha256(encrypted.encode()).hexdigest(),
    }


FILES: dict[str, tuple[str, Callable[[], Json]]] = {
    "suites": ("tckks §1", suites_json),
    "ring": ("tckks §2", ring_json),
    "hash_to_polynomial": ("wire §2", hash_to_polynomial_json),
    "sharing": ("tckks §3.1", sharing_json),
    "keygen": ("tckks §3", keygen_json),
    "packing": ("packing §1-§3", packing_json),
    "noise": ("tckks §6", noise_json),
    "decryption": ("tckks §5", decryption_json),
    "dry_run": ("tckks §3.4", dry_run_json),
    "wire": ("wire §1", wire_json),
    "seal": ("tckks §4", seal_json),
}


def rendered(name: str) -> bytes:
    """The bytes of one file."""
    spec, make = FILES[name]
    document = {"vectors": name, "version": 1, "spec": f"{spec} (v1)", **make()}
    return (json.dumps(document, indent=1, ensure_ascii=True) + "\n").encode()


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description="Write or compare the test vectors.")
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 where a file differs")
    check = parser.parse_args().check
    stale = []
    for name in FILES:
        path, data = HERE / f"{name}.json", rendered(name)
        if check and (not path.exists() or path.read_bytes() != data):
            stale.append(path.name)
        elif not check:
            path.write_bytes(data)
    for name in stale:
        print(f"{name} is not what the library makes: a change of behaviour, or run python tests/vectors/generate.py")
    if not stale:
        print(f"{len(FILES)} vector files are {'current' if check else 'written'}")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
