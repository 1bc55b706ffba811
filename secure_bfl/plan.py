"""The federation's plan: every public number, fixed before anything runs.

Spec: round §1 (v1). The plan is entry 0 of the ledger, so it holds integers and text only. Impossible capacity, privacy
or security is refused here, with the numbers, before a key is drawn or a record read.
"""

import math
from contextlib import suppress
from dataclasses import dataclass, fields
from fractions import Fraction
from functools import lru_cache, partial
from typing import Final, Self

from ledger import blob_digest, cbor
from protocols.digits import DigitLayout
from protocols.dp import (
    DiscreteGaussian,
    Mechanism,
    Mode,
    PrivacyEvent,
    PrivacyPlan,
    gate,
)
from protocols.dp.noise import MAX_STD_UNITS
from protocols.errors import CapacityError
from protocols.grid import Grid
from protocols.packing import checksum_modulus, digit_width
from protocols.suites import RING_DEGREES, Suite, for_model, suite
from protocols.tckks import NoiseBudget, ShamirSharing, Sharing, check_suite, share_among, trials

from .body import Body, Digest
from .feasibility import MAX_ROUNDS, MIN_CLIENTS, check_clients, check_minimum, require_feasible
from .model import GlobalModel, Tensor, parameters_of
from .training import Training, settings

__all__ = ["FederationPlan"]

SENTINELS: Final = 256
MAX_TRIALS: Final = 16  # of one committee's dry run


