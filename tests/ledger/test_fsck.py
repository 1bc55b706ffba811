"""fsck finds every change of a store and of the published folder, says where, and touches nothing."""

import hashlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger import (
    Certificate,
    MemoryStore,
    Policy,
    SqliteStore,
    StateError,
    Tree,
    leaf_hash,
    sign_checkpoint,
)
from ledger.checkpoint import Checkpoint
from ledger.fsck import Finding, Level, fsck
from ledger.note import ED25519, VerifierKey
from ledger.survey import survey
from ledger.tile import encode_bundle, tiles_of
from tests.ledger.federation import ORIGIN, Federation, key_of
from tests.ledger.stores import SqliteContract, entries_of, new_log, put

LOG_KEY = VerifierKey(ORIGIN, ED25519, key_of("sequencer").public)
SPOIL = SqliteContract()
Change = Callable[[Path], None]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


def made(path: Path, *, certified: int = 600, size: int = 900) -> Federation:
    """A log of 900 entries, certified at 600, closed."""
    federation = Federation(SqliteStore(path, create=True))
    if certified:
        federation.grow(certified)
    federation.log.append_all(entries_of(certified, size))
    federation.log.close()
    return federation


def checked(path: Path, *, policy: Policy | None = None, directory: Path | None = None) -> list[tuple[Level, str]]:
    """Levels and places of what fsck finds; the files are as before."""
    files = [file for file in path.parent.rglob("*") if file.is_file() and not file.name.endswith("-shm")]
    before = {file: hashlib.sha256(file.read_bytes()).digest() for file in files}
    with closing(SqliteStore(path, readonly=True)) as store:
        found = fsck(store, LOG_KEY, policy=policy, directory=directory)
    assert {file: hashlib.sha256(file.read_bytes()).digest() for file in files} == before
    assert all(isinstance(item, Finding) and item.what for item in found)
    return [(item.level, item.where) for item in found]


def entry(index: int, data: bytes | None = b"other") -> Change:
    return lambda path: SPOIL.spoil_entry(path, index, data)


def tile(level: int, index: int, data: bytes | None = bytes(8192)) -> Change:
    return lambda path: SPOIL.spoil_tile(path, level, index, data)


def head(statement: str, *arguments: object) -> Change:
    return lambda path: SPOIL.run(path, f"UPDATE head SET {statement}", *arguments)  # noqa: S608


C, U, D = Level.CERTIFIED, Level.UNCERTIFIED, Level.DERIVED


def test_a_whole_log_has_no_findings(path: Path) -> None:
    for certified, size in ((0, 0), (0, 1), (0, 300), (256, 256), (256, 512), (300, 300), (600, 900)):
        federation = made(path, certified=certified, size=size)
        assert checked(path, policy=federation.policy) == checked(path) == []
        path.unlink()
    store = MemoryStore()
    put(store, entries_of(0, 700))
    assert fsck(store, LOG_KEY) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([entry(7)], [(C, "entry 7")]),
        ([entry(7, None)], [(C, "entry 7")]),
        ([entry(599)], [(C, "entry 599")]),
        ([entry(600)], [(U, "entry 600")]),
        ([entry(599), entry(600)], [(C, "entry 599"), (U, "entry 600")]),
        ([entry(3), entry(4), entry(5), entry(9)], [(C, "entries 3 to 5"), (C, "entry 9")]),
        ([entry(3, None), entry(300)], [(C, "entry 3"), (C, "entry 300")]),
        ([tile(0, 0)], [(D, "tile/0/000")]),
        ([tile(0, 1, None)], [(D, "tile/0/001")]),
        ([tile(0, 2, b"short")], [(D, "tile/0/002")]),
        ([tile(0, 0), tile(0, 1, None), tile(0, 2)], [(D, "tile/0/000"), (D, "tile/0/001"), (D, "tile/0/002")]),
        ([tile(0, 0), entry(300)], [(C, "entry 300"), (D, "tile/0/000")]),
        ([tile(0, 1), entry(3), entry(700)], [(C, "entry 3"), (U, "entry 700"), (D, "tile/0/001")]),
        # An entry and its own tile: the root certified is reached by neither.
        ([tile(0, 0), entry(7)], [(C, "entries"), (C, "entries 0 to 255")]),
        ([tile(0, 0, None), entry(7)], [(C, "entries")]),
        # Beyond the last full tile nothing but the head's root tells which entry it is.
        ([entry(800)], [(U, "head")]),
        ([entry(899, None)], [(U, "entry 899"), (U, "head")]),
        ([entry(800), tile(0, 0)], [(U, "head"), (D, "tile/0/000")]),
        ([entry(800), entry(7)], [(U, "head"), (C, "entry 7")]),
        ([head("root = ?", bytes(32))], [(U, "head")]),
        ([head("size = 901")], [(U, "entry 900"), (U, "head")]),
        ([head("size = ?", 2**62)], [(U, "entries 900 to 1023"), (U, f"entries 1024 to {2**62 - 1}"), (U, "head")]),
        (
            [lambda path: SPOIL.run(path, "DELETE FROM entries WHERE i >= 200 AND i < 700")],
            [(C, "entries 200 to 255"), (C, "entries 256 to 599"), (U, "entries 600 to 899"), (C, "entries")],
        ),
        ([head("size = 899")], [(U, "entry 899"), (U, "head")]),
        ([head("size = 599")], None),
        ([head("size = 'ten'")], [(C, "database")]),
        ([head("root = x'00'")], [(C, "database")]),
        ([head("checkpoint = x'00'")], [(C, "certificate")]),
        ([entry(900)], [(U, "entry 900")]),
        ([entry(2000)], [(U, "entry 2000")]),
        ([tile(0, 3)], [(U, "tile 3 of level 0")]),
    ],
)
def test_each_change_is_found_where_it_is(
    path: Path, changes: list[Change], expected: list[tuple[Level, str]] | None
) -> None:
    made(path)
    for change in changes:
        change(path)
    found = checked(path)
    if expected is None:
        assert (C, "head") in found
    else:
        assert sorted(found, key=str) == sorted(expected, key=str)
    if any(level is not D for level, _ in found):
        with closing(SqliteStore(path, readonly=True)) as store:
            assert survey(store, LOG_KEY).whole <= 900


