"""Joint decryption: exact for every quorum, and loud about everything else."""

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from protocols.arrays import UInt64Array
from protocols.digits import DigitBlocks, DigitLayout
from protocols.errors import BadShareError, QuorumError
from protocols.suites import suite
from protocols.tckks import (
    EncryptedVector,
    Encryptor,
    NoiseBudget,
    OpeningProfile,
    PartialDecryption,
    aggregate,
    combine,
    partial_decrypt,
    piece_answer,
)
from tests.protocols.tckks.committee import CLIENTS, SUITE, Committee, combined, committee, rand

Answers = dict[str, UInt64Array]
ACTIVE = (1, 3, 5)


def opened(team: Committee, total: EncryptedVector, answers: Answers) -> DigitBlocks:
    return combined(total, answers, team.budget, team.layout)


@pytest.fixture(scope="module")
def total() -> EncryptedVector:
    team = committee()
    return aggregate([team.encrypt(team.digits(i, blocks=2), "sum", i) for i in range(3)], most=CLIENTS)


@pytest.fixture(scope="module")
def expected() -> list[int]:
    digits = sum(committee().digits(i, blocks=2).digits for i in range(3))
    assert isinstance(digits, np.ndarray)
    return list(digits.reshape(-1).tolist())


def test_every_quorum_opens_the_exact_sums(total: EncryptedVector, expected: list[int]) -> None:
    team = committee()
    for active in combinations(range(1, 6), 3):
        assert opened(team, total, team.answers(total, active)).digits.reshape(-1).tolist() == expected, active


@pytest.mark.parametrize("active", [(1, 2, 3, 4), (1, 2, 3, 4, 5)])
def test_more_than_a_quorum_opens_the_same(
    active: tuple[int, ...], total: EncryptedVector, expected: list[int]
) -> None:
    team = committee()
    assert opened(team, total, team.answers(total, active)).digits.reshape(-1).tolist() == expected


def test_extreme_digits_open_exactly() -> None:
    team = committee()
    signs = np.where(np.arange(5 * 8192).reshape(1, 5, 8192) % 3 == 0, 1, -1)
    digits = DigitBlocks(team.layout, signs * team.layout.largest)
    vector = team.encrypt(digits, "extreme")
    assert np.array_equal(opened(team, vector, team.answers(vector, ACTIVE)).digits, digits.digits)


@pytest.mark.parametrize(("members", "threshold"), [(2, 2), (3, 3), (4, 2)])
def test_other_committees(members: int, threshold: int) -> None:
    team = committee(members, threshold)
    digits = team.digits(1)
    vector = team.encrypt(digits, "other")
    for active in combinations(range(1, members + 1), threshold):
        assert np.array_equal(opened(team, vector, team.answers(vector, active)).digits, digits.digits)


def test_an_answer_is_the_same_bytes_every_time_whoever_else_is_active(total: EncryptedVector) -> None:
    team = committee()
    first, again = (partial_decrypt(team.keys[1], total, ACTIVE).encode() for _ in range(2))
    assert first == again
    assignments = [team.sharing.assignment(active)[1] for active in ((1, 3, 5), (1, 2, 4))]
    assert assignments[0] != assignments[1]
    for active, pieces in zip(((1, 3, 5), (1, 2, 4)), assignments, strict=True):
        answer = sum_of_pieces(team, total, pieces)
        assert np.array_equal(partial_decrypt(team.keys[1], total, active).residues, answer)


def sum_of_pieces(team: Committee, total: EncryptedVector, pieces: tuple[int, ...]) -> UInt64Array:
    answer = np.zeros((len(total.residues), len(SUITE.answer_primes), 8192), dtype=np.uint64)
    for piece in pieces:
        answer = team.kept.add(answer, piece_answer(team.pieces[piece], total, team.opening()))
    return answer


def test_too_few_members_are_told_who_could_help(total: EncryptedVector) -> None:
    team = committee()
    with pytest.raises(QuorumError, match="needs 3 of 5 members, has 2") as caught:
        partial_decrypt(team.keys[1], total, (1, 3))
    assert caught.value.missing == ("member-2", "member-4", "member-5")


def test_a_member_that_is_not_active_or_of_another_key_is_a_mistake(total: EncryptedVector) -> None:
    team = committee()
    with pytest.raises(ValueError, match="member 2 is not among the active members"):
        partial_decrypt(team.keys[2], total, ACTIVE)
    with pytest.raises(ValueError, match="the vector is under another key"):
        partial_decrypt(committee(3, 2).keys[1], total, (1, 2))


def flip(team: Committee, answers: Answers, total: EncryptedVector) -> None:
    changed = answers["member-3"].copy()
    changed[1, 0, 4000] = (int(changed[1, 0, 4000]) + 1) % SUITE.data_primes[0]
    answers["member-3"] = changed


