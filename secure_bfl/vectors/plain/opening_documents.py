"""decryption, shamir_decryption, dry_run and fingerprints, computed from the specification."""

from collections.abc import Sequence
from functools import cache

from .arithmetic import (
    ExpectedFailure,
    Json,
    MismatchError,
    Rows,
    bytes_of,
    caught,
    compose,
    plus,
    residues,
    sha,
    summary,
)
from .cipher_documents import (
    CLIENTS,
    SUITE,
    WIDTH,
    client_ciphertext,
    client_digits,
    client_sum,
    example_digits,
    example_key,
)
from .committee import Replicated, Shamir
from .dealing import Piece
from .key import Budget, Ceremony
from .key_documents import founded, joined
from .keystream import keystream, words
from .opening import TEST, Answer, Digits, lagrange, open_sum, payload, trial_ciphertext, trial_digits
from .wire import header, message, read

__all__ = ["decryption", "dry_run", "fingerprints", "shamir_decryption"]

REPETITIONS = 3  # of the fingerprint


@cache
def _answer(piece: int, epoch: int = 0, purpose: int = 1, client: int = 0) -> Answer:
    made, c1 = example_key().addends[piece], (client_ciphertext(client) if client else client_sum())[1]
    return Answer(SUITE, example_key().digest, made["secret"], made["noise_key"], c1, epoch, purpose)


def _answer_json(answer: Answer, piece: int) -> Json:
    return {
        "piece": piece,
        "noise_label": answer.noise_label.hex(),
        "c1_sha256": answer.c1_digest.hex(),
        "noise_seed": answer.seed.hex(),
        "noise_first": [str(value) for value in answer.noise[:4]],
        "noise": summary(residues(answer.noise, answer.suite.data)),
        "product": summary(answer.product),
        "smudged": summary(answer.smudged),
        "answer": summary(answer.residues),
    }


@cache
def _members(active: tuple[int, ...], client: int = 0) -> dict[str, Rows]:
    return {
        f"member-{m}": plus(*(_answer(p, client=client).residues for p in mine), primes=SUITE.kept)
        for m, mine in Replicated(3, 2).assign(active).items()
    }


def _flip(rows: Rows, row: int, at: int, primes: Sequence[int], add: int = 1) -> Rows:
    changed = [list(line) for line in rows]
    changed[row][at] = (changed[row][at] + add) % primes[row]
    return changed


