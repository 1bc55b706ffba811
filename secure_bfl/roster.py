"""Who takes part, under which keys: what the genesis entry fixes.

Spec: round §2.1 (v1).
"""

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from typing import Self

from ledger import COSIGNATURE_V1, ED25519, DecodeError, Policy, VerifierKey, byzantine_quorum
from protocols.tckks import Sharing, share_among

from .messages import Genesis, Party, Role
from .plan import FederationPlan
from .sealing import check_public_key

__all__ = ["OPERATOR", "Committee", "Roster", "certificate_quorum", "client_name", "member_name", "member_number"]

OPERATOR = "operator"


def client_name(number: int) -> str:
    """The name of a client, numbered from 1."""
    return f"client-{number}"


def member_name(number: int, epoch: int = 0) -> str:
    """The name of a committee member, numbered from 1; a later committee's names carry its epoch."""
    return f"member-{number}" if epoch == 0 else f"member-{number}@{epoch}"


def member_number(name: str) -> int:
    """The number in a member's name."""
    return int(name.removeprefix("member-").partition("@")[0])


def certificate_quorum(members: int, threshold: int) -> int:
    """Members whose votes and cosignatures a sum needs before it is opened.

    At least the Byzantine quorum n - f; and so many that two quorums always share a member outside any t - 1, since
    t - 1 dishonest members who sign two forks of the log could otherwise have two overlapping sums opened.
    """
    return max(byzantine_quorum(members), (members + threshold - 1) // 2 + 1)


@dataclass(frozen=True, slots=True)
class Committee:
    """Who holds the key in one epoch, and whose cosignatures count. Epoch 0 is the founding committee."""

    epoch: int
    sharing: Sharing
    parties: dict[str, Party]
    policy: Policy

    @classmethod
    def of(cls, origin: str, log_key: VerifierKey, epoch: int, threshold: int, parties: tuple[Party, ...]) -> Self:
        """Check the members' keys and build the policy that their cosignatures are judged by.

        Raises:
            DecodeError: a member is misnamed, lacks a key, or two share one.
            ValueError: no committee has this size or threshold.
        """
        sharing = share_among(len(parties), threshold)
        expected = [member_name(i, epoch) for i in range(1, sharing.members + 1)]
        if [party.name for party in parties] != expected or any(p.role is not Role.MEMBER for p in parties):
            raise DecodeError(f"the members of epoch {epoch} are not {expected[0]} to {expected[-1]}, in order")
        for party in parties:
            _check_keys(party)
        _check_distinct(parties)
        witnesses = tuple(VerifierKey(party.name, COSIGNATURE_V1, party.note_key) for party in parties)
        quorum = certificate_quorum(sharing.members, threshold)
        policy = Policy(origin, log_key, witnesses, quorum=quorum)
        return cls(epoch, sharing, {party.name: party for party in parties}, policy)

    @property
    def members(self) -> tuple[str, ...]:
        """The members' names, in order."""
        return tuple(self.parties)

    def name(self, number: int) -> str:
        """A member's name."""
        return member_name(number, self.epoch)


def _check_keys(party: Party) -> None:
    notes = 0 if party.role is Role.CLIENT else 32
    if len(party.note_key) != notes or bool(party.sealing_key) != (party.role is Role.MEMBER):
        raise DecodeError(f"{party.name} lacks a key, or has one that its role does not use")
    if party.sealing_key:
        try:
            check_public_key(party.sealing_key)
        except ValueError as exc:
            raise DecodeError(f"{party.name}: {exc}") from exc


def _check_distinct(parties: Iterable[Party]) -> None:
    keys = [party.signing_key for party in parties]
    if len(set(keys)) != len(keys):
        raise DecodeError("two parties share a signing key")


@dataclass(frozen=True, slots=True)
class Roster:
    """The plan and the parties it starts with. Built from a genesis entry only."""

    origin: str
    plan: FederationPlan
    parties: dict[str, Party]
    committee: Committee
    log_key: VerifierKey

    @classmethod
    def from_genesis(cls, genesis: Genesis) -> Self:
        """Check that the parties are exactly those the plan calls for.

        Raises:
            DecodeError: a party is missing, unknown, doubled, or lacks a key.
            ValueError, CapacityError: the plan cannot be.
        """
        plan = FederationPlan.decode(genesis.plan)
        expected = {OPERATOR: Role.OPERATOR}
        expected |= {member_name(i): Role.MEMBER for i in range(1, plan.members + 1)}
        expected |= {client_name(i): Role.CLIENT for i in range(1, plan.clients + 1)}
        parties = {party.name: party for party in genesis.parties}
        if len(parties) != len(genesis.parties) or {n: p.role for n, p in parties.items()} != expected:
            raise DecodeError("the genesis entry does not name exactly the parties of its plan")
        for party in parties.values():
            _check_keys(party)
        _check_distinct(parties.values())
        log_key = VerifierKey(genesis.origin, ED25519, parties[OPERATOR].note_key)
        members = tuple(parties[member_name(i)] for i in range(1, plan.members + 1))
        committee = Committee.of(genesis.origin, log_key, 0, plan.threshold, members)
        return cls(genesis.origin, plan, parties, committee, log_key)

    def next_committee(
        self,
        epoch: int,
        threshold: int,
        parties: tuple[Party, ...],
        former: Sequence[Committee],
        used: Set[bytes] = frozenset(),
    ) -> Committee:
        """Check a later committee: the right names, and keys that nobody had before, in any of the `former` committees,
        those among them that never came into office, nor among those `used` otherwise.

        Raises:
            DecodeError, ValueError: it cannot be.
        """
        committee = Committee.of(self.origin, self.log_key, epoch, threshold, parties)
        used = used | self.used_keys(former)
        for party in parties:
            if not used.isdisjoint((party.signing_key, party.note_key, party.sealing_key)):
                raise DecodeError(f"{party.name} has a key that was used before: every epoch has fresh keys")
        return committee

    def used_keys(self, committees: Sequence[Committee]) -> frozenset[bytes]:
        """Every key of the founding parties and of these committees."""
        known = [*self.parties.values(), *(party for earlier in committees for party in earlier.parties.values())]
        return frozenset(k for party in known for k in (party.signing_key, party.note_key, party.sealing_key) if k)

    @property
    def clients(self) -> tuple[str, ...]:
        """The clients' names, in order."""
        return tuple(client_name(i) for i in range(1, self.plan.clients + 1))