def for_another_ciphertext(team: Committee, answers: Answers, total: EncryptedVector) -> None:
    other = team.encrypt(team.digits(9, blocks=2), "another")
    answers["member-3"] = partial_decrypt(team.keys[3], other, ACTIVE).residues


def for_another_member_set(team: Committee, answers: Answers, total: EncryptedVector) -> None:
    answers["member-3"] = partial_decrypt(team.keys[3], total, (2, 3, 4)).residues


def of_zeros(team: Committee, answers: Answers, total: EncryptedVector) -> None:
    answers["member-3"] = np.zeros_like(answers["member-3"])


def of_another_member(team: Committee, answers: Answers, total: EncryptedVector) -> None:
    answers["member-3"] = answers["member-1"]


def under_another_key(team: Committee, answers: Answers, total: EncryptedVector) -> None:
    other = committee(5, 4)
    foreign = EncryptedVector(SUITE, other.joint.digest, total.residues)
    answers["member-3"] = partial_decrypt(other.keys[3], foreign, (1, 2, 3, 4)).residues


def left_out(team: Committee, answers: Answers, total: EncryptedVector) -> None:
    del answers["member-3"]


def of_blocks_in_another_order(team: Committee, answers: Answers, total: EncryptedVector) -> None:
    answers["member-3"] = answers["member-3"][::-1]


@pytest.mark.parametrize(
    "spoil",
    [
        flip,
        for_another_ciphertext,
        for_another_member_set,
        of_zeros,
        of_another_member,
        under_another_key,
        left_out,
        of_blocks_in_another_order,
    ],
)
def test_a_wrong_answer_does_not_open(
    spoil: Callable[[Committee, Answers, EncryptedVector], None], total: EncryptedVector
) -> None:
    team = committee()
    answers = team.answers(total, ACTIVE)
    spoil(team, answers, total)
    with pytest.raises(
        BadShareError, match=r"block [01] does not open.* is wrong or missing, or a ciphertext"
    ) as caught:
        opened(team, total, answers)
    assert caught.value.culprits == tuple(answers)


def test_nothing_to_combine(total: EncryptedVector) -> None:
    with pytest.raises(ValueError, match="there is no answer to combine; collect those of a quorum"):
        opened(committee(), total, {})


def test_arguments_that_do_not_belong_together_accuse_nobody(total: EncryptedVector) -> None:
    team = committee()
    good = {f"member-{m}": partial_decrypt(team.keys[m], total, ACTIVE) for m in ACTIVE}
    answer, other = good["member-3"], suite(16384)
    wide = np.zeros((2, len(other.answer_primes), other.ring_degree), dtype=np.uint64)
    undivided = replace(OpeningProfile.exact(SUITE), dropped=0)
    changed = {
        "under another key or suite": [
            replace(answer, key_digest=rand("another key")),
            PartialDecryption(other, answer.key_digest, wide),
        ],
        "and opening this vector into integers takes 2 of 3": [
            replace(answer, residues=answer.residues[:1]),
            partial_decrypt(team.keys[3], total, ACTIVE, profile=undivided),
        ],
    }
    for message, answers in changed.items():
        for wrong in answers:
            with pytest.raises(ValueError, match=f"the answer of member-3 .*{message}"):
                combine(total, {**good, "member-3": wrong}, team.budget, team.layout)
    with pytest.raises(ValueError, match="the noise budget is for suite tckks-16384-v1"):
        combine(total, good, NoiseBudget.of(other, team.sharing, CLIENTS), team.layout)
    for layout in (DigitLayout(20, 5, 16384), DigitLayout(24, 5, 8192)):
        with pytest.raises(ValueError, match="the digit layout does not fit the noise budget"):
            combine(total, good, team.budget, layout)
    assert combine(total, good, team.budget, team.layout).digits.shape[0] == 2


