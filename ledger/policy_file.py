"""Trust policies as files: which logs and witnesses somebody trusts, and which cosignatures make a checkpoint valid.

Spec: C2SP tlog-policy. Whoever owns the file decides: any quorum is accepted here, `none` included. The policies of a
federation are stricter, see `ledger.policy`. Names are octets there; here they are texts decoded with
`surrogateescape`, which maps different octets to different texts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from .checkpoint import Checkpoint, parse_checkpoint, verify_checkpoint_note
from .cosign import COSIGNER_KINDS, verify_cosignature
from .errors import DecodeError, QuorumError, SignatureError
from .note import ED25519, MLDSA44, VerifierKey, parse_note, parse_vkey

__all__ = [
    "MAX_POLICY_FILE",
    "NO_QUORUM",
    "TrustPolicy",
    "TrustedCheckpoint",
    "TrustedLog",
    "TrustedWitness",
    "WitnessGroup",
    "parse_policy_file",
]

MAX_POLICY_FILE: Final = 1024 * 1024
"""Bytes a policy file may have."""
MAX_LISTED: Final = 256
"""Logs, witnesses and groups, of each, that a policy file may list (the specification asks for at least 32)."""
NO_QUORUM: Final = "none"
"""The name of the quorum that needs no cosignature."""
_FORBIDDEN: Final = re.compile(rb"[^\t\n -~\x80-\xff]")
_WHITESPACE: Final = re.compile(rb"[ \t]+")
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,3}")


@dataclass(frozen=True, slots=True)
class TrustedLog:
    """A log whose checkpoints are accepted. Its key is of type 0x01 or 0x06 and named as the log's origin."""

    key: VerifierKey
    url: str | None = None

    def __post_init__(self) -> None:
        if self.key.kind not in (ED25519, MLDSA44):
            raise ValueError(f"{self.key.name}: a log's key is of signature type 0x01 or 0x06")
        _check_word("a key's name", self.key.name)
        _check_word("a log's URL", self.url)


@dataclass(frozen=True, slots=True)
class TrustedWitness:
    """A witness whose cosignatures count. `name` is the policy's own; its key is of type 0x04 or 0x06."""

    name: str
    key: VerifierKey
    url: str | None = None

    def __post_init__(self) -> None:
        if self.key.kind not in COSIGNER_KINDS:
            raise ValueError(f"{self.key.name}: a witness's key is of signature type 0x04 or 0x06")
        _check_word("a key's name", self.key.name)
        _check_name(self.name)
        _check_word("a witness's URL", self.url)


@dataclass(frozen=True, slots=True)
class WitnessGroup:
    """A group has witnessed a checkpoint if at least `threshold` of its members, witnesses or groups, have."""

    name: str
    threshold: int
    members: tuple[str, ...]

    def __post_init__(self) -> None:
        _check_name(self.name)
        if not 1 <= self.threshold <= len(self.members):
            raise ValueError(f"group {self.name}: the threshold of {len(self.members)} members is 1 to as many")


@dataclass(frozen=True, slots=True)
class TrustedCheckpoint:
    """A checkpoint that a trust policy found valid. Made by `TrustPolicy.verify`; `note` is what was verified."""

    checkpoint: Checkpoint
    log: VerifierKey
    cosigners: tuple[str, ...]
    note: bytes


