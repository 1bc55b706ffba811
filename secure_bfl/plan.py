"""The federation's plan: every public number, fixed before anything runs.

Spec: round §1 (v1). The plan is entry 0 of the ledger, so it holds integers and text only. Impossible capacity, privacy
or security is refused here, with the numbers, before a key is drawn or a record read.
"""

import math
import re
from dataclasses import dataclass, fields
from typing import Self

from ledger import cbor
from protocols.digits import DigitLayout
from protocols.dp import MAX_DIM, MAX_EPSILON, Mechanism, PrivacyEvent, calibrate
from protocols.dp.noise import MAX_STD_UNITS
from protocols.errors import CapacityError
from protocols.grid import Grid
from protocols.packing import checksum_modulus, digit_width
from protocols.suites import Suite, for_model, suite
from protocols.tckks import NoiseBudget, ShamirSharing, Sharing, check_suite, share_among, trials

from .messages import Body
from .training import TRAINING, Training

__all__ = ["FederationPlan"]

MIN_CLIENTS = 2
MAX_CLIENTS = 1000
GENESIS_BYTES = 64_000  # the genesis entry names every party; an entry has at most 65,535 bytes
MEMBER_BYTES = 1_315  # a member and its keys, of which the sealing key has 1,216 bytes
CLIENT_BYTES = 52
MAX_ROUNDS = 100_000
MIN_DELTA_E12 = 100
MAX_TOTAL_STEPS = 1_000_000
MAX_DIGIT_WIDTH = 48
MAX_ANSWERS = 70  # the most that any sharing has
MAX_COMMITTEE_CHANGES = 1000
MAX_TRIALS = 16  # of one committee's dry run
_SLUG = re.compile(r"[a-z0-9-]{1,64}")


