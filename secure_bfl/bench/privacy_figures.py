"""What the measurement of privacy is given, and what it finds, as one JSON line or as a table for people."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from .machine import Machine

__all__ = ["Accuracy", "PrivacyFigures", "PrivacySetting"]


@dataclass(frozen=True, slots=True)
class PrivacySetting:
    """How much to measure. `splits`: trainings, each on another split; `many`: clients of the larger federation.

    `rounds` is by default that of the data set's settings. `fashion`: images of clothing too, some twenty minutes;
    features are kept in the folder `cache`.
    """

    splits: int = 8
    clients: int = 10
    many: int = 100
    rounds: int | None = None
    central_steps: int = 300
    epsilon: float = 2.0
    delta: float = 1e-5
    runs: int = 5
    noise_values: int = 1_000_000
    hidden: int = 401
    report_rounds: int = 1000
    report_clients: int = 100
    distinct: int = 1000
    fashion: bool = False
    cache: Path | None = None

    def __post_init__(self) -> None:
        if self.runs < 3:
            raise ValueError("a median is of at least 3 runs")
        sizes = (self.splits, self.central_steps, self.noise_values, self.hidden, self.report_rounds, self.distinct)
        if min(*sizes, *([] if self.rounds is None else [self.rounds])) < 1:
            raise ValueError("splits, rounds, noise values, hidden units and mechanisms are at least 1")
        if min(self.clients, self.many, self.report_clients) < 2:
            raise ValueError("a federation has at least 2 clients")


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Shares of held-out records predicted right, of several trainings with the same plan."""

    mean: float
    least: float
    largest: float
    trainings: int
    rounds: int
    noise_multiplier: float

    @classmethod
    def of(cls, found: list[float], *, rounds: int, noise_multiplier: float) -> "Accuracy":
        """Summarise some trainings, at least one."""
        mean = round(sum(found) / len(found), 4)
        return cls(mean, round(min(found), 4), round(max(found), 4), len(found), rounds, noise_multiplier)


@dataclass(frozen=True, slots=True)
class PrivacyFigures:
    """What was measured. Times are CPU seconds of one thread: of noise and steps medians of runs that took turns.

    `accuracies` are by name: the plan's training of digits with 10 and with 100 clients, and that of one trusted party
    with the same steps and with 300. `noise_s_per_million` is for a million values of standard deviation 10^5 units, to
    which numpy's floating-point normal and opendp's exact sampler are compared. `private_step_ms` is one whole step of
    ours on 64 records of a network of `step_parameters` (gradients, clipping, truncation, noise, account),
    `opacus_step_ms` Opacus' own of the same. What could not be taken here is None, and `missing` says why.
    """

    setting: PrivacySetting
    machine: Machine
    accuracies: Mapping[str, Accuracy]
    noise_s_per_million: float
    numpy_normal_s_per_million: float
    opendp_s_per_million: float | None
    step_parameters: int
    private_step_ms: float
    opacus_step_ms: float
    report_s: float
    heterogeneous_accounting_s: float
    peers: Mapping[str, Any]
    load_average_before: float | None
    load_average_after: float | None
    missing: Mapping[str, str]

    @property
    def noise_over_numpy(self) -> float:
        """Our exact sampler over numpy's floating-point one."""
        return round(self.noise_s_per_million / self.numpy_normal_s_per_million, 2)

    @property
    def opendp_over_noise(self) -> float | None:
        """How many times longer opendp's exact sampler takes."""
        taken = self.opendp_s_per_million
        return None if taken is None else round(taken / self.noise_s_per_million, 1)

    @property
    def privacy_step_ratio(self) -> float:
        """Our whole step over Opacus'."""
        return round(self.private_step_ms / self.opacus_step_ms, 3)

    def to_json(self) -> dict[str, Any]:
        """One object; accuracies by name, then in full."""
        plain = asdict(replace(self, peers={}, missing={}, accuracies={}))
        plain["setting"]["cache"] = None if self.setting.cache is None else "given"
        s = self.setting
        return {
            "bench": "privacy",
            **plain,
            **{name: accuracy.mean for name, accuracy in self.accuracies.items()},
            "accuracies": {name: asdict(accuracy) for name, accuracy in self.accuracies.items()},
            "noise_over_numpy": self.noise_over_numpy,
            "opendp_over_noise": self.opendp_over_noise,
            "privacy_step_ratio": self.privacy_step_ratio,
            f"report_s_{s.report_rounds}x{s.report_clients}": self.report_s,
            f"heterogeneous_accounting_s_{s.distinct}": self.heterogeneous_accounting_s,
            "peers": dict(self.peers),
            "missing": dict(self.missing),
        }

    def lines(self) -> list[str]:
        """A table for people."""
        s = self.setting
        opendp = "not measured" if self.opendp_over_noise is None else f"{self.opendp_over_noise:.0f}"
        rows = [
            *((name.replace("_", " "), f"{found.mean:.1%}") for name, found in self.accuracies.items()),
            ("a million values of noise", f"{self.noise_s_per_million:.3f} s"),
            ("  over numpy's normal", f"{self.noise_over_numpy:.1f}"),
            ("  opendp over it", opendp),
            (f"a private step, {self.step_parameters:,} parameters", f"{self.private_step_ms:.0f} ms"),
            ("  over Opacus' own", f"{self.privacy_step_ratio:.2f}"),
            (f"report of {s.report_rounds} rounds, {s.report_clients} clients", f"{self.report_s:.2f} s"),
            (f"epsilon of {s.distinct} distinct mechanisms", f"{self.heterogeneous_accounting_s:.2f} s"),
        ]
        head = f"epsilon {s.epsilon:g} at delta {s.delta:g}, {s.splits} splits; {self.machine.cpu}"
        notes = [f"{name}: {reason}" for name, reason in self.missing.items()]
        return [head, *(f"{name:<42}{value:>26}" for name, value in rows), *notes]