@dataclass(frozen=True, slots=True)
class TrustPolicy:
    """Logs, witnesses, groups and the name of the quorum: a witness, a group, or `NO_QUORUM`.

    A group's members are witnesses, or groups that come before it. Each name is a member once at most. A key is a
    log's or a witness's.

    Raises:
        ValueError: a rule of tlog-policy is broken, or a key is listed for a log and for a witness; the message says
            which.
    """

    logs: tuple[TrustedLog, ...]
    witnesses: tuple[TrustedWitness, ...] = ()
    groups: tuple[WitnessGroup, ...] = ()
    quorum: str = NO_QUORUM

    def __post_init__(self) -> None:
        if max(len(self.logs), len(self.witnesses), len(self.groups)) > MAX_LISTED:
            raise ValueError(f"a policy lists at most {MAX_LISTED} logs, witnesses and groups each")
        _check_distinct("log", (log.key for log in self.logs))
        _check_distinct("witness", (witness.key for witness in self.witnesses))
        signing = {log.key.public for log in self.logs}
        for witness in self.witnesses:
            if witness.key.public in signing:  # else a log could be its own witness
                raise ValueError(f"the public key of {witness.key.name} is listed for a log and for a witness")
        known = {witness.name for witness in self.witnesses}
        if len(known) != len(self.witnesses):
            raise ValueError("two witnesses have one name")
        taken: set[str] = set()
        for group in self.groups:
            if group.name in known:
                raise ValueError(f"the name {group.name} is defined twice")
            for member in group.members:
                if member not in known:
                    raise ValueError(f"group {group.name}: {member} is not defined before it")
                if member in taken:
                    raise ValueError(f"{member} is a member of groups twice")
                taken.add(member)
            known.add(group.name)
        if self.quorum != NO_QUORUM and self.quorum not in known:
            raise ValueError(f"the quorum {self.quorum} is not defined")

    def verify(self, note: bytes) -> TrustedCheckpoint:
        """Verify that a listed log signed this checkpoint and that the quorum cosigned it.

        Run by: anyone, on hostile bytes. Signatures by unknown keys are ignored; one under a known key that does not
        verify refuses the note.

        Raises:
            DecodeError: not a note with a checkpoint.
            SignatureError: no listed log of this origin signed, or a signature under a known key is bad.
            QuorumError: the quorum is not reached; `reasons` says which groups lack members.
            ValueError: the policy lists no log.
        """
        if not self.logs:
            raise ValueError("the policy lists no log: make one with the log that is meant")
        parsed = parse_note(note)
        checkpoint = parse_checkpoint(parsed.text)
        signers = [log.key for log in self.logs if log.key.name == checkpoint.origin and parsed.signatures_by(log.key)]
        if not signers:
            raise SignatureError(f"the checkpoint of {checkpoint.origin} is not signed by a log of this policy")
        for key in signers:
            verify_checkpoint_note(parsed, key)
        cosigners = tuple(w.name for w in self.witnesses if verify_cosignature(parsed, w.key) is not None)
        self._check_quorum(cosigners)
        return TrustedCheckpoint(checkpoint, signers[0], cosigners, bytes(note))

    @property
    def needed(self) -> int:
        """The least number of cosignatures that can reach the quorum."""
        least = {witness.name: 1 for witness in self.witnesses} | {NO_QUORUM: 0}
        for group in self.groups:
            least[group.name] = sum(sorted(least[member] for member in group.members)[: group.threshold])
        return least[self.quorum]

    def _check_quorum(self, cosigners: tuple[str, ...]) -> None:
        witnessed = {*cosigners, NO_QUORUM}
        reasons = []
        for group in self.groups:
            have = len(witnessed.intersection(group.members))
            if have >= group.threshold:
                witnessed.add(group.name)
            else:
                reasons.append(f"group {group.name} has {have} of {group.threshold}")
        if self.quorum not in witnessed:
            missing = tuple(witness.name for witness in self.witnesses if witness.name not in witnessed)
            raise QuorumError(needed=self.needed, have=cosigners, missing=missing, reasons=tuple(reasons))

    def encode(self) -> bytes:
        """Write as a policy file that `parse_policy_file` reads back: logs, witnesses, groups, quorum."""
        lines = [_line("log", log.key.to_vkey(), log.url) for log in self.logs]
        lines += [_line("witness", w.name, w.key.to_vkey(), w.url) for w in self.witnesses]
        lines += [_line("group", group.name, str(group.threshold), *group.members) for group in self.groups]
        return "".join((*lines, _line("quorum", self.quorum))).encode("utf-8", "surrogateescape")


