"""The degree test: whether a dealer's sub-shares in Shamir's sharing lie on polynomials of degree t-1.

Spec: tckks §3.6 (v1). Beside the polynomials f of the sub-shares, one for each coefficient, the dealer shares uniform
polynomials g of the same degree t-1, and opens h = g + sum of y * f for weights y of the challenge, below 2^39. Member
j compares g(j) + sum of y * f(j) with h(j). If the values of the honest members lie on no polynomial of degree t-1
modulo a prime q, a repetition misses it with probability 1/q + 2^-39 at most; there are four, so 2^-95 for the shortest
prime of the suites. Whose digests enter the challenge can draw that lot again with other digests, before it commits to
them: 2^40 attempts still leave 2^-55. h tells nothing about f, as g is uniform and used once, which is why a dealing
answers one challenge.

Source: the fold with a masking polynomial is the batched degree test of Bellare, Garay and Rabin, PODC 1996.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ..arrays import UInt64Array, frozen
from ..errors import DecodeError, KeyGenerationError
from ..ring import ring
from .subshare import REPETITIONS, DealingTerms, Form, SubShare, pack_residues, unpack_residues
from .weights import CHALLENGE_BYTES, uniform_weights

__all__ = ["DegreeProof", "PublishedDealing", "check_subshare", "convicted", "degree_challenge"]

_DIGEST_BYTES: Final = 32


def fold(terms: DealingTerms, value: UInt64Array, weights: UInt64Array) -> UInt64Array:
    """The weighted sums of the residues of a value, uint64[K, 4]."""
    folds: UInt64Array = ring(terms.suite.ring_degree, terms.suite.data_primes).fingerprint(value[None], weights).T
    return folds


def fold_weights(terms: DealingTerms, challenge: bytes) -> UInt64Array:
    """The weights of the degree test, uint64[4, 1, N], each uniform below 2^39."""
    if len(challenge) != CHALLENGE_BYTES:
        raise ValueError(f"a challenge is {CHALLENGE_BYTES} bytes")
    label = b"secure-bfl/degree-weights/v1" + terms.label + terms.addend.to_bytes(2, "little")
    seed = hashlib.shake_256(label + challenge).digest(CHALLENGE_BYTES)
    return uniform_weights(seed, (REPETITIONS, 1, terms.suite.ring_degree), purpose=b"degree-test")


def combined(terms: DealingTerms, piece: int, parts: Sequence[UInt64Array]) -> UInt64Array:
    """Few residues uint64[K, columns] of the generators -> those of a piece, by its factors."""
    primes = np.array(terms.suite.data_primes, dtype=object)[:, None]
    total: NDArray[np.object_] = np.zeros(parts[0].shape, dtype=object)
    for factor, part in zip(terms.factors(piece), parts, strict=True):
        total = (total + factor.astype(object) * part.astype(object)) % primes
    return total.astype(np.uint64)


@dataclass(frozen=True, slots=True)
class PublishedDealing:
    """The digests of a dealing's sub-shares, one for each new piece, and the members that vouch for them."""

    terms: DealingTerms
    digests: tuple[bytes, ...]
    by: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.by or not set(self.by) <= set(self.terms.dealers):
            raise ValueError(f"a dealing is published by its dealers {self.terms.dealers}, not by {self.by}")
        if len(self.digests) != self.terms.sharing.pieces or any(len(d) != _DIGEST_BYTES for d in self.digests):
            raise KeyGenerationError(
                f"addend {self.terms.addend}: {', '.join(self.by)} must publish {self.terms.sharing.pieces} digests of "
                f"{_DIGEST_BYTES} bytes",
                culprits=self.by,
            )


def _check_test(published: PublishedDealing, challenge: bytes, prover: str) -> None:
    if not published.terms.tested:
        raise ValueError("a replicated sharing has no degree test")
    if prover not in published.by:
        raise ValueError(f"{prover} did not publish this dealing, so its proof proves nothing")
    if len(challenge) != CHALLENGE_BYTES:
        raise ValueError(f"a challenge is {CHALLENGE_BYTES} bytes")


def proof_bytes(terms: DealingTerms, challenge: bytes, values: UInt64Array) -> bytes:
    """The one encoding of a degree proof: a 44-byte header that names the challenge, then uint64[K, t, 4]."""
    primes = terms.suite.data_primes
    return terms.header(Form.DEGREE_PROOF, 0, challenge) + pack_residues(values.reshape(len(primes), -1), primes)


