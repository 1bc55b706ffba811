"""The command line `secure-bfl`: thin, it only reads options, calls the library and prints.

Results go to standard output, progress and errors to standard error; with `--json`, one object on standard output.
"""

import argparse
import json
import os
import select
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ledger.errors import escaped

from .errors import DatasetError
from .exitcodes import ExitCode, code_of
from .ledger_cli import add_ledger, run_ledger
from .ledger_cli.options import digest
from .privacy_cli import add_privacy, add_report_options, run_privacy, write_signed_report

__all__ = ["main"]

_READER_GONE = 141  # what a shell reports for a program that SIGPIPE ended

_EXAMPLES = """\
examples:
  secure-bfl demo --out out                    train on scikit-learn's digits: 10 clients, a committee of 5, threshold 3
  secure-bfl demo --out out --drop 3           three clients vanish in every round; the rest go on
  secure-bfl verify out                        recompute the whole run from its public files
  secure-bfl verify out --genesis 4f2a...      and make sure that it is the federation you mean
  secure-bfl report out                        write the privacy budget report again, from the ledger
  secure-bfl info                              versions, and what computes on this machine
  secure-bfl vectors --verify                  the test vectors, computed again by code that shares nothing with this
  secure-bfl privacy plan --epsilon 2          how much noise a budget needs, and what it then protects
  secure-bfl privacy --help                    what was spent and what is left, signed reports, audits
  secure-bfl ledger --help                     verify, serve and run transparency logs; be a witness
  secure-bfl bench crypto                      what the encrypted sum of a million values costs on this machine
  secure-bfl bench ledger                      how many signed entries a second the ledger takes on this machine
"""


