"""The options of `secure-bfl ledger …`, with the texts that `--help` prints."""

import argparse
from pathlib import Path
from typing import Any, Final

from ledger import LedgerError, VerifierKey, parse_vkey

from ..log_keys import KeyKind

__all__ = ["EVIDENCE_SUFFIX", "PROOF_SUFFIX", "add_ledger", "digest"]

PROOF_SUFFIX: Final = ".tlog-proof"
EVIDENCE_SUFFIX: Final = ".equivocation"
_EXAMPLES: Final = """\
examples:
  secure-bfl ledger verify https://log.example --vkey 'log.example+…'     a log of anybody's, over HTTP
  secure-bfl ledger verify out/public/ledger --policy run.policy          the same from a folder, cosignatures too
  secure-bfl ledger policy out --genesis 4f2a… > run.policy               whose signatures count in a run
  secure-bfl ledger prove out/public/ledger 17 --policy run.policy        write 17.tlog-proof and 17.entry
  secure-bfl ledger verify 17.tlog-proof --entry 17.entry --policy run.policy     …which verify without the log
  secure-bfl ledger inspect out                                           rounds, entries, and how final they are
  secure-bfl ledger fsck out                                              compare every stored byte with its hash
  secure-bfl ledger serve out/public/ledger                               for every C2SP client, on port 8080
  secure-bfl ledger keygen ./witness --name member-1 --kind witness        keys for a witness, or for a log
  secure-bfl ledger witness ./witness --log 'log.example+…'               cosign for others, on port 8081
  secure-bfl ledger run ./log --senders senders --policy log.policy       a small witnessed log of your own
"""


