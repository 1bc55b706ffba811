"""A committee with Shamir's sharing: a round, a wrong share, and why no sum is answered in two active sets."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from math import prod

import numpy as np
import pytest

from protocols.arrays import UInt64Array
from protocols.errors import BadShareError, QuorumError
from protocols.ring import ring
from protocols.tckks import (
    Opening,
    OpeningProfile,
    PartialDecryption,
    Purpose,
    ShamirSharing,
    decrypt,
    piece_answer,
    trials,
)
from protocols.tckks.dryrun import trial_ciphertext as dry_run_ciphertext
from protocols.tckks.shamir import lagrange
from secure_bfl.board import Board
from secure_bfl.datasets import load
from secure_bfl.errors import RefusedError, StateError
from secure_bfl.member import Member
from secure_bfl.messages import PartialAnswer, PieceCheck
from secure_bfl.opening import open_sum
from secure_bfl.plan import FederationPlan
from secure_bfl.results import next_model
from tests.secure_bfl.federation import NOW, Federation

NINE = ShamirSharing(9, 5)
FIRST, SECOND = (1, 2, 3, 4, 5), (1, 6, 7, 8, 9)


@pytest.fixture(scope="module")
def voted() -> Federation:
    """Two clients, nine members of whom five open a sum, one round; everybody has voted."""
    plan = FederationPlan.create("breast-cancer", clients=2, members=9, threshold=5, rounds=1)
    federation = Federation(plan, load(plan.dataset, plan.clients).shares)
    federation.found()
    federation.generate_key()
    federation.open_and_update(1, federation.zero)
    federation.close_and_vote(1)
    return federation


def test_a_whole_round(voted: Federation) -> None:
    federation = voted.copy()
    assert isinstance(federation.board.replay.committee.sharing, ShamirSharing)
    federation.request(1)
    model = federation.answer_and_publish(1, federation.zero)
    state = federation.board.round(1)
    assert state.result is not None
    assert np.abs(model.vector).max() > 0
    assert state.attempts[0].checks == {}, "a piece has one holder, so there is nothing to compare"
    assert federation.board.replay.ignored == []


class AnswersWrongly(Member):
    """Sends residues that are not its answer."""

    def answer(self, board: Board, number: int) -> None:
        plan, attempt = board.roster.plan, board.round(number).attempt
        assert attempt is not None
        shape = (plan.blocks, len(plan.suite.answer_primes), plan.ring_degree)
        share = PartialDecryption(plan.suite, board.joint_key.digest, np.ones(shape, dtype=np.uint64))
        if self.name in attempt.asked and self.name not in attempt.answers:
            body = PartialAnswer(number, attempt.request.attempt, attempt.entry, board.blobs.put(share.encode()))
            board.append(body, self.name, self.identity.signing)


def test_a_wrong_share_names_the_active_set_and_ends_the_round(voted: Federation) -> None:
    federation = voted.copy()
    board, liar = federation.board, federation.members[2]
    federation.members[2] = AnswersWrongly(
        liar.identity, journal=federation.disks[liar.name].journal, witness=liar.witness
    )
    model = open_sum(
        board,
        1,
        federation.zero,
        operator=federation.operator,
        members=federation.members,
        witnesses=federation.witnesses,
        now=NOW,
    )
    assert model.encode() == federation.zero.encode()
    void = board.round(1).void
    assert void is not None
    assert "does not open" in void.reason
    with pytest.raises(BadShareError) as caught:
        next_model(board, 1, federation.zero)
    assert caught.value.culprits == tuple(f"member-{m}" for m in FIRST)


def test_silence_is_waited_for(voted: Federation) -> None:
    federation = voted.copy()
    federation.request(1)
    for member in federation.members[1:]:
        member.answer(federation.board, 1)
    with pytest.raises(QuorumError, match="round 1 waits for member-1, and nobody is left who could stand in"):
        federation.operator.settle(federation.board, 1, federation.witnesses, now=NOW)
    federation.operator.void_round(federation.board, 1, "member-1 is gone")
    assert federation.board.round(1).finished


def test_replay_takes_one_request_for_an_aggregate(voted: Federation) -> None:
    federation = voted.copy()
    board, operator = federation.board, federation.operator
    federation.request(1)
    state, told = board.round(1), "the aggregate of round 1 was requested already"
    request = state.request
    assert request is not None
    for step in (None, *federation.members):
        if step is not None:
            step.answer(board, 1)
        other = replace(request, attempt=1, active=SECOND)
        with pytest.raises(StateError, match=told):
            board.append(other, operator.name, operator.identity.signing)
    member = federation.members[0]
    with pytest.raises(StateError, match="answers of this committee are not cross-checked"):
        board.append(PieceCheck(1, 0, bytes(32), ()), member.name, member.identity.signing)


def forked(federation: Federation, active: Sequence[int]) -> Federation:
    """The operator shows another history, in which the same sum is asked for in another active set."""
    fork = federation.copy()
    state = fork.board.round(1)
    for name in tuple(state.votes):
        if int(name.removeprefix("member-")) not in active:
            del state.votes[name]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(state), "agreeing", lambda self: tuple(f"member-{m}" for m in range(1, 10)))
        names = tuple(f"member-{m}" for m in active)
        assert state.aggregate is not None
        fork.operator._ask(fork.board, 1, state.aggregate.ciphertext, names, fork.witnesses, now=NOW)
    assert fork.board.round(1).attempts[0].request.active == tuple(active)
    return fork


def test_a_member_answers_in_one_active_set_only(voted: Federation) -> None:
    first, fork = forked(voted, FIRST), forked(voted, SECOND)
    first.members[0].answer(first.board, 1)
    fork.disks["member-1"].journal = first.disks["member-1"].journal
    member = fork.member(1)
    with pytest.raises(StateError, match=r"active/.* was claimed before with another value"):
        member.answer(fork.board, 1)
    assert fork.board.round(1).answers == {}
    fork.members[5].answer(fork.board, 1)
    assert tuple(fork.board.round(1).answers) == ("member-6",), "who has not answered yet may"
    first.member(1).answer(first.board, 1)
    assert len(first.board.round(1).answers) == 1


def test_the_dry_run_binds_its_ciphertexts_too(voted: Federation) -> None:
    """Somebody sends the dry run's ciphertext as an update: it is not answered in another set than the dry run's."""
    federation = forked(voted, SECOND)
    board, plan = federation.board, federation.plan
    trial = next(t for t in trials(NINE) if 1 in t.active)
    assert trial.active != SECOND
    binding = board.deliveries(board.replay.ceremonies[0]).binding
    test = dry_run_ciphertext(
        board.joint_key, plan.noise_budget, plan.layout, epoch=0, trial=trial.number, binding=binding
    )
    with pytest.raises(StateError, match=r"active/.* was claimed before with another value"):
        federation.members[0]._claim(board, 1, test)


def centred(residues: UInt64Array, primes: tuple[int, ...]) -> list[int]:
    """The first few coefficients as centred integers."""
    modulus, values = prod(primes), []
    for column in residues[:, :4].T:
        value = 0
        for residue, prime in zip(column, primes, strict=True):
            rest = modulus // prime
            value += int(residue) * rest * pow(rest, -1, prime)
        value %= modulus
        values.append(value - modulus if value > modulus // 2 else value)
    return values


def nearest(basis: tuple[tuple[int, int], tuple[int, int]], target: tuple[int, int]) -> tuple[int, int]:
    """The lattice point of a basis that Gauss reduced, near the target: Babai's rounding, in exact integers."""
    (a, b), (c, d) = basis
    determinant = a * d - b * c
    x = _rounded(target[0] * d - target[1] * c, determinant)
    y = _rounded(a * target[1] - b * target[0], determinant)
    return x * a + y * c, x * b + y * d


