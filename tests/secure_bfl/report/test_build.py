"""The report's numbers: each recomputed here from the events the report itself lists."""

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from protocols.dp import PrivacyEvent, epsilon_pld, epsilon_rdp
from secure_bfl.adapters import opacus
from secure_bfl.report import (
    ClientFacts,
    Spend,
    VoidRound,
    build,
    encode,
    schema,
)
from secure_bfl.report.accounts import Check, _round_up, epsilons, frontier, histories
from secure_bfl.report.course import _spread, _timeline
from tests.secure_bfl.report.made_up import (
    OTHERS,
    client_level,
    distributed,
    federation,
    full_batch,
    rounds_of,
    sampled,
    shared,
    with_others,
    with_spend,
)

DELTA = 1e-5


def events_of(rows: list[dict[str, Any]]) -> list[PrivacyEvent]:
    return [
        PrivacyEvent(round(row["noise_multiplier"] * 1000), round(row["sampling_rate"] * 1_000_000), row["steps"])
        for row in rows
    ]


def leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for inner in value.values():
            yield from leaves(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner)
    else:
        yield value


@pytest.mark.parametrize("report", [full_batch, sampled])
def test_headline_is_epsilon_of_the_reports_own_events(report: Any) -> None:
    built = report()
    headline = epsilon_pld(events_of(built["accounting"]["events"]), DELTA, dim=650)
    assert built["accounting"]["verdict"] == "agree"
    assert built["guarantee"]["epsilon"] == pytest.approx(headline, abs=1e-6)
    assert built["budget"]["spent"] == built["guarantee"]["epsilon"] == built["accounting"]["series"][-1]["epsilon"]
    formal = epsilon_rdp(events_of(built["accounting"]["events"]), DELTA, dim=650)
    assert built["guarantee"]["formal"]["epsilon"] == pytest.approx(formal, abs=1e-6)
    assert formal > headline


@pytest.mark.parametrize("report", [full_batch, sampled])
def test_every_client_has_its_own_epsilon_and_the_worst_is_the_headline(report: Any) -> None:
    built = report()
    for row in built["clients"]:
        assert row["epsilon"] == pytest.approx(epsilon_pld(events_of(row["events"]), DELTA, dim=650), abs=1e-6)
        assert row["remaining"] == pytest.approx(built["budget"]["total"] - row["epsilon"], abs=1e-6)
    worst = max(built["clients"], key=lambda row: row["epsilon"])
    assert worst["epsilon"] == built["guarantee"]["epsilon"]
    assert worst["name"] in built["guarantee"]["worst_clients"]
    assert "dee" not in built["guarantee"]["worst_clients"]


@pytest.mark.parametrize("report", [full_batch, sampled])
def test_cross_checks_lie_in_the_stated_brackets(report: Any) -> None:
    built = report()
    checks = {check["accountant"]: check for check in built["accounting"]["cross_checks"]}
    own = built["guarantee"]["epsilon"]
    assert own - 1e-3 <= checks["Opacus PRV"]["epsilon"] <= own + 0.02
    assert checks["dp-accounting RDP"]["epsilon"] >= own - 1e-3
    assert checks["Opacus RDP"]["epsilon"] == pytest.approx(checks["dp-accounting RDP"]["epsilon"], rel=1e-3)
    assert all(check["holds"] for check in checks.values())


@pytest.mark.parametrize("report", [full_batch, sampled, distributed, client_level])
def test_report_fits_the_schema_and_is_canonical_json(report: Any) -> None:
    built = report()
    jsonschema.Draft202012Validator.check_schema(schema())
    jsonschema.Draft202012Validator(schema()).validate(built)
    data = encode(built)
    assert data.endswith(b"}\n")
    assert json.loads(data) == built
    assert encode(json.loads(data)) == data
    assert all(math.isfinite(leaf) for leaf in leaves(built) if isinstance(leaf, float))


def test_schema_refuses_more_less_and_nan_like_words() -> None:
    validator = jsonschema.Draft202012Validator(schema())
    built = json.loads(encode(full_batch()))
    assert not validator.is_valid({**built, "more": 1})
    assert not validator.is_valid({key: value for key, value in built.items() if key != "budget"})
    built["budget"]["spent"] = "NaN"
    assert not validator.is_valid(built)


def test_encode_refuses_nan() -> None:
    with pytest.raises(ValueError, match="JSON"):
        encode({"spent": math.nan})


def test_same_facts_same_bytes() -> None:
    assert encode(build(federation())) == encode(full_batch())


