"""What makes a plan impossible: capacity, privacy or security, each refused with the numbers before anything runs.

Spec: round §1 (v1).
"""

import math
import re
from typing import TYPE_CHECKING, Final

from protocols.dp import MAX_DIM, MAX_EPSILON, Mode
from protocols.errors import CapacityError
from protocols.packing import digit_width

if TYPE_CHECKING:
    from .plan import FederationPlan

__all__ = [
    "MAX_CLIENTS",
    "MAX_DIGIT_WIDTH",
    "MAX_ROUNDS",
    "MIN_CLIENTS",
    "check_clients",
    "check_minimum",
    "require_feasible",
]

MIN_CLIENTS: Final = 2
MAX_CLIENTS: Final = 1000
MAX_ROUNDS: Final = 100_000
MAX_DIGIT_WIDTH: Final = 48
_GENESIS_BYTES: Final = 64_000  # the genesis entry names every party; an entry has at most 65,535 bytes
_MEMBER_BYTES: Final = 1_315  # a member and its keys, of which the sealing key has 1,216 bytes
_CLIENT_BYTES: Final = 52
_PLAN_BYTES: Final = 500  # what any plan takes without its tensors: 64,000 leaves room for so much
_MIN_DELTA_E12: Final = 100
_MAX_TOTAL_STEPS: Final = 1_000_000
_MAX_ANSWERS: Final = 70  # the most that any sharing has
_MAX_COMMITTEE_CHANGES: Final = 1000
_MAX_TENSORS: Final = 512
_MAX_RECORD_SIDES: Final = 4
_MAX_RECORD_VALUES: Final = 1 << 24
_MAX_SENTINELS: Final = 1 << 16
_MAX_ENERGY: Final = 1 << 60  # an eighth of the largest integer of an entry: chance never reaches that
_SLUG: Final = re.compile(r"[a-z0-9-]{1,64}")


def require_feasible(plan: "FederationPlan") -> None:
    """Refuse a plan that cannot be. Whether its noise fits its budget, `FederationPlan.require_budget` tells.

    Raises:
        ValueError: a field is out of range, or two do not go together.
        CapacityError: the digits, the ring, the grid or the smudging cannot hold what is asked.
    """
    check_clients(plan.clients)
    _check_genesis(plan)
    _check_schedule(plan)
    _check_model(plan)
    _check_mode(plan)
    _check_digits(plan)
    _ = plan.mechanism, plan.layout  # both refuse what cannot be
    if plan.mode != Mode.LOCAL and plan.limit < plan.clip_units:
        raise CapacityError(
            f"values of {plan.value_bits} bits have no room for the noise and one clipped gradient of "
            f"{plan.clip_units} units: more value bits, fewer clip_units, or more honest clients"
        )
    if plan.sentinels * plan.sentinel_variance(plan.clients) > _MAX_ENERGY:
        raise CapacityError(
            f"the squares of {plan.sentinels} sentinels would not fit an entry: fewer sentinels or fewer clip_units"
        )
    plan.noise_budget.require(plan.coefficients_opened, tests=plan.dry_runs)


def check_clients(clients: int) -> None:
    """Refuse a number of clients that no federation has. Raises ValueError."""
    if clients < MIN_CLIENTS:
        raise ValueError(
            f"a federation needs at least {MIN_CLIENTS} clients, not {clients}: "
            "with one client the opened sum would be that client's own update"
        )
    if clients > MAX_CLIENTS:
        raise ValueError(f"a federation has at most {MAX_CLIENTS} clients, not {clients}: its genesis names every one")


def check_minimum(minimum: int, clients: int) -> None:
    """Refuse a least sum of one client, or of more than there are. Raises ValueError."""
    if not MIN_CLIENTS <= minimum <= clients:
        raise ValueError(f"minimum_clients must be {MIN_CLIENTS} to {clients}, not {minimum}")


def _check_genesis(plan: "FederationPlan") -> None:
    tensors = max(0, sum(len(tensor.name) + 4 + 4 * len(tensor.shape) for tensor in plan.tensors) - _PLAN_BYTES)
    room = _GENESIS_BYTES - plan.members * _MEMBER_BYTES - tensors
    if plan.clients * _CLIENT_BYTES > room:
        raise ValueError(
            f"{plan.clients} clients and {plan.members} members do not fit the genesis entry, which names every one of "
            f"them with its keys: at most {max(0, room // _CLIENT_BYTES)} clients with so many members"
        )


