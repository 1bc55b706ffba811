"""Compare two reports about one ledger: the one computed from it, and the one somebody published."""

import math
from collections.abc import Mapping
from typing import Any

from ledger import SignatureError

from .mechanisms import NAMES, NOISE_LAWS
from .signature import Signature

__all__ = ["compare"]

_TOLERANCE = 1e-6
_COMPUTED = frozenset(
    {
        "epsilon",
        "epsilon_all_runs",
        "epsilon_formal",
        "epsilon_if_the_rest_is_honest",
        "epsilon_lower_bound",
        "false_positive_rate",
        "high",
        "low",
        "mu",
        "own",
        "remaining",
        "reserved_without_upload",
        "spent",
        "spent_on_opened_rounds",
        "true_positive_rate",
        "voided",
        "whole_plan",
    }
)
"""Fields an accountant computes in floating point; all other numbers are the ledger's integers, or scaled ones."""

_P_VALUES = frozenset({"one_run_p", "p_too_large", "p_too_small"})
_P_FLOOR = 1e-12
"""Probabilities are compared relative to their size: 1e-7 is not 1e-20. Below this they are as good as zero."""

_KNOWN = {
    "mechanism.name": (NAMES, "which is no mechanism of this version"),
    "mechanism.noise_law": (NOISE_LAWS, "which is no noise law of this version"),
}

_MAX_DIFFERENCES = 1000
_MAX_SHOWN = 80


def compare(ours: Mapping[str, Any], theirs: Any) -> list[str]:
    """List every difference as a readable path, such as `budget.spent: ledger says 7.93, report says 5.0`.

    Run by: a verifier; `ours` is built from the verified ledger, `theirs` is the published JSON, decoded, and may be
    anything. What an accountant computed is equal within 1e-6, relative or absolute. Everything else must be equal
    exactly, numbers too: they are the ledger's own, and within 1e-6 a delta of 1e-7 would pass for 1e-6. An empty
    list means: no difference. After 1000 differences the list ends.

    The block `signature` is not on the ledger: its values are not compared, but it must be a signature block in form.
    Whose signature it is, `check_signature` decides.
    """
    found: list[str] = []
    if isinstance(theirs, Mapping) and "signature" in theirs:
        try:
            Signature.of(theirs)
        except SignatureError as exc:
            found.append(f"signature: {exc}")
        theirs = {key: value for key, value in theirs.items() if key != "signature"}
    _walk("", {key: value for key, value in ours.items() if key != "signature"}, theirs, found)
    return found[:_MAX_DIFFERENCES]


def _show(value: Any) -> str:
    text = f"{value:.9g}" if isinstance(value, float) else repr(value)
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 3] + "..."


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _close(path: str, ours: float, theirs: float) -> bool:
    name = path.rpartition(".")[2]
    if name not in _COMPUTED | _P_VALUES or (isinstance(ours, int) and isinstance(theirs, int)):
        return ours == theirs
    try:
        return math.isclose(ours, theirs, rel_tol=_TOLERANCE, abs_tol=_P_FLOOR if name in _P_VALUES else _TOLERANCE)
    except OverflowError:  # an integer too large for a float is close to no float
        return False


def _walk(path: str, ours: Any, theirs: Any, found: list[str]) -> None:
    if len(found) >= _MAX_DIFFERENCES:
        return
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        for key in sorted({*ours, *theirs}, key=str):
            inner = f"{path}.{key}" if path else str(key)
            if key not in theirs:
                found.append(f"{inner}: ledger says {_show(ours[key])}, report says nothing")
            elif key not in ours:
                found.append(f"{inner}: ledger says nothing, report says {_show(theirs[key])}")
            else:
                _walk(inner, ours[key], theirs[key], found)
    elif isinstance(ours, list) and isinstance(theirs, list):
        if len(ours) != len(theirs):
            found.append(f"{path}: ledger says {len(ours)} items, report says {len(theirs)}")
        for index, (mine, other) in enumerate(zip(ours, theirs, strict=False)):
            _walk(f"{path}[{index}]", mine, other, found)
    elif _is_number(ours) and _is_number(theirs):
        if not _close(path, ours, theirs):
            found.append(f"{path}: ledger says {_show(ours)}, report says {_show(theirs)}")
    elif type(ours) is not type(theirs) or ours != theirs:
        known, otherwise = _KNOWN.get(path, ((), ""))
        strange = f", {otherwise}" if otherwise and theirs not in known else ""
        found.append(f"{path or 'report'}: ledger says {_show(ours)}, report says {_show(theirs)}{strange}")
