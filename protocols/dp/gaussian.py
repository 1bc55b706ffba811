"""The Gaussian mechanism in closed form (Balle and Wang, "Improving the Gaussian Mechanism", ICML 2018, Theorem 8).

`mu` is sensitivity over standard deviation; T releases compose to mu * sqrt(T) (Dong, Roth, Su 2019, Corollary 3.3).
Spec: dp §5.2 (v1).
"""

import math

from scipy.special import log_ndtr

__all__ = ["gaussian_delta", "gaussian_epsilon"]


def gaussian_delta(mu: float, epsilon: float) -> float:
    """The exact delta of a `mu`-Gaussian mechanism at `epsilon` >= 0."""
    above = float(log_ndtr(mu / 2 - epsilon / mu))
    below = epsilon + float(log_ndtr(-mu / 2 - epsilon / mu))
    return max(0.0, -math.exp(above) * math.expm1(min(0.0, below - above)))


def gaussian_epsilon(mu: float, delta: float) -> float:
    """The smallest epsilon at `delta`, rounded up: `gaussian_delta(mu, result) <= delta`."""
    if gaussian_delta(mu, 0.0) <= delta:
        return 0.0
    low, high = 0.0, 1.0
    while gaussian_delta(mu, high) > delta:
        low, high = high, 2 * high
    while (middle := (low + high) / 2) not in (low, high):
        if gaussian_delta(mu, middle) > delta:
            low = middle
        else:
            high = middle
    return high
