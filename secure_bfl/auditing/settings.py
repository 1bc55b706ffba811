"""What an audit runs: a small plan of the same mode, with room for canaries, claimed to be (1, 10^-6)-DP."""

import math
from dataclasses import dataclass, replace
from typing import Final, Self

from protocols.dp import Mode
from protocols.dp.auditing import MAX_CANARIES
from protocols.grid import Grid
from protocols.packing import digit_width

from ..feasibility import MAX_CLIENTS
from ..plan import FederationPlan
from ..training import Training

__all__ = ["CLAIMED_DELTA_E12", "CLAIMED_EPSILON_MILLI", "AuditSettings"]

CLAIMED_EPSILON_MILLI: Final = 1000
CLAIMED_DELTA_E12: Final = 10**6
"""A larger delta leaves more of the one-run bound to chance; a smaller one calls for more noise, and hides more."""

_CLIP_NORM_MICRO: Final = 1000  # so small that the weights of a run never come near what would dim a canary
_LEARNING_RATE_MICRO: Final = 100_000
_NOISE_BITS: Final = 14  # in local mode the noise of one round is about 2^14 steps of the grid
_LOCAL_VALUE_BITS: Final = 24
_CLIENT_VALUE_BITS: Final = 32
_FINEST_GRID_BITS: Final = 40
_CLIENTS: Final = 10
_ROUNDS: Final = {Mode.LOCAL: 2, Mode.DISTRIBUTED: 4, Mode.CLIENT: 2}
_CANARIES: Final = {Mode.LOCAL: 3000, Mode.DISTRIBUTED: 3000, Mode.CLIENT: 160}
_GUESSED: Final = {Mode.LOCAL: 5, Mode.DISTRIBUTED: 5, Mode.CLIENT: 2}  # one canary of so many
_LOCAL_STEPS: Final = 4
_MOST_STEPS: Final = 50
_MOST_CLIP_UNITS: Final = 1 << 18


@dataclass(frozen=True, slots=True)
class AuditSettings:
    """Size and mechanism of an audit. In client mode each client is a canary; in the others canaries are records.

    `guesses` is the number of canaries, half at each end, that the auditor guesses: chosen here, before anything is
    seen.

    Raises:
        TypeError, ValueError: a field is not an int or out of range. The plan refuses the rest.
    """

    mode: Mode = Mode.DISTRIBUTED
    canaries: int = _CANARIES[Mode.DISTRIBUTED]
    rounds: int = _ROUNDS[Mode.DISTRIBUTED]
    local_steps: int = 1
    sampling_rate_ppm: int = 1_000_000
    momentum_milli: int = 0
    clip_units: int = 1 << 14

    def __post_init__(self) -> None:
        for name, low, high in (
            ("canaries", 16, MAX_CLIENTS * 7 // 10 if self.mode == Mode.CLIENT else MAX_CANARIES),
            ("rounds", 2, 100),
            ("local_steps", 1, _MOST_STEPS),
        ):
            value = getattr(self, name)
            if type(value) is not int:
                raise TypeError(f"{name} must be an int")
            if not low <= value <= high:
                raise ValueError(f"{name} of an audit must be {low} to {high}, not {value}")

    @classmethod
    def of_mode(cls, mode: Mode) -> Self:
        """The usual audit of a mode."""
        steps = 1 if mode == Mode.DISTRIBUTED else _LOCAL_STEPS
        return cls(Mode(mode), _CANARIES[mode], _ROUNDS[mode], local_steps=steps)

    @classmethod
    def of_plan(cls, plan: FederationPlan) -> Self:
        """The usual audit of a plan's mode, with the plan's own sampling, momentum, local steps and grid.

        At most 50 local steps and 2^18 units of the grid, so that it takes seconds and fits the digits: the noise is
        calibrated for these, and the code that runs is the same.
        """
        return replace(
            cls.of_mode(Mode(plan.mode)),
            local_steps=min(plan.local_steps, _MOST_STEPS),
            sampling_rate_ppm=plan.sampling_rate_ppm,
            momentum_milli=plan.momentum_milli,
            clip_units=min(plan.clip_units, _MOST_CLIP_UNITS),
        )

    @property
    def guesses(self) -> int:
        """How many canaries are guessed, an even number: a fifth, in client mode half of the fewer there are."""
        return 2 * max(1, self.canaries // _GUESSED[self.mode] // 2)

    def plan(self) -> FederationPlan:
        """The plan of the audit: one softmax layer of two classes, with a feature for each canary.

        Only as many clients take part as the plan demands of a sum: then the noise is exactly what is accounted, and
        that the noise of the absent is made up for is audited too.

        Raises:
            ValueError, CapacityError: no plan has such settings.
        """
        clients = -(-10 * self.canaries // 7) if self.mode == Mode.CLIENT else _CLIENTS
        training = Training(
            record_shape=(self.canaries,),
            classes=2,
            records=max(self.canaries, clients),
            mode=self.mode,
            rounds=self.rounds,
            local_steps=self.local_steps,
            sampling_rate_ppm=self.sampling_rate_ppm,
            clip_norm_micro=_CLIP_NORM_MICRO,
            momentum_milli=self.momentum_milli,
            clip_units=self.clip_units,
            value_bits=_LOCAL_VALUE_BITS,
        )
        plan = FederationPlan.create(
            "privacy-audit",
            mode=self.mode,
            clients=clients,
            rounds=self.rounds,
            epsilon=CLAIMED_EPSILON_MILLI / 1000,
            delta=CLAIMED_DELTA_E12 / 10**12,
            minimum_clients=self.canaries if self.mode == Mode.CLIENT else 7,
            colluders=0,
            training=training,
        )
        plan = replace(plan, learning_rate_micro=_LEARNING_RATE_MICRO)
        if self.mode == Mode.CLIENT:  # room for what code without clipping would send, so that the audit sees it
            grid = Grid(_CLIENT_VALUE_BITS, 0)
            return replace(plan, value_bits=grid.value_bits, digit_width=digit_width(grid, plan.clients))
        if self.mode == Mode.DISTRIBUTED:
            return plan
        noise = math.sqrt(float(plan.mechanism.noise_variance_units) * plan.local_steps)
        step = _LEARNING_RATE_MICRO / 1_000_000 * plan.unit / plan.expected_batch
        finest = math.ceil(_NOISE_BITS - math.log2(noise * step))
        return replace(plan, step_bits=max(0, min(finest, _FINEST_GRID_BITS)))
