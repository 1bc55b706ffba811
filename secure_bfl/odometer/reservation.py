"""What an odometer promises a client. `MemoryOdometer` and `FileOdometer` keep the promise."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from protocols.dp import PrivacyEvent

__all__ = ["Odometer", "Reservation"]


@dataclass(frozen=True, slots=True)
class Reservation:
    """The privacy of one round of one run, reserved. `head` is the chain's hash including the reservation.

    `run` is the 32-byte genesis hash of the federation. `upload` is the SHA-256 of the one ciphertext that may be sent,
    None until it is persisted; `size` is its size in bytes. `index` is where the ledger commits to it, None until then.
    """

    run: bytes
    round: int
    event: PrivacyEvent
    head: bytes
    upload: bytes | None = None
    size: int = 0
    index: int | None = None


class Odometer(Protocol):
    """The spending of one client on one data set, in one unit of privacy. Every call is durable when it returns."""

    @property
    def unit(self) -> str:
        """Whose spending it counts: that of a `record`, or of a `client`."""
        ...

    @property
    def reservations(self) -> tuple[Reservation, ...]:
        """All reservations of all runs, in order."""
        ...

    def find(self, run: bytes, round_number: int) -> Reservation | None:
        """The reservation of a round, or None."""
        ...

    def begin(self, run: bytes, schedule: Iterable[PrivacyEvent]) -> None:
        """Commit to all that a run may ever reserve, before its first round; the same again is fine.

        As long as only one run has reserved anything, the tight value of its schedule gates every step. From the second
        run on all spending is gated by the Renyi value: its schedule may depend on what the first one released. So a
        first run whose schedule fits the budget by the tight value only, as one mostly does that was planned for the
        whole budget, forbids all later ones on these records, unless the budget is raised.

        The budget is that of the data set. A committee compares what all runs together have spent with the epsilon of
        its own run's plan: plan a second run with the data set's budget as its epsilon, and noise that leaves room for
        what the first one spent, or expect to be left out of its rounds.

        Raises:
            PrivacyError: the budget does not even allow one step of the run; nothing is written.
            StateError: the run was begun with another schedule.
            ValueError: the schedule is empty or has too many mechanisms.
        """
        ...

    def reserve(self, run: bytes, round_number: int, event: PrivacyEvent) -> Reservation:
        """Reserve, or return the reservation this round of this run has.

        Raises:
            PrivacyError: the budget would be exceeded; nothing is reserved.
            StateError: the run was not begun, its schedule has no room for the event, or the round has a reservation
                for another mechanism.
        """
        ...

    def persist(self, run: bytes, round_number: int, upload: bytes, size: int) -> Reservation:
        """Tie a reservation to the one ciphertext that may be sent for it; the same again is fine.

        Raises:
            StateError: the round has no reservation, or is tied to another ciphertext; or the ciphertext is another
                round's.
        """
        ...

    def commit(self, run: bytes, round_number: int, index: int) -> Reservation:
        """Note which entry of the ledger commits to the ciphertext; the same again is fine.

        Another index is one more line: a log that lost its end before that was certified has the entry written again.

        Raises:
            StateError: nothing was persisted for the round.
        """
        ...

    def others(self, run: bytes) -> tuple[PrivacyEvent, ...]:
        """What all other runs on these records have reserved, one event for each mechanism, in order."""
        ...
