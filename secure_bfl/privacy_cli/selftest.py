"""`secure-bfl privacy selftest`: what the guarantees rest on, checked here and now."""

import argparse

from ..exitcodes import ExitCode
from ..ledger_cli.reading import print_result
from .tables import pairs

__all__ = ["print_selftest"]


def print_selftest(options: argparse.Namespace) -> ExitCode:
    """Run every check and list it with ok or FAIL."""
    from ..progress import Progress
    from .self_checks import self_checks

    with Progress(quiet=options.json) as progress:
        checks = list(self_checks(progress))
    lines = pairs([("ok" if check.ok else "FAIL", f"{check.name}: {check.found}") for check in checks])
    listed = [{"name": c.name, "of_accountant": c.of_accountant, "ok": c.ok, "found": c.found} for c in checks]
    print_result(options, {"ok": all(c.ok for c in checks), "checks": listed}, lines)
    if any(not check.ok and check.of_accountant for check in checks):
        return ExitCode.ACCOUNTANTS
    return ExitCode.OK if all(check.ok for check in checks) else ExitCode.AUDIT
