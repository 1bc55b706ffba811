"""Key generation with one dishonest member: what it does instead, and what the others find."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from ledger import CosigningWitness, Witness
from protocols.arrays import UInt64Array
from protocols.errors import KeyGenerationError
from protocols.ring import ring
from protocols.tckks import PieceSeed, commitment, derive_piece
from protocols.tckks.dealing import Dealing
from protocols.tckks.founding import founding_dealing
from protocols.tckks.keys import public_part_bytes
from protocols.tckks.subshare import SubShare
from protocols.tckks.wire import WireKind, decode
from secure_bfl.board import Board
from secure_bfl.ceremony import CeremonyState
from secure_bfl.committee_change import announce_change, change_committee
from secure_bfl.deliveries import Deliveries
from secure_bfl.key_member import KeyHolder
from secure_bfl.local_training import Records
from secure_bfl.member import Member
from secure_bfl.messages import AddendCommit, Complaint, Role
from secure_bfl.plan import FederationPlan
from secure_bfl.roster import member_name
from tests.secure_bfl.federation import NOW, Disk, Federation, digest, identity_of

SMALL = 3
"""The most replicated pieces in these tests, so that 3 of 4 is Shamir's sharing already, and stays quick."""


def small_plan(members: int, threshold: int, *, committee_changes: int = 0) -> FederationPlan:
    """Two clients, two rounds."""
    return FederationPlan.create(
        "digits",
        clients=2,
        members=members,
        threshold=threshold,
        rounds=2,
        committee_changes=committee_changes,
        answers=12,
    )


def founded_on(plan: FederationPlan, shares: Sequence[Records]) -> Federation:
    """A federation with a genesis entry."""
    federation = Federation(plan, shares)
    federation.found()
    return federation


REPLICATED, SHAMIR = (3, 2), (4, 3)
"""Members and threshold of the two committees, one of each sharing."""


def office(federation: Federation) -> dict[str, CosigningWitness | None]:
    """The witnesses of all members in office, those that deal nothing among them."""
    disks = {name: federation.disks[name] for name in federation.board.replay.committee.members}
    return {
        name: Witness(name, disk.identity.note, federation.log.verifier, disk.witness) for name, disk in disks.items()
    }


def started(federation: Federation, members: int, threshold: int) -> list[Member]:
    """Announce a change, and have everybody in office approve it."""
    board, epoch = federation.board, federation.board.replay.committee.epoch + 1
    new = incoming(federation, members, epoch)
    change = announce_change(
        board, federation.operator, federation.members, new, threshold=threshold, witnesses=office(federation), now=NOW
    )
    for member in federation.members:
        member.approve(board, change)
    return new


def changed(federation: Federation, members: int, threshold: int) -> list[Member]:
    """A whole change; the result are the former members."""
    former = federation.members
    new = incoming(federation, members, federation.board.replay.committee.epoch + 1)
    change_committee(
        federation.board, federation.operator, former, new, threshold=threshold, witnesses=office(federation), now=NOW
    )
    federation.members = new
    return former


def spoil(federation: Federation, number: int, cheat: type[KeyHolder]) -> Member:
    """Make one member dishonest."""
    member = federation.members[number - 1]
    member._holder = cheat(member.identity, federation.disks[member.name].journal)
    return member


def step(federation: Federation, *steps: Callable[[Member, Board], None]) -> None:
    """Everybody does each step."""
    for each in steps:
        for member in federation.members:
            each(member, federation.board)


def complaint(ceremony: CeremonyState, addend: int, sealing_seed: bytes) -> Complaint:
    """A complaint about what is delivered now; about nothing if nothing is."""
    delivered = ceremony.delivered.get(addend)
    digest_ = digest("nothing") if delivered is None else delivered[1].deliveries
    return Complaint(ceremony.position, addend, digest_, sealing_seed)


def checked(federation: Federation) -> dict[str, tuple[str, ...]]:
    """Everybody checks; who found a fault, and whom it names."""
    found = {}
    for member in federation.members:
        try:
            member.check(federation.board)
        except KeyGenerationError as exc:
            found[member.name] = exc.culprits
    return found


def incoming(federation: Federation, members: int, epoch: int) -> list[Member]:
    """The members of a later epoch, with new keys."""
    made, attempt = [], len(federation.board.replay.ceremonies) - epoch
    for number in range(1, members + 1):
        identity = identity_of(member_name(number, epoch), Role.MEMBER, attempt)
        disk = federation.disks[identity.name] = Disk.new(federation.plan, identity)
        witness = Witness(identity.name, identity.note, federation.log.verifier, disk.witness)
        made.append(Member(identity, journal=disk.journal, witness=witness))
    return made


