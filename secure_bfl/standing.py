"""Which signing keys a party has had, and whether the newest one counts.

Spec: round §3.4 (v1).
"""

from dataclasses import dataclass, field

__all__ = ["SigningKeyRecord", "Standing"]


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
    is about a lineage. `ballots` says who voted for what about it: to revoke it (empty bytes), or to have this new key
    instead.
    """

    keys: list[SigningKeyRecord] = field(default_factory=list)
    lineage: int = 0
    ballots: dict[bytes, tuple[str, ...]] = field(default_factory=dict)

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
        """The whole lineage is revoked."""
        for key in self.keys[self.lineage :]:
            key.revoked = True
            key.until = index if key.until is None else key.until
        self.ballots.pop(b"", None)

    def admit(self, public: bytes, index: int) -> None:
        """A new lineage begins; if an earlier one is in force, this ends it."""
        if self.keys and self.in_force:
            self.newest.until = index
        self.keys.append(SigningKeyRecord(public, index))
        self.lineage = self.number
        self.ballots.clear()
