"""From the list of releases to epsilon.

Every function takes the events in any order, splits and merges included: only the totals count.
`dim` (coordinates in one release) prices the distance between the sampler and the ideal law; the
default is the largest dimension allowed. Spec: dp §5 (v1).
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, Final

from .composition import RENYI_ORDERS, LossCurve, compose, renyi_divergences, snap
from .events import PrivacyEvent, totals
from .gaussian import gaussian_delta, gaussian_epsilon
from .integers import check_int
from .mixture import group_distribution
from .noise import MAX_DIM, MAX_DISTANCE

__all__ = [
    "MAX_EPSILON",
    "MIN_DELTA",
    "QUICK_ORDERS",
    "check_delta",
    "delta_pld",
    "epsilon_pld",
    "epsilon_rdp",
    "group_epsilon",
    "total_distance",
    "with_distance",
]

MIN_DELTA: Final = 1e-10
"""Below this, double precision in the accountants is no longer safely on the right side."""

MAX_EPSILON: Final = 100.0
"""A larger epsilon protects nothing, and is reported as infinite."""

QUICK_ORDERS: Final = (2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 12.0, 16.0, 24.0, 32.0, 48.0, 64.0, 128.0, 256.0)
"""Renyi orders for a first look."""

_FULL_BATCH: Final = 1_000_000
_COARSEST_INTERVAL: Final = 1e-3
_FINEST_INTERVAL: Final = 1e-3 / 32

_FEW: Final = 8  # distinct mechanisms up to here are left to the library, and never snapped
_MANY: Final = 1024  # above so many distinct ones, they are snapped to a grid of 1 %

_Charges = tuple[tuple[PrivacyEvent, int], ...]
"""Each distinct one-step event with its total number of steps, sorted."""


def epsilon_pld(events: Iterable[PrivacyEvent], delta: float, *, dim: int = MAX_DIM) -> float:
    """Epsilon at `delta`, numerically tight: closed form if every rate is 1, else the privacy loss distribution.

    Run by: anyone. Returns an upper bound; `inf` above `MAX_EPSILON`; 0 for no events.
    Source: Koskela, Jaelkoe, Honkela 2020; Doroshenko et al. 2022 ("Connect the Dots"), as in `dp-accounting`.
    Raises:
        TypeError, ValueError: `delta` is not in [1e-10, 1), or `dim` is not an int in [1, 2^24].
    """
    check_int("dim", dim, 1, MAX_DIM)  # before the cache, which takes 2.0 for 2
    return _epsilon_pld(_charges(events), check_delta(delta), dim, 1)


def delta_pld(events: Iterable[PrivacyEvent], epsilon: float, *, dim: int = MAX_DIM) -> float:
    """Delta at `epsilon` >= 0, by the same means as `epsilon_pld`. Returns 1 where nothing is guaranteed.

    Raises:
        ValueError: `epsilon` is not finite or negative, or `dim` is out of range.
    """
    if not (math.isfinite(epsilon) and epsilon >= 0):
        raise ValueError("epsilon must be finite and not negative")
    charges = _charges(events)
    distance = _distance(charges, dim)
    if epsilon > MAX_EPSILON:
        return 1.0
    return min(1.0, _ideal_delta(charges, epsilon) + (1 + math.exp(epsilon)) * distance)


def epsilon_rdp(
    events: Iterable[PrivacyEvent], delta: float, *, dim: int = MAX_DIM, orders: tuple[float, ...] | None = None
) -> float:
    """Epsilon at `delta` by Renyi accounting: looser, and a theorem without numerical error terms.

    Source: Mironov, Talwar, Zhang 2019; conversion of Canonne, Kamath, Steinke 2020, Proposition 12.
    `orders`: the Renyi orders to try, each above 1.01; by default those of `dp-accounting`, or with more than 8
    distinct mechanisms those of `composition`.
    Raises:
        ValueError: `delta`, `dim` or an order is out of range.
    """
    if orders is not None and not (orders and all(math.isfinite(order) and order > 1.01 for order in orders)):
        raise ValueError("orders must be finite and above 1.01")
    charges = _charges(events)
    distance = _distance(charges, dim)
    return with_distance(lambda left: _ideal_rdp(charges, left, orders), check_delta(delta), distance)


def group_epsilon(events: Iterable[PrivacyEvent], delta: float, k: int, *, dim: int = MAX_DIM) -> float:
    """Epsilon at `delta` for a group: adding, or removing, `k` records at once (all of one person, say).

    A sampled step holds Binomial(k, rate) of them, so the dominating pair is a mixture of Gaussians
    (Ganesh, "Tight group-level DP guarantees for DP-SGD with sampling via mixture of Gaussians mechanisms",
    2024); at rate 1 this is the closed form at k times the sensitivity. `inf` above `MAX_EPSILON`.
    Raises:
        TypeError, ValueError: `k` is not an int in [1, 64]; `delta` or `dim` is out of range.
    """
    check_int("k", k, 1, 64)
    check_int("dim", dim, 1, MAX_DIM)
    return _epsilon_pld(_charges(events), check_delta(delta), dim, k)


def _charges(events: Iterable[PrivacyEvent]) -> _Charges:
    return tuple(totals(events).items())


def check_delta(delta: float) -> float:
    """Refuse a delta that the accountants cannot serve.

    Raises:
        ValueError: it is not in [1e-10, 1).
    """
    if not MIN_DELTA <= delta < 1:
        raise ValueError(f"delta must be in [{MIN_DELTA:g}, 1)")
    return delta


def total_distance(dim: int, steps: int) -> float:
    """Total variation between everything that is released and what the ideal laws would release.

    Raises:
        TypeError, ValueError: `dim`, the coordinates of one release, is not an int in [1, 2^24].
    """
    check_int("dim", dim, 1, MAX_DIM)
    return dim * steps * MAX_DISTANCE


def _distance(charges: _Charges, dim: int) -> float:
    return total_distance(dim, sum(steps for _, steps in charges))


def with_distance(ideal: Callable[[float], float], delta: float, distance: float) -> float:
    """Epsilon of a mechanism within total variation `distance` of one whose epsilon at delta is `ideal(delta)`.

    If the ideal one is (e, d)-DP, the real one is (e, d + (1 + exp(e)) * distance)-DP (spec §5.5).
    """
    ceiling = ideal(delta) + 1
    if ceiling > MAX_EPSILON + 1:
        return math.inf
    left = math.nextafter(delta - (1 + math.exp(ceiling)) * distance, 0.0)
    epsilon = ideal(left) if left > 0 else math.inf
    return epsilon if epsilon <= min(ceiling, MAX_EPSILON) else math.inf


@lru_cache(maxsize=4096)
def _epsilon_pld(charges: _Charges, delta: float, dim: int, group: int) -> float:
    return with_distance(lambda left: _ideal_pld(charges, left, group), delta, _distance(charges, dim))


def _ideal_pld(charges: _Charges, delta: float, group: int) -> float:
    if not charges:
        return 0.0
    if _all_full_batch(charges):
        return gaussian_epsilon(group * _mu(charges), delta)
    if not _is_bounded(charges):
        return math.inf
    if group == 1 and len(charges) > _FEW:
        return _loss_curve(charges).epsilon(delta)
    return float(_loss_distribution(charges, group).get_epsilon_for_delta(delta))


def _ideal_delta(charges: _Charges, epsilon: float) -> float:
    if not charges:
        return 0.0
    if _all_full_batch(charges):
        return gaussian_delta(_mu(charges), epsilon)
    if not _is_bounded(charges):
        return 1.0
    if len(charges) > _FEW:
        return _loss_curve(charges).delta(epsilon)
    return float(_loss_distribution(charges, 1).get_delta_for_epsilon(epsilon))


def _all_full_batch(charges: _Charges) -> bool:
    return all(event.sampling_rate_ppm == _FULL_BATCH for event, _ in charges)


def _mu(charges: _Charges) -> float:
    return math.sqrt(math.fsum(steps / event.accounted_noise_multiplier**2 for event, steps in charges))


@lru_cache(maxsize=1024)
def _is_bounded(charges: _Charges) -> bool:
    """Whether epsilon can be below `MAX_EPSILON`; a loss distribution much wider would not fit in memory."""
    return _ideal_rdp(charges, 1e-5, None if len(charges) > _FEW else QUICK_ORDERS) <= 2 * MAX_EPSILON


def _ideal_rdp(charges: _Charges, delta: float, orders: tuple[float, ...] | None) -> float:
    if not charges:
        return 0.0
    from dp_accounting.rdp import rdp_privacy_accountant as rdp  # here and below: two seconds to import

    if orders is None and len(charges) > _FEW:
        return float(rdp.compute_epsilon(RENYI_ORDERS, renyi_divergences(_snapped(charges)), delta)[0])
    tried, divergences = zip(*(_divergences(event, orders) for event, _ in charges), strict=True)
    total = sum(steps * one for one, (_, steps) in zip(divergences, charges, strict=True))
    return float(rdp.compute_epsilon(tried[0], total, delta)[0])


@lru_cache(maxsize=1024)
def _divergences(event: PrivacyEvent, orders: tuple[float, ...] | None) -> tuple[Any, Any]:
    """The orders, and the Renyi divergences of one step at them."""
    from dp_accounting import dp_event, rdp

    accountant = rdp.RdpAccountant(orders)
    gaussian = dp_event.GaussianDpEvent(event.accounted_noise_multiplier)
    accountant.compose(dp_event.PoissonSampledDpEvent(event.sampling_rate, gaussian), 1)
    return accountant.orders, accountant.rdp


def _snapped(charges: _Charges) -> _Charges:
    """The same, or at least as revealing and less varied, if there are very many distinct mechanisms."""
    if len(charges) <= _MANY:
        return charges
    result: Counter[PrivacyEvent] = Counter()
    for event, steps in charges:
        result[snap(event)] += steps
    return tuple(result.items())


@lru_cache(maxsize=4)
def _loss_curve(charges: _Charges) -> LossCurve:
    return compose(_snapped(charges))


@lru_cache(maxsize=16)
def _loss_distribution(charges: _Charges, group: int) -> Any:
    interval = min(_interval(event) for event, _ in charges) * group
    total = None
    for event, steps in charges:
        step = _one_step(event, group, interval).self_compose(steps)
        total = step if total is None else total.compose(step)
    return total


def _interval(event: PrivacyEvent) -> float:
    """Discretisation: 2 % of one step's loss, which keeps the added variance below 0.01 %; a power of 2 times 1e-3."""
    loss = event.sampling_rate * math.sqrt(math.expm1(event.accounted_noise_multiplier**-2))
    interval = _COARSEST_INTERVAL
    while interval > max(_FINEST_INTERVAL, 0.02 * loss):
        interval /= 2
    return interval


@lru_cache(maxsize=64)
def _one_step(event: PrivacyEvent, group: int, interval: float) -> Any:
    from dp_accounting.pld import privacy_loss_distribution as pld

    sigma, rate = event.accounted_noise_multiplier, event.sampling_rate
    if group == 1 or event.sampling_rate_ppm == _FULL_BATCH:
        return pld.from_gaussian_mechanism(sigma / group, sampling_prob=rate, value_discretization_interval=interval)
    return group_distribution(sigma, rate, group, interval)
