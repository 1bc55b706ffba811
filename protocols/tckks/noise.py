"""Every bound on noise, in one place.

Spec: tckks §6 (v1). Symbols: N ring degree; m number of ternary pieces in the secret; C clients; W = 2^b the smudging
bound of one piece; D coefficients ever opened under one key; p the special prime.

- Fresh error of a ciphertext: std^2 = (1 + 2Nm/3)/12 (rounding when the special prime is dropped)
  + 10.5 (1 + 4Nm/3) / p^2 (SEAL's centred binomial errors, shrunk by p).
- The dry run's test ciphertext is made without the special prime, so its error is not shrunk: std^2 = 10.5 (1 + 4Nm/3).
- Correctness is decided with absolute bounds, so it has no tail: max(C*E, E_test) + m*W < scale/2.
- Smudging hides the error: the total variation between W-uniform noise and the same noise shifted by e is |e|/(2W)
  per coefficient, so over D coefficients at most D * C * std / (2W) = 2^-lambda. C clients count as C, not sqrt(C),
  because whoever adds the ciphertexts could add one of them C times. The dry run's N coefficients count with the
  test's own std where that is larger.
"""

import math
from dataclasses import dataclass
from typing import Final

from ..digits import DigitLayout
from ..errors import CapacityError
from ..suites import Suite

__all__ = ["ERROR_BOUND", "ERROR_VARIANCE", "MINIMUM_LAMBDA", "NoiseBudget"]

ERROR_BOUND: Final = 21  # centred binomial with 21 + 21 coins, SEAL's error law
ERROR_VARIANCE: Final = 10.5
MINIMUM_LAMBDA: Final = 40  # statistical bits below which a plan is refused


@dataclass(frozen=True, slots=True)
class NoiseBudget:
    """The noise of one key: suite, pieces in the secret, and the largest number of summed ciphertexts."""

    suite: Suite
    pieces: int
    clients: int

    def __post_init__(self) -> None:
        if self.pieces < 1 or self.clients < 1:
            raise ValueError("a key has at least one piece and serves at least one client")
        if self.plaintext_bits < 2:
            raise CapacityError(f"suite {self.suite.name} has no room left for a message above its noise")

    @property
    def error_std(self) -> float:
        """Standard deviation of a fresh ciphertext's error, per coefficient."""
        spread = self.suite.ring_degree * self.pieces
        rounding = (1 + 2 * spread / 3) / 12
        return math.sqrt(rounding + ERROR_VARIANCE * (1 + 4 * spread / 3) / self.suite.special_prime**2)

    @property
    def error_bound(self) -> int:
        """The largest error any honest fresh ciphertext can have, per coefficient."""
        spread = self.suite.ring_degree * self.pieces
        return (1 + spread) // 2 + 1 + (ERROR_BOUND * (2 * spread + 1)) // self.suite.special_prime + 1

    @property
    def test_error_std(self) -> float:
        """Standard deviation of the error of the dry run's test ciphertext, per coefficient."""
        return math.sqrt(ERROR_VARIANCE * (1 + 4 * self.suite.ring_degree * self.pieces / 3))

    @property
    def test_error_bound(self) -> int:
        """The largest error the test ciphertext can have, per coefficient."""
        return ERROR_BOUND * (2 * self.suite.ring_degree * self.pieces + 1)

    @property
    def noise_bound(self) -> int:
        """The largest total noise in an honest opening: all pieces' smudging and all clients' errors, or the test's."""
        errors = max(self.clients * self.error_bound, self.test_error_bound)
        return (self.pieces << self.suite.smudging_bits) + errors

    @property
    def scale_bits(self) -> int:
        """log2 of the scale that lifts messages above the noise: noise_bound < scale / 2."""
        return (2 * self.noise_bound).bit_length()

    @property
    def plaintext_bits(self) -> int:
        """Largest p so that messages |M| < 2^(p-1) decrypt exactly: scale * 2^(p-1) <= Q/2."""
        return self.suite.data_modulus.bit_length() - 1 - self.scale_bits

    def layout(self, width: int) -> DigitLayout:
        """As many digits of this width as a coefficient can carry.

        Raises:
            CapacityError: not even one fits.
        """
        per_coefficient = self.plaintext_bits // width
        if per_coefficient < 1:
            raise CapacityError(
                f"a digit of {width} bits does not fit the {self.plaintext_bits} message bits of {self.suite.name}"
            )
        return DigitLayout(width, per_coefficient, self.suite.ring_degree)

    def smudging_lambda(self, coefficients: int) -> int:
        """Statistical bits that remain after this many coefficients, the dry run's among them, were ever opened."""
        if coefficients < 1:
            raise ValueError("at least one coefficient is opened")
        each = self.clients * self.error_std
        shift = coefficients * each + self.suite.ring_degree * max(0.0, self.test_error_std - each)
        return math.floor(self.suite.smudging_bits + 1 - math.log2(shift))

    def require(self, coefficients: int) -> int:
        """The statistical bits, refused if too few.

        Raises:
            CapacityError: with the numbers.
        """
        bits = self.smudging_lambda(coefficients)
        if bits < MINIMUM_LAMBDA:
            raise CapacityError(
                f"opening {coefficients} coefficients for {self.clients} clients leaves 2^{-bits} of smudging on "
                f"{self.suite.name}; at least 2^-{MINIMUM_LAMBDA} is required: "
                "fewer rounds, fewer clients or a larger ring"
            )
        return bits
