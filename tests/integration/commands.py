"""The command line, called in this process, and what it answered."""

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from secure_bfl.cli import main

SMALL = ("--clients", "4", "--members", "4", "--threshold", "3", "--rounds", "2")
TINY = ("--dataset", "breast-cancer", "--clients", "2", "--members", "2", "--threshold", "2", "--rounds", "1")


@dataclass(frozen=True)
class Answer:
    """Exit code, standard output and standard error of one command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as one JSON value."""
        return json.loads(self.out)

    def errors(self) -> list[str]:
        """The errors that `verify --json` found, as "where: what"."""
        return [f"{f['where']}: {f['what']}" for f in self.json["findings"] if f["level"] == "error"]

    def notes(self) -> list[str]:
        """The harmless oddities that `verify --json` found."""
        return [f"{f['where']}: {f['what']}" for f in self.json["findings"] if f["level"] == "note"]


def call(*arguments: str | Path) -> Answer:
    """Run one command as the shell would, options that cannot be parsed included."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as exc:
            code = exc.code if isinstance(exc.code, int) else 1
    return Answer(code, out.getvalue(), err.getvalue())


def demo(out: Path, *options: str) -> Answer:
    """`demo --json` into a folder."""
    return call("demo", "--out", out, "--json", *options)


def verify(folder: Path, *options: str) -> Answer:
    """`verify --json` of a folder."""
    return call("verify", folder, "--json", *options)


def rejected(folder: Path, *options: str) -> list[str]:
    """The errors for which `verify` turns a folder down; that it does so is asserted."""
    answer = verify(folder, *options)
    assert answer.code == 1
    assert answer.json["ok"] is False
    errors = answer.errors()
    assert errors, "a run was turned down without a reason"
    return errors
