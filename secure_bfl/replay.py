"""The round machine: what a sequence of entries means. Total, deterministic, no clock.

Spec: round §3 (v1). Entries go in by index; the state comes out. An entry that is malformed, unsigned, out of role, out
of order, late or double changes nothing: it is listed with the reason, the same on every machine. The order of an
update's life is open, spend, commit, close, aggregate, votes, request, answers, checks of the answers, model.
"""

import hashlib
from dataclasses import replace

from ledger import Entry, LedgerError, Tree, leaf_hash, parse_entry, verify_entry
from protocols.errors import ProtocolError

from . import key_rules, party_rules, round_rules
from .ceremony import CeremonyState
from .messages import BODIES, Body, Genesis, Kind, Party, Role
from .roster import Committee, Roster
from .rules import Effect, RuleError, require, rule
from .standing import Standing
from .state import Audited, Ignored, RoundState

__all__ = ["CeremonyState", "Ignored", "Replay", "RoundState"]

_RULES = (key_rules, party_rules, round_rules)  # importing them registers their rules

_FORMER_KEYS = 2  # how many keys before the newest one are tried, to tell a late entry from a forged one
_ROLES: dict[Kind, Role] = {  # rotation, revocation and audits are for everybody
    Kind.GENESIS: Role.OPERATOR,
    Kind.KEY_COMMIT: Role.MEMBER,
    Kind.KEY_REVEAL: Role.MEMBER,
    Kind.KEY_CHECK: Role.MEMBER,
    Kind.KEY_ANSWER: Role.MEMBER,
    Kind.COMPLAINT: Role.MEMBER,
    Kind.KEY_ACCEPT: Role.MEMBER,
    Kind.KEY_OPEN: Role.MEMBER,
    Kind.COMMITTEE_CHANGE: Role.OPERATOR,
    Kind.KEY_DROP: Role.MEMBER,
    Kind.CHANGE_CERTIFICATE: Role.OPERATOR,
    Kind.ROUND_OPEN: Role.OPERATOR,
    Kind.BUDGET_SPEND: Role.CLIENT,
    Kind.UPDATE_COMMIT: Role.CLIENT,
    Kind.ROUND_CLOSE: Role.OPERATOR,
    Kind.AGGREGATE: Role.OPERATOR,
    Kind.AGGREGATE_VOTE: Role.MEMBER,
    Kind.DECRYPTION_REQUEST: Role.OPERATOR,
    Kind.PARTIAL_DECRYPTION: Role.MEMBER,
    Kind.MODEL: Role.OPERATOR,
    Kind.PIECE_CHECK: Role.MEMBER,
    Kind.ROUND_VOID: Role.OPERATOR,
    Kind.BLOB_RELEASE: Role.OPERATOR,
}


