"""What is done once, done before anybody waits for it."""

from importlib import import_module

from ..ring import Engine, engine, ring
from ..suites import Suite

__all__ = ["warmup"]


def warmup(suite: Suite) -> Engine:
    """Choose the engine, compile it where it must be, and make a suite's tables. Run by: anyone, before timed work.

    The first call on a processor compiles, for half a minute or more, and keeps the result where it can; later
    processes load it in a second or two. A caller with a user in front says so first.
    """
    chosen = engine()
    if chosen == "numba":
        for module in ("_wire_numba", "_encryption"):
            import_module(f"protocols.{module}")
    for primes in (suite.data_primes, suite.answer_primes, suite.key_primes):
        made = ring(suite.ring_degree, primes)
        if chosen == "numba":
            made.compiled.ntt(made.constant(1).repeat(suite.ring_degree, axis=1))
    return chosen
