"""decryption, shamir_decryption, dry_run and fingerprints."""

import hashlib
from collections.abc import Mapping

import numpy as np

from protocols.arrays import UInt64Array
from protocols.digits import DigitBlocks, DigitLayout
from protocols.errors import BadShareError
from protocols.ring import ring
from protocols.sampling import Keystream
from protocols.tckks import (
    EncryptedVector,
    MemberKey,
    Opening,
    OpeningProfile,
    PartialDecryption,
    PieceKey,
    Purpose,
    answer_test,
    challenge_weights,
    check_answer,
    check_test,
    combine,
    fingerprint,
    partial_decrypt,
    piece_answer,
    trial_ciphertext,
    trials,
)
from protocols.tckks.decrypt import _OPENING, _zero_share
from protocols.tckks.dryrun import trial_digits
from protocols.tckks.noise import NoiseBudget
from protocols.tckks.shamir import lagrange
from tests.vectors.generators.ciphers import client, encrypted, total
from tests.vectors.generators.example import (
    EXAMPLE,
    SUITE,
    WIDTH,
    Federation,
    Json,
    bytes_of,
    failure,
    replicated,
    sha,
    summary,
)
from tests.vectors.generators.keys import founded, joined

N = SUITE.ring_degree


def noise_json(key: PieceKey, vector: EncryptedVector, opening: Opening) -> Json:
    """What one piece's noise is made of."""
    suite, digest = vector.suite, vector.second_digests()[0]
    profile = opening.profile
    stated = _OPENING.pack(opening.key_digest, opening.epoch, opening.purpose, profile.smudging_bits, profile.dropped)
    label = b"secure-bfl/smudging/v1" + stated + bytes([len(opening.active), *opening.active])
    seed = opening.noise_seed_of(key, digest)
    assert seed == hashlib.shake_256(key.noise_key + label + digest).digest(32)
    data, bits = ring(suite.ring_degree, suite.data_primes), profile.smudging_bits + 1
    noise = data.small_uniform(Keystream(seed, purpose=b"smudging").read((bits + 7) // 8 * suite.ring_degree), bits)
    return {
        "noise_label": label.hex(),
        "c1_sha256": digest.hex(),
        "noise_seed": seed.hex(),
        "noise_first": [str(value) for value in data.compose(noise)[:4]],
        "noise": noise,
    }


def answer_json(key: PieceKey, vector: EncryptedVector, opening: Opening, factor: UInt64Array | None = None) -> Json:
    """One piece's answer, with all that happens on the way."""
    suite = vector.suite
    data = ring(suite.ring_degree, suite.data_primes)
    made = noise_json(key, vector, opening)
    noise = made.pop("noise")
    secret = key.secret_ntt if factor is None else data.multiply(key.secret_ntt, factor)
    product_ntt = data.multiply(vector.residues[0, 1], secret)
    if opening.active:
        product_ntt = data.add(product_ntt, _zero_share(data, key, opening, vector.second_digests()[0]))
    product = data.inverse_ntt(product_ntt)
    smudged, answer = data.add(product, noise), piece_answer(key, vector, opening, factor=factor)[0]
    assert np.array_equal(data.rescale(smudged, suite.dropped), answer)
    return {
        "piece": key.piece,
        **made,
        "noise": summary(noise),
        "product": summary(product),
        "smudged": summary(smudged),
        "answer": summary(answer),
    }


def opened_values(vector: EncryptedVector, answers: Mapping[str, UInt64Array]) -> list[int]:
    """What the answers open, before rounding."""
    suite = vector.suite
    data, kept = ring(suite.ring_degree, suite.data_primes), ring(suite.ring_degree, suite.answer_primes)
    value = data.rescale(data.inverse_ntt(vector.residues[0, 0]), suite.dropped)
    for answer in answers.values():
        value = kept.add(value, answer[0])
    return [int(v) for v in kept.compose(value)]


def flipped(residues: UInt64Array, where: tuple[int, ...], q: int, add: int = 1) -> UInt64Array:
    changed = residues.copy()
    changed[where] = (int(changed[where]) + add) % q
    return changed


def answers_of(active: tuple[int, ...], vector: EncryptedVector) -> dict[str, UInt64Array]:
    return {f"member-{m}": partial_decrypt(replicated().member(m), vector, active).residues for m in active}


def open_digits(
    vector: EncryptedVector, answers: Mapping[str, UInt64Array], budget: NoiseBudget, layout: DigitLayout
) -> DigitBlocks:
    """What the answers open, as digits; they may have been changed."""
    given = {name: PartialDecryption(vector.suite, vector.key_digest, one) for name, one in answers.items()}
    return combine(vector, given, budget, layout)


def decryption_json() -> Json:
    made, vector = replicated(), total()
    budget, layout, sharing = made.budget, made.layout, made.ceremony.sharing
    exact, digest = OpeningProfile.exact(SUITE), made.joint.digest
    quorums = []
    for active in ((1, 2), (1, 3), (2, 3)):
        answers = answers_of(active, vector)
        opened = open_digits(vector, answers, budget, layout)
        assert np.array_equal(opened.digits, client(1).digits + client(2).digits)
        quorums.append(
            {
                "active": list(active),
                "answers": [
                    {
                        "member": name,
                        "pieces": list(pieces),
                        "residues": summary(residues),
                        "sha256": sha(PartialDecryption(SUITE, digest, residues).encode()),
                    }
                    for (name, residues), pieces in zip(
                        answers.items(), sharing.assignment(active).values(), strict=True
                    )
                ],
                "values_first": [str(value) for value in opened_values(vector, answers)[:4]],
                "digits": summary(opened.digits),
            }
        )
    good = answers_of((1, 2), vector)

    def combined(answers: dict[str, UInt64Array], of: EncryptedVector = vector) -> DigitBlocks:
        return open_digits(of, answers, budget, layout)

    def flip(add: int) -> dict[str, UInt64Array]:
        return {**good, "member-1": flipped(good["member-1"], (0, 1, 0), SUITE.data_primes[1], add)}

    def opens(add: int) -> bool:
        try:
            combined(flip(add))
        except BadShareError:
            return False
        return True

    seen = next(add for add in range(1, 200) if not opens(add))
    unseen = next(add for add in range(1, 200) if opens(add))
    changed_sum = EncryptedVector(SUITE, digest, flipped(vector.residues, (0, 0, 1, 5), SUITE.data_primes[1]))
    reused = {**good, "member-1": answers_of((1, 2), encrypted(1))["member-1"]}
    mixed = {"member-1": good["member-1"], "member-3": answers_of((2, 3), vector)["member-3"]}
    data = PartialDecryption(SUITE, digest, good["member-1"]).encode()
    header, large = "another header than the plan's", "a residue is not below its prime"
    foreign = {
        "another_key": (data[:12] + bytes_of("another key") + data[44:], header),
        "another_kind": (data[:5] + b"\2" + data[6:], header),
        "another_ring": (data[:7] + b"\16" + data[8:], header),
        "truncated": (data[:-1], "another length"),
        "residue_equal_to_its_prime": (data[:44] + SUITE.data_primes[0].to_bytes(6, "little") + data[50:], large),
    }
    under_another_key = EncryptedVector(SUITE, bytes(32), vector.residues)
    combining, partial = {"operation": "combine", "active": [1, 2]}, {"operation": "partial_decrypt", "member": 1}
    one, named = made.member(1), {"member": "member-1"}
    openings = {
        ("aggregate", 1, Purpose.UPDATE): vector,
        ("aggregate", 0, Purpose.TEST): vector,
        ("client 1", 0, Purpose.UPDATE): encrypted(1),
    }
    other_noise = []
    for (name, epoch, purpose), of in openings.items():
        noise = noise_json(made.pieces[0], of, Opening(digest, epoch, purpose, exact))
        other_noise.append(
            {"piece": 0, "epoch": epoch, "purpose": int(purpose), "ciphertext": name}
            | {key: noise[key] for key in ("noise_label", "noise_seed", "noise_first")}
        )
    return {
        "suite": SUITE.name,
        "key": "keygen",
        "epoch": 0,
        "ciphertexts": "encryption",
        "aggregate": summary(vector.residues),
        "aggregate_sha256": sha(vector.encode()),
        "scale_shift": budget.scale_shift,
        "noise_bound": budget.noise_bound,
        "pieces": [answer_json(key, vector, Opening(digest, 0, Purpose.UPDATE, exact)) for key in made.pieces.values()],
        "other_noise": other_noise,
        "quorums": quorums,
        "not_seen": {
            **named,
            "row": 1,
            "coefficient": 0,
            "add": unseen,
            "digits": combined(flip(unseen)).digits[0, :, 0].tolist(),
        },
        "failures": [
            combining
            | {"change": "flipped_answer", **named, "row": 1, "coefficient": 0, "add": seen}
            | failure(lambda: combined(flip(seen)), "a coefficient is out of its bounds"),
            combining
            | {"change": "flipped_ciphertext", "row": 1, "value": 5, "add": 1}
            | failure(lambda: combined(good, changed_sum), "one value of NTT form is in every coefficient"),
            combining
            | {"change": "answer_to_another_ciphertext", **named, "ciphertext": "client 1"}
            | failure(lambda: combined(reused), "an answer belongs to one ciphertext"),
            combining
            | {"change": "answer_missing", "member": "member-2"}
            | failure(lambda: combined({"member-1": good["member-1"]}), "a piece is not answered"),
            combining
            | {"change": "answers_of_two_quorums", "member": "member-3", "other": [2, 3]}
            | failure(lambda: combined(mixed), "a piece is answered twice, or not at all"),
            *(
                {"operation": "decode", **named, "change": name}
                | failure(
                    lambda data=data: PartialDecryption.decode(data, made.joint, sender="member-1", blocks=1),  # type: ignore[misc]
                    why,
                )
                for name, (data, why) in foreign.items()
            ),
            partial | {"active": [1]} | failure(lambda: partial_decrypt(one, vector, (1,)), "too few members"),
            partial
            | {"active": [2, 3]}
            | failure(lambda: partial_decrypt(one, vector, (2, 3)), "the member was not asked"),
            partial
            | {"active": [1, 2], "change": "another_key"}
            | failure(lambda: partial_decrypt(one, under_another_key, (1, 2)), "the sum is under another key"),
        ],
    }


def shamir_member(made: Federation, pieces: list[PieceKey], member: int) -> MemberKey:
    return MemberKey(member, made.joint, {member - 1: pieces[member - 1]}, sharing=made.ceremony.sharing)


def masks_json(key: PieceKey, opening: Opening, vector: EncryptedVector) -> Json:
    """The seeds of the masks that an answer has in common with the others', and the share of zero they make."""
    c1 = vector.second_digests()[0]
    others = [member - 1 for member in opening.active if member - 1 != key.piece]
    data = ring(EXAMPLE.ring_degree, EXAMPLE.data_primes)
    return {
        "mask_seeds": [{"piece": other, "seed": opening.mask_seed(key, other, c1).hex()} for other in others],
        "zero_share": summary(_zero_share(data, key, opening, c1)),
    }


def shamir_decryption_json() -> Json:
    made, dealings = founded()
    pieces, budget = joined(dealings), made.budget
    layout = budget.layout(WIDTH)
    vector = trial_ciphertext(made.joint, budget, layout, epoch=0, trial=0, binding=bytes(32))
    exact, digest = OpeningProfile.exact(EXAMPLE), made.joint.digest
    cases, sent = [], {}
    for active in ((1, 2, 4), (1, 2, 5), (3, 4, 5)):
        factors = lagrange(active, EXAMPLE.data_primes)
        opening = Opening(digest, 0, Purpose.UPDATE, exact, active)
        answers = {
            f"member-{m}": partial_decrypt(shamir_member(made, pieces, m), vector, active).residues for m in active
        }
        sent[active] = answers
        opened = open_digits(vector, answers, budget, layout)
        assert np.array_equal(
            opened.digits, trial_digits(made.joint, layout, epoch=0, trial=0, binding=bytes(32)).digits
        )
        cases.append(
            {
                "active": list(active),
                "answers": [
                    answer_json(pieces[m - 1], vector, opening, factors[m])
                    | {"member": f"member-{m}", "factor": factors[m].reshape(-1).tolist()}
                    | masks_json(pieces[m - 1], opening, vector)
                    | {"sha256": sha(PartialDecryption(EXAMPLE, digest, answers[f"member-{m}"]).encode())}
                    for m in active
                ],
                "values_first": [str(value) for value in opened_values(vector, answers)[:4]],
                "digits": summary(opened.digits),
            }
        )
    first, second = sent[1, 2, 4], sent[1, 2, 5]
    two = {"member-1": first["member-1"], "member-2": first["member-2"]}
    mixed = {**two, "member-5": second["member-5"]}
    one = shamir_member(made, pieces, 1)
    combining = {"operation": "combine", "active": [1, 2, 4]}
    return {
        "suite": EXAMPLE.name,
        "ring_degree": EXAMPLE.ring_degree,
        "key": "dealing",
        "ciphertext": summary(vector.residues),
        "scale_shift": budget.scale_shift,
        "noise_bound": budget.noise_bound,
        "per_coefficient": layout.per_coefficient,
        "openings": cases,
        "failures": [
            combining
            | {"change": "answer_of_a_second_active_set", "member": "member-5"}
            | failure(lambda: open_digits(vector, mixed, budget, layout), "the factors are those of two active sets"),
            combining
            | {"change": "answer_missing", "member": "member-4"}
            | failure(lambda: open_digits(vector, two, budget, layout), "fewer than t answers"),
            {"operation": "partial_decrypt", "member": 1, "active": [1, 2]}
            | failure(lambda: partial_decrypt(one, vector, (1, 2)), "too few members"),
            {"operation": "partial_decrypt", "member": 1, "active": [1, 2, 3, 4]}
            | failure(lambda: partial_decrypt(one, vector, (1, 2, 3, 4)), "an active set has exactly t members"),
        ],
    }


def _trials_json(
    made: Federation, keys: Mapping[int, MemberKey], budget: NoiseBudget
) -> tuple[Json, dict[tuple[int, int], bytes]]:
    layout, sharing = budget.layout(WIDTH), made.ceremony.sharing
    rows, answers = [], {}
    for trial in trials(sharing):
        test = trial_ciphertext(made.joint, budget, layout, epoch=0, trial=trial.number, binding=bytes(32))
        for piece in [m - 1 for m in trial.active] or range(sharing.pieces):
            given = {answer_test(keys[m], piece, trial, test) for m in sharing.holders(piece)}
            assert len(given) == 1
            answers[trial.number, piece] = given.pop()
        rows.append(
            {
                "trial": trial.number,
                "active": list(trial.active),
                "digits": summary(
                    trial_digits(made.joint, layout, epoch=0, trial=trial.number, binding=bytes(32)).digits
                ),
                "ciphertext": summary(test.residues),
                "ciphertext_sha256": sha(test.encode()),
                "answers": [
                    {"piece": piece, "sha256": sha(data)}
                    for (number, piece), data in answers.items()
                    if number == trial.number
                ],
            }
        )
    check_test(made.joint, sharing, budget, layout, answers, binding=bytes(32))
    return {"trials": rows}, answers


def dry_run_json() -> Json:
    made, (small, dealings) = replicated(), founded()
    whole, answers = _trials_json(made, {m: made.member(m) for m in (1, 2, 3)}, made.budget)
    pieces = joined(dealings)
    shamir, _ = _trials_json(small, {m: shamir_member(small, pieces, m) for m in range(1, 6)}, small.budget)

    def check(given: dict[tuple[int, int], bytes]) -> None:
        check_test(made.joint, made.ceremony.sharing, made.budget, made.layout, given, binding=bytes(32))

    few = {which: data for which, data in answers.items() if which != (0, 2)}
    return {
        "replicated": {"key": "keygen", **whole},
        "shamir": {"key": "dealing", **shamir},
        "failures": [
            {"operation": "check_test", "missing_piece": 2} | failure(lambda: check(few), "a piece is not answered"),
            {"operation": "check_test", "piece": 2, "change": "the answer of piece 1"}
            | failure(lambda: check({**answers, (0, 2): answers[0, 1]}), "an answer is of another piece"),
        ],
    }


def fingerprints_json() -> Json:
    made, vector = replicated(), total()
    challenge, exact = bytes_of("fingerprint challenge"), OpeningProfile.exact(SUITE)
    weights, opening = challenge_weights(challenge, 1, N), Opening(made.joint.digest, 0, Purpose.UPDATE, exact)
    stated = {p: fingerprint(SUITE, piece_answer(key, vector, opening), weights) for p, key in made.pieces.items()}
    sent, assigned = answers_of((1, 2), vector), made.ceremony.sharing.assignment((1, 2))

    def values(data: bytes) -> list[list[int]]:
        return np.frombuffer(data, dtype="<u8").reshape(weights.shape[0], -1).tolist()

    def check(member: int, residues: UInt64Array, said: dict[int, bytes]) -> None:
        answer = PartialDecryption(SUITE, made.joint.digest, residues)
        check_answer(f"member-{member}", answer, weights, assigned[member], said)

    for member in (1, 2):
        check(member, sent[f"member-{member}"], stated)
    good, first = sent["member-1"], assigned[1][0]
    large = SUITE.data_primes[0].to_bytes(8, "little") + stated[first][8:]
    cheats = {
        "flipped_answer": (
            flipped(good, (0, 2, 77), SUITE.data_primes[2]),
            stated,
            "the answer is not the sum of what its sender states",
        ),
        "statement_missing": (good, {p: data for p, data in stated.items() if p != first}, "a piece is not stated"),
        "statement_truncated": (good, {**stated, first: stated[first][:-1]}, "another length"),
        "statement_not_below_its_prime": (good, {**stated, first: large}, "a residue is not below its prime"),
        "statement_of_another_piece": (
            good,
            {**stated, first: stated[(first + 1) % 3]},
            "the answer is not the sum of what its sender states",
        ),
    }
    return {
        "suite": SUITE.name,
        "answers": "decryption",
        "challenge": challenge.hex(),
        "weights": summary(weights),
        "pieces": [{"piece": p, "values": values(data), "bytes": data.hex()} for p, data in stated.items()],
        "members": [
            {
                "member": m,
                "pieces": list(assigned[m]),
                "values": values(fingerprint(SUITE, sent[f"member-{m}"], weights)),
            }
            for m in (1, 2)
        ],
        "failures": [
            {"operation": "check_answer", "member": "member-1", "change": name}
            | failure(lambda residues=residues, said=said: check(1, residues, said), why)  # type: ignore[misc]
            for name, (residues, said, why) in cheats.items()
        ],
    }
