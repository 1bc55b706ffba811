"""A proof in a file: that an entry is in a log, to be verified offline, without the log.

Spec: C2SP tlog-proof v1. Such files are named `*.tlog-proof`.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from dataclasses import dataclass
from typing import Final, TypeVar, overload

from .checkpoint import MAX_SIZE
from .errors import DecodeError
from .foreign import ForeignCheckpoint, parse_foreign_checkpoint, verify_foreign_checkpoint
from .merkle import HASH_SIZE, MAX_PROOF, leaf_hash, verify_inclusion
from .note import MAX_NOTE, VerifierKey, parse_note
from .octets import is_octets
from .published import published_entry
from .source import LogSource
from .verify import CheckpointPolicy, Trusted

__all__ = ["MAX_EXTRA", "MAX_LOG_PROOF", "LogProof", "ProvedEntry", "parse_proof", "prove"]

MAX_EXTRA: Final = 64 * 1024
"""Bytes of extra data that a proof may hold."""
_HEADER: Final = "c2sp.org/tlog-proof@v1"
MAX_LOG_PROOF: Final = MAX_NOTE + 4 * (MAX_EXTRA + 2) // 3 + 45 * MAX_PROOF + 100
"""Bytes a proof's file may have."""
_INDEX: Final = re.compile(r"index (0|[1-9][0-9]{0,18})")
_EXTRA: Final = "extra "
_T = TypeVar("_T", bound=Trusted)


@dataclass(frozen=True, slots=True)
class LogProof:
    """An entry's index, its inclusion proof and the checkpoint it leads to; nothing is verified before `verify`.

    Shapes: each hash of `proof` 32 bytes, the leaf's sibling first. `checkpoint` is a signed note with its signatures.
    `extra` is for the application: nobody signed it.
    """

    index: int
    proof: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes = b""

    def __post_init__(self) -> None:
        if not 0 <= self.index < MAX_SIZE:
            raise ValueError("an index is in [0, 2^63 - 2]")
        if len(self.proof) > MAX_PROOF or not all(is_octets(item, HASH_SIZE) for item in self.proof):
            raise ValueError(f"an inclusion proof is at most {MAX_PROOF} hashes of {HASH_SIZE} bytes")
        if not is_octets(self.extra, 0, MAX_EXTRA):
            raise ValueError(f"extra data is at most {MAX_EXTRA} bytes")
        try:
            head = parse_foreign_checkpoint(parse_note(self.checkpoint).text)
        except DecodeError as exc:
            raise ValueError(f"a proof holds a signed checkpoint: {exc}") from exc
        if self.index >= head.size:
            raise ValueError(f"index {self.index} is not in a tree of {head.size} leaves")

    def encode(self) -> bytes:
        """The file's bytes."""
        extra = f"{_EXTRA}{b64encode(self.extra).decode()}\n" if self.extra else ""
        hashes = "".join(f"{b64encode(item).decode()}\n" for item in self.proof)
        return f"{_HEADER}\n{extra}index {self.index}\n{hashes}\n".encode() + self.checkpoint

    @overload
    def verify(self, entry: bytes, trusted: VerifierKey, *, origin: str | None = None) -> ForeignCheckpoint: ...

    @overload
    def verify(self, entry: bytes, trusted: CheckpointPolicy[_T]) -> _T: ...

    def verify(
        self, entry: bytes, trusted: VerifierKey | CheckpointPolicy[_T], *, origin: str | None = None
    ) -> ForeignCheckpoint | _T:
        """Verify that the entry is in the log, at this index, under a checkpoint with the signatures that it needs.

        Run by: anyone, offline. `trusted` is a policy, whose certificate is returned, or the log's key, whose
        checkpoint is returned; `origin` is for the key of a log that is not named as its key.

        Raises:
            DecodeError: the checkpoint is of another log.
            SignatureError, QuorumError: the signatures on the checkpoint are not those that it needs.
            ProofError: the entry is not at this index in the checkpoint's tree.
        """
        head = parse_foreign_checkpoint(parse_note(self.checkpoint).text)
        if isinstance(trusted, VerifierKey):
            found: ForeignCheckpoint | _T = verify_foreign_checkpoint(self.checkpoint, trusted, origin=origin)
        else:
            found = trusted.verify(self.checkpoint)
        verify_inclusion(leaf_hash(entry), self.index, head.size, self.proof, head.root)
        return found


@dataclass(frozen=True, slots=True)
class ProvedEntry:
    """An entry and its proof. Made by `prove`."""

    entry: bytes
    proof: LogProof


def parse_proof(data: bytes) -> LogProof:
    """Read a proof's file.

    Run by: anyone, on hostile bytes.

    Raises:
        DecodeError: not the one spelling of a proof, or over `MAX_LOG_PROOF` bytes.
    """
    if len(data) > MAX_LOG_PROOF:
        raise DecodeError(f"a proof of {len(data)} bytes is over {MAX_LOG_PROOF}")
    head, empty, checkpoint = bytes(data).partition(b"\n\n")
    try:
        header, *lines = head.decode("ascii").split("\n")
    except ValueError as exc:
        raise DecodeError("a proof is ASCII down to its checkpoint") from exc
    if header != _HEADER or not empty:
        raise DecodeError(f"a proof begins with the line {_HEADER}, and an empty line and a checkpoint end it")
    extra = lines.pop(0)[len(_EXTRA) :] if lines and lines[0].startswith(_EXTRA) else ""
    index = _INDEX.fullmatch(lines[0]) if lines else None
    if index is None:
        raise DecodeError("a proof has a line `index` with a decimal number")
    if len(lines) - 1 > MAX_PROOF:
        raise DecodeError(f"a proof has at most {MAX_PROOF} hashes")
    try:
        hashes = tuple(b64decode(line, validate=True) for line in lines[1:])
        parsed = LogProof(int(index[1]), hashes, checkpoint, b64decode(extra, validate=True))
    except ValueError as exc:
        raise DecodeError(f"not a proof: {exc}") from exc
    if parsed.encode() != data:
        raise DecodeError("the proof is not in its one spelling")
    return parsed


def prove(source: LogSource, note: bytes, index: int) -> ProvedEntry:
    """Fetch entry `index` of a published log and make its proof under a checkpoint of that log.

    Run by: anyone. The entry is checked against the checkpoint's root; the signatures on `note` are the caller's to
    verify, which `LogProof.verify` does.

    Raises:
        DecodeError: the note is no checkpoint.
        ValueError: there is no such entry.
        ProofError, StoreError: see `published_entry`.
    """
    found = published_entry(source, parse_foreign_checkpoint(parse_note(note).text), index)
    return ProvedEntry(found.entry, LogProof(index, found.proof, bytes(note)))
