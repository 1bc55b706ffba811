"""What a verified ledger states about privacy: the only input of the budget report.

Replay fills these classes from entries it has verified. They hold integers, strings, bytes and tuples of
these, so that equal ledgers give equal facts on every machine. A real number is carried as a scaled integer,
named by its scale: `_milli` is 1/1000, `_micro` and `_ppm` are 1/1,000,000, `_e12` is 1/10^12.
"""

from dataclasses import dataclass
from itertools import pairwise

from protocols.dp.events import MAX_NOISE_MULTIPLIER_MILLI, MAX_STEPS, MIN_CLIP_UNITS, MIN_NOISE_MULTIPLIER_MILLI
from protocols.dp.noise import MAX_DIM

__all__ = ["ClientFacts", "ReportFacts", "RoundFacts", "Spend", "VoidRound"]

_MAX_TEXT = 256
_MAX_INT = 2**53 - 1  # every JSON reader keeps integers up to here exact
_DIGEST_SIZE = 32
_MIN_DELTA_E12 = 100  # 1e-10; below it the accountants' own error is larger than delta


def _check_int(name: str, value: int, low: int, high: int = _MAX_INT) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    if not low <= value <= high:
        raise ValueError(f"{name} must be between {low} and {high}, got {value}")


def _check_text(name: str, value: str) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {type(value).__name__}")
    if not value or len(value) > _MAX_TEXT or not value.isprintable():
        raise ValueError(f"{name} must be 1 to {_MAX_TEXT} printable characters, got {value[:40]!r}")


def _check_digest(name: str, value: bytes) -> None:
    if not isinstance(value, bytes):
        raise TypeError(f"{name} must be bytes, not {type(value).__name__}")
    if len(value) != _DIGEST_SIZE:
        raise ValueError(f"{name} must be {_DIGEST_SIZE} bytes, got {len(value)}")


def _check_tuple(name: str, value: tuple[object, ...], item: type) -> None:
    if not isinstance(value, tuple):
        raise TypeError(f"{name} must be a tuple, not {type(value).__name__}")
    for index, element in enumerate(value):
        if not isinstance(element, item):
            raise TypeError(f"{name}[{index}] must be {item.__name__}, not {type(element).__name__}")


def _check_names(name: str, value: tuple[str, ...]) -> None:
    _check_tuple(name, value, str)
    for element in value:
        _check_text(name, element)
    if len(set(value)) != len(value):
        raise ValueError(f"{name} names a client twice: {', '.join(value)}")


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
        _check_int("round", self.round, 0)
        _check_int("steps", self.steps, 1, MAX_STEPS)
        noise = self.noise_multiplier_milli
        _check_int("noise_multiplier_milli", noise, MIN_NOISE_MULTIPLIER_MILLI, MAX_NOISE_MULTIPLIER_MILLI)
        _check_int("sampling_rate_ppm", self.sampling_rate_ppm, 1, 1_000_000)


@dataclass(frozen=True, slots=True)
class ClientFacts:
    """One client's reservations, and the rounds whose opened sum holds its update.

    Raises:
        ValueError: spends are not in round order, uploads do not strictly increase, or an upload has no spend.
    """

    name: str
    spends: tuple[Spend, ...]
    uploads: tuple[int, ...]

    def __post_init__(self) -> None:
        _check_text("name", self.name)
        _check_tuple("spends", self.spends, Spend)
        _check_tuple("uploads", self.uploads, int)
        for number in self.uploads:
            _check_int("uploads", number, 0)
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
    """One finished round: who is in the opened sum, who is not, and what came out (SHA-256 digests)."""

    number: int
    contributors: tuple[str, ...]
    absent: tuple[str, ...]
    aggregate_digest: bytes
    model_digest: bytes

    def __post_init__(self) -> None:
        _check_int("number", self.number, 0)
        _check_names("contributors", self.contributors)
        _check_names("absent", self.absent)
        both = sorted(set(self.contributors) & set(self.absent))
        if both:
            raise ValueError(f"round {self.number}: {both[0]} is both a contributor and absent")
        _check_digest("aggregate_digest", self.aggregate_digest)
        _check_digest("model_digest", self.model_digest)


@dataclass(frozen=True, slots=True)
class VoidRound:
    """A round that ended without a model, and the operator's reason. What was spent in it stays spent."""

    number: int
    reason: str

    def __post_init__(self) -> None:
        _check_int("number", self.number, 0)
        _check_text("reason", self.reason)


