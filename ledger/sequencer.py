"""Admission: signed entries in, their places in the log out.

Callers on many threads hand in batches. Each batch is verified in full; whoever comes first then commits the good
entries of all batches that are verified by then, in one transaction, while the processes of the pool verify the next.
Published entries verify again, so anybody could hand in copies of them: a copy gets the index of what is in the log.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from .errors import BusyError, StateError, StoreError
from .log import Log
from .merkle import HASH_SIZE, leaf_hash
from .tile import TILE_WIDTH, Tile
from .verifying import VerifierPool

__all__ = ["MAX_REASON", "REMEMBERED", "Admission", "Sequencer"]

MAX_REASON: Final = 200
"""Characters that the reason of a refusal may have."""
REMEMBERED: Final = 1 << 17
"""Entries at the end of the log of which another copy is not appended. They take about 25 MB of memory."""
_ROOM: Final = 64 * 1024 * 1024
_OVERHEAD: Final = 64


@dataclass(frozen=True, slots=True)
class Admission:
    """What became of one entry: its index in the log, or the reason why it is not there."""

    index: int | None = None
    reason: str | None = None

    def __post_init__(self) -> None:
        if (self.index is None) == (self.reason is None):
            raise ValueError("an entry has an index, or a reason why not")
        if self.index is not None and not 0 <= self.index < 2**63:
            raise ValueError("an index is in [0, 2^63 - 1]")
        if self.reason is not None and not (1 <= len(self.reason) <= MAX_REASON and self.reason.isprintable()):
            raise ValueError(f"a reason is 1 to {MAX_REASON} printable characters")


@dataclass(slots=True, eq=False)
class _Waiting:
    """Verified entries of one caller, by their leaf hashes; in the end their indices, or why they have none."""

    entries: Mapping[bytes, bytes]
    indices: Mapping[bytes, int] | None = None
    failure: str | None = None

    @property
    def is_open(self) -> bool:
        return self.indices is None and self.failure is None


class _Recent:
    """The indices of the last `REMEMBERED` entries of a log, by their leaf hashes; of equal ones that of the last."""

    def __init__(self) -> None:
        self.size = 0  # of the log, as far as it is known here
        self._hashes: deque[bytes] = deque()
        self._indices: dict[bytes, int] = {}

    def among(self, hashes: Collection[bytes]) -> dict[bytes, int]:
        """The indices of those of the entries that are remembered."""
        return {each: self._indices[each] for each in hashes if each in self._indices}

    def add(self, start: int, hashes: Collection[bytes]) -> None:
        """The entries from `start` to the end of the log, which has grown; it forgets the oldest."""
        if start > self.size:
            self._hashes.clear()
            self._indices.clear()
        for index, each in enumerate(hashes, start=start):
            self._hashes.append(each)
            self._indices[each] = index
            if len(self._hashes) > REMEMBERED:
                oldest = self._hashes.popleft()
                if self._indices[oldest] == index - REMEMBERED:
                    del self._indices[oldest]
        self.size = start + len(hashes)


class Sequencer:
    """Admits entries to a log. Any number of threads may call it; it is then the only one to touch the log.

    It decides by the bytes alone whether an entry may stand in the log: one spelling, a known sender, that sender's
    signature for this federation. A copy of one of the last `REMEMBERED` entries of the log is not appended again: it
    is given the index of that one. Whether an entry means something, or came before that, is decided in replay. Units:
    room in bytes, of entries that callers wait for; more have to wait outside.

    Raises:
        StoreError: the last entries of the log cannot be read.
        ValueError: there is no room.
    """

    def __init__(self, log: Log, pool: VerifierPool, *, room: int = _ROOM) -> None:
        if room < 1:
            raise ValueError("a sequencer has room for something")
        self._log = log
        self._pool = pool
        self._room = room
        self._taken = 0
        self._turn = threading.Condition()
        self._waiting: list[_Waiting] = []
        self._busy = False  # somebody has the log
        self._failure: str | None = None
        self._closed = False
        self._recent = _Recent()
        self._learn()

    def admit(self, batch: Sequence[bytes], *, wait: bool = True) -> list[Admission]:
        """Verify entries, append the good ones in their order, and say of each what became of it.

        Run by: the sequencer, on hostile bytes.

        Guarantees: what has an index is durable; the good entries of a batch, without those that are in the log and
        remembered, are neighbours in the log, or none is in it. After an error from the store it is not known whether
        they are: none was acknowledged. A copy is not verified again.
        Raises:
            BusyError: there is no room, and `wait` is false; nothing was done.
            StoreError: the store failed, now or before; open the log again.
            VerifierError: the entries could not be verified; nothing was appended.
            StateError: closed.
            TypeError: an entry is not bytes.
            ValueError: the batch alone needs more than all the room.
        """
        entries = list(batch)
        if not all(isinstance(entry, bytes) for entry in entries):
            raise TypeError("an entry is bytes")
        with self._space(sum(map(len, entries)) + _OVERHEAD * len(entries), wait):
            hashes = [leaf_hash(entry) for entry in entries]
            with self._turn:
                indices = self._recent.among(hashes)
            new = {each: entry for each, entry in zip(hashes, entries, strict=True) if each not in indices}
            verdicts = dict(zip(new, self._pool.check(list(new.values())), strict=True))
            good = {each: entry for each, entry in new.items() if verdicts[each] is None}
            if good:
                indices.update(self._commit(good))
        reasons = {each: Admission(reason=_as_line(why)) for each, why in verdicts.items() if why is not None}
        return [reasons[each] if each in reasons else Admission(index=indices[each]) for each in hashes]

    @property
    def failure(self) -> str | None:
        """Why the store failed, so that nothing more is admitted; None as long as it works."""
        return self._failure

    @contextmanager
    def exclusively(self) -> Iterator[Log]:
        """Have the log for oneself, between two commits: to certify, publish or read it.

        Raises:
            StoreError: the store failed, now or before; open the log again.
            StateError: closed.
        """
        with self._turn:
            self._turn.wait_for(lambda: not self._busy)
            self._check_usable()
            self._busy = True
        failure = None
        try:
            yield self._log
        except StoreError as exc:
            failure = str(exc)
            raise
        finally:
            self._hand_over(failure)

    def close(self) -> None:
        """Take nothing more, and return when what was taken is answered. The log and the pool stay open."""
        with self._turn:
            self._closed = True
            self._turn.notify_all()
            self._turn.wait_for(lambda: self._taken == 0 and not self._busy)

    def _check_usable(self, *, open_for_more: bool = True) -> None:
        if self._failure is not None:
            raise StoreError(f"{self._log.origin}: the store failed, open the log again: {self._failure}")
        if self._closed and open_for_more:
            raise StateError(f"{self._log.origin}: the sequencer is closed")

    @contextmanager
    def _space(self, size: int, wait: bool) -> Iterator[None]:
        """Count these bytes as taken while the block runs."""
        if size > self._room:
            raise ValueError(f"a batch of {size} bytes is more than the {self._room} there is room for: divide it")
        with self._turn:
            self._check_usable()
            while self._taken + size > self._room:
                if not wait:
                    raise BusyError(f"{self._log.origin}: {self._taken} bytes wait to be admitted: try again later")
                self._turn.wait()
                self._check_usable()
            self._taken += size
        try:
            yield
        finally:
            with self._turn:
                self._taken -= size
                self._turn.notify_all()

    def _learn(self) -> None:
        """Remember what was appended, to begin with the last entries of the log, by the hashes in its tiles."""
        size = self._log.size
        start = max(self._recent.size, size - REMEMBERED)
        hashes: list[bytes] = []
        for first in range(start - start % TILE_WIDTH, size, TILE_WIDTH):
            data = self._log.tile(Tile(0, first // TILE_WIDTH, min(TILE_WIDTH, size - first)))
            skipped = max(start - first, 0) * HASH_SIZE
            hashes += [data[at : at + HASH_SIZE] for at in range(skipped, len(data), HASH_SIZE)]
        with self._turn:
            self._recent.add(start, hashes)

    def _append(self, group: Sequence[_Waiting]) -> dict[bytes, int]:
        """Append what is not in the log, each once; the indices of all."""
        if self._recent.size != self._log.size:  # whoever had the log exclusively appended to it
            self._learn()
        entries = {each: entry for waiting in group for each, entry in waiting.entries.items()}
        indices = self._recent.among(entries)
        new = {each: entry for each, entry in entries.items() if each not in indices}
        added = self._log.append_all(list(new.values()))
        with self._turn:
            self._recent.add(added.start, new)
        return {**indices, **dict(zip(new, added, strict=True))}

    def _commit(self, entries: Mapping[bytes, bytes]) -> Mapping[bytes, int]:
        """Commit these entries, and those of all others that wait, unless somebody else does; their indices."""
        mine = _Waiting(entries)
        with self._turn:
            self._waiting.append(mine)
            try:
                self._turn.wait_for(lambda: not self._busy or not mine.is_open)
                if mine.is_open:
                    self._check_usable(open_for_more=False)
            except BaseException:
                if mine in self._waiting:
                    self._waiting.remove(mine)
                raise
            if not mine.is_open:
                return self._outcome(mine)
            group, self._waiting = self._waiting, []
            self._busy = True
        failure: str | None = "the commit was interrupted"
        try:
            indices = self._append(group)
            failure = None
        except Exception as exc:
            failure = str(exc)
            raise StoreError(f"{self._log.origin}: not committed: {exc}") from exc
        else:
            for each in group:
                each.indices = {one: indices[one] for one in each.entries}
        finally:
            for each in group:
                each.failure = failure
            self._hand_over(failure)
        return self._outcome(mine)

    def _outcome(self, mine: _Waiting) -> Mapping[bytes, int]:
        if mine.indices is None:
            raise StoreError(f"{self._log.origin}: not committed: {mine.failure}")
        return mine.indices

    def _hand_over(self, failure: str | None) -> None:
        """Let the next one have the log; after a failure, nobody."""
        with self._turn:
            self._failure = self._failure or failure
            self._busy = False
            self._turn.notify_all()


def _as_line(reason: str) -> str:
    """A reason on one line, of at most `MAX_REASON` characters."""
    line = reason if reason.isprintable() else "".join(c if c.isprintable() else "?" for c in reason)
    return line if len(line) <= MAX_REASON else line[: MAX_REASON - 1] + "…"
