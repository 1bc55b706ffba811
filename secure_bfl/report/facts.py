"""What a verified ledger states about privacy: the only input of the budget report.

Replay fills these classes from entries it has verified. They hold integers, strings, bytes and tuples of
these, so that equal ledgers give equal facts on every machine. A real number is carried as a scaled integer,
named by its scale: `_milli` is 1/1000, `_micro` and `_ppm` are 1/1,000,000, `_e12` is 1/10^12. The one float is a
round's `sentinel_variance`, which follows from the plan's integers.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

from protocols.dp.auditing import AuditResult
from protocols.dp.events import (
    MAX_NOISE_MULTIPLIER_MILLI,
    MAX_STEPS,
    MIN_CLIP_UNITS,
    MIN_NOISE_MULTIPLIER_MILLI,
    PrivacyEvent,
)
from protocols.dp.noise import MAX_DIM

from .fields import MAX_INT, check_digest, check_int, check_names, check_text, check_tuple

__all__ = ["MODES", "AuditFacts", "ClientFacts", "ReportFacts", "RoundFacts", "Spend", "VoidRound"]

MODES = ("local", "distributed", "client")

_MAX_ENERGY = 2**256  # sums of squares are larger than a JSON integer; the report holds their ratio
_MIN_DELTA_E12 = 100  # 1e-10; below it the accountants' own error is larger than delta


@dataclass(frozen=True, slots=True)
class Spend:
    """One reservation of privacy by one client: `steps` noisy steps, charged whether or not they were used.

    Units: `noise_multiplier_milli` is sigma * 1000, `sampling_rate_ppm` is the Poisson rate * 1,000,000
    (1,000,000 = every record in every step).
    """

    round: int
    steps: int
    noise_multiplier_milli: int
    sampling_rate_ppm: int

    def __post_init__(self) -> None:
        check_int("round", self.round, 0)
        check_int("steps", self.steps, 1, MAX_STEPS)
        noise = self.noise_multiplier_milli
        check_int("noise_multiplier_milli", noise, MIN_NOISE_MULTIPLIER_MILLI, MAX_NOISE_MULTIPLIER_MILLI)
        check_int("sampling_rate_ppm", self.sampling_rate_ppm, 1, 1_000_000)


@dataclass(frozen=True, slots=True)
class ClientFacts:
    """One client's reservations, and the rounds whose opened sum holds its update.

    `others` is what its last reservation states about other runs on the same records, merged by mechanism.

    Raises:
        ValueError: spends are not in round order, uploads do not strictly increase, or an upload has no spend.
    """

    name: str
    spends: tuple[Spend, ...]
    uploads: tuple[int, ...]
    others: tuple[PrivacyEvent, ...] = ()

    def __post_init__(self) -> None:
        check_text("name", self.name)
        check_tuple("spends", self.spends, Spend)
        check_tuple("others", self.others, PrivacyEvent)
        check_tuple("uploads", self.uploads, int)
        for number in self.uploads:
            check_int("uploads", number, 0)
        rounds = [spend.round for spend in self.spends]
        if rounds != sorted(rounds):
            raise ValueError(f"spends of {self.name} must be in round order")
        if any(a >= b for a, b in pairwise(self.uploads)):
            raise ValueError(f"uploads of {self.name} must strictly increase, got {self.uploads}")
        unspent = sorted(set(self.uploads) - set(rounds))
        if unspent:
            raise ValueError(f"{self.name} is in the opened sum of round {unspent[0]} but reserved no privacy for it")

    @property
    def rounds_reserved_without_upload(self) -> tuple[int, ...]:
        """Rounds this client reserved privacy for, whose opened sum does not hold its update."""
        return tuple(sorted({spend.round for spend in self.spends} - set(self.uploads)))


@dataclass(frozen=True, slots=True)
class RoundFacts:
    """One finished round: who is in the opened sum, who is not, and what came out (SHA-256 digests).

    Units: `sentinel_energy` is the sum of squares of the opened sum's sentinel coordinates, `sentinel_variance` the
    variance that one of them should have with this many contributors, both in grid units squared. 0 without sentinels.
    """

    number: int
    contributors: tuple[str, ...]
    absent: tuple[str, ...]
    aggregate_digest: bytes
    model_digest: bytes
    sentinel_energy: int = 0
    sentinel_variance: float = 0.0

    def __post_init__(self) -> None:
        check_int("number", self.number, 0)
        check_names("contributors", self.contributors)
        check_names("absent", self.absent)
        both = sorted(set(self.contributors) & set(self.absent))
        if both:
            raise ValueError(f"round {self.number}: {both[0]} is both a contributor and absent")
        check_digest("aggregate_digest", self.aggregate_digest)
        check_digest("model_digest", self.model_digest)
        check_int("sentinel_energy", self.sentinel_energy, 0, _MAX_ENERGY)
        variance = self.sentinel_variance
        if isinstance(variance, bool) or not isinstance(variance, float):
            raise TypeError(f"sentinel_variance must be a float, not {type(variance).__name__}")
        if not (math.isfinite(variance) and variance >= 0):
            raise ValueError(f"sentinel_variance must be finite and not negative, got {variance}")


@dataclass(frozen=True, slots=True)
class VoidRound:
    """A round that ended without a model, and the operator's reason. What was spent in it stays spent."""

    number: int
    reason: str

    def __post_init__(self) -> None:
        check_int("number", self.number, 0)
        check_text("reason", self.reason)