def _parser() -> argparse.ArgumentParser:
    codes = "\n".join(f"  {code.value:<3} {code.meaning}" for code in ExitCode) + "\n  130 stopped by Ctrl-C"
    parser = argparse.ArgumentParser(
        prog="secure-bfl",
        description="Federated learning in which nobody has to be trusted.",
        epilog=f"{_EXAMPLES}\nexit codes:\n{codes}\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_demo(commands)
    _add_verify(commands)
    report = commands.add_parser(
        "report",
        help="build the privacy budget report from the verified ledger: short for `privacy report`",
        description="Verify a run, then write budget-report.json, .md and .html into its public folder.",
    )
    add_report_options(report)
    info = commands.add_parser(
        "info",
        help="versions, and what computes on this machine",
        description=(
            "Tell the versions in use, the engines of ring arithmetic (numba or numpy) and of signatures (libsodium or "
            "OpenSSL), how SEAL is read, and the number of CPUs. The extra `fast` installs the faster engines; the "
            "first use of numba compiles, which takes a quarter of a minute or more."
        ),
    )
    info.add_argument("--json", action="store_true", help="one JSON object on standard output")
    _add_bench(commands)
    _add_vectors(commands)
    add_ledger(commands)
    add_privacy(commands)
    return parser


def _add_bench(commands: Any) -> None:
    bench = commands.add_parser("bench", help="measure what the protocol costs on this machine")
    subjects = bench.add_subparsers(dest="subject", required=True, metavar="SUBJECT")
    crypto = subjects.add_parser(
        "crypto",
        help="the encrypted sum of long vectors",
        description=(
            "Time encryption, sum and threshold decryption of 16-bit values beside TenSEAL, and Flower's SecAgg+ if "
            "the variables BASELINES (a folder of drivers) and FLOWER_PYTHON say where it is. CPU time, medians; "
            "every opened sum is compared with the sum in the clear. News go to standard error."
        ),
    )
    crypto.add_argument("--values", type=int, default=1_000_000, help="length of the vector (default: 1000000)")
    crypto.add_argument("--clients", type=int, default=10, help="clients, at least 2 (default: 10)")
    crypto.add_argument("--degree", type=int, default=16384, help="ring degree: 8192, 16384 or 32768 (default: 16384)")
    crypto.add_argument("--runs", type=int, default=7, help="runs of which medians are taken, at least 3 (default: 7)")
    crypto.add_argument("--quick", action="store_true", help="3 runs, and no other process: TenSEAL is the only peer")
    crypto.add_argument("--json", action="store_true", help="one JSON object on standard output")
    ledger = subjects.add_parser(
        "ledger",
        help="signed entries into a durable log",
        description=(
            "Time the admission of signed entries into a log on disk: in this process, eight under one signature, over "
            "loopback HTTP, and with either library of signatures; then a log of ten million entries. Wall time, "
            "medians; every index is checked. Takes some minutes and 3 GB of disk in the folder for temporary files. "
            "Peers are run if the variable BASELINES (a folder of drivers) says where they are. News go to standard "
            "error."
        ),
    )
    ledger.add_argument("--entries", type=int, default=24_000, help="entries admitted in each run (default: 24000)")
    ledger.add_argument("--runs", type=int, default=3, help="runs of which medians are taken, at least 3 (default: 3)")
    ledger.add_argument("--large", type=int, default=10_000_000, help="entries of the large log (default: 10000000)")
    ledger.add_argument("--quick", action="store_true", help="a large log of a million entries, no peers")
    ledger.add_argument("--json", action="store_true", help="one JSON object on standard output")
    privacy = subjects.add_parser(
        "privacy",
        help="what privacy costs: accuracy, noise, a training step, accounts and reports",
        description=(
            "Train the digits at epsilon 2 with distributed noise and centrally, time the noise, a private step beside "
            "Opacus', accounts of distinct rounds and a report of 1,000 rounds. Takes some minutes; --fashion adds "
            "100 clients on Fashion-MNIST, which takes much longer. Peers are run if the variable BASELINES (a folder "
            "of drivers) says where they are. News go to standard error."
        ),
    )
    privacy.add_argument("--quick", action="store_true", help="few splits and small timings, no peers")
    privacy.add_argument("--fashion", action="store_true", help="Fashion-MNIST too")
    privacy.add_argument("--cache", type=Path, metavar="DIR", help="keep Fashion-MNIST's features here")
    privacy.add_argument("--json", action="store_true", help="one JSON object on standard output")


def _add_vectors(commands: Any) -> None:
    vectors = commands.add_parser(
        "vectors",
        help="the test vectors for other implementers: list, copy, verify",
        description=(
            "List the files of test vectors, each with what it covers. --out copies them; --verify computes every "
            "value again with Python integers and the standard library alone, in a Python that sees no installed "
            "package, which takes under a minute. The format is docs/spec/vectors.md."
        ),
    )
    vectors.add_argument("--out", type=Path, metavar="DIR", help="copy the files into this folder")
    vectors.add_argument("--verify", action="store_true", help="compute everything again; exit 1 if anything differs")
    vectors.add_argument("--json", action="store_true", help="one JSON object on standard output, no progress")


def _add_demo(commands: Any) -> None:
    demo = commands.add_parser(
        "demo",
        help="run a whole federation on this machine, on real data",
        description=(
            "Train one shared model with differential privacy and threshold encryption, every party with its own keys "
            "and its own folder. Leaves OUT/public (ledger, encrypted updates, model, privacy report: nothing secret) "
            "and OUT/private (each party's state, with throw-away passphrases unless you give one). "
            "Killed or stopped? The same command goes on where it was."
        ),
    )
    demo.add_argument("--out", type=Path, required=True, help="output folder: new, empty, or a run to go on with")
    demo.add_argument("--dataset", default="digits", help="digits, breast-cancer or fashion-mnist (default: digits)")
    demo.add_argument(
        "--mode",
        choices=("distributed", "local", "client"),
        default="distributed",
        help="where the noise is added: shares of it by all clients, so that only the sum is private (distributed, "
        "most accurate); all of it by each client, trusting nobody (local); shares, and the privacy of a whole client "
        "(client). Default: distributed",
    )
    demo.add_argument("--clients", type=int, default=10, help="data holders, at least 2 (default: 10)")
    demo.add_argument("--members", type=int, default=5, help="committee members, 2 to 32 (default: 5)")
    demo.add_argument("--threshold", type=int, default=3, help="members that decrypt together, at least 2 (default: 3)")
    demo.add_argument("--rounds", type=int, help="rounds of training (default: tuned for the data set)")
    demo.add_argument("--epsilon", type=float, default=8.0, help="each record's privacy budget, whole run (default: 8)")
    demo.add_argument("--delta", type=float, default=1e-5, help="the budget's delta (default: 1e-5)")
    demo.add_argument(
        "--minimum-clients", type=int, help="fewest clients in a sum that is opened (default: seven tenths of them)"
    )
    demo.add_argument(
        "--colluders", type=int, help="clients that may withhold or betray their noise (default: 1; 0 in local mode)"
    )
    demo.add_argument("--digit-bits", type=int, help="width of a packed digit (default: just wide enough)")
    demo.add_argument("--drop", type=int, default=0, metavar="K", help="K clients vanish in every round")
    demo.add_argument("--offline-members", type=int, default=0, metavar="K", help="the last K members are away")
    demo.add_argument(
        "--ask-passphrase",
        action="store_true",
        help="ask for one passphrase for all keystores (or set SECURE_BFL_PASSPHRASE); default: throw-away ones",
    )
    demo.add_argument("--json", action="store_true", help="one JSON object on standard output, no progress")


def _add_verify(commands: Any) -> None:
    verify = commands.add_parser(
        "verify",
        help="recompute a run from its public files alone",
        description=(
            "Check every blob, entry, signature and certificate, then compute every sum, every opening, every model "
            "and the privacy report again. Exit 0 only if all of it holds and the run is complete."
        ),
    )
    verify.add_argument("dir", type=Path, help="the run's folder (or its public folder)")
    verify.add_argument("--genesis", type=digest, help="refuse any other federation than this one (64 hex digits)")
    verify.add_argument("--json", action="store_true", help="one JSON object on standard output, no progress")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code. Run by: people and scripts."""
    options = _parser().parse_args(arguments)
    commands = {
        "demo": _demo,
        "verify": _verify,
        "report": write_signed_report,
        "info": _info,
        "bench": _bench,
        "vectors": _vectors,
        "ledger": run_ledger,
        "privacy": run_privacy,
    }
    try:
        _announce(options.command)
        done = commands[options.command](options)
        sys.stdout.flush()
        return done
    except KeyboardInterrupt:
        print("secure-bfl: stopped; the same command goes on where it was", file=sys.stderr)
        return 130
    except Exception as exc:
        if isinstance(exc, BrokenPipeError) and _reader_gone():
            return _READER_GONE
        code = code_of(exc)
        if code is None:
            raise
        if getattr(options, "json", False):
            print(json.dumps({"error": str(exc), "exit_code": int(code)}))
        print(f"secure-bfl: {escaped(exc)}", file=sys.stderr)
        return int(code)


def _reader_gone() -> bool:
    """Whether the reader of our output went away, as `head` does. Then what is left is dropped without a word."""
    gone = False
    for stream in (sys.stdout, sys.stderr):
        try:
            number = stream.fileno()
        except (OSError, ValueError):  # nothing that the system knows of
            continue
        watch = select.poll()
        watch.register(number, 0)
        if any(state & select.POLLERR for _, state in watch.poll(0)):
            gone = True
            with Path(os.devnull).open("wb") as nowhere:
                os.dup2(nowhere.fileno(), number)
    return gone


def _announce(command: str) -> None:
    """Say, before the first computation on a machine, why nothing seems to happen."""
    if command in ("vectors", "ledger", "privacy"):  # neither computes in the ring
        return
    from protocols.tckks import CompiledKernels

    kernels = CompiledKernels.here()
    if kernels is not None and not kernels.kept:
        often = "once" if kernels.folder is not None else "in every process, because no folder can be written"
        print(f"secure-bfl: compiling for this processor, {often}: a quarter of a minute or more", file=sys.stderr)


def _demo(options: argparse.Namespace) -> int:
    from protocols.dp import Mode

    from .training import DATASETS

    if options.dataset not in DATASETS:
        raise DatasetError(f"unknown dataset {options.dataset!r}; choose one of {', '.join(sorted(DATASETS))}")
    from .demo import Faults, run_demo  # torch takes seconds to load
    from .keystore import given_passphrase
    from .plan import FederationPlan
    from .progress import Progress

    faults = Faults(options.drop, options.offline_members)
    faults.check(clients=options.clients, members=options.members)
    passphrase = given_passphrase(ask=options.ask_passphrase)
    plan = FederationPlan.create(
        options.dataset,
        mode=Mode[options.mode.upper()],
        minimum_clients=options.minimum_clients,
        colluders=options.colluders,
        clients=options.clients,
        members=options.members,
        threshold=options.threshold,
        rounds=options.rounds,
        epsilon=options.epsilon,
        delta=options.delta,
        digit_bits=options.digit_bits,
    )
    with Progress(quiet=options.json) as progress:
        progress.say(
            f"{plan.dataset}: {plan.parameters} parameters, {plan.clients} clients, {plan.rounds} rounds; "
            f"{options.mode} noise, epsilon {plan.epsilon:g} at delta {plan.delta:g} per {plan.unit_of_privacy}; "
            f"{plan.suite.name}, "
            f"statistical distance at most 2^-{plan.smudging_lambda}"
        )
        result = run_demo(plan, options.out, faults=faults, progress=progress, passphrase=passphrase)
    if options.json:
        print(json.dumps(result.to_json()))
    else:
        print(
            f"\naccuracy   {result.accuracy:.1%} on public held-out records\n"
            f"privacy    epsilon {_shown(result.epsilon)} at delta {result.delta:g}, "
            f"per {plan.unit_of_privacy}, whole run\n"
            f"size       {result.bytes_per_param:.1f} bytes per parameter and client a round\n"
            f"time       {result.seconds:.1f} s\n"
            f"genesis    {result.genesis}\n"
            f"\npublic     {options.out / 'public'}: ledger, encrypted updates, model, privacy budget report\n"
            f"private    {options.out / 'private'}: each party's own state{_passphrases(passphrase)}\n"
            f"\nNow run:   secure-bfl verify {options.out}",
        )
    return int(ExitCode.OK if result.verdict == "agree" else ExitCode.ACCOUNTANTS)


def _passphrases(given: str | None) -> str:
    return "" if given is not None else ", with THROW-AWAY passphrases beside the keys: not for real data"


def _shown(epsilon: float | str) -> str:
    return epsilon if isinstance(epsilon, str) else f"{epsilon:.2f}"


def _verify(options: argparse.Namespace) -> int:
    from .auditor import Auditor
    from .layout import PublicFolder
    from .progress import Progress

    folder = PublicFolder.of(options.dir)
    with Progress(quiet=options.json) as progress:
        verdict = Auditor(folder, genesis=options.genesis).verify(progress)
    genesis = "" if verdict.transcript is None else verdict.transcript.replay.context.hex()
    if options.json:
        findings = [{"level": f.level, "where": f.where, "what": f.what} for f in verdict.findings]
        print(json.dumps({"ok": verdict.ok, "findings": findings, "genesis": genesis, "rounds": verdict.rounds}))
    else:
        for finding in verdict.findings:
            print(f"{finding.level}: {escaped(finding)}")
        if verdict.ok:
            print(f"verified: {verdict.rounds} rounds follow from the files in {folder.path}; genesis {genesis}")
        else:
            print("not verified")
    return int(ExitCode.OK if verdict.ok else ExitCode.FINDINGS)


def _info(options: argparse.Namespace) -> int:
    from .environment import Environment

    environment = Environment.here()
    print(json.dumps(environment.to_json()) if options.json else "\n".join(environment.lines()))
    return int(ExitCode.OK)


def _vectors(options: argparse.Namespace) -> int:
    from .vectors import copy_vectors, vector_files, verify_vectors

    files = vector_files()
    copied = () if options.out is None else copy_vectors(options.out)
    lines: list[str] = []
    verified = verify_vectors(lines.append if options.json else print) if options.verify else None
    if options.json:
        listed = [{"name": f.name, "spec": f.spec, "covers": f.covers, "failures": f.failures} for f in files]
        print(json.dumps({"files": listed, "copied": [str(p) for p in copied], "verified": verified, "lines": lines}))
    elif copied:
        print(f"{len(copied)} files copied to {options.out}")
    elif verified is None:
        for file in files:
            print(f"{file.name:<24} {file.spec}: {file.covers} [{file.failures} failing operations]")
    return int(ExitCode.FINDINGS if verified is False else ExitCode.OK)


def _bench(options: argparse.Namespace) -> int:
    benches = {"crypto": _bench_crypto, "ledger": _bench_ledger, "privacy": _bench_privacy}
    return benches[options.subject](options)


def _bench_privacy(options: argparse.Namespace) -> int:
    from .bench import PrivacySetting
    from .bench.privacy import bench_privacy

    quick = {"splits": 2, "runs": 3, "report_rounds": 100, "distinct": 100} if options.quick else {}
    setting = PrivacySetting(fashion=options.fashion, cache=options.cache, **quick)
    figures = bench_privacy(setting, say=lambda line: print(line, file=sys.stderr), peers=not options.quick)
    print(json.dumps(figures.to_json()) if options.json else "\n".join(figures.lines()))
    return int(ExitCode.OK)


def _bench_ledger(options: argparse.Namespace) -> int:
    from .bench import LedgerSetting, bench_ledger

    large = min(options.large, 1_000_000) if options.quick else options.large
    setting = LedgerSetting(entries=options.entries, runs=options.runs, large=large)
    figures = bench_ledger(setting, say=lambda line: print(line, file=sys.stderr), peers=not options.quick)
    print(json.dumps(figures.to_json()) if options.json else "\n".join(figures.lines()))
    return int(ExitCode.OK)


def _bench_crypto(options: argparse.Namespace) -> int:
    from .bench import CryptoSetting, bench_crypto
    from .bench.parties import HEAD_ROOM

    setting = CryptoSetting(
        values=options.values,
        clients=options.clients,
        degree=options.degree,
        runs=3 if options.quick else options.runs,
        head_room=max(HEAD_ROOM, options.clients),
    )
    figures = bench_crypto(setting, say=lambda line: print(line, file=sys.stderr), peers=not options.quick)
    print(json.dumps(figures.to_json()) if options.json else "\n".join(figures.lines()))
    return int(ExitCode.OK)
