"""Where the server programs are missing the tests say so, and fail where they are needed."""

import pytest

from tests.ledger.postgres import conftest


def test_missing_programs_skip_or_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conftest, "find_binaries", lambda: None)
    monkeypatch.setenv("SECURE_BFL_NEEDS", "")
    with pytest.raises(pytest.skip.Exception, match="install Debian's package"):
        conftest.make_cluster()
    monkeypatch.setenv("SECURE_BFL_NEEDS", "another,postgresql")
    with pytest.raises(pytest.fail.Exception, match="install Debian's package"):
        conftest.make_cluster()
