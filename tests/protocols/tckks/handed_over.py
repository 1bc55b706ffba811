"""Whole handovers over a small ring, played honestly."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from protocols.arrays import UInt64Array
from protocols.tckks.dealing import Dealing, join_piece
from protocols.tckks.degree import (
    DegreeProof,
    check_subshare,
    degree_challenge,
)
from protocols.tckks.handover import Handover, agree, subdeal
from protocols.tckks.keys import PieceKey
from protocols.tckks.sharing import ReplicatedSharing, ShamirSharing, Sharing
from tests.protocols.tckks.dealt import POSITION, SMALL, data_ring, element, opened, seed

R43, R53, R32 = ReplicatedSharing(4, 3), ReplicatedSharing(5, 3), ReplicatedSharing(3, 2)
S43, S53 = ShamirSharing(4, 3), ShamirSharing(5, 3)
KINDS = {
    "replicated-replicated": (R43, R53),
    "replicated-shamir": (R43, S53),
    "shamir-replicated": (S43, R53),
    "shamir-shamir": (S43, S53),
}
KEY = seed("joint key")

Pieces = Mapping[int, PieceKey]


def handover(
    old: Sharing,
    new: Sharing,
    *,
    key_digest: bytes = KEY,
    epoch: int = 1,
    position: bytes = POSITION,
    active: tuple[int, ...] | None = None,
) -> Handover:
    if active is None:
        active = (1, 3, 4) if isinstance(old, ShamirSharing) else ()
    return Handover(SMALL, old, new, key_digest, epoch, position, active)


@cache
def pieces_of(sharing: Sharing) -> Pieces:
    """The pieces of a key, as a founding would leave them, though not ternary."""
    if isinstance(sharing, ShamirSharing):
        coefficients = [element("coefficient", k) for k in range(sharing.threshold)]
        values = []
        for x in range(1, sharing.members + 1):
            value = coefficients[-1]
            for c in coefficients[-2::-1]:
                value = data_ring().add(data_ring().multiply(value, data_ring().constant(x)), c)
            values.append(value)
    else:
        values = [element("piece", p) for p in range(sharing.pieces)]
    return {p: PieceKey(p, value, seed("noise", sharing, p)) for p, value in enumerate(values)}


def secret_of(sharing: Sharing, pieces: Pieces, quorum: tuple[int, ...] | None = None) -> UInt64Array:
    return opened(sharing, [pieces[p].secret_ntt for p in range(sharing.pieces)], quorum)


@dataclass(frozen=True)
class Change:
    """One honest handover with all its messages and both committees' pieces; only a test has them in one place."""

    handover: Handover
    old: Pieces
    dealings: Mapping[int, Dealing]
    proofs: Mapping[int, DegreeProof | None]
    new: Pieces


def change(by: Handover, old: Pieces) -> Change:
    """Play a handover, with every message on the wire."""
    dealings = {t.addend: subdeal(by, old[t.addend]) for t in by.terms}
    published = {t.addend: agree(t, dict.fromkeys(t.dealers, dealings[t.addend].digests)) for t in by.terms}
    challenge = degree_challenge(tuple(published.values()), seed("closed"))
    proofs: dict[int, DegreeProof | None] = dict.fromkeys(dealings)
    if isinstance(by.new, ShamirSharing):
        for a, p in published.items():
            proofs[a] = DegreeProof.decode(dealings[a].degree_proof(challenge), p, challenge, prover=p.by[0])
    new = {}
    for piece in range(by.new.pieces):
        subshares = {
            a: check_subshare(published[a], piece, d.share(piece).encode(), sender=published[a].by[0], proof=proofs[a])
            for a, d in dealings.items()
        }
        new[piece] = join_piece(by.terms, piece, subshares)
    return Change(by, old, dealings, proofs, new)


@cache
def changed(old: Sharing, new: Sharing) -> Change:
    return change(handover(old, new), pieces_of(old))