@pytest.mark.parametrize(
    "change",
    [{"steps": 11}, {"steps": 9}, {"noise_multiplier_milli": 7_999}],
)
@pytest.mark.parametrize("client", ["ana", "dee"])
def test_any_changed_spend_changes_that_clients_row(client: str, change: dict[str, int]) -> None:
    before = full_batch()
    after = build(with_spend(federation(), client, 1, **change))
    rows = zip(before["clients"], after["clients"], strict=True)
    assert {old["name"] for old, new in rows if old != new} == {client}
    changed = {claim["claim"]: claim["holds"] for claim in after["assumptions"]["checked"]}
    assert changed["Every reservation used the planned mechanism."] is False
    assert after["mechanism"]["all_spends_as_planned"] is False


def test_a_changed_sampling_rate_is_another_event() -> None:
    facts = with_spend(federation(), "ana", 1, sampling_rate_ppm=999_999)
    changed = {history.clients: history.events for history in histories(facts.clients)}
    assert [event.sampling_rate_ppm for event in changed[("ana",)]] == [999_999, 1_000_000]
    assert [event.steps for event in changed[("ana",)]] == [10, 50]
    assert [event.steps for event in changed[("bo", "cleo", "eli")]] == [60]


def test_a_reservation_counts_without_an_upload() -> None:
    rows = {row["name"]: row for row in full_batch()["clients"]}
    assert rows["eli"]["rounds_reserved_without_upload"] == [2, 5]
    assert rows["eli"]["epsilon"] == rows["ana"]["epsilon"]
    assert full_batch()["budget"]["rounds_reserved_without_upload"] == 3


def test_the_part_of_lost_reservations_is_shown() -> None:
    facts = federation()
    clients = tuple(replace(client, uploads=()) for client in facts.clients)
    built = build(replace(facts, clients=clients, rounds=()))["budget"]
    assert built["spent"] == full_batch()["budget"]["spent"]
    assert built["spent_on_opened_rounds"] == 0
    assert built["reserved_without_upload"] == built["spent"]
    assert built["rounds_reserved_without_upload"] == 27


@pytest.mark.parametrize("report", [full_batch, sampled])
def test_remaining_rounds_fit_and_one_more_does_not(report: Any) -> None:
    built = report()
    left, events = built["budget"]["remaining_rounds"], events_of(built["accounting"]["events"])
    step = replace(events[0], steps=10)
    more = [replace(step, steps=10 * left)] if left else []
    assert epsilon_pld([*events, *more], DELTA, dim=650) <= 8
    assert epsilon_pld([*events, replace(step, steps=10 * (left + 1))], DELTA, dim=650) > 8
    assert left > 0


def test_nothing_spent() -> None:
    built = build(federation(done=0))
    jsonschema.Draft202012Validator(schema()).validate(built)
    assert built["guarantee"]["epsilon"] == built["budget"]["spent"] == 0
    assert built["budget"]["remaining"] == 8
    assert built["budget"]["remaining_rounds"] > 0
    assert built["accounting"]["series"] == []
    assert len(built["accounting"]["forecast"]) == 8
    assert built["guarantee"]["attacker"]["true_positive_rate"] == pytest.approx(0.01)
    assert built["accounting"]["verdict"] == "agree"


def test_budget_exceeded_is_said() -> None:
    built = build(federation(epsilon_milli=2_000))
    budget = built["budget"]
    assert budget["exceeded"] is True
    assert (budget["remaining"], budget["remaining_rounds"]) == (0, 0)
    assert "exceeded" in built["plain_words"][3]
    claims = {claim["claim"]: claim["holds"] for claim in built["assumptions"]["checked"]}
    assert claims["Every client's spending is within the budget."] is False


def test_remaining_rounds_stop_at_their_limit_and_say_so() -> None:
    built = build(federation(noise=10_000_000, done=1))["budget"]
    assert (built["remaining_rounds"], built["remaining_rounds_is_minimum"]) == (4096, True)