@dataclass(slots=True)
class _Reader:
    """What the lines read so far define."""

    logs: list[TrustedLog] = field(default_factory=list)
    witnesses: list[TrustedWitness] = field(default_factory=list)
    groups: list[WitnessGroup] = field(default_factory=list)
    defined: set[str] = field(default_factory=set)
    quorum: str | None = None

    def read(self, words: list[str]) -> None:
        """Take one line. Raises ValueError."""
        match words:
            case ["log", vkey, *url] if len(url) <= 1:
                self.logs.append(TrustedLog(parse_vkey(vkey), *url))
            case ["witness", name, vkey, *url] if len(url) <= 1:
                self._define(name)
                self.witnesses.append(TrustedWitness(name, parse_vkey(vkey), *url))
            case ["group", name, threshold, *members] if members:
                group = WitnessGroup(name, _threshold(threshold, len(members)), tuple(members))
                for member in members:
                    self._require(member)
                self._define(name)
                self.groups.append(group)
            case ["quorum", name]:
                if self.quorum is not None:
                    raise ValueError("a policy has one quorum line")
                if name != NO_QUORUM:
                    self._require(name)
                self.quorum = name
            case _:
                raise ValueError(f"not a log, witness, group or quorum line: {words[0][:20]!r}")

    def _define(self, name: str) -> None:
        if name in self.defined:
            raise ValueError(f"the name {name} is defined twice")
        self.defined.add(name)

    def _require(self, name: str) -> None:
        if name not in self.defined:
            raise ValueError(f"{name} is not defined on a line before")


def parse_policy_file(data: bytes) -> TrustPolicy:
    """Read a policy file.

    Run by: whoever was given one, on bytes that may be hostile.

    Raises:
        DecodeError: over `MAX_POLICY_FILE` bytes, a character, line or name that tlog-policy does not allow, or no
            quorum line; the message says where.
    """
    if len(data) > MAX_POLICY_FILE:
        raise DecodeError(f"a policy file of {len(data)} bytes is over {MAX_POLICY_FILE}")
    found = _FORBIDDEN.search(data)
    if found is not None:
        raise DecodeError(f"octet {found.group()[0]:#04x} at {found.start()} is not allowed in a policy file")
    if data and not data.endswith(b"\n"):
        raise DecodeError("the last line of the policy file does not end in a newline")
    reader = _Reader()
    for number, line in enumerate(data.split(b"\n"), start=1):
        stripped = line.strip(b" \t")
        if not stripped or stripped.startswith(b"#"):
            continue
        try:
            reader.read([word.decode("utf-8", "surrogateescape") for word in _WHITESPACE.split(stripped)])
        except (ValueError, DecodeError) as exc:
            raise DecodeError(f"line {number} of the policy file: {_printable(str(exc))}") from exc
    if reader.quorum is None:
        raise DecodeError("a policy file has a quorum line")
    try:
        return TrustPolicy(tuple(reader.logs), tuple(reader.witnesses), tuple(reader.groups), reader.quorum)
    except ValueError as exc:
        raise DecodeError(f"not a policy: {_printable(str(exc))}") from exc


def _threshold(word: str, members: int) -> int:
    named: Mapping[str, int] = {"any": 1, "all": members}
    if word in named:
        return named[word]
    if not _NUMBER.fullmatch(word):
        raise ValueError("a group's threshold is any, all or a decimal number without leading zeros")
    return int(word)


def _check_distinct(what: str, keys: Iterable[VerifierKey]) -> None:
    seen: set[bytes] = set()
    for key in keys:
        if key.public in seen:
            raise ValueError(f"the public key of {key.name} is listed for a {what} twice")
        seen.add(key.public)


def _check_name(name: str) -> None:
    _check_word("a name", name)
    if name == NO_QUORUM:
        raise ValueError(f"the name {NO_QUORUM} is predefined")


def _check_word(what: str, word: str | None) -> None:
    if word is None:
        return
    octets = word.encode("utf-8", "surrogateescape")
    if not word or re.search(r"[\x00-\x20\x7f]", word) or octets.decode("utf-8", "surrogateescape") != word:
        raise ValueError(f"{what} is one word without spaces or control characters, as a policy file spells it")


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def _line(*words: str | None) -> str:
    return " ".join(word for word in words if word is not None) + "\n"
