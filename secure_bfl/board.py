"""The public place where parties meet: the log, the blobs, and what the entries mean.

`Transcript` is the reading side, all that an auditor has. `Board` adds writing: a bulletin board in the sense of the
e-voting literature. Every party has one; in a simulation they share it. It admits only entries that replay accepts, so
an honest party never leaves a dead entry behind.
"""

from collections.abc import Iterable, Mapping
from functools import cached_property

from ledger import Blobs, Certificate, CosigningWitness, Log, SigningKey, certify, sign_entry
from protocols.tckks import Ceremony, EncryptedVector, JointKey, aggregate, join
from protocols.tckks.wire import encoded_size

from .errors import StateError
from .messages import Body
from .replay import Replay, RoundState
from .roster import Roster

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

    @property
    def ceremony(self) -> Ceremony:
        """The key generation of this federation."""
        plan = self.roster.plan
        return Ceremony(plan.suite, plan.sharing, self.replay.context)

    def public_part(self, piece: int) -> bytes:
        """A dealer's public part, as committed. BlobError if it is missing or not what was committed."""
        suite = self.roster.plan.suite
        size = encoded_size(1, suite.ring_degree, suite.key_primes)
        return self.blobs.get(self.replay.ceremony.parts()[piece], size=size)

    @cached_property
    def _joined(self) -> JointKey:
        pieces = range(self.roster.plan.sharing.pieces)
        return join(self.ceremony, {piece: self.public_part(piece) for piece in pieces})

    @property
    def joint_key(self) -> JointKey:
        """The joint public key, summed from the committed parts.

        Raises:
            StateError: the members pinned another key, or not all have committed.
            KeyGenerationError: a part is malformed.
        """
        pieces = range(self.roster.plan.sharing.pieces)
        if set(self.replay.ceremony.parts()) != set(pieces):
            raise StateError("not every dealer has committed")
        checks, ours = self.replay.ceremony.checks, self._joined.digest
        others = tuple(sorted(name for name, check in checks.items() if check.joint_key != ours))
        if others:
            raise StateError(
                f"{', '.join(others)} pinned another joint key than the one the public parts give", culprits=others
            )
        return self._joined

    def ciphertext(self, digest: bytes) -> EncryptedVector:
        """A committed vector of the plan's size, fully checked.

        Raises:
            BlobError: missing, or not the committed bytes.
            DecodeError: not the encoding of such a vector.
        """
        plan = self.roster.plan
        data = self.blobs.get(digest, size=EncryptedVector.encoded_size(plan.suite, plan.blocks))
        return EncryptedVector.decode(data, self.joint_key, blocks=plan.blocks)

    def sum_of(self, digests: tuple[bytes, ...]) -> EncryptedVector:
        """The sum of committed vectors. Run by: everybody who wants to know it."""
        return aggregate(self.ciphertext(digest) for digest in digests)


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
        return certify(self.log, witnesses, self.roster.policy, now=now)
