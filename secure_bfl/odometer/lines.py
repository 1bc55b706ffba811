"""The lines of an odometer's chain, and the one spelling of each.

A line is canonical JSON (sorted keys, no spaces, ASCII, integers and text only) and ends with a line feed. `previous`
is the SHA-256 of the line before it, so no line can be changed, taken out or put in without breaking all that follow.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Self

from protocols.dp import MAX_DIM, PrivacyEvent
from protocols.dp.events import merged
from protocols.dp.integers import check_int

from .budget import Budget, Record, check_bytes, check_text, check_unit

__all__ = [
    "IDENTITY_BYTES",
    "MAX_LINE_BYTES",
    "START",
    "Beginning",
    "BudgetChange",
    "Commitment",
    "Line",
    "Opening",
    "Persistence",
    "Reserving",
    "decode_line",
    "encode_line",
    "line_hash",
]

START: Final = bytes(32)
"""What the first line names as the line before it."""

MAX_LINE_BYTES: Final = 1 << 16
IDENTITY_BYTES: Final = 16
_MAX_INT: Final = (1 << 63) - 1
_MAX_MECHANISMS: Final = 512  # distinct ones in one schedule: they fit one line


@dataclass(frozen=True, slots=True)
class Opening:
    """The first line. `identity` is random, so two chains never have a line in common."""

    kind: ClassVar = "open"
    dataset: str
    unit: str
    budget: Budget
    identity: bytes

    def __post_init__(self) -> None:
        check_text("dataset", self.dataset)
        check_unit(self.unit)
        check_bytes("identity", self.identity, IDENTITY_BYTES)

    def to_record(self) -> Record:
        """The fields, for JSON."""
        return {
            "dataset": self.dataset,
            "identity": self.identity.hex(),
            "unit": self.unit,
            "version": 1,
            **self.budget.to_record(),
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Check and build."""
        if record["version"] != 1:
            raise ValueError("the version is not 1")
        identity = bytes.fromhex(record["identity"])
        return cls(record["dataset"], record["unit"], Budget(record["epsilon_micro"], record["delta_e12"]), identity)


@dataclass(frozen=True, slots=True)
class BudgetChange:
    """From here on the budget is another one. `reason` says who decided it and why."""

    kind: ClassVar = "budget"
    budget: Budget
    reason: str

    def __post_init__(self) -> None:
        check_text("reason", self.reason)

    def to_record(self) -> Record:
        """The fields, for JSON."""
        return {"reason": self.reason, **self.budget.to_record()}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Check and build."""
        return cls(Budget(record["epsilon_micro"], record["delta_e12"]), record["reason"])


@dataclass(frozen=True, slots=True)
class Beginning:
    """A run begins: all that it may ever reserve, and how many coordinates one of its releases has (`dim`).

    `run` is the 32-byte genesis hash of the federation. `schedule` has one event for each mechanism, in order.
    """

    kind: ClassVar = "begin"
    run: bytes
    schedule: tuple[PrivacyEvent, ...]
    dim: int

    def __post_init__(self) -> None:
        check_bytes("run", self.run)
        check_int("dim", self.dim, 1, MAX_DIM)
        if not 1 <= len(self.schedule) <= _MAX_MECHANISMS:
            raise ValueError(f"a schedule has 1 to {_MAX_MECHANISMS} distinct mechanisms, not {len(self.schedule)}")
        if self.schedule != merged(self.schedule):
            raise ValueError("a schedule has one event for each mechanism, in order")

    def to_record(self) -> Record:
        """The fields, for JSON."""
        return {"dim": self.dim, "run": self.run.hex(), "schedule": [_event_record(event) for event in self.schedule]}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Check and build."""
        schedule = tuple(_event(item) for item in record["schedule"][: _MAX_MECHANISMS + 1])
        return cls(bytes.fromhex(record["run"]), schedule, record["dim"])


@dataclass(frozen=True, slots=True)
class _RoundLine:
    run: bytes
    round: int

    def __post_init__(self) -> None:
        check_bytes("run", self.run)
        check_int("round", self.round, 1, _MAX_INT)


@dataclass(frozen=True, slots=True)
class Reserving(_RoundLine):
    """The privacy of one round is spent, whether the round comes to anything or not."""

    kind: ClassVar = "reserve"
    event: PrivacyEvent

    def to_record(self) -> Record:
        """The fields, for JSON."""
        return {"event": _event_record(self.event), "round": self.round, "run": self.run.hex()}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Check and build."""
        return cls(bytes.fromhex(record["run"]), record["round"], _event(record["event"]))


@dataclass(frozen=True, slots=True)
class Persistence(_RoundLine):
    """The one ciphertext that may be sent for this round: its SHA-256 and its size in bytes."""

    kind: ClassVar = "persist"
    upload: bytes
    size: int

    def __post_init__(self) -> None:
        _RoundLine.__post_init__(self)
        check_bytes("upload", self.upload)
        check_int("size", self.size, 1, _MAX_INT)

    def to_record(self) -> Record:
        """The fields, for JSON."""
        return {"round": self.round, "run": self.run.hex(), "size": self.size, "upload": self.upload.hex()}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Check and build."""
        run, upload = bytes.fromhex(record["run"]), bytes.fromhex(record["upload"])
        return cls(run, record["round"], upload, record["size"])


@dataclass(frozen=True, slots=True)
class Commitment(_RoundLine):
    """The ciphertext is committed to, in the ledger's entry of this index."""

    kind: ClassVar = "commit"
    index: int

    def __post_init__(self) -> None:
        _RoundLine.__post_init__(self)
        check_int("index", self.index, 0, _MAX_INT)

    def to_record(self) -> Record:
        """The fields, for JSON."""
        return {"index": self.index, "round": self.round, "run": self.run.hex()}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Check and build."""
        return cls(bytes.fromhex(record["run"]), record["round"], record["index"])


Line = Opening | BudgetChange | Beginning | Reserving | Persistence | Commitment

_KINDS: Final[dict[str, type[Line]]] = {
    line.kind: line for line in (Opening, BudgetChange, Beginning, Reserving, Persistence, Commitment)
}


def _event_record(event: PrivacyEvent) -> Record:
    return {
        "noise_multiplier_milli": event.noise_multiplier_milli,
        "sampling_rate_ppm": event.sampling_rate_ppm,
        "steps": event.steps,
    }


def _event(record: Mapping[str, Any]) -> PrivacyEvent:
    return PrivacyEvent(record["noise_multiplier_milli"], record["sampling_rate_ppm"], record["steps"])


def line_hash(data: bytes) -> bytes:
    """What the line after this one names, and what a spend on the ledger shows: SHA-256 with the line feed."""
    return hashlib.sha256(data).digest()


def encode_line(line: Line, previous: bytes) -> bytes:
    """The bytes of a line that follows the one with this hash."""
    record = {"kind": line.kind, "previous": previous.hex(), **line.to_record()}
    return json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def decode_line(data: bytes, previous: bytes) -> Line:
    """Read the line that follows the one with this hash.

    Raises:
        ValueError: not the one spelling of such a line.
    """
    if len(data) > MAX_LINE_BYTES:
        raise ValueError(f"the line has more than {MAX_LINE_BYTES} bytes")
    try:
        record = json.loads(data)
        line = _KINDS[record["kind"]].from_record(record)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        raise ValueError(f"it cannot be read ({type(exc).__name__}: {str(exc)[:80]})") from exc
    if encode_line(line, previous) != data:
        raise ValueError("it does not continue the chain")
    return line
