"""The privacy of a whole run, planned before it: who holds which part of the noise, and what may go wrong.

Spec: dp §6 (v1).
"""

import math
from dataclasses import dataclass, replace
from enum import IntEnum
from fractions import Fraction

from .accounting import check_delta, epsilon_pld, epsilon_rdp
from .budget import calibrate
from .events import MAX_STEPS, PrivacyEvent
from .integers import check_int
from .mechanism import MAX_SHARES, PPM
from .noise import MAX_DIM

__all__ = ["Mode", "PrivacyPlan"]

_MAX_CLIENTS = 1 << 20


class Mode(IntEnum):
    """Who adds the noise, and to what.

    LOCAL: each client's releases hold all of the noise; unit: a record. DISTRIBUTED: each client adds a share of the
    noise to its clipped gradients, and only the sum is opened; unit: a record. CLIENT: the same with a client's whole
    clipped update; unit: a client.
    """

    LOCAL = 0
    DISTRIBUTED = 1
    CLIENT = 2


@dataclass(frozen=True, slots=True)
class PrivacyPlan:
    """Everything that epsilon of a run depends on. Public.

    `honest_minimum`: honest clients whose shares must be in a sum before it is opened; their noise alone is all that
    is counted. `colluders`: clients that may take their share out again, having told each other. So a sum of fewer than
    `minimum_contributors` contributors is not opened.

    Raises:
        TypeError, ValueError: a field is out of range, or the fields contradict each other.
    """

    mode: Mode
    epsilon: float
    delta: float
    rounds: int
    steps: int
    sampling_rate_ppm: int
    noise_multiplier_milli: int
    clients: int
    honest_minimum: int
    colluders: int
    dim: int

    def __post_init__(self) -> None:
        if not isinstance(self.mode, Mode):
            raise TypeError("mode must be a Mode")
        if not (math.isfinite(self.epsilon) and self.epsilon > 0):
            raise ValueError("epsilon must be finite and positive")
        check_delta(self.delta)
        check_int("rounds", self.rounds, 1, MAX_STEPS)
        check_int("steps", self.steps, 1, MAX_STEPS)
        check_int("rounds * steps", self.rounds * self.steps, 1, MAX_STEPS)
        check_int("clients", self.clients, 1, _MAX_CLIENTS)
        check_int("honest_minimum", self.honest_minimum, 1, MAX_SHARES)
        check_int("colluders", self.colluders, 0, self.clients - 1)
        check_int("dim", self.dim, 1, MAX_DIM)
        if self.mode is not Mode.LOCAL and self.steps != 1:
            raise ValueError("where clients share the noise, a round is one step")
        if self.mode is Mode.LOCAL and self.honest_minimum != 1:
            raise ValueError("in local mode each client adds all of the noise: honest_minimum must be 1")
        if self.mode is Mode.CLIENT and self.sampling_rate_ppm != PPM:
            raise ValueError("in client mode who takes part is public: the sampling rate must be 1")
        if self.minimum_contributors > self.clients:
            raise ValueError(
                f"{self.honest_minimum} honest clients and {self.colluders} colluders are more than the "
                f"{self.clients} clients there are"
            )
        _ = self.round_event

    @classmethod
    def solve(
        cls,
        *,
        epsilon: float,
        delta: float,
        rounds: int,
        q: float = 1.0,
        clients: int,
        honest_min: int | None = None,
        colluders: int = 0,
        mode: Mode = Mode.DISTRIBUTED,
        steps: int = 1,
        dim: int = MAX_DIM,
    ) -> "PrivacyPlan":
        """The plan with the least noise whose whole schedule costs at most `epsilon` at `delta`.

        `q`: the sampling rate, rounded up to millionths. `honest_min`: by default seven tenths of the
        clients without the colluders, so that three tenths may drop out of any round; 1 in local mode.

        Raises:
            TypeError, ValueError: an argument is out of range, or no noise is enough.
        """
        if not 0 < q <= 1:
            raise ValueError("the sampling rate q must be above 0 and at most 1")
        if honest_min is None:
            honest_min = 1 if mode is Mode.LOCAL else max(1, clients - 3 * clients // 10 - colluders)
        rate = math.ceil(Fraction(str(q)) * PPM)
        check_int("rounds", rounds, 1, MAX_STEPS)
        check_int("steps", steps, 1, MAX_STEPS)
        noise = calibrate(epsilon=epsilon, delta=delta, sampling_rate_ppm=rate, steps=rounds * steps, dim=dim)
        return cls(mode, epsilon, delta, rounds, steps, rate, noise, clients, honest_min, colluders, dim)

    @property
    def shares(self) -> int:
        """Into how many equal shares the noise of a release is divided."""
        return self.honest_minimum

    @property
    def minimum_contributors(self) -> int:
        """A sum of fewer contributors must not be opened."""
        return self.honest_minimum + self.colluders

    @property
    def round_event(self) -> PrivacyEvent:
        """What one round is charged."""
        return PrivacyEvent(self.noise_multiplier_milli, self.sampling_rate_ppm, self.steps)

    @property
    def schedule(self) -> tuple[PrivacyEvent, ...]:
        """What every round of the run is charged."""
        return (self.round_event,) * self.rounds

    @property
    def share_noise_multiplier(self) -> float:
        """Standard deviation of one client's noise, over the clip bound."""
        return self.noise_multiplier_milli / 1000 / math.sqrt(self.shares)

    def spent(self, rounds: int | None = None) -> float:
        """Epsilon after so many rounds (all, by default), numerically tight."""
        return epsilon_pld(self._events(self.round_event, rounds), self.delta, dim=self.dim)

    def spent_formal(self, rounds: int | None = None) -> float:
        """The same by Renyi accounting: looser, and a theorem."""
        return epsilon_rdp(self._events(self.round_event, rounds), self.delta, dim=self.dim)

    def naive_epsilon(self, survivors: int, rounds: int | None = None) -> float:
        """Epsilon if in each round only so many honest clients' shares were in the sum that is opened.

        Below `honest_minimum` it is above what was planned: that is why such sums stay closed. With 1, it is what a
        client pays whose vector is opened alone.

        Raises:
            TypeError, ValueError: `survivors` or `rounds` is out of range.
        """
        check_int("survivors", survivors, 0, self.clients)
        if survivors >= self.shares:
            return self.spent(rounds)
        try:
            event = self.round_event.with_shares(survivors, self.shares)
        except ValueError:  # less noise than any accountant here takes
            return math.inf if rounds != 0 else 0.0
        return epsilon_pld(self._events(event, rounds), self.delta, dim=self.dim)

    def _events(self, event: PrivacyEvent, rounds: int | None) -> tuple[PrivacyEvent, ...]:
        rounds = self.rounds if rounds is None else rounds
        check_int("rounds", rounds, 0, self.rounds)
        return (replace(event, steps=rounds * self.steps),) if rounds else ()
