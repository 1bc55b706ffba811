"""How the report spells numbers and itself: one spelling for each value, so that equal reports are equal bytes."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from protocols.dp.events import PrivacyEvent

__all__ = ["encode", "events", "real"]

_DIGITS = 9


def real(value: float) -> float | str:
    """Round to 9 significant digits; what is not a usable bound (infinite, NaN) is `unbounded`."""
    return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else "unbounded"


def events(charged: Sequence[PrivacyEvent]) -> list[dict[str, Any]]:
    """Spell events as the report lists them: real numbers instead of scaled integers."""
    return [
        {
            "noise_multiplier": real(event.noise_multiplier_milli / 1000),
            "sampling_rate": real(event.sampling_rate_ppm / 1_000_000),
            "steps": event.steps,
        }
        for event in charged
    ]


def encode(report: Mapping[str, Any]) -> bytes:
    """Encode a report as canonical JSON: sorted keys, UTF-8, two-space indent, one newline at the end.

    Raises:
        ValueError: the report holds NaN or an infinity.
    """
    text = json.dumps(report, sort_keys=True, ensure_ascii=False, allow_nan=False, indent=2)
    return text.encode("utf-8") + b"\n"