def _rounded(above: int, below: int) -> int:
    if below < 0:
        above, below = -above, -below
    return (2 * above + below) // (2 * below)


def reduced(u: tuple[int, int], v: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Gauss' reduction of a lattice in the plane."""
    while True:
        if u[0] ** 2 + u[1] ** 2 > v[0] ** 2 + v[1] ** 2:
            u, v = v, u
        factor = _rounded(u[0] * v[0] + u[1] * v[1], u[0] ** 2 + u[1] ** 2)
        if factor == 0:
            return u, v
        v = (v[0] - factor * u[0], v[1] - factor * u[1])


def naive_answers(federation: Federation, factors: Sequence[UInt64Array]) -> tuple[list[list[int]], list[int]]:
    """What a member gives for one sum, once for each factor, and c1 times its piece, the secret.

    This member has no journal and adds no share of zero, which hides an answer from all but the rest of its active set.
    """
    suite = federation.plan.suite
    key = federation.members[0]._holder.member_key(federation.board)
    total = federation.board.sum_of(federation.board.round(1).ciphertexts())
    data = ring(suite.ring_degree, suite.data_primes)
    undivided = OpeningProfile(suite.smudging_bits, 0)
    answers = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decrypt, "_zero_share", lambda data, *_: data.constant(0))
        for active, factor in zip((FIRST, SECOND), factors, strict=True):
            opening = Opening.of(key, Purpose.UPDATE, active, undivided)
            answers.append(centred(piece_answer(key.piece(0), total, opening, factor=factor)[0], suite.data_primes))
    secret = data.inverse_ntt(data.multiply(total.residues[0, 1], key.piece(0).secret_ntt))
    return answers, centred(secret, suite.data_primes)