def decryption() -> Json:
    """The sum of two ciphertexts, answered by every quorum of two, and opened."""
    key, digits, total = example_key(), example_digits(), client_sum()
    sums = [[x + y for x, y in zip(p, q, strict=True)] for p, q in zip(client_digits(1), client_digits(2), strict=True)]
    quorums, values, known = [], [0], payload(SUITE, total[0])
    for active in ((1, 2), (1, 3), (2, 3)):
        answers = _members(active)
        opened = open_sum(SUITE, digits, known, answers)
        if opened["digits"] != sums:
            raise MismatchError("the opened sums are not the sums")
        values = opened["values"]
        quorums.append(
            {
                "active": list(active),
                "answers": [
                    {
                        "member": name,
                        "pieces": pieces,
                        "residues": summary([rows]),
                        "sha256": sha(message(3, [rows], SUITE.kept, key.digest)).hex(),
                    }
                    for (name, rows), pieces in zip(
                        answers.items(), Replicated(3, 2).assign(active).values(), strict=True
                    )
                ],
                "values_first": [str(value) for value in values[:4]],
                "digits": summary([opened["digits"]], signed=True),
            }
        )
    good = _members((1, 2))
    step = compose([[int(i == 1)] for i in range(3)], SUITE.kept)[0]  # what one more in the second residue adds
    modulus = SUITE.kept[0] * SUITE.kept[1] * SUITE.kept[2]
    half = modulus // 2
    found = [digits.opened((values[0] + step * add + half) % modulus - half) for add in range(1, 200)]
    seen, unseen = found.index(None) + 1, next(add for add, column in enumerate(found, start=1) if column)
    wrong = found[unseen - 1]
    if wrong == [plane[0] for plane in sums]:
        raise MismatchError("a changed residue changed nothing")
    flipped = {**good, "member-1": _flip(good["member-1"], 1, 0, SUITE.kept, seen)}
    mixed = {"member-1": good["member-1"], "member-3": _members((2, 3))["member-3"]}
    reused = {**good, "member-1": _members((1, 2), 1)["member-1"]}
    data = message(3, [good["member-1"]], SUITE.kept, key.digest)
    foreign = {
        "another_key": data[:12] + bytes_of("another key") + data[44:],
        "another_kind": header(2, SUITE.n, 1, key.digest) + data[44:],
        "another_ring": header(3, 16384, 1, key.digest) + data[44:],
        "truncated": data[:-1],
        "residue_equal_to_its_prime": data[:44] + SUITE.data[0].to_bytes(6, "little") + data[50:],
    }

    def decoded(changed: bytes) -> None:
        try:
            read(changed, 3, SUITE.kept, 1, SUITE.n, key.digest)
        except ExpectedFailure as failure:
            raise ExpectedFailure("BadShareError", "member-1") from failure

    def answer(member: int, active: tuple[int, ...], digest: bytes) -> None:
        if digest != key.digest or member not in Replicated(3, 2).assign(active):
            raise ExpectedFailure("ValueError")

    def opens(of: Rows, answers: dict[str, Rows]) -> Json:
        return caught(lambda: open_sum(SUITE, digits, of, answers))

    combine = {"operation": "combine", "active": [1, 2]}
    partial = {"operation": "partial_decrypt", "member": 1}
    return {
        "suite": SUITE.name,
        "key": "keygen",
        "epoch": 0,
        "ciphertexts": "encryption",
        "aggregate": summary([total]),
        "aggregate_sha256": sha(message(2, total, SUITE.data, key.digest)).hex(),
        "scale_shift": digits.budget.shift,
        "noise_bound": digits.budget.bound(3),
        "pieces": [_answer_json(_answer(piece), piece) for piece in range(3)],
        "other_noise": [
            {
                "piece": 0,
                "epoch": made.epoch,
                "purpose": made.purpose,
                "ciphertext": name,
                "noise_label": made.noise_label.hex(),
                "noise_seed": made.seed.hex(),
                "noise_first": [str(value) for value in made.noise[:4]],
            }
            for name, made in (
                ("aggregate", _answer(0, epoch=1)),
                ("aggregate", _answer(0, purpose=TEST)),
                ("client 1", _answer(0, client=1)),
            )
        ],
        "quorums": quorums,
        "not_seen": {"member": "member-1", "row": 1, "coefficient": 0, "add": unseen, "digits": wrong},
        "failures": [
            combine
            | {"change": "flipped_answer", "member": "member-1", "row": 1, "coefficient": 0, "add": seen}
            | opens(known, flipped),
            combine
            | {"change": "flipped_ciphertext", "row": 1, "value": 5, "add": 1}
            | opens(payload(SUITE, _flip(total[0], 1, 5, SUITE.data)), good),
            combine
            | {"change": "answer_to_another_ciphertext", "member": "member-1", "ciphertext": "client 1"}
            | opens(known, reused),
            combine | {"change": "answer_missing", "member": "member-2"} | opens(known, {"member-1": good["member-1"]}),
            combine | {"change": "answers_of_two_quorums", "member": "member-3", "other": [2, 3]} | opens(known, mixed),
            *(
                {"operation": "decode", "member": "member-1", "change": name} | caught(lambda bad=bad: decoded(bad))
                for name, bad in foreign.items()
            ),
            partial | {"active": [1]} | caught(lambda: answer(1, (1,), key.digest)),
            partial | {"active": [2, 3]} | caught(lambda: answer(1, (2, 3), key.digest)),
            partial | {"active": [1, 2], "change": "another_key"} | caught(lambda: answer(1, (1, 2), bytes(32))),
        ],
    }


def _shamir_answer(member: int, active: tuple[int, ...], c1: Rows, purpose: int) -> Answer:
    made, _ = founded()
    piece, factor = _shamir_pieces()[member - 1], tuple(lagrange(active, made.suite.data)[member])
    return Answer(
        made.suite, made.digest, piece.value, piece.noise_key, c1, 0, purpose, active, factor, member - 1, piece.pairs
    )


@cache
def _shamir_pieces() -> list[Piece]:
    return joined(founded()[1])


