"""Dealing a secret element of R_Q to a committee so that its members can check what they got.

Spec: tckks §3.6 (v1). Run at founding in Shamir's sharing (`founding`) and at every committee change (`handover`):

1. every dealer makes its `Dealing` and publishes its digests, one for each new piece;
2. sub-shares go to the holders of their pieces, masked in public or sealed;
3. Shamir only: the transcript fixes a challenge (`degree_challenge`), and every dealer publishes one `degree_proof`;
4. every holder checks (`degree.check_subshare`); what fails is opened, and anybody judges it (`degree.convicted`);
5. every holder joins the sub-shares of a piece (`join_piece`).

What no check here shows: that the dealt element is the right one. The dry run under the new pieces does.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import NoReturn

import numpy as np

from ..arrays import UInt64Array, frozen
from ..errors import KeyGenerationError, StateError
from ..ring import Ring, ring
from .degree import combined, fold, fold_weights, proof_bytes
from .keys import PieceKey
from .sharing import MAX_MEMBERS
from .subshare import REPETITIONS, DealingTerms, SubShare, expand

__all__ = ["Dealing", "join_piece"]


def _ring(terms: DealingTerms) -> Ring:
    return ring(terms.suite.ring_degree, terms.suite.data_primes)


class Dealing:
    """One element of R_Q, dealt: everything follows from the element and a 32-byte seed.

    Run by: a dealer, and by whoever else knows the element and the seed: they get the same bytes. The seed must be
    unknown to the holders; the element enters all that is derived from it, so that one seed never deals two elements
    with the same values.

    Shapes: secret_ntt uint64[K, N] over the data primes, NTT form.
    """

    __slots__ = ("_bound", "_challenge", "_digests", "_root", "_secret", "terms")

    def __init__(self, terms: DealingTerms, secret_ntt: UInt64Array, seed: bytes) -> None:
        if len(seed) != 32:
            raise ValueError("the seed of a dealing is 32 bytes")
        suite, sharing = terms.suite, terms.sharing
        self.terms = terms
        self._secret: UInt64Array = frozen(secret_ntt, np.uint64, (len(suite.data_primes), suite.ring_degree))
        label = b"secure-bfl/dealing/v1" + terms.label + terms.addend.to_bytes(2, "little")
        label += bytes([terms.tested, sharing.members, sharing.threshold])
        element = hashlib.sha256(self._secret.astype("<u8").tobytes()).digest()
        self._root = hashlib.shake_256(label + element + seed).digest(32)
        self._bound = self._bound_values()
        self._challenge: bytes | None = None
        self._digests: tuple[bytes, ...] | None = None

    def _derive(self, part: bytes, index: int = 0) -> bytes:
        return hashlib.shake_256(b"secure-bfl/dealing/" + part + index.to_bytes(2, "little") + self._root).digest(32)

    def _free_value(self, piece: int) -> UInt64Array:
        return expand(self._derive(b"value", piece), self.terms.suite.ring_degree, self.terms.suite.data_primes)

    def _masks(self) -> list[UInt64Array]:
        """The mask polynomials at zero and at the free points, uint64[K, 4] each."""
        primes = self.terms.suite.data_primes
        at_zero = expand(self._derive(b"mask-at-zero"), REPETITIONS, primes)
        free = [self._derive(b"value", piece) for piece in range(self.terms.free)]
        return [at_zero, *(expand(seed, REPETITIONS, primes, purpose=b"degree-mask") for seed in free)]

    def _bound_values(self) -> dict[int, UInt64Array]:
        """The bound values, in one pass over the free ones."""
        data, free = _ring(self.terms), self.terms.free
        factors = {piece: self.terms.factors(piece) for piece in range(free, self.terms.sharing.pieces)}
        totals = {piece: data.multiply(self._secret, by[0]) for piece, by in factors.items()}
        for index in range(free):
            value = self._free_value(index)
            for piece, by in factors.items():
                totals[piece] = data.add(totals[piece], data.multiply(value, by[index + 1]))
        return totals

    def share(self, piece: int) -> SubShare:
        """The sub-share of one new piece: for its holders only.

        Raises:
            IndexError: the sharing has no such piece.
        """
        self.terms.check_piece(piece)
        contribution = self._derive(b"contribution", piece)
        others = [other for other in range(self.terms.pairs + 1) if other != piece] if self.terms.tested else []
        pairs = tuple(self._derive(b"pair", min(piece, other) * MAX_MEMBERS + max(piece, other)) for other in others)
        if piece < self.terms.free:
            return SubShare(self.terms, piece, contribution, self._derive(b"value", piece), pairs=pairs)
        masks = combined(self.terms, piece, self._masks()) if self.terms.tested else None
        return SubShare(self.terms, piece, contribution, self._bound[piece], masks, pairs=pairs)

    def mask_key(self, piece: int) -> bytes:
        """The key under which `masked` may put the sub-share of one piece in public. It travels sealed.

        Raises:
            IndexError: the sharing has no such piece.
        """
        self.terms.check_piece(piece)
        return self._derive(b"mask-key", piece)

    def digest(self, piece: int) -> bytes:
        """The digest of one sub-share."""
        return self.digests[piece]

    @property
    def digests(self) -> tuple[bytes, ...]:
        """The digests of all sub-shares, in the order of the pieces: what a dealer publishes first."""
        if self._digests is None:
            self._digests = tuple(self.share(piece).digest() for piece in range(self.terms.sharing.pieces))
        return self._digests

    def degree_proof(self, challenge: bytes) -> bytes:
        """The answer to the degree test, on the wire: public. Its challenge must be durable before the answer leaves.

        Raises:
            ValueError: the sharing is replicated, or the challenge is not 32 bytes.
            StateError: another challenge was answered: two answers give the dealt element away, sum by sum.
        """
        if not self.terms.tested:
            raise ValueError("a replicated sharing has no degree test")
        weights = fold_weights(self.terms, challenge)
        if self._challenge not in (None, challenge):
            raise StateError("this dealing has answered another challenge; deal again, from a new seed")
        self._challenge = bytes(challenge)
        data, values = _ring(self.terms), [self._secret, *(self._free_value(i) for i in range(self.terms.free))]
        folds = [
            data.add(mask, fold(self.terms, value, weights)) for mask, value in zip(self._masks(), values, strict=True)
        ]
        return proof_bytes(self.terms, self._challenge, np.stack(folds, axis=1))

    def __repr__(self) -> str:
        return f"Dealing(addend={self.terms.addend}, <secret>)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a dealing cannot be pickled or copied")


def join_piece(terms: Sequence[DealingTerms], piece: int, subshares: Mapping[int, SubShare]) -> PieceKey:
    """A new piece from the sub-shares of all addends. Run by: a holder of the piece, which has checked them.

    `terms` are those of all addends of one ceremony or handover. The noise key is new, from the contributions of all
    dealers, and so are the keys of pairs, which are the same for both pieces: one honest dealer makes them unknown to
    everybody else.

    Raises:
        KeyGenerationError: the sub-share of an addend is missing; `culprits` names its dealers.
        ValueError: `terms` are not of one ceremony, or a sub-share is of another dealing or piece.
    """
    if not terms or len({(t.label, t.suite, t.sharing) for t in terms}) != 1:
        raise ValueError("the terms must be those of the addends of one ceremony or handover")
    expected = {t.addend: t for t in terms}
    if len(expected) != len(terms) or not subshares.keys() <= expected.keys():
        raise ValueError("every addend is joined once")
    first = terms[0]
    first.check_piece(piece)
    data = _ring(first)
    total = np.zeros((len(first.suite.data_primes), first.suite.ring_degree), dtype=np.uint64)
    hashed = hashlib.shake_256(b"secure-bfl/dealing/noise-key/v1" + first.label + piece.to_bytes(2, "little"))
    paired: dict[int, list[bytes]] = {}
    for addend, term in sorted(expected.items()):
        if addend not in subshares:
            raise KeyGenerationError(f"the sub-share of addend {addend} is missing", culprits=term.dealers)
        if subshares[addend].terms != term or subshares[addend].piece != piece:
            raise ValueError(f"the sub-share of addend {addend} is of another dealing or piece")
        total = data.add(total, subshares[addend].value())
        hashed.update(subshares[addend].contribution)
        for other, given in subshares[addend].pairs.items():
            paired.setdefault(other, []).append(given)
    pairs = {other: _pair_key(first, piece, other, given) for other, given in paired.items()}
    return PieceKey(piece, total, hashed.digest(32), pairs=pairs)


def _pair_key(terms: DealingTerms, piece: int, other: int, given: Sequence[bytes]) -> bytes:
    low, high = sorted((piece, other))
    label = b"secure-bfl/dealing/pair-key/v1" + terms.label + bytes([low, high])
    return hashlib.shake_256(label + b"".join(given)).digest(32)
