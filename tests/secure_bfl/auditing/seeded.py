"""Random bytes that a test can have again, and small audits."""

import hashlib
from dataclasses import replace

from protocols.dp import Mode
from secure_bfl.auditing import AuditSettings

__all__ = ["Seeded", "small"]


class Seeded:
    """A stream of bytes in the place of `os.urandom`."""

    def __init__(self, seed: int) -> None:
        self._seed, self._calls = seed, 0

    def __call__(self, count: int) -> bytes:
        self._calls += 1
        return hashlib.shake_256(f"{self._seed} {self._calls}".encode()).digest(count)


def small(mode: Mode, *, sampling_rate_ppm: int = 1_000_000) -> AuditSettings:
    """An audit of about a second, still with enough canaries for its statistics."""
    settings = AuditSettings.of_mode(mode)
    if mode == Mode.CLIENT:
        return replace(settings, canaries=64)
    return replace(
        settings,
        canaries=700,
        rounds=2,
        local_steps=min(settings.local_steps, 2),
        sampling_rate_ppm=sampling_rate_ppm,
    )
