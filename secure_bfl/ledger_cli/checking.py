"""`secure-bfl ledger fsck`: checking a log's store, and mending it if asked."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from ledger import SqliteStore, SqliteWitnessStore, Store, VerifierKey
from ledger.fsck import fsck
from ledger.repair import repair

from ..errors import OutputError
from ..exitcodes import ExitCode
from ..layout import PrivateFolder, PublicFolder
from ..log_keys import public_key
from ..replay import Replay
from ..roster import OPERATOR
from .reading import print_result

__all__ = ["fsck_log"]

_POSTGRES = ("postgresql://", "postgres://")


@dataclass(frozen=True, slots=True)
class _Target:
    """What is checked: a database, or a file; where it is published; the largest size that a witness cosigned."""

    place: str
    published: Path | None
    cosigned: int | None

    @property
    def is_file(self) -> bool:
        return not self.place.startswith(_POSTGRES)

    @contextmanager
    def opened(self) -> Iterator[Store]:
        store: Store
        if self.is_file:
            store = SqliteStore(Path(self.place), readonly=True)
        else:
            from ledger.postgres import PostgresStore

            store = PostgresStore(self.place, readonly=True)
        try:
            yield store
        finally:
            store.close()


def fsck_log(options: argparse.Namespace) -> ExitCode:
    """Check a log's store, and mend it if asked."""
    if options.give_up and not options.repair:
        raise ValueError("--give-up belongs to --repair")
    target = _target(options)
    key = options.vkey or _log_key(target)
    done = _repaired(target, key, give_up=options.give_up) if options.repair else []
    with target.opened() as store:
        findings = fsck(store, key, directory=target.published)
        size = store.head().size
    listed = [{"level": f.level.value, "where": f.where, "what": f.what} for f in findings]
    lines = [*done, *(f"{f.level.value:<12} {f.where}: {f.what}" for f in findings)]
    print_result(
        options,
        {"ok": not findings, "size": size, "findings": listed, "done": done},
        [*lines, f"{size} entries, {len(findings)} findings" if findings else f"{size} entries, all is well"],
    )
    return ExitCode.FINDINGS if findings else ExitCode.OK


def _repaired(target: _Target, key: VerifierKey, *, give_up: bool) -> list[str]:
    if not target.is_file:
        raise ValueError("a PostgreSQL log is not repaired but restored from its standby")
    result = repair(Path(target.place), key, give_up=give_up, cosigned=target.cosigned)
    done = [f"made tile {index} of level {level} again" for level, index in result.tiles]
    if result.given_up:
        done.append(f"gave up entries {result.given_up.start} to {result.given_up.stop - 1}")
    return [*done, f"what was changed is kept in {result.copy}"] if result.copy is not None else done


def _target(options: argparse.Namespace) -> _Target:
    target = _Target(options.store, options.published, options.cosigned)
    folder = Path(options.store)
    if target.is_file and folder.is_dir():
        target = _of_run(folder, target)
    if target.is_file and not Path(target.place).is_file():
        raise OutputError(f"{target.place} is missing: give the log's SQLite file, a DSN, or the folder of a run")
    return target


def _of_run(folder: Path, given: _Target) -> _Target:
    """The log in the folder of a run, or in that of `ledger run`."""
    private = folder / "private"
    if not private.is_dir():
        place, public = folder / "log.sqlite", folder / "public"
    else:
        place, public = PrivateFolder(private / OPERATOR).log, PublicFolder.of(folder).ledger
        for state in sorted(private.glob("*/witness.sqlite")):
            given = replace(given, cosigned=max(given.cosigned or 0, _cosigned(state)))
    return replace(given, place=str(place), published=given.published or (public if public.is_dir() else None))


def _cosigned(path: Path) -> int:
    store = SqliteWitnessStore(path, readonly=True)
    try:
        state = store.load()
    finally:
        store.close()
    return 0 if state is None else state.size


def _log_key(target: _Target) -> VerifierKey:
    """The log's key, from the file beside its store, or else from the federation's genesis entry."""
    beside = Path(target.place).parent
    if target.is_file and (beside / "vkey").is_file():
        return public_key(beside)
    replay = Replay()
    with target.opened() as store:
        for entry in store.entries(0, 1):
            replay.apply(entry)
    if replay.roster is None:
        raise ValueError("the log does not begin with a genesis entry: say whose it is with --vkey")
    return replay.roster.log_key
