"""Facts refuse what would make a report wrong: wrong types and ranges, and rounds and clients that disagree."""

from dataclasses import FrozenInstanceError, fields, replace
from typing import Any

import pytest

from secure_bfl.report import AuditFacts, ClientFacts, ReportFacts, RoundFacts, Spend, VoidRound
from tests.secure_bfl.report.made_up import OTHERS, audit, digest, federation, shared

FACTS = federation()
SPEND = Spend(1, 10, 8_000, 1_000_000)
INTEGERS = [field.name for field in fields(FACTS) if field.type in (int, int | None)]
DIGESTS = [field.name for field in fields(FACTS) if field.type is bytes]
TEXTS = [field.name for field in fields(FACTS) if field.type is str]


def changed(name: str, value: Any) -> ReportFacts:
    fields_of: dict[str, Any] = {name: value}
    return replace(FACTS, **fields_of)


def test_every_field_is_in_one_of_the_lists() -> None:
    assert {*INTEGERS, *DIGESTS, *TEXTS, "clients", "rounds", "void_rounds", "audits"} == {
        field.name for field in fields(FACTS)
    }


@pytest.mark.parametrize("name", INTEGERS)
@pytest.mark.parametrize("value", [1.0, "1", True, b"1"])
def test_an_integer_field_refuses_other_types(name: str, value: Any) -> None:
    with pytest.raises(TypeError, match=name):
        changed(name, value)


@pytest.mark.parametrize("name", INTEGERS)
@pytest.mark.parametrize("value", [-1, 2**53])
def test_an_integer_field_refuses_values_out_of_range(name: str, value: int) -> None:
    with pytest.raises(ValueError, match=name):
        changed(name, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sampling_rate_ppm", 0),
        ("sampling_rate_ppm", 1_000_001),
        ("noise_multiplier_milli", 99),
        ("clip_units", 4095),
        ("delta_e12", 99),
        ("delta_e12", 10**12),
        ("epsilon_milli", 0),
        ("parameters", 0),
        ("parameters", 2**24 + 1),
        ("accuracy_ppm", 1_000_001),
        ("threshold", 6),
    ],
)
def test_limits(name: str, value: int) -> None:
    with pytest.raises(ValueError, match=name):
        changed(name, value)


@pytest.mark.parametrize("name", DIGESTS)
def test_a_digest_is_32_bytes(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        changed(name, b"\x00" * 31)
    with pytest.raises(TypeError, match=name):
        changed(name, "00" * 32)


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("value", ["", "x" * 257, "a\nb", "\x00", "\udc80"])
def test_a_text_is_short_and_printable(name: str, value: str) -> None:
    if name == "unit_text" and not value:
        assert changed(name, value).unit_text == ""
        return
    with pytest.raises(ValueError, match=name):
        changed(name, value)


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_is_a_str(name: str) -> None:
    with pytest.raises(TypeError, match=name):
        changed(name, b"text")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("round", -1),
        ("steps", 0),
        ("noise_multiplier_milli", 99),
        ("sampling_rate_ppm", 0),
        ("sampling_rate_ppm", 1_000_001),
    ],
)
def test_a_spend_has_limits(name: str, value: int) -> None:
    with pytest.raises(ValueError, match=name):
        replace(SPEND, **{name: value})


def test_an_upload_needs_a_spend() -> None:
    with pytest.raises(ValueError, match="ana is in the opened sum of round 2 but reserved no privacy"):
        ClientFacts("ana", (SPEND,), (1, 2))


def test_spends_come_in_round_order() -> None:
    with pytest.raises(ValueError, match="round order"):
        ClientFacts("ana", (replace(SPEND, round=2), SPEND), ())


@pytest.mark.parametrize("uploads", [(2, 1), (1, 1)])
def test_uploads_increase(uploads: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="strictly increase"):
        ClientFacts("ana", (SPEND, replace(SPEND, round=2)), uploads)


def test_collections_are_tuples_of_the_right_thing() -> None:
    wrong: Any = [SPEND]
    with pytest.raises(TypeError, match="spends must be a tuple"):
        ClientFacts("ana", wrong, ())
    with pytest.raises(TypeError, match=r"spends\[0\] must be Spend"):
        ClientFacts("ana", (wrong,), ())
    with pytest.raises(TypeError, match="uploads"):
        ClientFacts("ana", (SPEND,), (True,))


def test_reserved_without_upload_is_derived() -> None:
    spends = tuple(replace(SPEND, round=number) for number in (1, 2, 2, 3))
    assert ClientFacts("ana", spends, (1,)).rounds_reserved_without_upload == (2, 3)
    assert ClientFacts("ana", spends, (1, 2, 3)).rounds_reserved_without_upload == ()


def test_a_round_lists_nobody_twice() -> None:
    with pytest.raises(ValueError, match="names a client twice"):
        RoundFacts(1, ("ana", "ana"), (), digest(1), digest(2))
    with pytest.raises(ValueError, match="both a contributor and absent"):
        RoundFacts(1, ("ana",), ("ana",), digest(1), digest(2))


