"""What an audit is made of: settings, canaries, the run, and the claims it must be able to refute."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from protocols.dp import Mode
from protocols.dp.auditing import noise_z_test
from secure_bfl import networks
from secure_bfl.auditing import AuditSettings, Canaries, Rehearsal, privacy_audit, rehearse, structural_violations
from secure_bfl.auditing.canaries import contribution
from secure_bfl.local_training import Learner, train_round
from secure_bfl.model import GlobalModel
from secure_bfl.plan import FederationPlan
from tests.secure_bfl.auditing.seeded import Seeded, small

MODES = tuple(Mode)


@pytest.fixture(autouse=True)
def _plain_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """That the network is fit for private training is tested elsewhere, and takes half of the time."""
    monkeypatch.setattr(networks, "check_gradients", lambda *_, **__: None)


def run(settings: AuditSettings, seed: int = 5) -> Rehearsal:
    draw = Seeded(seed)
    canaries = Canaries.toss(settings.canaries, draw(-(-settings.canaries // 8)))
    return rehearse(settings.plan(), canaries, draw=draw)


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_the_plan_claims_what_is_tested(mode: Mode) -> None:
    settings = AuditSettings.of_mode(mode)
    plan = settings.plan()
    assert (plan.mode, plan.epsilon, plan.delta, plan.sentinels) == (mode, 1.0, 1e-6, 256)
    assert plan.privacy.spent() <= 1.0
    assert plan.minimum_clients < plan.clients, "the noise of those who drop out is made up for"
    if mode != Mode.LOCAL:
        assert plan.honest_minimum == plan.minimum_clients, "no more noise than is accounted"
    assert settings.guesses % 2 == 0
    assert settings.guesses <= settings.canaries


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_settings_of_a_plan(mode: Mode) -> None:
    plan = FederationPlan.create("digits", mode=mode, clients=4, members=3, threshold=2, rounds=2)
    settings = AuditSettings.of_plan(replace(plan, momentum_milli=300))
    audited = settings.plan()
    assert (audited.mode, audited.momentum_milli, audited.clip_units) == (mode, 300, plan.clip_units)
    assert (audited.sampling_rate_ppm, audited.local_steps) == (plan.sampling_rate_ppm, plan.local_steps)
    assert settings.canaries == AuditSettings.of_mode(mode).canaries


def test_settings_of_a_large_plan_are_bounded() -> None:
    plan = FederationPlan.create("digits", mode=Mode.LOCAL, clients=4, members=3, threshold=2, rounds=2)
    settings = AuditSettings.of_plan(replace(plan, local_steps=600, clip_units=1 << 20))
    assert (settings.local_steps, settings.clip_units) == (50, 1 << 18)


@pytest.mark.parametrize(
    "changes",
    [{"canaries": 15}, {"rounds": 1}, {"rounds": 101}, {"local_steps": 0}, {"local_steps": 51}, {"canaries": 1 << 21}],
)
def test_settings_out_of_range(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="of an audit must be"):
        replace(AuditSettings(), **changes)


def test_settings_of_clients_and_types() -> None:
    with pytest.raises(ValueError, match="canaries of an audit must be 16 to 700, not 701"):
        AuditSettings(Mode.CLIENT, 701)
    fraction: Any = 100.0
    with pytest.raises(TypeError, match="canaries must be an int"):
        AuditSettings(Mode.LOCAL, fraction)


def test_coins_are_the_bits() -> None:
    canaries = Canaries.toss(12, b"\xf0\x8f")
    assert canaries.included.tolist() == [True] * 4 + [False] * 4 + [True] + [False] * 3
    tossed = Canaries.toss(80_000, Seeded(1)(10_000)).included
    assert abs(int(tossed.sum()) - 40_000) < 700
    for size in (1, 3):
        with pytest.raises(ValueError, match="12 canaries need 2 random bytes"):
            Canaries.toss(12, bytes(size))


def test_each_canary_is_at_one_client() -> None:
    canaries = Canaries.toss(40, Seeded(2)(5))
    found = np.concatenate([canaries.records(client, 3).features for client in range(3)])
    assert np.array_equal(found.sum(axis=0) > 0, canaries.included)
    assert (np.count_nonzero(found, axis=1) == 1).all()
    assert sorted(np.concatenate([canaries.of_client(client, 3) for client in range(3)])) == list(range(40))


def test_a_guess_abstains_in_the_middle() -> None:
    canaries = Canaries(np.arange(20) % 2 == 0)
    right = canaries.guess(np.where(canaries.included, 10.0, 0.0) + np.arange(20, dtype=np.float64) / 100, 6)
    assert (right.canaries, right.guesses, right.correct) == (20, 6, 6)
    wrong = canaries.guess(np.where(canaries.included, -10.0, 0.0), 20)
    assert (wrong.guesses, wrong.correct) == (20, 0)
    one_end = np.zeros(20)
    one_end[0], one_end[2] = 1.0, -1.0  # both are in
    assert canaries.guess(one_end, 2).correct == 1


@pytest.mark.parametrize("mode", [Mode.DISTRIBUTED, Mode.CLIENT], ids=lambda mode: mode.name)
def test_a_canary_adds_exactly_its_contribution(mode: Mode) -> None:
    plan = replace(small(mode), canaries=16).plan()
    canaries = Canaries(np.arange(16) == 3)
    zero = GlobalModel.zero(plan.tensors)
    nobody = Canaries(np.zeros(16, dtype=np.bool_)).records(0, 1)
    with_it, without = (
        train_round(plan, zero, Learner(records), rand=bytes(32))[0].values
        for records in (canaries.records(0, 1), nobody)
    )
    difference = np.abs(with_it - without)
    scores = np.abs(canaries.scores((with_it - without).astype(np.float64)))
    assert scores.tolist() == [contribution(plan.clip_units) if number == 3 else 0 for number in range(16)]
    assert contribution(plan.clip_units) > 1.41 * plan.clip_units
    assert np.count_nonzero(difference) == 4, "its two weights and the bias of both classes"
    assert difference[32:34].max() < plan.clip_units / 100


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
@pytest.mark.parametrize("rate", [1_000_000, 300_000])
def test_scores_follow_the_claimed_law_with_momentum(mode: Mode, rate: int) -> None:
    if mode == Mode.CLIENT and rate < 1_000_000:
        return
    settings = replace(small(mode, sampling_rate_ppm=rate), momentum_milli=700, rounds=3)
    rehearsal = run(settings)
    scores, law = rehearsal.scores(), rehearsal.law()
    reading = noise_z_test(
        scores,
        rehearsal.canaries.included,
        shift=law.shift,
        variance=law.variance,
        sampling_variance=law.sampling_variance,
    )
    assert reading.p_value > 1e-3
    present = scores[rehearsal.canaries.included]
    assert present.var() == pytest.approx(law.variance + law.sampling_variance, rel=0.5)


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_the_run_is_the_plans(mode: Mode) -> None:
    settings = replace(small(mode), canaries=64)
    plan = settings.plan()
    seen = list[tuple[str, int, int]]()
    draw = Seeded(6)
    rehearsal = rehearse(plan, Canaries.toss(64, draw(8)), draw=draw, progress=lambda *step: seen.append(step))
    assert rehearsal.participants == plan.minimum_clients
    assert rehearsal.shares.shape == (plan.rounds, plan.minimum_clients, plan.values)
    assert np.array_equal(rehearsal.sums, rehearsal.shares.sum(axis=1))
    assert seen == [("audit run", number, plan.rounds) for number in range(1, plan.rounds + 1)]
    assert len(rehearsal.sentinel_rounds()) == plan.rounds
    for contributors in (1, rehearsal.participants):
        assert rehearsal.claimed_variance(contributors) == pytest.approx(plan.sentinel_variance(contributors), rel=1e-9)
    assert np.abs(rehearsal.final.vector).max() * 100 < 1, "no canary's gradient is dimmed by what was learned"


def test_claims_that_differ_from_the_plan() -> None:
    rehearsal = run(replace(small(Mode.DISTRIBUTED), canaries=64))
    draw = Seeded(7)
    assert structural_violations(rehearsal, draw=draw) == ()
    first, *others = rehearsal.records
    for records in (
        tuple(others),
        (replace(first, noise_multiplier_milli=first.noise_multiplier_milli + 1), *others),
        (replace(first, sampling_rate_ppm=first.sampling_rate_ppm - 1), *others),
        (replace(first, shares=first.shares + 1), *others),
        (replace(first, clip_units=first.clip_units + 1), *others),
        (replace(first, dim=first.dim - 1), *others),
    ):
        assert structural_violations(replace(rehearsal, records=records), draw=draw) == ("claims",)
    shares = rehearsal.shares.copy()
    shares[1, 2, -256:] = shares[0, 5, -256:]
    assert structural_violations(replace(rehearsal, shares=shares), draw=draw) == ("noise-repeats",)


@pytest.mark.parametrize("rate", [20_000, 500_000])
def test_any_rate_can_be_audited(rate: int) -> None:
    for mode in (Mode.DISTRIBUTED, Mode.LOCAL):
        settings = replace(small(mode, sampling_rate_ppm=rate), canaries=64)
        assert structural_violations(run(settings), draw=Seeded(8)) == ()


def test_shares_of_another_shape() -> None:
    rehearsal = run(replace(small(Mode.DISTRIBUTED), canaries=64))
    with pytest.raises(ValueError, match="shape"):
        replace(rehearsal, shares=rehearsal.shares[:1])


def test_fresh_coins_and_noise_every_time() -> None:
    settings = replace(small(Mode.DISTRIBUTED), canaries=64)
    one, two = (privacy_audit(settings) for _ in range(2))
    assert one.passes
    assert two.passes
    assert one.sentinel_p_e12 != two.sentinel_p_e12
