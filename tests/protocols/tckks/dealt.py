"""Dealings over a small ring: the primes of a real suite, 256 coefficients."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from protocols.arrays import UInt64Array
from protocols.ring import Ring, ring
from protocols.suites import Suite, suite
from protocols.tckks.dealing import Dealing
from protocols.tckks.degree import DegreeProof, PublishedDealing, degree_challenge
from protocols.tckks.shamir import lagrange
from protocols.tckks.sharing import ReplicatedSharing, ShamirSharing, Sharing
from protocols.tckks.subshare import DealingTerms

SMALL: Suite = replace(suite(8192), name="test-256", ring_degree=256)
PRIMES = SMALL.data_primes
COLUMN = np.array(PRIMES, dtype=np.uint64)[:, None]
REPLICATED = ReplicatedSharing(4, 3)  # 6 pieces: five seeds and one in full
SHAMIR = ShamirSharing(6, 4)  # 6 pieces: three seeds and three in full
LABEL = hashlib.sha256(b"a ceremony").digest()
POSITION = hashlib.sha256(b"a ledger entry").digest()


def data_ring() -> Ring:
    return ring(SMALL.ring_degree, PRIMES)


def seed(*words: object) -> bytes:
    """32 bytes that only look random: the tests are repeatable."""
    return hashlib.sha256(repr(words).encode()).digest()


def element(*words: object, columns: int = SMALL.ring_degree) -> UInt64Array:
    """Uniform residues uint64[K, columns]."""
    rng = np.random.default_rng(int.from_bytes(seed("element", *words), "little"))
    return np.stack([rng.integers(0, q, columns, dtype=np.uint64) for q in PRIMES])


def total(values: Iterable[UInt64Array]) -> UInt64Array:
    """The sum in R_Q."""
    result = np.zeros((len(PRIMES), SMALL.ring_degree), dtype=np.uint64)
    for value in values:
        result = data_ring().add(result, value)
    return result


def opened(sharing: Sharing, values: Sequence[UInt64Array], quorum: tuple[int, ...] | None = None) -> UInt64Array:
    """What the values of all pieces are a sharing of; in Shamir's sharing as `quorum` sees it."""
    if not isinstance(sharing, ShamirSharing):
        return total(values)
    factors = lagrange(quorum or range(1, sharing.threshold + 1), PRIMES)
    return total(data_ring().multiply(values[member - 1], factor) for member, factor in factors.items())


@dataclass(frozen=True)
class Dealt:
    """One honest dealing with all its messages."""

    dealing: Dealing
    published: PublishedDealing
    challenge: bytes
    proof: DegreeProof | None

    @property
    def terms(self) -> DealingTerms:
        return self.dealing.terms

    def data(self, piece: int) -> bytes:
        return self.dealing.share(piece).encode()


def dealt(sharing: Sharing, *words: object, addend: int = 0, dealers: tuple[str, ...] = ("member-1",)) -> Dealt:
    """An honest dealing of `element(*words)`."""
    terms = DealingTerms(LABEL, SMALL, sharing, addend, dealers)
    dealing = Dealing(terms, element(*words), seed("dealing", *words))
    published = PublishedDealing(terms, dealing.digests, dealers)
    challenge = degree_challenge([published], POSITION)
    if not isinstance(sharing, ShamirSharing):
        return Dealt(dealing, published, challenge, None)
    data = dealing.degree_proof(challenge)
    return Dealt(dealing, published, challenge, DegreeProof.decode(data, published, challenge, prover=dealers[0]))


@cache
def honest(sharing: Sharing) -> Dealt:
    """One honest dealing to each sharing, made once."""
    return dealt(sharing, "honest")
