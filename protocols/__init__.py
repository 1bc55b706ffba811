"""The mathematics: deterministic functions from bytes and arrays to bytes and arrays.

Nothing here reads a clock or asks the operating system for randomness, and no key goes through a file. SEAL (`_seal`)
judges parameters and, where numba is missing, transforms residues. The parts: `grid`, `digits` and `packing` (reals to
integers to digits), `suites` and `ring` (parameters and arithmetic), `tckks` (threshold encryption), `dp` (differential
privacy).
"""

from .digits import DigitBlocks, DigitLayout
from .errors import (
    BadShareError,
    CapacityError,
    DecodeError,
    KeyGenerationError,
    PrivacyError,
    ProtocolError,
    QuorumError,
    StateError,
)
from .grid import Grid, GridVector
from .packing import checksum_modulus, digit_width, pack, unpack
from .suites import Suite, suite

__all__ = [
    "BadShareError",
    "CapacityError",
    "DecodeError",
    "DigitBlocks",
    "DigitLayout",
    "Grid",
    "GridVector",
    "KeyGenerationError",
    "PrivacyError",
    "ProtocolError",
    "QuorumError",
    "StateError",
    "Suite",
    "checksum_modulus",
    "digit_width",
    "pack",
    "suite",
    "unpack",
]
