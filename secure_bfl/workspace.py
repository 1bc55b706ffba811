"""The folder of a simulated federation: claimed once for one plan, taken up again after a crash.

The demo plays every party on one machine, each with its own folder, keystore and journal.
"""

import json
import secrets
from pathlib import Path
from typing import Final

from ledger import (
    DirectoryBlobs,
    LedgerError,
    Log,
    SqliteStore,
    SqliteWitnessStore,
    VerifierKey,
    Witness,
    create_durably,
)
from ledger.locking import WriterLock
from protocols.errors import ProtocolError

from .board import Board
from .client import Client
from .errors import KeystoreError, OutputError
from .founding import open_store
from .identity import Identity
from .journal import SqliteJournal
from .keystore import PASSPHRASE_VARIABLE, Keystore
from .layout import PrivateFolder, PublicFolder
from .local_training import Learner, Records
from .member import Member
from .messages import Role
from .odometer import FileOdometer
from .operator import Operator
from .plan import FederationPlan
from .roster import OPERATOR, client_name, member_name

__all__ = ["Workspace"]

_MARK: Final = "run.json"
_MARK_LIMIT: Final = 1 << 16


class Workspace:
    """One output folder, locked while it is open. Open it with `Workspace.claim`."""

    def __init__(self, out: Path, plan: FederationPlan, lock: WriterLock, passphrase: str | None) -> None:
        self.plan = plan
        self._passphrase = passphrase
        self.public = PublicFolder(out / "public")
        self._private = out / "private"
        self._lock = lock
        self._open: list[SqliteJournal | SqliteWitnessStore | FileOdometer | Log] = []

    @classmethod
    def claim(cls, out: Path, plan: FederationPlan, *, passphrase: str | None = None) -> "Workspace":
        """Take a new or empty folder, or one that holds an unfinished or finished run of the same plan.

        `passphrase` is for every keystore; without one, each gets its own throw-away passphrase, written beside it.

        Raises:
            OutputError: the folder holds something else, or another plan's run.
            StoreError: another process works in it, or the disk fails.
        """
        mark = out / "private" / _MARK
        if out.exists() and not out.is_dir():
            raise OutputError(f"{out} is a file; choose another --out")
        if not mark.exists() and _holds_anything(out):
            raise OutputError(f"{out} exists and is not a run of this program; choose another --out, or empty it")
        try:
            mark.parent.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise OutputError(f"{out} cannot be made: {exc.strerror}") from exc
        lock = WriterLock(out / "private" / ".lock")
        try:
            text = json.dumps({"plan": plan.encode().hex(), "version": 1}, sort_keys=True) + "\n"
            if not create_durably(mark, text.encode()):
                cls._check_same(out, mark, plan)
            _remove_leftovers(out)
        except BaseException:
            lock.release()
            raise
        return cls(out, plan, lock, passphrase)

    @staticmethod
    def _check_same(out: Path, mark: Path, plan: FederationPlan) -> None:
        try:
            found = FederationPlan.decode(bytes.fromhex(json.loads(mark.read_bytes()[:_MARK_LIMIT])["plan"]))
        except (ValueError, KeyError, TypeError, RecursionError, LedgerError, ProtocolError) as exc:
            raise OutputError(f"{mark} is damaged; choose another --out") from exc
        if found != plan:
            ours, theirs = plan.describe(), found.describe()
            different = ", ".join(f"{k} {theirs[k]} there, {ours[k]} here" for k in ours if ours[k] != theirs[k])
            raise OutputError(f"{out} holds a run of another plan ({different}); choose another --out")

    def _identity(self, name: str, role: Role) -> Identity:
        folder = PrivateFolder(self._private / name)
        passphrase = self._passphrase
        if passphrase is None:
            passphrase = self._throw_away(folder)
        if folder.keystore.exists():
            return Identity(name, role, Keystore.open(folder.keystore, passphrase))
        return Identity(name, role, Keystore.create(folder.keystore, passphrase, Identity.fresh_secrets(role)))

    @staticmethod
    def _throw_away(folder: PrivateFolder) -> str:
        """A passphrase made here and written beside its keystore; never one for a keystore that has another."""
        if folder.keystore.exists() and not folder.passphrase.exists():
            raise KeystoreError(
                f"{folder.keystore} has a passphrase of your own: set {PASSPHRASE_VARIABLE} or use --ask-passphrase"
            )
        create_durably(folder.passphrase, secrets.token_urlsafe(24).encode() + b"\n", mode=0o600)
        return folder.passphrase.read_text().strip()

    def operator(self) -> Operator:
        """The operator, with its keys."""
        return Operator(self._identity(OPERATOR, Role.OPERATOR))

    def board(self, operator: Operator) -> Board:
        """The log and the blobs, as far as they are.

        Raises:
            StoreError: the log was begun before, and its file is missing or damaged.
        """
        key = operator.identity.note
        path = PrivateFolder(self._private / OPERATOR).log
        store = open_store(path.parent, self.public.ledger, lambda create: SqliteStore(path, create=create))
        log = Log(store, f"secure-bfl/{key.public.hex()[:16]}", key)
        self._open.append(log)
        return Board(log, DirectoryBlobs(self.public.blobs))

    def member(self, number: int, log_key: VerifierKey) -> Member:
        """A member, with its keys, journal and witness."""
        name = member_name(number)
        identity, folder = self._identity(name, Role.MEMBER), PrivateFolder(self._private / name)
        journal, seen = SqliteJournal(folder.journal), SqliteWitnessStore(folder.witness)
        self._open += [journal, seen]
        return Member(identity, journal=journal, witness=Witness(name, identity.note, log_key, seen))

    def client(self, number: int, records: Records) -> Client:
        """A client, with its keys, odometer and outbox."""
        name, plan = client_name(number), self.plan
        identity, folder = self._identity(name, Role.CLIENT), PrivateFolder(self._private / name)
        odometer = FileOdometer(
            folder.odometer,
            dataset=f"{plan.dataset}/{name}",
            unit=plan.unit_of_privacy,
            epsilon=plan.epsilon,
            delta=plan.delta,
            dim=plan.values,
        )
        self._open.append(odometer)
        return Client(identity, Learner(records), odometer=odometer, outbox=DirectoryBlobs(folder.outbox))

    def close(self) -> None:
        """Close every store and let go of the folder."""
        for store in reversed(self._open):
            store.close()
        self._open.clear()
        self._lock.release()


def _holds_anything(out: Path) -> bool:
    """Whether a folder holds more than what a claim that a crash cut short leaves behind."""
    if not out.is_dir():
        return False
    private = out / "private"
    crumbs = {private / ".lock"}
    for path in out.rglob("*"):
        temporary = path.parent == private and path.name.startswith(f".{_MARK}.") and path.name.endswith(".tmp")
        if path != private and path not in crumbs and not temporary:
            return True
    return False


def _remove_leftovers(out: Path) -> None:
    """Remove temporary files that a crash left; nothing ever reads them."""
    for path in out.rglob(".*.tmp"):
        path.unlink(missing_ok=True)
