"""A log's store is made once; one that is missing afterwards is no new log, and nothing of it is given up unsaid."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from ledger import Log, SigningKey, SqliteStore, StoreError
from secure_bfl.founding import open_store
from secure_bfl.layout import PrivateFolder
from secure_bfl.roster import OPERATOR
from secure_bfl.workspace import Workspace
from tests.fuzz.federation_targets import plan

from .commands import call

KEY = SigningKey.from_seed(bytes(32))


def opened(path: Path, published: Path) -> Log:
    store = open_store(path.parent, published, lambda create: SqliteStore(path, create=create))
    return Log(store, "log.example", KEY)


def test_a_log_is_founded_once(tmp_path: Path) -> None:
    path, published = tmp_path / "log" / "log.sqlite", tmp_path / "public"
    path.parent.mkdir()
    log = opened(path, published)
    log.append(b"genesis")
    log.close()
    away = path.rename(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="holds no log"):
        opened(path, published)
    assert not path.exists()
    away.rename(path)
    log = opened(path, published)
    assert log.entries() == [b"genesis"]
    log.close()


def test_a_published_log_was_founded(tmp_path: Path) -> None:
    path, published = tmp_path / "log.sqlite", tmp_path / "public"
    published.mkdir()
    (published / "checkpoint").touch()
    with pytest.raises(StoreError, match="holds no log"):
        opened(path, published)
    (published / "checkpoint").unlink()
    opened(path, published).close()


def test_a_store_is_closed_if_its_founding_cannot_be_kept(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    (tmp_path / "file").touch()
    for _ in range(2):
        with pytest.raises(StoreError, match="file"):
            open_store(tmp_path / "file" / "folder", tmp_path, lambda create: SqliteStore(path, create=create))
    opened(path, tmp_path).close()  # the lock was let go


def test_a_run_that_lost_its_log_begins_no_second_one(tmp_path: Path) -> None:
    def begin() -> None:
        workspace = Workspace.claim(tmp_path / "run", plan())
        try:
            workspace.board(workspace.operator())
        finally:
            workspace.close()

    begin()
    begin()
    log = PrivateFolder(tmp_path / "run" / "private" / OPERATOR).log
    log.unlink()
    with pytest.raises(StoreError, match="holds no log"):
        begin()
    assert not log.exists()


def test_run_refuses_to_begin_the_log_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECURE_BFL_PASSPHRASE", "correct horse")
    vkey = call("ledger", "keygen", tmp_path / "log", "--name", "log.example").out.strip()
    (tmp_path / "senders").write_text(f"alice {KEY.public.hex()}\n", encoding="utf-8")
    witness = call("ledger", "keygen", tmp_path / "w", "--name", "w", "--kind", "witness").out.strip()
    (tmp_path / "policy").write_text(f"log {vkey}\nwitness w {witness}\nquorum w\n", encoding="utf-8")
    (tmp_path / "log" / "founded").touch()
    answer = call("ledger", "run", tmp_path / "log", "--senders", tmp_path / "senders", "--policy", tmp_path / "policy")
    assert answer.code == 8
    assert "log.sqlite holds no log: mount its disk" in answer.err
    assert not (tmp_path / "log" / "log.sqlite").exists()


def test_entries_are_given_up_only_if_it_is_said_what_was_cosigned(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    log = Log(SqliteStore(path, create=True), "log.example", KEY)
    log.append_all([b"%d" % i for i in range(300)])
    log.close()
    with closing(sqlite3.connect(path)) as sql:
        sql.executemany("INSERT INTO entries VALUES (?, x'00')", [(400,), (2**62,)])
        sql.commit()
    repair = ("ledger", "fsck", path, "--vkey", log.verifier.to_vkey(), "--repair")
    refused = call(*repair)
    assert refused.code == 5
    assert f"perhaps acknowledged, 300 to {2**62} would be given up" in refused.err
    unsaid = call(*repair, "--give-up")
    assert unsaid.code == 2
    assert "say the largest size that a witness has cosigned" in unsaid.err
    done = call(*repair, "--give-up", "--cosigned", "300")
    assert done.code == 0
    assert f"gave up entries 300 to {2**62}\n" in done.out
