"""What a dealer gives to the holders of one new piece: a sub-share, its bytes, and the mask it wears in public.

Spec: tckks §3.6 (v1). Dealing an element x of R_Q to a sharing means drawing uniform values, the **free** ones, for as
many pieces as may be known together without x, and computing the others, the **bound** ones, from these and from x:

- replicated: every piece but the last is free; the last is x minus their sum;
- Shamir: pieces 0 to t-2, the points 1 to t-1, are free; the others are the values at their points of the one
  polynomial of degree t-1 through the free ones and through x at zero.

A free sub-share travels as a 32-byte seed, a bound one in full. In Shamir's sharing a sub-share holds, besides its
value, the value at the same point of a mask polynomial for each repetition of the degree test, and for each other piece
32 bytes that the dealer gives to both: from them the two make the key that masks their answers (`decrypt`).

Sources: Shamir, CACM 1979; pseudorandom shares from seeds: Cramer, Damgård and Ishai, TCC 2005.
"""

import hashlib
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NoReturn

import numpy as np

from ..arrays import UInt64Array, frozen
from ..errors import DecodeError
from ..sampling import Keystream
from ..suites import Suite, residue_bytes
from .shamir import interpolation
from .sharing import ShamirSharing, Sharing

__all__ = ["CONTRIBUTION_BYTES", "REPETITIONS", "DealingTerms", "SubShare", "expand", "masked", "unmasked"]

CONTRIBUTION_BYTES: Final = 32
SUBSHARE_SEED_BYTES: Final = 32
REPETITIONS: Final = 4
"""Independent repetitions of the degree test. One misses with probability 1/q + 2^-39 at most, q the prime: with the
shortest prime of the suites, of 24 bits, four miss with probability 2^-95."""

_MAGIC: Final = b"SBFD"
_VERSION: Final = 1
_HEADER: Final = struct.Struct("<4sBBBBHH32s")


class Form(IntEnum):
    """What follows the header of a message of a dealing."""

    SEED = 1
    VALUE = 2
    DEGREE_PROOF = 3


@dataclass(frozen=True, slots=True)
class DealingTerms:
    """What everybody knows about a dealing before it begins.

    `label` is the 32-byte identity of the ceremony or handover; `sharing` is who gets the sub-shares; `addend` numbers
    the dealing within it; `dealers` names the members that can make it, the one whose duty it is first.
    """

    label: bytes
    suite: Suite
    sharing: Sharing
    addend: int
    dealers: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.label) != 32:
            raise ValueError("the label of a dealing is the 32-byte identity of its ceremony or handover")
        if not 0 <= self.addend < 1 << 16:
            raise ValueError(f"an addend is a 16-bit number, not {self.addend}")
        if not self.dealers or len(set(self.dealers)) != len(self.dealers):
            raise ValueError("a dealing has at least one dealer, each named once")

    @property
    def tested(self) -> bool:
        """Whether sub-shares take the degree test: in Shamir's sharing; in a replicated one any values are right."""
        return isinstance(self.sharing, ShamirSharing)

    @property
    def free(self) -> int:
        """How many pieces have a free value: the first ones."""
        return self.sharing.threshold - 1 if self.tested else self.sharing.pieces - 1

    @property
    def pairs(self) -> int:
        """With how many other pieces a piece has a key in common: in Shamir's sharing, with all."""
        return self.sharing.pieces - 1 if self.tested else 0

    def check_piece(self, piece: int) -> None:
        """Raises IndexError for a piece that the sharing does not have."""
        if not 0 <= piece < self.sharing.pieces:
            raise IndexError(f"there is no piece {piece}")

    def factors(self, piece: int) -> tuple[UInt64Array, ...]:
        """A piece as a sum of factor times value, over the dealt element and the free values, in this order.

        Shapes: free + 1 arrays uint64[K, 1].
        """
        self.check_piece(piece)
        primes = self.suite.data_primes
        if self.tested:
            points = range(self.free + 1)
            at = interpolation(points, piece + 1, primes)
            return tuple(at[point] for point in points)
        one = np.ones((len(primes), 1), dtype=np.uint64)
        if piece == self.free:
            minus_one = np.array(primes, dtype=np.uint64)[:, None] - np.uint64(1)
            return (one, *[minus_one] * self.free)
        return tuple(one if i == piece + 1 else np.zeros_like(one) for i in range(self.free + 1))

    def subshare_bytes(self, piece: int) -> int:
        """The exact length of an encoded sub-share of a piece."""
        self.check_piece(piece)
        start = _HEADER.size + CONTRIBUTION_BYTES * (1 + self.pairs)
        if piece < self.free:
            return start + SUBSHARE_SEED_BYTES
        columns = self.suite.ring_degree + (REPETITIONS if self.tested else 0)
        return start + columns * sum(self.suite.residue_bytes)

    def header(self, form: Form, piece: int, context: bytes) -> bytes:
        """The header of a message of this dealing."""
        log_degree = self.suite.ring_degree.bit_length() - 1
        rows = len(self.suite.data_primes)
        return _HEADER.pack(_MAGIC, _VERSION, form, log_degree, rows, self.addend, piece, context)


