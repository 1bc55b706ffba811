"""The commands `secure-bfl ledger …`: verify, prove, inspect, check, serve and run logs, and be a witness.

Thin, like `secure_bfl.cli`: they read options, call `ledger`, and print.
"""

import argparse

from .checking import fsck_log
from .options import add_ledger
from .reading import inspect_run, print_policy, prove_entry, verify_published_log
from .services import be_witness, make_key, run_log, serve_log

__all__ = ["add_ledger", "run_ledger"]


def run_ledger(options: argparse.Namespace) -> int:
    """Run one subcommand; return its exit code."""
    commands = {
        "verify": verify_published_log,
        "prove": prove_entry,
        "inspect": inspect_run,
        "policy": print_policy,
        "fsck": fsck_log,
        "serve": serve_log,
        "keygen": make_key,
        "witness": be_witness,
        "run": run_log,
    }
    return int(commands[options.subject](options))