@dataclass(frozen=True, slots=True)
class FederationPlan(Body):
    """All public configuration of one federation. Every field may be logged and published.

    Units: `_micro` is 10^-6, `_milli` 10^-3, `_ppm` 10^-6, `_e12` 10^-12 of the named quantity.
    """

    dataset: str
    mode: int
    record_shape: tuple[int, ...]
    classes: int
    tensors: tuple[Tensor, ...]
    initial: Digest
    sentinels: int
    clients: int
    members: int
    threshold: int
    minimum_clients: int
    honest_minimum: int
    colluders: int
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
        require_feasible(self)

    @classmethod
    def create(
        cls,
        dataset: str = "digits",
        *,
        mode: Mode | None = None,
        clients: int = 10,
        members: int = 5,
        threshold: int = 3,
        rounds: int | None = None,
        epsilon: float = 8.0,
        delta: float = 1e-5,
        minimum_clients: int | None = None,
        colluders: int | None = None,
        sentinels: int = SENTINELS,
        digit_bits: int | None = None,
        checksum_digit: bool = False,
        committee_changes: int = 0,
        answers: int | None = None,
        training: Training | None = None,
    ) -> Self:
        """Plan a federation: choose the noise for the budget, the ring for the model, the digits for the clients.

        Run by: whoever sets the federation up; everybody else reads the result from the ledger.

        `mode` says whose privacy rests on what (dp §2); it is that of `training` if that is given, else `DISTRIBUTED`.
        `minimum_clients` is the fewest clients in a sum that is opened, by default seven tenths of them. Up to
        `colluders` of these may withhold their noise, or tell others what it was, and the noise of the rest is enough.
        By default it is one, as every client knows its own noise: so epsilon holds against each other client, too.

        `checksum_digit` spends one digit of each coefficient on finding clients whose values are out of range.
        `committee_changes` is how often the key may be handed to another committee, or refreshed; `answers` the most
        smudging noises that an opening of any of them may hold (by default, those of the first committee).

        Units: epsilon and delta are the whole run's budget of each client, per record (add or remove one), or in
        client mode per client.

        Raises:
            ValueError: an argument is out of range; the message says which and what to do.
            CapacityError: the digits, the ring or the smudging cannot hold what is asked.
        """
        if not math.isfinite(epsilon) or epsilon <= 0:
            raise ValueError(f"epsilon must be a positive finite number, not {epsilon}")
        if not math.isfinite(delta) or not 1e-10 <= delta < 1:
            raise ValueError(f"delta must be at least 1e-10 and below 1, not {delta}")
        check_clients(clients)
        sharing = share_among(members, threshold)
        if mode is not None and not isinstance(mode, Mode):
            raise TypeError(f"mode must be one of Mode.LOCAL, Mode.DISTRIBUTED and Mode.CLIENT, not {mode!r}")
        if training is None:
            training = settings(dataset, Mode.DISTRIBUTED if mode is None else mode)
        if mode is not None and training.mode is not mode:
            raise ValueError(f"the settings given are for {training.mode.name.lower()} mode, not {mode.name.lower()}")
        rounds = training.rounds if rounds is None else rounds
        if not 1 <= rounds <= MAX_ROUNDS:
            raise ValueError(f"rounds must be 1 to {MAX_ROUNDS}, not {rounds}")
        if training.records < clients:
            raise ValueError(f"{training.records} training records cannot be split over {clients} clients")
        minimum = _minimum(clients) if minimum_clients is None else minimum_clients
        check_minimum(minimum, clients)
        if colluders is None:
            colluders = 0 if training.mode is Mode.LOCAL else 1
        if training.mode is not Mode.LOCAL and not 0 <= colluders < minimum:
            raise ValueError(f"colluders must be 0 to {minimum - 1}, fewer than the {minimum} clients of the least sum")
        budget = cls._budget(epsilon, delta, training, rounds, clients, minimum, colluders, sentinels)
        value_bits, step_bits = _grid(training, budget, clients, rounds)
        layout = training.layout
        planned = partial(
            cls,
            dataset=dataset,
            mode=int(training.mode),
            record_shape=training.record_shape,
            classes=training.classes,
            tensors=layout,
            initial=blob_digest(GlobalModel.zero(layout).encode()) if training.initial is None else training.initial,
            sentinels=sentinels,
            clients=clients,
            members=members,
            threshold=threshold,
            minimum_clients=minimum,
            honest_minimum=budget.honest_minimum,
            colluders=budget.colluders,
            rounds=rounds,
            local_steps=training.local_steps,
            expected_batch=training.expected_batch(clients),
            sampling_rate_ppm=training.sampling_rate_ppm,
            noise_multiplier_milli=budget.noise_multiplier_milli,
            clip_units=training.clip_units,
            clip_norm_micro=training.clip_norm_micro,
            learning_rate_micro=training.learning_rate_micro(
                budget.noise_multiplier_milli, clients=clients, rounds=rounds
            ),
            momentum_milli=training.momentum_milli,
            average_from=max(1, rounds - training.averaged_rounds + 1),
            epsilon_milli=_scaled(epsilon, 1000),
            delta_e12=_scaled(delta, 10**12),
            value_bits=value_bits,
            step_bits=step_bits,
            digit_width=digit_width(Grid(value_bits, step_bits), clients) if digit_bits is None else digit_bits,
            checksum_digit=int(checksum_digit),
            answers=sharing.answers if answers is None else answers,
            committee_changes=committee_changes,
        )
        smallest = for_model(parameters_of(layout) + sentinels).ring_degree
        for degree in (degree for degree in RING_DEGREES[:-1] if degree >= smallest):
            with suppress(CapacityError):  # a larger ring has more room for smudging
                return planned(ring_degree=degree)
        return planned(ring_degree=RING_DEGREES[-1])

    @staticmethod
    def _budget(
        epsilon: float,
        delta: float,
        training: Training,
        rounds: int,
        clients: int,
        minimum: int,
        colluders: int,
        sentinels: int,
    ) -> PrivacyPlan:
        """The smallest noise that keeps the whole schedule within the budget as the plan states it, rounded down."""
        stated_epsilon, stated_delta = _scaled(epsilon, 1000) / 1000, _scaled(delta, 10**12) / 10**12
        if stated_epsilon <= 0:
            raise ValueError(f"epsilon must be at least 0.001, not {epsilon}")
        local = training.mode is Mode.LOCAL
        solved = PrivacyPlan.solve(
            epsilon=stated_epsilon,
            delta=stated_delta,
            rounds=rounds,
            q=training.sampling_rate_ppm / 1_000_000,
            clients=clients,
            honest_min=1 if local else minimum - colluders,
            colluders=0 if local else colluders,
            mode=training.mode,
            steps=training.local_steps if local else 1,
            dim=parameters_of(training.layout) + sentinels,
        )
        milli = solved.noise_multiplier_milli
        if milli * training.clip_units > 1000 * MAX_STD_UNITS:
            raise ValueError(
                f"epsilon {epsilon:g} over {rounds} rounds needs noise of {milli / 1000:g} times the clip norm, "
                "more than can be drawn: choose a larger epsilon or fewer rounds"
            )
        return solved

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
        """Size of the model."""
        return parameters_of(self.tensors)

    @property
    def values(self) -> int:
        """Length of an update: the model's parameters, then the sentinels, which show the noise alone."""
        return self.parameters + self.sentinels

    @property
    def model_bytes(self) -> int:
        """Length of every model of the run as safetensors."""
        return GlobalModel.encoded_size(self.tensors)

    @property
    def shares(self) -> int:
        """Into how many shares the noise is divided: the fewest honest clients of a sum; 1 in local mode."""
        return self.honest_minimum

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
    def unit_of_privacy(self) -> str:
        """Whom the budget protects: one `record`, or one `client` with all its records."""
        return "client" if self.mode == Mode.CLIENT else "record"

    @property
    def mechanism(self) -> Mechanism:
        """The release mechanism of every step."""
        return Mechanism(
            clip_units=self.clip_units,
            clip_norm_micro=self.clip_norm_micro,
            noise_multiplier_milli=self.noise_multiplier_milli,
            sampling_rate_ppm=self.sampling_rate_ppm,
            shares=self.shares,
            sentinels=self.sentinels,
        )

    @property
    def privacy(self) -> PrivacyPlan:
        """The run's privacy, without everything else."""
        return PrivacyPlan(
            mode=Mode(self.mode),
            epsilon=self.epsilon,
            delta=self.delta,
            rounds=self.rounds,
            steps=self.round_event.steps,
            sampling_rate_ppm=self.sampling_rate_ppm,
            noise_multiplier_milli=self.noise_multiplier_milli,
            clients=self.clients,
            honest_minimum=self.honest_minimum,
            colluders=self.colluders,
            dim=self.values,
        )

    @property
    def round_event(self) -> PrivacyEvent:
        """What one round costs a client."""
        steps = self.local_steps if self.mode == Mode.LOCAL else 1
        return PrivacyEvent(self.noise_multiplier_milli, self.sampling_rate_ppm, steps)

    @property
    def schedule(self) -> PrivacyEvent:
        """What the whole run costs a client that takes part in every round: fixed before the first one."""
        event = self.round_event
        return PrivacyEvent(event.noise_multiplier_milli, event.sampling_rate_ppm, event.steps * self.rounds)

    def require_budget(self) -> None:
        """Refuse a plan whose schedule costs more than its budget.

        Run by: every member before it deals a key, every client before it reserves.

        Raises:
            PrivacyError: the noise is too little for the rounds and the budget that the plan states.
        """
        gate([self.schedule], epsilon_budget=self.epsilon, delta=self.delta, dim=self.values, schedule=[self.schedule])

    @property
    def limit(self) -> int:
        """The largest magnitude of a coordinate of one client's sum before the noise, in grid units.

        What is beyond is clamped there, before the noise is added: a projection, which moves no two sums further apart.
        """
        return self.grid.largest - _tail(self.mechanism)

    @property
    def unit(self) -> float:
        """The clip norm divided by its grid units: what one unit of the mechanism's grid is in gradient units."""
        return self.clip_norm_micro / 1_000_000 / self.clip_units

    def sentinel_variance(self, contributors: int) -> float:
        """The planned variance of a sentinel in the opened sum of so many clients, in units of the plan's grid."""
        mechanism = self.mechanism
        if self.mode != Mode.LOCAL:
            return contributors * float(mechanism.share_variance_units)
        decay = self.momentum_milli / 1000
        weights: list[float] = []
        for _ in range(self.local_steps):
            weights.append(1.0 + decay * weights[-1] if weights else 1.0)
        step = self.learning_rate_micro / 1_000_000 * self.unit / self.expected_batch / self.grid.step
        noise = step**2 * float(mechanism.noise_variance_units) * math.fsum(weight**2 for weight in weights)
        return contributors * (noise + 1 / 12)  # rounding to the grid adds that of a uniform error

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
        return self.layout.blocks(self.values)

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


