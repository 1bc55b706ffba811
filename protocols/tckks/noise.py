"""Every bound on noise, in one place.

Spec: tckks §6 (v1). Symbols: N ring degree; m ternary addends in the secret; r smudging noises in an opening;
C clients; W = 2^b the smudging bound of one answer; P the product of the dropped primes; D coefficients ever opened
under one key; p the special prime.

- Fresh error of a ciphertext: std^2 = (1 + 2Nm/3)/12 (rounding when the special prime is dropped)
  + 10.5 (1 + 4Nm/3) / p^2 (SEAL's centred binomial errors, shrunk by p).
- The dry run's test ciphertext is made without the special prime, so its error is not shrunk: std^2 = 10.5 (1 + 4Nm/3).
- Answers are divided by P, which rounds r + 1 times by a little over one half. The scale is P * 2^s, so after the
  division it is 2^s. Correctness is decided with absolute bounds, so it has no tail:
  (r*W + max(C*E, E_test)) / P + (r + 1)/2 + 1 < 2^(s-1).
- Smudging hides the error: the total variation between W-uniform noise and the same noise shifted by e is |e|/(2W)
  per coefficient, so over D coefficients at most D * C * std / (2W) = 2^-lambda. C clients count as C, not sqrt(C),
  because whoever adds the ciphertexts could add one of them C times. A dry run's N coefficients count with the
  test's own std where that is larger. The division is done to the smudged answer, so it reveals nothing more.
"""

import math
from dataclasses import dataclass
from typing import Final

from ..digits import DigitLayout
from ..errors import CapacityError
from ..ring import MAX_UNIFORM_BITS
from ..suites import Suite
from .sharing import Sharing

__all__ = ["ERROR_BOUND", "ERROR_VARIANCE", "MAX_SMUDGING_BITS", "MINIMUM_LAMBDA", "NoiseBudget", "OpeningProfile"]

ERROR_BOUND: Final = 21  # centred binomial with 21 + 21 coins, SEAL's error law
ERROR_VARIANCE: Final = 10.5
MAX_SMUDGING_BITS: Final = MAX_UNIFORM_BITS - 1  # 95: noise on [-2^b, 2^b) is drawn with b + 1 bits
MINIMUM_LAMBDA: Final = 40  # statistical bits below which a plan is refused


@dataclass(frozen=True, slots=True)
class OpeningProfile:
    """How answers are made: uniform noise on [-2^smudging_bits, 2^smudging_bits), then `dropped` primes divided out."""

    smudging_bits: int
    dropped: int

    def __post_init__(self) -> None:
        if not 1 <= self.smudging_bits <= MAX_SMUDGING_BITS:
            raise ValueError(f"smudging has 1 to {MAX_SMUDGING_BITS} bits, not {self.smudging_bits}")
        if self.dropped < 0:
            raise ValueError("a number of dropped primes is not negative")

    @classmethod
    def exact(cls, suite: Suite) -> "OpeningProfile":
        """The profile of every opening that ends in integers."""
        return cls(suite.smudging_bits, suite.dropped)


