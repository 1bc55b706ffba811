"""Stock TenSEAL users and a committee whose secret is in one place, which only a test may have."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import tenseal as ts

from protocols.arrays import Float64Array, UInt64Array
from protocols.ring import Ring, ring
from protocols.suites import suite
from protocols.tckks import (
    EncryptedVector,
    JointKey,
    MemberKey,
    NoiseBudget,
    PieceKey,
    Purpose,
    ReplicatedSharing,
    aggregate,
    partial_decrypt,
)
from protocols.tckks.compat import SCALE_BITS, SlotPlan, public_context, read_vector

SUITE = suite(8192)
SHARING = ReplicatedSharing(3, 2)
VALUES = 9000  # three ciphertexts, the last one partly filled
SIZES = (4096, 4096, 808)
SCALE = math.ldexp(1.0, SCALE_BITS)
USERS = 3
Answers = dict[str, UInt64Array]


@dataclass(frozen=True)
class Team:
    """A joint key, all that its committee holds, and the secret."""

    joint: JointKey
    secret: UInt64Array
    keys: Mapping[int, MemberKey]

    def context(self, scale_bits: int = SCALE_BITS) -> "ts.Context":
        return ts.context_from(public_context(self.joint, scale_bits=scale_bits))


def small(generator: np.random.Generator, bound: int) -> UInt64Array:
    key_ring = ring(SUITE.ring_degree, SUITE.key_primes)
    return key_ring.ntt(key_ring.reduce(generator.integers(-bound, bound + 1, SUITE.ring_degree, dtype=np.int64)))


@cache
def team(seed: int = 1) -> Team:
    generator = np.random.default_rng(seed)
    key_ring = ring(SUITE.ring_degree, SUITE.key_primes)
    a = np.stack([generator.integers(0, q, SUITE.ring_degree, dtype=np.uint64) for q in SUITE.key_primes])
    b = key_ring.constant(0) + np.zeros_like(a)
    secret, pieces = np.zeros_like(a), {}
    rows = len(SUITE.data_primes)
    for number in range(SHARING.pieces):
        piece, error = small(generator, 1), small(generator, 10)
        secret = key_ring.add(secret, piece)
        b = key_ring.add(b, key_ring.subtract(error, key_ring.multiply(a, piece)))
        pieces[number] = PieceKey(number, piece[:rows], hashlib.sha256(bytes([seed, number])).digest())
    joint = JointKey(SUITE, SHARING, b, a)
    keys = {m: MemberKey(m, joint, {p: pieces[p] for p in SHARING.held_by(m)}, sharing=SHARING) for m in (1, 2, 3)}
    return Team(joint, secret[:rows], keys)


def data_ring() -> Ring:
    return ring(SUITE.ring_degree, SUITE.data_primes)


PLAN = SlotPlan(NoiseBudget.of(SUITE, SHARING, USERS), VALUES, largest=400.0, rounds=100)
# The same with little room for smudging, so that its error is large enough to be measured against the prediction.
TIGHT = replace(PLAN, scale_bits=110, rounds=1)


def user_values(user: int) -> Float64Array:
    return np.random.default_rng(100 + user).uniform(-100, 100, VALUES)


def sent(user: int, scale_bits: int = SCALE_BITS) -> bytes:
    return encrypted(user, scale_bits)


@cache
def encrypted(user: int, scale_bits: int) -> bytes:
    """What a stock user sends: three lines of TenSEAL."""
    context = ts.context_from(public_context(team().joint, scale_bits=scale_bits))
    vector = ts.ckks_vector(context, user_values(user).tolist())
    return bytes(vector.serialize())


def read(data: bytes, *, values: int = VALUES, scale_bits: int = SCALE_BITS) -> EncryptedVector:
    return read_vector(data, team().joint, sender="client-7", values=values, scale_bits=scale_bits)


def total(scale_bits: int = SCALE_BITS) -> EncryptedVector:
    return summed(scale_bits)


@cache
def summed(scale_bits: int) -> EncryptedVector:
    return aggregate((read(sent(user, scale_bits), scale_bits=scale_bits) for user in range(USERS)), most=USERS)


def expected() -> Float64Array:
    total_values: Float64Array = np.sum([user_values(user) for user in range(USERS)], axis=0)
    return total_values


def answers(vector: EncryptedVector, plan: SlotPlan, active: tuple[int, ...] = (1, 2)) -> Answers:
    keys = team().keys
    return {
        f"member-{m}": partial_decrypt(keys[m], vector, active, purpose=Purpose.SLOTS, profile=plan.profile).residues
        for m in active
    }


def unsmudged(vector: EncryptedVector, dropped: int) -> Answers:
    """What the whole secret in one hand would answer, without noise."""
    data = data_ring()
    parts = [data.inverse_ntt(data.multiply(ciphertext[1], team().secret)) for ciphertext in vector.residues]
    return {"all": data.rescale(np.stack(parts), dropped)}