def test_two_active_sets_give_the_piece_away_at_random_points(voted: Federation) -> None:
    """The answers f*x + e and g*x + e', with public factors f and g as large as Q, show x, c1 times the piece.

    A lattice in the plane holds (f*x, g*x) modulo Q: the point near the two answers is it. The noise does not help.
    """
    primes = voted.plan.suite.data_primes
    modulus = prod(primes)
    f, g = (int.from_bytes(hashlib.shake_256(bytes([i])).digest(64), "big") % modulus for i in (1, 2))
    factors = [np.array([factor % q for q in primes], dtype=np.uint64)[:, None] for factor in (f, g)]
    answers, secret = naive_answers(voted, factors)
    basis = reduced((1, g * pow(f, -1, modulus) % modulus), (0, modulus))
    for a, b, x in zip(answers[0], answers[1], secret, strict=True):
        point, _ = nearest(basis, (a, b))
        assert point * pow(f, -1, modulus) % modulus == x % modulus


def test_two_active_sets_give_the_noise_away_at_the_points_of_a_committee(voted: Federation) -> None:
    """Factors at the points 1 to n are small fractions, here 5 and 9/5, so x is not determined. But its noise is no
    longer free: 9 times one answer minus 25 times the other holds nothing but noise, and leaves one in 25 of the values
    that each noise could have. Every further set takes more; hence one set, ever.
    """
    suite = voted.plan.suite
    factors = [lagrange(active, suite.data_primes)[1] for active in (FIRST, SECOND)]
    answers, secret = naive_answers(voted, factors)
    modulus = prod(suite.data_primes)
    fifth = pow(5, -1, modulus)
    bound = 1 << suite.smudging_bits
    for a, b, x in zip(answers[0], answers[1], secret, strict=True):
        shown = (9 * a - 25 * b + modulus // 2) % modulus - modulus // 2
        e = (a - 5 * x + modulus // 2) % modulus - modulus // 2
        other = (b - 9 * fifth * x + modulus // 2) % modulus - modulus // 2
        assert max(abs(e), abs(other)) <= bound
        assert shown == 9 * e - 25 * other
        assert e % 25 == shown * pow(9, -1, 25) % 25, "what everybody now knows of the noise"


def test_void_rounds_are_not_answered(voted: Federation) -> None:
    federation = forked(voted, FIRST)
    federation.operator.void_round(federation.board, 1, "for a test")
    with pytest.raises(RefusedError, match="round 1 is void"):
        federation.members[0].answer(federation.board, 1)
