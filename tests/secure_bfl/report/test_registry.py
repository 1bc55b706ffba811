"""The export is an entry in the registry's field names, and nothing in it is made up."""

from typing import Any

import pytest

from secure_bfl.report import build, missing_fields, registry_entry
from tests.secure_bfl.report.made_up import client_level, distributed, federation, full_batch, signed

# The field names of the registry's schema, at the commit that `registry.SCHEMA_SOURCE` names.
FIELDS = {
    "basic": "name data_curators description intended_use data_product_type data_product_region data_product_sector "
    "publication_date",
    "dp_variant": "variant_name data_domain unprotected_quantities",
    "privacy_loss": "privacy_unit privacy_unit_details number_of_privacy_units privacy_parameters "
    "privacy_parameters_details",
    "deployment_model": "model_name model_name_details trust_assumptions actors release_type release_type_details "
    "data_source_type data_source_type_details access_type access_type_details",
    "implementation": "preprocessing_and_hyperparameter_tuning mechanisms composition post_processing justification "
    "utility additional_information",
    "administrative": "evidence_sources status registry_authors tier",
}
FILLED = {
    "region": "Belgium",
    "sector": "Healthcare",
    "publication_date": "2026-03-01",
    "curator_type": "Nonprofit",
    "author": "A. Writer",
}


def leaves(value: Any) -> list[Any]:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return [value] if inner is None else [leaf for part in inner for leaf in leaves(part)]


@pytest.mark.parametrize("report", [full_batch, distributed, client_level, signed])
def test_only_the_registrys_fields_are_used(report: Any) -> None:
    entry = registry_entry(report(), **FILLED)
    assert set(entry) == {"url_slug", "deployment"}
    assert set(entry["deployment"]) == set(FIELDS)
    for group, names in FIELDS.items():
        assert set(entry["deployment"][group]) <= set(names.split())
    assert all(leaf is not None and leaf != "" for leaf in leaves(entry))


def test_a_signed_and_filled_entry_lacks_nothing() -> None:
    entry = registry_entry(signed(), **FILLED)
    assert missing_fields(entry) == ()
    basic = entry["deployment"]["basic"]
    assert basic["data_curators"] == [
        {"data_curator_name": "St. Anna hospital, Ghent", "data_curator_type": "Nonprofit"}
    ]
    assert (basic["intended_use"], basic["publication_date"]) == ("triage of scans", "2026-03-01")
    assert entry["deployment"]["administrative"]["registry_authors"] == ["A. Writer"]


def test_what_nobody_stated_is_missing_and_named() -> None:
    assert missing_fields(registry_entry(distributed())) == (
        "basic.data_curators",
        "basic.intended_use",
        "basic.data_product_region",
        "basic.publication_date",
        "administrative.registry_authors",
    )
    assert missing_fields(registry_entry(signed())) == (
        "basic.data_product_region",
        "basic.publication_date",
        "basic.data_curators.data_curator_type",
    )


def test_the_figures_are_the_reports() -> None:
    report = distributed()
    loss = registry_entry(report)["deployment"]["privacy_loss"]
    assert loss["privacy_parameters"] == {"epsilon": report["guarantee"]["epsilon"], "delta": 1e-5}
    assert loss["privacy_unit"] == "Record-level"
    assert registry_entry(client_level())["deployment"]["privacy_loss"]["privacy_unit"] == "Client-level"
    model = registry_entry(report)["deployment"]["deployment_model"]
    assert (model["model_name"], model["release_type"]) == ("Federated", "Many releases")


def test_an_unbounded_epsilon_is_no_number() -> None:
    loss = registry_entry(build(federation(noise=1_000, steps=300, done=1)))["deployment"]["privacy_loss"]
    assert loss["privacy_parameters"] == {"delta": 1e-5}
    assert "Epsilon unbounded" in loss["privacy_parameters_details"]


@pytest.mark.parametrize(
    "date", ["", "2026", "1 March 2026", "2026-3-1", "2026-13-99", "2026-02-30", "20260301", "2026-W09-7"]
)
def test_a_date_is_a_date(date: str) -> None:
    with pytest.raises(ValueError, match="YYYY-MM-DD"):
        registry_entry(full_batch(), publication_date=date)
