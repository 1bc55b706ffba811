"""How much privacy one client has spent on one data set, in one unit: a hash-chained file that only grows.

Spec: dp §5.7 (v1). All runs on the same records share one odometer, and so one budget. A round is reserved on disk
before a record is read, and counts from then on; its one ciphertext is persisted before it is sent, and nothing else is
ever sent for it, so work that a crash lost before that has told nobody anything and may be done again.

    odometer = FileOdometer.of(folder, dataset="ward-3", unit="record", epsilon=2.0, delta=1e-5)
    odometer.begin(run, schedule)                      # before the first round
    reservation = odometer.reserve(run, 1, event)      # before a record is read
    odometer.persist(run, 1, digest, size)             # before the ciphertext is sent
    odometer.commit(run, 1, index)                     # when the ledger has it
"""

from .budget import Budget
from .chain import MemoryOdometer
from .file import FileOdometer, read_odometer
from .reservation import Odometer, Reservation
from .status import OdometerStatus, RunStatus, Spending

__all__ = [
    "Budget",
    "FileOdometer",
    "MemoryOdometer",
    "Odometer",
    "OdometerStatus",
    "Reservation",
    "RunStatus",
    "Spending",
    "read_odometer",
]
