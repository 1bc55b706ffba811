"""The joint key for stock TenSEAL users: a public context, their vectors, and approximate sums.

Spec: tckks §7 (v1). A user who has nothing of this library loads `public_context` with `tenseal.context_from`, encrypts
with `tenseal.ckks_vector` and sends `serialize()`. Anyone reads the vectors with `read_vector` and adds them with
`aggregate`; the committee answers with purpose SLOTS and the plan's `OpeningProfile`; `open_slots` decodes.

These sums are reals, not integers, and approximate: each carries the smudging noise, and nothing but that flooding
hides the ciphertexts' error, which depends on the key. That is why the scale is large, why a plan that leaves fewer
than 40 statistical bits is refused, and why integers (`Encryptor`, `combine`), whose noise is rounded away and which
take a tenth of the bytes, are the recommended path. A user's own float64 rounding, in TenSEAL's encoder, comes on top
of the stated error.

Sources: Cheon, Kim, Kim and Song, ASIACRYPT 2017 (the encoding); Li and Micciancio, EUROCRYPT 2021 (approximate
outputs give keys away); Li, Micciancio, Schultz and Sorrell, CRYPTO 2022 (flooding against it). Symbols: N ring degree;
S the scale; r smudging noises in an opening; W = 2^b the smudging bound; C clients; E the bound on a fresh error; P the
product of the last d data primes, which answers drop.

- Rounding, an absolute bound on all that is not smudging: N (C (E + 1/2) + r) / S for the ciphertexts' errors and the
  encodings, plus N (r + 1) (1/2 + 2^-16) P / S for the division of the answers and the sum by P.
- Smudging in one value: the sum over N coefficients of cos(theta_j) times r uniform noises, where the squares of the
  cosines add up to N/2. So its standard deviation is sqrt(N r / 6) W / S. A uniform variable is strictly sub-Gaussian
  (Arbel, Marchal and Nguyen, ESAIM: PS 2020), so 10 of them are exceeded with probability below 2 exp(-50) < 2^-71.
- d is the largest, up to the suite's own, with a rounding of at most tolerance / 16; then b is the largest, up to 95,
  with 10 standard deviations and the rounding within the tolerance.
- Statistical bits: b + 1 - log2(D C std of a fresh error), D all coefficients of all rounds, as in `noise`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ..arrays import Float64Array, UInt64Array
from ..errors import BadShareError, CapacityError, DecodeError
from ..ring import ring
from ..suites import Suite
from . import _tenseal_bytes
from .encrypt import EncryptedVector
from .keys import JointKey
from .noise import MAX_SMUDGING_BITS, MINIMUM_LAMBDA, NoiseBudget, OpeningProfile

__all__ = ["SCALE_BITS", "SlotPlan", "open_slots", "public_context", "read_vector"]

SCALE_BITS: Final = 140  # the most smudging there is then costs less than 1e-9, and sums up to 2^58 fit every ring
_TAIL: Final = 10  # standard deviations that no smudging of a value exceeds, but with probability 2^-71
_ENCODER_ERROR: Final = 2.0**-44  # what float64 in the users' encoder can cost, relative to their largest value
_SLOT_GENERATOR: Final = 3  # SEAL's slot i is the embedding at zeta^(3^i)


def _check_scale(suite: Suite, scale_bits: int) -> None:
    most = suite.data_modulus.bit_length() - 3
    if not 1 <= scale_bits <= most:
        raise ValueError(f"the scale of suite {suite.name} has 1 to {most} bits, not {scale_bits}")


def _sizes(suite: Suite, values: int) -> tuple[int, ...]:
    """The values in each ciphertext, as TenSEAL splits a vector: N/2 in each but the last."""
    if values < 1:
        raise ValueError(f"a vector has at least one value, not {values}")
    slots = suite.ring_degree // 2
    full, rest = divmod(values, slots)
    return (slots,) * full + ((rest,) if rest else ())


def _divisor(suite: Suite, dropped: int) -> int:
    """P, the product of the data primes that answers drop."""
    return math.prod(suite.data_primes[len(suite.data_primes) - dropped :])


@dataclass(frozen=True, slots=True)
class SlotPlan:
    """What TenSEAL users' vectors and their opened sum look like. Public; fixed before anyone encrypts.

    `noise` tells the ring, the key and the largest number of summed vectors. Each vector has `values` reals, at no
    position do the users' absolute values add up to more than `largest`, and at most `rounds` sums are opened under the
    key. `tolerance` is the error allowed in each opened sum, in the users' own units.

    Raises:
        CapacityError: the sums exceed the modulus, or too little smudging is left; with the numbers.
    """

    noise: NoiseBudget
    values: int
    largest: float
    rounds: int
    scale_bits: int = SCALE_BITS
    tolerance: float = 1e-5

    def __post_init__(self) -> None:
        suite = self.noise.suite
        _check_scale(suite, self.scale_bits)
        _sizes(suite, self.values)
        if not (0 < self.largest < math.inf and 0 < self.tolerance < math.inf):
            raise ValueError("largest and tolerance are positive numbers")
        if self.rounds < 1:
            raise ValueError("a plan has at least one round")
        if 2 * self.coefficient_bound >= suite.data_modulus:
            raise CapacityError(
                f"sums up to {self.largest:g} at scale 2^{self.scale_bits} exceed the modulus of {suite.name}: "
                "a smaller scale or a larger ring"
            )
        if self.smudging_lambda < MINIMUM_LAMBDA:
            raise CapacityError(
                f"{self.rounds} openings of {self.blocks} ciphertexts for {self.noise.clients} clients leave "
                f"2^{-self.smudging_lambda} of smudging, with {self._smudging_bits} bits of noise within "
                f"{self.tolerance:g} at scale 2^{self.scale_bits} on {suite.name}; at least 2^-{MINIMUM_LAMBDA} is "
                "required: a larger scale or tolerance, or fewer rounds"
            )

    @property
    def blocks(self) -> int:
        """Ciphertexts of one vector."""
        return len(_sizes(self.noise.suite, self.values))

    def _rounding(self, dropped: int) -> float:
        """Absolute bound on all errors of an opened sum that are not smudging."""
        noise, suite = self.noise, self.noise.suite
        fresh = noise.clients * (noise.error_bound + 0.5) + noise.answers
        division = (noise.answers + 1) * (0.5 + 2.0**-16) * _divisor(suite, dropped) if dropped else 0.0
        return math.ldexp(suite.ring_degree * (fresh + division), -self.scale_bits)

    def _smudging_std(self, bits: int) -> float:
        return math.ldexp(math.sqrt(self.noise.suite.ring_degree * self.noise.answers / 6), bits - self.scale_bits)

    @property
    def _dropped(self) -> int:
        fitting = (d for d in range(self.noise.suite.dropped, 0, -1) if self._rounding(d) <= self.tolerance / 16)
        return next(fitting, 0)

    @property
    def _smudging_bits(self) -> int:
        left = self.tolerance - self._rounding(self._dropped)
        fitting = (b for b in range(MAX_SMUDGING_BITS, 0, -1) if _TAIL * self._smudging_std(b) <= left)
        return next(fitting, 0)

    @property
    def profile(self) -> OpeningProfile:
        """How the committee answers: as much smudging as the tolerance allows, and no prime that can be spared."""
        return OpeningProfile(self._smudging_bits, self._dropped)

    @property
    def error_std(self) -> float:
        """Standard deviation of the smudging in an opened sum, in the users' units."""
        return self._smudging_std(self._smudging_bits)

    @property
    def error_bound(self) -> float:
        """No opened sum is further off than this, but with probability 2^-71; at most `tolerance`."""
        return _TAIL * self.error_std + self._rounding(self._dropped)

    @property
    def coefficient_bound(self) -> int:
        """No coefficient of an honest opening exceeds this, times 1/P: the message, smudging, errors and rounding."""
        message = math.ceil(self.largest) << self.scale_bits
        noise = self.noise.answers << self._smudging_bits
        rounding = (self.noise.answers + 1) * _divisor(self.noise.suite, self._dropped)
        return message + noise + rounding + self.noise.clients * (self.noise.error_bound + 1)

    @property
    def smudging_lambda(self) -> int:
        """Statistical bits that remain after all rounds.

        Openings into integers under the same key add their own 2^-lambda to this one's.
        """
        coefficients = self.rounds * self.blocks * self.noise.suite.ring_degree
        shift = coefficients * self.noise.clients * self.noise.error_std
        return math.floor(self._smudging_bits + 1 - math.log2(shift))


