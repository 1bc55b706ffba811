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
    BlobError,
    Certificate,
    DirectoryBlobs,
    LedgerError,
    SignatureError,
    blob_digest,
    read_bounded,
    read_published,
)
from protocols.errors import ProtocolError

from .answers import faults
from .board import Transcript
from .ceremony import CeremonyState
from .disputes import disputes
from .errors import EdgeError, UnopenableError
from .judging import check_dry_run, withheld_by
from .layout import PublicFolder
from .messages import Kind
from .model import GlobalModel
from .replay import RoundState
from .report import AUDIT_CLAIMS, build, compare, encode, html, markdown
from .results import final_model, first_model, following_model, next_model, opened_sum, report_facts, sentinel_energy
from .signatory import signer_of

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
        self._note_keys(transcript)
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
        first_of: dict[bytes, int] = {}
        for index, entry in enumerate(published.entries):
            first_of.setdefault(entry, index)
        for ignored in transcript.replay.ignored:
            first = first_of[published.entries[ignored.index]]
            say = self._error if ignored.hostile and first == ignored.index else self._note
            kind = Kind(ignored.kind).name if ignored.kind in set(Kind) else f"kind {ignored.kind}"
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
        self._verdict.certificate = transcript.replay.committee.policy.verify(published.note)
        return transcript

    def _check_key(self, transcript: Transcript) -> None:
        founding, *changes = transcript.replay.ceremonies
        if len({check.joint_key for check in founding.checks.values()}) > 1:
            self._error("key", "the members pinned different joint keys")
        if not (founding.ready or founding.disputed or founding.unequal or founding.complaints or founding.opens):
            late = withheld_by(transcript)
            self._error("key", f"key generation is not complete{_owed(late)}")
            return
        check_dry_run(transcript, epoch=0)
        self._check_deliveries(transcript, founding)
        for state in changes:
            with self._stage(f"committee of epoch {state.epoch}"):
                self._check_change(transcript, state)

    def _note_keys(self, transcript: Transcript) -> None:
        """Whose signing keys were revoked: what they signed before counts."""
        for name, standing in sorted(transcript.replay.standings.items()):
            for number, key in enumerate(standing.keys):
                if key.revoked:
                    self._note("parties", f"key {number} of {name} was revoked: it counts up to entry {key.until}")

    def _check_change(self, transcript: Transcript, state: CeremonyState) -> None:
        where = f"committee of epoch {state.epoch}"
        for addend in state.addends:
            camps = list(state.camps(addend).values())
            if len(camps) > 1:
                sides = " against ".join(", ".join(camp) for camp in camps)
                self._note(where, f"the holders of addend {addend} committed to different dealings: {sides}")
        for addend, refused in sorted(state.refused.items()):
            for dealer, name in refused.items():
                self._note(where, f"{name} refused what {dealer} delivered for addend {addend}: one of them is wrong")
        for (one, other), holders in state.unequal.items():
            sides = " against ".join(", ".join(camp) for camp in holders)
            self._note(where, f"pieces {one} and {other} have no key in common: {sides}")
        if state.ready:
            check_dry_run(transcript, epoch=state.epoch)
            self._check_deliveries(transcript, state)
            former = state.former
            dropped = transcript.replay.ceremony_of(former.epoch).drops if former else {}
            kept = [name for name in former.members if name not in dropped] if former else []
            if kept:
                self._note(where, f"{', '.join(kept)} did not say that the former pieces are erased")
        else:
            self._note(where, "the change was given up, or is not finished")

    @staticmethod
    def _check_deliveries(transcript: Transcript, state: CeremonyState) -> None:
        """All that is public of what was dealt: the members read it again whenever they restart."""
        deliveries = transcript.deliveries(state)
        for addend in state.delivered:
            deliveries.check_public(addend)

    def _check_rounds(self, transcript: Transcript, progress: Progress) -> GlobalModel:
        plan = transcript.roster.plan
        model = first_model(transcript)
        for state in transcript.replay.rounds:
            where = f"round {state.number}"
            if state.model != blob_digest(model.encode()):
                self._error(where, "starts from another model than the one the rounds before it give")
            transcript.blobs.get(state.model, size=plan.model_bytes)
            if not state.finished:
                self._error(where, "is not finished")
                break
            if state.aggregate is not None:
                self._check_sum(transcript, state)
            if state.closed is not None:
                self._note_left_out(transcript, state)
            if state.result is None:
                self._note_void(transcript, state, model)
            else:
                self._note_culprits(transcript, state)
                sums = opened_sum(transcript, state.number)
                model = following_model(transcript, state.number, model, sums)
                if state.result.model != blob_digest(model.encode()):
                    self._error(where, "the published model does not follow from the opened sum")
                if state.result.sentinel_energy != sentinel_energy(plan, sums):
                    self._error(where, "the stated sentinels are not those of the opened sum")
                transcript.blobs.get(state.result.model, size=plan.model_bytes)
            self._verdict.rounds = state.number
            progress("rounds", state.number, plan.rounds)
        if self._verdict.rounds < plan.rounds:
            self._error("run", f"{self._verdict.rounds} of {plan.rounds} planned rounds are finished")
        return model

    def _note_culprits(self, transcript: Transcript, state: RoundState) -> None:
        """Who was proven wrong, contradicted, or silent on the way: the round went on without them."""
        where, committee = f"round {state.number}", transcript.committee_of(state.number)
        for reason in faults(transcript, state.number).values():
            self._note(where, reason)
        for attempt in state.attempts:
            number = attempt.request.attempt
            if attempt.unanswered:
                self._note(where, f"{', '.join(attempt.unanswered)} did not answer attempt {number}")
            for dispute in disputes(attempt, committee, late=True):
                after = (
                    ", said after the model" if any(n in attempt.late for camp in dispute.camps for n in camp) else ""
                )
                self._note(where, f"attempt {number}: {dispute}{after}")

    def _note_void(self, transcript: Transcript, state: RoundState, model: GlobalModel) -> None:
        """A round without a model: the reason that the operator gave, and what the files say."""
        where = f"round {state.number}"
        if state.void is not None:
            self._note(where, f"is void: {ascii(state.void.reason)[1:-1]}")
        self._note_culprits(transcript, state)
        if state.attempt is None:
            return
        try:
            next_model(transcript, state.number, model)
        except (BlobError, ProtocolError, UnopenableError) as exc:
            self._note(where, f"gives no model: {exc}")
        else:
            self._note(where, "was made void by the operator although its sum opens")

    def _check_sum(self, transcript: Transcript, state: RoundState) -> None:
        where = f"round {state.number}"
        if state.released is not None and not all(map(transcript.blobs.has, state.ciphertexts())):
            self._note_released(state)
            return
        computed = blob_digest(transcript.sum_of(state.ciphertexts()).encode())
        right = state.aggregate is not None and state.aggregate.ciphertext == computed
        if not right:
            self._error(where, "the aggregate is not the sum of the cohort's ciphertexts")
        agreed = len(state.attesting()) >= transcript.committee_of(state.number).policy.needed
        say = self._note if right and agreed else self._error  # a quorum has the sum: a wrong vote changed nothing
        for name, vote in sorted({**state.votes, **state.late_votes}.items()):
            if vote.ciphertext != computed:
                say(where, f"{name} voted for another sum than the cohort's ciphertexts give")

    def _note_released(self, state: RoundState) -> None:
        where, attesting = f"round {state.number}", state.attesting()
        self._note(
            where,
            f"the sum is not recomputed: its updates were deleted after {len(attesting)} members attested it: "
            f"{', '.join(attesting)}",
        )
        for name in sorted({*state.votes, *state.late_votes} - set(attesting)):
            self._note(where, f"{name} voted for another sum than the others; the updates to judge it by were deleted")

    def _note_left_out(self, transcript: Transcript, state: RoundState) -> None:
        """Committed in time, there, well formed, and not counted: the operator left the client out."""
        for name, (index, commit) in sorted(state.commits.items()):
            if name in state.cohort:
                continue
            try:
                transcript.ciphertext(commit.opened, sender=name)
            except (LedgerError, ProtocolError):
                continue
            self._note(
                f"round {state.number}", f"{name} committed a well-formed update (entry {index}) and was left out"
            )

    def _note_unnamed_blobs(self, transcript: Transcript) -> None:
        """A blob that no entry names does no harm: whoever lost a race may have left it."""
        named = transcript.named()
        for state in transcript.replay.rounds:
            named |= {commit.opened for _, commit in state.commits.values()}
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
        for claim in ours["assumptions"]["checked"]:
            if not claim["holds"] and claim["claim"] in AUDIT_CLAIMS:
                self._note("assumption", f"does not hold: {claim['claim']}")
            elif not claim["holds"] and ours["accounting"]["verdict"] == "agree":
                self._error("assumption", f"does not hold: {claim['claim']}")
        if ours["budget"]["exceeded"]:
            self._error("budget", "a client spent more than the plan's budget")
        differences = compare(ours, theirs)
        for difference in differences:
            self._error(name, f"does not follow from the ledger: {difference}")
        if differences:
            return
        if encode(theirs) != data:
            self._error(name, "is not in canonical form")
        try:
            if signer_of(theirs, transcript.replay) is None:
                self._note(name, "is not signed: its figures follow from the ledger, nobody vouches for the rest")
        except SignatureError as exc:
            self._error(name, str(exc))
        for path, render in ((self._folder.report_markdown, markdown), (self._folder.report_html, html)):
            if read_bounded(path, limit=_REPORT_LIMIT) != render(theirs).encode():
                self._error(path.name, f"is not what {name} says")


def _owed(late: tuple[str, ...]) -> str:
    return f": {', '.join(late)} withholds what it committed to" if late else ""


def _shown(name: str) -> str:
    """A name of a stranger's file or party, safe to print."""
    return name if name.isascii() and name.isprintable() else ascii(name)
