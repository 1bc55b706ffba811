"""One small finished run for all tests of a worker, and copies of it to damage."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from secure_bfl.layout import PublicFolder

from .commands import SMALL, Answer, demo


@dataclass(frozen=True)
class FinishedRun:
    """A run that the command line made; nobody may change it."""

    out: Path
    answer: Answer

    def copy(self, to: Path) -> Path:
        """A copy of the whole folder, private parts included."""
        shutil.copytree(self.out, to)
        return to


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """digits, 4 clients, 4 members of whom 3 decrypt, 2 rounds."""
    out = tmp_path_factory.mktemp("finished") / "out"
    answer = demo(out, *SMALL)
    assert answer.code == 0, answer.err
    return FinishedRun(out, answer)


@pytest.fixture
def public(finished: FinishedRun, tmp_path: Path) -> PublicFolder:
    """A copy of the run's public folder, alone."""
    return PublicFolder(Path(shutil.copytree(finished.out / "public", tmp_path / "public")))