class Replay:
    """The state of a federation, entry by entry. Everybody runs the same one."""

    def __init__(self) -> None:
        self.roster: Roster | None = None
        self.context = b""
        self.committees: list[Committee] = []
        self.ceremonies: list[CeremonyState] = []
        self.rounds: list[RoundState] = []
        self.standings: dict[str, Standing] = {}
        self.audits: list[Audited] = []
        self.ignored: list[Ignored] = []
        self._tree = Tree()
        self.newest = b""  # SHA-256 of the entry that was applied last; an effect finds its own entry's here
        self.seen: set[bytes] = set()  # every digest that can no longer be committed as an update
        self.used: set[bytes] = set()  # every public key that somebody has or had: no new key may be one of them

    @property
    def size(self) -> int:
        """How many entries were applied."""
        return self._tree.size

    def root(self, size: int | None = None) -> bytes:
        """The Merkle root over the first `size` entries (all by default)."""
        return self._tree.root(size)

    @property
    def known(self) -> Roster:
        """The roster, once the genesis entry is in.

        Raises:
            ValueError: there is no genesis entry yet.
        """
        if self.roster is None:
            raise ValueError("the ledger has no genesis entry")
        return self.roster

    @property
    def committee(self) -> Committee:
        """Who holds the key now.

        Raises:
            ValueError: there is no genesis entry yet.
        """
        if not self.committees:
            raise ValueError("the ledger has no genesis entry")
        return self.committees[-1]

    @property
    def current(self) -> RoundState | None:
        """The newest round, or None before the first."""
        return self.rounds[-1] if self.rounds else None

    @property
    def ceremony(self) -> CeremonyState:
        """The newest ceremony: key generation, or the last committee change.

        Raises:
            ValueError: there is no genesis entry yet.
        """
        if not self.ceremonies:
            raise ValueError("the ledger has no genesis entry")
        return self.ceremonies[-1]

    def ceremony_of(self, epoch: int) -> CeremonyState:
        """The ceremony that made, or last tried to make, the committee of an epoch.

        Raises:
            ValueError: there is none.
        """
        for ceremony in reversed(self.ceremonies):
            if ceremony.epoch == epoch:
                return ceremony
        raise ValueError(f"there is no ceremony of epoch {epoch}")

    @property
    def joint_key_digest(self) -> bytes | None:
        """The joint key that every founding member pinned, or None until all did and agree. No change changes it."""
        if not self.ceremonies:
            return None
        founding = self.ceremonies[0]
        digests = {check.joint_key for check in founding.checks.values()}
        return digests.pop() if founding.everyone_in(founding.checks) and len(digests) == 1 else None

    @property
    def key_ready(self) -> bool:
        """Whether rounds can open: every founding member accepted the key."""
        return bool(self.ceremonies) and self.ceremonies[0].ready

    def admit(self, party: Party, index: int) -> None:
        """A party, or the next one of its name, takes part from this entry on, with all its keys."""
        self.standings.setdefault(party.name, Standing()).admit(party.signing_key, index)
        self.used.update(key for key in (party.signing_key, party.note_key, party.sealing_key) if key)

    def party(self, name: str) -> Party | None:
        """A party by name, one of a committee in the making, or of one that never came into office, among them.

        Its signing key is the one in force, or the last one if that was revoked.
        """
        if self.roster is None:
            return None
        committees = [*self.committees, *(ceremony.committee for ceremony in reversed(self.ceremonies))]
        for parties in (self.roster.parties, *(committee.parties for committee in committees)):
            if name in parties:
                return replace(parties[name], signing_key=self.standings[name].newest.public)
        return None

    def in_force(self, name: str) -> bool:
        """Whether entries of this party count: it is known, and its newest key was not revoked."""
        return name in self.standings and self.standings[name].in_force

    def refuses(self, data: bytes) -> str | None:
        """Why this entry would be ignored if it came next; None if it would count. Changes nothing."""
        try:
            self._judge(self.size, data)
        except RuleError as exc:
            return str(exc)
        return None

    def apply(self, data: bytes) -> None:
        """Take the next entry. Never raises on hostile bytes."""
        index = self.size
        self._tree.append(leaf_hash(data))
        self.newest = hashlib.sha256(data).digest()
        try:
            self._judge(index, data)()
        except RuleError as exc:
            try:
                entry = parse_entry(data)
                kind, sender = entry.kind, entry.sender
            except LedgerError:
                kind, sender = -1, ""
            self.ignored.append(Ignored(index, kind, sender, str(exc), exc.hostile))

    def _judge(self, index: int, data: bytes) -> Effect:
        """Check everything about an entry; return what it does."""
        try:
            entry = parse_entry(data)
            body = self._body(entry)
        except LedgerError as exc:
            raise RuleError(f"malformed: {exc}", hostile=True) from exc
        if isinstance(body, Genesis):
            return self._judge_genesis(index, entry, body)
        require(self.roster is not None, "there is no genesis entry yet", hostile=True)
        party = self.party(entry.sender)
        if party is None:
            raise RuleError(f"{entry.sender} is not a party of this federation", hostile=True)
        self._verify(entry)
        role = _ROLES.get(body.kind)
        if role is not None:
            require(party.role is role, f"{body.kind.name} is for the {role.name.lower()}", hostile=True)
        if role is Role.MEMBER and body.kind >= Kind.ROUND_OPEN:
            office, former = (entry.sender in c for c in (self.committee.parties, self._former_members()))
            absent = f"{entry.sender} is not in the committee of epoch {self.committee.epoch}"
            require(office, absent, hostile=not former)
        return rule(body, self, entry.sender, index)

    def _former_members(self) -> frozenset[str]:
        """Whose entry about a round may have been overtaken by a committee change."""
        return frozenset(name for committee in self.committees[:-1] for name in committee.parties)

    def _verify(self, entry: Entry) -> None:
        """The signature is of the sender's key in force.

        One of the last former keys is not hostile: an honest party's entry can arrive after its key was replaced.
        """
        standing = self.standings[entry.sender]
        oldest = max(0, standing.number - _FORMER_KEYS)
        for number in range(standing.number, oldest - 1, -1):
            key = standing.keys[number]
            try:
                verify_entry(entry, key.public, context=self.context)
            except LedgerError as exc:
                if number == oldest:
                    raise RuleError(f"the signature does not verify: {exc}", hostile=True) from exc
                continue
            if key.until is None:
                return
            what = "revoked" if key.revoked else "replaced"
            raise RuleError(f"signed with key {number} of {entry.sender}, which was {what} by entry {key.until}")

    @staticmethod
    def _body(entry: Entry) -> Body:
        cls = BODIES.get(entry.kind)
        if cls is None:
            raise RuleError(f"kind {entry.kind} is unknown to this version")
        return cls.from_value(entry.body)

    def _judge_genesis(self, index: int, entry: Entry, body: Genesis) -> Effect:
        require(index == 0, "only entry 0 can be the genesis", hostile=True)
        try:
            roster = Roster.from_genesis(body)
            operator = roster.parties.get(entry.sender)
            if operator is None or operator.role is not Role.OPERATOR:
                raise RuleError("the operator signs the genesis", hostile=True)
            verify_entry(entry, operator.signing_key, context=b"")
        except (LedgerError, ProtocolError, ValueError) as exc:
            raise RuleError(f"not a genesis: {exc}", hostile=True) from exc

        def effect() -> None:
            self.roster = roster
            self.committees.append(roster.committee)
            self.context = hashlib.sha256(entry.encoded).digest()
            self.ceremonies.append(CeremonyState(roster.committee, self.context))
            for party in roster.parties.values():
                self.admit(party, index)

        return effect
