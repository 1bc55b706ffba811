"""`secure-bfl ledger verify | prove | inspect | policy`: what reads logs, one's own and anybody's."""

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ledger import DecodeError, LedgerError, VerifierKey, read_bounded
from ledger.errors import escaped

from ..errors import OutputError
from ..exitcodes import ExitCode
from .options import EVIDENCE_SUFFIX, PROOF_SUFFIX

if TYPE_CHECKING:
    from ledger.policy_file import TrustPolicy
    from ledger.source import LogSource

__all__ = ["inspect_run", "print_policy", "print_result", "prove_entry", "read_file", "verify_published_log"]

_FILE_LIMIT: Final = 1 << 20


def read_file(path: Path, limit: int = _FILE_LIMIT) -> bytes:
    """The bytes of a file. OutputError if it is missing, StoreError if it is longer than `limit`."""
    data = read_bounded(path, limit=limit)
    if data is None:
        raise OutputError(f"{path} is missing")
    return data


@contextmanager
def _source(target: str) -> "Iterator[LogSource]":
    if target.startswith(("http://", "https://")):
        from ledger.web import HttpClient
        from ledger.web.source import HttpSource

        with HttpClient(target) as client:
            yield HttpSource(client)
        return
    from ledger.source import CHECKPOINT, DirectorySource

    folder = Path(target)
    if not folder.is_dir():
        raise OutputError(
            f"{target} is no folder, no http address, and no file that ends in {PROOF_SUFFIX} or {EVIDENCE_SUFFIX}"
        )
    if not (folder / CHECKPOINT).exists():
        places = [folder / inner for inner in ("public/ledger", "ledger", "public")]
        meant = next((f"; did you mean {place}?" for place in places if (place / CHECKPOINT).is_file()), "")
        raise OutputError(f"{target} holds no published log: there is no checkpoint in it{meant}")
    yield DirectorySource(folder)


def _trusted(options: argparse.Namespace) -> "VerifierKey | TrustPolicy":
    from ledger.policy_file import MAX_POLICY_FILE, parse_policy_file

    if options.vkey is not None:
        key: VerifierKey = options.vkey
        return key
    try:
        return parse_policy_file(read_file(options.policy, MAX_POLICY_FILE))
    except DecodeError as exc:
        raise ValueError(f"{options.policy}: {exc}") from exc


def print_result(options: argparse.Namespace, result: dict[str, Any], lines: list[str]) -> None:
    """Print a result: one JSON object with `--json`, else its lines, whatever strangers wrote in them."""
    print(json.dumps(result) if options.json else "\n".join(map(escaped, lines)))


def verify_published_log(options: argparse.Namespace) -> ExitCode:
    """Check a whole published log, or a proof file."""
    trusted = _trusted(options)
    try:
        if options.target.endswith(PROOF_SUFFIX):
            return _verify_proof(options, trusted)
        if options.target.endswith(EVIDENCE_SUFFIX):
            return _verify_evidence(options, trusted)
        return _verify_log(options, trusted)
    except (OutputError, ValueError):
        raise
    except LedgerError as exc:
        if isinstance(exc.__cause__, OSError):
            raise OutputError(f"nothing is known about the log: {exc}") from exc
        print_result(options, {"ok": False, "error": str(exc)}, [f"does not verify: {exc}"])
        return ExitCode.FINDINGS


def _verify_proof(options: argparse.Namespace, trusted: "VerifierKey | TrustPolicy") -> ExitCode:
    from ledger import MAX_ENTRY
    from ledger.proof import MAX_LOG_PROOF, parse_proof

    if options.entry is None or options.old is not None:
        raise ValueError("a proof is verified with --entry FILE, the entry it is about, and without --old")
    proof = parse_proof(read_file(Path(options.target), MAX_LOG_PROOF))
    found: Any = proof.verify(read_file(options.entry, MAX_ENTRY), trusted)
    head = getattr(found, "checkpoint", found)
    print_result(
        options,
        {"ok": True, "origin": head.origin, "index": proof.index, "size": head.size, "root": head.root.hex()},
        [f"verifies: entry {proof.index} of {head.origin}, at size {head.size}"],
    )
    return ExitCode.OK