def other_seed(seed: PieceSeed) -> PieceSeed:
    """A seed that nobody committed to."""
    return PieceSeed(seed.piece, digest("other", seed.piece))


class OtherSeed(KeyHolder):
    """Sends every holder a seed that it did not commit to."""

    def _sealed(self, deliveries: Deliveries, addend: int, slot: tuple[int, int], secret: bytes) -> bytes:
        return super()._sealed(deliveries, addend, slot, digest("other"))


class TwoSeeds(KeyHolder):
    """Sends one holder another seed than the others."""

    def _sealed(self, deliveries: Deliveries, addend: int, slot: tuple[int, int], secret: bytes) -> bytes:
        last = slot == deliveries.slots(addend, self.name)[-1]
        return super()._sealed(deliveries, addend, slot, digest("other") if last else secret)


class Garbage(KeyHolder):
    """Sends bytes that do not open."""

    def _sealed(self, deliveries: Deliveries, addend: int, slot: tuple[int, int], secret: bytes) -> bytes:
        return bytes(len(super()._sealed(deliveries, addend, slot, secret)))


class WrongContext(KeyHolder):
    """Seals what is right for another addend than the one it is delivered for."""

    def _sealed(self, deliveries: Deliveries, addend: int, slot: tuple[int, int], secret: bytes) -> bytes:
        real = deliveries.seal_info
        deliveries.seal_info = lambda addend, dealer, slot: real(addend + 1, dealer, slot)  # type: ignore[method-assign]
        sealed = super()._sealed(deliveries, addend, slot, secret)
        deliveries.seal_info = real  # type: ignore[method-assign]
        return sealed


class PartOf(KeyHolder):
    """Commits to a public part of its own making, and publishes it."""

    def part(self, board: Board, seed: PieceSeed) -> bytes:
        """By default that of another seed."""
        return derive_piece(board.ceremony, other_seed(seed))[1]

    def _commitment(self, board: Board, addend: int) -> AddendCommit:
        honest = super()._commitment(board, addend)
        part = self.part(board, self._seed(board, addend))
        return AddendCommit(addend, commitment(part), honest.dealing)

    def reveal(self, board: Board) -> None:
        for seed in self._dealt(board):
            board.blobs.put(self.part(board, seed))
        super().reveal(board)


class LargeError(PartOf):
    """Its public part hides an error about as large as the modulus."""

    def part(self, board: Board, seed: PieceSeed) -> bytes:
        ceremony, suite = board.ceremony, board.ceremony.suite
        full = ring(suite.ring_degree, suite.key_primes)
        piece, honest = derive_piece(ceremony, seed)
        error = np.tile(np.arange(suite.ring_degree, dtype=np.uint64), (len(suite.key_primes), 1))
        error %= np.array(suite.key_primes, dtype=np.uint64)[:, None]
        body = parse_part(board, honest)
        assert piece.piece == seed.piece
        return public_part_bytes(suite, full.add(body, error), ceremony.identity)


class MalformedPart(PartOf):
    """Its public part has residues that are not below their primes."""

    def part(self, board: Board, seed: PieceSeed) -> bytes:
        honest = derive_piece(board.ceremony, seed)[1]
        return honest[:44] + b"\xff" * 6 + honest[50:]


class ShortPart(PartOf):
    """Its public part has another length."""

    def part(self, board: Board, seed: PieceSeed) -> bytes:
        return derive_piece(board.ceremony, seed)[1][:-1]


class WithheldPart(PartOf):
    """Publishes another part than the one it committed to."""

    def reveal(self, board: Board) -> None:
        KeyHolder.reveal(self, board)


class ShortDeliveries(KeyHolder):
    """Its deliveries have another length."""

    def _section(self, board: Board, deliveries: Deliveries, addend: int) -> bytes:
        return super()._section(board, deliveries, addend)[:-1]


class ChangedDealing(KeyHolder):
    """Deals something else than its seed gives."""

    def changed(self, dealing: Dealing, board: Board) -> Dealing:
        """What it deals instead."""
        raise NotImplementedError

    def _dealing(self, board: Board, addend: int) -> tuple[Dealing, bytes]:
        dealing, part = super()._dealing(board, addend)
        return self.changed(dealing, board), part


class Skewed(Dealing):
    """A dealing of which the last sub-share is off its polynomial; its digest is in the table."""

    @classmethod
    def of(cls, dealing: Dealing) -> "Skewed":
        skewed = cls(dealing.terms, dealing._secret, digest("skewed"))
        skewed._root = dealing._root
        skewed._bound = dealing._bound_values()
        return skewed

    def share(self, piece: int) -> SubShare:
        share = super().share(piece)
        if piece < self.terms.sharing.pieces - 1:
            return share
        value = share.value().copy()
        value[0, 0] ^= np.uint64(1)
        return SubShare(self.terms, piece, share.contribution, value, share.masks(), pairs=tuple(share.pairs.values()))


