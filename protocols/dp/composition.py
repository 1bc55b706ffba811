"""Many different mechanisms composed at once: privacy losses on one grid, multiplied in the Fourier domain.

Serves lists with many distinct mechanisms, for which one library call each would take minutes. Everything is rounded
up: each loss to the two dots around it ("connect the dots": Doroshenko, Ghazi, Kamath, Kumar, Manurangsi 2022), what
lies beyond the grid to infinity, and what arithmetic may have lost is added to delta. Spec: dp §5.4 (v1).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from scipy.special import gammaln, ndtr

from ..arrays import Float64Array
from .events import PrivacyEvent

__all__ = ["RENYI_ORDERS", "LossCurve", "compose", "renyi_divergences", "snap"]

_WIDTH: Final = 0.1  # of the grid, in root mean square losses of a step: adds 0.1 % to epsilon
_FINEST: Final = 1e-6
_COARSEST: Final = 1e-2
_MOST_DOTS: Final = 1 << 16  # of one step
_REACH: Final = 8.8  # standard deviations: less than 1e-18 of the mass lies beyond
_LOG_TAIL: Final = -34.0  # natural logarithm of the mass that may lie outside the window of the transform
_TRANSFORM_ERROR: Final = 1e-12  # absolute, of a delta out of the inverse transform
_RELATIVE_ERROR: Final = 1e-9  # of the mass on a dot: differences of distribution functions
_EXPONENTS: Final = np.array([0.25, 0.5, 1, 2, 4, 8, 16, 32, 64])  # tried in Chernoff's bound
_LARGE_ORDERS: Final = (96, 128, 192, 256, 512, 1024)
_KNOWN_ORDERS: Final = np.array([*range(1, 65), *_LARGE_ORDERS], dtype=np.float64)

RENYI_ORDERS: Final = tuple(float(a) for a in (*(1 + i / 10 for i in range(1, 90)), *range(10, 65), *_LARGE_ORDERS))
"""The orders of `renyi_divergences`."""


def snap(event: PrivacyEvent) -> PrivacyEvent:
    """A mechanism at least as revealing, on a grid with steps of 1 %: less noise, a higher sampling rate."""
    noise, rate = event.noise_multiplier_milli, event.sampling_rate_ppm
    step = math.log(1.01)
    low = math.ceil(math.exp(math.floor(math.log(noise) / step) * step))
    high = math.floor(math.exp(math.ceil(math.log(rate) / step) * step))
    return PrivacyEvent(max(100, min(noise, low)), min(1_000_000, max(rate, high)), event.steps)


@dataclass(frozen=True, slots=True, eq=False)
class LossCurve:
    """delta(epsilon) of a composition, for both directions of the adjacency; an upper bound at every epsilon.

    Shapes: mass and ratio float64[2, dots]: sums from each dot upwards of the mass, and of mass * exp(-loss).
    """

    losses: Float64Array
    mass: Float64Array
    ratio: Float64Array
    extra: float

    def delta(self, epsilon: float) -> float:
        """Delta at `epsilon` >= 0."""
        i = int(np.searchsorted(self.losses, epsilon, side="right"))
        finite = self.mass[:, i] - math.exp(epsilon) * self.ratio[:, i] if i < len(self.losses) else np.zeros(2)
        return min(1.0, max(0.0, float(finite.max())) + self.extra)

    def epsilon(self, delta: float) -> float:
        """The smallest epsilon >= 0 at `delta`; infinite if there is none."""
        if delta <= self.extra:
            return math.inf
        if self.delta(0.0) <= delta:
            return 0.0
        best = 0.0
        for mass, ratio in zip(self.mass, self.ratio, strict=True):
            at_dots = mass - np.exp(self.losses) * ratio + self.extra
            above = np.flatnonzero(at_dots > delta)
            i = int(above[-1]) + 1 if above.size else 0
            if i < len(self.losses) and mass[i] + self.extra > delta:
                best = max(best, math.log((mass[i] + self.extra - delta) / ratio[i]))
        return best


@dataclass(frozen=True, slots=True, eq=False)
class _Step:
    """One step's loss: `mass[i]` at (first + i) * width if a record is removed, `other[i]` at minus that if added.

    `infinite`: the mass at infinity of either. `log_moments`: logarithms of E[exp(+-s * loss)] for each exponent s.
    """

    first: int
    mass: Float64Array
    other: Float64Array
    infinite: tuple[float, float]
    log_moments: Float64Array


def compose(charges: Sequence[tuple[PrivacyEvent, int]]) -> LossCurve:
    """The curve of all these one-step events, each as often as the number beside it says; at least one.

    The composed loss must be bounded well below 700: `epsilon_rdp` tells before.
    """
    counts = [count for _, count in charges]
    width = _grid_width(charges)
    steps = [_one_step(event, width) for event, _ in charges]
    moments = np.sum([count * step.log_moments for step, count in zip(steps, counts, strict=True)], axis=0)
    # Chernoff: the sums of either direction leave [low, high] with a mass of at most e^-34 each.
    reach = np.min(np.where(np.isfinite(moments), moments - _LOG_TAIL, np.inf) / _EXPONENTS, axis=-1)
    high, low = math.ceil(reach[0].max() / width) + 1, math.floor(-reach[1].max() / width) - 1
    size = 1 << (high - low).bit_length()
    transforms = np.ones((2, size // 2 + 1), dtype=np.complex128)
    infinite = np.zeros(2)
    for step, count in zip(steps, counts, strict=True):
        dots = step.first + np.arange(len(step.mass))
        for way, (mass, where) in enumerate(((step.mass, dots), (step.other, -dots))):
            circle = np.bincount(where % size, weights=mass, minlength=size)
            transform = np.fft.rfft(circle)
            transforms[way] *= transform if count == 1 else transform**count
            infinite[way] += count * step.infinite[way]
    total = np.fft.irfft(transforms, size, axis=-1).clip(min=0.0)
    # From the top down to zero; what wraps around from below the window is found at the top, and counted there.
    dots = np.arange(high, -1, -1)
    losses: Float64Array = dots * np.float64(width)
    composed = total[:, dots % size] * math.exp(_RELATIVE_ERROR * sum(counts))
    mass, ratio = np.cumsum(composed, axis=1), np.cumsum(composed * np.exp(-losses), axis=1)
    extra = float(infinite.max()) + 2 * math.exp(_LOG_TAIL) + _TRANSFORM_ERROR
    return LossCurve(losses[::-1], mass[:, ::-1], ratio[:, ::-1], extra)


def _grid_width(charges: Sequence[tuple[PrivacyEvent, int]]) -> float:
    total = sum(count for _, count in charges)
    squares, widest = 0.0, 0.0
    for event, count in charges:
        sigma, rate = event.accounted_noise_multiplier, event.sampling_rate
        squares += count * min(rate * math.sqrt(math.expm1(min(sigma**-2, 50.0))), 1 / sigma) ** 2
        widest = max(widest, _loss(1 + _REACH * sigma, sigma, rate) - _loss(-_REACH * sigma, sigma, rate))
    width = _WIDTH * math.sqrt(squares / total)
    return max(min(max(width, _FINEST), _COARSEST), widest / _MOST_DOTS)


def _loss(x: float, sigma: float, rate: float) -> float:
    """The loss of a sampled step at `x`: log((1 - rate) + rate * exp((2x - 1) / 2 sigma^2))."""
    exponent = (2 * x - 1) / (2 * sigma**2)
    return float(np.logaddexp(math.log1p(-rate), math.log(rate) + exponent)) if rate < 1 else exponent


@lru_cache(maxsize=4096)
def _one_step(event: PrivacyEvent, width: float) -> _Step:
    """The loss between two dots is put on them, so that both hypotheses keep their mass between the dots."""
    sigma, rate = event.accounted_noise_multiplier, event.sampling_rate
    first = math.floor(_loss(-_REACH * sigma, sigma, rate) / width)
    last = math.ceil(_loss(1 + _REACH * sigma, sigma, rate) / width)
    losses: Float64Array = np.arange(first, last + 1) * np.float64(width)
    growth = np.exp(losses)
    inside = np.expm1(losses) + rate
    with np.errstate(divide="ignore", invalid="ignore"):
        x = np.where(inside > 0, sigma**2 * (np.log(inside) - math.log(rate)) + 0.5, -np.inf)
    absent = _between(x / sigma)
    present = (1 - rate) * absent + rate * _between((x - 1) / sigma)
    between = present[1:-1]
    upper = ((between - growth[:-1] * absent[1:-1]) / -math.expm1(-width)).clip(0.0, between)
    mass = np.zeros(len(losses))
    mass[:-1] += between - upper
    mass[1:] += upper
    other = mass / growth
    mass[0] += present[0]  # below the grid: rounded up to it
    other[-1] += absent[-1]  # above it: in the other direction, rounded up as well
    return _Step(first, mass, other, (float(present[-1]), float(absent[0])), _log_moments(losses, mass, other))


def _between(x: Float64Array) -> Float64Array:
    """The mass of a standard Gaussian below, between and above increasing points. Shapes: float64[len(x) + 1]."""
    below, above = ndtr(x), ndtr(-x)
    inner = np.where(x[:-1] > 0, above[:-1] - above[1:], below[1:] - below[:-1])
    return np.concatenate([below[:1], inner, above[-1:]])


def _log_moments(losses: Float64Array, mass: Float64Array, other: Float64Array) -> Float64Array:
    """log E[exp(s * loss)] for s = +-`_EXPONENTS`. Shapes: float64[up or down, direction, exponent]."""
    moments = np.empty((2, 2, len(_EXPONENTS)))
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        up, down = np.exp(_EXPONENTS[0] * losses), np.exp(-_EXPONENTS[0] * losses)
        for i in range(len(_EXPONENTS)):
            moments[:, :, i] = np.log([[mass @ up, other @ down], [mass @ down, other @ up]])
            up, down = up * up, down * down
    return moments


@lru_cache(maxsize=4096)
def _log_moments_of_orders(event: PrivacyEvent) -> Float64Array:
    """(a - 1) times the Renyi divergence of one sampled step, at a = 1, 2, .., 64 and the large orders.

    Source: Mironov, Talwar, Zhang 2019, section 3.3: log of sum over k of C(a, k) (1-q)^(a-k) q^k e^((k^2-k)/2s^2).
    """
    sigma, rate = event.accounted_noise_multiplier, event.sampling_rate
    if event.sampling_rate_ppm == 1_000_000:
        return (_KNOWN_ORDERS - 1) * _KNOWN_ORDERS / (2 * sigma**2)
    result = []
    for k, left, binomial in _binomials():
        terms = binomial + left * math.log1p(-rate) + k * (math.log(rate) + (k - 1) / (2 * sigma**2))
        largest = terms.max(axis=1, keepdims=True)
        result.append(np.log(np.exp(terms - largest).sum(axis=1)) + largest[:, 0])
    return np.concatenate(result)


@lru_cache(maxsize=1)
def _binomials() -> tuple[tuple[Float64Array, Float64Array, Float64Array], ...]:
    """For some orders a: k = 0 .. a, a - k, and log C(a, k), which is minus infinity where k > a."""
    result = []
    for a in (_KNOWN_ORDERS[:64, np.newaxis], *_KNOWN_ORDERS[64:, np.newaxis, np.newaxis]):
        k = np.arange(a.max() + 1)
        left = (a - k).clip(min=0)
        binomial = gammaln(a + 1) - gammaln(k + 1) - gammaln(left + 1)
        result.append((k, left, np.where(k <= a, binomial, -np.inf)))
    return tuple(result)


def renyi_divergences(charges: Sequence[tuple[PrivacyEvent, int]]) -> Float64Array:
    """Renyi divergences of the composition at `RENYI_ORDERS`: exact at integer orders, above the exact ones between.

    Between two integer orders (order - 1) * divergence is convex, so the chord lies above it.
    """
    total = np.sum([count * _log_moments_of_orders(event) for event, count in charges], axis=0)
    orders = np.array(RENYI_ORDERS)
    divergences: Float64Array = np.interp(orders, _KNOWN_ORDERS, total) / (orders - 1)
    return divergences