def add_ledger(commands: Any) -> None:
    """Add the command and its subcommands to the parser of `secure-bfl`."""
    ledger = commands.add_parser(
        "ledger",
        help="verify, prove, inspect, check, serve and run transparency logs",
        description="Transparency logs in the C2SP formats: this program's own, and anybody's.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    subjects = ledger.add_subparsers(dest="subject", required=True, metavar="SUBCOMMAND")
    _add_verify(subjects)
    _add_prove(subjects)
    _add_inspect(subjects)
    _add_policy(subjects)
    _add_fsck(subjects)
    _add_serve(subjects)
    _add_keygen(subjects)
    _add_witness(subjects)
    _add_run(subjects)


def _add_trust(parser: argparse.ArgumentParser) -> None:
    trust = parser.add_mutually_exclusive_group(required=True)
    trust.add_argument("--vkey", type=_vkey, help="the log's key, as name+keyid+base64: its signature is enough")
    trust.add_argument("--policy", type=Path, metavar="FILE", help="a tlog-policy file: its quorum of cosignatures too")


def _add_verify(subjects: Any) -> None:
    verify = subjects.add_parser(
        "verify",
        help="check a whole published log, or a proof file",
        description=(
            "Check the checkpoint's signatures, every entry against its hash, every tile against the one below, and "
            "the root. TARGET is a folder, an address, or a file made by `prove`. Nothing is written. Memory does not "
            "grow with the log."
        ),
    )
    verify.add_argument(
        "target", metavar="TARGET", help=f"DIR, http(s)://…, or FILE{PROOF_SUFFIX} or {EVIDENCE_SUFFIX}"
    )
    _add_trust(verify)
    verify.add_argument("--old", type=Path, metavar="FILE", help="a checkpoint seen before, which this log must extend")
    verify.add_argument("--entry", type=Path, metavar="FILE", help=f"the entry that FILE{PROOF_SUFFIX} is about")
    verify.add_argument("--json", action="store_true", help="one JSON object on standard output, no progress")


def _add_prove(subjects: Any) -> None:
    prove = subjects.add_parser(
        "prove",
        help="write a proof that an entry is in a log, to be verified without it",
        description="Fetch the tiles that the proof needs, verify it, and write INDEX.tlog-proof and INDEX.entry.",
    )
    prove.add_argument("target", metavar="TARGET", help="DIR or http(s)://…")
    prove.add_argument("index", type=int, metavar="INDEX", help="the entry's number, from 0")
    _add_trust(prove)
    prove.add_argument("--out", type=Path, metavar="DIR", default=Path(), help="where to write (default: here)")
    prove.add_argument("--json", action="store_true", help="one JSON object on standard output")


def _add_inspect(subjects: Any) -> None:
    inspect = subjects.add_parser(
        "inspect",
        help="rounds and entries of a run, and how final they are",
        description=(
            "Show who appended what in which round, what had no effect and why, and whether an entry is sequenced, "
            "checkpointed, certified or anchored."
        ),
    )
    inspect.add_argument("dir", type=Path, help="the run's folder (or its public folder)")
    inspect.add_argument("--round", type=int, metavar="N", help="this round only")
    inspect.add_argument("--anchors", type=Path, metavar="FILE", help="tlog-policy of the logs that anchor this one")
    inspect.add_argument("--json", action="store_true", help="one JSON object on standard output")


def _add_policy(subjects: Any) -> None:
    policy = subjects.add_parser(
        "policy",
        help="print the tlog-policy of a run: its log, its committee as witnesses, its quorum",
        description="Print the policy that a run's checkpoints are judged by, for `verify`, `prove` and others.",
    )
    policy.add_argument("dir", type=Path, help="the run's folder (or its public folder)")
    policy.add_argument("--genesis", type=digest, required=True, help="the federation that is meant: 64 hex digits")


def digest(text: str) -> bytes:
    """The 32 bytes of a genesis hash on a command line, as 64 hexadecimal digits."""
    try:
        value = bytes.fromhex(text)
    except ValueError:
        value = b""
    if len(value) != 32:
        raise argparse.ArgumentTypeError("expected 64 hexadecimal digits")
    return value


def _add_fsck(subjects: Any) -> None:
    fsck = subjects.add_parser(
        "fsck",
        help="compare every stored byte of a log with its hash; mend only if asked",
        description=(
            "Verify a log's store, and the folder it is published in. Nothing is changed without --repair, which "
            "makes tiles again from whole entries, and with --give-up also cuts off a damaged end, naming the entries; "
            "what it changes is first copied beside. Damage under a certificate is refused: restore a copy."
        ),
    )
    fsck.add_argument("store", help="the store's file, a run's folder, or postgresql://…")
    fsck.add_argument(
        "--vkey", type=_vkey, help="the log's key (default: the file `vkey` beside, or the genesis entry)"
    )
    fsck.add_argument("--published", type=Path, metavar="DIR", help="the folder it is published in")
    fsck.add_argument("--repair", action="store_true", help="mend what can be mended without loss")
    fsck.add_argument("--give-up", action="store_true", help="with --repair: cut off what is damaged at the end")
    fsck.add_argument(
        "--cosigned", type=int, metavar="N", help="with --give-up: the largest size any witness cosigned; 0 if none did"
    )
    fsck.add_argument("--json", action="store_true", help="one JSON object on standard output")


def _add_serve(subjects: Any) -> None:
    serve = subjects.add_parser(
        "serve",
        help="serve a published log over HTTP",
        description="Serve checkpoint, tiles and entry bundles of a folder, read-only. Any C2SP client can read them.",
    )
    serve.add_argument("dir", type=Path, help="the published folder")
    _add_address(serve, 8080)


def _add_keygen(subjects: Any) -> None:
    keygen = subjects.add_parser(
        "keygen",
        help="make the key of a log or of a witness",
        description=(
            "Make a key in DIR/keystore, encrypted by a passphrase that is asked for (or SECURE_BFL_PASSPHRASE), and "
            "print its public side, which is also in DIR/vkey."
        ),
    )
    keygen.add_argument("dir", type=Path, help="the folder of the log or the witness")
    keygen.add_argument("--name", required=True, help="a log's origin, such as log.example/ward, or a witness's name")
    kinds = [kind.value for kind in KeyKind]
    keygen.add_argument("--kind", choices=kinds, default=KeyKind.LOG.value, help="what it is for (default: log)")


def _add_witness(subjects: Any) -> None:
    witness = subjects.add_parser(
        "witness",
        help="be a witness: cosign what extends what was cosigned before",
        description=(
            "Serve tlog-witness (POST add-checkpoint) for the given logs, with the key that `keygen --kind witness` "
            "made. Evidence of a log that signed two histories is written to DIR as soon as it is seen. Never restore "
            "this folder from a copy: make a new key instead."
        ),
    )
    witness.add_argument("dir", type=Path, help="the witness's own folder: its key, and what it cosigned last")
    witness.add_argument("--log", type=_vkey, action="append", required=True, metavar="VKEY", help="a log; repeatable")
    _add_address(witness, 8081)


def _add_run(subjects: Any) -> None:
    run = subjects.add_parser(
        "run",
        help="run a small witnessed log: take entries, have them certified, publish them",
        description=(
            "Take signed entries (POST add-entries), durably; every few seconds have the witnesses of the policy, at "
            "the addresses in it, cosign a checkpoint; publish and serve it. The key is the one that `keygen` made."
        ),
    )
    run.add_argument("dir", type=Path, help="the log's own folder: its key, its store, and DIR/public")
    run.add_argument("--senders", type=Path, required=True, metavar="FILE", help="lines `NAME HEX`: who may append")
    run.add_argument("--policy", type=Path, required=True, metavar="FILE", help="the witnesses' keys and addresses")
    run.add_argument("--postgres", metavar="DSN", help="keep the log in PostgreSQL instead of DIR/log.sqlite")
    run.add_argument("--every", type=float, default=5.0, metavar="S", help="seconds between checkpoints (default: 5)")
    run.add_argument("--workers", type=int, default=2, help="processes that verify signatures (default: 2)")
    _add_address(run, 8080)


def _add_address(parser: argparse.ArgumentParser, port: int) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument(
        "--port", type=_port, default=port, metavar="N", help=f"port, 0 for any free one (default: {port})"
    )


def _vkey(text: str) -> VerifierKey:
    try:
        return parse_vkey(text)
    except LedgerError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from exc


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) < 1 << 16):
        raise argparse.ArgumentTypeError("expected a port, 0 to 65535")
    return int(text)