@dataclass(frozen=True, slots=True)
class AuditFacts:
    """One audit that a party put on the ledger: what it found, and where it is. Its figures are its party's word."""

    party: str
    index: int
    result: AuditResult

    def __post_init__(self) -> None:
        check_text("party", self.party)
        check_int("index", self.index, 0)
        if not isinstance(self.result, AuditResult):
            raise TypeError(f"result must be AuditResult, not {type(self.result).__name__}")


_RANGES = {
    "log_size": (1, MAX_INT),
    "parameters": (1, MAX_DIM),
    "planned_rounds": (1, MAX_INT),
    "local_steps": (1, MAX_STEPS),
    "noise_multiplier_milli": (MIN_NOISE_MULTIPLIER_MILLI, MAX_NOISE_MULTIPLIER_MILLI),
    "sampling_rate_ppm": (1, 1_000_000),
    "clip_units": (MIN_CLIP_UNITS, MAX_INT),
    "clip_norm_micro": (1, MAX_INT),
    "delta_e12": (_MIN_DELTA_E12, 10**12 - 1),
    "epsilon_milli": (1, MAX_INT),
    "members": (1, MAX_INT),
    "threshold": (1, MAX_INT),
    "certificate_quorum": (1, MAX_INT),
    "minimum_clients": (1, MAX_INT),
    "ring_degree": (1, MAX_INT),
    "smudging_lambda": (0, MAX_INT),
    "honest_minimum": (1, MAX_INT),
    "colluders": (0, MAX_INT),
    "sentinels": (0, MAX_DIM),
}