@pytest.mark.parametrize(
    ("accountant", "answer"),
    [("prv_epsilon", 0.5), ("prv_epsilon", 50.0), ("prv_epsilon", math.nan), ("rdp_epsilon", -13_410.0)],
)
def test_a_disagreement_is_the_verdict_and_the_largest_is_the_headline(
    monkeypatch: pytest.MonkeyPatch, accountant: str, answer: float
) -> None:
    monkeypatch.setattr(opacus, accountant, lambda events, delta: answer)
    built = build(federation())
    jsonschema.Draft202012Validator(schema()).validate(built)
    if accountant == "rdp_epsilon" or math.isnan(answer):
        # No number a bound can be: it counts as unbounded, which an upper bound may be and a bracket may not.
        expected = "agree" if accountant == "rdp_epsilon" else "disagree"
    else:
        expected = "disagree"
    assert built["accounting"]["verdict"] == expected
    if expected == "disagree":
        answers = [check["epsilon"] for check in built["accounting"]["cross_checks"]]
        largest = "unbounded" if "unbounded" in answers else max([*answers, full_batch()["guarantee"]["epsilon"]])
        assert built["guarantee"]["epsilon"] == built["budget"]["spent"] == largest
        assert "Opacus PRV" in built["accounting"]["explanation"]
        assert "disagree" in built["plain_words"][1]


def test_an_rdp_answer_below_the_tight_one_is_a_disagreement(monkeypatch: pytest.MonkeyPatch) -> None:
    own = full_batch()["guarantee"]["epsilon"]
    monkeypatch.setattr(opacus, "rdp_epsilon", lambda events, delta: own - 0.002)
    assert build(federation())["accounting"]["verdict"] == "disagree"


def test_check_brackets() -> None:
    assert Check("a", 1.0, 1.0, 1.02).holds
    assert not Check("a", 0.999, 1.0, 1.02).holds
    assert not Check("a", 1.021, 1.0, 1.02).holds
    assert not Check("a", math.nan, -math.inf, math.inf).holds
    assert Check("a", math.inf, math.inf, math.inf).holds
    assert not Check("a", 99.0, math.inf, math.inf).holds


def test_unbounded_is_a_word() -> None:
    built = build(federation(noise=1_000, steps=300, done=1))
    jsonschema.Draft202012Validator(schema()).validate(built)
    assert built["guarantee"]["epsilon"] == built["budget"]["spent"] == "unbounded"
    assert built["budget"]["exceeded"] is True
    assert built["guarantee"]["profile"] == []
    assert "Opacus PRV" not in {check["accountant"] for check in built["accounting"]["cross_checks"]}
    assert built["guarantee"]["attacker"]["true_positive_rate"] == 1
    assert b"Infinity" not in encode(built)
    assert "No useful limit" in built["plain_words"][1]


def test_histories_that_contain_each_other_are_accounted_once_and_others_all() -> None:
    spend = Spend(1, 10, 8_000, 1_000_000)
    clients = (
        ClientFacts("small", (spend,), ()),
        ClientFacts("large", (spend, replace(spend, round=2)), ()),
        ClientFacts("also large", (replace(spend, steps=20),), ()),
        ClientFacts("other", (replace(spend, noise_multiplier_milli=9_000),), ()),
        ClientFacts("away", (), ()),
    )
    found = histories(clients)
    assert [history.clients for history in found] == [("small",), ("large", "also large"), ("other",), ("away",)]
    assert [history.clients for history in frontier(found)] == [("large", "also large"), ("other",)]
    (first, second) = _timeline(clients, [1, 2])
    assert first[0].clients == ("small", "large")
    assert [history.clients for history in second] == [history.clients for history in found]
    assert second[1].events == found[1].events


def test_mixed_mechanisms_are_each_checked() -> None:
    facts = with_spend(federation(), "dee", 0, noise_multiplier_milli=2_000)
    built = build(facts)
    assert built["guarantee"]["worst_clients"] == ["dee"]
    assert len(built["accounting"]["events"]) == 2
    assert {tuple(check["clients"]) for check in built["accounting"]["cross_checks"]} == {
        ("ana", "bo", "cleo", "eli"),
        ("dee",),
    }


def test_too_few_contributors_and_weak_smudging_are_failed_claims() -> None:
    built = build(federation(minimum_clients=5, smudging_lambda=39))
    failed = [claim["claim"] for claim in built["assumptions"]["checked"] if not claim["holds"]]
    assert failed == [
        "Every opened sum holds at least 5 clients' updates.",
        "Partial decryptions are smudged to at least 40 statistical bits.",
    ]


def test_a_second_reservation_in_one_round_is_charged_and_named() -> None:
    facts = federation()
    first = facts.clients[0]
    twice = replace(first, spends=(first.spends[0], *first.spends))
    built = build(replace(facts, clients=(twice, *facts.clients[1:])))
    assert built["guarantee"]["worst_clients"] == ["ana"]
    assert built["guarantee"]["epsilon"] > full_batch()["guarantee"]["epsilon"]
    failed = [claim["claim"] for claim in built["assumptions"]["checked"] if not claim["holds"]]
    assert failed == ["No client reserved twice in one round."]


