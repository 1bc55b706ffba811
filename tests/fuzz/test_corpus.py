"""Every reader of hostile bytes: the inputs that are kept, a few thousand mutations, and what short inputs may cost."""

import tracemalloc
from pathlib import Path

import pytest

from tests.fuzz.corpus import CORPUS, kept, kept_for
from tests.fuzz.limits import ACCEPTED, SECONDS_FIRST
from tests.fuzz.runner import Finding, attempt, campaign, input_of
from tests.fuzz.target import Target
from tests.fuzz.targets import TARGETS, divided

MUTATIONS = 5000
COUNTS = divided(MUTATIONS, list(TARGETS.values()))
EVERY = pytest.mark.parametrize("target", TARGETS.values(), ids=lambda target: target.name)


@pytest.mark.parametrize(("name", "path"), [pytest.param(n, p, id=f"{n}/{p.stem}") for n, p in kept()])
def test_a_kept_input_is_still_refused_or_accepted(name: str, path: Path) -> None:
    attempt(TARGETS[name], TARGETS[name].seeds[0], seconds=SECONDS_FIRST)
    outcome = attempt(TARGETS[name], path.read_bytes())
    assert isinstance(outcome, str), outcome
    assert path.name.startswith("accepted-" if outcome == ACCEPTED else "refused-")


def test_kept_inputs_are_small_and_belong_to_targets() -> None:
    assert {path.parent.name for path in CORPUS.glob("*/*")} <= set(TARGETS)
    assert sum(path.stat().st_size for _, path in kept()) < 500_000
    assert {path for path in CORPUS.rglob("*") if path.is_file()} == {path for _, path in kept()}


@EVERY
def test_mutations_are_refused_as_announced(target: Target) -> None:
    result = campaign(target, range(COUNTS[target.name]), seed=2, extra=kept_for(target.name))
    assert result.findings == []
    assert result.inputs == COUNTS[target.name]


@EVERY
def test_no_input_costs_more_memory_than_stated(target: Target) -> None:
    """Above all the short ones: lengths are compared, and counts bounded, before anything is allocated for them."""
    seed = max(target.seeds, key=len)
    inputs = [seed[:size] for size in (0, 1, 16, 44, 100, len(seed) // 2, len(seed) - 1, len(seed))]
    inputs += kept_for(target.name)
    inputs += [input_of(target, 3, number) for number in range(10 if target.share > 0.1 else 0)]
    attempt(target, seed, seconds=SECONDS_FIRST)  # what is made once and kept
    tracemalloc.start()
    try:
        for data in inputs:
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            outcome = attempt(target, data)
            assert not isinstance(outcome, Finding), outcome
            cost = tracemalloc.get_traced_memory()[1] - before
            assert cost <= target.slack + target.multiple * len(data), (cost, len(data), data[:50])
    finally:
        tracemalloc.stop()
