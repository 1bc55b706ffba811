"""Founding a key in Shamir's sharing: every dealer shares a ternary addend of its own.

Spec: tckks §3.7 (v1). The addend and its public part follow from the dealer's seed as in the replicated sharing
(`derive_piece`); here the seed stays with the dealer, and the committee's members get sub-shares of the addend.
"""

import hashlib

from .dealing import Dealing
from .keygen import Ceremony, PieceSeed, derive_piece
from .sharing import ShamirSharing
from .subshare import DealingTerms

__all__ = ["founding_dealing", "founding_terms"]


def founding_terms(ceremony: Ceremony) -> tuple[DealingTerms, ...]:
    """What the dealers of a ceremony will deal, in the order of the addends. Run by: anyone.

    Raises:
        ValueError: the sharing is replicated, and its addends are held as they are.
    """
    sharing = ceremony.sharing
    if not isinstance(sharing, ShamirSharing):
        raise ValueError("only Shamir's sharing deals its addends; a replicated one has its holders derive them")
    return tuple(
        DealingTerms(ceremony.identity, ceremony.suite, sharing, addend, (f"member-{sharing.dealer(addend)}",))
        for addend in range(sharing.addends)
    )


def founding_dealing(ceremony: Ceremony, seed: PieceSeed) -> tuple[Dealing, bytes]:
    """A dealer's addend, dealt, and its public part on the wire. Run by: the dealer of the addend `seed.piece`.

    Raises:
        ValueError: the sharing is replicated.
        IndexError: the ceremony has no such addend.
    """
    terms = founding_terms(ceremony)
    ceremony.sharing.dealer(seed.piece)
    addend, public_part = derive_piece(ceremony, seed)
    label = b"secure-bfl/founding/v1" + ceremony.identity + seed.piece.to_bytes(2, "little")
    dealing_seed = hashlib.shake_256(label + seed.reveal()).digest(32)
    return Dealing(terms[seed.piece], addend.secret_ntt, dealing_seed), public_part