def test_groups_cost_more_than_one_record() -> None:
    groups = {row["units"]: row["epsilon"] for row in full_batch()["unit"]["groups"]}
    assert list(groups) == [1, 2, 4, 8]
    assert groups[1] == full_batch()["guarantee"]["epsilon"]
    assert groups[1] * 2 < groups[2] < groups[4]


def test_the_attackers_bound_is_above_guessing_and_monotone() -> None:
    for report in (full_batch(), sampled()):
        rates = [(row["false_positive_rate"], row["true_positive_rate"]) for row in report["guarantee"]["roc"]]
        assert rates == sorted(rates)
        assert all(x - 1e-9 <= y <= 1 for x, y in rates)
        at_one_percent = dict(rates)[0.01]
        assert at_one_percent == report["guarantee"]["attacker"]["true_positive_rate"]
        epsilon = report["guarantee"]["epsilon"]
        assert at_one_percent <= math.exp(epsilon) * 0.01 + DELTA


def test_profile_falls_with_delta_and_passes_through_the_headline() -> None:
    for report in (full_batch(), sampled()):
        points = [(row["delta"], row["epsilon"]) for row in report["guarantee"]["profile"]]
        assert points == sorted(points, key=lambda point: (point[0], -point[1]))
        assert all(a[1] >= b[1] for a, b in pairwise(points))
        assert dict(points)[DELTA] == report["guarantee"]["epsilon"]


def test_series_and_forecast_rise_and_name_the_rounds() -> None:
    accounting = full_batch()["accounting"]
    assert [row["round"] for row in accounting["series"]] == [1, 2, 3, 4, 5, 6]
    assert [row["round"] for row in accounting["forecast"]] == [7, 8]
    values = [row["epsilon"] for row in (*accounting["series"], *accounting["forecast"])]
    assert values == sorted(set(values))


@pytest.mark.parametrize(("count", "most"), [(0, 5), (1, 5), (5, 5), (6, 5), (1000, 40)])
def test_spread_ends_with_the_last(count: int, most: int) -> None:
    found = _spread(count, most)
    assert len(found) == min(count, most)
    assert found == sorted(set(found))
    assert found[-1:] == ([count] if count else [])


def test_long_runs_are_thinned_out() -> None:
    spends = tuple(Spend(number, 1, 50_000, 1_000_000) for number in range(1, 101))
    clients = (ClientFacts("ana", spends, tuple(range(1, 101))),)
    run: dict[str, Any] = {
        "clients": clients,
        "rounds": rounds_of(clients, 100),
        "planned_rounds": 500,
        "minimum_clients": 1,
    }
    accounting = build(federation(noise=50_000, steps=1, **run))["accounting"]
    assert len(accounting["series"]) == 24
    assert accounting["series"][-1]["round"] == 100
    assert accounting["forecast"][-1]["rounds"] == 500


def test_the_report_names_the_ledger_it_was_made_from() -> None:
    identity = full_batch()["identity"]
    assert identity["log_root"] == federation().log_root.hex()
    other = build(federation(log_size=241))["identity"]
    assert other["id"] != identity["id"]


def test_accuracy_may_be_unstated() -> None:
    assert full_batch()["utility"]["accuracy"] == 0.914
    assert build(federation(accuracy_ppm=None))["utility"]["accuracy"] is None


def test_the_schema_is_published_as_it_is_shipped() -> None:
    published = Path(__file__).parents[3] / "docs" / "reference" / "budget-report.schema.json"
    assert json.loads(published.read_bytes()) == schema()


def test_void_rounds_are_told_from_others() -> None:
    facts = federation()
    clients = tuple(replace(c, uploads=tuple(r for r in c.uploads if r < 5)) for c in facts.clients)
    void = (VoidRound(5, "it did not open"), VoidRound(6, "nor did this"))
    budget = build(replace(facts, clients=clients, rounds=rounds_of(clients, 4), void_rounds=void))["budget"]
    step = PrivacyEvent(8_000, 1_000_000, 40)
    assert budget["spent"] == full_batch()["budget"]["spent"]
    assert budget["voided"] == pytest.approx(budget["spent"] - epsilon_pld([step], DELTA, dim=650), abs=1e-6)
    assert budget["rounds_voided"] == 10
    assert full_batch()["budget"]["voided"] == full_batch()["budget"]["rounds_voided"] == 0


def test_the_whole_plan_is_the_forecasts_end() -> None:
    built = full_batch()
    assert built["budget"]["whole_plan"] == built["accounting"]["forecast"][-1]["epsilon"]
    assert build(federation(planned_rounds=6))["budget"]["whole_plan"] == built["budget"]["spent"]


