"""The Python examples of README.md run as they stand, in an empty folder."""

from pathlib import Path

import pytest

from docs import build


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(build.__file__).parents[1]))


@pytest.mark.slow
def test_the_examples_run() -> None:
    assert build.failing_examples() == []


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("# No example\n", "has no python example"),
        ("```python\nx = 1\n```\n\n```python\nassert x == 2, 'two'\n```\n", "AssertionError: two"),
        ("```python\nimport no_such_module\n```\n", "No module named"),
    ],
)
def test_a_bad_example_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, complaint: str) -> None:
    (tmp_path / "README.md").write_text(text)
    monkeypatch.setattr(build, "ROOT", tmp_path)
    assert complaint in build.failing_examples()[0]


def test_examples_share_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "README.md").write_text("```python\nx = 1\n```\n\n```python\nassert x == 1\n```\n")
    monkeypatch.setattr(build, "ROOT", tmp_path)
    assert build.failing_examples() == []
