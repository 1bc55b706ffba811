"""Where the external test vectors are: the folder named by EXTERNAL_VECTORS."""

import json
import os
from pathlib import Path
from typing import Any

import pytest


def folder(name: str) -> Path:
    root = os.environ.get("EXTERNAL_VECTORS")
    if not root:
        pytest.skip("EXTERNAL VECTORS NOT CHECKED: set EXTERNAL_VECTORS to the folder that holds them")
    path = Path(root) / name
    assert path.is_dir(), f"EXTERNAL_VECTORS is set, but {path} is not there"
    return path


def load(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
