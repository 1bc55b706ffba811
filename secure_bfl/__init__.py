"""Federated learning in which nobody has to be trusted.

Plan a federation (`FederationPlan`), generate its key and run it (`run_round`, or the roles `Operator`, `Member` and
`Client` on a `Board`), publish it (`publish_run`), audit it (`Auditor`), and read what it cost (`write_report`).

Names are imported when they are first used: torch takes seconds to load, and not everything needs it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .auditor import Auditor, Finding, Verdict
    from .board import Board, Transcript
    from .body import Role
    from .client import Client
    from .committee_change import announce_change, certify_change, change_committee
    from .identity import Identity
    from .inspection import Inspection, inspect
    from .layout import PublicFolder
    from .local_training import Learner
    from .member import Member
    from .model import GlobalModel, Tensor
    from .networks import layout_of, network_with, start_of
    from .odometer.file import FileOdometer
    from .operator import Operator
    from .party_messages import KeyClaim
    from .plan import FederationPlan
    from .publication import publish_run, write_report
    from .records import Records
    from .reference import Outcome, run_round
    from .training import Training

__all__ = [
    "Auditor",
    "Board",
    "Client",
    "FederationPlan",
    "FileOdometer",
    "Finding",
    "GlobalModel",
    "Identity",
    "Inspection",
    "KeyClaim",
    "Learner",
    "Member",
    "Operator",
    "Outcome",
    "PublicFolder",
    "Records",
    "Role",
    "Tensor",
    "Training",
    "Transcript",
    "Verdict",
    "announce_change",
    "certify_change",
    "change_committee",
    "inspect",
    "layout_of",
    "network_with",
    "publish_run",
    "run_round",
    "start_of",
    "write_report",
]

_HOMES: Final = {
    "auditor": ("Auditor", "Finding", "Verdict"),
    "board": ("Board", "Transcript"),
    "body": ("Role",),
    "client": ("Client",),
    "committee_change": ("announce_change", "certify_change", "change_committee"),
    "identity": ("Identity",),
    "inspection": ("Inspection", "inspect"),
    "layout": ("PublicFolder",),
    "local_training": ("Learner",),
    "member": ("Member",),
    "model": ("GlobalModel", "Tensor"),
    "networks": ("layout_of", "network_with", "start_of"),
    "odometer.file": ("FileOdometer",),
    "operator": ("Operator",),
    "party_messages": ("KeyClaim",),
    "plan": ("FederationPlan",),
    "publication": ("publish_run", "write_report"),
    "records": ("Records",),
    "reference": ("Outcome", "run_round"),
    "training": ("Training",),
}
_MODULE_OF: Final = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_MODULE_OF[name]}", __name__), name)
