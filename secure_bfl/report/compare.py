"""Compare two reports about one ledger: the one computed from it, and the one somebody published."""

import math
from collections.abc import Mapping
from typing import Any

__all__ = ["compare"]

_TOLERANCE = 1e-6
_COMPUTED = frozenset(
    {
        "epsilon",
        "epsilon_formal",
        "false_positive_rate",
        "high",
        "low",
        "own",
        "remaining",
        "reserved_without_upload",
        "spent",
        "spent_on_opened_rounds",
        "true_positive_rate",
    }
)
"""Fields an accountant computes in floating point; all other numbers are the ledger's integers, or scaled ones."""

_MAX_DIFFERENCES = 1000
_MAX_SHOWN = 80


def compare(ours: Mapping[str, Any], theirs: Any) -> list[str]:
    """List every difference as a readable path, such as `budget.spent: ledger says 7.93, report says 5.0`.

    Run by: a verifier; `ours` is built from the verified ledger, `theirs` is the published JSON, decoded, and may be
    anything. What an accountant computed is equal within 1e-6, relative or absolute. Everything else must be equal
    exactly, numbers too: they are the ledger's own, and within 1e-6 a delta of 1e-7 would pass for 1e-6. An empty
    list means: no difference. After 1000 differences the list ends.
    """
    found: list[str] = []
    _walk("", ours, theirs, found)
    return found[:_MAX_DIFFERENCES]


def _show(value: Any) -> str:
    text = f"{value:.9g}" if isinstance(value, float) else repr(value)
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 3] + "..."


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _close(path: str, ours: float, theirs: float) -> bool:
    if path.rpartition(".")[2] not in _COMPUTED or (isinstance(ours, int) and isinstance(theirs, int)):
        return ours == theirs
    try:
        return math.isclose(ours, theirs, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
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
        found.append(f"{path or 'report'}: ledger says {_show(ours)}, report says {_show(theirs)}")
