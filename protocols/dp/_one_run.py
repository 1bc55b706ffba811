"""The one-run audit: what guesses about canaries say of a claimed epsilon. `auditing` gives these names.

Source: Steinke, Nasr, Jagielski, "Privacy auditing with one (1) training run", NeurIPS 2023.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from scipy.special import bdtrc

from .accounting import MAX_EPSILON
from .integers import check_int

__all__ = ["MAX_CANARIES", "OneRun", "at_least", "one_run_lower_bound", "one_run_p_value"]

MAX_CANARIES: Final = 1 << 14
"""So many that no party's evidence takes a reader long to compute again."""


@dataclass(frozen=True, slots=True)
class OneRun:
    """The outcome of one audit run: of `canaries` fair coins, the auditor guessed `guesses`, `correct` of them right.

    Raises:
        TypeError, ValueError: not integers with 0 <= correct <= guesses <= canaries and 1 <= guesses.
    """

    canaries: int
    guesses: int
    correct: int

    def __post_init__(self) -> None:
        check_int("canaries", self.canaries, 1, MAX_CANARIES)
        check_int("guesses", self.guesses, 1, self.canaries)
        check_int("correct", self.correct, 0, self.guesses)


@lru_cache(maxsize=4096)
def one_run_p_value(run: OneRun, epsilon: float, delta: float) -> float:
    """The chance, at most, that an (epsilon, delta)-DP mechanism lets so many guesses be right.

    Steinke, Nasr, Jagielski 2023, Theorem 5.2: with W binomial of `guesses` trials at e^epsilon / (1 + e^epsilon) and
    f(v) = P[W >= v], it is f(v) + 2 m delta max over i of (f(v - i) - f(v)) / i. Adjacency: add or remove one canary.
    The number of guesses must have been chosen before the outcome was seen.

    Raises:
        ValueError: epsilon is not finite or negative, or delta is not in [0, 1).
    """
    if not (math.isfinite(epsilon) and epsilon >= 0):
        raise ValueError("epsilon must be finite and not negative")
    if not 0 <= delta < 1:
        raise ValueError("delta must be in [0, 1)")
    chance = 1 / (1 + math.exp(-epsilon))
    tail = at_least(run.correct, run.guesses, chance)
    slope = 0.0
    if run.correct:
        back = np.arange(1, run.correct + 1)
        before = np.ones(run.correct)
        before[:-1] = bdtrc(run.correct - back[:-1] - 1, run.guesses, chance)
        slope = float(((before - tail) / back).max())
    return min(1.0, tail + 2 * run.canaries * delta * slope)


@lru_cache(maxsize=4096)
def one_run_lower_bound(run: OneRun, delta: float, confidence: float = 0.95) -> float:
    """The largest epsilon that the run refutes at `delta` and `confidence`; 0 if it refutes none.

    At most `MAX_EPSILON`. Rounded down: the p-value at the result is below 1 - confidence.

    Raises:
        ValueError: confidence is not in (0, 1), or delta is not in [0, 1).
    """
    if not 0 < confidence < 1:
        raise ValueError("confidence must be in (0, 1)")
    if one_run_p_value(run, 0.0, delta) >= 1 - confidence:
        return 0.0
    low, high = 0.0, MAX_EPSILON
    for _ in range(40):
        middle = (low + high) / 2
        if one_run_p_value(run, middle, delta) < 1 - confidence:
            low = middle
        else:
            high = middle
    return low


def at_least(successes: int, trials: int, chance: float) -> float:
    """The chance of so many successes or more."""
    return 1.0 if successes == 0 else float(bdtrc(successes - 1, trials, chance))
