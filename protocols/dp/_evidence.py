"""What an audit found, and the levels it is judged by. `auditing` gives these names."""

import math
from dataclasses import dataclass
from typing import Final

from ._one_run import OneRun, one_run_p_value
from .accounting import MAX_EPSILON
from .integers import check_int

__all__ = [
    "ONE_RUN_LEVEL",
    "STRUCTURAL_LEVEL",
    "STRUCTURAL_SEPARATOR",
    "TEST_LEVEL",
    "AuditResult",
]

ONE_RUN_LEVEL: Final = 1e-4
"""A one-run p-value below this is a violation. The test is conservative: right mechanisms stay far from it."""

TEST_LEVEL: Final = 1e-6
"""The same for the z-test and for the sentinels."""

STRUCTURAL_LEVEL: Final = 1e-9
"""The same for each statistic among the structural checks."""

STRUCTURAL_SEPARATOR: Final = ", "
"""Between the names in `AuditResult.structural`."""

_E12: Final = 10**12
_MAX_VIOLATION_TEXT: Final = 256


@dataclass(frozen=True, slots=True)
class AuditResult:
    """What an audit found: integers only, so that it can stand on a ledger.

    Units: `_milli` is 10^-3, `_e12` 10^-12, `_ppm` 10^-6; p-values are rounded up. `noise_ratio_ppm` is of variances,
    at the sentinels. `epsilon_lower_milli` has confidence 95 %. `structural` is "" or the names of the checks that
    failed, separated by a comma and a blank.

    Raises:
        TypeError, ValueError: a field is out of range.
    """

    claimed_epsilon_milli: int
    delta_e12: int
    canaries: int
    guesses: int
    correct: int
    epsilon_lower_milli: int
    one_run_p_e12: int
    z_p_e12: int
    noise_ratio_ppm: int
    sentinel_p_e12: int
    structural: str

    def __post_init__(self) -> None:
        if type(self.structural) is not str:
            raise TypeError("structural is a str")
        OneRun(self.canaries, self.guesses, self.correct)
        ranges = (
            ("claimed_epsilon_milli", 1, int(1000 * MAX_EPSILON)),
            ("delta_e12", 0, _E12 - 1),
            ("epsilon_lower_milli", 0, int(1000 * MAX_EPSILON)),
            ("one_run_p_e12", 0, _E12),
            ("z_p_e12", 0, _E12),
            ("noise_ratio_ppm", 0, (1 << 63) - 1),
            ("sentinel_p_e12", 0, _E12),
        )
        for name, low, high in ranges:
            check_int(name, getattr(self, name), low, high)
        text = self.structural
        if len(text) > _MAX_VIOLATION_TEXT or not (text.isascii() and text.isprintable()):
            raise ValueError(f"structural is at most {_MAX_VIOLATION_TEXT} printable ASCII characters")

    @property
    def violations(self) -> tuple[str, ...]:
        """The tests that speak against the claim, by name; the structural checks come last.

        What was guessed speaks for itself: its p-value is computed here, and a larger one that is stated counts for
        nothing.
        """
        tests = (
            ("one-run", min(self.one_run_p_e12, self._recomputed_p_e12), ONE_RUN_LEVEL),
            ("z-test", self.z_p_e12, TEST_LEVEL),
            ("sentinels", self.sentinel_p_e12, TEST_LEVEL),
        )
        return (
            *(name for name, p, level in tests if p < level * _E12),
            *(name for name in self.structural.split(STRUCTURAL_SEPARATOR) if name),
        )

    @property
    def _recomputed_p_e12(self) -> int:
        run = OneRun(self.canaries, self.guesses, self.correct)
        p_value = one_run_p_value(run, self.claimed_epsilon_milli / 1000, self.delta_e12 / _E12)
        return math.ceil(p_value * _E12)

    @property
    def passes(self) -> bool:
        """Whether nothing speaks against the claim."""
        return not self.violations
