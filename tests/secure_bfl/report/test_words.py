"""The report's sentences: each mode's own, and true of that mode."""

import jsonschema

from secure_bfl.report import build, html, markdown, registry_entry, schema
from tests.secure_bfl.report.made_up import (
    client_level,
    distributed,
    federation,
    full_batch,
    sampled,
    with_spend,
)


def test_a_formal_value_above_the_budget_is_said_wherever_the_budget_is_judged() -> None:
    tight, formal = (full_batch()["guarantee"][name]["epsilon"] for name in ("numerically_tight", "formal"))
    assert full_batch()["budget"]["formal_within_budget"] is True
    between = build(federation(epsilon_milli=round(500 * (tight + formal))))
    jsonschema.Draft202012Validator(schema()).validate(between)
    budget = between["budget"]
    assert (budget["exceeded"], budget["formal_within_budget"]) == (False, False)
    words = f"within the budget by the tight value; the formal value {formal:.4g} is above it"
    claims = {claim["claim"]: claim["holds"] for claim in between["assumptions"]["checked"]}
    assert claims[f"Every client's spending is {words}."] is True
    assert words in between["plain_words"][3]
    assert words in registry_entry(between)["deployment"]["privacy_loss"]["privacy_parameters_details"]
    for page in (html(between), markdown(between)):
        assert page.count(words) >= 3
    over = build(federation(epsilon_milli=2_000))["budget"]
    assert (over["exceeded"], over["formal_within_budget"]) == (True, False)


def test_five_plain_sentences_without_jargon_left_open() -> None:
    words = full_batch()["plain_words"]
    assert len(words) == 5
    assert all(sentence.endswith(".") for sentence in words)
    assert "handwritten digits" in words[0]
    assert "3 of 5 members" in words[2]


def test_each_mode_has_its_own_words_and_the_same_fields() -> None:
    local, records, clients = full_batch(), distributed(), client_level()
    assert [built["identity"]["mode"] for built in (local, records, clients)] == ["local", "distributed", "client"]
    assert [built["unit"]["unit"] for built in (local, records, clients)] == ["record", "record", "client"]
    assert "zero" in clients["unit"]["adjacency"]
    assert records["unit"]["one"] == "one image of a digit"
    assert clients["unit"]["one"] == "one client with all its records of handwritten digits"
    assert "needs no trust" in local["plain_words"][2]
    assert "at least 2 clients add their parts honestly" in records["plain_words"][2]
    assert "all records of one client" in clients["plain_words"][4]
    assert any("sketch" in words for words in records["not_covered"])
    assert not any("sketch" in words for words in local["not_covered"])
    assert len({built["mechanism"]["name"] for built in (local, records, clients)}) == 3
    for built in (records, clients):
        assert set(built) == set(local)
        assert len(built["plain_words"]) == 5


def test_what_a_mode_does_not_do_is_not_assumed() -> None:
    local, records, clients = full_batch(), distributed(), client_level()
    for built, rate_is_one in ((local, True), (records, False), (clients, True), (sampled(), False)):
        made = " ".join(built["assumptions"]["made"])
        assert ("stays secret at the client" in made) is not rate_is_one
        assert ("it samples, clips and adds" in made) is not rate_is_one
        assert ("both rest on it" in made) is not rate_is_one
    one_step = build(with_spend(federation(), "ana", 1, sampling_rate_ppm=999_999))
    assert "stays secret at the client" in " ".join(one_step["assumptions"]["made"])
    for built in (records, clients):
        assert "Clients submit their own updates only." in " ".join(built["assumptions"]["made"])
    assert "own updates only" not in " ".join(local["assumptions"]["made"])


def test_participation_is_public_so_client_mode_does_not_claim_to_hide_it() -> None:
    assert "whether one client's update was its own or zeros" in client_level()["plain_words"][1]
    assert "whether one particular record was used" in distributed()["plain_words"][1]
    for built in (client_level(), distributed()):
        epsilon = f"in numbers, epsilon is {built['guarantee']['epsilon']:.4g} at delta 1e-5."
        assert built["plain_words"][1].endswith(epsilon)
    page = html(client_level())
    assert "wants to know whether one client's update was its own or zeros" in page.replace("&#x27;", "'")
    assert "one record" not in page[page.index('id="attacker-roc"') : page.index('id="clients"')]