def expand(seed: bytes, columns: int, primes: tuple[int, ...], *, purpose: bytes = b"sub-share") -> UInt64Array:
    """The uniform residues that a 32-byte seed stands for: ChaCha20, 8 bytes a draw, rejected above a multiple of the
    prime (`Keystream.below`), prime after prime.

    Shapes: uint64[K, columns].
    """
    stream = Keystream(seed, purpose=purpose)
    return np.stack([stream.below(columns, q) for q in primes])


def pack_residues(residues: UInt64Array, primes: tuple[int, ...]) -> bytes:
    """Residues uint64[K, columns] in the whole bytes of their primes, little endian, prime after prime."""
    rows = zip(residues, residue_bytes(primes), strict=True)
    return b"".join(row.astype("<u8").view(np.uint8).reshape(-1, 8)[:, :width].tobytes() for row, width in rows)


def unpack_residues(data: bytes, columns: int, primes: tuple[int, ...]) -> UInt64Array:
    """Read what `pack_residues` wrote; `data` has the length of `columns` columns.

    Raises:
        DecodeError: a residue is not below its prime.
    """
    residues, at = np.empty((len(primes), columns), dtype=np.uint64), 0
    for row, q, width in zip(residues, primes, residue_bytes(primes), strict=True):
        wide = np.zeros((columns, 8), dtype=np.uint8)
        wide[:, :width] = np.frombuffer(data, np.uint8, columns * width, at).reshape(columns, width)
        row[:] = wide.view("<u8")[:, 0]
        if int(row.max()) >= q:
            raise DecodeError(f"a residue is not below its prime {q}")
        at += columns * width
    return residues


