"""An odometer in a file, one durable line after the other, and a mark beside it that outlives it.

Beside the file lie `<file>.lock`, which keeps a second process out, and `<file>.began`, the random identity of the
chain: one that was deleted or exchanged for another is missed, and not begun anew with a full budget.
"""

import hashlib
import os
from glob import escape
from pathlib import Path
from typing import Final, Self

from ledger import StoreError, create_durably, read_bounded
from ledger.files import sync_name
from ledger.locking import WriterLock
from protocols.dp import MAX_DIM

from ..errors import ChainError, StateError
from .budget import Budget
from .chain import Chain
from .lines import IDENTITY_BYTES, START, Opening, encode_line
from .status import OdometerStatus

__all__ = ["FileOdometer", "mark_of", "read_odometer"]

_MAX_BYTES: Final = 64 << 20
_BEGAN_BYTES: Final = 64
_RESTORE: Final = "restore the newest copy, do not edit or delete it"


class FileOdometer(Chain):
    """An odometer in a file, locked against a second process while it is open.

    `epsilon` and `delta` are the budget of the data set. A new file needs them; an old one is refused if its budget is
    another one, and without them keeps what it has. `dim` is the most coordinates of a release in a run begun now.

    Raises:
        ChainError: the chain is broken or gone, or is another one than began there. It is left as it is.
        PrivacyError: its budget is another one.
        StateError: it belongs to another data set or unit, or is new and no budget was given.
        StoreError: another process has it open, or the disk fails.
        TypeError, ValueError: the budget or `dim` is out of range, the data set's name is not 1 to 256 printable ASCII
            characters, or the unit is neither "record" nor "client".
    """

    def __init__(
        self,
        path: Path,
        *,
        dataset: str,
        unit: str,
        epsilon: float | None = None,
        delta: float | None = None,
        dim: int = MAX_DIM,
    ) -> None:
        super().__init__(dim)
        if (epsilon is None) is not (delta is None):
            raise ValueError("a budget is an epsilon and a delta: give both or none")
        budget = None if epsilon is None or delta is None else Budget.of(epsilon, delta)
        self._failed = False
        self.path = _resolved(Path(path))
        self._lock = WriterLock(self.path.with_name(self.path.name + ".lock"))
        try:
            _remove_leftovers(self.path)
            if not self.path.exists() and not mark_of(self.path).exists():
                _create(self.path, dataset, unit, budget)
            self._size = _read(self, self.path)
            self.require(dataset, unit, budget)
            sync_name(self.path)
            create_durably(mark_of(self.path), _mark_of(self), mode=0o600)
            self._file = self._opened()
        except BaseException:
            self._lock.release()
            raise

    @classmethod
    def of(
        cls,
        folder: Path,
        *,
        dataset: str,
        unit: str,
        epsilon: float | None = None,
        delta: float | None = None,
        dim: int = MAX_DIM,
    ) -> Self:
        """The one odometer of a data set and unit under a folder, which is made if need be: see `FileOdometer`.

        All runs on the same records open it with the same three arguments, and so share it.
        """
        folder.mkdir(parents=True, exist_ok=True)
        name = hashlib.sha256(f"{len(dataset)}/{dataset}/{unit}".encode()).hexdigest()[:32]
        return cls(folder / f"odometer-{name}.jsonl", dataset=dataset, unit=unit, epsilon=epsilon, delta=delta, dim=dim)

    def _opened(self) -> int:
        """A descriptor at the end of the last whole line; all before it is on disk."""
        descriptor = -1
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | getattr(os, "O_BINARY", 0))
            os.ftruncate(descriptor, self._size)  # a torn last line was never acknowledged
            os.fsync(descriptor)
        except OSError as exc:
            if descriptor >= 0:
                os.close(descriptor)
            raise StoreError(f"{self.path} cannot be opened for writing: {exc.strerror}; check the disk") from exc
        return descriptor

    def _persist(self, data: bytes) -> None:
        if self._file < 0:
            raise StateError(f"{self.path}: this odometer is closed; open it again")
        if self._failed:
            raise StateError(f"{self.path}: an earlier write failed; close it and open it again")
        if self._size + len(data) > _MAX_BYTES:
            raise StateError(f"{self.path} is full: it holds at most {_MAX_BYTES} bytes; nothing more can be reserved")
        try:
            left = memoryview(data)
            while left:
                left = left[os.write(self._file, left) :]
            os.fsync(self._file)
        except BaseException as exc:
            self._failed = True  # nobody knows what is on disk now; opening the file again finds out
            if not isinstance(exc, OSError):
                raise
            raise StoreError(
                f"{self.path}: a line could not be written ({exc.strerror}); free space and start again"
            ) from exc
        self._size += len(data)

    def close(self) -> None:
        """Close the file and let go of the lock; closing twice does nothing. What was reserved can still be read.

        Raises:
            StoreError: the disk reports an error. It is closed all the same.
        """
        descriptor, self._file = self._file, -1  # the system gives the number to the next file that is opened
        try:
            if descriptor >= 0:
                os.close(descriptor)
        except OSError as exc:
            raise StoreError(f"{self.path}: closing failed ({exc.strerror}); check the disk") from exc
        finally:
            self._lock.release()


