"""Spend under SIGKILL, many times over: run by test_odometer_file in a process of its own.

One process forks a child for each attempt. The child opens the odometer and takes rounds of two runs by turns through
reserve, persist and commit; it tells what was acknowledged and what left through a pipe, and kills itself at one
durable step that a seeded generator chose: in the middle of a write, or before or after any fsync, link or truncation.
"""

import hashlib
import json
import os
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from protocols.dp import PrivacyEvent
from secure_bfl.odometer import FileOdometer, read_odometer

RUNS = tuple(hashlib.sha256(name).digest() for name in (b"one", b"two"))
EVENT = PrivacyEvent(1_000_000, 1_000_000, 10)
SCHEDULE = (PrivacyEvent(1_000_000, 1_000_000, 10_000),)
ROUNDS = 5  # of each run that one attempt adds, if it lives


class Deadly:
    """Counts durable steps and kills this process at the chosen one. Installed in a child only."""

    def __init__(self, at: int, cut: float, tell: Callable[[list[Any]], None]) -> None:
        self._left, self._cut, self._tell = at, cut, tell

    def step(self, place: str) -> None:
        self._left -= 1
        if self._left == 0:
            self._tell(["killed", place])
            os.kill(os.getpid(), signal.SIGKILL)

    def install(self, pipe: int) -> None:
        for name in ("fsync", "link", "ftruncate", "unlink"):
            setattr(os, name, self._around(name, getattr(os, name)))
        write = os.write

        def torn(descriptor: int, data: Any) -> int:
            if descriptor != pipe:
                if self._left == 1:
                    write(descriptor, bytes(data)[: int(self._cut * len(data))])
                self.step("write")
            return write(descriptor, data)

        os.write = torn

    def _around(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*arguments: Any, **named: Any) -> Any:
            self.step(f"before {name}")
            result = call(*arguments, **named)
            self.step(f"after {name}")
            return result

        return watched


def opened(path: Path) -> FileOdometer:
    return FileOdometer(path, dataset="ward-3", unit="record", epsilon=8.0, delta=1e-5, dim=650)


def spend(path: Path, tell: Callable[[list[Any]], None]) -> None:
    """A client's part of some rounds of each run, as in `Client.update`."""
    odometer = opened(path)
    for run in RUNS:
        odometer.begin(run, SCHEDULE)
    rounds = {run: 1 + sum(r.run == run and r.index is not None for r in odometer.reservations) for run in RUNS}
    for step in range(ROUNDS):
        for run in RUNS:
            number = rounds[run] + step
            reservation = odometer.reserve(run, number, EVENT)
            tell(["acknowledged", run.hex(), number])
            upload = reservation.upload
            if upload is None:
                upload = os.urandom(32)  # another ciphertext than an attempt before may have made
                odometer.persist(run, number, upload, 1000)
            tell(["sent", run.hex(), number, upload.hex()])
            odometer.commit(run, number, number)


def attempt(path: Path, at: int, cut: float) -> dict[str, Any]:
    """One child, and what it told before it died."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(reader)

            def tell(words: list[Any]) -> None:
                os.write(writer, json.dumps(words).encode() + b"\n")

            Deadly(at, cut, tell).install(writer)
            spend(path, tell)
            code = 0
        finally:
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader, "rb") as lines:
        told = [json.loads(line) for line in lines]
    _, status = os.waitpid(child, 0)
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    if not killed and status:
        raise SystemExit("a child failed by itself")
    return {
        "killed": killed,
        "place": next((words[1] for words in told if words[0] == "killed"), ""),
        "acknowledged": [words[1:] for words in told if words[0] == "acknowledged"],
        "sent": [words[1:] for words in told if words[0] == "sent"],
    }


def after(path: Path) -> dict[str, Any]:
    """What an honest client finds when it starts again."""
    if not path.exists():
        return {"steps": 0, "found": []}
    odometer = opened(path)
    found = [[r.run.hex(), r.round, r.upload.hex() if r.upload else ""] for r in odometer.reservations]
    odometer.close()
    return {"steps": sum(event.steps for event in read_odometer(path).events), "found": found}


def main(folder: Path, kills: int) -> None:
    chance, path = random.Random(20240607), folder / "odometer.jsonl"
    warm = opened(folder / "warm.jsonl")  # the accountants take seconds to load: once, not in each child
    for run in RUNS:
        warm.begin(run, SCHEDULE)
        warm.reserve(run, 1, EVENT)
    warm.close()
    results: list[dict[str, Any]] = []
    killed = 0
    while killed < kills:
        at = killed % 12 + 1 if killed < 24 else chance.randrange(1, 40)  # every step of an opening, then anywhere
        told = attempt(path, at, chance.random())
        killed += told["killed"]
        results.append({**told, **after(path)})
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
