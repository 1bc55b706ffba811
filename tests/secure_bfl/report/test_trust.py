"""Who must be trusted for what: shares, survivors, and sums that hold too few clients."""

import math
from dataclasses import replace
from typing import Any

import pytest

from protocols.dp import PrivacyEvent, epsilon_pld
from secure_bfl.report import build
from secure_bfl.report.survivors import fewest, is_thin, survivors_epsilon
from tests.secure_bfl.report.made_up import (
    client_level,
    distributed,
    federation,
    full_batch,
    rounds_of,
    shared,
    with_sentinels,
)

DIM = 906


def variants(report: dict[str, Any]) -> dict[str, Any]:
    return {row["kind"]: row["epsilon"] for row in report["trust"]["variants"]}


def test_nobody_is_trusted_in_local_mode() -> None:
    seen = variants(full_batch())
    assert seen["reader"] == seen["coalition"] == seen["one_share"] == full_batch()["guarantee"]["epsilon"]
    assert seen["holder"] == "unbounded"
    assert full_batch()["trust"]["survivors"]["epsilon_if_the_rest_is_honest"] == seen["reader"]


@pytest.mark.parametrize(("report", "rate"), [(distributed, 100_000), (client_level, 1_000_000)])
def test_one_share_alone_protects_less(report: Any, rate: int) -> None:
    built = report()
    seen = variants(built)
    weaker = PrivacyEvent(math.isqrt(4_000**2 // 2), rate, 6)
    assert weaker == PrivacyEvent(4_000, rate, 6).with_shares(1, 2)
    assert seen["one_share"] == pytest.approx(epsilon_pld([weaker], 1e-5, dim=DIM), abs=1e-6)
    assert seen["one_share"] > seen["reader"] == seen["coalition"] == built["guarantee"]["epsilon"]


def row(report: dict[str, Any], kind: str) -> dict[str, Any]:
    return next(entry for entry in report["trust"]["variants"] if entry["kind"] == kind)


def test_one_other_client_knows_its_own_share() -> None:
    stands = build(shared("client", honest_minimum=2, colluders=1))
    assert row(stands, "client")["epsilon"] == stands["guarantee"]["epsilon"]
    alone = build(shared("client", honest_minimum=3, colluders=0))
    weaker = PrivacyEvent(4_000, 1_000_000, 6).with_shares(2, 3)
    assert row(alone, "client")["epsilon"] == pytest.approx(epsilon_pld([weaker], 1e-5, dim=DIM), abs=1e-6)
    assert row(alone, "client")["epsilon"] > alone["guarantee"]["epsilon"]
    roomy = build(shared("client", honest_minimum=2, colluders=0))  # members open sums of three only
    assert row(roomy, "client")["epsilon"] == roomy["guarantee"]["epsilon"]


def test_one_other_client_of_a_sum_that_is_too_small() -> None:
    thin = build(shared("client", done=2, honest_minimum=4, colluders=0, minimum_clients=4))
    weaker = PrivacyEvent(4_000, 1_000_000, 2).with_shares(2, 4)  # three were seen
    assert row(thin, "client")["epsilon"] == pytest.approx(epsilon_pld([weaker], 1e-5, dim=DIM), abs=1e-6)


def test_the_clients_to_trust_are_counted_with_the_one_that_is_protected() -> None:
    own = {"client": "the protected one", "distributed": "the record's own"}
    for mode, one in own.items():
        report = build(shared(mode, honest_minimum=2, colluders=1, done=1))
        for kind in ("reader", "client", "coalition"):
            assert row(report, kind)["trusts"].startswith(f"2 honest clients of each opened sum, {one} included")
    only = build(shared("client", honest_minimum=1, colluders=2, done=1))
    assert row(only, "coalition")["trusts"].startswith("the client itself, with its noise; all members but 2")
    assert "the operator and up to 2 other clients" in row(only, "coalition")["observer"]


@pytest.mark.parametrize(("colluders", "words"), [(0, "none of them"), (1, "one of them"), (2, "up to 2 of them")])
def test_how_many_may_be_dishonest_is_said_in_words(colluders: int, words: str) -> None:
    built = build(shared("client", done=1, honest_minimum=1, colluders=colluders))
    assert built["trust"]["statement"].endswith(
        f"so {words} may leave theirs out, or tell others what it was. All of them encrypt values of their own."
    )


def test_a_share_below_all_noise_levels_is_unbounded() -> None:
    facts = shared("client", noise=110, epsilon_milli=10**6)
    assert variants(build(facts))["one_share"] == "unbounded"


def test_more_survivors_mean_more_noise() -> None:
    facts = shared("client", done=1)
    assert fewest(facts) == 5
    survivors = build(facts)["trust"]["survivors"]
    stronger = PrivacyEvent(math.isqrt(4_000**2 * 4 // 2), 1_000_000, 1)
    expected = epsilon_pld([stronger], 1e-5, dim=DIM)
    assert survivors["epsilon_if_the_rest_is_honest"] == pytest.approx(expected, abs=1e-6)
    assert (survivors["honest_minimum"], survivors["colluders"], survivors["required"]) == (2, 1, 3)


def test_a_reservation_in_no_opened_sum_counts_as_planned() -> None:
    facts = shared("client", done=1)
    clients = tuple(replace(c, uploads=()) if c.name == "ana" else c for c in facts.clients)
    four = with_sentinels(replace(facts, clients=clients, rounds=rounds_of(clients, 1), sentinels=0))
    planned = epsilon_pld([PrivacyEvent(4_000, 1_000_000, 1)], 1e-5, dim=DIM)
    assert survivors_epsilon(four) == pytest.approx(planned, abs=1e-9)
    assert survivors_epsilon(facts) < survivors_epsilon(four)


def test_before_the_first_sum_nothing_is_seen() -> None:
    built = build(shared("client", done=0))
    assert built["trust"]["survivors"]["fewest_seen"] is None
    assert built["trust"]["survivors"]["epsilon_if_the_rest_is_honest"] == 0


def test_a_sum_of_too_few_clients_raises_the_headline() -> None:
    facts = shared("client", done=2, honest_minimum=4, minimum_clients=5)
    assert is_thin(facts)
    built = build(facts)
    assert built["guarantee"]["method"].endswith("with the noise of the smallest opened sum")
    weaker = PrivacyEvent(math.isqrt(4_000**2 * 2 // 4), 1_000_000, 2)
    assert built["guarantee"]["epsilon"] == pytest.approx(epsilon_pld([weaker], 1e-5, dim=DIM), abs=1e-6)
    assert built["guarantee"]["epsilon"] > built["guarantee"]["numerically_tight"]["epsilon"]
    failed = [claim["claim"] for claim in built["assumptions"]["checked"] if not claim["holds"]]
    assert "Every opened sum holds at least 5 clients' updates." in failed
    assert not is_thin(federation())


def test_a_sum_of_colluders_alone_is_unbounded() -> None:
    facts = shared("client", done=2, honest_minimum=1, colluders=4, minimum_clients=5)
    assert fewest(facts) == 3
    assert build(facts)["guarantee"]["epsilon"] == "unbounded"
