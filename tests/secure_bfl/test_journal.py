"""Claims: once made, for ever, in memory and on disk alike."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger import StoreError
from secure_bfl.errors import StateError
from secure_bfl.journal import Journal, MemoryJournal, SqliteJournal


@pytest.fixture(params=["memory", "sqlite"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Journal]:
    if request.param == "memory":
        yield MemoryJournal()
        return
    kept = SqliteJournal(tmp_path / "journal.sqlite")
    yield kept
    kept.close()


def test_a_claim_holds(journal: Journal) -> None:
    assert journal.get("update/1") is None
    journal.claim("update/1", b"one")
    journal.claim("update/1", b"one")
    assert journal.get("update/1") == b"one"
    assert journal.count("update/") == 1


def test_another_value_is_refused_and_changes_nothing(journal: Journal) -> None:
    journal.claim("update/1", b"one")
    for other in (b"two", b"", b"one\x00"):
        with pytest.raises(StateError, match="update/1 was claimed before with another value"):
            journal.claim("update/1", other)
    assert journal.get("update/1") == b"one"
    journal.claim("update/2", b"two")
    assert journal.count("update/") == 2


def test_prefixes_are_literal(journal: Journal) -> None:
    for name in ("a/1", "a/2", "a_/1", "A/1", "%", "b"):
        journal.claim(name, b"x")
    assert [journal.count(p) for p in ("a/", "a_", "a%", "%", "", "c", "A")] == [2, 1, 0, 1, 6, 0, 1]


def test_claims_survive_the_process(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    first = SqliteJournal(path)
    first.claim("aggregate/1", b"digest")
    first.close()
    second = SqliteJournal(path)
    assert second.get("aggregate/1") == b"digest"
    with pytest.raises(StateError):
        second.claim("aggregate/1", b"other")
    second.close()


def test_two_connections_see_one_claim(tmp_path: Path) -> None:
    one, two = SqliteJournal(tmp_path / "j"), SqliteJournal(tmp_path / "j")
    one.claim("name", b"first")
    with pytest.raises(StateError):
        two.claim("name", b"second")
    assert two.get("name") == b"first"
    one.close()
    two.close()


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(StoreError, match="damaged"):
        SqliteJournal(path)