def public_context(key: JointKey, *, scale_bits: int = SCALE_BITS) -> bytes:
    """The joint key as a public TenSEAL context, for `tenseal.context_from`. Run by: anyone.

    Written from the public residues alone. TenSEAL's own way, a private context and `make_context_public`, needs the
    whole secret key in one place and leaves a decryptor with it in the "public" object.

    Raises:
        ValueError: the suite has no room for this scale.
    """
    _check_scale(key.suite, scale_bits)
    return _tenseal_bytes.context_proto(key.suite, key.b, key.a, math.ldexp(1.0, scale_bits))


def read_vector(
    data: bytes, key: JointKey, *, sender: str, values: int, scale_bits: int = SCALE_BITS
) -> EncryptedVector:
    """Read what a user's `ckks_vector(...).serialize()` sent. Run by: anyone, on bytes from anyone.

    The bytes do not say under which key they were made: a vector under another key of the same suite is read, and its
    sum does not open. zstd has many spellings of one ciphertext: digests are of `EncryptedVector.encode()`.

    Raises:
        DecodeError: not a fresh or added vector of `values` values at this scale; `culprits` names the sender.
        ValueError: the caller asks for no values or an impossible scale.
    """
    _check_scale(key.suite, scale_bits)
    sizes = _sizes(key.suite, values)
    try:
        residues = _tenseal_bytes.read_vector_proto(data, key.suite, sizes, math.ldexp(1.0, scale_bits))
    except DecodeError as exc:
        raise DecodeError(f"{sender}: not a TenSEAL vector of the plan: {exc}", culprits=(sender,)) from exc
    return EncryptedVector(key.suite, key.digest, residues)


