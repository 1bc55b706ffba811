"""Values that others have published, each with its source, in `known_answers.json`."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from protocols.dp import PrivacyEvent, epsilon_pld, epsilon_rdp
from protocols.dp.gaussian import gaussian_epsilon

KNOWN: dict[str, Any] = json.loads((Path(__file__).parent / "known_answers.json").read_text(encoding="utf-8"))
ORDERS = {
    "integers 2 to 32": tuple(float(a) for a in range(2, 33)),
    "1.1 to 10.9, 12 to 63": tuple([1 + x / 10 for x in range(1, 100)] + [float(a) for a in range(12, 64)]),
}
FULL = 1_000_000


def event(case: dict[str, Any], steps: int) -> PrivacyEvent:
    # The rate is rounded up to millionths: 256 / 60,000 becomes 0.004267.
    rate = math.ceil(case["sampling_rate"] * FULL - 1e-9)
    return PrivacyEvent(round(case["noise_multiplier"] * 1000), rate, steps)


def classic(events: list[PrivacyEvent], delta: float, orders: tuple[float, ...]) -> float:
    """Undo the improved conversion order by order: epsilon = rdp + log(1 / delta) / (order - 1)."""
    return min(
        epsilon_rdp(events, delta, orders=(a,)) - math.log1p(-1 / a) + math.log(a) / (a - 1) for a in orders if a > 1.01
    )


def test_closed_form() -> None:
    for delta, epsilon in KNOWN["gaussian"]["epsilon_at_delta"]:
        assert gaussian_epsilon(KNOWN["gaussian"]["mu"], delta) == pytest.approx(epsilon, abs=6e-5)
        assert epsilon_pld([PrivacyEvent(1000, FULL, 1)], delta) == pytest.approx(epsilon, abs=1e-4)
        # Four steps at twice the noise are one step at the noise.
        assert epsilon_pld([PrivacyEvent(2000, FULL, 4)], delta) == pytest.approx(epsilon, abs=1e-4)


def test_renyi_of_the_gaussian() -> None:
    for order, sigma, divergence in KNOWN["renyi_of_the_gaussian"]["cases"]:
        assert order / (2 * sigma**2) == pytest.approx(divergence)
        steps, delta = 5, 1e-6
        expected = steps * divergence + math.log1p(-1 / order) - math.log(delta * order) / (order - 1)
        events = [PrivacyEvent(round(sigma * 1000), FULL, steps)]
        assert epsilon_rdp(events, delta, orders=(float(order),)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("number", range(len(KNOWN["classic_conversion"])))
def test_classic_conversion(number: int) -> None:
    case = KNOWN["classic_conversion"][number]
    events = [event(case, case["steps"])]
    assert classic(events, case["delta"], ORDERS[case["orders"]]) == pytest.approx(case["epsilon"], abs=5.5e-3)
    assert 0.65 * case["epsilon"] < epsilon_pld(events, case["delta"]) < case["epsilon"]


def test_opacus() -> None:
    case = KNOWN["opacus"]
    events, renyi = [event(case, case["rdp"]["steps"])], case["rdp"]["epsilon"]
    # At fractional orders dp-accounting also counts the remainder of its series, so it is a little above.
    assert renyi <= epsilon_rdp(events, case["delta"], orders=ORDERS["1.1 to 10.9, 12 to 63"]) <= renyi + 3e-4
    assert epsilon_rdp(events, case["delta"]) == pytest.approx(7.32934, abs=5e-5)
    prv = case["prv"]["epsilon"]
    assert prv - 0.02 < epsilon_pld([event(case, case["prv"]["steps"])], case["delta"]) < prv + 1e-3
