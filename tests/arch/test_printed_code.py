"""The code that the documents print is the code that runs."""

import pytest

from docs.build import rendered, source, stale


def test_documents_print_the_current_source() -> None:
    assert stale(write=False) == []


def test_old_source_is_seen_and_replaced() -> None:
    old = "# T\n<!-- source: docs.build.source -->\n```python\nold\n```\n<!-- end source -->\nafter\n"
    new = rendered(old)
    assert new != old
    assert new.startswith("# T\n<!-- source: docs.build.source -->\n```python\ndef source(")
    assert new.endswith("<!-- end source -->\nafter\n")
    assert rendered(new) == new


def test_decorators_are_printed() -> None:
    assert source("tests.arch.sources.Module").startswith("@dataclass(frozen=True)\nclass Module:")


@pytest.mark.parametrize("name", ["docs.build.no_such_function", "docs.build.ROOT"])
def test_a_name_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(LookupError, match=r"docs\.build has no function"):
        source(name)