@dataclass(frozen=True, slots=True)
class NoiseBudget:
    """The noise of one key: suite, ternary addends in the secret, smudging noises in an opening, summed ciphertexts.

    The last two are upper bounds, fixed with the key, since they fix the scale: a later committee whose openings would
    hold more noises than `answers` is refused (`admits`).
    """

    suite: Suite
    addends: int
    answers: int
    clients: int

    def __post_init__(self) -> None:
        if self.addends < 1 or self.answers < 1 or self.clients < 1:
            raise ValueError("a key has at least one addend and one answer, and serves at least one client")
        if self.plaintext_bits < 2:
            raise CapacityError(f"suite {self.suite.name} has no room left for a message above its noise")

    @classmethod
    def of(cls, suite: Suite, sharing: Sharing, clients: int) -> "NoiseBudget":
        """The budget of a key that stays with one committee."""
        return cls(suite, sharing.addends, sharing.answers, clients)

    def admits(self, sharing: Sharing) -> bool:
        """Whether every honest opening of a committee with this sharing stays within `noise_bound`."""
        return sharing.answers <= self.answers

    @property
    def error_std(self) -> float:
        """Standard deviation of a fresh ciphertext's error, per coefficient."""
        spread = self.suite.ring_degree * self.addends
        rounding = (1 + 2 * spread / 3) / 12
        return math.sqrt(rounding + ERROR_VARIANCE * (1 + 4 * spread / 3) / self.suite.special_prime**2)

    @property
    def error_bound(self) -> int:
        """The largest error any honest fresh ciphertext can have, per coefficient."""
        spread = self.suite.ring_degree * self.addends
        return (1 + spread) // 2 + 1 + (ERROR_BOUND * (2 * spread + 1)) // self.suite.special_prime + 1

    @property
    def test_error_std(self) -> float:
        """Standard deviation of the error of the dry run's test ciphertext, per coefficient."""
        return math.sqrt(ERROR_VARIANCE * (1 + 4 * self.suite.ring_degree * self.addends / 3))

    @property
    def test_error_bound(self) -> int:
        """The largest error the test ciphertext can have, per coefficient."""
        return ERROR_BOUND * (2 * self.suite.ring_degree * self.addends + 1)

    @property
    def noise_bound(self) -> int:
        """The largest noise in an honest opening, after the division by P: smudging, errors and rounding."""
        errors = max(self.clients * self.error_bound, self.test_error_bound)
        undivided = (self.answers << self.suite.smudging_bits) + errors
        return -(-undivided // self.suite.dropped_modulus) + (self.answers + 1) // 2 + 1

    @property
    def scale_shift(self) -> int:
        """s: an opened coefficient is 2^s times the message plus noise, and noise_bound < 2^(s-1)."""
        return (2 * self.noise_bound).bit_length()

    @property
    def scale(self) -> int:
        """Delta = P * 2^s, by which a message is multiplied before it is encrypted."""
        return self.suite.dropped_modulus << self.scale_shift

    @property
    def plaintext_bits(self) -> int:
        """Largest p so that messages |M| < 2^(p-1) decrypt exactly: 2^s * 2^(p-1) <= Q'/2."""
        return self.suite.answer_modulus.bit_length() - 1 - self.scale_shift

    def layout(self, width: int, *, checksum: int = 0) -> DigitLayout:
        """As many digits of this width as a coefficient can carry, a checksum digit among them if it has a modulus.

        Raises:
            CapacityError: not even one fits.
        """
        per_coefficient = self.plaintext_bits // width
        if per_coefficient < 1:
            raise CapacityError(
                f"a digit of {width} bits does not fit the {self.plaintext_bits} message bits of {self.suite.name}"
            )
        return DigitLayout(width, per_coefficient, self.suite.ring_degree, checksum)

    def smudging_lambda(self, coefficients: int, *, tests: int = 1) -> int:
        """Statistical bits that remain after opening so many coefficients, those of `tests` dry runs among them."""
        if coefficients < 1:
            raise ValueError("at least one coefficient is opened")
        each = self.clients * self.error_std
        shift = coefficients * each + tests * self.suite.ring_degree * max(0.0, self.test_error_std - each)
        return math.floor(self.suite.smudging_bits + 1 - math.log2(shift))

    def require(self, coefficients: int, *, tests: int = 1) -> int:
        """The statistical bits, refused if too few.

        Raises:
            CapacityError: with the numbers.
        """
        bits = self.smudging_lambda(coefficients, tests=tests)
        if bits < MINIMUM_LAMBDA:
            raise CapacityError(
                f"opening {coefficients} coefficients for {self.clients} clients on {self.suite.name}: "
                f"statistical distance at most 2^{-bits}, where at most 2^-{MINIMUM_LAMBDA} is demanded: "
                "fewer rounds or fewer clients"
            )
        return bits
