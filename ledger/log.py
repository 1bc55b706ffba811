"""The log: entries in one order, a tree over them, and checkpoints that witnesses cosign.

Run by: the sequencer, one process. Nobody has to trust it for safety: members act only on certified checkpoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from .certifying import CosigningWitness, certify
from .checkpoint import Checkpoint, sign_checkpoint, verify_checkpoint
from .entry import MAX_ENTRY
from .errors import DamagedStoreError, LedgerError, StateError, StoreError
from .merkle import HASH_SIZE, leaf_hash
from .note import ED25519, VerifierKey
from .octets import is_octets
from .policy import Certificate
from .signing import SigningKey
from .store import Head, Store
from .tile import TILE_HEIGHT, TILE_WIDTH, Tile
from .tiled import Growth, TiledTree

__all__ = ["CosigningWitness", "Log", "certify"]

_READ: Final = 4 * TILE_WIDTH


class Log:
    """An append-only log over a store. One thread at a time. Its memory does not grow with its size.

    Opening reads the right edge of the tree and compares the root with the stored head, then the stored certificate
    with the tree; every entry that is not under the certificate is hashed again from its stored bytes. What is under
    it is checked whenever it is read: entries and tiles by their hashes, proofs by the tiles they are made from.

    Before a checkpoint is signed, each entry it adds was read back from the store and hashed, so that no checkpoint is
    ever signed over bytes that changed on the way to the disk, or there.

    After a failed write the log refuses all work; open it again, which verifies what is there.

    Raises:
        StoreError: the stored bytes are not those that were acknowledged; nothing is changed.
    """

    def __init__(self, store: Store, origin: str, key: SigningKey) -> None:
        self._store = store
        self._key = key
        self._verifier = VerifierKey(origin, ED25519, key.public)
        self._failed = False
        self._head = store.head()
        size = self._head.size
        start = size - size % TILE_WIDTH
        tail = store.entries(start, size)
        if len(tail) != size - start:
            raise DamagedStoreError(f"{origin}: entry {start + len(tail)} of {size} is missing: restore a copy")
        self._check_end(size)
        try:
            self._tree = TiledTree(store.tile, size, self._head.root, [leaf_hash(entry) for entry in tail])
        except DamagedStoreError as exc:
            raise DamagedStoreError(
                f"{origin}: the stored entries are not those that were acknowledged ({exc}): leave the file as it is "
                "and restore a copy; `fsck` says what differs, and whether it can be made again"
            ) from exc
        # Entries below this number were read back from the store and are those of the tree.
        self._read_back = self._certified_size()
        self._check_stored()

    def _check_end(self, size: int) -> None:
        """Refuse what lies beyond the head. A reader's head may be behind its writer: then it is not beyond."""
        stray = bool(self._store.entries(size, size + 1)) or any(
            self._store.tile(level, size >> TILE_HEIGHT * (level + 1)) is not None
            for level in range(size.bit_length() // TILE_HEIGHT + 1)
        )
        if stray and self._store.head().size <= size:
            raise DamagedStoreError(
                f"{self.origin}: the store holds entries or tiles beyond its head of size {size}: restore a copy"
            )

    def _certified_size(self) -> int:
        """The size of the stored certificate, after comparing it with the tree; 0 without one."""
        if self._head.checkpoint is None:
            return 0
        try:
            certified = verify_checkpoint(self._head.checkpoint, self._verifier)
        except LedgerError as exc:
            raise DamagedStoreError(
                f"{self.origin}: the stored certificate is damaged, or of another log: {exc}"
            ) from exc
        if certified.size > self.size or self._tree.root(certified.size) != certified.root:
            raise DamagedStoreError(
                f"{self.origin}: the stored entries are not those certified at size {certified.size}: restore a copy"
            )
        return certified.size

    def _check_stored(self) -> None:
        """Read back and compare with the tree what was not read back yet."""
        while self._read_back < self.size:
            stop = min(self._read_back + _READ, self.size)
            self._stored(self._read_back, stop)
            self._read_back = stop

    def _stored(self, start: int, stop: int) -> list[bytes]:
        """Entries [start, stop) from the store, each compared with its leaf in the tree."""
        found = self._store.entries(start, stop)
        if len(found) != stop - start:
            raise DamagedStoreError(f"{self.origin}: {stop - start - len(found)} entries after {start} are missing")
        leaves, first = b"", start
        for index, entry in enumerate(found, start=start):
            if index == start or index % TILE_WIDTH == 0:
                first = index - index % TILE_WIDTH
                leaves = self._tree.tile(Tile(0, index // TILE_WIDTH, min(TILE_WIDTH, self.size - first)))
            at = (index - first) * HASH_SIZE
            if leaf_hash(entry) != leaves[at : at + HASH_SIZE]:
                raise DamagedStoreError(f"{self.origin}: entry {index} changed in the store: restore a copy")
        return found

    @property
    def origin(self) -> str:
        """The log's name: origin of its checkpoints and name of its key."""
        return self._verifier.name

    @property
    def verifier(self) -> VerifierKey:
        """The log's public key, for witnesses and policies."""
        return self._verifier

    @property
    def size(self) -> int:
        """How many entries the log has."""
        return self._head.size

    def append(self, entry: bytes) -> int:
        """Add one entry and return its index; it is durable when this returns. See `append_all`."""
        return self.append_all((entry,))[0]

    def append_all(self, entries: Sequence[bytes]) -> range:
        """Add entries in order, all or none, and return their indices; they are durable when this returns.

        Raises:
            ValueError: an entry is empty or over `MAX_ENTRY` bytes.
            StoreError: not known to be written; open the log again.
        """
        batch = list(entries)
        if not all(is_octets(entry, 1, MAX_ENTRY) for entry in batch):
            raise ValueError(f"an entry has 1 to {MAX_ENTRY} bytes")
        self._check_usable()
        start = self.size
        if not batch:
            return range(start, start)
        self._write(batch, self._tree.prepare([leaf_hash(entry) for entry in batch]), self._head.checkpoint)
        return range(start, self.size)

    def _write(self, entries: Sequence[bytes], growth: Growth, checkpoint: bytes | None) -> None:
        """One append to the store. Unless the store refused before it wrote, nobody knows then what it holds."""
        head = Head(growth.size, growth.root, checkpoint)
        self._failed = True
        try:
            self._store.append(entries, growth.tiles, head)
        except (StateError, ValueError, TypeError):
            self._failed = False
            raise
        self._tree.commit(growth)
        self._head = head
        self._failed = False

    def _check_usable(self) -> None:
        if self._failed:
            raise StoreError(f"{self.origin}: an earlier write failed; close it and open it again")

    def entry(self, i: int) -> bytes:
        """The bytes of entry `i`.

        Raises:
            ValueError: there is no such entry.
            StoreError: the stored bytes are not those that were acknowledged.
        """
        if not 0 <= i < self.size:
            raise ValueError(f"no entry {i} in a log of {self.size}")
        return self.entries(i, i + 1)[0]

    def entries(self, start: int = 0, stop: int | None = None) -> list[bytes]:
        """The bytes of entries [start, stop), to the end by default; each is checked against the tree.

        Raises:
            ValueError: the range is not within the log.
            StoreError: the stored bytes are not those that were acknowledged.
        """
        stop = self.size if stop is None else stop
        if not 0 <= start <= stop <= self.size:
            raise ValueError(f"entries [{start}, {stop}) are not within a log of {self.size}")
        self._check_usable()
        return self._stored(start, stop)

    def checkpoint(self) -> bytes:
        """The note, signed by the log, of the current size and root. Equal as long as nothing is appended.

        Raises:
            StoreError: the stored bytes are not those that were acknowledged.
        """
        self._check_usable()
        self._check_stored()
        return sign_checkpoint(Checkpoint(self.origin, self.size, self._tree.root()), self._key)

    def root(self, size: int) -> bytes:
        """The root over the first `size` entries."""
        self._check_usable()
        return self._tree.root(size)

    def subtree(self, height: int, index: int) -> bytes:
        """The root over entries [index * 2^height, (index + 1) * 2^height)."""
        self._check_usable()
        return self._tree.subtree(height, index)

    def tile(self, tile: Tile) -> bytes:
        """The hashes of a tile, full or partial, one after the other, as they are published.

        Raises:
            ValueError: the log has not so many entries.
            StoreError: the stored bytes are not those that were acknowledged.
        """
        self._check_usable()
        return self._tree.tile(tile)

    def inclusion_proof(self, i: int, size: int) -> list[bytes]:
        """The proof that entry `i` is in the tree of the first `size` entries."""
        self._check_usable()
        return self._tree.inclusion_proof(i, size)

    def consistency_proof(self, old: int, new: int) -> list[bytes]:
        """The proof that the first `new` entries begin with the first `old`; `old` is at least 1."""
        self._check_usable()
        return self._tree.consistency_proof(old, new)

    def certified(self) -> bytes | None:
        """The latest certified note, or None before the first."""
        return self._head.checkpoint

    def keep_certificate(self, certificate: Certificate) -> None:
        """Keep a certificate of this log durably as the latest one; an older one than the one kept is passed over.

        Raises:
            StateError: the certificate is not of this log's entries.
            StoreError: not written; open the log again.
        """
        self._check_usable()
        checkpoint = certificate.checkpoint
        if (
            checkpoint.origin != self.origin
            or checkpoint.size > self.size
            or self.root(checkpoint.size) != checkpoint.root
        ):
            raise StateError(f"the certificate of size {checkpoint.size} is not of the entries of this log")
        kept = self._head.checkpoint
        if kept is not None and verify_checkpoint(kept, self._verifier).size > checkpoint.size:
            return
        self._write((), self._tree.prepare(()), certificate.note)

    def close(self) -> None:
        """Let go of the store."""
        self._store.close()
