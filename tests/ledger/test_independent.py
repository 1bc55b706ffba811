"""Logs written here, verified by `independent.py`, which shares no code with the package; and tampered ones refused."""

import ast
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ledger import (
    DecodeError,
    SignatureError,
    Value,
    decode,
    leaf_hash,
    publish,
    sign_checkpoint,
    sign_entry,
    verify_strict,
)
from ledger.checkpoint import Checkpoint
from ledger.entry import sign_bundle
from ledger.note import Note, parse_note
from ledger.tile import encode_bundle
from tests.kat.vectors import folder, load
from tests.ledger.federation import CONTEXT, ORIGIN, Federation, key_of, signed
from tests.ledger.independent import RefusedError, cbor, uncbor, verify_ed25519
from tests.ledger.test_foreign import FACTS, LOG

PROGRAM = Path(__file__).with_name("independent.py")


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", "-S", str(PROGRAM), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def refusal(*arguments: object) -> str:
    done = run(*arguments)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("refused: "), done.stderr
    return done.stderr.removeprefix("refused: ").strip()


class Published:
    """A log of 300 signed entries in a folder, and what the program is given besides."""

    def __init__(self, path: Path) -> None:
        self.federation = Federation()
        contents: list[tuple[int, Value]] = [(7, {1: i, -1: ["é", b"x"]}) for i in range(64)]
        together = sign_bundle(contents, "client-2", key_of("client-2"), context=CONTEXT)
        few = sign_bundle(contents[:5], "client-1", key_of("client-1"), context=CONTEXT)
        self.entries = [*together, *few, *(signed(i) for i in range(30)), *together * 3, *few[:9]]
        self.entries += [signed(0, size=65_000)] * (300 - len(self.entries))
        self.federation.log.append_all(self.entries)
        self.folder, self.policy, self.keys = path / "log", path / "policy", path / "keys"
        publish(self.federation.log, self.federation.certify(), self.folder)
        self.policy.write_bytes(self.federation.policy.to_file())
        names = ("client-1", "client-2")
        self.keys.write_text("".join(f"{name} {key_of(name).public.hex()}\n" for name in names))

    def all(self) -> tuple[object, ...]:
        return self.folder, self.policy, self.keys, CONTEXT.hex()

    def write(self, name: str, data: bytes) -> None:
        (self.folder / name).write_bytes(data)

    def append(self, entry: bytes) -> None:
        """What a sequencer does that takes an entry which it should not take."""
        self.federation.log.append(entry)
        publish(self.federation.log, self.federation.certify(), self.folder)


@pytest.fixture
def log(tmp_path: Path) -> Published:
    return Published(tmp_path)


def test_the_program_has_only_the_standard_library() -> None:
    imported = {
        name.partition(".")[0]
        for item in ast.walk(ast.parse(PROGRAM.read_text()))
        for name in (
            [alias.name for alias in item.names]
            if isinstance(item, ast.Import)
            else [item.module or ""]
            if isinstance(item, ast.ImportFrom)
            else []
        )
    }
    assert imported <= sys.stdlib_module_names


def test_a_log_written_here_verifies_there(log: Published) -> None:
    root = log.federation.log.root(300).hex()
    cosigners = "member-1, member-2, member-3, member-4, member-5"
    done = run(*log.all())
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"verified: 300 entries, root {root}, cosigned by {cosigners}, 33 signatures of entries\n"
    assert run(log.folder, log.policy).stdout == f"verified: 300 entries, root {root}, cosigned by {cosigners}\n"


@pytest.mark.parametrize("size", [0, 1, 256, 513])
def test_logs_of_any_size_verify_there(tmp_path: Path, size: int) -> None:
    federation = Federation()
    publish(federation.log, federation.grow(size), tmp_path / "log")
    (tmp_path / "policy").write_bytes(federation.policy.to_file())
    assert run(tmp_path / "log", tmp_path / "policy").stdout.startswith(f"verified: {size} entries")


def test_a_log_of_others_verifies_there(tmp_path: Path) -> None:
    (tmp_path / "policy").write_text(f"log {FACTS['vkey']}\nquorum none\n")
    assert run(LOG, tmp_path / "policy").stdout.startswith("verified: 600 entries")


@pytest.mark.external
def test_both_decide_the_edge_cases_of_cctv_alike() -> None:
    cases = load(folder("cctv") / "ed25519" / "ed25519vectors.json")
    accepted = 0
    for case in cases:
        public, signature, message = bytes.fromhex(case["key"]), bytes.fromhex(case["sig"]), case["msg"].encode()
        try:
            verify_ed25519(public, signature, message, "it")
            accepted += 1
        except RefusedError:
            with pytest.raises(SignatureError):
                verify_strict(public, signature, message)
        else:
            verify_strict(public, signature, message)
    assert (len(cases), accepted) == (914, 43)