def open_slots(total: EncryptedVector, answers: Mapping[str, UInt64Array], plan: SlotPlan) -> Float64Array:
    """The approximate sums of TenSEAL users' vectors. Run by: anyone.

    `answers` maps each sender's name to its residues uint64[blocks, K - dropped, N], made with purpose SLOTS and
    `plan.profile`; together they must cover every piece.

    Shapes: result float64[values]. Units: the users' own.
    Guarantees: if every answer and ciphertext is honest, each sum is within `plan.error_bound`, but with probability
    2^-71. A random wrong answer leaves coefficients out of bounds and raises; one that moves the sums a little cannot
    be told from a user who sent other values.

    Raises:
        ValueError: the vector or an answer has not the plan's suite, length or profile.
        BadShareError: a coefficient is out of bounds, or a sum is too large or not real, so at least one answer or
            ciphertext is wrong; `culprits` lists the senders of answers.
    """
    suite, profile = total.suite, plan.profile
    if suite != plan.noise.suite or len(total.residues) != plan.blocks:
        raise ValueError("the encrypted sum has not the suite or length of the plan")
    rows = len(suite.data_primes) - profile.dropped
    if any(answer.shape != (plan.blocks, rows, suite.ring_degree) for answer in answers.values()):
        raise ValueError(f"an answer has not the shape {(plan.blocks, rows, suite.ring_degree)} of the plan's profile")
    data = ring(suite.ring_degree, suite.data_primes)
    kept = ring(suite.ring_degree, suite.data_primes[:rows])
    divisor = _divisor(suite, profile.dropped)
    slack = plan.error_bound + plan.largest * _ENCODER_ERROR
    sums = np.empty((plan.blocks, suite.ring_degree // 2), dtype=np.float64)
    for block, ciphertext in enumerate(total.residues):
        opened = data.rescale(data.inverse_ntt(ciphertext[0]), profile.dropped)
        for answer in answers.values():
            opened = kept.add(opened, answer[block])
        coefficients = kept.compose(opened)
        if (np.abs(coefficients) * divisor > plan.coefficient_bound).any():
            raise _unopened(block, "a coefficient is out of bounds", answers)
        slots = _embedding(_real(coefficients * divisor, plan.scale_bits))
        if (np.abs(slots.imag) > slack).any() or (np.abs(slots.real) > plan.largest + slack).any():
            raise _unopened(block, "a sum is too large or not a real number", answers)
        sums[block] = slots.real
    return sums.reshape(-1)[: plan.values].copy()


def _unopened(block: int, reason: str, answers: Mapping[str, UInt64Array]) -> BadShareError:
    return BadShareError(
        f"block {block} does not open: {reason}, so an answer of {', '.join(answers)} is wrong or a ciphertext was not "
        "honestly made",
        culprits=tuple(answers),
    )


def _real(integers: NDArray[np.object_], scale_bits: int) -> NDArray[np.longdouble]:
    """Integers divided by 2^scale_bits, as precisely as the long double of the platform can hold them."""
    high = integers.astype(np.float64)
    low = (integers - np.array([int(h) for h in high], dtype=object)).astype(np.float64)
    total: NDArray[np.longdouble] = np.ldexp(high.astype(np.longdouble) + low.astype(np.longdouble), -scale_bits)
    return total


def _embedding(coefficients: NDArray[np.longdouble]) -> NDArray[np.clongdouble]:
    """The values of a real polynomial at zeta^(3^i), zeta = exp(i pi / N), i < N/2, by one FFT in long double.

    Shapes: longdouble[N] -> clongdouble[N/2], SEAL's slot order.
    """
    degree = len(coefficients)
    angle = np.arange(degree, dtype=np.longdouble) * (np.arctan2(np.longdouble(0), np.longdouble(-1)) / degree)
    everywhere = np.fft.ifft(coefficients * (np.cos(angle) + 1j * np.sin(angle)), norm="forward")  # at zeta^(2k + 1)
    powers, power = np.empty(degree // 2, dtype=np.int64), 1
    for slot in range(degree // 2):
        powers[slot] = power
        power = power * _SLOT_GENERATOR % (2 * degree)
    slots: NDArray[np.clongdouble] = everywhere[(powers - 1) // 2].astype(np.clongdouble)
    return slots
