"""Who takes part, under which keys: what the genesis entry fixes.

Spec: round §2.1 (v1).
"""

from dataclasses import dataclass
from typing import Self

from ledger import COSIGNATURE_V1, ED25519, DecodeError, Policy, VerifierKey, byzantine_quorum

from .messages import Genesis, Party, Role
from .plan import FederationPlan
from .sealing import check_public_key

__all__ = ["OPERATOR", "Roster", "certificate_quorum", "client_name", "member_name", "member_number"]

OPERATOR = "operator"


def client_name(number: int) -> str:
    """The name of a client, numbered from 1."""
    return f"client-{number}"


def member_name(number: int) -> str:
    """The name of a committee member, numbered from 1."""
    return f"member-{number}"


def member_number(name: str) -> int:
    """The number in a member's name."""
    return int(name.removeprefix("member-"))


def certificate_quorum(members: int, threshold: int) -> int:
    """Members whose votes and cosignatures a sum needs before it is opened.

    At least the Byzantine quorum n - f; and so many that two quorums always share a member outside any t - 1, since
    t - 1 dishonest members who sign two forks of the log could otherwise have two overlapping sums opened.
    """
    return max(byzantine_quorum(members), (members + threshold - 1) // 2 + 1)


@dataclass(frozen=True, slots=True)
class Roster:
    """The plan, the parties and the policy that verifies certificates. Built from a genesis entry only."""

    origin: str
    plan: FederationPlan
    parties: dict[str, Party]
    policy: Policy

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
            notes = 0 if party.role is Role.CLIENT else 32
            if len(party.note_key) != notes or bool(party.sealing_key) != (party.role is Role.MEMBER):
                raise DecodeError(f"{party.name} lacks a key, or has one that its role does not use")
            if party.sealing_key:
                try:
                    check_public_key(party.sealing_key)
                except ValueError as exc:
                    raise DecodeError(f"{party.name}: {exc}") from exc
        if len({party.signing_key for party in parties.values()}) != len(parties):
            raise DecodeError("two parties share a signing key")
        witnesses = tuple(
            VerifierKey(member_name(i), COSIGNATURE_V1, parties[member_name(i)].note_key)
            for i in range(1, plan.members + 1)
        )
        log_key = VerifierKey(genesis.origin, ED25519, parties[OPERATOR].note_key)
        quorum = certificate_quorum(plan.members, plan.threshold)
        return cls(genesis.origin, plan, parties, Policy(genesis.origin, log_key, witnesses, quorum=quorum))

    def party(self, name: str) -> Party | None:
        """A party by name, or None."""
        return self.parties.get(name)

    @property
    def members(self) -> tuple[str, ...]:
        """The members' names, in order."""
        return tuple(member_name(i) for i in range(1, self.plan.members + 1))

    @property
    def clients(self) -> tuple[str, ...]:
        """The clients' names, in order."""
        return tuple(client_name(i) for i in range(1, self.plan.clients + 1))