def test_one_piece_missing_leaves_uniform_noise(total: EncryptedVector) -> None:
    """t - 1 members hold all pieces but one. What they get is uniform modulo Q': nothing of the message is in it."""
    team = committee()
    modulus = team.kept.modulus
    for coalition in ((1, 2), (3, 5)):
        held = sorted({p for m in coalition for p in team.sharing.held_by(m)})
        assert len(held) == team.sharing.pieces - 1
        answer = sum_of_pieces(team, total, tuple(held))
        with pytest.raises(BadShareError):
            opened(team, total, {"coalition": answer})
        values = []
        for ciphertext, part in zip(total.residues, answer, strict=True):
            first = team.data.rescale(team.data.inverse_ntt(ciphertext[0]), SUITE.dropped)
            values += team.kept.compose(team.kept.add(first, part)).tolist()
        counts = np.bincount([(v + modulus // 2) * 64 // modulus for v in values], minlength=64)
        chi_square = ((counts - len(values) / 64) ** 2 / (len(values) / 64)).sum()
        assert 30 < chi_square < 110  # 63 degrees of freedom: outside with probability below 2e-4


def test_one_changed_residue_is_seen_unless_the_layout_leaves_no_slack() -> None:
    """It moves one coefficient by a multiple of Q/q: onto a legal message, perhaps, where no message bit is spare."""
    team = committee()
    seen = {}
    for layout in (team.layout, DigitLayout(17, 7, 8192)):  # 100 and 119 of the 119 message bits
        digits = DigitBlocks(layout, np.zeros((1, layout.per_coefficient, 8192), dtype=np.int64))
        vector = Encryptor(team.joint, team.budget, layout).encrypt(digits, rand=rand("slack"))
        answers = team.answers(vector, ACTIVE)
        rejected = 0
        for coefficient in range(40):
            changed = answers["member-3"].copy()
            changed[0, 1, coefficient] = (int(changed[0, 1, coefficient]) + 1 + coefficient) % SUITE.data_primes[1]
            try:
                combined(vector, {**answers, "member-3": changed}, team.budget, layout)
            except BadShareError:
                rejected += 1
        seen[layout.per_coefficient] = rejected
    assert seen[5] == 40
    assert 5 < seen[7] < 40


def test_one_smudged_answer_is_not_the_message_either(total: EncryptedVector) -> None:
    team = committee()
    for name, answer in team.answers(total, ACTIVE).items():
        with pytest.raises(BadShareError):
            opened(team, total, {name: answer})


def at(team: Committee, plane: int, value: int) -> DigitBlocks:
    digits = np.zeros((1, 5, 8192), dtype=np.int64)
    digits[0, plane, 77] = value
    return DigitBlocks(team.layout, digits)


@pytest.mark.parametrize("sign", [1, -1])
def test_clients_that_overflow_the_top_digit_are_seen(sign: int) -> None:
    team = committee()
    total = aggregate([team.encrypt(at(team, 4, sign * team.layout.largest), sign, i) for i in range(2)], most=CLIENTS)
    with pytest.raises(BadShareError, match="its noise or message is out of bounds"):
        opened(team, total, team.answers(total, ACTIVE))


def test_a_digit_just_below_its_range_is_a_bad_share_not_a_programming_error() -> None:
    team = committee()
    total = aggregate(
        [team.encrypt(at(team, 2, -team.layout.largest), 1), team.encrypt(at(team, 2, -1), 2)], most=CLIENTS
    )
    with pytest.raises(BadShareError, match="block 0 does not open"):
        opened(team, total, team.answers(total, ACTIVE))


def test_an_overflow_of_a_lower_digit_carries_and_is_not_seen() -> None:
    """The limit: clients that exceed their range together change a neighbouring sum by one."""
    team = committee()
    total = aggregate([team.encrypt(at(team, 1, team.layout.largest), i) for i in range(2)], most=CLIENTS)
    digits = opened(team, total, team.answers(total, ACTIVE)).digits[0, :, 77]
    assert digits.tolist() == [0, -2, 1, 0, 0]


def test_the_wire_form_round_trips_and_names_the_sender_of_garbage(total: EncryptedVector) -> None:
    team = committee()
    answer = partial_decrypt(team.keys[1], total, ACTIVE)
    data = answer.encode()
    again = PartialDecryption.decode(data, team.joint, sender="member-1", blocks=2)
    assert np.array_equal(again.residues, answer.residues)
    assert again.encode() == data
    for bad in (b"", data[:-1], data + b"\0", b"X" + data[1:], data[:44] + b"\xff" * 6 + data[50:], total.encode()):
        with pytest.raises(BadShareError, match="member-1: PARTIAL_DECRYPTION") as caught:
            PartialDecryption.decode(bad, team.joint, sender="member-1", blocks=2)
        assert caught.value.culprits == ("member-1",)
    with pytest.raises(BadShareError, match="header is for another key"):
        PartialDecryption.decode(data, committee(5, 4).joint, sender="member-1", blocks=2)


def test_an_answer_has_one_shape(total: EncryptedVector) -> None:
    with pytest.raises(ValueError, match="expected shape"):
        PartialDecryption(SUITE, total.key_digest, total.residues[0, 0])


def test_a_member_that_answers_anything_gives_its_key_away(total: EncryptedVector) -> None:
    """(0, 2^120): why nothing but a certified aggregate may reach these functions.

    Smudging hides the error of an honest ciphertext; it cannot hide a piece that the asker multiplied by 2^120.
    The functions here compute whatever they are given; refusing is the member's part.
    """
    team = committee()
    residues = np.zeros((1, 2, len(SUITE.data_primes), 8192), dtype=np.uint64)
    residues[0, 1] = team.data.constant(1 << 120)  # a constant polynomial is constant in NTT form too
    naive = piece_answer(team.pieces[0], EncryptedVector(SUITE, team.joint.digest, residues), team.opening())
    leaked = [round(v * SUITE.dropped_modulus / (1 << 120)) for v in team.kept.compose(naive[0]).tolist()]
    piece = team.data.compose(team.data.inverse_ntt(team.pieces[0].secret_ntt)).tolist()
    assert leaked == piece