class SubShare:
    """One dealer's part of one new piece. Known to the dealer and to the piece's holders only.

    `content` is the seed of a free sub-share, else the value uint64[K, N], NTT form; `masks` uint64[K, 4] comes with
    a value in Shamir's sharing. `contribution` goes into the new piece's noise key; `pairs`, in Shamir's sharing, into
    the keys that it has in common with each other piece, in their order.

    Raises:
        ValueError: a part has the wrong length or shape, a residue is not below its prime.
        TypeError: a free piece without a seed, or a bound one with a seed.
    """

    __slots__ = ("_content", "_contribution", "_masks", "_pairs", "piece", "terms")

    def __init__(
        self,
        terms: DealingTerms,
        piece: int,
        contribution: bytes,
        content: bytes | UInt64Array,
        masks: UInt64Array | None = None,
        *,
        pairs: tuple[bytes, ...] = (),
    ) -> None:
        terms.check_piece(piece)
        if len(pairs) != terms.pairs or any(len(pair) != CONTRIBUTION_BYTES for pair in pairs):
            raise ValueError(f"a sub-share here has {terms.pairs} contributions of 32 bytes to keys of pairs")
        if len(contribution) != CONTRIBUTION_BYTES:
            raise ValueError(f"a contribution to a noise key is {CONTRIBUTION_BYTES} bytes")
        free, primes = piece < terms.free, terms.suite.data_primes
        if isinstance(content, bytes) != free:
            raise TypeError(f"piece {piece} is dealt {'as a seed' if free else 'in full'}")
        if (masks is not None) != (terms.tested and not free):
            raise ValueError("masks come with a value in Shamir's sharing, and never else")
        if isinstance(content, bytes):
            if len(content) != SUBSHARE_SEED_BYTES:
                raise ValueError(f"the seed of a sub-share is {SUBSHARE_SEED_BYTES} bytes")
        else:
            content = frozen(content, np.uint64, (len(primes), terms.suite.ring_degree))
            masks = None if masks is None else frozen(masks, np.uint64, (len(primes), REPETITIONS))
            column = np.array(primes, dtype=np.uint64)[:, None]
            if any((residues >= column).any() for residues in (content, masks) if residues is not None):
                raise ValueError("a residue is not below its prime")
        self.terms = terms
        self.piece = piece
        self._contribution = bytes(contribution)
        self._content = content
        self._masks = masks
        self._pairs = pairs

    @property
    def pairs(self) -> dict[int, bytes]:
        """The contributions to the keys of pairs, by the other piece."""
        others = (piece for piece in range(self.terms.sharing.pieces) if piece != self.piece)
        return dict(zip(others, self._pairs, strict=False))

    @property
    def contribution(self) -> bytes:
        """The 32 bytes that go into the new piece's noise key."""
        return self._contribution

    def value(self) -> UInt64Array:
        """The addend's part of the new piece, uint64[K, N], NTT form. A seed is expanded at every call."""
        if isinstance(self._content, bytes):
            return expand(self._content, self.terms.suite.ring_degree, self.terms.suite.data_primes)
        return self._content

    def masks(self) -> UInt64Array:
        """The values of the mask polynomials of the degree test, uint64[K, 4].

        Raises:
            ValueError: the sharing is replicated and has no degree test.
        """
        if self._masks is not None:
            return self._masks
        if not self.terms.tested or not isinstance(self._content, bytes):
            raise ValueError("a replicated sharing has no degree test")
        return expand(self._content, REPETITIONS, self.terms.suite.data_primes, purpose=b"degree-mask")

    def encode(self) -> bytes:
        """The one encoding. Secret: it travels masked or sealed.

        A 44-byte header; the contributions, to the noise key and to those of pairs; then the seed, or the masks and the
        value.
        """
        terms, primes = self.terms, self.terms.suite.data_primes
        if isinstance(self._content, bytes):
            header = terms.header(Form.SEED, self.piece, terms.label)
            return b"".join([header, self._contribution, *self._pairs, self._content])
        parts = [terms.header(Form.VALUE, self.piece, terms.label), self._contribution, *self._pairs]
        parts += [pack_residues(part, primes) for part in (self._masks, self._content) if part is not None]
        return b"".join(parts)

    @classmethod
    def decode(cls, data: bytes, terms: DealingTerms, piece: int) -> "SubShare":
        """Read what `encode` wrote for this dealing and piece, and nothing else.

        Raises:
            DecodeError: the length, the header or a residue is not what the terms call for.
        """
        size = terms.subshare_bytes(piece)
        if len(data) != size:
            raise DecodeError(f"a sub-share of piece {piece} has {size} bytes, not {len(data)}")
        form = Form.SEED if piece < terms.free else Form.VALUE
        if data[: _HEADER.size] != terms.header(form, piece, terms.label):
            raise DecodeError("the sub-share's header is for another dealing, piece, ring or form")
        cuts = [_HEADER.size + CONTRIBUTION_BYTES * i for i in range(terms.pairs + 2)]
        contribution, *given = (data[cut : cut + CONTRIBUTION_BYTES] for cut in cuts[:-1])
        pairs, body = tuple(given), data[cuts[-1] :]
        if form is Form.SEED:
            return cls(terms, piece, contribution, body, pairs=pairs)
        primes, masks = terms.suite.data_primes, None
        if terms.tested:
            cut = REPETITIONS * sum(terms.suite.residue_bytes)
            masks, body = unpack_residues(body[:cut], REPETITIONS, primes), body[cut:]
        value = unpack_residues(body, terms.suite.ring_degree, primes)
        return cls(terms, piece, contribution, value, masks, pairs=pairs)

    def digest(self) -> bytes:
        """SHA-256 of the encoding. It tells nothing, as the contribution is 32 bytes that nobody can guess."""
        return hashlib.sha256(self.encode()).digest()

    def __repr__(self) -> str:
        return f"SubShare(addend={self.terms.addend}, piece={self.piece}, <secret>)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a sub-share cannot be pickled or copied")


def masked(data: bytes, key: bytes) -> bytes:
    """An encoded sub-share as it may lie in public: ChaCha20 under a 32-byte key that masks nothing else.

    The mask hides and does not authenticate: the published digest of the sub-share does.
    """
    stream = np.frombuffer(Keystream(key, purpose=b"mask").read(len(data)), dtype=np.uint8)
    return (np.frombuffer(data, dtype=np.uint8) ^ stream).tobytes()


def unmasked(data: bytes, key: bytes) -> bytes:
    """What `masked` hid. Check its digest before use: `check_subshare`."""
    return masked(data, key)
