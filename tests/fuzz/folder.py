"""Folders for targets that read files: in memory where the system has a place for that, removed at the end."""

import atexit
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path

__all__ = ["emptied", "scratch"]

_SHARED_MEMORY = Path("/dev/shm")


@cache
def _root() -> Path:
    """One folder for this process and those it forks later."""
    memory = _SHARED_MEMORY if os.access(_SHARED_MEMORY, os.W_OK) else None
    root = Path(tempfile.mkdtemp(prefix="secure-bfl-fuzz-", dir=memory))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    return root


def scratch(name: str) -> Path:
    """A folder of this process."""
    folder = _root() / str(os.getpid()) / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def emptied(name: str) -> Path:
    """The same, with nothing in it."""
    shutil.rmtree(_root() / str(os.getpid()) / name, ignore_errors=True)
    return scratch(name)