@dataclass(frozen=True, slots=True)
class FederationPlan(Body):
    """All public configuration of one federation. Every field may be logged and published.

    Units: `_micro` is 10^-6, `_milli` 10^-3, `_ppm` 10^-6, `_e12` 10^-12 of the named quantity.
    """

    dataset: str
    features: int
    classes: int
    clients: int
    members: int
    threshold: int
    minimum_clients: int
    rounds: int
    local_steps: int
    expected_batch: int
    sampling_rate_ppm: int
    noise_multiplier_milli: int
    clip_units: int
    clip_norm_micro: int
    learning_rate_micro: int
    momentum_milli: int
    average_from: int
    epsilon_milli: int
    delta_e12: int
    value_bits: int
    step_bits: int
    digit_width: int
    ring_degree: int
    checksum_digit: int
    answers: int
    committee_changes: int

    def __post_init__(self) -> None:
        _check_clients(self.clients)
        _check_genesis(self.clients, self.members)
        if not MIN_CLIENTS <= self.minimum_clients <= self.clients:
            raise ValueError(f"minimum_clients must be {MIN_CLIENTS} to {self.clients}, not {self.minimum_clients}")
        if not 1 <= self.rounds <= MAX_ROUNDS:
            raise ValueError(f"rounds must be 1 to {MAX_ROUNDS}, not {self.rounds}")
        if not 1 <= self.average_from <= self.rounds:
            raise ValueError(f"average_from must be one of the {self.rounds} rounds, not {self.average_from}")
        if self.rounds * self.local_steps > MAX_TOTAL_STEPS:
            raise ValueError(f"a run of more than {MAX_TOTAL_STEPS} noisy steps cannot be accounted")
        if not _SLUG.fullmatch(self.dataset):
            raise ValueError("a dataset's name is 1 to 64 lower-case letters, digits and hyphens")
        if self.features < 1 or self.classes < 2 or self.local_steps < 1 or self.expected_batch < 1:
            raise ValueError("a plan has features, at least two classes, local steps and an expected batch")
        if self.parameters > MAX_DIM:
            raise ValueError(f"a model has at most {MAX_DIM} parameters, not {self.parameters}")
        if self.learning_rate_micro < 1 or not 0 <= self.momentum_milli < 1000:
            raise ValueError("the learning rate must be positive and the momentum in [0, 1)")
        if not 1 <= self.epsilon_milli <= 1000 * MAX_EPSILON or not MIN_DELTA_E12 <= self.delta_e12 < 10**12:
            raise ValueError(
                f"epsilon must be above 0 and at most {MAX_EPSILON:g}, and delta at least 1e-10 and below 1"
            )
        needed = digit_width(self.grid, self.clients)
        if not needed <= self.digit_width <= MAX_DIGIT_WIDTH:
            raise CapacityError(
                f"{self.clients} clients of {self.value_bits}-bit values need digits of {needed} bits, the plan has "
                f"{self.digit_width}: fewer clients, fewer value bits, or wider digits (at most {MAX_DIGIT_WIDTH})"
            )
        if not self.sharing.answers <= self.answers <= MAX_ANSWERS:
            raise CapacityError(
                f"an opening of this committee holds {self.sharing.answers} smudging noises; the plan must leave room "
                f"for so many and at most {MAX_ANSWERS}, not {self.answers}"
            )
        if not 0 <= self.committee_changes <= MAX_COMMITTEE_CHANGES:
            raise ValueError(f"committee_changes must be 0 to {MAX_COMMITTEE_CHANGES}, not {self.committee_changes}")
        if self.checksum_digit not in (0, 1):
            raise ValueError(f"checksum_digit must be 0 or 1, not {self.checksum_digit}")
        _ = self.mechanism, self.layout  # both refuse what cannot be
        self.noise_budget.require(self.coefficients_opened, tests=self.dry_runs)

    @classmethod
    def create(
        cls,
        dataset: str = "digits",
        *,
        clients: int = 10,
        members: int = 5,
        threshold: int = 3,
        rounds: int | None = None,
        epsilon: float = 8.0,
        delta: float = 1e-5,
        minimum_clients: int | None = None,
        digit_bits: int | None = None,
        checksum_digit: bool = False,
        committee_changes: int = 0,
        answers: int | None = None,
        training: Training | None = None,
    ) -> Self:
        """Plan a federation: choose the noise for the budget, the ring for the model, the digits for the clients.

        Run by: whoever sets the federation up; everybody else reads the result from the ledger.

        `checksum_digit` spends one digit of each coefficient on finding clients whose values are out of range.
        `committee_changes` is how often the key may be handed to another committee, or refreshed; `answers` the most
        smudging noises that an opening of any of them may hold (by default, those of the first committee).

        Units: epsilon and delta are the whole run's budget of each client, per record (add or remove one).

        Raises:
            ValueError: an argument is out of range; the message says which and what to do.
            CapacityError: the digits, the ring or the smudging cannot hold what is asked.
        """
        if not math.isfinite(epsilon) or epsilon <= 0:
            raise ValueError(f"epsilon must be a positive finite number, not {epsilon}")
        if not math.isfinite(delta) or not 1e-10 <= delta < 1:
            raise ValueError(f"delta must be at least 1e-10 and below 1, not {delta}")
        _check_clients(clients)
        sharing = share_among(members, threshold)
        if training is None:
            if dataset not in TRAINING:
                raise ValueError(f"unknown dataset {dataset!r}; choose one of {', '.join(sorted(TRAINING))}")
            training = TRAINING[dataset]
        rounds = training.rounds if rounds is None else rounds
        if not 1 <= rounds <= MAX_ROUNDS:
            raise ValueError(f"rounds must be 1 to {MAX_ROUNDS}, not {rounds}")
        if training.records < clients:
            raise ValueError(f"{training.records} training records cannot be split over {clients} clients")
        parameters = (training.features + 1) * training.classes
        budget = cls._budget(epsilon, delta, training, rounds, parameters)
        grid = Grid(training.value_bits, training.step_bits(rounds))
        return cls(
            dataset=dataset,
            features=training.features,
            classes=training.classes,
            clients=clients,
            members=members,
            threshold=threshold,
            minimum_clients=max(MIN_CLIENTS, clients // 2) if minimum_clients is None else minimum_clients,
            rounds=rounds,
            local_steps=training.local_steps,
            expected_batch=training.expected_batch(clients),
            sampling_rate_ppm=training.sampling_rate_ppm,
            noise_multiplier_milli=budget,
            clip_units=training.clip_units,
            clip_norm_micro=training.clip_norm_micro,
            learning_rate_micro=training.learning_rate_micro(budget, clients=clients, rounds=rounds),
            momentum_milli=training.momentum_milli,
            average_from=max(1, rounds - training.averaged_rounds + 1),
            epsilon_milli=math.floor(epsilon * 1000),
            delta_e12=math.floor(delta * 10**12),
            value_bits=training.value_bits,
            step_bits=training.step_bits(rounds),
            digit_width=digit_width(grid, clients) if digit_bits is None else digit_bits,
            ring_degree=for_model(parameters).ring_degree,
            checksum_digit=int(checksum_digit),
            answers=sharing.answers if answers is None else answers,
            committee_changes=committee_changes,
        )

    @staticmethod
    def _budget(epsilon: float, delta: float, training: Training, rounds: int, parameters: int) -> int:
        """The smallest noise that keeps the whole schedule within the budget as the plan states it, rounded down."""
        stated_epsilon, stated_delta = math.floor(epsilon * 1000) / 1000, math.floor(delta * 10**12) / 10**12
        if stated_epsilon <= 0:
            raise ValueError(f"epsilon must be at least 0.001, not {epsilon}")
        milli = calibrate(
            epsilon=stated_epsilon,
            delta=stated_delta,
            sampling_rate_ppm=training.sampling_rate_ppm,
            steps=rounds * training.local_steps,
            dim=parameters,
        )
        if milli * training.clip_units > 1000 * MAX_STD_UNITS:
            raise ValueError(
                f"epsilon {epsilon:g} over {rounds} rounds needs noise of {milli / 1000:g} times the clip norm, "
                "more than can be drawn: choose a larger epsilon or fewer rounds"
            )
        return milli

    def encode(self) -> bytes:
        """Canonical CBOR of the fields, in order."""
        return cbor.encode(self.to_value())

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a plan; one that cannot be is refused. Whether its noise fits its budget, each client's odometer checks.

        Raises:
            DecodeError: not the one encoding of a plan.
            ValueError, CapacityError: a plan that cannot be.
        """
        return cls.from_value(cbor.decode(data))

    def describe(self) -> dict[str, int | str]:
        """Every field by name, for people and reports."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @property
    def parameters(self) -> int:
        """Size of the model: a weight for each feature and class, and a bias for each class."""
        return (self.features + 1) * self.classes

    @property
    def epsilon(self) -> float:
        """The budget's epsilon, of each client, for the whole run."""
        return self.epsilon_milli / 1000

    @property
    def delta(self) -> float:
        """The budget's delta."""
        return self.delta_e12 / 10**12

    @property
    def grid(self) -> Grid:
        """The integer grid of the updates."""
        return Grid(self.value_bits, self.step_bits)

    @property
    def mechanism(self) -> Mechanism:
        """The release mechanism of every local step."""
        return Mechanism(
            clip_units=self.clip_units,
            clip_norm_micro=self.clip_norm_micro,
            noise_multiplier_milli=self.noise_multiplier_milli,
            sampling_rate_ppm=self.sampling_rate_ppm,
        )

    @property
    def round_event(self) -> PrivacyEvent:
        """What one round costs a client."""
        return PrivacyEvent(self.noise_multiplier_milli, self.sampling_rate_ppm, self.local_steps)

    @property
    def suite(self) -> Suite:
        """The encryption preset."""
        return suite(self.ring_degree)

    @property
    def sharing(self) -> Sharing:
        """The founding committee's access structure."""
        return share_among(self.members, self.threshold)

    @property
    def noise_budget(self) -> NoiseBudget:
        """The encryption's noise bounds for this many clients."""
        return NoiseBudget(self.suite, self.sharing.addends, self.answers, self.clients)

    @property
    def layout(self) -> DigitLayout:
        """How updates are laid out as digits."""
        modulus = checksum_modulus(self.grid, self.digit_width) if self.checksum_digit else 0
        return self.noise_budget.layout(self.digit_width, checksum=modulus)

    @property
    def blocks(self) -> int:
        """Ciphertexts in one update."""
        return self.layout.blocks(self.parameters)

    @property
    def coefficients_opened(self) -> int:
        """Coefficients ever opened under the key: every round, and one block for each dry run.

        In Shamir's sharing a round counts once for each honest member there can be: t-1 others and a forked log could
        have each of them answer in an active set of its own.
        """
        honest = self.members - self.threshold + 1 if isinstance(self.sharing, ShamirSharing) else 1
        return self.ring_degree * (self.rounds * self.blocks * honest + self.dry_runs)

    @property
    def dry_runs(self) -> int:
        """Test ciphertexts ever opened: the founding committee's, and as many as any later one could need."""
        return len(trials(self.sharing)) + MAX_TRIALS * self.committee_changes

    @property
    def smudging_lambda(self) -> int:
        """Statistical bits of the smudging over the whole run."""
        return self.noise_budget.smudging_lambda(self.coefficients_opened, tests=self.dry_runs)

    def check_suite(self) -> None:
        """Have SEAL itself confirm 128-bit security. Raises ValueError if it does not."""
        check_suite(self.suite)


def _check_clients(clients: int) -> None:
    if clients < MIN_CLIENTS:
        raise ValueError(
            f"a federation needs at least {MIN_CLIENTS} clients, not {clients}: "
            "with one client the opened sum would be that client's own update"
        )
    if clients > MAX_CLIENTS:
        raise ValueError(f"a federation has at most {MAX_CLIENTS} clients, not {clients}: its genesis names every one")


def _check_genesis(clients: int, members: int) -> None:
    if clients * CLIENT_BYTES + members * MEMBER_BYTES > GENESIS_BYTES:
        most = (GENESIS_BYTES - members * MEMBER_BYTES) // CLIENT_BYTES
        raise ValueError(
            f"{clients} clients and {members} members do not fit the genesis entry, which names every one of them "
            f"with its keys: at most {most} clients with so many members"
        )