def test_both_count_values_alike() -> None:
    keys: dict[int, Value] = dict.fromkeys(range(4095), 0)
    values: tuple[Value, ...] = ([0] * 8191, [[]] * 8191, keys, [0] * 8192, [[]] * 8192, {1: ["é"] * 8190})
    for value in values:
        data = cbor(value)
        try:
            uncbor(data)
        except RefusedError:
            with pytest.raises(DecodeError, match="more than 8192 values"):
                decode(data)
        else:
            assert decode(data) == value
    with pytest.raises(RefusedError, match="more than 8192 values"):
        uncbor(cbor([0] * 8192))


# --- what is refused --------------------------------------------------------------------------------------------------


def _other_entry(log: Published) -> str:
    log.write("tile/entries/000", encode_bundle([b"forged", *log.entries[1:256]]))
    return "the entries do not have the checkpoint's root"


def _entry_and_hash(log: Published) -> str:
    entries = [b"forged", *log.entries[1:256]]
    log.write("tile/entries/000", encode_bundle(entries))
    log.write("tile/0/000", b"".join(map(leaf_hash, entries)))
    return "the entries do not have the checkpoint's root"


def _removed(log: Published) -> str:
    log.write("tile/entries/001.p/44", encode_bundle(log.entries[256:299]))
    return "entry 299 is missing or cut off"


def _other_tile(log: Published) -> str:
    log.write("tile/0/001.p/44", bytes(44 * 32))
    return "tile 1 of level 0 has other hashes"


def _other_upper_tile(log: Published) -> str:
    log.write("tile/1/000.p/1", bytes(32))
    return "tile 0 of level 1 has other hashes"


def _lost_tile(log: Published) -> str:
    (log.folder / "tile/0/000").unlink()
    return "tile/0/000 of width 256 is missing"


def _large_tile(log: Published) -> str:
    log.write("tile/0/000", bytes(8193))
    return "tile/0/000 is too large"


def _no_checkpoint(log: Published) -> str:
    (log.folder / "checkpoint").unlink()
    return "No such file or directory"


def _too_few(log: Published) -> str:
    note = parse_note((log.folder / "checkpoint").read_bytes())
    log.write("checkpoint", Note(note.text, note.signatures[:4]).encode())
    return "the quorum is not reached: cosigned by member-1, member-2, member-3"


def _unsigned(log: Published) -> str:
    note = parse_note((log.folder / "checkpoint").read_bytes())
    log.write("checkpoint", Note(note.text, note.signatures[1:]).encode())
    return "the checkpoint is not signed by the log"


def _bad_cosignature(log: Published) -> str:
    note = parse_note((log.folder / "checkpoint").read_bytes())
    changed = bytearray(note.signatures[5].signature)
    changed[7] ^= 1  # the time
    last = type(note.signatures[5])(note.signatures[5].name, note.signatures[5].key_id, bytes(changed))
    log.write("checkpoint", Note(note.text, (*note.signatures[:5], last)).encode())
    return "the cosignature of member-5 does not verify"


def _forged_root(log: Published) -> str:
    log.write("checkpoint", sign_checkpoint(Checkpoint(ORIGIN, 300, bytes(32)), key_of("another")))
    return "the checkpoint is not signed by the log"


def _another_federation(log: Published) -> str:
    log.append(sign_entry(1, "client-1", 5, key_of("client-1"), context=bytes(32)))
    return "entry 300: the signature of client-1 does not verify"


def _another_signer(log: Published) -> str:
    log.append(sign_entry(1, "client-1", 5, key_of("client-2"), context=CONTEXT))
    return "entry 300: the signature of client-1 does not verify"


def _unknown_sender(log: Published) -> str:
    log.append(sign_entry(1, "client-3", 5, key_of("client-3"), context=CONTEXT))
    return "entry 300: no key of client-3 is given"


def _other_payload(log: Published) -> str:
    log.append(log.entries[0].replace("é".encode(), "è".encode()))
    return "entry 300: the signature of client-2 does not verify"


def _garbage(log: Published) -> str:
    log.append(b"garbage")
    return "entry 300: CBOR"


CHANGES = (
    _other_entry, _entry_and_hash, _removed, _other_tile, _other_upper_tile, _lost_tile, _large_tile, _no_checkpoint,
    _too_few, _unsigned, _bad_cosignature, _forged_root, _another_federation, _another_signer, _unknown_sender,
    _other_payload, _garbage,
)  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__.strip("_"))
def test_a_tampered_log_is_refused_there(log: Published, change: Callable[[Published], str]) -> None:
    words = change(log)
    assert words in refusal(*log.all())
