"""Export to the public Differential Privacy Deployments Registry, in its field names.

Source: https://registry.opendp.org, schema `schemas/deployments-schema.yaml` of the repository
opendp/deployments-registry-data at commit 057e5d81cf60150dd3307e0cf4504b957802fb3b; after Dwork, Kohli, Mulligan,
"Differential privacy in practice: expose your epsilons!", Journal of Privacy and Confidentiality 9(2), 2019. The
registry takes YAML files, and JSON is YAML.
"""

from collections.abc import Mapping
from datetime import date
from typing import Any, Final

from .wording import budget_verdict, format_delta, number

__all__ = ["SCHEMA_SOURCE", "missing_fields", "registry_entry"]

SCHEMA_SOURCE: Final = "opendp/deployments-registry-data@057e5d81cf60150dd3307e0cf4504b957802fb3b"

_TIER: Final = 3
"""How much an entry states: the schema marks each of its fields with a tier, and this export fills fields of tier 3."""

_REQUIRED_BASIC: Final = (
    "name",
    "data_curators",
    "description",
    "intended_use",
    "data_product_type",
    "data_product_region",
    "publication_date",
)


def registry_entry(
    report: Mapping[str, Any],
    *,
    region: str | None = None,
    sector: str | None = None,
    publication_date: str | None = None,
    curator_type: str | None = None,
    author: str | None = None,
) -> dict[str, Any]:
    """Describe a federation's model as an entry of the registry, status "Draft".

    Run by: whoever registers the deployment. What a report cannot know is an argument: `region` in free words, `sector`
    such as "Healthcare", `publication_date` as YYYY-MM-DD, `curator_type` "Government", "Industry" or "Nonprofit",
    `author` of the entry. The curator and the intended use are the controller and the purpose of the report's
    signature. What is nowhere stated is left out, and `missing_fields` names it: nothing is made up.

    Raises:
        ValueError: `publication_date` is no date, or not written YYYY-MM-DD.
    """
    if publication_date is not None:
        _check_date(publication_date)
    scope, signature = report["scope"], report.get("signature") or {}
    controller = signature.get("controller")
    curator = {"data_curator_name": controller, "data_curator_type": curator_type}
    basic = {
        "name": f"Model trained on {scope['dataset']} by {report['identity']['origin']}",
        "data_curators": [_known(curator)] if controller else None,
        "description": report["plain_words"][0],
        "intended_use": signature.get("purpose"),
        "data_product_type": "Machine learning model",
        "data_product_region": region,
        "data_product_sector": sector,
        "publication_date": publication_date,
    }
    return {
        "url_slug": f"federated-model-{report['identity']['id']}",
        "deployment": {
            "basic": _known(basic),
            "dp_variant": _variant(report),
            "privacy_loss": _privacy_loss(report),
            "deployment_model": _model(report),
            "implementation": _implementation(report),
            "administrative": _administrative(report, publication_date, author or signature.get("signer")),
        },
    }


def missing_fields(entry: Mapping[str, Any]) -> tuple[str, ...]:
    """Name the fields that the registry requires and the entry does not have yet."""
    deployment = entry["deployment"]
    missing = [f"basic.{name}" for name in _REQUIRED_BASIC if name not in deployment["basic"]]
    for curator in deployment["basic"].get("data_curators", ()):
        missing += ["basic.data_curators.data_curator_type"] * ("data_curator_type" not in curator)
    missing += ["administrative.registry_authors"] * ("registry_authors" not in deployment["administrative"])
    return tuple(missing)


def _check_date(text: str) -> None:
    try:
        day = date.fromisoformat(text)
    except ValueError as exc:
        raise ValueError(f"publication_date must be a date, YYYY-MM-DD, got {text[:40]!r}") from exc
    if day.isoformat() != text:
        raise ValueError(f"publication_date must be written YYYY-MM-DD, got {text[:40]!r}")


