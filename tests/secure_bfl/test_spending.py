"""The committee and the budget: what spends state of other runs counts, and who is beyond it is not summed."""

import pytest

from protocols.dp import PrivacyEvent, epsilon_pld, epsilon_rdp
from protocols.errors import QuorumError
from secure_bfl.errors import RefusedError
from secure_bfl.messages import DENSE, BudgetSpend, OtherSpend, RoundClose, UpdateCommit
from secure_bfl.spending import others_of, overspent, total_spent
from tests.secure_bfl.federation import NOW, Federation, digest

RUN = digest("another run")


def spent_elsewhere(federation: Federation, number: int, event: PrivacyEvent) -> None:
    """A client takes part in round 1 with spending of another run in its odometer, whatever its own gate says."""
    client, plan = federation.clients[number - 1], federation.plan
    own = plan.round_event
    body = BudgetSpend(
        1,
        own.steps,
        own.noise_multiplier_milli,
        own.sampling_rate_ppm,
        (OtherSpend(event.noise_multiplier_milli, event.sampling_rate_ppm, event.steps),),
        digest("odometer", number),
    )
    federation.board.append(body, client.name, client.identity.signing)


def over_budget(opened: Federation) -> Federation:
    """All three clients committed in round 1; the first states more spending than its budget."""
    federation, honest = opened.copy(), opened.copy()
    assert honest.clients[0].update(honest.board, 1, honest.zero)
    spent_elsewhere(federation, 1, MUCH)
    commit = honest.board.round(1).commits["client-1"][1]
    federation.blobs._blobs.update(honest.blobs._blobs)
    first = federation.clients[0]
    federation.board.append(UpdateCommit(1, DENSE, commit.opened, b""), first.name, first.identity.signing)
    for client in federation.clients[1:]:
        assert client.update(federation.board, 1, federation.zero)
    return federation


LITTLE = PrivacyEvent(1_000_000, 1_000_000, 1)
MUCH = PrivacyEvent(300, 1_000_000, 2)


def test_a_single_run_costs_its_tight_value(updated: Federation) -> None:
    plan = updated.plan
    assert total_spent(updated.board, "client-1") == epsilon_pld([plan.round_event], plan.delta, dim=plan.values)
    assert overspent(updated.board, 1) == {}


def test_nothing_is_spent_by_who_has_no_spend(opened: Federation) -> None:
    assert total_spent(opened.board, "client-1") == 0.0
    assert overspent(opened.board, 1) == {}


def test_with_other_runs_the_renyi_value_counts(opened: Federation) -> None:
    federation = opened.copy()
    spent_elsewhere(federation, 1, LITTLE)
    plan = federation.plan
    expected = epsilon_rdp([plan.round_event, LITTLE], plan.delta, dim=plan.values)
    assert total_spent(federation.board, "client-1") == expected
    assert overspent(federation.board, 1) == {}


def test_what_was_spent_elsewhere_stays_spent(opened: Federation) -> None:
    """A spend that states less than an earlier one changes nothing, in the report neither."""
    federation = opened.copy()
    spent_elsewhere(federation, 1, MUCH)
    federation.operator.void_round(federation.board, 1, "for once")
    federation.operator.open_round(federation.board, 2, federation.zero)
    event, client = federation.plan.round_event, federation.clients[0]
    mechanism = (event.steps, event.noise_multiplier_milli, event.sampling_rate_ppm)
    less = OtherSpend(MUCH.noise_multiplier_milli, MUCH.sampling_rate_ppm, MUCH.steps - 1)
    little = OtherSpend(LITTLE.noise_multiplier_milli, LITTLE.sampling_rate_ppm, LITTLE.steps)
    cases = (((), (MUCH,)), ((less,), (MUCH,)), ((less, little), (MUCH, LITTLE)), ((little,), (MUCH, LITTLE)))
    for others, most in cases:
        again = federation.copy()
        again.board.append(BudgetSpend(2, *mechanism, others, digest("later")), client.name, client.identity.signing)
        assert set(overspent(again.board, 2)) == {"client-1"}
        assert others_of(state.spends["client-1"] for state in again.board.replay.rounds) == most


def test_who_states_too_much_is_named(opened: Federation) -> None:
    federation = opened.copy()
    spent_elsewhere(federation, 1, MUCH)
    beyond = overspent(federation.board, 1)
    assert set(beyond) == {"client-1"}
    assert beyond["client-1"] > federation.plan.epsilon


def test_the_operator_leaves_out_who_is_beyond_the_budget(opened: Federation) -> None:
    federation = over_budget(opened)
    federation.close_and_vote(1)
    assert federation.board.round(1).cohort == ("client-2", "client-3")
    federation.request(1)
    federation.answer_and_publish(1, federation.zero)
    assert federation.board.round(1).result is not None


def test_too_few_within_the_budget_leave_the_round_open(opened: Federation) -> None:
    federation = opened.copy()
    spent_elsewhere(federation, 1, MUCH)
    with pytest.raises(QuorumError, match="missing, malformed or over budget: client-1"):
        federation.operator.close_round(federation.board, 1)


def test_members_sum_nobody_who_is_beyond_the_budget(opened: Federation) -> None:
    """An operator that counts it all the same gets no vote, and no answer."""
    federation = over_budget(opened)
    board, operator = federation.board, federation.operator
    everybody = tuple(sorted(index for index, _ in board.round(1).commits.values()))
    board.append(RoundClose(1, everybody), operator.name, operator.identity.signing)
    operator.add_up(board, 1)
    size = federation.log.size
    for member in federation.members:
        with pytest.raises(RefusedError, match=r"client-1 states spending of epsilon .* the budget is") as caught:
            member.vote(board, 1)
        assert caught.value.culprits == ("client-1", "operator")
    assert federation.log.size == size
    with pytest.raises(QuorumError, match="needs the votes of 3 of 4 members, has 0"):
        operator.request(board, 1, federation.witnesses, now=NOW)