@dataclass(frozen=True, slots=True, eq=False)
class DegreeProof:
    """A dealer's answer to the degree test: the polynomials h by their values at the points 0 to t-1. Public.

    Shapes: values uint64[K, t, 4].
    """

    published: PublishedDealing
    challenge: bytes
    values: UInt64Array
    prover: str

    def __post_init__(self) -> None:
        _check_test(self.published, self.challenge, self.prover)
        terms, primes = self.published.terms, self.published.terms.suite.data_primes
        shape = (len(primes), terms.free + 1, REPETITIONS)
        object.__setattr__(self, "values", frozen(self.values, np.uint64, shape))
        if (self.values >= np.array(primes, dtype=np.uint64)[:, None, None]).any():
            raise ValueError("a residue is not below its prime")

    def encode(self) -> bytes:
        """The one encoding."""
        return proof_bytes(self.published.terms, self.challenge, self.values)

    @classmethod
    def decode(cls, data: bytes, published: PublishedDealing, challenge: bytes, *, prover: str) -> "DegreeProof":
        """Read a dealer's answer. Run by: anyone.

        Raises:
            KeyGenerationError: not the one encoding of an answer to this challenge; `culprits` names the prover.
            ValueError: the sharing is replicated, the challenge is not 32 bytes, or the prover is no publisher.
        """
        _check_test(published, challenge, prover)
        terms, columns = published.terms, REPETITIONS * (published.terms.free + 1)
        header = terms.header(Form.DEGREE_PROOF, 0, challenge)
        try:
            if len(data) != len(header) + columns * sum(terms.suite.residue_bytes):
                raise DecodeError(f"another length: {len(data)} bytes")
            if data[: len(header)] != header:
                raise DecodeError("the header is for another dealing, challenge, ring or form")
            values = unpack_residues(data[len(header) :], columns, terms.suite.data_primes)
        except DecodeError as exc:
            message = f"addend {terms.addend}: the degree proof of {prover}: {exc}"
            raise KeyGenerationError(message, culprits=(prover,)) from exc
        return cls(published, challenge, values.reshape(-1, terms.free + 1, REPETITIONS), prover)


def degree_challenge(dealings: Sequence[PublishedDealing], position: bytes) -> bytes:
    """The challenge of the degree test, from the digests that were published before. Run by: anyone.

    `position` is 32 bytes of the ledger that nobody could choose: `secure_bfl.deliveries` gives the position of the
    ceremony or handover itself and one dealing at a time, so that a dealing has one challenge on every fork of the log.
    Several dealings, in any order, count in the order of their addends.

    Every dealer whose digests enter can compute the challenge of others before it publishes, and choose: T attempts
    multiply the bound of the test by T. So digests must be committed to before anybody acts on the challenge.

    Raises:
        ValueError: the position is not 32 bytes.
    """
    if len(position) != 32:
        raise ValueError("the position is the 32 bytes of the ledger that make the ceremony or handover unique")
    hashed = hashlib.sha256(b"secure-bfl/degree-challenge/v1" + position)
    for dealing in sorted(dealings, key=lambda d: d.terms.addend):
        hashed.update(dealing.terms.label + dealing.terms.addend.to_bytes(2, "little"))
        hashed.update(b"".join(dealing.digests))
    return hashed.digest()


def _examined(published: PublishedDealing, piece: int, data: bytes, proof: DegreeProof | None) -> SubShare:
    """The sub-share in bytes that have the published digest; KeyGenerationError for what is wrong with it."""
    terms, primes = published.terms, np.array(published.terms.suite.data_primes, dtype=np.uint64)[:, None]
    try:
        subshare = SubShare.decode(data, terms, piece)
    except DecodeError as exc:
        message = f"addend {terms.addend}, dealt by {', '.join(published.by)}: {exc}"
        raise KeyGenerationError(message, culprits=published.by) from exc
    if proof is not None:
        point = combined(terms, piece, [proof.values[:, i] for i in range(terms.free + 1)])
        folds = fold(terms, subshare.value(), fold_weights(terms, proof.challenge))
        if not np.array_equal((subshare.masks() + folds) % primes, point):
            message = (
                f"addend {terms.addend}: the sub-share of piece {piece} is not on the polynomials of degree "
                f"{terms.free} that {proof.prover} opened"
            )
            raise KeyGenerationError(message, culprits=(proof.prover,))
    return subshare


def _check_proof(published: PublishedDealing, piece: int, proof: DegreeProof | None) -> None:
    published.terms.check_piece(piece)
    if (proof is not None) != published.terms.tested:
        raise ValueError("a degree proof comes with a dealing to Shamir's sharing, and never else")
    if proof is not None and proof.published != published:
        raise ValueError("the degree proof is of another dealing")


def check_subshare(
    published: PublishedDealing, piece: int, data: bytes, *, sender: str, proof: DegreeProof | None = None
) -> SubShare:
    """Check a sub-share against what its dealers published. Run by: a holder of the new piece.

    `sender` delivered the bytes; `proof` is required in Shamir's sharing.

    Raises:
        KeyGenerationError: `culprits` names the sender, if the bytes do not have the published digest; those who
            published it, if they have it and are malformed; the prover, if the proof does not fit them.
        ValueError: the proof is missing, or of another dealing.
        IndexError: the sharing has no such piece.
    """
    _check_proof(published, piece, proof)
    if hashlib.sha256(data).digest() != published.digests[piece]:
        raise KeyGenerationError(
            f"addend {published.terms.addend}: what {sender} sent for piece {piece} does not have the published digest",
            culprits=(sender,),
        )
    return _examined(published, piece, data, proof)


def convicted(
    published: PublishedDealing, piece: int, data: bytes, *, proof: DegreeProof | None = None
) -> tuple[str, ...]:
    """Whom an opened sub-share proves guilty. Run by: anyone, once a holder or a dealer has opened it.

    Bytes with the published digest that are not a sub-share convict those who published it; a sub-share off the
    polynomials that the proof opens convicts the prover, which vouched for both. Nobody is convicted by bytes with
    another digest, which anybody can make up, or by a sub-share that is right.

    Raises:
        ValueError: the proof is missing, or of another dealing.
        IndexError: the sharing has no such piece.
    """
    _check_proof(published, piece, proof)
    if hashlib.sha256(data).digest() != published.digests[piece]:
        return ()
    try:
        _examined(published, piece, data, proof)
    except KeyGenerationError as exc:
        return exc.culprits
    return ()
