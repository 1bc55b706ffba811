"""What is on a ledger, entry by entry: what it does, and how final it is.

Spec: round §3.6 (v1). For people who want to look; an audit (`secure_bfl.auditor`) is what tells whether a run holds.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, Final

from ledger import Certificate, Checkpoint, LedgerError, parse_entry, read_bounded, read_published, verify_checkpoint
from ledger.policy_file import TrustPolicy
from ledger.proof import MAX_LOG_PROOF, parse_proof

from .board import Board
from .errors import UnverifiedError
from .layout import PublicFolder
from .messages import BODIES, Kind
from .replay import Replay
from .roster import Committee
from .state import RoundState

__all__ = ["AnchorFile", "Finality", "InspectedEntry", "InspectedRound", "Inspection", "anchored_text", "inspect"]

ANCHOR_SUFFIX: Final = ".tlog-proof"
_MAX_ANCHORS: Final = 10_000


class Finality(IntEnum):
    """How hard it is to take an entry back; each includes the ones before.

    Sequenced: the operator's log has it. Checkpointed: the operator signed a root over it, in the note that was
    published, or in the newest certificate of a log at hand. Certified: a quorum of the
    committee cosigned that, and cosigns no other history. Anchored: the certified checkpoint is in a log of others.
    """

    SEQUENCED = 0
    CHECKPOINTED = 1
    CERTIFIED = 2
    ANCHORED = 3


@dataclass(frozen=True, slots=True)
class InspectedEntry:
    """One entry. `ignored` says why it has no effect, and is None if it counts. `round` is None outside rounds."""

    index: int
    kind: str
    sender: str
    round: int | None
    ignored: str | None
    hostile: bool
    finality: Finality

    def __str__(self) -> str:
        effect = "" if self.ignored is None else f": no effect: {_shown(self.ignored)}"
        return f"{self.index:6} {self.kind} by {_shown(self.sender)}, {self.finality.name.lower()}{effect}"


@dataclass(frozen=True, slots=True)
class InspectedRound:
    """One round, with the entries that name it."""

    number: int
    status: str
    entries: tuple[InspectedEntry, ...]


@dataclass(frozen=True, slots=True)
class AnchorFile:
    """One proof that a checkpoint of this log is in another one. `problem` is None if it verified."""

    name: str
    size: int
    log: str
    problem: str | None

    def __str__(self) -> str:
        if self.problem is not None:
            return f"{_shown(self.name)} anchors nothing: {_shown(self.problem)}"
        return f"{_shown(self.name)}: the checkpoint of {self.size} entries is in {_shown(self.log)}"


@dataclass(frozen=True, slots=True)
class Inspection:
    """A whole ledger. `checkpointed`, `certified` and `anchored` are how many entries are at least as final."""

    origin: str
    genesis: bytes
    checkpointed: int
    certified: int
    cosigners: tuple[str, ...]
    anchored: int
    anchors: tuple[AnchorFile, ...]
    others: tuple[InspectedEntry, ...]
    rounds: tuple[InspectedRound, ...]

    @property
    def entries(self) -> tuple[InspectedEntry, ...]:
        """All entries, in order."""
        found = [*self.others, *(entry for item in self.rounds for entry in item.entries)]
        return tuple(sorted(found, key=lambda entry: entry.index))

    def _rounds(self, number: int | None) -> tuple[InspectedRound, ...]:
        """All rounds, or the one of this number. ValueError if there is none."""
        if number is None:
            return self.rounds
        if not 1 <= number <= len(self.rounds):
            raise ValueError(f"there is no round {number}; the ledger has {len(self.rounds)}")
        return (self.rounds[number - 1],)

    def lines(self, *, round: int | None = None) -> list[str]:
        """A rendering to read, line by line: of everything, or of one round.

        Raises:
            ValueError: there is no such round.
        """
        found = [
            f"log {_shown(self.origin)}, genesis {self.genesis.hex()}",
            f"{len(self.entries)} entries: {self.checkpointed} checkpointed, {self.certified} certified, "
            f"{self.anchored} anchored",
        ]
        if self.cosigners:
            found.append(f"certified by {', '.join(self.cosigners)}")
        found += map(str, self.anchors)
        if round is None:
            found += ["outside rounds", *map(str, self.others)]
        for item in self._rounds(round):
            found += [f"round {item.number}: {item.status}", *map(str, item.entries)]
        return found

    def to_json(self, *, round: int | None = None) -> dict[str, Any]:
        """The same as values for `json.dumps`.

        Raises:
            ValueError: there is no such round.
        """
        return {
            "origin": self.origin,
            "genesis": self.genesis.hex(),
            "size": len(self.entries),
            "checkpointed": self.checkpointed,
            "certified": self.certified,
            "cosigners": list(self.cosigners),
            "anchored": self.anchored,
            "anchors": [{"name": a.name, "size": a.size, "log": a.log, "problem": a.problem} for a in self.anchors],
            "others": [] if round is not None else [_json(entry) for entry in self.others],
            "rounds": [
                {"number": r.number, "status": r.status, "entries": [_json(e) for e in r.entries]}
                for r in self._rounds(round)
            ],
        }


def _json(entry: InspectedEntry) -> dict[str, Any]:
    return {
        "index": entry.index,
        "kind": entry.kind,
        "sender": entry.sender,
        "ignored": entry.ignored,
        "hostile": entry.hostile,
        "finality": entry.finality.name.lower(),
    }


def anchored_text(checkpoint: Checkpoint) -> bytes:
    """What stands in another log to anchor this one: the checkpoint's note text, without signatures."""
    return checkpoint.text().encode()


