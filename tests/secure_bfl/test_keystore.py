"""The keystore: durable, encrypted, never replaced by another."""

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ledger import StoreError, cbor
from ledger.locking import WriterLock
from secure_bfl import keystore
from secure_bfl.errors import KeystoreError
from secure_bfl.keystore import Keystore

SECRETS = {"signing": bytes(range(32)), "note": bytes(range(32, 64))}
PASSPHRASE = "correct horse battery staple"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cheap key derivation, where its cost is not the point."""
    monkeypatch.setitem(keystore._SCRYPT, "n", 16)


def test_what_is_put_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "party" / "keystore"
    store = Keystore.create(path, PASSPHRASE, SECRETS)
    store.put("deal", b"late")
    store.put("deal", b"late")
    for kept in (store, Keystore.open(path, PASSPHRASE)):
        assert {name: kept.get(name) for name in ("signing", "note", "deal", "other")} == {
            **SECRETS,
            "deal": b"late",
            "other": None,
        }


def test_the_parameters_are_those_documented() -> None:
    assert keystore._SCRYPT == {"n": 2**15, "r": 8, "p": 1}


@pytest.mark.usefixtures("quick")
def test_nothing_secret_is_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "keystore"
    store = Keystore.create(path, PASSPHRASE, SECRETS)
    store.put("deal", b"a seed to deal pieces from......")
    data = path.read_bytes()
    assert data.startswith(b"secure-bfl/keystore/v1\n")
    for secret in (*SECRETS.values(), b"a seed to deal", PASSPHRASE.encode(), *(n.encode() for n in SECRETS)):
        assert secret not in data
        assert secret[:8] not in data
    assert path.stat().st_mode & 0o777 == 0o600
    assert sorted(p.name for p in tmp_path.iterdir()) == ["keystore", "keystore.lock"], "no temporary file stays"


@pytest.mark.usefixtures("quick")
def test_every_writing_uses_a_fresh_nonce(tmp_path: Path) -> None:
    path = tmp_path / "keystore"
    store = Keystore.create(path, PASSPHRASE, SECRETS)
    head, nonces = len(b"secure-bfl/keystore/v1\n") + 16, []
    for number in range(5):
        nonces.append(path.read_bytes()[head : head + 12])
        store.put(f"deal/{number}", b"x")
    assert len(set(nonces)) == 5
    other = Keystore.create(tmp_path / "other", PASSPHRASE, SECRETS)
    assert other.get("note") == SECRETS["note"]
    assert (tmp_path / "other").read_bytes()[23:39] != path.read_bytes()[23:39], "every keystore has its own salt"


@pytest.mark.usefixtures("quick")
def test_a_wrong_passphrase_and_a_damaged_file_say_the_same(tmp_path: Path) -> None:
    path = tmp_path / "keystore"
    Keystore.create(path, PASSPHRASE, SECRETS)
    data = path.read_bytes()

    def message(passphrase: str) -> str:
        with pytest.raises(KeystoreError) as caught:
            Keystore.open(path, passphrase)
        return str(caught.value)

    said = {message("wrong"), message(""), message(PASSPHRASE + " ")}
    for at in range(len(b"secure-bfl/keystore/v1\n"), len(data)):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        said.add(message(PASSPHRASE))
    path.write_bytes(data + b"\x00")
    said.add(message(PASSPHRASE))
    path.write_bytes(data[:-1])
    said.add(message(PASSPHRASE))
    assert said == {f"{path}: the passphrase is wrong or the file is damaged"}


@pytest.mark.usefixtures("quick")
def test_what_is_no_keystore(tmp_path: Path) -> None:
    path = tmp_path / "keystore"
    with pytest.raises(KeystoreError, match="is missing"):
        Keystore.open(path, PASSPHRASE)
    Keystore.create(path, PASSPHRASE, SECRETS)
    data = path.read_bytes()
    for wrong in (b"", data[:50], b"secure-bfl/keystore/v2\n" + data[23:], b"X" + data[1:]):
        path.write_bytes(wrong)
        with pytest.raises(KeystoreError, match="is not a keystore of this version"):
            Keystore.open(path, PASSPHRASE)
    path.write_bytes(data[:23] + bytes(100_000))
    with pytest.raises(StoreError, match="100023 bytes, more than"):
        Keystore.open(path, PASSPHRASE)


@pytest.mark.usefixtures("quick")
def test_a_keystore_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "keystore"
    store = Keystore.create(path, PASSPHRASE, SECRETS)
    before = path.read_bytes()
    with pytest.raises(KeystoreError, match="never overwritten"):
        Keystore.create(path, "another", {})
    with pytest.raises(KeystoreError, match="'note' is already kept with another value"):
        store.put("note", b"another")
    assert path.read_bytes() == before
    with pytest.raises(KeystoreError, match="the passphrase is empty"):
        Keystore.create(tmp_path / "other", "", SECRETS)
    assert not (tmp_path / "other").exists()


@pytest.mark.usefixtures("quick")
def test_a_race_to_create_has_one_winner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, derive = tmp_path / "keystore", keystore._derive

    def slow(passphrase: str, salt: bytes) -> bytes:
        monkeypatch.setattr(keystore, "_derive", derive)
        Keystore.create(path, "the other process", {"signing": b"theirs"})
        return derive(passphrase, salt)

    monkeypatch.setattr(keystore, "_derive", slow)
    with pytest.raises(KeystoreError, match="never overwritten"):
        Keystore.create(path, PASSPHRASE, SECRETS)
    assert Keystore.open(path, "the other process").get("signing") == b"theirs"


@pytest.mark.usefixtures("quick")
def test_what_could_not_be_written_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "keystore"
    store = Keystore.create(path, PASSPHRASE, SECRETS)
    before = path.read_bytes()

    def full(*_: Any, **__: Any) -> None:
        raise StoreError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(keystore, "write_durably", full)
        for _ in range(2):
            with pytest.raises(StoreError, match="full"):
                store.put("deal", b"seed")
    assert store.get("deal") is None
    assert path.read_bytes() == before
    with pytest.raises(KeystoreError, match="more than 65535 bytes of secrets"):
        store.put("large", bytes(70_000))
    assert store.get("large") is None
    store.put("deal", b"seed")
    assert Keystore.open(path, PASSPHRASE).get("deal") == b"seed"


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("plain", [b"\x00", b"\x81\x00", b"\x81\x82\x00\x41x", b"\x81\x83\x61a\x41x\x00", b"", b"\xa0"])
def test_a_rightly_encrypted_file_with_something_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plain: bytes
) -> None:
    path = tmp_path / "keystore"
    with monkeypatch.context() as patch:
        patch.setattr(cbor, "encode", lambda _: plain)
        Keystore.create(path, PASSPHRASE, SECRETS)
    with pytest.raises(KeystoreError, match="damaged"):
        Keystore.open(path, PASSPHRASE)


@pytest.mark.usefixtures("quick")
def test_secret_hygiene(tmp_path: Path) -> None:
    store = Keystore.create(tmp_path / "keystore", PASSPHRASE, SECRETS)
    assert repr(store) == f"Keystore({tmp_path / 'keystore'}, <secret>)"
    for action in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="cannot be pickled or copied"):
            action(store)
    assert not hasattr(store, "__dict__")


@pytest.mark.usefixtures("quick")
def test_discarded_secrets_are_not_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "keystore"
    store = Keystore.create(path, PASSPHRASE, {**SECRETS, "sealing": bytes(32)})
    store.discard("sealing", "note", "not there")
    for kept in (store, Keystore.open(path, PASSPHRASE)):
        assert (kept.get("sealing"), kept.get("note"), kept.get("signing")) == (None, None, SECRETS["signing"])
    before = path.read_bytes()
    store.discard("sealing")
    assert path.read_bytes() == before, "nothing is written again"


@pytest.mark.usefixtures("quick")
def test_a_discard_that_cannot_be_written_forgets_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Keystore.create(tmp_path / "keystore", PASSPHRASE, SECRETS)

    def full(*_: Any, **__: Any) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(keystore, "write_durably", full)
    with pytest.raises(StoreError, match="the disk is full"):
        store.discard("note")
    assert store.get("note") == SECRETS["note"]


# Several processes with one file.


def two(tmp_path: Path) -> tuple[Path, Keystore, Keystore]:
    """A process that runs, and another that opened the file as well."""
    path = tmp_path / "keystore"
    Keystore.create(path, PASSPHRASE, {**SECRETS, "sealing": bytes(32)})
    return path, Keystore.open(path, PASSPHRASE), Keystore.open(path, PASSPHRASE)


@pytest.mark.usefixtures("quick")
def test_what_another_process_wrote_is_seen_and_stays(tmp_path: Path) -> None:
    """A person rotates a key while the member runs; the member keeps something; neither undoes the other."""
    path, running, person = two(tmp_path)
    person.put("signing/1", b"new")
    assert running.get("signing/1") == b"new"
    assert "signing/1" in running.names()
    running.put("dealing", b"dealt")
    for kept in (running, person, Keystore.open(path, PASSPHRASE)):
        assert (kept.get("signing/1"), kept.get("dealing")) == (b"new", b"dealt")


@pytest.mark.usefixtures("quick")
def test_what_another_process_erased_stays_erased(tmp_path: Path) -> None:
    path, running, person = two(tmp_path)
    person.discard("sealing")
    running.put("signing/1", b"new")
    for kept in (running, person, Keystore.open(path, PASSPHRASE)):
        assert (kept.get("sealing"), kept.get("signing/1")) == (None, b"new")


@pytest.mark.usefixtures("quick")
def test_two_processes_do_not_keep_two_secrets_of_one_name(tmp_path: Path) -> None:
    path, running, person = two(tmp_path)
    person.put("signing/1", b"one")
    with pytest.raises(KeystoreError, match="'signing/1' is already kept with another value"):
        running.put("signing/1", b"two")
    assert Keystore.open(path, PASSPHRASE).get("signing/1") == b"one"


@pytest.mark.usefixtures("quick")
def test_a_write_waits_for_no_other_writer(tmp_path: Path) -> None:
    path, running, _ = two(tmp_path)
    before = path.read_bytes()
    lock = WriterLock(path.with_name("keystore.lock"))
    changes: list[Callable[[], None]] = [lambda: running.put("deal", b"seed"), lambda: running.discard("sealing")]
    for change in changes:
        with pytest.raises(StoreError, match=r"was not changed: .*another process writes here.*or do the same again"):
            change()
    assert path.read_bytes() == before
    assert running.get("deal") is None
    lock.release()
    running.put("deal", b"seed")
    assert Keystore.open(path, PASSPHRASE).get("deal") == b"seed"


@pytest.mark.usefixtures("quick")
def test_a_write_is_judged_by_the_file_as_it_is_under_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process writes between the first look and the lock."""
    path, running, person = two(tmp_path)

    def overtaken(at: Path) -> WriterLock:
        monkeypatch.setattr(keystore, "WriterLock", WriterLock)
        person.put("signing/1", b"one")
        person.discard("sealing")
        return WriterLock(at)

    monkeypatch.setattr(keystore, "WriterLock", overtaken)
    running.put("deal", b"seed")
    kept = Keystore.open(path, PASSPHRASE)
    assert {name: kept.get(name) for name in kept.names()} == {**SECRETS, "signing/1": b"one", "deal": b"seed"}


@pytest.mark.usefixtures("quick")
def test_a_file_that_is_gone_or_another_is_not_written_over(tmp_path: Path) -> None:
    path, running, person = two(tmp_path)
    path.rename(tmp_path / "elsewhere")
    for use in (lambda: running.put("deal", b"seed"), lambda: running.get("signing"), running.names):
        with pytest.raises(KeystoreError, match="cannot be read any more: No such file or directory; bring it back"):
            use()
    assert not path.exists()
    Keystore.create(path, "another passphrase", SECRETS)
    before = path.read_bytes()
    for use in (lambda: running.put("deal", b"seed"), lambda: person.discard("note"), lambda: person.get("note")):
        with pytest.raises(KeystoreError, match="was replaced by another keystore while it was open; open it again"):
            use()
    assert path.read_bytes() == before
