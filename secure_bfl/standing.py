"""Which signing keys a party has had, and whether the newest one counts.

Spec: round §3.4 (v1).
"""

from collections.abc import Container
from dataclasses import dataclass, field
from typing import Final

from .party_messages import KeyRevocation

__all__ = ["MAX_ROTATIONS", "SigningKeyRecord", "Standing"]

MAX_ROTATIONS: Final = 32  # of one lineage; after them the members vote for a key, which begins another


@dataclass(slots=True)
class SigningKeyRecord:
    """One signing key of a party: it counts for the entries after `since` up to and with `until`."""

    public: bytes
    since: int
    until: int | None = None
    revoked: bool = False


@dataclass(slots=True)
class Standing:
    """The signing keys of one party, numbered from 0, in the order in which they came.

    `lineage` is the number of the key that was admitted last, by the genesis entry, a committee change or a vote; the
    keys after it were each signed in by the one before, so whoever held that one may have made them. A vote therefore
    is about a lineage. `ballots` says for what each voter is now: to revoke it (empty bytes), or to have this new key
    instead. `heard` are all votes about it, so that one which was changed since does not count again when it is copied.
    """

    keys: list[SigningKeyRecord] = field(default_factory=list)
    lineage: int = 0
    ballots: dict[str, bytes] = field(default_factory=dict)
    heard: set[tuple[str, KeyRevocation]] = field(default_factory=set)

    @property
    def number(self) -> int:
        """The number of the newest key."""
        return len(self.keys) - 1

    @property
    def newest(self) -> SigningKeyRecord:
        """The newest key."""
        return self.keys[-1]

    @property
    def in_force(self) -> bool:
        """Whether the newest key counts."""
        return self.newest.until is None

    def rotate(self, public: bytes, index: int) -> None:
        """The newest key is replaced by one that it signed in. Votes about the lineage stay."""
        self.newest.until = index
        self.keys.append(SigningKeyRecord(public, index))

    def revoke(self, index: int) -> None:
        """The whole lineage is revoked. Votes for a key that was claimed before lapse: a thief may have it as well."""
        for key in self.keys[self.lineage :]:
            key.revoked = True
            key.until = index if key.until is None else key.until
        self.ballots.clear()

    def admit(self, public: bytes, index: int) -> None:
        """A new lineage begins; if an earlier one is in force, this ends it."""
        if self.keys and self.in_force:
            self.newest.until = index
        self.keys.append(SigningKeyRecord(public, index))
        self.lineage = self.number
        self.ballots.clear()
        self.heard.clear()

    def support(self, outcome: bytes, voters: Container[str]) -> int:
        """How many of these voters are for this outcome now."""
        return sum(name in voters and ballot == outcome for name, ballot in self.ballots.items())
