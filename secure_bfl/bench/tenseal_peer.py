"""The peer that is measured beside us: TenSEAL's `ckks_vector`, and SEAL's NTT as a yardstick between machines.

It imports `tenseal` itself, since what it measures is TenSEAL as its users call it, and not what we make of it.
"""

from typing import Final

import numpy as np
import tenseal as ts
import tenseal.sealapi as seal

from protocols.arrays import Float64Array
from protocols.suites import Suite

from .clocks import cpu_seconds

__all__ = ["COEFFICIENT_BITS", "DEGREE", "SCALE_BITS", "TensealPeer", "seal_ntt_seconds"]

DEGREE: Final = 8192
COEFFICIENT_BITS: Final = (60, 40, 40, 60)
SCALE_BITS: Final = 40
_LARGEST_ERROR: Final = 1e-3


class TensealPeer:
    """TenSEAL with the parameters of its tutorials: N = 8192, 60-40-40-60 bits, scale 2^40; one thread, one key."""

    def __init__(self) -> None:
        bits = list(COEFFICIENT_BITS)
        self._context = ts.context(ts.SCHEME_TYPE.CKKS, DEGREE, coeff_mod_bit_sizes=bits, n_threads=1)
        self._context.global_scale = 2**SCALE_BITS

    def encrypt(self, values: Float64Array) -> list[bytes]:
        """A client's whole work: 4096 values a vector, encrypted and serialised."""
        slots = DEGREE // 2
        parts = (values[start : start + slots] for start in range(0, len(values), slots))
        return [ts.ckks_vector(self._context, part).serialize() for part in parts]

    def check(self, encrypted: list[bytes], values: Float64Array) -> None:
        """Make sure that what was measured was an encryption of these values: the first and the last vector.

        Raises:
            ValueError: it was not.
        """
        slots = DEGREE // 2
        for index in {0, len(encrypted) - 1}:
            opened = np.array(ts.ckks_vector_from(self._context, encrypted[index]).decrypt())
            expected = values[index * slots : (index + 1) * slots]
            if len(opened) != len(expected) or np.abs(opened - expected).max() > _LARGEST_ERROR:
                raise ValueError("TenSEAL decrypts to other values than were encrypted")


def seal_ntt_seconds(suite: Suite, runs: int) -> list[float]:
    """CPU seconds of SEAL's forward NTT of one polynomial over the suite's data primes, `runs` times."""
    parameters = seal.EncryptionParameters(seal.SCHEME_TYPE.CKKS)
    parameters.set_poly_modulus_degree(suite.ring_degree)
    parameters.set_coeff_modulus([seal.Modulus(q) for q in suite.key_primes])
    context = seal.SEALContext(parameters, True, seal.SEC_LEVEL_TYPE.TC128)
    key, ciphertext = seal.PublicKey(), seal.Ciphertext()
    seal.KeyGenerator(context).create_public_key(key)
    seal.Encryptor(context, key).encrypt_zero(ciphertext)
    evaluator, found = seal.Evaluator(context), []
    for _ in range(runs + 1):
        evaluator.transform_from_ntt_inplace(ciphertext)
        found.append(cpu_seconds(lambda: evaluator.transform_to_ntt_inplace(ciphertext)) / ciphertext.size())
    return found[1:]