def inspect(source: PublicFolder | Board, *, anchors: TrustPolicy | None = None) -> Inspection:
    """Read a ledger, published or at hand, and say of each entry what it does and how final it is. Run by: anyone.

    `anchors` says which other logs anchor this one; without it nothing counts as anchored. The proofs are the files
    `anchors/<size>.tlog-proof` of a public folder, of the checkpoint of that size.

    Raises:
        DecodeError, ProofError, StoreError: the published files are not a log.
        UnverifiedError: the log does not begin with a genesis entry.
    """
    folder: Path | None = None
    if isinstance(source, Board):
        entries: Sequence[bytes] = list(source.log.entries())
        note: bytes | None = source.log.certified()
    else:
        published = read_published(source.ledger)
        entries, note, folder = published.entries, published.note, source.anchors
    replay, office = Replay(), []
    for data in entries:
        replay.apply(data)
        office.append(replay.committees[-1] if replay.committees else None)
    if replay.roster is None:
        raise UnverifiedError("the ledger does not begin with a genesis entry")
    size = _checkpointed(replay, note)
    certificate = _certificate(replay, office, note)
    certified = 0 if certificate is None else certificate.checkpoint.size
    files = () if folder is None else tuple(_anchors(folder, replay, anchors))
    anchored = max((min(file.size, certified) for file in files if file.problem is None), default=0)
    levels = ((Finality.ANCHORED, anchored), (Finality.CERTIFIED, certified), (Finality.CHECKPOINTED, size))
    listed = tuple(_entries(entries, replay, levels))
    return Inspection(
        origin=replay.known.origin,
        genesis=replay.context,
        checkpointed=size,
        certified=certified,
        cosigners=() if certificate is None else certificate.cosigners,
        anchored=anchored,
        anchors=files,
        others=tuple(entry for entry in listed if entry.round is None),
        rounds=tuple(
            InspectedRound(r.number, _status(r), tuple(e for e in listed if e.round == r.number)) for r in replay.rounds
        ),
    )


def _checkpointed(replay: Replay, note: bytes | None) -> int:
    """How many entries the log signed, if it did."""
    if note is None:
        return 0
    try:
        checkpoint = verify_checkpoint(note, replay.known.log_key)
    except LedgerError:
        return 0
    return checkpoint.size if _is_of(replay, checkpoint) else 0