class SkewedMask(Skewed):
    """The last sub-share is right, its mask is not."""

    def share(self, piece: int) -> SubShare:
        share = Dealing.share(self, piece)
        if piece < self.terms.sharing.pieces - 1:
            return share
        masks = share.masks().copy()
        masks[0, 0] ^= np.uint64(1)
        return SubShare(self.terms, piece, share.contribution, share.value(), masks, pairs=tuple(share.pairs.values()))


class SkewedPair(Skewed):
    """The last sub-share is right, but for the keys it has in common with the other members."""

    def share(self, piece: int) -> SubShare:
        share = Dealing.share(self, piece)
        if piece < self.terms.sharing.pieces - 1:
            return share
        pairs = tuple(digest("pair", other) for other in share.pairs)
        return SubShare(self.terms, piece, share.contribution, share.value(), share.masks(), pairs=pairs)


class OffPolynomial(ChangedDealing):
    """One member's share is not on the polynomial."""

    def changed(self, dealing: Dealing, board: Board) -> Dealing:
        return Skewed.of(dealing)


class MaskOff(ChangedDealing):
    """One member's mask of the degree test is not on its polynomial."""

    def changed(self, dealing: Dealing, board: Board) -> Dealing:
        return SkewedMask.of(dealing)


class PairOff(ChangedDealing):
    """Two members get different contributions to the key they are to have in common."""

    def changed(self, dealing: Dealing, board: Board) -> Dealing:
        return SkewedPair.of(dealing)


class OtherSecret(ChangedDealing):
    """Deals, perfectly well, another secret than the one its public part hides."""

    def changed(self, dealing: Dealing, board: Board) -> Dealing:
        seed = PieceSeed(dealing.terms.addend, digest("another secret"))
        return founding_dealing(board.ceremony, seed)[0]


class WrongProof(KeyHolder):
    """Its answer to the degree test is for another dealing."""

    def _proof(self, deliveries: Deliveries, addend: int, dealing: Dealing) -> bytes:
        challenge = deliveries.challenge(addend, dealing.digests)
        return Dealing(dealing.terms, dealing._secret, digest("other")).degree_proof(challenge)


class MalformedProof(KeyHolder):
    """Its answer to the degree test has residues that are not below their primes."""

    def _proof(self, deliveries: Deliveries, addend: int, dealing: Dealing) -> bytes:
        return super()._proof(deliveries, addend, dealing)[:-6] + b"\xff" * 6


class EarlyProof(KeyHolder):
    """Answers a challenge of its own choice."""

    def _proof(self, deliveries: Deliveries, addend: int, dealing: Dealing) -> bytes:
        return dealing.degree_proof(digest("my own challenge"))


class OtherTable(KeyHolder):
    """Publishes another table than the one it committed to."""

    def _section(self, board: Board, deliveries: Deliveries, addend: int) -> bytes:
        section = super()._section(board, deliveries, addend)
        return digest("another sub-share") + section[32:]


class OtherShare(KeyHolder):
    """Masks another sub-share than the one in its table: the holder unmasks what has another digest."""

    def _sealed(self, deliveries: Deliveries, addend: int, slot: tuple[int, int], secret: bytes) -> bytes:
        return super()._sealed(deliveries, addend, slot, digest("another mask"))


class WithheldShares(KeyHolder):
    """Publishes no sub-share."""

    def reveal(self, board: Board) -> None:
        before = set(board.blobs.digests())
        super().reveal(board)
        part = {p.part for p in board.replay.ceremony.commits[self.name].parts}
        keep = part | {body.deliveries for _, body in board.replay.ceremony.delivered.values()} | before
        for one in set(board.blobs.digests()) - keep:
            del board.blobs._blobs[one]  # type: ignore[attr-defined]  # blobs in memory


def parse_part(board: Board, part: bytes) -> UInt64Array:
    """The polynomial of a public part, uint64[K+1, N]."""
    suite = board.ceremony.suite
    polynomials = decode(
        WireKind.PUBLIC_PART,
        part,
        suite.key_primes,
        polynomials=1,
        degree=suite.ring_degree,
        context=board.ceremony.identity,
    )
    part_of: UInt64Array = polynomials[0]
    return part_of


class OtherDealing(KeyHolder):
    """Commits to another dealing than the other holders of the same piece."""

    def _commitment(self, board: Board, addend: int) -> AddendCommit:
        return replace(super()._commitment(board, addend), dealing=digest("another dealing"))
