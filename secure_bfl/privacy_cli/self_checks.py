"""What all privacy guarantees rest on, checked on this machine in some seconds.

Every check of a random law fails by chance less often than once in a million runs (five standard deviations).
"""

import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from protocols.dp import (
    DiscreteGaussian,
    Mechanism,
    PrivacyEvent,
    epsilon_pld,
    epsilon_rdp,
    gate,
    poisson_sample,
    privatize,
)
from protocols.errors import PrivacyError

__all__ = ["SelfCheck", "self_checks"]

_SEED: Final = 32
_DRAWS: Final = 100_000
_DEVIATIONS: Final = 5.0
_DELTA: Final = 1e-5
_DIM: Final = 1
_CLOSED_FORM: Final = ((1e-3, 3.1387), (1e-5, 4.3772), (1e-8, 5.7761), (1e-10, 6.5479))
_SGD: Final = PrivacyEvent(1500, 40_000, 2249)
_SGD_PRV: Final = 6.777395712  # of 2249 steps
_SGD_RDP: Final = 7.32911117143  # of 2250 steps, with Opacus' orders
_PRV_BELOW: Final = 1e-3
_PRV_ABOVE: Final = 0.02
_RDP_TOLERANCE: Final = 0.01


@dataclass(frozen=True, slots=True)
class SelfCheck:
    """One check: of an accountant, or of the mechanism and its randomness. `found` says what was seen."""

    name: str
    of_accountant: bool
    ok: bool
    found: str


def self_checks(progress: Callable[[str, int, int], None] = lambda what, done, total: None) -> Iterator[SelfCheck]:
    """Run every check, one after the other. Run by: anyone; nothing private is read."""
    accountants = (_closed_form, _renyi_order, _known_sgd, _other_accountants, _gate_refuses)
    mechanism = (_randomness, _poisson, _chi_square, _wide_noise, _share_sum, _sensitivity)
    total = len(accountants) + len(mechanism)
    for number, check in enumerate((*accountants, *mechanism), start=1):
        ok, found = check()
        progress("selftest", number, total)
        yield SelfCheck((check.__doc__ or "").rstrip("."), check in accountants, ok, found)


def _fresh() -> bytes:
    return os.urandom(_SEED)


def _closed_form() -> tuple[bool, str]:
    """Closed form of the Gaussian mechanism, mu = 1 (Balle and Wang 2018)."""
    event = PrivacyEvent(1000, 1_000_000, 1)
    found = [epsilon_pld([event], delta, dim=_DIM) for delta, _ in _CLOSED_FORM]
    ok = all(abs(value - known) <= 1e-3 for value, (_, known) in zip(found, _CLOSED_FORM, strict=True))
    return ok, ", ".join(f"{value:.4f}" for value in found)


def _renyi_order() -> tuple[bool, str]:
    """Renyi divergence of a Gaussian, alpha / (2 sigma^2), and its conversion (Canonne et al. 2020)."""
    order, event = 8.0, PrivacyEvent(2000, 1_000_000, 1)
    divergence = order / (2 * event.accounted_noise_multiplier**2)
    expected = divergence + math.log1p(-1 / order) - (math.log(_DELTA) + math.log(order)) / (order - 1)
    found = epsilon_rdp([event], _DELTA, dim=_DIM, orders=(order,))
    return abs(found - expected) <= 1e-6 * expected, f"{found:.6f}, expected {expected:.6f}"


def _known_sgd() -> tuple[bool, str]:
    """Opacus' published values for DP-SGD (q 0.04, sigma 1.5): PRV 6.7774, RDP 7.3291."""
    tight = epsilon_pld([_SGD], _DELTA, dim=_DIM)
    formal = epsilon_rdp([PrivacyEvent(1500, 40_000, 2250)], _DELTA, dim=_DIM)
    ok = tight - _PRV_BELOW <= _SGD_PRV <= tight + _PRV_ABOVE and abs(formal / _SGD_RDP - 1) <= _RDP_TOLERANCE
    return ok, f"tight {tight:.4f}, formal {formal:.4f}"


def _other_accountants() -> tuple[bool, str]:
    """Opacus' accountants, run now, lie in their brackets around ours."""
    from ..adapters import opacus

    tight = epsilon_pld([_SGD], _DELTA, dim=_DIM)
    prv, renyi = opacus.prv_epsilon([_SGD], _DELTA), opacus.rdp_epsilon([_SGD], _DELTA)
    ok = tight - _PRV_BELOW <= prv <= tight + _PRV_ABOVE and renyi >= tight - _PRV_BELOW
    return ok, f"tight {tight:.4f}, PRV {prv:.4f}, RDP {renyi:.4f}"


def _gate_refuses() -> tuple[bool, str]:
    """The gate lets a budget be used up, and no more."""
    event = PrivacyEvent(1000, 1_000_000, 1)
    cost = max(epsilon_pld([event], _DELTA, dim=_DIM), epsilon_rdp([event], _DELTA, dim=_DIM))
    passed = gate([event], epsilon_budget=cost + 1e-6, delta=_DELTA, dim=_DIM)
    try:
        gate([event, event], epsilon_budget=cost + 1e-6, delta=_DELTA, dim=_DIM)
    except PrivacyError:
        return passed <= cost + 1e-6, f"one step passed at {passed:.4f}, a second was refused"
    return False, "a second step passed although it exceeds the budget"