@lru_cache(maxsize=64)
def _tail(mechanism: Mechanism) -> int:
    """No noise of one client exceeds this."""
    return DiscreteGaussian(mechanism.share_variance_units).tail_cut


def _scaled(value: float, units: int) -> int:
    """A decimal as it is written, in whole units, rounded down: 2.01 is 2010 thousandths in binary, too."""
    return math.floor(Fraction(str(value)) * units)


def _minimum(clients: int) -> int:
    """The least sum by default: three tenths of the clients may drop out."""
    return max(MIN_CLIENTS, clients - 3 * clients // 10)


def _grid(training: Training, solved: PrivacyPlan, clients: int, rounds: int) -> tuple[int, int]:
    """Bits of a value and of the grid's step.

    With shares of noise a value is an integer of the mechanism's grid, and has room for the noise and for the sum of an
    expected batch of records that all point the same way.
    """
    if training.mode is Mode.LOCAL:
        return training.value_bits, training.step_bits(rounds)
    mechanism = Mechanism(
        clip_units=training.clip_units,
        clip_norm_micro=training.clip_norm_micro,
        noise_multiplier_milli=solved.noise_multiplier_milli,
        sampling_rate_ppm=training.sampling_rate_ppm,
        shares=solved.shares,
    )
    records = training.expected_batch(clients) if training.mode is Mode.DISTRIBUTED else 1
    return (training.clip_units * records + _tail(mechanism)).bit_length() + 1, 0