def read_odometer(path: Path) -> OdometerStatus:
    """Read an odometer without a lock, while a client may be writing it. A line that is on its way is left out.

    Raises:
        ChainError: there is none; or the chain is broken or gone, or is another one than began there.
        StoreError: it cannot be read.
    """
    chain = Chain(MAX_DIM)
    _read(chain, Path(path))
    return chain.status


def mark_of(path: Path) -> Path:
    """The file beside an odometer that stays when the odometer is lost."""
    return path.with_name(path.name + ".began")


def _resolved(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError) as exc:  # a link that leads to itself
        raise StoreError(f"{path} cannot be opened: {exc}; check the links that lead to it") from exc


def _remove_leftovers(path: Path) -> None:
    """Remove what a crash in the middle of the creation left; under any other second name a file has a second lock."""
    try:
        for temporary in path.parent.glob(f".{escape(path.name)}.*.tmp"):
            temporary.unlink(missing_ok=True)
        names = path.stat().st_nlink if path.exists() else 1
    except OSError as exc:
        raise StoreError(f"{path} cannot be opened: {exc.strerror}; check the disk") from exc
    if names > 1:
        raise StoreError(f"{path} is one file under {names} names (hard links): remove the others, or copy it")


def _create(path: Path, dataset: str, unit: str, budget: Budget | None) -> None:
    if budget is None:
        raise StateError(f"{path} is new and needs the budget of its data set: say epsilon and delta")
    opening = Opening(dataset, unit, budget, os.urandom(IDENTITY_BYTES))
    create_durably(path, encode_line(opening, START), mode=0o600)


def _read(chain: Chain, path: Path) -> int:
    """Take every whole line of a file into an empty chain; how many bytes they are. What is after them is torn."""
    data, began = read_bounded(path, limit=_MAX_BYTES), read_bounded(mark_of(path), limit=_BEGAN_BYTES)
    if data is None and began is None:
        raise ChainError(f"there is no odometer at {path}")
    if data is None:
        raise ChainError(
            f"{path} is gone, but an odometer began there: {_RESTORE}; without it nobody knows what was spent, and "
            "these records are not to be used again"
        )
    whole = data.rfind(b"\n") + 1
    for number, line in enumerate(data[:whole].splitlines(keepends=True), start=1):
        try:
            chain.take_in(line)
        except (ValueError, StateError) as exc:
            raise ChainError(f"the odometer {path} is broken at line {number}: {exc}; {_RESTORE}") from exc
    if not whole:
        raise ChainError(f"the odometer {path} has no first line; {_RESTORE}")
    if began is not None and began != _mark_of(chain):
        raise ChainError(f"{path} is another chain than the one that began there; {_RESTORE}")
    return whole


def _mark_of(chain: Chain) -> bytes:
    return chain.identity.hex().encode() + b"\n"
