"""How much privacy a client has spent on one data set: a hash-chained file that only grows.

Spec: dp §5.7 (v1). `reserve` is on disk before a record is read. One reservation allows one release: the update of one
round is persisted once, create-only, and only persisted bytes are ever sent, so work that a crash lost before it was
persisted has told nobody anything and may be done again under the same reservation. Every reservation counts, used or
not. A torn last line was never acknowledged and is cut; a chain broken anywhere else stops the client.

File: one canonical JSON line an event, each with the SHA-256 of the line before it.
"""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from ledger import StoreError, create_durably
from ledger.locking import WriterLock
from protocols.dp import PrivacyEvent, gate

from .errors import ChainError, StateError

__all__ = ["FileOdometer", "MemoryOdometer", "Odometer", "Reservation"]

_MAX_BYTES: Final = 64 << 20
_START: Final = bytes(32)
_RUN_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Reservation:
    """The privacy of one round of one run, reserved. `head` is the chain's hash including it.

    `run` is the 32-byte genesis hash of the federation: several runs on the same records share one odometer.
    """

    run: bytes
    round: int
    event: PrivacyEvent
    head: bytes


class Odometer(Protocol):
    """The spending of one client on one data set."""

    @property
    def reservations(self) -> tuple[Reservation, ...]:
        """All reservations, in order."""
        ...

    def reserve(self, run: bytes, round_number: int, event: PrivacyEvent) -> Reservation:
        """Reserve durably, or return the reservation this round of this run has.

        Raises:
            PrivacyError: the budget would be exceeded; nothing is reserved.
            StateError: the round has a reservation for another mechanism.
        """
        ...


class _Chain:
    """The rules of the chain, without a file."""

    def __init__(self, *, unit: str, epsilon: float, delta: float, dim: int) -> None:
        self._epsilon, self._delta, self._dim = epsilon, delta, dim
        self._unit = unit
        self._head = hashlib.sha256(_START + unit.encode()).digest()
        self._reservations: list[Reservation] = []

    @property
    def reservations(self) -> tuple[Reservation, ...]:
        return tuple(self._reservations)

    def reserve(self, run: bytes, round_number: int, event: PrivacyEvent) -> Reservation:
        for reservation in self._reservations:
            if (reservation.run, reservation.round) == (run, round_number):
                if reservation.event != event:
                    raise StateError(f"round {round_number} has a reservation for another mechanism")
                return reservation
        events = [r.event for r in self._reservations] + [event]
        gate(events, epsilon_budget=self._epsilon, delta=self._delta, dim=self._dim)
        line = self._line(run, round_number, event)
        reservation = Reservation(run, round_number, event, hashlib.sha256(line).digest())
        self._persist(line)
        self._head = reservation.head
        self._reservations.append(reservation)
        return reservation

    def _line(self, run: bytes, round_number: int, event: PrivacyEvent) -> bytes:
        record = {
            "noise_multiplier_milli": event.noise_multiplier_milli,
            "previous": self._head.hex(),
            "round": round_number,
            "run": run.hex(),
            "sampling_rate_ppm": event.sampling_rate_ppm,
            "steps": event.steps,
            "unit": self._unit,
        }
        return json.dumps(record, sort_keys=True, separators=(",", ":")).encode() + b"\n"

    def _persist(self, line: bytes) -> None:
        """Nothing to do in memory."""

    def _replay(self, line: bytes, number: int) -> None:
        """Take one line of a file back in; it must be the one line that can stand here."""
        try:
            record = json.loads(line)
            event = PrivacyEvent(record["noise_multiplier_milli"], record["sampling_rate_ppm"], record["steps"])
            run, round_number = bytes.fromhex(record["run"]), record["round"]
            if type(round_number) is not int or len(run) != _RUN_BYTES or self._line(run, round_number, event) != line:
                raise ValueError("the line does not continue the chain")
        except (ValueError, KeyError, TypeError, RecursionError) as exc:
            raise ChainError(
                f"the odometer is broken at line {number}: {exc}; restore the newest copy, do not edit or delete it"
            ) from exc
        self._head = hashlib.sha256(line).digest()
        self._reservations.append(Reservation(run, round_number, event, self._head))


class MemoryOdometer(_Chain):
    """An odometer in memory: for tests and simulations, where nothing outlives the process."""


class FileOdometer(_Chain):
    """An odometer in a file, locked against a second process while it is open."""

    def __init__(self, path: Path, *, unit: str, epsilon: float, delta: float, dim: int) -> None:
        super().__init__(unit=unit, epsilon=epsilon, delta=delta, dim=dim)
        self._path = path
        self._lock = WriterLock(path.with_name(path.name + ".lock"))
        self._failed = False
        try:
            create_durably(path, b"", mode=0o600)
            self._read()
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o600)
        except BaseException:
            self._lock.release()
            raise

    def _read(self) -> None:
        if self._path.stat().st_size > _MAX_BYTES:
            raise ChainError(f"{self._path} is larger than {_MAX_BYTES} bytes")
        data = self._path.read_bytes()
        whole = data.rfind(b"\n") + 1
        for number, line in enumerate(data[:whole].splitlines(keepends=True), start=1):
            self._replay(line, number)
        if whole < len(data):  # a torn last line was never acknowledged
            with open(self._path, "r+b") as file:
                file.truncate(whole)
                os.fsync(file.fileno())

    def _persist(self, line: bytes) -> None:
        if self._failed:
            raise StateError(f"{self._path}: an earlier write failed; close it and open it again")
        try:
            left = memoryview(line)
            while left:
                left = left[os.write(self._file, left) :]
            os.fsync(self._file)
        except BaseException as exc:
            self._failed = True  # nobody knows what is on disk now; opening the file again finds out
            if not isinstance(exc, OSError):
                raise
            raise StoreError(
                f"{self._path}: the reservation could not be written ({exc.strerror}); free space and start again"
            ) from exc

    def close(self) -> None:
        """Close the file and let go of the lock."""
        os.close(self._file)
        self._lock.release()
