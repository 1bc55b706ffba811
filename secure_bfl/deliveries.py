"""What dealers publish for the holders of pieces: its layout, and how anybody reads and checks it.

Spec: round §2.3 (v1). A dealer's deliveries lie in one blob, whose exact size follows from the plan. For each addend:

- a founding replicated sharing: for every other holder of the piece, the piece's seed, sealed;
- else: the table of the digests of all sub-shares; in Shamir's sharing the proof of the degree test; and for every
  holder of every piece the digest of the masked sub-share, which is a blob of its own, and the key of its mask, sealed.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

from ledger import BlobError, Blobs, blob_digest
from protocols.errors import DecodeError, KeyGenerationError
from protocols.suites import Suite
from protocols.tckks import Ceremony, PieceKey, PieceSeed, ShamirSharing, check_piece, seed_commitment
from protocols.tckks.degree import DegreeProof, PublishedDealing, check_subshare, degree_challenge
from protocols.tckks.founding import founding_terms
from protocols.tckks.handover import Handover
from protocols.tckks.keygen import SEED_BYTES
from protocols.tckks.subshare import REPETITIONS, DealingTerms, Form, SubShare, unmasked
from protocols.tckks.wire import WireKind, decode, encoded_size

from .ceremony import PAIR_CHECK_BYTES, CeremonyState
from .messages import KeyReveal
from .roster import member_number
from .sealing import OVERHEAD_BYTES, SealingKey

__all__ = ["Deliveries", "Slot", "WithheldError", "pack_section", "pair_checks", "table_digest"]

SEALED_BYTES: Final = SEED_BYTES + OVERHEAD_BYTES
_DIGEST: Final = 32


@dataclass(frozen=True, slots=True)
class Slot:
    """What one holder of one piece gets for one addend: 32 bytes, sealed, and the digest of what they unmask."""

    masked: bytes
    sealed: bytes


@dataclass(frozen=True, slots=True)
class _Section:
    """One addend's part of a deliveries blob."""

    table: bytes
    proof: bytes
    slots: dict[tuple[int, int], Slot]


class WithheldError(KeyGenerationError):
    """Bytes that a dealer owes are not there, or not of the length they must have: nobody can be convicted by that."""