def _verify_evidence(options: argparse.Namespace, trusted: "VerifierKey | TrustPolicy") -> ExitCode:
    from ledger.evidence import MAX_EVIDENCE, parse_equivocation

    evidence = parse_equivocation(read_file(Path(options.target), MAX_EVIDENCE))
    known = [trusted] if isinstance(trusted, VerifierKey) else [log.key for log in trusted.logs]
    if evidence.log_key not in known:
        raise ValueError(f"{options.target} is about {evidence.log_key.to_vkey()}, another log than the one you mean")
    proven = evidence.verify()
    roots = [root.hex() for root in proven.roots]
    print_result(
        options,
        {"ok": True, "origin": proven.origin, "size": proven.size, "roots": roots},
        [f"proven: {proven.origin} signed two roots for size {proven.size}", *roots],
    )
    return ExitCode.OK


def _verify_log(options: argparse.Namespace, trusted: "VerifierKey | TrustPolicy") -> ExitCode:
    from ledger.note import MAX_NOTE
    from ledger.verify import verify_log

    from ..progress import Progress

    if options.entry is not None:
        raise ValueError(f"--entry belongs to a file that ends in {PROOF_SUFFIX}")
    old = None if options.old is None else read_file(options.old, MAX_NOTE)
    with Progress(quiet=options.json) as progress, _source(options.target) as source:
        report = verify_log(
            source,
            trusted,
            old=old,
            progress=lambda done, total: (
                progress("entries", done, total) if done % 65536 == 0 or done == total else None
            ),
        )
    print_result(
        options,
        {
            "ok": True,
            "origin": report.origin,
            "size": report.size,
            "root": report.root.hex(),
            "signers": list(report.signers),
            "extensions": list(report.extensions),
            "since": report.since,
        },
        [
            f"verifies   {report.origin}, {report.size} entries",
            f"root       {report.root.hex()}",
            f"signed by  {', '.join(report.signers)}",
            *([f"extends    the checkpoint of size {report.since}"] if report.since is not None else []),
            *(f"extension  {line} (the log's word; nobody checks it)" for line in report.extensions),
        ],
    )
    return ExitCode.OK


def prove_entry(options: argparse.Namespace) -> ExitCode:
    """Write an entry and the proof that it is in the log."""
    from ledger import create_durably
    from ledger.proof import prove

    trusted = _trusted(options)
    with _source(options.target) as source:
        proved = prove(source, source.checkpoint(), options.index)
    proved.proof.verify(proved.entry, trusted)
    files = {
        options.out / f"{options.index}{PROOF_SUFFIX}": proved.proof.encode(),
        options.out / f"{options.index}.entry": proved.entry,
    }
    for path, data in files.items():
        if not create_durably(path, data) and read_bounded(path, limit=len(data)) != data:
            raise OutputError(f"{path} exists and is another; choose another --out")
    print_result(options, {"ok": True, "files": [str(path) for path in files]}, [str(path) for path in files])
    return ExitCode.OK


def inspect_run(options: argparse.Namespace) -> ExitCode:
    """Show the rounds and entries of a run, and how final they are."""
    from ledger.policy_file import MAX_POLICY_FILE, parse_policy_file

    from ..inspection import inspect
    from ..layout import PublicFolder

    anchors = None if options.anchors is None else parse_policy_file(read_file(options.anchors, MAX_POLICY_FILE))
    found = inspect(PublicFolder.of(options.dir), anchors=anchors)
    print_result(options, found.to_json(round=options.round), found.lines(round=options.round))
    return ExitCode.OK


def print_policy(options: argparse.Namespace) -> ExitCode:
    """Print the policy of a run, as its ledger fixes it."""
    from ledger import read_published

    from ..layout import PublicFolder
    from ..replay import Replay

    replay = Replay()
    for entry in read_published(PublicFolder.of(options.dir).ledger).entries:
        replay.apply(entry)
    if replay.context != options.genesis:
        raise ValueError(f"this is another federation: its genesis is {replay.context.hex()}")
    text = replay.committee.policy.to_file().decode()
    if sys.stdout.isatty():  # a file gets the policy's own bytes
        text = "".join(f"{escaped(line)}\n" for line in text.removesuffix("\n").split("\n"))
    print(text, end="")
    return ExitCode.OK
