"""The JSON schema (2020-12) of the report, shipped with the package as `schema.json`."""

import json
from importlib import resources
from typing import Any

__all__ = ["schema"]


def schema() -> dict[str, Any]:
    """Return the schema as a fresh dict, for any JSON Schema 2020-12 validator."""
    loaded: dict[str, Any] = json.loads(resources.files(__package__).joinpath("schema.json").read_text("utf-8"))
    return loaded
