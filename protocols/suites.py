"""The parameter presets, computed from the security table rather than typed.

Spec: tckks §1 (v1). A suite fixes the ring degree N, the data primes (whole bytes, at most 48 bits, so that residues
travel without waste), the special prime that only public-key encryption uses, and the smudging bound. SEAL must accept
every suite at 128 bits (`protocols.tckks.encrypt.check_suite`).

Source of the modulus bounds: Homomorphic Encryption Standard (HomomorphicEncryption.org, 2018), table 1, ternary
secret, classical 128-bit security.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from .errors import CapacityError
from .ring import MAX_PRIME_BITS, is_prime

__all__ = ["MAX_MODULUS_BITS", "RING_DEGREES", "Suite", "for_model", "residue_bytes", "suite"]

MAX_MODULUS_BITS: Final = {8192: 218, 16384: 438, 32768: 881}
RING_DEGREES: Final = tuple(MAX_MODULUS_BITS)
_SPECIAL_BITS: Final = 17
# Smudging noise is uniform on [-2^b, 2^b) per key piece; larger where the modulus has the room.
_SMUDGING_BITS: Final = {8192: 75, 16384: 90, 32768: 90}


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
        product = 1
        for q in self.data_primes:
            product *= q
        return product

    @property
    def residue_bytes(self) -> tuple[int, ...]:
        """Bytes on the wire for a residue of each data prime."""
        return residue_bytes(self.data_primes)


def _byte_aligned_bits(modulus_bits: int) -> tuple[int, ...]:
    """Split the data bits into primes of 3 to 6 whole bytes, as few primes as possible."""
    left = (modulus_bits - _SPECIAL_BITS) // 8
    widest, sizes = MAX_PRIME_BITS // 8, []
    while left > 2 * widest - 3:
        sizes.append(widest)
        left -= widest
    if left > widest:  # two primes share what is left; neither may fall under three bytes
        sizes.append(max(left - widest, (left + 1) // 2))
        left -= sizes[-1]
    sizes.append(left)
    return tuple(8 * size for size in sizes)


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
    for bits in (*_byte_aligned_bits(MAX_MODULUS_BITS[ring_degree]), _SPECIAL_BITS):
        primes.append(_largest_prime(bits, ring_degree, primes))
    total_bits = sum(q.bit_length() for q in primes)
    if total_bits > MAX_MODULUS_BITS[ring_degree]:
        raise CapacityError(f"{total_bits} modulus bits exceed the table's {MAX_MODULUS_BITS[ring_degree]}")
    *data, special = primes
    return Suite(f"tckks-{ring_degree}-v1", ring_degree, tuple(data), special, _SMUDGING_BITS[ring_degree])


def for_model(parameters: int) -> Suite:
    """The preset for a model of this many parameters: the small ring while one ciphertext of it is enough."""
    if parameters < 1:
        raise ValueError("a model has at least one parameter")
    return suite(8192 if parameters <= 8192 * 5 else 16384)
