"""Evidence: what the sentinels and the audits show is computed again, and what speaks against the claim is said."""

import math
from dataclasses import replace
from typing import Any

import pytest
from scipy.stats import chi2

from protocols.dp.auditing import OneRun, one_run_p_value
from secure_bfl.report import build, html
from secure_bfl.report.evidence import audit_agrees
from secure_bfl.report.gauge import BAND, band, noise_holds
from tests.secure_bfl.report.made_up import audit, distributed, federation, full_batch, shared, with_sentinels


def failed(report: dict[str, Any]) -> list[str]:
    return [claim["claim"] for claim in report["assumptions"]["checked"] if not claim["holds"]]


def test_the_gauge_shows_each_round_and_all_together() -> None:
    gauge = distributed()["evidence"]["sentinel_gauge"]
    assert [row["round"] for row in gauge["rounds"]] == [1, 2, 3, 4, 5, 6]
    assert gauge["cumulative"]["coordinates"] == 6 * 256
    mean = sum(row["ratio"] for row in gauge["rounds"]) / 6
    assert gauge["cumulative"]["ratio"] == pytest.approx(mean, abs=1e-6)
    for row in gauge["rounds"]:
        assert row["accounted"] == pytest.approx(2 / row["contributors"])  # two clients' noise counts
        assert row["p_too_small"] + row["p_too_large"] == pytest.approx(1)
        assert row["p_too_small"] == pytest.approx(chi2.cdf(row["ratio"] * 256, 256), rel=1e-6)
    assert failed(distributed()) == []


def test_far_too_little_noise_is_found_in_every_round() -> None:
    built = build(with_sentinels(shared("client"), noise=0.2))
    gauge = built["evidence"]["sentinel_gauge"]
    assert not any(row["holds"] for row in gauge["rounds"])
    assert not gauge["cumulative"]["holds"]
    assert failed(built) == ["No opened sum shows less noise than epsilon rests on."]
    assert "FAILS" in html(built)


def test_less_than_planned_is_seen_and_enough_is_enough() -> None:
    """What colluders that the plan tolerates leave out is missing from the picture, and not from epsilon."""
    facts = with_sentinels(shared("client"), noise=0.72)
    built = build(facts)
    assert all(row["accounted"] < 0.7 for row in built["evidence"]["sentinel_gauge"]["rounds"])
    assert not built["evidence"]["sentinel_gauge"]["cumulative"]["holds"]
    assert failed(built) == []


def test_a_little_less_than_needed_in_every_round_is_found_in_all_together() -> None:
    facts = with_sentinels(shared("client"))
    needed = (facts.noise_multiplier_milli * facts.clip_units / 1000) ** 2
    energy = round(0.65 * facts.sentinels * needed)
    one = replace(facts.rounds[0], sentinel_energy=energy)
    assert noise_holds(replace(facts, rounds=(one, *facts.rounds[1:])))
    assert not noise_holds(replace(facts, rounds=tuple(replace(r, sentinel_energy=energy) for r in facts.rounds)))


def test_without_sentinels_there_is_no_gauge() -> None:
    assert full_batch()["evidence"]["sentinel_gauge"] is None
    assert build(shared("client", done=0))["evidence"]["sentinel_gauge"] is None
    assert "less noise than" not in str(full_batch()["assumptions"]["checked"])


def test_a_local_sum_has_no_alarm_line() -> None:
    built = build(with_sentinels(federation(done=1)))
    (row,) = built["evidence"]["sentinel_gauge"]["rounds"]
    assert row["accounted"] is None
    assert 'class="budget-step"' not in html(built)


@pytest.mark.parametrize(("coordinates", "error"), [(30, 2e-2), (256, 2e-3), (10_000, 1e-4)])
def test_the_band_is_chi_squares(coordinates: int, error: float) -> None:
    found = band(coordinates)
    assert found.low == pytest.approx(chi2.ppf((1 - BAND) / 2, coordinates) / coordinates, rel=error)
    assert found.high == pytest.approx(chi2.ppf((1 + BAND) / 2, coordinates) / coordinates, rel=error)


def test_an_audit_is_computed_again_from_its_counts() -> None:
    (row,) = distributed()["evidence"]["audits"]
    assert row["one_run_p"] == pytest.approx(one_run_p_value(OneRun(1000, 100, 61), 1.0, 1e-5))
    assert row["follows_from_counts"]
    assert row["passes"]
    assert (row["party"], row["entry"], row["correct"]) == ("operator", 17, 61)


def test_stated_figures_that_do_not_follow_are_replaced_and_named() -> None:
    lie = audit(correct=100, one_run_p_e12=10**12, epsilon_lower_milli=0)
    assert not audit_agrees(lie)
    built = build(shared("client", audits=(lie,)))
    (row,) = built["evidence"]["audits"]
    assert row["one_run_p"] < 1e-3
    assert row["epsilon_lower_bound"] > 3
    assert not row["follows_from_counts"]
    assert failed(built) == ["Every audit's figures follow from its counts."]
    assert not audit_agrees(audit(epsilon_lower_milli=0))
    assert not audit_agrees(audit(one_run_p_e12=1))


def test_a_violation_is_a_failed_claim() -> None:
    built = build(shared("client", audits=(audit(), audit(z_p_e12=0, structural="sampler"))))
    assert [row["violations"] for row in built["evidence"]["audits"]] == [[], ["z-test", "sampler"]]
    assert failed(built) == ["Every audit on the ledger found no violation."]


def test_no_figure_of_an_audit_is_more_than_its_counts_allow() -> None:
    row = build(shared("client", audits=(audit(guesses=10, correct=10),)))["evidence"]["audits"][0]
    assert row["epsilon_lower_bound"] <= math.log(1 / (1 - 0.05 ** (1 / 10)) - 1 + 1e-9) + 3
    assert row["epsilon_lower_bound"] > 0
