"""What is fuzzed: one function that reads bytes made by somebody else, and what it may do with them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random

from ledger import LedgerError
from protocols.errors import ProtocolError
from secure_bfl.errors import EdgeError

__all__ = ["OURS", "Target"]

OURS = (LedgerError, ProtocolError, EdgeError)


@dataclass(frozen=True)
class Target:
    """One reader of hostile bytes.

    `run` reads the bytes: it returns if they are accepted, and raises one of `refusals` if not. It asserts what must
    hold of anything accepted, above all that it has one spelling. `make_seeds` makes the valid inputs, the same on
    every call. `reshape` changes an input where a flipped bit would never pass the first check: it knows the structure,
    and mends lengths, digests and signatures. `share` is how many mutations the target gets beside others. While bytes
    are read, no more than `slack + multiple * length` bytes are allocated.
    """

    name: str
    run: Callable[[bytes], None]
    refusals: tuple[type[Exception], ...]
    make_seeds: Callable[[], Sequence[bytes]]
    reshape: Callable[[Random, bytes], bytes] | None = None
    share: float = 1.0
    slack: int = 1 << 15
    multiple: int = 16

    @cached_property
    def seeds(self) -> tuple[bytes, ...]:
        """The valid inputs, made once."""
        return tuple(self.make_seeds())

    def refuses_with(self, exc: BaseException) -> bool:
        """Whether this is how the target refuses. A class that is not this project's must be the very one listed."""
        if isinstance(exc, OURS):
            return isinstance(exc, self.refusals)
        return type(exc) in self.refusals