def test_a_round_lists_every_client() -> None:
    first = replace(FACTS.rounds[0], absent=())
    first = replace(first, contributors=first.contributors[1:])
    with pytest.raises(ValueError, match="round 1: ana"):
        replace(FACTS, rounds=(first, *FACTS.rounds[1:]))


def test_rounds_and_uploads_agree() -> None:
    second = FACTS.rounds[1]
    moved = replace(second, contributors=second.contributors[1:], absent=(*second.absent, second.contributors[0]))
    with pytest.raises(ValueError, match="ana: uploads"):
        replace(FACTS, rounds=(FACTS.rounds[0], moved, *FACTS.rounds[2:]))


def test_rounds_increase_and_are_no_more_than_planned() -> None:
    with pytest.raises(ValueError, match="strictly increase"):
        replace(FACTS, rounds=FACTS.rounds[::-1])
    with pytest.raises(ValueError, match="more than the 5 planned"):
        replace(FACTS, planned_rounds=5)


def test_clients_have_different_names_and_there_is_one() -> None:
    with pytest.raises(ValueError, match="twice"):
        replace(FACTS, clients=(*FACTS.clients, FACTS.clients[0]))
    with pytest.raises(ValueError, match="must not be empty"):
        replace(FACTS, clients=(), rounds=())


def test_facts_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        FACTS.log_size = 1  # type: ignore[misc]


def test_void_rounds_are_rounds_of_the_plan() -> None:
    done, planned = len(FACTS.rounds), FACTS.planned_rounds
    next_one = VoidRound(done + 1, "it did not open")
    assert replace(FACTS, planned_rounds=done + 1, void_rounds=(next_one,)).void_rounds == (next_one,)
    for void in ((next_one, next_one), (VoidRound(FACTS.rounds[0].number, "no"),)):
        with pytest.raises(ValueError, match="void rounds must strictly increase and be none of the others"):
            replace(FACTS, void_rounds=void)
    many = tuple(VoidRound(done + i, "no") for i in range(1, planned - done + 2))
    with pytest.raises(ValueError, match="more than the"):
        replace(FACTS, void_rounds=many)
    for reason in ("", "x" * 257, "two\nlines"):
        with pytest.raises(ValueError, match="reason must be 1 to 256 printable characters"):
            VoidRound(1, reason)
    with pytest.raises(TypeError, match="number must be an int"):
        VoidRound(True, "no")


@pytest.mark.parametrize("mode", ["", "central", "LOCAL"])
def test_a_mode_is_one_of_three(mode: str) -> None:
    with pytest.raises(ValueError, match="mode must be"):
        changed("mode", mode)


def test_each_mode_has_its_rules() -> None:
    with pytest.raises(ValueError, match="honest_minimum must be 1 in local mode"):
        changed("honest_minimum", 2)
    with pytest.raises(ValueError, match="minimum_clients must be at least 3"):
        replace(shared(), minimum_clients=2)
    with pytest.raises(ValueError, match="sampling_rate_ppm must be 1000000 in client mode"):
        replace(shared(), mode="client")
    assert shared("client").steps_per_round == shared().steps_per_round == 1
    assert (FACTS.steps_per_round, FACTS.dim, shared().dim) == (10, 650, 906)


def test_sentinels_are_read_in_every_round_or_in_none() -> None:
    facts = shared()
    blind = replace(facts.rounds[0], sentinel_energy=0, sentinel_variance=0.0)
    with pytest.raises(ValueError, match="round 1: sentinel figures with 256 sentinels"):
        replace(facts, rounds=(blind, *facts.rounds[1:]))
    with pytest.raises(ValueError, match="round 1: sentinel figures with 0 sentinels"):
        replace(facts, sentinels=0)
    with pytest.raises(ValueError, match="round 1: sentinel figures with 0 sentinels"):
        replace(FACTS, rounds=(replace(FACTS.rounds[0], sentinel_energy=1), *FACTS.rounds[1:]))
    for variance in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="sentinel_variance must be finite"):
            replace(blind, sentinel_variance=variance)
    wrong: Any = 1
    with pytest.raises(TypeError, match="sentinel_variance must be a float"):
        replace(blind, sentinel_variance=wrong)
    with pytest.raises(ValueError, match="sentinel_energy"):
        replace(blind, sentinel_energy=-1)


def test_other_runs_are_events() -> None:
    assert ClientFacts("ana", (SPEND,), (), OTHERS).others == OTHERS
    wrong: Any = (SPEND,)
    with pytest.raises(TypeError, match=r"others\[0\] must be PrivacyEvent"):
        ClientFacts("ana", (SPEND,), (), wrong)


def test_an_audit_has_a_party_an_entry_and_a_result() -> None:
    stated = audit()
    with pytest.raises(ValueError, match="party"):
        replace(stated, party="")
    with pytest.raises(ValueError, match="index"):
        replace(stated, index=-1)
    wrong: Any = {"correct": 1}
    with pytest.raises(TypeError, match="result must be AuditResult"):
        AuditFacts("ana", 1, wrong)
    listed: Any = [stated]
    with pytest.raises(TypeError, match="audits must be a tuple"):
        changed("audits", listed)
