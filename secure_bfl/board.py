"""The public place where parties meet: the log, the blobs, and what the entries mean.

`Transcript` is the reading side, all that an auditor has. `Board` adds writing: a bulletin board in the sense of the
e-voting literature. Every party has one; in a simulation they share it. It admits only entries that replay accepts, so
an honest party never leaves a dead entry behind.
"""

from collections.abc import Iterable, Mapping
from functools import cached_property

from ledger import Blobs, Certificate, CosigningWitness, Log, SigningKey, certify, sign_entry
from protocols.tckks import Adder, Ceremony, EncryptedVector, JointKey, join

from .ceremony import CeremonyState
from .deliveries import Deliveries
from .errors import StateError
from .messages import Body
from .replay import Replay, RoundState
from .roster import Committee, Roster

__all__ = ["Board", "Transcript"]


class Transcript:
    """Entries, blobs, and what the entries mean."""

    def __init__(self, entries: Iterable[bytes], blobs: Blobs) -> None:
        self.blobs = blobs
        self.replay = Replay()
        for entry in entries:
            self.replay.apply(entry)

    @property
    def roster(self) -> Roster:
        """The parties and the plan. ValueError before the genesis entry."""
        return self.replay.known

    @property
    def started(self) -> bool:
        """Whether there is a genesis entry."""
        return self.replay.roster is not None

    def round(self, number: int) -> RoundState:
        """A round by number.

        Raises:
            StateError: it was not opened yet.
        """
        if not 1 <= number <= len(self.replay.rounds):
            raise StateError(f"round {number} was not opened yet")
        return self.replay.rounds[number - 1]

    def committee_of(self, number: int) -> Committee:
        """The committee that serves a round. StateError if the round was not opened yet."""
        return self.replay.committees[self.round(number).epoch]

    @property
    def ceremony(self) -> Ceremony:
        """The generation of this federation's key."""
        return self.deliveries(self.replay.ceremonies[0]).ceremony

    def deliveries(self, state: CeremonyState | None = None) -> Deliveries:
        """The public side of a ceremony, by default the newest.

        Raises:
            StateError: a committee change before a key was pinned.
        """
        state = self.replay.ceremony if state is None else state
        digest = b"" if state.founding else self.replay.joint_key_digest
        if digest is None:
            raise StateError("not every member has pinned the joint key")
        return Deliveries(state, self.roster.plan.suite, self.blobs, key_digest=digest)

    def public_part(self, addend: int) -> bytes:
        """An addend's public part, as committed. BlobError if it is missing or not what was committed."""
        return self.deliveries(self.replay.ceremonies[0]).public_part(addend)

    @cached_property
    def _joined(self) -> JointKey:
        return join(self.ceremony, {addend: self.public_part(addend) for addend in self.replay.ceremonies[0].addends})

    @property
    def joint_key(self) -> JointKey:
        """The joint public key, summed from the committed parts. The same in every epoch.

        Raises:
            StateError: the members pinned another key, or not all dealers have committed.
            KeyGenerationError: a part is malformed.
        """
        founding = self.replay.ceremonies[0]
        if founding.absent():
            raise StateError("not every dealer has committed")
        ours = self._joined.digest
        others = tuple(sorted(name for name, check in founding.checks.items() if check.joint_key != ours))
        if others:
            raise StateError(
                f"{', '.join(others)} pinned another joint key than the one the public parts give", culprits=others
            )
        return self._joined

    def ciphertext(self, digest: bytes, *, sender: str) -> EncryptedVector:
        """A vector of the plan's size that `sender` committed to, fully checked.

        Raises:
            BlobError: missing, or not the committed bytes.
            DecodeError: not the encoding of such a vector; `culprits` names the sender.
        """
        blocks = self.roster.plan.blocks
        return EncryptedVector.decode(self.encoded(digest), self.joint_key, blocks=blocks, sender=sender)

    def encoded(self, digest: bytes) -> bytes:
        """The bytes of a committed vector, of the right length and not looked into. BlobError as for `ciphertext`."""
        plan = self.roster.plan
        return self.blobs.get(digest, size=EncryptedVector.encoded_size(plan.suite, plan.blocks))

    def named(self) -> set[bytes]:
        """The digests of all blobs that entries lead to, as far as they are there, apart from the updates'."""
        digests = set[bytes]()
        for ceremony in self.replay.ceremonies:
            digests |= self.deliveries(ceremony).named()
        for state in self.replay.rounds:
            digests.add(state.model)
            digests |= {answer.answer for attempt in state.attempts for answer in attempt.answers.values()}
            if state.aggregate is not None:
                digests.add(state.aggregate.ciphertext)
            if state.result is not None:
                digests.add(state.result.model)
        return digests

    def sum_of(self, digests: tuple[bytes, ...]) -> EncryptedVector:
        """The sum of committed vectors. Run by: everybody who wants to know it.

        Raises:
            BlobError: a vector is missing, or not the committed bytes.
            DecodeError: one is not the encoding of such a vector; its client is named.
            ValueError: there is nothing to add.
            CapacityError: there are more than the plan's clients.
        """
        senders = {c.opened: name for state in self.replay.rounds for name, (_, c) in state.commits.items()}
        plan = self.roster.plan
        adder = Adder(self.joint_key, plan.blocks, most=plan.clients)
        for digest in digests:
            adder.add(self.encoded(digest), sender=senders.get(digest, "nobody"))
        return adder.total()


class Board(Transcript):
    """A transcript that grows: the log under it can be appended to and certified."""

    def __init__(self, log: Log, blobs: Blobs) -> None:
        super().__init__(log.entries(), blobs)
        self.log = log

    def append(self, body: Body, sender: str, key: SigningKey) -> int:
        """Sign an entry and append it; durable when this returns its index.

        Raises:
            StateError: replay would ignore it, so it is not appended; the message says why.
            StoreError: it could not be written.
        """
        data = sign_entry(body.kind, sender, body.to_value(), key, context=self.replay.context)
        reason = self.replay.refuses(data)
        if reason is not None:
            raise StateError(f"{sender}: {body.kind.name} is not allowed now: {reason}", culprits=(sender,))
        index = self.log.append(data)
        self.replay.apply(data)
        return index

    def certify(self, witnesses: Mapping[str, CosigningWitness | None], *, now: int) -> Certificate:
        """Have the committee cosign the current checkpoint. QuorumError names who is missing."""
        return certify(self.log, witnesses, self.replay.committee.policy, now=now)
