"""What the guide prints is what works: its settings are those of all tests here, and these are its other parts."""

import shlex
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from ledger.errors import StoreError
from ledger.postgres import DEFAULT_SCHEMA, PostgresStore
from tests.ledger.postgres.cluster import GUIDE, Cluster, printed
from tests.ledger.postgres.loader import entry_of
from tests.ledger.postgres.test_store import batch, log_of

Opener = Callable[..., PostgresStore]
SECRET = "correct-horse"


def test_the_role_of_the_guide_can_append_and_nothing_else(opened: Opener, pair: Cluster, schema: str) -> None:
    opened().close()
    granting = printed("grants").replace(DEFAULT_SCHEMA, schema).replace("sequencer", f"{schema}_role")
    primary = pair.servers[0]
    dsn = primary.dsn().replace("user=admin", f"user={schema}_role").replace(pair.password, SECRET)
    statements = [statement for statement in granting.split(";") if statement.strip()]
    statements.append(f"ALTER ROLE {schema}_role PASSWORD '{SECRET}'")
    primary.run(*statements)
    log = log_of(opened(dsn))
    log.append_all(batch(0, 300))
    log.close()
    assert log_of(opened(dsn)).size == 300
    with psycopg.connect(dsn, autocommit=True) as connection:
        for statement in ("DELETE FROM {}.entries", "UPDATE {}.entries SET bytes = 'x'", "TRUNCATE {}.tiles",
                          "DROP TABLE {}.head", "DELETE FROM {}.head", "UPDATE {}.schema_version SET version = 2",
                          "CREATE TABLE {}.more (i integer)"):  # fmt: skip
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement.format(schema).encode())
    primary.run(f"REVOKE pg_read_all_stats FROM {schema}_role")
    with pytest.raises(StoreError, match="GRANT pg_read_all_stats"):
        opened(dsn)
    with pytest.raises(StoreError, match="lacks a permission"):
        PostgresStore(dsn, schema=f"{schema}_other", require_standby=False, create=True)


def test_the_code_of_the_guide_runs(
    pair: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LEDGER_DSN", pair.dsn())
    code = GUIDE.read_text(encoding="utf-8").split("```python\n")
    assert len(code) == 2
    exec(compile(code[1].split("```")[0], GUIDE.name, "exec"), {})  # noqa: S102
    assert capsys.readouterr().out == "0 1\n"


def test_the_monitoring_query_tells_a_lost_standby(opened: Opener, pair: Cluster, schema: str) -> None:
    primary, standby = pair.servers
    log_of(opened()).append_all(batch(0, 5))
    query = printed("monitoring").replace(DEFAULT_SCHEMA, schema)
    assert primary.run(query) == [(1, 0, 0, 5)]
    standby.kill()
    assert [row[0] for row in primary.run(query)] == [0]


def test_a_dump_taken_under_load_is_a_log(opened: Opener, pair: Cluster, schema: str) -> None:
    log = log_of(opened())
    log.append_all(batch(0, 300))
    command = next(line for line in GUIDE.read_text(encoding="utf-8").splitlines() if line.startswith("$ pg_dump"))
    _, program, *options, dsn = shlex.split(command.replace(DEFAULT_SCHEMA, schema))
    assert dsn == "$LEDGER_DSN"
    with ThreadPoolExecutor(1) as aside:
        dumping = aside.submit(pair.run, program, *options, pair.dsn())
        while not dumping.done():
            log.append(entry_of(log.size))
        dumping.result()
    primary = pair.servers[0]
    primary.run(f"CREATE DATABASE {schema}")
    pair.run("psql", "-q", "-v", "ON_ERROR_STOP=1", "-f", str(pair.root / "ledger.sql"), primary.dsn(schema))
    copied = log_of(opened(primary.dsn(schema)))
    assert 300 <= copied.size <= log.size
    assert copied.entries() == batch(0, copied.size)
    assert copied.append(entry_of(copied.size)) == copied.size - 1