def _check_schedule(plan: "FederationPlan") -> None:
    check_minimum(plan.minimum_clients, plan.clients)
    if not 1 <= plan.rounds <= MAX_ROUNDS:
        raise ValueError(f"rounds must be 1 to {MAX_ROUNDS}, not {plan.rounds}")
    if not 1 <= plan.average_from <= plan.rounds:
        raise ValueError(f"average_from must be one of the {plan.rounds} rounds, not {plan.average_from}")
    if plan.local_steps < 1 or plan.rounds * plan.local_steps > _MAX_TOTAL_STEPS:
        raise ValueError(
            f"a run has 1 to {_MAX_TOTAL_STEPS} steps in all, not {plan.rounds} rounds of {plan.local_steps} steps"
        )
    if plan.learning_rate_micro < 1 or not 0 <= plan.momentum_milli < 1000:
        raise ValueError("the learning rate must be positive and the momentum in [0, 1)")
    if not 1 <= plan.epsilon_milli <= 1000 * MAX_EPSILON or not _MIN_DELTA_E12 <= plan.delta_e12 < 10**12:
        raise ValueError(f"epsilon must be above 0 and at most {MAX_EPSILON:g}, and delta at least 1e-10 and below 1")


def _check_model(plan: "FederationPlan") -> None:
    if not _SLUG.fullmatch(plan.dataset):
        raise ValueError("a dataset's name is 1 to 64 lower-case letters, digits and hyphens")
    if plan.classes < 2 or plan.expected_batch < 1:
        raise ValueError("a plan has at least two classes, and an expected batch of at least one record")
    if not 1 <= len(plan.tensors) <= _MAX_TENSORS or len({t.name for t in plan.tensors}) != len(plan.tensors):
        raise ValueError(f"a model has 1 to {_MAX_TENSORS} tensors, each with a name of its own")
    if not 0 <= plan.sentinels <= _MAX_SENTINELS:
        raise ValueError(f"sentinels must be 0 to {_MAX_SENTINELS}, not {plan.sentinels}")
    if plan.values > MAX_DIM:
        raise ValueError(f"a model has at most {MAX_DIM - plan.sentinels} parameters, not {plan.parameters}")
    sides, size = plan.record_shape, math.prod(plan.record_shape)
    if not 1 <= len(sides) <= _MAX_RECORD_SIDES or min(sides) < 1 or size > _MAX_RECORD_VALUES:
        raise ValueError(f"a record has 1 to {_MAX_RECORD_SIDES} sides and at most 2^24 values, not {sides}")


def _check_mode(plan: "FederationPlan") -> None:
    """What each mode calls for: dp §2."""
    if plan.mode not in set(Mode):
        raise ValueError(f"mode {plan.mode} is unknown")
    if plan.mode == Mode.LOCAL:
        if (plan.honest_minimum, plan.colluders) != (1, 0):
            raise ValueError("in local mode every client adds all the noise: honest_minimum is 1, colluders is 0")
        return
    if plan.honest_minimum < 1 or plan.colluders < 0:
        raise ValueError("honest_minimum must be at least 1, and colluders at least 0")
    if plan.minimum_clients < plan.honest_minimum + plan.colluders:
        raise ValueError(
            f"a sum of {plan.minimum_clients} clients, {plan.colluders} of them colluders, holds less noise than "
            f"{plan.honest_minimum} honest clients add: minimum_clients must be at least "
            f"{plan.honest_minimum + plan.colluders}"
        )
    if plan.step_bits != 0:
        raise ValueError("updates of this mode are integers of the mechanism's own grid: step_bits must be 0")
    if plan.mode == Mode.DISTRIBUTED and plan.local_steps != 1:
        raise ValueError("distributed mode takes one step a round: local_steps must be 1")
    if plan.mode == Mode.CLIENT and plan.sampling_rate_ppm != 1_000_000:
        raise ValueError("client mode does not sample: who takes part is public on the ledger")


def _check_digits(plan: "FederationPlan") -> None:
    needed = digit_width(plan.grid, plan.clients)
    if not needed <= plan.digit_width <= MAX_DIGIT_WIDTH:
        raise CapacityError(
            f"{plan.clients} clients of {plan.value_bits}-bit values need digits of {needed} bits, the plan has "
            f"{plan.digit_width}: fewer clients, fewer value bits, or wider digits (at most {MAX_DIGIT_WIDTH})"
        )
    if not plan.sharing.answers <= plan.answers <= _MAX_ANSWERS:
        raise CapacityError(
            f"an opening of this committee holds {plan.sharing.answers} smudging noises; the plan must leave room "
            f"for so many and at most {_MAX_ANSWERS}, not {plan.answers}"
        )
    if not 0 <= plan.committee_changes <= _MAX_COMMITTEE_CHANGES:
        raise ValueError(f"committee_changes must be 0 to {_MAX_COMMITTEE_CHANGES}, not {plan.committee_changes}")
    if plan.checksum_digit not in (0, 1):
        raise ValueError(f"checksum_digit must be 0 or 1, not {plan.checksum_digit}")
