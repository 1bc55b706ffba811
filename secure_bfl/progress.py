"""Progress for people: bars on a terminal, plain lines otherwise, nothing with `--json`.

The only importer of `rich`.
"""

import sys
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

__all__ = ["Progress"]


class Progress:
    """Says how far long work is, on standard error. Use it as a context manager."""

    def __init__(self, *, quiet: bool = False) -> None:
        console = Console(file=sys.stderr)
        self._quiet = quiet
        self._bars: Bars | None = None
        self._tasks: dict[str, TaskID] = {}
        if not quiet and console.is_terminal:
            columns = (TextColumn("{task.description:<16}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._bars = Bars(*columns, console=console)

    def __enter__(self) -> Self:
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def __call__(self, what: str, done: int, total: int) -> None:
        """`done` of `total` steps of `what` are finished."""
        if self._quiet:
            return
        if self._bars is None:
            sys.stderr.write(f"{what}: {done} of {total}\n")
            return
        if what not in self._tasks:
            self._tasks[what] = self._bars.add_task(what, total=total)
        self._bars.update(self._tasks[what], completed=done)

    def say(self, line: str) -> None:
        """One line of news."""
        if self._quiet:
            return
        if self._bars is not None:
            self._bars.console.print(line, highlight=False, markup=False)
        else:
            sys.stderr.write(f"{line}\n")
