"""The parameter presets.

Spec: tckks §1 (v1). A suite fixes the ring degree N, the data primes (whole bytes, at most 48 bits, so that residues
travel without waste), the special prime that only public-key encryption uses, and the smudging bound. SEAL must accept
every suite at 128 bits (`protocols.tckks.encrypt.check_suite`).

Source of the modulus bounds: Homomorphic Encryption Standard (HomomorphicEncryption.org, 2018), table 1, ternary
secret, classical 128-bit security.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from .errors import CapacityError
from .ring import is_prime

__all__ = ["MAX_MODULUS_BITS", "RING_DEGREES", "Suite", "for_model", "residue_bytes", "suite"]

MAX_MODULUS_BITS: Final = {8192: 218, 16384: 438, 32768: 881}
RING_DEGREES: Final = tuple(MAX_MODULUS_BITS)
_SPECIAL_BITS: Final = 17
# Whole bytes, at most 48 bits. The last two are dropped from every answer: together two bits or more below the
# smudging bound, so that what is dropped is noise.
_DATA_BITS: Final = {8192: (48, 48, 32, 48, 24), 16384: (*[48] * 6, 40, 48, 40), 32768: (*[48] * 16, 48, 40)}
_DROPPED: Final = 2
# Smudging noise is uniform on [-2^b, 2^b) per key piece; larger where the modulus has the room.
_SMUDGING_BITS: Final = {8192: 75, 16384: 90, 32768: 90}
# A ring is used up to this many parameters: beyond, the next one needs fewer bytes for each, in spite of its padding.
_LARGEST_MODEL: Final = {8192: 40_960, 16384: 4_000_000}


def residue_bytes(primes: tuple[int, ...]) -> tuple[int, ...]:
    """Whole bytes that hold a residue of each prime."""
    return tuple((q.bit_length() + 7) // 8 for q in primes)


@dataclass(frozen=True, slots=True)
class Suite:
    """One preset: all that fixes the ring and the smudging of a federation's key."""

    name: str
    ring_degree: int
    data_primes: tuple[int, ...]
    special_prime: int
    smudging_bits: int

    @property
    def key_primes(self) -> tuple[int, ...]:
        """The primes of the public key: the data primes and the special one, last."""
        return (*self.data_primes, self.special_prime)

    @property
    def data_modulus(self) -> int:
        """Q, the product of the data primes."""
        return math.prod(self.data_primes)

    @property
    def dropped(self) -> int:
        """How many of the last data primes an answer drops: what they hold is noise."""
        return _DROPPED

    @property
    def answer_primes(self) -> tuple[int, ...]:
        """The primes of an answer: the data primes that are kept."""
        return self.data_primes[: -self.dropped]

    @property
    def dropped_modulus(self) -> int:
        """P, the product of the dropped primes."""
        return math.prod(self.data_primes[-self.dropped :])

    @property
    def answer_modulus(self) -> int:
        """Q' = Q / P, the product of an answer's primes."""
        return math.prod(self.answer_primes)

    @property
    def residue_bytes(self) -> tuple[int, ...]:
        """Bytes on the wire for a residue of each data prime."""
        return residue_bytes(self.data_primes)


def _largest_prime(bits: int, degree: int, taken: list[int]) -> int:
    candidate = ((1 << bits) - 1) // (2 * degree) * (2 * degree) + 1
    while candidate in taken or not is_prime(candidate):
        candidate -= 2 * degree
        if candidate < 1 << (bits - 1):
            raise CapacityError(f"no further {bits}-bit prime is 1 modulo {2 * degree}")
    return candidate


@lru_cache(maxsize=8)
def suite(ring_degree: int) -> Suite:
    """The preset for one ring degree.

    Raises:
        ValueError: no preset has this ring degree.
    """
    if ring_degree not in MAX_MODULUS_BITS:
        raise ValueError(f"no suite has ring degree {ring_degree}; choose one of {', '.join(map(str, RING_DEGREES))}")
    primes: list[int] = []
    for bits in (*_DATA_BITS[ring_degree], _SPECIAL_BITS):
        primes.append(_largest_prime(bits, ring_degree, primes))
    total_bits = sum(q.bit_length() for q in primes)
    if total_bits > MAX_MODULUS_BITS[ring_degree]:
        raise CapacityError(f"{total_bits} modulus bits exceed the table's {MAX_MODULUS_BITS[ring_degree]}")
    *data, special = primes
    return Suite(f"tckks-{ring_degree}-v1", ring_degree, tuple(data), special, _SMUDGING_BITS[ring_degree])


def for_model(parameters: int) -> Suite:
    """The preset for a model of this many parameters: the smallest ring that does not waste bytes on it."""
    if parameters < 1:
        raise ValueError("a model has at least one parameter")
    return suite(next((degree for degree, most in _LARGEST_MODEL.items() if parameters <= most), RING_DEGREES[-1]))
