"""The log: entries in one order, a tree over them, and checkpoints that witnesses cosign.

Run by: the sequencer, one process. Nobody has to trust it for safety: members act only on certified checkpoints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from .checkpoint import Checkpoint, sign_checkpoint, verify_checkpoint
from .cosign import verify_cosignature
from .entry import MAX_ENTRY
from .errors import (
    DamagedStoreError,
    DecodeError,
    EquivocationError,
    LedgerError,
    QuorumError,
    SignatureError,
    StateError,
)
from .merkle import Tree, leaf_hash
from .note import ED25519, Note, NoteSignature, VerifierKey, parse_note, parse_signature_line
from .octets import is_octets
from .policy import Certificate, Policy
from .signing import SigningKey
from .store import Head, Store

__all__ = ["CosigningWitness", "Log", "certify"]

_READ: Final = 1024


class Log:
    """An append-only log over a store. One thread at a time.

    Opening recomputes every leaf hash from the stored bytes and compares the root with the stored head, so that no
    checkpoint is ever signed over bytes that changed on disk.

    Raises:
        StoreError: the stored bytes are not those that were acknowledged; nothing is changed.
    """

    def __init__(self, store: Store, origin: str, key: SigningKey) -> None:
        self._store = store
        self._key = key
        self._verifier = VerifierKey(origin, ED25519, key.public)
        self._head = store.head()
        self._tree = Tree()
        while self._tree.size < self._head.size:
            start = self._tree.size
            found = store.entries(start, min(start + _READ, self._head.size))
            if not found:
                raise DamagedStoreError(f"{origin}: entry {start} of {self._head.size} is missing: restore a copy")
            for entry in found:
                self._tree.append(leaf_hash(entry))
        self._check_opened(origin)

    def _check_opened(self, origin: str) -> None:
        size = self._head.size
        if self._store.entries(size, size + 1):
            raise DamagedStoreError(f"{origin}: the store holds entries beyond its head of size {size}: restore a copy")
        if self._tree.root() != self._head.root:
            raise DamagedStoreError(
                f"{origin}: the stored entries are not those that were acknowledged (the root of {size} differs): "
                "leave the file as it is and restore a copy"
            )
        if self._head.checkpoint is None:
            return
        try:
            certified = verify_checkpoint(self._head.checkpoint, self._verifier)
        except LedgerError as exc:
            raise DamagedStoreError(f"{origin}: the stored certificate is damaged, or of another log: {exc}") from exc
        if certified.size > size or self._tree.root(certified.size) != certified.root:
            raise DamagedStoreError(
                f"{origin}: the stored entries are not those certified at size {certified.size}: restore a copy"
            )

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
        return self._tree.size

    def append(self, entry: bytes) -> int:
        """Add one entry and return its index; it is durable when this returns. See `append_all`."""
        return self.append_all((entry,))[0]

    def append_all(self, entries: Sequence[bytes]) -> range:
        """Add entries in order, all or none, and return their indices; they are durable when this returns.

        Raises:
            ValueError: an entry is empty or over `MAX_ENTRY` bytes.
            StoreError: not written; open the log again.
        """
        batch = list(entries)
        if not all(is_octets(entry, 1, MAX_ENTRY) for entry in batch):
            raise ValueError(f"an entry has 1 to {MAX_ENTRY} bytes")
        start = self.size
        if not batch:
            return range(start, start)
        try:
            for entry in batch:
                self._tree.append(leaf_hash(entry))
            head = Head(self.size, self._tree.root(), self._head.checkpoint)
            self._store.append(batch, head)
        except BaseException:
            self._tree.truncate(start)
            raise
        self._head = head
        return range(start, self.size)

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
        found = self._store.entries(start, stop)
        if len(found) != stop - start:
            raise DamagedStoreError(f"{self.origin}: {stop - start - len(found)} entries after {start} are missing")
        for index, entry in enumerate(found, start=start):
            if leaf_hash(entry) != self._tree.subtree(0, index):
                raise DamagedStoreError(f"{self.origin}: entry {index} changed in the store: restore a copy")
        return found

    def checkpoint(self) -> bytes:
        """The note, signed by the log, of the current size and root. Equal as long as nothing is appended."""
        return sign_checkpoint(Checkpoint(self.origin, self.size, self._tree.root()), self._key)

    def root(self, size: int) -> bytes:
        """The root over the first `size` entries."""
        return self._tree.root(size)

    def subtree(self, height: int, index: int) -> bytes:
        """The root over entries [index * 2^height, (index + 1) * 2^height)."""
        return self._tree.subtree(height, index)

    def inclusion_proof(self, i: int, size: int) -> list[bytes]:
        """The proof that entry `i` is in the tree of the first `size` entries."""
        return self._tree.inclusion_proof(i, size)

    def consistency_proof(self, old: int, new: int) -> list[bytes]:
        """The proof that the first `new` entries begin with the first `old`; `old` is at least 1."""
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
        head = Head(self.size, self._head.root, certificate.note)
        self._store.append((), head)
        self._head = head

    def close(self) -> None:
        """Let go of the store."""
        self._store.close()


class CosigningWitness(Protocol):
    """What `certify` needs of a witness, near or far. A far one raises OSError (ConnectionError, TimeoutError)."""

    @property
    def size(self) -> int:
        """The size it last cosigned, 0 before the first."""
        ...

    def add_checkpoint(self, old_size: int, proof: Sequence[bytes], note: bytes, *, now: int) -> str:
        """Cosign a checkpoint; see `ledger.witness.Witness.add_checkpoint`."""
        ...


def certify(log: Log, witnesses: Mapping[str, CosigningWitness | None], policy: Policy, *, now: int) -> Certificate:
    """Have the log's current checkpoint cosigned by a quorum, and keep the certificate in the log.

    Run by: the sequencer.  Units: now in POSIX seconds.  `witnesses` maps names of the policy to witnesses, None for
    one that cannot be reached. Every reachable one is asked; an answer that is late, refused or bad counts as missing.

    Raises:
        QuorumError: too few cosigned; it names needed, have and missing, and each witness's reason.
        EquivocationError: a witness proved that this log signed two roots for one size.
        ValueError: the policy is of another log, or `witnesses` has a name the policy does not know.
    """
    if policy.origin != log.origin or policy.log_key != log.verifier:
        raise ValueError(f"the policy is of {policy.origin}, the log is {log.origin}")
    unknown = set(witnesses) - {key.name for key in policy.witnesses}
    if unknown:
        raise ValueError(f"not witnesses of this policy: {', '.join(sorted(unknown))}")
    note = parse_note(log.checkpoint())
    lines: dict[str, NoteSignature] = {}
    reasons: list[str] = []
    culprits: list[str] = []
    for key in policy.witnesses:
        witness = witnesses.get(key.name)
        if witness is None:
            continue
        try:
            lines[key.name] = _ask(log, witness, key, note, now)
        except EquivocationError as exc:
            if _proves_equivocation(exc.evidence, log.verifier):
                raise
            reasons.append(f"{key.name}: claims an equivocation that its evidence does not prove")
            culprits.append(key.name)
        except (LedgerError, OSError) as exc:
            reasons.append(f"{key.name}: {exc}")
            if isinstance(exc, DecodeError | SignatureError):
                culprits.append(key.name)
    if len(lines) < policy.needed:
        missing = tuple(key.name for key in policy.witnesses if key.name not in lines)
        raise QuorumError(
            needed=policy.needed, have=tuple(lines), missing=missing, reasons=tuple(reasons), culprits=tuple(culprits)
        )
    certificate = policy.verify(Note(note.text, (*note.signatures, *lines.values())).encode())
    log.keep_certificate(certificate)
    return certificate


def _ask(log: Log, witness: CosigningWitness, key: VerifierKey, note: Note, now: int) -> NoteSignature:
    """Ask one witness and verify its answer before it is put beside the others'."""
    old = witness.size
    if not 0 <= old <= log.size:
        raise StateError(
            f"has cosigned size {old}, the log has {log.size} entries: the log was rolled back, or it errs"
        )
    proof = log.consistency_proof(old, log.size) if 0 < old < log.size else []
    answer = parse_signature_line(witness.add_checkpoint(old, proof, note.encode(), now=now))
    try:
        cosigned = Note(note.text, (answer,))
    except ValueError as exc:
        raise DecodeError(f"answered with a signature line that no note can hold: {exc}") from exc
    if verify_cosignature(cosigned, key) is None:
        raise SignatureError(f"answered with a signature line of {answer.name}, which is not its key")
    return answer


def _proves_equivocation(evidence: tuple[bytes, bytes], log_key: VerifierKey) -> bool:
    try:
        one, other = (verify_checkpoint(note, log_key) for note in evidence)
    except (LedgerError, ValueError):
        return False
    return one.size == other.size and one.root != other.root
