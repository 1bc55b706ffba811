"""The sum of encrypted vectors, which anyone can compute and anyone can check.

Spec: tckks §5 (v1).
"""

from collections.abc import Iterable

import numpy as np

from ..arrays import UInt64Array
from ..ring import ring
from .encrypt import EncryptedVector

__all__ = ["aggregate"]


def aggregate(vectors: Iterable[EncryptedVector]) -> EncryptedVector:
    """Add encrypted vectors, one at a time (memory does not grow with their number). Run by: anyone.

    The result does not depend on the order, bit for bit.

    Raises:
        ValueError: there is none, or two are under different keys or of different length.
    """
    first: EncryptedVector | None = None
    total: UInt64Array = np.empty(0, dtype=np.uint64)
    for vector in vectors:
        if first is None:
            first, total = vector, vector.residues
            continue
        if vector.key_digest != first.key_digest or vector.residues.shape != first.residues.shape:
            raise ValueError("only vectors of one length under one key can be added")
        total = ring(first.suite.ring_degree, first.suite.data_primes).add(total, vector.residues)
    if first is None:
        raise ValueError("there is nothing to add")
    return EncryptedVector(first.suite, first.key_digest, total)
