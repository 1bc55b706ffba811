"""Every reader of bytes that somebody else made, by name."""

from tests.fuzz.admission_targets import ADMISSION_TARGETS
from tests.fuzz.federation_targets import FEDERATION_TARGETS
from tests.fuzz.file_targets import FILE_TARGETS
from tests.fuzz.ledger_targets import LEDGER_TARGETS
from tests.fuzz.published_targets import PUBLISHED_TARGETS
from tests.fuzz.replay_targets import REPLAY_TARGETS
from tests.fuzz.target import Target
from tests.fuzz.tckks_targets import TCKKS_TARGETS
from tests.fuzz.witness_targets import WITNESS_TARGETS

__all__ = ["TARGETS", "divided"]

_ALL = (
    *LEDGER_TARGETS,
    *PUBLISHED_TARGETS,
    *WITNESS_TARGETS,
    *ADMISSION_TARGETS,
    *FILE_TARGETS,
    *TCKKS_TARGETS,
    *FEDERATION_TARGETS,
    *REPLAY_TARGETS,
)
TARGETS: dict[str, Target] = {target.name: target for target in _ALL}


def divided(mutations: int, targets: list[Target]) -> dict[str, int]:
    """How many of all mutations each target gets, by its share: at least one, and exactly so many in all."""
    if mutations < len(targets):
        raise ValueError(f"{len(targets)} targets need at least as many mutations, not {mutations}")
    whole = sum(target.share for target in targets)
    left = mutations - len(targets)
    counts = {target.name: 1 + int(left * target.share / whole) for target in targets}
    largest = max(targets, key=lambda target: target.share)
    counts[largest.name] += mutations - sum(counts.values())
    return counts
