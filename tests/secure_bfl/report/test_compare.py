"""Compare finds every changed leaf, and nothing else."""

import json
import math
from collections.abc import Iterator
from typing import Any

import pytest

from secure_bfl.report import compare, encode
from tests.secure_bfl.report.made_up import distributed, full_batch, sampled, signed

Path = tuple[str | int, ...]


def paths(value: Any, before: Path = ()) -> Iterator[Path]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from paths(inner, (*before, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from paths(inner, (*before, index))
    else:
        yield before


def spelled(path: Path) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).lstrip(".")


def changed(value: Any) -> Any:
    if value is None:
        return 0.5
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return value + "x"
    if isinstance(value, int):
        return value + 1
    return value * (1 + 1e-5) + (0 if abs(value) < 1e-3 else 1e-5)


def copied(report: dict[str, Any]) -> Any:
    return json.loads(encode(report))


def put(report: Any, path: Path, value: Any) -> None:
    for step in path[:-1]:
        report = report[step]
    report[path[-1]] = value


def get(report: Any, path: Path) -> Any:
    for step in path:
        report = report[step]
    return report


@pytest.mark.parametrize("report", [full_batch, sampled, distributed])
def test_a_published_report_equals_itself(report: Any) -> None:
    assert compare(report(), copied(report())) == []


@pytest.mark.parametrize("report", [full_batch, distributed])
def test_every_changed_leaf_is_found_and_named(report: Any) -> None:
    ours = report()
    theirs = copied(ours)
    count = 0
    for path in paths(ours):
        value = get(ours, path)
        if isinstance(value, float) and abs(value) < 1e-5 and path[-1] != "delta":
            continue  # within the absolute tolerance of what an accountant computes
        put(theirs, path, changed(value))
        found = compare(ours, theirs)
        assert len(found) == 1, path
        assert found[0].startswith(f"{spelled(path)}: ledger says "), found
        put(theirs, path, value)
        count += 1
    assert count > 400


def test_a_difference_reads_well() -> None:
    theirs = copied(full_batch())
    theirs["budget"]["spent"] = 5.0
    spent = full_batch()["budget"]["spent"]
    assert compare(full_batch(), theirs) == [f"budget.spent: ledger says {spent:.9g}, report says 5"]


@pytest.mark.parametrize(("shift", "equal"), [(5e-7, True), (-5e-7, True), (3e-5, False)])
def test_what_an_accountant_computes_has_a_tolerance(shift: float, equal: bool) -> None:
    theirs = copied(full_batch())
    theirs["guarantee"]["epsilon"] += shift
    assert (compare(full_batch(), theirs) == []) is equal


def test_what_the_ledger_states_has_none() -> None:
    theirs = copied(full_batch())
    theirs["guarantee"]["delta"] = 1.05e-5
    theirs["mechanism"]["clip_norm"] += 1e-6
    assert len(compare(full_batch(), theirs)) == 2


@pytest.mark.parametrize("value", ["unbounded", None, True, [], {}, 10**400, -(10**400)])
def test_another_kind_of_value_is_a_difference(value: Any) -> None:
    theirs = copied(full_batch())
    theirs["budget"]["spent"] = value
    assert len(compare(full_batch(), theirs)) == 1


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_no_number_equals_nan_or_infinity(value: float) -> None:
    theirs = copied(full_batch())
    theirs["budget"]["spent"] = value
    assert len(compare(full_batch(), theirs)) == 1


def test_true_is_not_one() -> None:
    theirs = copied(full_batch())
    theirs["budget"]["exceeded"] = 0
    theirs["unit"]["records_per_person"] = True
    assert len(compare(full_batch(), theirs)) == 2


def test_missing_and_additional_parts_are_named() -> None:
    theirs = copied(full_batch())
    del theirs["guarantee"]
    theirs["more"] = "x" * 500
    theirs["clients"].pop()
    found = compare(full_batch(), theirs)
    assert found[0] == "clients: ledger says 5 items, report says 4"
    assert found[1].startswith("guarantee: ledger says {")
    assert found[1].endswith("report says nothing")
    assert found[2].startswith("more: ledger says nothing, report says 'xxx")
    assert all(len(line) < 250 for line in found)


@pytest.mark.parametrize("theirs", [None, [], 1, "report"])
def test_anything_may_be_published(theirs: Any) -> None:
    found = compare(full_batch(), theirs)
    assert len(found) == 1
    assert found[0].startswith("report: ledger says")


def test_the_list_ends() -> None:
    theirs = {f"key {number}": number for number in range(5_000)}
    assert len(compare({}, theirs)) <= 1_000


@pytest.mark.parametrize(
    ("path", "value"),
    [(("mechanism", "name"), "Laplace"), (("mechanism", "noise_law"), "Gaussian"), (("mechanism", "noise_law"), ["x"])],
)
def test_an_unknown_mechanism_is_called_one(path: Path, value: Any) -> None:
    theirs = copied(distributed())
    put(theirs, path, value)
    (found,) = compare(distributed(), theirs)
    assert found.startswith(f"{spelled(path)}: ledger says ")
    assert "of this version" in found


def test_another_known_mechanism_is_a_plain_difference() -> None:
    theirs = copied(distributed())
    theirs["mechanism"]["name"] = full_batch()["mechanism"]["name"]
    (found,) = compare(distributed(), theirs)
    assert found.startswith("mechanism.name: ledger says ")
    assert "of this version" not in found


def test_a_missing_spend_is_found() -> None:
    theirs = copied(full_batch())
    theirs["clients"][0]["rounds_reserved"].pop()
    theirs["clients"][0]["events"][0]["steps"] -= 10
    assert [line.partition(":")[0] for line in compare(full_batch(), theirs)] == [
        "clients[0].events[0].steps",
        "clients[0].rounds_reserved",
    ]


def test_p_values_are_compared_relative_to_their_size() -> None:
    ours = copied(distributed())
    theirs = copied(distributed())
    for report, value in ((ours, 1e-9), (theirs, 2e-9)):
        report["evidence"]["sentinel_gauge"]["cumulative"]["p_too_small"] = value
    assert len(compare(ours, theirs)) == 1
    theirs["evidence"]["sentinel_gauge"]["cumulative"]["p_too_small"] = 1e-9 * (1 + 1e-7)
    assert compare(ours, theirs) == []


def test_a_signature_is_no_difference_and_nonsense_in_its_place_is() -> None:
    assert compare(distributed(), copied(signed())) == []
    assert compare(signed(), copied(distributed())) == []
    theirs = copied(signed())
    theirs["signature"]["value"] = "yes"
    (found,) = compare(distributed(), theirs)
    assert found.startswith("signature: the report's signature is malformed: value is 128")
    theirs["signature"] = "signed"
    (found,) = compare(distributed(), theirs)
    assert found.startswith("signature: a report's signature has the fields signer,")
    theirs["signature"] = None
    assert compare(distributed(), theirs) == ["signature: the report is not signed"]