@dataclass(frozen=True, slots=True)
class ReportFacts:
    """Everything the privacy budget report may depend on, for one federation.

    Run by: replay, after it has verified the log's certificate and every entry it reads.

    `mode` is "local" (each client adds all the noise its own records need), "distributed" (the noise of
    `honest_minimum` honest clients together) or "client" (the same, protecting whole clients). `unit_text` says what
    one unit is, such as "one image"; empty: the report says it in general words.

    Units: `delta_e12` is delta * 10^12, `epsilon_milli` the epsilon budget * 1000, `clip_norm_micro` the L2 clip norm
    of one record's gradient * 10^6, `clip_units` the same bound in grid units, `smudging_lambda` statistical bits,
    `accuracy_ppm` the operator's own statement about public held-out data * 10^6 (not verified by anyone).
    Guarantees: rounds and clients agree: a client's `uploads` are exactly the rounds that name it as contributor.
    Raises:
        TypeError, ValueError: a field has the wrong type or range, or rounds and clients contradict each other.
    """

    origin: str
    mode: str
    log_size: int
    log_root: bytes
    genesis: bytes
    dataset: str
    parameters: int
    planned_rounds: int
    local_steps: int
    noise_multiplier_milli: int
    sampling_rate_ppm: int
    clip_units: int
    clip_norm_micro: int
    delta_e12: int
    epsilon_milli: int
    members: int
    threshold: int
    certificate_quorum: int
    minimum_clients: int
    honest_minimum: int
    colluders: int
    sentinels: int
    suite: str
    ring_degree: int
    smudging_lambda: int
    key_digest: bytes
    clients: tuple[ClientFacts, ...]
    rounds: tuple[RoundFacts, ...]
    accuracy_ppm: int | None = None
    void_rounds: tuple[VoidRound, ...] = ()
    unit_text: str = ""
    audits: tuple[AuditFacts, ...] = ()

    def __post_init__(self) -> None:
        for text in ("origin", "dataset", "suite", "mode"):
            check_text(text, getattr(self, text))
        for digest in ("log_root", "genesis", "key_digest"):
            check_digest(digest, getattr(self, digest))
        for number, (low, high) in _RANGES.items():
            check_int(number, getattr(self, number), low, high)
        if self.accuracy_ppm is not None:
            check_int("accuracy_ppm", self.accuracy_ppm, 0, 1_000_000)
        if self.threshold > self.members:
            raise ValueError(f"threshold must be at most members = {self.members}, got {self.threshold}")
        if self.mode not in MODES:
            raise ValueError(f"mode must be one of {', '.join(MODES)}, got {self.mode[:40]!r}")
        if self.mode == "local" and self.honest_minimum != 1:
            raise ValueError(f"honest_minimum must be 1 in local mode, got {self.honest_minimum}")
        if self.mode != "local" and self.minimum_clients < self.honest_minimum + self.colluders:
            least = self.honest_minimum + self.colluders
            raise ValueError(f"minimum_clients must be at least {least}, the honest and the colluders together")
        if self.mode == "client" and self.sampling_rate_ppm != 1_000_000:
            raise ValueError(f"sampling_rate_ppm must be 1000000 in client mode, got {self.sampling_rate_ppm}")
        if self.unit_text:
            check_text("unit_text", self.unit_text)
        elif not isinstance(self.unit_text, str):
            raise TypeError(f"unit_text must be a str, not {type(self.unit_text).__name__}")
        check_tuple("audits", self.audits, AuditFacts)
        self._check_participation()

    @property
    def delta(self) -> float:
        """The budget's delta."""
        return self.delta_e12 / 1e12

    @property
    def dim(self) -> int:
        """Coordinates of one release: the model's parameters and the sentinels."""
        return min(self.parameters + self.sentinels, MAX_DIM)

    @property
    def steps_per_round(self) -> int:
        """Noisy steps that one round is charged for: in the modes with shares, the one sum that is opened."""
        return self.local_steps if self.mode == "local" else 1

    def _check_participation(self) -> None:
        check_tuple("clients", self.clients, ClientFacts)
        check_tuple("rounds", self.rounds, RoundFacts)
        if not self.clients:
            raise ValueError("clients must not be empty")
        everyone = [client.name for client in self.clients]
        if len(set(everyone)) != len(everyone):
            raise ValueError("clients names a client twice")
        numbers = [entry.number for entry in self.rounds]
        if any(a >= b for a, b in pairwise(numbers)):
            raise ValueError(f"rounds must strictly increase, got {numbers}")
        check_tuple("void_rounds", self.void_rounds, VoidRound)
        void = [entry.number for entry in self.void_rounds]
        if any(a >= b for a, b in pairwise(void)) or set(void) & set(numbers):
            raise ValueError(f"void rounds must strictly increase and be none of the others, got {void}")
        if len(numbers) + len(void) > self.planned_rounds:
            raise ValueError(f"{len(numbers) + len(void)} rounds are more than the {self.planned_rounds} planned")
        known = set(everyone)
        named: dict[str, list[int]] = {name: [] for name in everyone}
        for entry in self.rounds:
            wrong = sorted({*entry.contributors, *entry.absent} ^ known)
            if wrong:
                raise ValueError(f"round {entry.number}: {wrong[0]} is not in exactly one of clients' lists")
            if (entry.sentinel_variance > 0) != (self.sentinels > 0) or (entry.sentinel_energy and not self.sentinels):
                raise ValueError(f"round {entry.number}: sentinel figures with {self.sentinels} sentinels")
            for name in entry.contributors:
                named[name].append(entry.number)
        for client in self.clients:
            if tuple(named[client.name]) != client.uploads:
                raise ValueError(f"{client.name}: uploads {client.uploads} but rounds name it in {named[client.name]}")
