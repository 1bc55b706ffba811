"""The three modes: what a plan of each demands, and which model follows from a sum."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from protocols.dp import Mode, epsilon_pld
from protocols.errors import CapacityError, PrivacyError
from secure_bfl.local_training import Records
from secure_bfl.messages import MAX_INT
from secure_bfl.model import GlobalModel
from secure_bfl.plan import FederationPlan
from secure_bfl.results import apply_sum, following_model, sentinel_energy
from secure_bfl.training import settings
from tests.secure_bfl.federation import Federation


def plan_of(mode: Mode, **changes: object) -> FederationPlan:
    training = replace(settings("digits", mode), rounds=2)
    return FederationPlan.create("digits", training=training, clients=10, **changes)  # type: ignore[arg-type]


PLANS = {mode: plan_of(mode) for mode in Mode}


def sums_of(plan: FederationPlan) -> "np.ndarray[tuple[int, ...], np.dtype[np.int64]]":
    return (1000 * np.sin(np.arange(plan.values))).astype(np.int64)


def test_distributed_is_the_default() -> None:
    assert FederationPlan.create().mode == Mode.DISTRIBUTED
    assert FederationPlan.create(training=settings("digits", Mode.CLIENT)).mode == Mode.CLIENT
    with pytest.raises(ValueError, match="settings given are for client mode, not local"):
        FederationPlan.create(mode=Mode.LOCAL, training=settings("digits", Mode.CLIENT))


@pytest.mark.parametrize("mode", [Mode.DISTRIBUTED, Mode.CLIENT])
def test_honest_clients_of_the_least_sum_have_all_the_noise(mode: Mode) -> None:
    plan = plan_of(mode, minimum_clients=8, colluders=3)
    assert (plan.shares, plan.minimum_clients, plan.colluders) == (5, 8, 3)
    mechanism = plan.mechanism
    assert mechanism.share_variance_units * plan.shares == mechanism.noise_variance_units
    assert plan.sentinel_variance(8) == pytest.approx(8 / 5 * float(mechanism.noise_variance_units))
    with pytest.raises(ValueError, match="minimum_clients must be at least 8"):
        replace(plan, minimum_clients=7)
    with pytest.raises(ValueError, match="minimum_clients must be at least 9"):
        replace(plan, colluders=4)
    for colluders in (-1, 8, 9):
        with pytest.raises(ValueError, match="colluders must be 0 to 7"):
            plan_of(mode, minimum_clients=8, colluders=colluders)


BAD = [
    (Mode.LOCAL, {"honest_minimum": 2}, "honest_minimum is 1"),
    (Mode.LOCAL, {"colluders": 1}, "colluders is 0"),
    (Mode.DISTRIBUTED, {"honest_minimum": 0}, "honest_minimum must be at least 1"),
    (Mode.DISTRIBUTED, {"colluders": -1}, "colluders at least 0"),
    (Mode.DISTRIBUTED, {"local_steps": 2}, "one step a round"),
    (Mode.DISTRIBUTED, {"step_bits": 3}, "step_bits must be 0"),
    (Mode.CLIENT, {"step_bits": 3}, "step_bits must be 0"),
    (Mode.CLIENT, {"sampling_rate_ppm": 500_000}, "client mode does not sample"),
    (Mode.DISTRIBUTED, {"mode": 3}, "mode 3 is unknown"),
    (Mode.DISTRIBUTED, {"sentinels": -1}, "sentinels must be 0 to"),
    (Mode.DISTRIBUTED, {"sentinels": 65_537}, "sentinels must be 0 to"),
    (Mode.DISTRIBUTED, {"tensors": ()}, "1 to 512 tensors"),
    (Mode.DISTRIBUTED, {"tensors": PLANS[Mode.LOCAL].tensors[:1] * 2}, "a name of its own"),
    (Mode.DISTRIBUTED, {"record_shape": ()}, "a record has 1 to 4 sides"),
    (Mode.DISTRIBUTED, {"record_shape": (1, 1, 1, 1, 1)}, "a record has 1 to 4 sides"),
    (Mode.DISTRIBUTED, {"record_shape": (64, 0)}, "a record has 1 to 4 sides"),
    (Mode.DISTRIBUTED, {"record_shape": (1 << 13, 1 << 13)}, "at most 2\\^24 values"),
]


@pytest.mark.parametrize(("mode", "changes", "message"), BAD, ids=[f"{m.name}-{i}" for i, (m, *_) in enumerate(BAD)])
def test_each_mode_refuses_what_it_cannot_be(mode: Mode, changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(PLANS[mode], **changes)  # type: ignore[arg-type]


def test_by_default_epsilon_holds_against_each_other_client() -> None:
    """Everybody knows their own noise: what the others added has to be enough."""
    for mode in (Mode.DISTRIBUTED, Mode.CLIENT):
        assert (PLANS[mode].minimum_clients, PLANS[mode].honest_minimum, PLANS[mode].colluders) == (7, 6, 1)
    assert (PLANS[Mode.LOCAL].honest_minimum, PLANS[Mode.LOCAL].colluders) == (1, 0)
    for wrong in (1, "local"):
        with pytest.raises(TypeError, match=r"mode must be one of Mode\.LOCAL"):
            FederationPlan.create(mode=wrong)  # type: ignore[arg-type]


def test_the_squares_of_sentinels_fit_an_entry() -> None:
    plan = PLANS[Mode.DISTRIBUTED]
    with pytest.raises(CapacityError, match="the squares of 65536 sentinels would not fit"):
        replace(plan, clip_units=1 << 22, sentinels=1 << 16, value_bits=32, digit_width=40)


def test_a_value_has_room_for_the_noise_and_a_record() -> None:
    plan = PLANS[Mode.DISTRIBUTED]
    assert plan.limit >= plan.clip_units * plan.expected_batch
    assert plan.limit < plan.grid.largest
    bits = plan.value_bits
    while bits > 2 and replace(plan, value_bits=bits).limit > 2 * plan.clip_units:
        bits -= 1
    with pytest.raises(CapacityError, match="no room for the noise"):
        replace(plan, value_bits=bits - 2)


@pytest.mark.parametrize("mode", list(Mode))
def test_the_schedule_fits_the_budget_and_who_is_asked_checks_it(mode: Mode) -> None:
    plan = PLANS[mode]
    assert epsilon_pld([plan.schedule], plan.delta, dim=plan.values) <= plan.epsilon
    assert plan.privacy.schedule == (plan.round_event,) * plan.rounds
    assert plan.privacy.minimum_contributors <= plan.minimum_clients
    plan.require_budget()
    with pytest.raises(PrivacyError, match="budget"):
        replace(plan, epsilon_milli=plan.epsilon_milli - 1000).require_budget()


def test_no_member_deals_a_key_for_a_plan_beyond_its_budget(shares: Sequence[Records]) -> None:
    honest = FederationPlan.create("digits", clients=3, members=4, threshold=2, rounds=2, minimum_clients=2)
    federation = Federation(replace(honest, epsilon_milli=honest.epsilon_milli // 2), shares)
    federation.found()
    with pytest.raises(PrivacyError, match="budget"):
        federation.members[0].commit(federation.board)
    assert federation.log.size == 1, "nothing was written"


def test_local_mode_adds_the_mean_of_the_updates() -> None:
    plan = PLANS[Mode.LOCAL]
    sums = sums_of(plan)
    model = apply_sum(plan, GlobalModel.zero(plan.tensors), GlobalModel.zero(plan.tensors), sums, 4)
    expected = sums[: plan.parameters] / 2**plan.step_bits / 4
    assert np.array_equal(model.vector, expected.astype(np.float32))


def test_client_mode_adds_the_mean_of_the_clipped_updates() -> None:
    plan = PLANS[Mode.CLIENT]
    sums = sums_of(plan)
    model = apply_sum(plan, GlobalModel.zero(plan.tensors), GlobalModel.zero(plan.tensors), sums, 4)
    expected = sums[: plan.parameters] * (plan.clip_norm_micro / 10**6 / plan.clip_units / 4)
    assert np.allclose(model.vector, expected, rtol=1e-6)


def test_distributed_mode_takes_a_step_with_momentum() -> None:
    plan = replace(PLANS[Mode.DISTRIBUTED], momentum_milli=900)
    sums = sums_of(plan)
    before = GlobalModel(plan.tensors, np.full(plan.parameters, 0.5))
    model = GlobalModel(plan.tensors, np.full(plan.parameters, 0.75))
    after = apply_sum(plan, model, before, sums, 7)
    unit = plan.clip_norm_micro / 10**6 / plan.clip_units
    gradient = sums[: plan.parameters] * unit / (7 * plan.expected_batch)
    expected = 0.75 + 0.9 * 0.25 - plan.learning_rate_micro / 10**6 * gradient
    assert np.allclose(after.vector, expected, rtol=1e-6)


def test_momentum_is_taken_from_the_models_on_the_ledger(finished: Federation) -> None:
    """Round 2 looks up what round 1 started from; after a void round there is none."""
    federation = finished.copy()
    plan = federation.plan
    first = GlobalModel.decode(
        federation.blobs.get(federation.board.round(1).following, size=plan.model_bytes), plan.tensors
    )
    federation.open_and_update(2, first)
    federation.close_and_vote(2)
    sums = sums_of(plan)
    following = following_model(federation.board, 2, first, sums)
    assert plan.momentum_milli > 0
    expected = apply_sum(plan, first, federation.zero, sums, len(federation.board.round(2).cohort))
    assert following.encode() == expected.encode()
    assert following.encode() != apply_sum(plan, first, first, sums, len(federation.board.round(2).cohort)).encode()


def test_there_is_no_momentum_after_a_void_round(requested: Federation) -> None:
    federation = requested.copy()
    federation.operator.void_round(federation.board, 1, "for once")
    federation.open_and_update(2, federation.zero)
    federation.close_and_vote(2)
    sums = sums_of(federation.plan)
    following = following_model(federation.board, 2, federation.zero, sums)
    count = len(federation.board.round(2).cohort)
    assert following.encode() == apply_sum(federation.plan, federation.zero, federation.zero, sums, count).encode()


def test_the_sentinels_energy_is_an_exact_integer() -> None:
    plan = PLANS[Mode.DISTRIBUTED]
    sums = np.zeros(plan.values, dtype=np.int64)
    assert sentinel_energy(plan, sums) == 0
    sums[: plan.parameters] = 5
    assert sentinel_energy(plan, sums) == 0, "parameters are no sentinels"
    sums[-1], sums[-2] = -(1 << 29), 3
    assert sentinel_energy(plan, sums) == (1 << 58) + 9
    sums[-3:] = 1 << 40
    assert sentinel_energy(plan, sums) == MAX_INT


def test_sentinels_of_a_round_are_as_noisy_as_planned(finished: Federation) -> None:
    plan, result = finished.plan, finished.board.round(1).result
    assert result is not None
    contributors = len(finished.board.round(1).cohort)
    ratio = result.sentinel_energy / (plan.sentinels * plan.sentinel_variance(contributors))
    assert abs(ratio - 1) < 7 * math.sqrt(2 / plan.sentinels)


def test_the_first_round_starts_from_the_plans_model(keyed: Federation) -> None:
    federation = keyed.copy()
    other = GlobalModel(federation.plan.tensors, np.ones(federation.plan.parameters))
    with pytest.raises(Exception, match="the first round starts from the plan's model"):
        federation.operator.open_round(federation.board, 1, other)
