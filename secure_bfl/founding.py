"""A log's first start makes its store; every later one has to find it.

A store that is missing, because a disk is not mounted or a DSN is wrong, must not look like a new log: with its key it
would sign a second root for a size.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ledger import Store, create_durably

__all__ = ["open_store"]

_S = TypeVar("_S", bound=Store)


def open_store(folder: Path, published: Path, opened: Callable[[bool], _S]) -> _S:
    """Open a log's store with `opened(create)`: it may make one only if the log never had one.

    Run by: the sequencer's operator.  That the log has one is kept in the file `founded` in `folder`, where its key is,
    and shows in a checkpoint in the folder `published`.

    Raises:
        StoreError: the store is not there, or cannot be opened; the file cannot be written.
    """
    mark = folder / "founded"
    store = opened(not mark.exists() and not (published / "checkpoint").exists())
    try:
        create_durably(mark, b"The store of this log was made. Without it the log does not start again.\n")
    except BaseException:
        store.close()
        raise
    return store