def _known(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _variant(report: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "variant_name": "Approximate DP",
        "data_domain": f"The records of {report['scope']['clients']} clients in {report['scope']['dataset']}.",
        "unprotected_quantities": "Which clients took part, in which rounds, and the privacy each has reserved; the "
        "accuracy on public held-out data. No statistic of private records is released without noise.",
    }


def _privacy_loss(report: Mapping[str, Any]) -> dict[str, Any]:
    guarantee, unit = report["guarantee"], report["unit"]
    epsilon, formal = guarantee["epsilon"], guarantee["formal"]["epsilon"]
    within = budget_verdict(formal=formal, formal_within=report["budget"]["formal_within_budget"])
    judged = "exceeded" if report["budget"]["exceeded"] else within
    details = (
        f"Epsilon {number(epsilon)} by {guarantee['method']}, numerically tight; {number(formal)} by Rényi accounting, "
        f"the formal value; both at delta {format_delta(guarantee['delta'])}, for the most exposed client. "
        f"Agreed budget: epsilon {number(report['budget']['total'])}; {judged}."
    )
    parameters = {"epsilon": epsilon, "delta": guarantee["delta"]}
    return {
        "privacy_unit": f"{unit['unit'].capitalize()}-level",
        "privacy_unit_details": f"Neighbours: {unit['adjacency']}. One unit: {unit['one']}.",
        "privacy_parameters": {name: value for name, value in parameters.items() if value != "unbounded"},
        "privacy_parameters_details": details,
    }


def _model(report: Mapping[str, Any]) -> dict[str, Any]:
    observers = " ".join(
        f"{row['observer'][0].upper()}{row['observer'][1:]}: sees {row['sees']}; epsilon {number(row['epsilon'])}; "
        f"trust needed in {row['trusts']}."
        for row in report["trust"]["variants"]
    )
    return {
        "model_name": "Federated",
        "model_name_details": report["mechanism"]["name"],
        "trust_assumptions": report["trust"]["statement"],
        "actors": observers,
        "release_type": "Many releases",
        "release_type_details": f"A sum and a model after each of {report['scope']['planned_rounds']} planned rounds; "
        "the epsilon stated covers all of them. The budget is fixed, and clients stop when it is spent.",
        "data_source_type": "Static",
        "access_type": "Non-interactive",
    }


def _implementation(report: Mapping[str, Any]) -> dict[str, Any]:
    mechanism, utility = report["mechanism"], report["utility"]
    accuracy = "not stated" if utility["accuracy"] is None else f"{utility['accuracy']:.2%}"
    return {
        "preprocessing_and_hyperparameter_tuning": report["not_covered"][0],
        "mechanisms": f"{mechanism['name']}; {mechanism['noise_law']}, noise multiplier "
        f"{number(mechanism['noise_multiplier'])}, sampling rate {number(mechanism['sampling_rate'])}; rounding: "
        f"{mechanism['rounding']}. Noise and sums are integers, so no floating-point noise is released.",
        "composition": f"{report['accounting']['composition']}; accountant: {report['accounting']['accountant']}, "
        f"cross-checked: the accountants {report['accounting']['verdict']}.",
        "post_processing": "Sums are scaled and added to the model by a public rule.",
        "utility": f"Accuracy {accuracy}, {utility['source']}.",
        "additional_information": f"Budget report {report['identity']['id']}, computed from the transparency log "
        f"{report['identity']['origin']} at {report['identity']['log_size']} entries, root "
        f"{report['identity']['log_root']}.",
    }


def _administrative(report: Mapping[str, Any], published: str | None, author: str | None) -> dict[str, Any]:
    note = f"Privacy budget report {report['identity']['id']}; schema of this entry: {SCHEMA_SOURCE}"
    source = {"title": "Privacy budget report", "note": note, "year": None if published is None else published[:4]}
    sources = {
        "budget_report": {
            "evidence_source_type": "Formal publication by the deploying organization",
            "misc": _known(source),
        }
    }
    fields = {
        "evidence_sources": sources,
        "status": "Draft",
        "registry_authors": None if author is None else [author],
        "tier": _TIER,
    }
    return _known(fields)
