"""Handing the key to the next committee, or to the same one in fresh pieces, under the same public key.

Spec: tckks §3.8 (v1). The old committee's secret is a sum of addends: its pieces, or in Shamir's sharing the shares of
exactly t active members, each times its Lagrange factor. Every addend is dealt to the new sharing (`dealing`), and a
new piece is the sum of what was dealt for it. The new pieces are uniform modulo Q and independent of the old ones; what
fewer than t old members and fewer than t' new ones know together tells nothing about the secret, once the others have
erased what they held before. A handover to the same members and threshold is a proactive refresh.

The seed of a dealing follows from the noise key of the old piece and the handover's identity: all holders of a
replicated piece make the same bytes, any of them can deliver, and a handover that starts again with another position
or active set draws everything anew.

Sources: Desmedt and Jajodia, "Redistributing secret shares to new access structures", 1997 (resharing); Herzberg,
Jarecki, Krawczyk and Yung, CRYPTO 1995 (proactive refresh).
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import KeyGenerationError
from ..ring import ring
from ..suites import Suite
from .dealing import Dealing
from .degree import PublishedDealing
from .keys import PieceKey
from .shamir import lagrange
from .sharing import ShamirSharing, Sharing
from .subshare import DealingTerms

__all__ = ["Handover", "agree", "subdeal"]


@dataclass(frozen=True, slots=True)
class Handover:
    """One committee change: from which sharing to which, of which key, and the ledger position that makes it unique.

    `position` is the 32-byte root of the ledger's tree with the entry that announces the handover as its last, so that
    what is dealt belongs to one history of the log.

    `epoch` is the new key's, at least 1; `active` are the t old members that deal in Shamir's sharing, and is empty in
    a replicated one, where every holder of a piece may.

    Raises:
        ValueError: a field has the wrong length or range, or `active` does not fit the old sharing.
        QuorumError: fewer than t members are active.
    """

    suite: Suite
    old: Sharing
    new: Sharing
    key_digest: bytes
    epoch: int
    position: bytes
    active: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if len(self.key_digest) != 32:
            raise ValueError("the digest of the joint key is 32 bytes")
        if len(self.position) != 32:
            raise ValueError(
                "the position is the 32-byte root of the ledger's tree with the entry that announces the handover"
            )
        if not 1 <= self.epoch < 1 << 32:
            raise ValueError(f"the epoch of a key that was handed over is between 1 and 2^32 - 1, not {self.epoch}")
        if isinstance(self.old, ShamirSharing):
            object.__setattr__(self, "active", tuple(self.old.assignment(self.active)))
        elif self.active:
            raise ValueError("a replicated sharing has no active set at a handover: every holder of a piece may deal")

    @property
    def identity(self) -> bytes:
        """The 32-byte name of this handover, in every message of it."""
        active = ",".join(map(str, self.active))
        label = f"secure-bfl/handover/v1/{self.suite.name}/{self.old.tag}/{self.new.tag}/{self.epoch}/{active}/"
        return hashlib.sha256(label.encode() + self.key_digest + self.position).digest()

    @property
    def terms(self) -> tuple[DealingTerms, ...]:
        """What is dealt: an addend for each old piece, or in Shamir's sharing for each active member's.

        An addend has the number of its piece. Its dealers are the piece's holders, the one whose duty it is first.
        """
        label = self.identity
        pieces = [member - 1 for member in self.active] or range(self.old.pieces)
        return tuple(DealingTerms(label, self.suite, self.new, piece, self._dealers(piece)) for piece in pieces)

    def _dealers(self, piece: int) -> tuple[str, ...]:
        holders = self.old.holders(piece)
        first = holders[piece % len(holders)]
        return tuple(f"member-{m}" for m in (first, *(m for m in holders if m != first)))


def subdeal(handover: Handover, piece: PieceKey) -> Dealing:
    """Deal one old piece to the new sharing. Run by: its holders, each for itself, with the same result.

    Raises:
        ValueError: the piece is not among those that are dealt.
    """
    terms = next((t for t in handover.terms if t.addend == piece.piece), None)
    if terms is None:
        raise ValueError(f"piece {piece.piece} is not dealt in this handover")
    secret = piece.secret_ntt
    if handover.active:
        primes = handover.suite.data_primes
        factor = lagrange(handover.active, primes)[piece.piece + 1]
        secret = ring(handover.suite.ring_degree, primes).multiply(secret, factor)
    label = b"secure-bfl/handover-seed/v1" + handover.identity + piece.piece.to_bytes(2, "little")
    return Dealing(terms, secret, hashlib.shake_256(label + piece.noise_key).digest(32))


def agree(terms: DealingTerms, statements: Mapping[str, tuple[bytes, ...]]) -> PublishedDealing:
    """The digests that the dealers of one addend published, if they are the same. Run by: anyone.

    `statements` maps each dealer that published to its digests.

    Raises:
        KeyGenerationError: nobody published (`culprits`: all dealers); digests are malformed (their senders); or two
            differ: then not all of them are honest, and `culprits` names all that published, the message their camps.
        ValueError: somebody published who is no dealer of the addend.
    """
    if not statements:
        raise KeyGenerationError(f"addend {terms.addend}: no dealer published its digests", culprits=terms.dealers)
    camps: dict[tuple[bytes, ...], list[str]] = {}
    for dealer, digests in sorted(statements.items()):
        camps.setdefault(tuple(digests), []).append(dealer)
    published = [PublishedDealing(terms, digests, tuple(by)) for digests, by in camps.items()]
    if len(published) > 1:
        named = " against ".join(", ".join(camp.by) for camp in published)
        raise KeyGenerationError(
            f"addend {terms.addend}: holders of the same piece published different digests: {named}",
            culprits=tuple(dealer for camp in published for dealer in camp.by),
        )
    return published[0]
