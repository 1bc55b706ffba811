"""The auditor: recomputes a whole run from its public files, and names what is wrong.

Spec: round §6 (v1). Nothing private is read, nobody is believed: signatures, order, the committee's certificate, every
sum, every answer, every model and the privacy report are computed again. The one thing the files cannot prove is that
they are of the federation you mean; pin the genesis hash for that.
"""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ledger import (
    Certificate,
    DirectoryBlobs,
    LedgerError,
    blob_digest,
    read_bounded,
    read_published,
)
from protocols.errors import ProtocolError

from .board import Transcript
from .errors import EdgeError
from .layout import PublicFolder
from .messages import Kind
from .model import GlobalModel
from .replay import RoundState
from .report import build, compare, encode, html, markdown
from .results import check_dry_run, final_model, next_model, report_facts
from .roster import member_name

__all__ = ["Auditor", "Finding", "Verdict"]

_REPORT_LIMIT = 16 << 20
_BLOB_LIMIT = 1 << 30
_BLOB_DEPTH = 2
_TEMPORARY = re.compile(r"\.[0-9a-f]{64}\.[0-9-]+\.tmp")
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong (`error`) or odd but harmless (`note`). `where` names the thing."""

    level: str
    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass(slots=True)
class Verdict:
    """What an audit found. `ok` only if nothing is wrong and the run is complete."""

    findings: list[Finding] = field(default_factory=list)
    transcript: Transcript | None = None
    certificate: Certificate | None = None
    rounds: int = 0

    @property
    def ok(self) -> bool:
        """Whether everything holds."""
        return self.certificate is not None and not any(f.level == "error" for f in self.findings)

    def build_report(self) -> dict[str, Any]:
        """The privacy budget report of a run that holds.

        Raises:
            ValueError: the run does not hold, so nothing can be reported from it.
        """
        if not self.ok or self.transcript is None or self.certificate is None:
            raise ValueError("the run does not verify; a report is built from a verified ledger only")
        return build(report_facts(self.transcript, self.certificate))


class Auditor:
    """Verifies one public folder."""

    def __init__(self, folder: PublicFolder, *, genesis: bytes | None = None) -> None:
        self._folder, self._pinned = folder, genesis
        self._verdict = Verdict()

    def verify(self, progress: Progress = lambda what, done, total: None, *, with_report: bool = True) -> Verdict:
        """Recompute everything. Run by: anyone. Never raises on hostile files; look at the verdict's findings."""
        self._verdict = verdict = Verdict()
        with self._stage("folder"):
            self._check_folder()
        with self._stage("blobs"):
            self._check_blobs()
        transcript: Transcript | None = None
        with self._stage("ledger"):
            transcript = self._read()
        if transcript is None:
            return verdict
        with self._stage("key"):
            self._check_key(transcript)
        model: GlobalModel | None = None
        with self._stage("rounds"):
            model = self._check_rounds(transcript, progress)
        with self._stage("model"):
            self._check_final_model(transcript, model)
        with self._stage("blobs"):
            self._note_unnamed_blobs(transcript)
        if with_report:
            with self._stage("report"):
                self._check_report(transcript)
        return verdict

    def _error(self, where: str, what: str) -> None:
        self._verdict.findings.append(Finding("error", where, what))

    def _note(self, where: str, what: str) -> None:
        self._verdict.findings.append(Finding("note", where, what))

    @contextmanager
    def _stage(self, where: str) -> Iterator[None]:
        try:
            yield
        except (LedgerError, ProtocolError, EdgeError, ValueError, OSError, RecursionError, MemoryError) as exc:
            self._error(where, str(exc) or type(exc).__name__)

    def _check_folder(self) -> None:
        """Only what belongs there is there, as plain files and folders: a link could lead anywhere."""
        if not self._folder.path.is_dir():
            raise ValueError(f"{self._folder.path} is not there: nothing was published, or this is not a run's folder")
        if not self._folder.ledger.is_dir():
            raise ValueError(f"{self._folder.path} holds no run: there is no ledger in it")
        expected = {path.name for path in self._folder.parts}
        for item in sorted(os.scandir(self._folder.path), key=lambda found: found.name):
            if item.is_symlink():
                self._error(_shown(item.name), "is a link; a public folder holds plain files and folders only")
            elif item.name not in expected:
                self._note(_shown(item.name), "does not belong here; nothing reads it")

    def _check_blobs(self) -> None:
        """Every file of the blob store must be what its name says, whether an entry names it or not."""
        waiting = [(self._folder.blobs, 0)] if self._folder.blobs.is_dir() else []
        while waiting:
            folder, depth = waiting.pop()
            for item in sorted(os.scandir(folder), key=lambda found: found.name):
                if not item.is_dir(follow_symlinks=False):
                    self._check_blob(item)
                elif depth < _BLOB_DEPTH:
                    waiting.append((Path(item.path), depth + 1))
                else:
                    self._error(f"blob folder {_shown(item.name)}", "is deeper than blobs are kept")

    def _check_blob(self, item: "os.DirEntry[str]") -> None:
        name = _shown(item.name)
        if _TEMPORARY.fullmatch(item.name):
            self._note(f"blob {name}", "is a temporary file that a crash left; nothing reads it")
        elif not item.is_file(follow_symlinks=False):
            self._error(f"blob {name}", "is not a regular file")
        elif item.stat(follow_symlinks=False).st_size > _BLOB_LIMIT:
            self._error(f"blob {name}", f"has {item.stat().st_size} bytes, more than a blob may have")
        else:
            hashed = hashlib.sha256()
            with open(item.path, "rb") as file:
                while piece := file.read(1 << 20):
                    hashed.update(piece)
            digest = hashed.hexdigest()
            if Path(item.path) != self._folder.blobs / digest[:2] / digest[2:4] / digest:
                self._error(f"blob {name}", "its bytes are not those its name promises: a byte was changed")

    def _read(self) -> Transcript:
        published = read_published(self._folder.ledger)
        transcript = Transcript(published.entries, DirectoryBlobs(self._folder.blobs))
        for ignored in transcript.replay.ignored:
            say = self._error if ignored.hostile else self._note
            kind = Kind(ignored.kind).name if ignored.kind in set(Kind) else f"kind {ignored.kind}"
            first = published.entries.index(published.entries[ignored.index])
            copied = "" if first == ignored.index else f" (entry {first} again, byte for byte: the operator's doing)"
            sender = _shown(ignored.sender) if ignored.sender else "nobody"
            say(f"entry {ignored.index}{copied}", f"{kind} by {sender} has no effect: {ignored.reason}")
        if not transcript.started:
            raise ValueError("the ledger does not begin with a genesis entry")
        self._verdict.transcript = transcript
        if self._pinned is not None and self._pinned != transcript.replay.context:
            raise ValueError(
                f"this is another federation: its genesis is {transcript.replay.context.hex()}, "
                f"you pinned {self._pinned.hex()}"
            )
        self._verdict.certificate = transcript.roster.policy.verify(published.note)
        return transcript

    def _check_key(self, transcript: Transcript) -> None:
        replay = transcript.replay
        for name, complaint in sorted(replay.ceremony.complaints.items()):
            dealer = member_name(transcript.roster.plan.sharing.dealer(complaint.piece))
            self._error("key", f"{name} complains about piece {complaint.piece}, which {dealer} dealt")
        if len({check.joint_key for check in replay.ceremony.checks.values()}) > 1:
            self._error("key", "the members pinned different joint keys")
        if replay.key_ready or replay.disputed_pieces:
            check_dry_run(transcript)
        else:
            self._error("key", "key generation is not complete")

    def _check_rounds(self, transcript: Transcript, progress: Progress) -> GlobalModel:
        plan = transcript.roster.plan
        model = GlobalModel.zero(plan.features, plan.classes)
        for state in transcript.replay.rounds:
            where = f"round {state.number}"
            if state.model != blob_digest(model.encode()):
                self._error(where, "starts from another model than the one the rounds before it give")
            transcript.blobs.get(state.model, size=len(model.encode()))
            if state.result is None:
                self._error(where, "is not finished")
                break
            self._check_sum(transcript, state)
            self._note_left_out(transcript, state)
            model = next_model(transcript, state.number, model)
            if state.result.model != blob_digest(model.encode()):
                self._error(where, "the published model does not follow from the opened sum")
            transcript.blobs.get(state.result.model, size=len(model.encode()))
            self._verdict.rounds = state.number
            progress("rounds", state.number, plan.rounds)
        if self._verdict.rounds < plan.rounds:
            self._error("run", f"{self._verdict.rounds} of {plan.rounds} planned rounds are finished")
        return model

    def _check_sum(self, transcript: Transcript, state: RoundState) -> None:
        where = f"round {state.number}"
        computed = blob_digest(transcript.sum_of(state.ciphertexts()).encode())
        if state.aggregate is None or state.aggregate.ciphertext != computed:
            self._error(where, "the aggregate is not the sum of the cohort's ciphertexts")
        for name, vote in sorted(state.votes.items()):
            if vote.ciphertext != computed:
                self._error(where, f"{name} voted for another sum than the cohort's ciphertexts give")

    def _note_left_out(self, transcript: Transcript, state: RoundState) -> None:
        """Committed in time, there, well formed, and not counted: the operator left the client out."""
        for name, (index, commit) in sorted(state.commits.items()):
            if name in state.cohort:
                continue
            try:
                transcript.ciphertext(commit.ciphertext)
            except (LedgerError, ProtocolError):
                continue
            self._note(
                f"round {state.number}", f"{name} committed a well-formed update (entry {index}) and was left out"
            )

    def _note_unnamed_blobs(self, transcript: Transcript) -> None:
        """A blob that no entry names does no harm: whoever lost a race may have left it."""
        ceremony, named = transcript.replay.ceremony, set[bytes]()
        named |= set(ceremony.parts().values())
        named |= {digest for same in ceremony.answered().values() for digest in same}
        for state in transcript.replay.rounds:
            named |= {state.model} | {commit.ciphertext for _, commit in state.commits.values()}
            named |= {answer.answer for answer in state.answers.values()}
            named |= {body.ciphertext for body in (state.aggregate,) if body} | {b.model for b in (state.result,) if b}
        for digest in DirectoryBlobs(self._folder.blobs).digests():
            if digest not in named:
                self._note(f"blob {digest.hex()}", "is named by no entry; nothing reads it")

    def _check_final_model(self, transcript: Transcript, model: GlobalModel | None) -> None:
        plan = transcript.roster.plan
        if model is None or self._verdict.rounds < plan.rounds:
            return
        expected = final_model(transcript, model).encode()
        found = read_bounded(self._folder.model, limit=len(expected))
        if found != expected:
            self._error(self._folder.model.name, "is not the model that follows from the ledger")

    def _check_report(self, transcript: Transcript) -> None:
        certificate = self._verdict.certificate
        if certificate is None or self._verdict.rounds < transcript.roster.plan.rounds:
            return
        ours = build(report_facts(transcript, certificate))
        name = self._folder.report_json.name
        data = read_bounded(self._folder.report_json, limit=_REPORT_LIMIT)
        if data is None:
            self._error(name, "is missing; `secure-bfl report` writes it from the ledger")
            return
        try:
            theirs = json.loads(data)
        except (ValueError, RecursionError) as exc:
            self._error(name, f"is not JSON: {exc}")
            return
        if ours["budget"]["exceeded"]:
            self._error("budget", "a client spent more than the plan's budget")
        differences = compare(ours, theirs)
        for difference in differences:
            self._error(name, f"does not follow from the ledger: {difference}")
        if differences:
            return
        if encode(theirs) != data:
            self._error(name, "is not in canonical form")
        for path, render in ((self._folder.report_markdown, markdown), (self._folder.report_html, html)):
            if read_bounded(path, limit=_REPORT_LIMIT) != render(theirs).encode():
                self._error(path.name, f"is not what {name} says")


def _shown(name: str) -> str:
    """A name of a stranger's file or party, safe to print."""
    return name if name.isascii() and name.isprintable() else ascii(name)