class Deliveries:
    """The public side of one ceremony: commitments, deliveries and public parts, as the blobs hold them.

    `key_digest` is the joint key's at a committee change, and empty at founding.
    """

    def __init__(self, state: CeremonyState, suite: Suite, blobs: Blobs, *, key_digest: bytes = b"") -> None:
        self.state, self.suite = state, suite
        self._blobs, self._key_digest = blobs, key_digest
        self._read: dict[tuple[str, KeyReveal], dict[int, _Section]] = {}

    @property
    def ceremony(self) -> Ceremony:
        """The key generation as `protocols` knows it. ValueError for a committee change."""
        if not self.state.founding:
            raise ValueError("a committee change generates no key")
        return Ceremony(self.suite, self.state.committee.sharing, self.state.position)

    @property
    def handover(self) -> Handover:
        """The committee change as `protocols` knows it. ValueError for a founding."""
        state = self.state
        if state.former is None:
            raise ValueError("key generation hands nothing over")
        new, old = state.committee.sharing, state.former.sharing
        return Handover(self.suite, old, new, self._key_digest, state.epoch, state.position, state.active)

    @cached_property
    def identity(self) -> bytes:
        """The 32-byte name of this ceremony or handover."""
        return self.ceremony.identity if self.state.founding else self.handover.identity

    @cached_property
    def binding(self) -> bytes:
        """What the dry run's tests are bound to: every commitment that counts, so nobody knows a test when it commits.

        ValueError if an addend has no commitment that counts.
        """
        hashed = hashlib.sha256(b"secure-bfl/dry-run-binding/v1" + self.identity)
        for addend in self.state.addends:
            counted = self.state.commitment(addend)
            if counted is None:
                raise ValueError(f"no commitment to addend {addend} counts")
            hashed.update(addend.to_bytes(2, "big") + counted[0].part + counted[0].dealing)
        return hashed.digest()

    @cached_property
    def terms(self) -> dict[int, DealingTerms]:
        """What is dealt for each addend, with the dealers' names. ValueError if seeds travel."""
        terms = founding_terms(self.ceremony) if self.state.founding else self.handover.terms
        return {t.addend: replace(t, dealers=self.state.dealers(t.addend)) for t in terms}

    def slots(self, addend: int, dealer: str) -> tuple[tuple[int, int], ...]:
        """The (piece, holder) pairs that get something for an addend, in order. A founding dealer is not its own."""
        sharing = self.state.committee.sharing
        pieces = (addend,) if self.state.seeds_travel else tuple(range(sharing.pieces))
        own = member_number(dealer) if self.state.founding else 0
        return tuple((piece, holder) for piece in pieces for holder in sharing.holders(piece) if holder != own)

    def seal_info(self, addend: int, dealer: str, slot: tuple[int, int]) -> bytes:
        """What a sealed secret is bound to."""
        return b"secure-bfl/delivery/v1/%d/%s/%d/%d/" % (addend, dealer.encode(), *slot) + self.identity

    def _proof_bytes(self, addend: int) -> int:
        terms = self.terms[addend]
        if not terms.tested:
            return 0
        header = terms.header(Form.DEGREE_PROOF, 0, bytes(_DIGEST))
        return len(header) + REPETITIONS * (terms.free + 1) * sum(terms.suite.residue_bytes)

    def _section_bytes(self, addend: int, dealer: str) -> int:
        slots = len(self.slots(addend, dealer))
        if self.state.seeds_travel:
            return slots * SEALED_BYTES
        pieces = self.state.committee.sharing.pieces
        return pieces * _DIGEST + self._proof_bytes(addend) + slots * (_DIGEST + SEALED_BYTES)

    def size(self, addends: tuple[int, ...], dealer: str) -> int:
        """The exact length of a dealer's deliveries blob."""
        return sum(self._section_bytes(addend, dealer) for addend in addends)

    def public_part(self, addend: int) -> bytes:
        """An addend's public part, as committed. BlobError if it is missing or not what was committed."""
        counted = self.state.commitment(addend)
        if counted is None:
            raise ValueError(f"nobody committed to addend {addend}")
        return self._blobs.get(counted[0].part, size=encoded_size(1, self.suite.ring_degree, self.suite.key_primes))

    def deliverer(self, addend: int) -> str:
        """Who delivered an addend. KeyError if nobody has."""
        return self.state.delivered[addend][0]

    def _section(self, addend: int) -> _Section:
        dealer, body = self.state.delivered[addend]
        if (dealer, body) not in self._read:
            try:
                data = self._blobs.get(body.deliveries, size=self.size(body.addends, dealer))
            except BlobError as exc:
                raise WithheldError(f"{dealer} withholds its deliveries: {exc}", culprits=(dealer,)) from exc
            self._read[dealer, body] = self._parse(data, body.addends, dealer)
        return self._read[dealer, body][addend]

    def _parse(self, data: bytes, addends: tuple[int, ...], dealer: str) -> dict[int, _Section]:
        at = 0

        def take(size: int) -> bytes:
            nonlocal at
            at += size
            return data[at - size : at]

        sections, travel = {}, self.state.seeds_travel
        for addend in addends:
            table = b"" if travel else take(self.state.committee.sharing.pieces * _DIGEST)
            proof = b"" if travel else take(self._proof_bytes(addend))
            pairs = self.slots(addend, dealer)
            slots = {pair: Slot(b"" if travel else take(_DIGEST), take(SEALED_BYTES)) for pair in pairs}
            sections[addend] = _Section(table, proof, slots)
        return sections

    def challenge(self, addend: int, table: tuple[bytes, ...]) -> bytes:
        """The challenge of the degree test: it follows from the table, to which the dealer committed.

        So every dealing has one challenge, on every fork of the log, and for all holders that could deliver it.
        """
        terms = self.terms[addend]
        return degree_challenge((PublishedDealing(terms, table, terms.dealers),), self.state.position)

    def check_public(self, addend: int) -> None:
        """Check what everybody can see of an addend: public part, table, proof.

        Raises:
            WithheldError: it is not there.
            KeyGenerationError: it is malformed, or not as committed; `culprits` names the dealer.
        """
        dealer = self.deliverer(addend)
        if self.state.founding:
            try:
                part = self.public_part(addend)
            except BlobError as exc:
                raise WithheldError(f"{dealer} withholds its public part: {exc}", culprits=(dealer,)) from exc
            primes, degree = self.suite.key_primes, self.suite.ring_degree
            try:
                decode(WireKind.PUBLIC_PART, part, primes, polynomials=1, degree=degree, context=self.identity)
            except DecodeError as exc:
                message = f"addend {addend}: the public part of {dealer} is malformed: {exc}"
                raise KeyGenerationError(message, culprits=(dealer,)) from exc
        self._section(addend)
        if not self.state.seeds_travel:
            self._dealt(addend)

    def withheld(self, addend: int, slot: tuple[int, int] | None = None) -> bool:
        """Whether bytes that the dealer owes for an addend, or for one holder of it, are not there to be judged."""
        try:
            if self.state.founding:
                self.public_part(addend)
            section = self._section(addend)
            if slot is not None and not self.state.seeds_travel:
                self._masked(addend, slot, section)
        except (BlobError, KeyGenerationError):
            return True
        return False

    def _masked(self, addend: int, slot: tuple[int, int], section: _Section) -> bytes:
        return self._blobs.get(section.slots[slot].masked, size=self.terms[addend].subshare_bytes(slot[0]))

    def _dealt(self, addend: int) -> tuple[PublishedDealing, DegreeProof | None]:
        dealer, section = self.deliverer(addend), self._section(addend)
        counted = self.state.commitment(addend)
        if counted is None or blob_digest(section.table) != counted[0].dealing:
            message = f"addend {addend}: the table of {dealer} is not the one it committed to"
            raise KeyGenerationError(message, culprits=(dealer,))
        digests = tuple(section.table[i : i + _DIGEST] for i in range(0, len(section.table), _DIGEST))
        published = PublishedDealing(self.terms[addend], digests, (dealer,))
        proof = None
        if self.terms[addend].tested:
            proof = DegreeProof.decode(section.proof, published, self.challenge(addend, digests), prover=dealer)
        return published, proof

    def _opened(self, addend: int, slot: tuple[int, int], key: SealingKey) -> bytes:
        dealer = self.deliverer(addend)
        info = self.seal_info(addend, dealer, slot)
        secret = key.open(self._section(addend).slots[slot].sealed, info=info, sender=dealer)
        if len(secret) != SEED_BYTES:
            raise KeyGenerationError(
                f"addend {addend}: {dealer} sealed {len(secret)} bytes, not {SEED_BYTES}", culprits=(dealer,)
            )
        return secret

    def seed(self, addend: int, slot: tuple[int, int], key: SealingKey) -> PieceKey:
        """Open a seed and check everything that follows from it. Run by: its holder, or whoever judges its complaint.

        Raises:
            KeyGenerationError: it does not open, is not the one committed to, or the public part does not follow from
                it; `culprits` names the dealer.
        """
        dealer, seed = self.deliverer(addend), PieceSeed(addend, self._opened(addend, slot, key))
        self.check_seed(seed, dealer)
        return check_piece(self.ceremony, seed, self.public_part(addend))

    def check_seed(self, seed: PieceSeed, dealer: str) -> None:
        """Raises KeyGenerationError unless this is the seed that the dealer committed to."""
        counted = self.state.commitment(seed.piece)
        if counted is None or seed_commitment(self.ceremony, seed) != counted[0].dealing:
            raise KeyGenerationError(
                f"addend {seed.piece}: the seed is not the one that {dealer} committed to", culprits=(dealer,)
            )

    def subshare(self, addend: int, slot: tuple[int, int], key: SealingKey) -> SubShare:
        """Open, unmask and check a sub-share. Run by: its holder, or whoever judges its complaint.

        Raises:
            KeyGenerationError: it does not open, is withheld, is not the one of the table, or is off the polynomial;
                `culprits` names the dealer.
        """
        dealer, section = self.deliverer(addend), self._section(addend)
        published, proof = self._dealt(addend)
        mask = self._opened(addend, slot, key)
        try:
            hidden = self._masked(addend, slot, section)
        except BlobError as exc:
            raise WithheldError(f"{dealer} withholds a sub-share: {exc}", culprits=(dealer,)) from exc
        return check_subshare(published, slot[0], unmasked(hidden, mask), sender=dealer, proof=proof)

    def named(self) -> set[bytes]:
        """The digests of all blobs that this ceremony's entries lead to, as far as they are there."""
        digests = {digest for same in self.state.answered().values() for digest in same}
        if self.state.founding:
            digests |= {part.part for commit in self.state.commits.values() for part in commit.parts}
        for addend, (_, body) in self.state.delivered.items():
            digests.add(body.deliveries)
            try:
                digests |= {slot.masked for slot in self._section(addend).slots.values() if slot.masked}
            except KeyGenerationError:
                continue
        return digests


def table_digest(digests: tuple[bytes, ...]) -> bytes:
    """What binds a dealer to all sub-shares of an addend: SHA-256 of their digests, in the order of the pieces."""
    return hashlib.sha256(b"".join(digests)).digest()


def pair_checks(state: CeremonyState, pieces: Mapping[int, PieceKey]) -> tuple[bytes, ...]:
    """What a member states of the keys that its piece has in common with the others, in their order.

    Two holders that state different values have no key in common, and no answers of both would ever add up.
    """
    if not isinstance(state.committee.sharing, ShamirSharing):
        return ()
    (piece,) = pieces.values()
    label = b"secure-bfl/pair-check/v1" + state.position
    keys = (piece.pair_key(other) for other in range(state.committee.sharing.pieces) if other != piece.piece)
    return tuple(hashlib.sha256(label + key).digest()[:PAIR_CHECK_BYTES] for key in keys)


def pack_section(table: Sequence[bytes], proof: bytes, slots: Mapping[tuple[int, int], Slot]) -> bytes:
    """One addend's part of a deliveries blob."""
    body = b"".join(slot.masked + slot.sealed for slot in slots.values())
    return b"".join(table) + proof + body