def shamir_decryption() -> Json:
    """One ciphertext, answered in an active set of 3 of 5."""
    made, _ = founded()
    digits = Digits(Budget(made.suite, 3, 3, CLIENTS), WIDTH)
    c0, c1 = trial_ciphertext(made, digits, 0, 0)
    cases, sent, known = [], {}, payload(made.suite, c0)
    for active in ((1, 2, 4), (1, 2, 5), (3, 4, 5)):
        answers = {m: _shamir_answer(m, active, c1, 1) for m in active}
        sent[active] = {f"member-{m}": answer.residues for m, answer in answers.items()}
        opened = open_sum(made.suite, digits, known, sent[active])
        if opened["digits"] != trial_digits(made, digits, 0, 0):
            raise MismatchError("an active set does not open the message")
        cases.append(
            {
                "active": list(active),
                "answers": [
                    _answer_json(answer, m - 1)
                    | {"member": f"member-{m}", "factor": list(answer.factor)}
                    | {"mask_seeds": [{"piece": other, "seed": s.hex()} for other, s in answer.mask_seeds.items()]}
                    | {"zero_share": summary(answer.zero_share)}
                    | {"sha256": sha(message(3, [answer.residues], made.suite.kept, made.digest)).hex()}
                    for m, answer in answers.items()
                ],
                "values_first": [str(value) for value in opened["values"][:4]],
                "digits": summary([opened["digits"]], signed=True),
            }
        )
    first, second = sent[1, 2, 4], sent[1, 2, 5]
    mixed = {"member-1": first["member-1"], "member-2": first["member-2"], "member-5": second["member-5"]}
    same_set = {"member-1": first["member-1"], "member-2": first["member-2"]}
    return {
        "suite": made.suite.name,
        "ring_degree": made.suite.n,
        "key": "dealing",
        "ciphertext": summary([[c0, c1]]),
        "scale_shift": digits.budget.shift,
        "noise_bound": digits.budget.bound(3),
        "per_coefficient": digits.count,
        "openings": cases,
        "failures": [
            {
                "operation": "combine",
                "active": [1, 2, 4],
                "change": "answer_of_a_second_active_set",
                "member": "member-5",
            }
            | caught(lambda: open_sum(made.suite, digits, known, mixed)),
            {"operation": "combine", "active": [1, 2, 4], "change": "answer_missing", "member": "member-4"}
            | caught(lambda: open_sum(made.suite, digits, known, same_set)),
            {"operation": "partial_decrypt", "member": 1, "active": [1, 2]}
            | caught(lambda: Shamir(5, 3).assign((1, 2))),
            {"operation": "partial_decrypt", "member": 1, "active": [1, 2, 3, 4]}
            | caught(lambda: Shamir(5, 3).assign((1, 2, 3, 4))),
        ],
    }


def _trial_json(
    key: Ceremony, digits: Digits, number: int, active: list[int], answers: dict[int, Answer], polynomials: list[Rows]
) -> Json:
    opened = open_sum(
        key.suite, digits, payload(key.suite, polynomials[0]), {f"piece-{p}": a.residues for p, a in answers.items()}
    )
    if opened["digits"] != trial_digits(key, digits, 0, number):
        raise MismatchError("a test does not open to its message")
    return {
        "trial": number,
        "active": active,
        "digits": summary([trial_digits(key, digits, 0, number)], signed=True),
        "ciphertext": summary([polynomials]),
        "ciphertext_sha256": sha(message(2, polynomials, key.suite.data, key.digest)).hex(),
        "answers": [
            {"piece": piece, "sha256": sha(message(3, [a.residues], key.suite.kept, key.digest)).hex()}
            for piece, a in answers.items()
        ],
    }


