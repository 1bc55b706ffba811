"""An odometer's file for tests, with one line of each kind."""

import hashlib
from pathlib import Path
from typing import Any

from protocols.dp import PrivacyEvent
from secure_bfl.odometer import FileOdometer, MemoryOdometer

RUN, OTHER_RUN = hashlib.sha256(b"run").digest(), hashlib.sha256(b"other run").digest()
EVENT = PrivacyEvent(10_000, 1_000_000, 10)
SCHEDULE = (PrivacyEvent(10_000, 1_000_000, 100),)
UPLOAD = hashlib.sha256(b"ciphertext").digest()
LINES = 6  # of `filled`


def on_disk(path: Path, **changed: Any) -> FileOdometer:
    wanted = {"dataset": "ward-3", "unit": "record", "epsilon": 4.0, "delta": 1e-5, "dim": 650}
    return FileOdometer(path, **{**wanted, **changed})


def fill(odometer: FileOdometer | MemoryOdometer) -> None:
    odometer.begin(RUN, SCHEDULE)
    odometer.reserve(RUN, 1, EVENT)
    odometer.persist(RUN, 1, UPLOAD, 99)
    odometer.commit(RUN, 1, 7)
    odometer.reserve(RUN, 2, EVENT)


def filled(path: Path) -> list[bytes]:
    """A closed file; its lines."""
    odometer = on_disk(path)
    fill(odometer)
    odometer.close()
    return path.read_bytes().splitlines(keepends=True)


def mark(path: Path) -> Path:
    return path.with_name(path.name + ".began")
