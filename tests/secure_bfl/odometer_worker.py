"""Reserve rounds until killed, many times over: run by test_odometer in a process of its own."""

import json
import os
import signal
import sys
from pathlib import Path

from protocols.dp import PrivacyEvent
from secure_bfl.odometer import FileOdometer

RUN = bytes(32)
EVENT = PrivacyEvent(1_000_000, 1_000_000, 1)


def opened(path: Path) -> FileOdometer:
    return FileOdometer(path, unit="unit", epsilon=8.0, delta=1e-5, dim=650)


def reserve_for_ever(path: Path, out: int) -> None:
    odometer = opened(path)
    number = len(odometer.reservations)
    while True:
        number += 1
        odometer.reserve(RUN, number, EVENT)
        os.write(out, b"%d\n" % number)  # the acknowledgement: only now is the privacy used


def main(path: Path, kills: int) -> None:
    results = []
    for attempt in range(kills):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            reserve_for_ever(path, writer)
        os.close(writer)
        with os.fdopen(reader, "rb") as lines:
            acknowledged = 0
            for _ in range(attempt):
                acknowledged = int(lines.readline())
            os.kill(child, signal.SIGKILL)
            acknowledged = max([acknowledged, *(int(line) for line in lines if line.endswith(b"\n"))])
        os.waitpid(child, 0)
        odometer = opened(path)
        results.append([acknowledged, [reservation.round for reservation in odometer.reservations]])
        odometer.close()
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
