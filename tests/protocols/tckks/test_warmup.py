"""Warming up leaves nothing to be made later."""

import sys

from protocols.ring import engine, ring
from protocols.suites import suite
from protocols.tckks.warmup import warmup


def test_tables_and_engine_are_there_afterwards() -> None:
    chosen = suite(8192)
    assert warmup(chosen) == engine()
    before = ring.cache_info()
    for primes in (chosen.data_primes, chosen.answer_primes, chosen.key_primes):
        ring(chosen.ring_degree, primes)
    assert ring.cache_info().misses == before.misses
    assert (engine() != "numba") or {"protocols._wire_numba", "protocols._fused_numba"} <= set(sys.modules)