def _randomness() -> tuple[bool, str]:
    """The operating system gives randomness."""
    one, other = _fresh(), _fresh()
    bits = np.unpackbits(np.frombuffer(os.urandom(8192), dtype=np.uint8))
    share = _z(float(bits.sum()), bits.size / 2, math.sqrt(bits.size) / 2)
    return one != other and abs(share) <= _DEVIATIONS, f"ones of {bits.size} bits: {share:+.2f} deviations"


def _poisson() -> tuple[bool, str]:
    """The sampler takes each record with the planned probability."""
    sample = poisson_sample(_DRAWS, Mechanism(1 << 12, 1_000_000, 1000, 100_000), rand=_fresh())
    z = _z(sample.size, _DRAWS * 0.1, math.sqrt(_DRAWS * 0.1 * 0.9))
    return abs(z) <= _DEVIATIONS, f"{_DRAWS} records at rate 0.1: {z:+.2f} deviations"


def _chi_square() -> tuple[bool, str]:
    """The noise sampler follows the discrete Gaussian (chi-square)."""
    variance = 64
    draws = DiscreteGaussian(variance).sample(_DRAWS, _fresh()).take()
    edge = 28  # 3.5 standard deviations; what is beyond makes two more cells
    weights = [math.exp(-z * z / (2 * variance)) for z in range(-200, 201)]
    scale = _DRAWS / math.fsum(weights)
    inner = [weights[200 + z] * scale for z in range(-edge, edge + 1)]
    tail = math.fsum(weights[: 200 - edge]) * scale
    counts = np.bincount(np.clip(draws, -edge - 1, edge + 1) + edge + 1, minlength=2 * edge + 3)
    expected = np.array([tail, *inner, tail])
    statistic = float((np.square(counts - expected) / expected).sum())
    z = _wilson_hilferty(statistic, expected.size - 1)
    return z <= _DEVIATIONS, f"{_DRAWS} draws, {expected.size} cells: {z:+.2f} deviations"


def _wide_noise() -> tuple[bool, str]:
    """Wide noise has the planned variance, no bias, and odd values as often as even ones."""
    variance = 10**10
    draws = DiscreteGaussian(variance).sample(_DRAWS, _fresh()).take()
    deviations = (
        _energy_z(draws, variance),
        _z(float(draws.mean()), 0.0, math.sqrt(variance / _DRAWS)),
        _z(float((draws & 1).sum()), _DRAWS / 2, math.sqrt(_DRAWS) / 2),
    )
    return max(map(abs, deviations)) <= _DEVIATIONS, ", ".join(f"{z:+.2f}" for z in deviations) + " deviations"


def _share_sum() -> tuple[bool, str]:
    """Five shares of the noise add up to all of it."""
    mechanism = Mechanism(1 << 12, 1_000_000, 2000, 1_000_000, shares=5)
    law = DiscreteGaussian(mechanism.share_variance_units)
    total = np.zeros(_DRAWS // 5, dtype=np.int64)
    for _ in range(5):
        total += law.sample(total.size, _fresh()).take()
    z = _energy_z(total, float(mechanism.noise_variance_units))
    return abs(z) <= _DEVIATIONS, f"variance of {total.size} sums: {z:+.2f} deviations"


def _sensitivity() -> tuple[bool, str]:
    """One record moves the integer sum by at most the clip bound."""
    units, dim = 1 << 12, 64
    mechanism = Mechanism(units, 1_000_000, 1000, 1_000_000)
    law = DiscreteGaussian(mechanism.noise_variance_units)
    rows = np.zeros((8, dim), dtype=np.float64)
    rows[0] = 1e300
    rows[1, 0] = math.inf
    rows[2] = np.where(np.arange(dim) % 2 == 0, 1.0, -1.0) * (1 / math.sqrt(dim) + 1e-15)
    rows[3, :2] = (3.0, 4.0)
    rows[4] = 1e-300
    rows[5] = np.linspace(-1, 1, dim)
    rows[6, 5] = 1 + 2**-52
    rows[7] = 0.999999 / math.sqrt(dim)
    worst = 0
    for row in rows:
        seed = _fresh()  # the same noise twice, here only: what differs is what the record did
        sums = []
        for batch in (np.vstack([rows[7:], row]), rows[7:]):
            sample = poisson_sample(len(batch), mechanism, rand=_fresh())
            released, _ = privatize(batch, sample, mechanism, law.sample(dim, seed))
            sums.append(released.values)
        moved = [int(value) for value in sums[0] - sums[1]]
        worst = max(worst, sum(value * value for value in moved))
    return worst <= units**2, f"at most {math.sqrt(worst):.2f} of {units} units, over {len(rows)} hostile records"


def _z(value: float, mean: float, deviation: float) -> float:
    return (value - mean) / deviation


def _energy_z(draws: npt.NDArray[np.int64], variance: float) -> float:
    """How far the sum of squares is from what Gaussian noise of this variance gives."""
    energy = float(np.square(draws.astype(np.float64)).sum()) / variance
    return _z(energy, draws.size, math.sqrt(2 * draws.size))


def _wilson_hilferty(statistic: float, degrees: int) -> float:
    """A chi-square statistic as standard deviations of a normal law (Wilson and Hilferty 1931)."""
    spread = 2 / (9 * degrees)
    cube_root: float = (statistic / degrees) ** (1 / 3)
    return (cube_root - (1 - spread)) / math.sqrt(spread)