def test_a_large_log(path: Path) -> None:
    made(path, certified=65_536, size=66_400)
    assert checked(path) == []
    for change, expected in (
        (tile(1, 0), [(D, "tile/1/000")]),
        (tile(0, 200), [(D, "tile/0/200"), (D, "tile/1/000")]),
        (entry(65_000), [(C, "entry 65000"), (D, "tile/0/200"), (D, "tile/1/000")]),
        (entry(66_000), [(C, "entry 65000"), (U, "entry 66000"), (D, "tile/0/200"), (D, "tile/1/000")]),
    ):
        change(path)
        assert sorted(checked(path), key=str) == sorted(expected, key=str)


@pytest.fixture(scope="module")
def whole_file(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "log.db"
    made(path)
    return path.read_bytes()


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 899), st.booleans()), min_size=1, max_size=4))
def test_what_is_whole_is_never_more_than_what_was_left_alone(
    tmp_path: Path, whole_file: bytes, changes: list[tuple[bool, int, bool]]
) -> None:
    path = tmp_path / "log.db"
    for left in tmp_path.iterdir():
        left.unlink()
    path.write_bytes(whole_file)
    for on_tile, index, delete in changes:
        (tile(0, index // 300, None if delete else b"x" * 8192) if on_tile else entry(index, None if delete else b"x"))(
            path
        )
    first = min((index for on_tile, index, _ in changes if not on_tile), default=900)
    with closing(SqliteStore(path, readonly=True)) as store:
        found = survey(store, LOG_KEY)
        assert found.whole <= first
        assert found.findings
        if first == 900:
            assert found.whole == 900
            assert {item.level for item in found.findings} == {D}
            assert found.tiles.keys() == {(0, index // 300) for _, index, _ in changes}
        assert (first < 600) == any(item.level is C for item in found.findings)


def test_history_rewritten_with_its_head_contradicts_the_certificate(path: Path) -> None:
    made(path, certified=200, size=240)
    entries = [*entries_of(0, 100), b"rewritten", *entries_of(101, 240)]
    root = Tree([leaf_hash(data) for data in entries]).root()
    entry(100, b"rewritten")(path)
    head("root = ?", root)(path)
    assert checked(path) == [(C, "certificate")]


def test_a_certificate_without_a_quorum_is_found_with_the_policy_only(path: Path) -> None:
    federation = made(path)
    head("checkpoint = ?", federation.log.certified().split(b"member-5")[0].rsplit(b"\n", 1)[0] + b"\n")(path)  # type: ignore[union-attr]
    assert checked(path, policy=federation.policy) == []
    head("checkpoint = ?", federation.log.certified().split(b"member-2")[0].rsplit(b"\n", 1)[0] + b"\n")(path)  # type: ignore[union-attr]
    assert checked(path) == []
    assert checked(path, policy=federation.policy) == [(C, "certificate")]


def test_the_policy_is_of_this_log(path: Path) -> None:
    federation = made(path)
    other = VerifierKey("example.com/other", ED25519, key_of("other").public)
    with closing(SqliteStore(path, readonly=True)) as store:
        with pytest.raises(ValueError, match=r"the log is example\.com/other"):
            fsck(store, other, policy=federation.policy)
        assert [item.where for item in fsck(store, other)] == ["certificate"]
    with pytest.raises(StateError, match="closed"):
        fsck(store, LOG_KEY)


def test_a_damaged_page_is_found_by_sqlite(path: Path) -> None:
    made(path)
    data = path.read_bytes()
    page = data.index(b"entry 500") // 4096 * 4096
    path.write_bytes(data[:page] + bytes([data[page] ^ 0x0F]) + data[page + 1 :])
    found = checked(path)
    assert (C, "database") in found


# --- the published folder ---------------------------------------------------------------------------------------------


def published(federation: Federation, certificate: Certificate, folder: Path) -> Path:
    """The files of C2SP tlog-tiles, written plainly."""
    files = {"checkpoint": certificate.note}
    with closing(new_log(SqliteStore(folder.parent / "log.db", create=True))) as log:
        for each in tiles_of(certificate.checkpoint.size):
            files[each.path()] = log.tile(each)
            if each.level == 0:
                files[each.bundle_path()] = encode_bundle(log.entries(each.start, each.start + each.width))
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture
def folder(path: Path) -> Path:
    federation = made(path)
    return published(federation, federation.policy.verify(federation.log.certified() or b""), path.parent / "ledger")


def test_a_published_checkpoint_without_its_cosignatures_is_found_with_the_policy(path: Path, folder: Path) -> None:
    policy = Federation(MemoryStore()).policy
    assert checked(path, policy=policy, directory=folder) == []
    note = (folder / "checkpoint").read_bytes()
    text, _, signatures = note.partition(b"\n\n")
    (folder / "checkpoint").write_bytes(text + b"\n\n" + signatures.splitlines(keepends=True)[0])
    assert checked(path, directory=folder) == []
    assert checked(path, policy=policy, directory=folder) == [(D, str(folder / "checkpoint"))]
    (folder / "tile/0/000").unlink()  # the rest is compared all the same
    assert (D, str(folder / "tile/0/000")) in checked(path, policy=policy, directory=folder)


def test_a_published_folder_is_compared_with_the_store(path: Path, folder: Path) -> None:
    assert checked(path, directory=folder) == []
    names = ["tile/0/000", "tile/0/002.p/88", "tile/1/000.p/2", "tile/entries/001", "tile/entries/002.p/88"]
    for name in names:
        whole = (folder / name).read_bytes()
        for data in (whole[:-1], whole[:-1] + bytes([whole[-1] ^ 1]), whole + b"\x00", b""):
            (folder / name).write_bytes(data)
            assert checked(path, directory=folder) == [(D, str(folder / name))]
        (folder / name).unlink()
        assert checked(path, directory=folder) == [(D, str(folder / name))]
        (folder / name).mkdir()
        assert checked(path, directory=folder) == [(D, str(folder / name))]
        (folder / name).rmdir()
        (folder / name).write_bytes(whole)
    for data in (b"garbage", bytes(70_000)):
        (folder / "checkpoint").write_bytes(data)
        assert checked(path, directory=folder) == [(D, str(folder / "checkpoint"))]
    (folder / "checkpoint").unlink()
    assert checked(path, directory=folder) == [(D, str(folder / "checkpoint"))]


def test_a_published_checkpoint_shows_that_the_store_was_rolled_back(path: Path, folder: Path) -> None:
    path.unlink()
    made(path, certified=0, size=300)
    assert checked(path, directory=folder) == [(C, "head")]


def test_a_published_checkpoint_shows_another_history(path: Path, folder: Path) -> None:
    other = sign_checkpoint(Checkpoint(ORIGIN, 600, bytes(32)), key_of("sequencer"))
    (folder / "checkpoint").write_bytes(other)
    assert checked(path, directory=folder) == [(C, str(folder / "checkpoint"))]


def test_files_are_not_compared_with_entries_that_cannot_be_relied_on(path: Path, folder: Path) -> None:
    entry(7)(path)
    assert checked(path, directory=folder) == [(C, "entry 7")]
    tile(0, 0)(path)
    found = checked(path, directory=folder)
    assert (C, "entries") in found
    assert not [where for _, where in found if "ledger" in where]