def test_other_runs_on_the_same_records_add_by_renyi() -> None:
    built = distributed()
    row = next(row for row in built["clients"] if row["name"] == "bo")
    together = [*events_of(row["events"]), *OTHERS]
    dim = 650 + 256
    assert row["epsilon_all_runs"] == pytest.approx(epsilon_rdp(together, DELTA, dim=dim), abs=1e-6)
    assert row["epsilon_all_runs"] > row["epsilon_formal"]
    assert [event["steps"] for event in row["other_runs"]] == [30]
    assert built["budget"]["all_runs"]["epsilon"] == row["epsilon_all_runs"]
    assert built["budget"]["all_runs"]["worst_clients"] == ["bo"]
    assert built["scope"]["clients_with_other_runs"] == ["bo"]
    for other in built["clients"]:
        assert (other["name"] == "bo") == (other["epsilon_all_runs"] != other["epsilon_formal"])


def test_other_runs_with_the_same_mechanism_add_their_steps() -> None:
    facts = with_others(federation(), "dee", (PrivacyEvent(8_000, 1_000_000, 1_000),))
    built = build(facts)["budget"]["all_runs"]
    total = PrivacyEvent(8_000, 1_000_000, 1_000 + 30)
    assert built["epsilon"] == pytest.approx(epsilon_rdp([total], DELTA, dim=650), abs=1e-6)


def test_without_other_runs_all_runs_are_this_one() -> None:
    built = full_batch()
    assert built["budget"]["all_runs"]["epsilon"] == built["guarantee"]["formal"]["epsilon"]
    assert built["scope"]["clients_with_other_runs"] == []


def test_mu_is_exact_or_none() -> None:
    sigma = PrivacyEvent(8_000, 1_000_000, 1).accounted_noise_multiplier
    assert full_batch()["guarantee"]["mu"] == pytest.approx(math.sqrt(60) / sigma, abs=1e-6)
    assert sampled()["guarantee"]["mu"] is None


def test_the_bracket_holds_every_answer() -> None:
    for built in (full_batch(), sampled(), distributed()):
        answers = [check["epsilon"] for check in built["accounting"]["cross_checks"]]
        bracket = built["guarantee"]["bracket"]
        assert bracket["low"] == min(*answers, built["guarantee"]["epsilon"])
        assert bracket["high"] == max(answers)


def test_a_round_with_shares_is_one_step_however_long_clients_train() -> None:
    built = build(shared("client", local_steps=7, done=2))
    assert built["mechanism"]["local_steps"] == 7
    assert built["mechanism"]["steps_per_round"] == 1
    assert built["mechanism"]["all_spends_as_planned"] is True
    assert build(federation(done=2, local_steps=7))["mechanism"]["all_spends_as_planned"] is False


def test_shares_are_described_by_what_one_client_adds() -> None:
    mechanism = distributed()["mechanism"]
    assert mechanism["shares"] == 2
    assert mechanism["share_noise_multiplier"] == pytest.approx(mechanism["noise_multiplier"] / math.sqrt(2))
    assert mechanism["share_std_units"] == pytest.approx(mechanism["noise_std_units"] / math.sqrt(2))
    assert full_batch()["mechanism"]["share_std_units"] == full_batch()["mechanism"]["noise_std_units"]


@pytest.mark.parametrize("steps", [1, 199, 200, 201, 399, 400, 999, 12_345, 10**6 + 1])
def test_steps_are_rounded_up_by_at_most_one_per_cent(steps: int) -> None:
    assert steps <= _round_up(steps) <= steps * 1.01


def test_many_histories_are_bounded_from_above_and_the_largest_is_exact() -> None:
    facts = federation(planned_rounds=1_000)
    lengths = [*range(300, 340), 999]
    clients = tuple(ClientFacts(f"c{n}", tuple(Spend(r, 1, 8_000, 1_000_000) for r in range(n)), ()) for n in lengths)
    found = epsilons(histories(clients), facts)
    assert len(found) == len(lengths)
    for (event,), epsilon in found.items():
        exact = epsilon_pld([event], DELTA, dim=650)
        assert exact <= epsilon <= exact * 1.01
        assert (epsilon == exact) or event.steps != 999
    assert len(set(found.values())) < 25
    few = epsilons(histories(clients[:5]), facts)
    assert all(epsilon == epsilon_pld(events, DELTA, dim=650) for events, epsilon in few.items())
