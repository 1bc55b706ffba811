"""What the generators share: the source of randomness, the form of large arrays, the example federations."""

import hashlib
from collections.abc import Callable
from functools import cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

import ledger
from protocols import ProtocolError
from protocols.ring import ring
from protocols.suites import Suite, suite
from protocols.tckks import (
    Ceremony,
    JointKey,
    MemberKey,
    NoiseBudget,
    PieceKey,
    PieceSeed,
    ReplicatedSharing,
    Sharing,
    deal,
    derive_piece,
    join,
)

Json: TypeAlias = dict[str, Any]
SUITE = suite(8192)
EXAMPLE = Suite("tckks-256-example", 256, SUITE.data_primes, SUITE.special_prime, 75)
DATA = ring(SUITE.ring_degree, SUITE.data_primes)
FULL = ring(SUITE.ring_degree, SUITE.key_primes)
CLIENTS = 2
WIDTH = 20


def bytes_of(label: str, size: int = 32) -> bytes:
    """The vectors' only source of randomness."""
    return hashlib.shake_256(b"secure-bfl/vectors/v2/" + label.encode()).digest(size)


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def summary(array: NDArray[Any]) -> Json:
    """A large array in short."""
    kind = {"u": "<u8", "i": "<i8"}[array.dtype.kind]
    flat = np.ascontiguousarray(array, dtype=kind).reshape(-1)
    return {
        "shape": list(array.shape),
        "sha256": sha(flat.tobytes()),
        "first": flat[:8].tolist(),
        "last": flat[-8:].tolist(),
    }


def failure(operation: Callable[[], object], why: str) -> Json:
    """Run what must fail; which error it is, whom it names, and why it fails."""
    try:
        operation()
    except (ProtocolError, ledger.LedgerError) as error:
        return {"error": type(error).__name__, "culprits": list(error.culprits), "why": why}
    except ValueError:
        return {"error": "ValueError", "culprits": [], "why": why}
    raise AssertionError("this operation must fail")


class Federation:
    """A key generation with every secret of every dealer, as no single party ever has them."""

    def __init__(self, preset: Suite, sharing: Sharing, label: str) -> None:
        self.label = label
        self.ceremony = Ceremony(preset, sharing, bytes_of(f"{label}/position"))
        dealt = [deal(self.ceremony, member, rand=self.rand(member)) for member in range(1, sharing.members + 1)]
        self.seeds: dict[int, PieceSeed] = {seed.piece: seed for seeds in dealt for seed in seeds}
        self.derived = {addend: derive_piece(self.ceremony, self.seeds[addend]) for addend in sorted(self.seeds)}
        self.parts = {addend: part for addend, (_, part) in self.derived.items()}
        self.joint: JointKey = join(self.ceremony, self.parts)
        self.budget = NoiseBudget.of(preset, sharing, CLIENTS)
        self.layout = self.budget.layout(WIDTH)

    def rand(self, member: int) -> bytes:
        return bytes_of(f"{self.label}/deal/{member}")

    @property
    def pieces(self) -> dict[int, PieceKey]:
        """The pieces of a replicated sharing, which are its addends."""
        return {addend: key for addend, (key, _) in self.derived.items()}

    def member(self, member: int, *, epoch: int = 0) -> MemberKey:
        sharing = self.ceremony.sharing
        held = {piece: self.pieces[piece] for piece in sharing.held_by(member)}
        return MemberKey(member, self.joint, held, sharing=sharing, epoch=epoch)


@cache
def replicated() -> Federation:
    """2 of 3 at ring degree 8192."""
    return Federation(SUITE, ReplicatedSharing(3, 2), "replicated")
