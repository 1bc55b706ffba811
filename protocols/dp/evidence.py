"""What an audit found, and the levels it is judged by. Integers, so that it can stand on a ledger.

The statistics are in `auditing`, which gives these names too.
"""

from dataclasses import dataclass, fields
from typing import Final

from .accounting import MAX_EPSILON

__all__ = [
    "MAX_CANARIES",
    "ONE_RUN_LEVEL",
    "STRUCTURAL_LEVEL",
    "STRUCTURAL_SEPARATOR",
    "TEST_LEVEL",
    "AuditResult",
    "OneRun",
]

MAX_CANARIES: Final = 1 << 20

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
class OneRun:
    """The outcome of one audit run: of `canaries` fair coins, the auditor guessed `guesses`, `correct` of them right.

    Raises:
        TypeError, ValueError: not integers with 0 <= correct <= guesses <= canaries and 1 <= guesses.
    """

    canaries: int
    guesses: int
    correct: int

    def __post_init__(self) -> None:
        _check_ints(self)
        if not 0 <= self.correct <= self.guesses <= self.canaries <= MAX_CANARIES or self.guesses < 1:
            raise ValueError(
                f"an audit has 0 <= correct <= guesses <= canaries <= {MAX_CANARIES}, and a guess at least"
            )


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
        _check_ints(self, but="structural")
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
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} must be in [{low}, {high}], got {getattr(self, name)}")
        text = self.structural
        if len(text) > _MAX_VIOLATION_TEXT or not (text.isascii() and text.isprintable()):
            raise ValueError(f"structural is at most {_MAX_VIOLATION_TEXT} printable ASCII characters")

    @property
    def violations(self) -> tuple[str, ...]:
        """The tests that speak against the claim, by name; the structural checks come last."""
        tests = (
            ("one-run", self.one_run_p_e12, ONE_RUN_LEVEL),
            ("z-test", self.z_p_e12, TEST_LEVEL),
            ("sentinels", self.sentinel_p_e12, TEST_LEVEL),
        )
        return (
            *(name for name, p, level in tests if p < level * _E12),
            *(name for name in self.structural.split(STRUCTURAL_SEPARATOR) if name),
        )

    @property
    def passes(self) -> bool:
        """Whether nothing speaks against the claim."""
        return not self.violations


def _check_ints(value: object, *, but: str = "") -> None:
    for field in fields(value):  # type: ignore[arg-type]  # called with dataclasses only
        if field.name != but and type(getattr(value, field.name)) is not int:
            raise TypeError(f"{field.name} must be an int")