def _is_of(replay: Replay, checkpoint: Checkpoint) -> bool:
    return checkpoint.size <= replay.size and replay.root(checkpoint.size) == checkpoint.root


def _certificate(replay: Replay, office: Sequence[Committee | None], note: bytes | None) -> Certificate | None:
    """The certificate in a note, by the committee that was in office when the log had that size."""
    if note is None:
        return None
    try:
        size = verify_checkpoint(note, replay.known.log_key).size
        committee = office[size - 1] if 0 < size <= len(office) else None
        certificate = None if committee is None else committee.policy.verify(note)
    except LedgerError:
        return None
    return certificate if certificate is not None and _is_of(replay, certificate.checkpoint) else None


def _anchors(folder: Path, replay: Replay, trusted: TrustPolicy | None) -> Iterator[AnchorFile]:
    if not folder.is_dir():
        return
    names = sorted(path.name for path in folder.iterdir() if path.name.endswith(ANCHOR_SUFFIX))
    for name in names[:_MAX_ANCHORS]:
        digits = name.removesuffix(ANCHOR_SUFFIX)
        size = int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 20 else 0
        try:
            log = _anchor(folder / name, size, replay, trusted)
        except (LedgerError, UnverifiedError) as exc:
            yield AnchorFile(name, size, "", str(exc))
        else:
            yield AnchorFile(name, size, log, None)


def _anchor(path: Path, size: int, replay: Replay, trusted: TrustPolicy | None) -> str:
    """The origin of the log that has the checkpoint of this size."""
    if trusted is None:
        raise UnverifiedError("no policy says which other logs to trust")
    if not 0 < size <= replay.size:
        raise UnverifiedError(f"it is not named after the size of a checkpoint of this log, 1 to {replay.size}")
    data = read_bounded(path, limit=MAX_LOG_PROOF)
    if data is None:
        raise UnverifiedError("it cannot be read")
    checkpoint = Checkpoint(replay.known.origin, size, replay.root(size))
    return parse_proof(data).verify(anchored_text(checkpoint), trusted).checkpoint.origin


def _entries(
    entries: Sequence[bytes], replay: Replay, levels: Sequence[tuple[Finality, int]]
) -> Iterator[InspectedEntry]:
    ignored: Mapping[int, Any] = {entry.index: entry for entry in replay.ignored}
    for index, data in enumerate(entries):
        finality = next((level for level, size in levels if index < size), Finality.SEQUENCED)
        listed = ignored.get(index)
        kind, sender, number = _read(data, len(replay.rounds))
        reason, hostile = (None, False) if listed is None else (listed.reason, listed.hostile)
        yield InspectedEntry(index, kind, sender, number, reason, hostile, finality)


def _read(data: bytes, rounds: int) -> tuple[str, str, int | None]:
    """Kind, sender and round of an entry, as far as it can be read."""
    try:
        entry = parse_entry(data)
    except LedgerError:
        return "bytes", "nobody", None
    name = Kind(entry.kind).name if entry.kind in BODIES else f"kind {entry.kind}"
    try:
        number = getattr(BODIES[entry.kind].from_value(entry.body), "round", None)
    except (LedgerError, KeyError):
        number = None
    return name, entry.sender, number if number is not None and 1 <= number <= rounds else None


def _status(state: RoundState) -> str:
    released = "" if state.released is None else f", updates released by entry {state.released}"
    if state.void is not None:
        return f"void: {_shown(state.void.reason)}{released}"
    if state.result is not None:
        return f"finished, {len(state.cohort)} updates{released}"
    if state.attempts:
        return f"opening, {len(state.answers)} answers"
    if state.aggregate is not None:
        return f"summed, {len(state.votes)} votes"
    return "open" if state.closed is None else "closed"


def _shown(text: str) -> str:
    """Text of a stranger, safe to print."""
    return text if text.isascii() and text.isprintable() else ascii(text)[1:-1]
