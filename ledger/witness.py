"""The witness: cosigns only what extends everything it cosigned before.

Spec: C2SP tlog-witness, `add-checkpoint` without the HTTP. Order of work: verify the log's signature, verify the
consistency with the last checkpoint cosigned, record the new one by an atomic compare-and-swap, and only then sign.
Several threads and several processes may share one store: the compare-and-swap decides between them.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from .checkpoint import MAX_SIZE, Checkpoint, verify_checkpoint
from .cosign import Cosignature, CosigningKey, cosign, cosigner
from .errors import (
    ConsistencyError,
    DamagedStoreError,
    EquivocationError,
    LedgerError,
    SizeConflictError,
    StateError,
    StoreError,
)
from .evidence import Equivocation, parse_equivocation
from .merkle import HASH_SIZE, verify_consistency
from .mldsa import MAX_NAME
from .note import ED25519, MAX_NOTE, MLDSA44, VerifierKey
from .octets import is_octets
from .sqlite import Database

__all__ = ["MemoryWitnessStore", "SqliteWitnessStore", "Witness", "WitnessState", "WitnessStore"]


@dataclass(frozen=True, slots=True)
class WitnessState:
    """The last checkpoint a witness recorded. Shapes: root 32 bytes. `note` is the note it came in."""

    size: int
    root: bytes
    note: bytes

    def __post_init__(self) -> None:
        if not (0 <= self.size <= MAX_SIZE and is_octets(self.root, HASH_SIZE) and is_octets(self.note, 1, MAX_NOTE)):
            raise ValueError(f"a witness's state is a size, a root of {HASH_SIZE} bytes and a note")


class WitnessStore(Protocol):
    """Where one witness keeps its state of one log, and the first evidence against that log. Threads may share it."""

    def load(self) -> WitnessState | None:
        """The state last recorded, or None before the first."""
        ...

    def compare_and_swap(self, expected: WitnessState | None, new: WitnessState) -> None:
        """Record `new` durably if the state is still `expected`, in one atomic step; else raise StateError."""
        ...

    def evidence(self) -> bytes | None:
        """The evidence kept, as `ledger.evidence` spells it, or None."""
        ...

    def keep_evidence(self, evidence: bytes) -> None:
        """Keep evidence durably, if there is none yet: one piece convicts, so that the storage is bounded."""
        ...


_MEANWHILE: Final = "another checkpoint was recorded meanwhile: ask for the witness's size and try again"


class MemoryWitnessStore:
    """A witness's state in memory: for tests and simulations, where nothing outlives the process."""

    def __init__(self) -> None:
        self._state: WitnessState | None = None
        self._evidence: bytes | None = None
        self._lock = threading.Lock()

    def load(self) -> WitnessState | None:
        """See `WitnessStore`."""
        return self._state

    def compare_and_swap(self, expected: WitnessState | None, new: WitnessState) -> None:
        """See `WitnessStore`."""
        with self._lock:
            if self._state != expected:
                raise StateError(_MEANWHILE)
            self._state = new

    def evidence(self) -> bytes | None:
        """See `WitnessStore`."""
        return self._evidence

    def keep_evidence(self, evidence: bytes) -> None:
        """See `WitnessStore`."""
        with self._lock:
            if self._evidence is None:
                self._evidence = evidence


class SqliteWitnessStore:
    """A witness's state in an SQLite file, synced to disk before a call returns. Threads and processes may share it.

    With `readonly` it reads what is there and writes nothing, beside a witness or without; recording is a StateError.

    Raises:
        StoreError: the file cannot be opened, or is another program's.
    """

    def __init__(self, path: Path, *, readonly: bool = False) -> None:
        self._lock = threading.Lock()
        self._database = Database(path, readonly=readonly, shared=True)
        try:
            if readonly and "state" not in self._database.tables():
                raise DamagedStoreError(f"{self._database.path} holds no state of a witness")
            if not readonly:
                self._make_tables()
        except StoreError:
            self._database.close()
            raise

    def load(self) -> WitnessState | None:
        """See `WitnessStore`."""
        with self._lock:
            return self._read()

    def compare_and_swap(self, expected: WitnessState | None, new: WitnessState) -> None:
        """See `WitnessStore`."""
        with self._lock, self._database.transaction() as sql:
            if self._read() != expected:
                raise StateError(_MEANWHILE)
            sql.execute("INSERT OR REPLACE INTO state VALUES (1, ?, ?, ?)", (new.size, new.root, new.note))

    def evidence(self) -> bytes | None:
        """See `WitnessStore`."""
        with self._lock:
            if self._database.readonly and "evidence" not in self._database.tables():
                return None  # a file of an earlier version
            rows = self._database.query("SELECT bytes FROM evidence WHERE id = 1")
        return rows[0][0] if rows else None

    def keep_evidence(self, evidence: bytes) -> None:
        """See `WitnessStore`."""
        with self._lock, self._database.transaction() as sql:
            sql.execute("INSERT OR IGNORE INTO evidence VALUES (1, ?)", (evidence,))

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()

    def _make_tables(self) -> None:
        self._database.require_tables(
            state="id INTEGER PRIMARY KEY CHECK (id = 1), size INTEGER NOT NULL, root BLOB NOT NULL, note BLOB NOT NULL"
        )
        if "evidence" not in self._database.tables():  # nor is it in a file of an earlier version
            with self._database.transaction() as sql:
                sql.execute("CREATE TABLE IF NOT EXISTS evidence (id INTEGER PRIMARY KEY CHECK (id = 1), bytes BLOB)")

    def _read(self) -> WitnessState | None:
        rows = self._database.query("SELECT size, root, note FROM state WHERE id = 1")
        if not rows:
            return None
        try:
            size, root, note = rows[0]
            return WitnessState(size, root, note)
        except (TypeError, ValueError) as exc:
            raise StoreError(f"{self._database.path}: the witness's state is damaged: {exc}") from exc


