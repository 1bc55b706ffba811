"""The commands `secure-bfl privacy …`: plan, watch, audit and report what a run costs its records.

Thin, like `secure_bfl.cli`: they read options, call the library, and print.
"""

import argparse

from .audit import audit_mechanism
from .options import add_privacy, add_report_options
from .planning import print_plan, print_whatif
from .reporting import export_registry, verify_report, write_signed_report
from .selftest import print_selftest
from .spending import can_i_run, print_status

__all__ = ["add_privacy", "add_report_options", "run_privacy", "write_signed_report"]


def run_privacy(options: argparse.Namespace) -> int:
    """Run one subcommand; return its exit code."""
    commands = {
        "plan": print_plan,
        "whatif": print_whatif,
        "status": print_status,
        "can-i-run": can_i_run,
        "report": write_signed_report,
        "verify": verify_report,
        "export-registry": export_registry,
        "audit": audit_mechanism,
        "selftest": print_selftest,
    }
    return int(commands[options.subject](options))
