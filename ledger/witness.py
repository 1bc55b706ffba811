"""The witness: cosigns only what extends everything it cosigned before.

Spec: C2SP tlog-witness, `add-checkpoint` without the HTTP. Order of work: verify the log's signature, verify the
consistency with the last checkpoint cosigned, record the new one by an atomic compare-and-swap, and only then sign.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from .checkpoint import MAX_SIZE, Checkpoint, verify_checkpoint
from .cosign import Cosignature, cosign
from .errors import ConsistencyError, EquivocationError, LedgerError, StateError, StoreError
from .merkle import HASH_SIZE, verify_consistency
from .note import COSIGNATURE_V1, MAX_NOTE, VerifierKey
from .octets import is_octets
from .signing import SigningKey
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
    """Where one witness keeps its state of one log."""

    def load(self) -> WitnessState | None:
        """The state last recorded, or None before the first."""
        ...

    def compare_and_swap(self, expected: WitnessState | None, new: WitnessState) -> None:
        """Record `new` durably if the state is still `expected`, in one atomic step; else raise StateError."""
        ...


class MemoryWitnessStore:
    """A witness's state in memory: for tests and simulations, where nothing outlives the process."""

    def __init__(self) -> None:
        self._state: WitnessState | None = None

    def load(self) -> WitnessState | None:
        """See `WitnessStore`."""
        return self._state

    def compare_and_swap(self, expected: WitnessState | None, new: WitnessState) -> None:
        """See `WitnessStore`."""
        if self._state != expected:
            raise StateError("another checkpoint was recorded meanwhile: ask for the witness's size and try again")
        self._state = new


class SqliteWitnessStore:
    """A witness's state in an SQLite file, synced to disk before `compare_and_swap` returns. Processes may share it."""

    def __init__(self, path: Path) -> None:
        self._database = Database(path)
        try:
            self._database.require_tables(
                state="id INTEGER PRIMARY KEY CHECK (id = 1), size INTEGER NOT NULL, "
                "root BLOB NOT NULL, note BLOB NOT NULL"
            )
        except StoreError:
            self._database.close()
            raise

    def load(self) -> WitnessState | None:
        """See `WitnessStore`."""
        return self._read()

    def compare_and_swap(self, expected: WitnessState | None, new: WitnessState) -> None:
        """See `WitnessStore`."""
        with self._database.transaction() as sql:
            if self._read() != expected:
                raise StateError("another checkpoint was recorded meanwhile: ask for the witness's size and try again")
            sql.execute("INSERT OR REPLACE INTO state VALUES (1, ?, ?, ?)", (new.size, new.root, new.note))

    def close(self) -> None:
        """Close the file."""
        self._database.close()

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
    """A witness of one log."""

    def __init__(self, name: str, key: SigningKey, log_key: VerifierKey, store: WitnessStore) -> None:
        self._verifier = VerifierKey(name, COSIGNATURE_V1, key.public)
        self._key = key
        self._log_key = log_key
        self._store = store

    @property
    def verifier(self) -> VerifierKey:
        """The witness's public key, for a policy."""
        return self._verifier

    @property
    def size(self) -> int:
        """The size of the last checkpoint cosigned, 0 before the first."""
        state = self._load()
        return 0 if state is None else state.size

    def add_checkpoint(self, old_size: int, proof: Sequence[bytes], note: bytes, *, now: int) -> str:
        """Cosign a checkpoint that extends the last one; returns the signature line.

        Run by: the witness, on hostile input.  `old_size` is the size the proof starts from, which must be the last one
        cosigned; at first contact it is 0 and the proof is empty.

        Guarantees: the new state is durable before a signature exists; two concurrent calls cannot both pass.
        Raises:
            DecodeError, SignatureError: not a checkpoint signed by the log.
            EquivocationError: the log signed another root for the size last cosigned; `evidence` proves it.
            ConsistencyError: smaller than the last size, another `old_size`, or the proof does not hold.
            StateError: another call recorded a checkpoint meanwhile.
            StoreError: the state could not be read or recorded.
        """
        Cosignature(self._verifier.name, now)
        checkpoint = verify_checkpoint(note, self._log_key)
        state = self._load()
        if state is not None:
            self._check_extends(state, checkpoint, old_size, proof, note)
        elif old_size != 0 or proof:
            raise ConsistencyError(f"{self._verifier.name} has cosigned nothing yet: start from size 0 without a proof")
        if state is None or checkpoint.size > state.size:
            self._store.compare_and_swap(state, WitnessState(checkpoint.size, checkpoint.root, bytes(note)))
        return cosign(note, self._verifier.name, self._key, now=now)

    def _check_extends(
        self, state: WitnessState, new: Checkpoint, old_size: int, proof: Sequence[bytes], note: bytes
    ) -> None:
        culprits = (self._log_key.name,)
        name = self._verifier.name
        if new.size == state.size and new.root != state.root:
            raise EquivocationError(
                f"{self._log_key.name} signed two roots for size {new.size}",
                evidence=(state.note, bytes(note)),
                culprits=culprits,
            )
        if new.size < state.size:
            raise ConsistencyError(
                f"{name} has cosigned size {state.size}, not going back to {new.size}", culprits=culprits
            )
        if old_size != state.size:
            raise ConsistencyError(f"{name} needs a proof from size {state.size}, not from {old_size}")
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
