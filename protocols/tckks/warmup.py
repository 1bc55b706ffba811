"""What is done once, done before anybody waits for it."""

from dataclasses import dataclass
from importlib import import_module

from ..ring import Engine, engine, ring
from ..suites import Suite

__all__ = ["CompiledKernels", "warmup"]


@dataclass(frozen=True, slots=True)
class CompiledKernels:
    """Where numba's compiled kernels are kept, and for which processor they are made.

    `folder` is None where nothing can be kept: then every process compiles. `kept`: whether a process finds them there.
    `processor` and `vectors` are LLVM's: its name for the processor, and the widest vectors it may use.
    """

    folder: str | None
    kept: bool
    processor: str
    vectors: str

    @classmethod
    def here(cls) -> "CompiledKernels | None":
        """Look, without compiling anything. None where numba is not installed."""
        try:
            compiler = import_module("protocols._numba_vectors")
        except (ImportError, OSError):
            return None
        return cls(*compiler.kept_kernels(), *compiler.processor())


def warmup(suite: Suite) -> Engine:
    """Choose the engine, compile it where it must be, and make a suite's tables. Run by: anyone, before timed work.

    The first call on a processor compiles, for a quarter of a minute or more, and keeps the result where it can; later
    processes load it in about a second. A caller with a user in front says so first, if `CompiledKernels` calls for it.
    """
    chosen = engine()
    for primes in (suite.data_primes, suite.answer_primes, suite.key_primes):
        made = ring(suite.ring_degree, primes)
        if chosen == "numba":
            made.compiled.ntt(made.constant(1).repeat(suite.ring_degree, axis=1))
    return chosen