_RANGES = {
    "log_size": (1, _MAX_INT),
    "parameters": (1, MAX_DIM),
    "planned_rounds": (1, _MAX_INT),
    "local_steps": (1, MAX_STEPS),
    "noise_multiplier_milli": (MIN_NOISE_MULTIPLIER_MILLI, MAX_NOISE_MULTIPLIER_MILLI),
    "sampling_rate_ppm": (1, 1_000_000),
    "clip_units": (MIN_CLIP_UNITS, _MAX_INT),
    "clip_norm_micro": (1, _MAX_INT),
    "delta_e12": (_MIN_DELTA_E12, 10**12 - 1),
    "epsilon_milli": (1, _MAX_INT),
    "members": (1, _MAX_INT),
    "threshold": (1, _MAX_INT),
    "certificate_quorum": (1, _MAX_INT),
    "minimum_clients": (1, _MAX_INT),
    "ring_degree": (1, _MAX_INT),
    "smudging_lambda": (0, _MAX_INT),
}


@dataclass(frozen=True, slots=True)
class ReportFacts:
    """Everything the privacy budget report may depend on, for one federation in `local` mode.

    Run by: replay, after it has verified the log's certificate and every entry it reads.

    Units: `delta_e12` is delta * 10^12, `epsilon_milli` the epsilon budget * 1000, `clip_norm_micro` the L2 clip norm
    of one record's gradient * 10^6, `clip_units` the same bound in grid units, `smudging_lambda` statistical bits,
    `accuracy_ppm` the operator's own statement about public held-out data * 10^6 (not verified by anyone).
    Guarantees: rounds and clients agree: a client's `uploads` are exactly the rounds that name it as contributor.
    Raises:
        TypeError, ValueError: a field has the wrong type or range, or rounds and clients contradict each other.
    """

    origin: str
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
    suite: str
    ring_degree: int
    smudging_lambda: int
    key_digest: bytes
    clients: tuple[ClientFacts, ...]
    rounds: tuple[RoundFacts, ...]
    accuracy_ppm: int | None = None
    void_rounds: tuple[VoidRound, ...] = ()

    def __post_init__(self) -> None:
        for text in ("origin", "dataset", "suite"):
            _check_text(text, getattr(self, text))
        for digest in ("log_root", "genesis", "key_digest"):
            _check_digest(digest, getattr(self, digest))
        for number, (low, high) in _RANGES.items():
            _check_int(number, getattr(self, number), low, high)
        if self.accuracy_ppm is not None:
            _check_int("accuracy_ppm", self.accuracy_ppm, 0, 1_000_000)
        if self.threshold > self.members:
            raise ValueError(f"threshold must be at most members = {self.members}, got {self.threshold}")
        self._check_participation()

    def _check_participation(self) -> None:
        _check_tuple("clients", self.clients, ClientFacts)
        _check_tuple("rounds", self.rounds, RoundFacts)
        if not self.clients:
            raise ValueError("clients must not be empty")
        everyone = [client.name for client in self.clients]
        if len(set(everyone)) != len(everyone):
            raise ValueError("clients names a client twice")
        numbers = [entry.number for entry in self.rounds]
        if any(a >= b for a, b in pairwise(numbers)):
            raise ValueError(f"rounds must strictly increase, got {numbers}")
        _check_tuple("void_rounds", self.void_rounds, VoidRound)
        void = [entry.number for entry in self.void_rounds]
        if any(a >= b for a, b in pairwise(void)) or set(void) & set(numbers):
            raise ValueError(f"void rounds must strictly increase and be none of the others, got {void}")
        if len(numbers) + len(void) > self.planned_rounds:
            raise ValueError(f"{len(numbers) + len(void)} rounds are more than the {self.planned_rounds} planned")
        for entry in self.rounds:
            listed = {*entry.contributors, *entry.absent}
            wrong = sorted(listed ^ set(everyone))
            if wrong:
                raise ValueError(f"round {entry.number}: {wrong[0]} is not in exactly one of clients' lists")
        for client in self.clients:
            named = tuple(entry.number for entry in self.rounds if client.name in entry.contributors)
            if named != client.uploads:
                raise ValueError(f"{client.name}: uploads {client.uploads} but rounds name it in {named}")