class Witness:
    """A witness of one log. Its key is Ed25519 (cosignatures of type 0x04) or ML-DSA-44 (type 0x06).

    Raises:
        ValueError: the name is no key name, the log's key is of a type that does not sign checkpoints, or the log's
            name is too long for ML-DSA-44.
    """

    def __init__(self, name: str, key: CosigningKey, log_key: VerifierKey, store: WitnessStore) -> None:
        self._verifier = cosigner(name, key)
        if log_key.kind not in (ED25519, MLDSA44):
            raise ValueError("a log's key is of signature type 0x01 or 0x06")
        if self._verifier.kind == MLDSA44 and len(log_key.name.encode("utf-8")) > MAX_NAME:
            raise ValueError(f"a log that an ML-DSA-44 witness cosigns has a name of at most {MAX_NAME} bytes")
        self._key = key
        self._log_key = log_key
        self._store = store

    @property
    def verifier(self) -> VerifierKey:
        """The witness's public key, for a policy."""
        return self._verifier

    @property
    def log_key(self) -> VerifierKey:
        """The public key of the log that it cosigns."""
        return self._log_key

    @property
    def size(self) -> int:
        """The size of the last checkpoint cosigned, 0 before the first."""
        state = self._load()
        return 0 if state is None else state.size

    @property
    def evidence(self) -> Equivocation | None:
        """The first evidence against the log that this witness was shown, or None. It outlives the process."""
        kept = self._store.evidence()
        if kept is None:
            return None
        try:
            found = parse_equivocation(kept)
            found.verify()
        except (LedgerError, TypeError) as exc:
            raise StoreError(f"the evidence that {self._verifier.name} keeps is damaged: {exc}") from exc
        return found

    def add_checkpoint(self, old_size: int, proof: Sequence[bytes], note: bytes, *, now: int) -> str:
        """Cosign a checkpoint that extends the last one; returns the signature line.

        Run by: the witness, on hostile input.  `old_size` is the size the proof starts from, which must be the last one
        cosigned; at first contact it is 0 and the proof is empty.  Units: now in POSIX seconds, by the witness's own
        clock; it is what the cosignature states and decides nothing.

        Guarantees: the new state is durable before a signature exists; two concurrent calls cannot both pass; evidence
        of an equivocation is durable before this raises.
        Raises:
            DecodeError, SignatureError: not a checkpoint signed by the log.
            SizeConflictError: another `old_size` than the last one cosigned; `size` is that one.
            EquivocationError: the log signed another root for the size last cosigned; `evidence` proves it.
            ConsistencyError: smaller than the last size, or the proof does not hold.
            StateError: another call recorded a checkpoint meanwhile.
            StoreError: the state could not be read or recorded.
        """
        Cosignature(self._verifier.name, now)
        checkpoint = verify_checkpoint(note, self._log_key)
        state = self._load()
        if state is not None:
            self._check_extends(state, checkpoint, old_size, proof, note)
        elif old_size != 0:
            raise SizeConflictError(f"{self._verifier.name} has cosigned nothing yet: start from size 0", size=0)
        elif proof:
            raise ConsistencyError(f"{self._verifier.name} has cosigned nothing yet: no proof is due")
        if state is None or checkpoint.size > state.size:
            self._store.compare_and_swap(state, WitnessState(checkpoint.size, checkpoint.root, bytes(note)))
        return cosign(note, self._verifier.name, self._key, now=now)

    def _check_extends(
        self, state: WitnessState, new: Checkpoint, old_size: int, proof: Sequence[bytes], note: bytes
    ) -> None:
        culprits = (self._log_key.name,)
        name = self._verifier.name
        forked = new.size == state.size and new.root != state.root
        if forked:
            self._store.keep_evidence(Equivocation(self._log_key, state.note, bytes(note)).encode())
        if old_size != state.size:
            raise SizeConflictError(
                f"{name} needs a proof from size {state.size}, not from {old_size}", size=state.size
            )
        if forked:
            raise EquivocationError(
                f"{self._log_key.name} signed two roots for size {new.size}",
                evidence=(state.note, bytes(note)),
                culprits=culprits,
            )
        if new.size < state.size:
            raise ConsistencyError(
                f"{name} has cosigned size {state.size}, not going back to {new.size}", culprits=culprits
            )
        if old_size == 0 or old_size == new.size:
            if proof:
                raise ConsistencyError(f"no proof is due from size {old_size} to size {new.size}")
            return
        try:
            verify_consistency(old_size, new.size, proof, state.root, new.root)
        except ConsistencyError as exc:
            raise ConsistencyError(f"{name} refuses size {new.size}: {exc}", culprits=culprits) from exc

    def _load(self) -> WitnessState | None:
        state = self._store.load()
        if state is None:
            return None
        try:
            checkpoint = verify_checkpoint(state.note, self._log_key)
        except LedgerError as exc:
            raise StoreError(f"the state of {self._verifier.name} is damaged, or of another log: {exc}") from exc
        if (checkpoint.size, checkpoint.root) != (state.size, state.root):
            raise StoreError(f"the state of {self._verifier.name} is damaged: size or root are not those of its note")
        return state
