"""What every rule of the round machine is made of.

A rule judges one kind of entry: it raises `RuleError`, or returns the effect, which then cannot fail.
"""

from collections.abc import Callable
from functools import singledispatch
from typing import TYPE_CHECKING

from .messages import Body

if TYPE_CHECKING:
    from .replay import Replay

__all__ = ["Effect", "RuleError", "require", "rule"]

Effect = Callable[[], None]


class RuleError(Exception):
    """An entry breaks a rule; never leaves the round machine. `hostile` if no honest party could have sent it."""

    def __init__(self, reason: str, *, hostile: bool = False) -> None:
        super().__init__(reason)
        self.hostile = hostile


def require(condition: object, reason: str, *, hostile: bool = False) -> None:
    """Raise `RuleError` unless the condition holds."""
    if not condition:
        raise RuleError(reason, hostile=hostile)


@singledispatch
def rule(body: Body, replay: "Replay", sender: str, index: int) -> Effect:
    """Judge an entry's body, signed by `sender`, as the entry at `index`."""
    raise RuleError(f"{type(body).__name__} has no rule")