def dry_run() -> Json:
    """The tests of a replicated committee and of one by Shamir."""
    key, digits = example_key(), example_digits()
    test = trial_ciphertext(key, digits, 0, 0)
    answers = {
        p: Answer(SUITE, key.digest, made["secret"], made["noise_key"], test[1], 0, TEST)
        for p, made in enumerate(key.addends)
    }
    made, _ = founded()
    small = Digits(Budget(made.suite, 3, 3, CLIENTS), WIDTH)
    trials, tests = [], []
    for number, active in enumerate(made.sharing.trial_sets if isinstance(made.sharing, Shamir) else []):
        tests.append(trial_ciphertext(made, small, 0, number))
        given = {m - 1: _shamir_answer(m, tuple(active), tests[-1][1], TEST) for m in active}
        trials.append(_trial_json(made, small, number, active, given, tests[-1]))
    sent = {f"piece-{p}": answer.residues for p, answer in answers.items()}

    def check(given: dict[str, Rows]) -> None:
        if set(given) != set(sent):
            raise ExpectedFailure("BadShareError")
        open_sum(SUITE, digits, known, given)

    known = payload(SUITE, test[0])
    swapped = {**sent, "piece-2": sent["piece-1"]}
    return {
        "replicated": {"key": "keygen", "trials": [_trial_json(key, digits, 0, [], answers, test)]},
        "shamir": {"key": "dealing", "trials": trials},
        "failures": [
            {"operation": "check_test", "missing_piece": 2}
            | caught(lambda: check({n: r for n, r in sent.items() if n != "piece-2"})),
            {"operation": "check_test", "piece": 2, "change": "the answer of piece 1"} | caught(lambda: check(swapped)),
        ],
    }


def _fingerprint(rows: Rows, weights: list[list[int]]) -> list[list[int]]:
    return [
        [sum(w * x for w, x in zip(line, row, strict=True)) % q for row, q in zip(rows, SUITE.kept, strict=True)]
        for line in weights
    ]


def _print(values: list[list[int]]) -> bytes:
    return b"".join(value.to_bytes(8, "little") for line in values for value in line)


def fingerprints() -> Json:
    """Fingerprints of the answers of decryption.json, and what convicts a member."""
    challenge, n = bytes_of("fingerprint challenge"), SUITE.n
    drawn = [w >> 25 for w in words(keystream(challenge, b"fingerprint", 8 * REPETITIONS * n))]
    weights = [drawn[r * n : (r + 1) * n] for r in range(REPETITIONS)]
    prints = {piece: _fingerprint(_answer(piece).residues, weights) for piece in range(3)}
    stated = {piece: _print(values) for piece, values in prints.items()}
    sent, assigned = _members((1, 2)), Replicated(3, 2).assign((1, 2))

    def check(member: int, rows: Rows, said: dict[int, bytes]) -> None:
        total = [[0] * 3 for _ in range(REPETITIONS)]
        for piece in assigned[member]:
            data = said.get(piece, b"")
            values = [int.from_bytes(data[i : i + 8], "little") for i in range(0, len(data), 8)]
            if len(data) != 24 * REPETITIONS or any(
                v >= q for v, q in zip(values, SUITE.kept * REPETITIONS, strict=True)
            ):
                raise ExpectedFailure("BadShareError", f"member-{member}")
            rows_stated = [values[3 * r : 3 * r + 3] for r in range(REPETITIONS)]
            total = [
                [(t + v) % q for t, v, q in zip(mine, given, SUITE.kept, strict=True)]
                for mine, given in zip(total, rows_stated, strict=True)
            ]
        if total != _fingerprint(rows, weights):
            raise ExpectedFailure("BadShareError", f"member-{member}")

    for member in (1, 2):
        check(member, sent[f"member-{member}"], stated)
    good, first = sent["member-1"], assigned[1][0]
    cheats: list[tuple[str, Rows, dict[int, bytes]]] = [
        ("flipped_answer", _flip(good, 2, 77, SUITE.kept), stated),
        ("statement_missing", good, {p: data for p, data in stated.items() if p != first}),
        ("statement_truncated", good, {**stated, first: stated[first][:-1]}),
        (
            "statement_not_below_its_prime",
            good,
            {**stated, first: SUITE.kept[0].to_bytes(8, "little") + stated[first][8:]},
        ),
        ("statement_of_another_piece", good, {**stated, first: stated[(first + 1) % 3]}),
    ]
    return {
        "suite": SUITE.name,
        "answers": "decryption",
        "challenge": challenge.hex(),
        "weights": summary([[line] for line in weights]),
        "pieces": [{"piece": p, "values": values, "bytes": stated[p].hex()} for p, values in prints.items()],
        "members": [
            {"member": m, "pieces": assigned[m], "values": _fingerprint(sent[f"member-{m}"], weights)} for m in (1, 2)
        ],
        "failures": [
            {"operation": "check_answer", "member": "member-1", "change": name}
            | caught(lambda rows=rows, said=said: check(1, rows, said))
            for name, rows, said in cheats
        ],
    }
