"""A log made by another implementation (see `foreign/README.md`), and copies of it that somebody changed."""

import json
import os
import shutil
import subprocess
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest

from ledger import COSIGNATURE_V1, ConsistencyError, DecodeError, LedgerError, ProofError, SignatureError, parse_note
from ledger.checkpoint import parse_checkpoint
from ledger.cosign import cosign, cosigner
from ledger.foreign import ForeignCheckpoint, parse_foreign_checkpoint, verify_foreign_checkpoint
from ledger.merkle import EMPTY_ROOT, leaf_hash, verify_inclusion
from ledger.mldsa import MlDsaKey
from ledger.note import VerifierKey, parse_vkey, sign_note
from ledger.proof import parse_proof, prove
from ledger.published import published_consistency_proof, published_inclusion_proof
from ledger.source import DirectorySource
from ledger.verify import verify_log
from tests.ledger.federation import key_of
from tests.ledger.publishing import published

LOG = Path(__file__).parent / "foreign" / "log"
FACTS: dict[str, Any] = json.loads((LOG / "facts.json").read_text())
KEY = parse_vkey(FACTS["vkey"])
OTHER_ORIGIN = "a tree - 1193050959916656506"


def _hashes(name: str) -> list[bytes]:
    return [b64decode(item) for item in FACTS[name]]


def _head(name: str = "checkpoint") -> ForeignCheckpoint:
    return verify_foreign_checkpoint((LOG / name).read_bytes(), KEY)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(LOG, tmp_path / "log"))


def test_it_verifies_given_its_key() -> None:
    entries: dict[int, bytes] = {}
    counts: list[tuple[int, int]] = []
    report = verify_log(
        DirectorySource(LOG), KEY, on_entry=entries.__setitem__, progress=lambda done, of: counts.append((done, of))
    )
    assert (report.origin, report.size, report.root) == ("go.example/log", 600, b64decode(FACTS["root"]))
    assert report.signers == ("go.example/log",)
    assert report.since is None
    assert list(entries) == list(range(600))
    assert all(entry == b"record %d\n" % i for i, entry in entries.items() if i != 300)
    assert entries[300] == b""
    assert counts == [(256, 600), (512, 600), (600, 600)]


def test_our_proofs_are_those_that_it_makes() -> None:
    source, head = DirectorySource(LOG), _head()
    proof = published_inclusion_proof(source, head, 300)
    assert list(proof) == _hashes("inclusion of 300")
    verify_inclusion(leaf_hash(b""), 300, 600, proof, head.root)
    assert published_consistency_proof(source, _head("checkpoint.400"), head) == _hashes("consistency of 400")


def test_it_extends_the_checkpoint_seen_before() -> None:
    assert verify_log(DirectorySource(LOG), KEY, old=(LOG / "checkpoint.400").read_bytes()).since == 400


def test_a_rolled_back_copy_is_found(copy: Path) -> None:
    shutil.copy(LOG / "checkpoint.400", copy / "checkpoint")
    assert verify_log(DirectorySource(copy), KEY).size == 400  # from the full tile: the partial one is gone
    with pytest.raises(ConsistencyError, match="had 600 entries and now has 400: it was rolled back"):
        verify_log(DirectorySource(copy), KEY, old=(LOG / "checkpoint").read_bytes())


def test_a_proof_of_an_entry_verifies_offline() -> None:
    proved = prove(DirectorySource(LOG), (LOG / "checkpoint.extended").read_bytes(), 17)
    assert proved.entry == b"record 17\n"
    found = parse_proof(proved.proof.encode()).verify(proved.entry, KEY)
    assert found.extensions == ("timestamp 1700000000", "an extension line")


def test_extension_lines_are_read_and_shown(copy: Path) -> None:
    shutil.copy(LOG / "checkpoint.extended", copy / "checkpoint")
    report = verify_log(DirectorySource(copy), KEY)
    assert report.extensions == ("timestamp 1700000000", "an extension line")
    text = parse_note(report.note).text
    with pytest.raises(DecodeError, match="extension lines are refused"):
        parse_checkpoint(text)  # the federation's own logs have none
    changed = report.note.replace(b"an extension", b"no extension")
    with pytest.raises(SignatureError, match=r"go\.example/log"):
        verify_foreign_checkpoint(changed, KEY)


def test_another_origin_than_the_keys_name_has_to_be_expected(copy: Path) -> None:
    shutil.copy(LOG / "checkpoint.other-origin", copy / "checkpoint")
    assert verify_log(DirectorySource(copy), KEY, origin=OTHER_ORIGIN).origin == OTHER_ORIGIN
    with pytest.raises(DecodeError, match=f"is of '{OTHER_ORIGIN}', not of 'go.example/log'") as caught:
        verify_log(DirectorySource(copy), KEY)
    assert caught.value.culprits == ("go.example/log",)
    with pytest.raises(DecodeError, match="not of 'another'"):
        verify_log(DirectorySource(LOG), KEY, origin="another")


def _flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("name", "at", "words"),
    [
        ("tile/entries/000", 3, "entry 0 was changed: in tile/entries/000"),
        ("tile/entries/000", 0, "tile/entries/000: the bundle ends within its entry 2"),
        ("tile/entries/002.p/88", 7, r"entry 512 was changed: in tile/entries/002\.p/88"),
        ("tile/0/001", 32 * 44, "entry 300 was changed"),
        ("tile/1/000.p/2", 32, r"hash 1 of tile/1/000\.p/2 is not the root of tile/0/001"),
        ("checkpoint", 20, "go.example/log is bad"),
        ("checkpoint", -4, "go.example/log is bad"),
    ],
)
def test_a_changed_copy_is_found(copy: Path, name: str, at: int, words: str) -> None:
    _flip(copy / name, at)
    with pytest.raises(LedgerError, match=words):
        verify_log(DirectorySource(copy), KEY)


@pytest.mark.parametrize("name", ["tile/0/000", "tile/0/002.p/88", "tile/1/000.p/2", "tile/entries/001", "checkpoint"])
def test_a_missing_file_is_named(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(LedgerError, match=rf"holds no checkpoint|^{name} is missing"):
        verify_log(DirectorySource(copy), KEY)


def test_proofs_are_not_made_from_changed_tiles(copy: Path) -> None:
    head = _head()
    _flip(copy / "tile/0/001", 0)
    source = DirectorySource(copy)
    assert published_inclusion_proof(source, head, 5) == published_inclusion_proof(DirectorySource(LOG), head, 5)
    with pytest.raises(ProofError, match=r"hash 1 of tile/1/000\.p/2 is not the root of tile/0/001"):
        published_consistency_proof(source, _head("checkpoint.400"), head)
    _flip(copy / "tile/1/000.p/2", 0)
    with pytest.raises(ProofError, match="do not have the root the checkpoint states"):
        published_inclusion_proof(source, head, 5)


GOPATH = Path("/usr/share/gocode")  # where Debian's golang-golang-x-mod-dev puts its sources


@pytest.mark.slow
@pytest.mark.skipif(
    not (shutil.which("go") and (GOPATH / "src/golang.org/x/mod/sumdb/tlog").is_dir()), reason="needs Go and x/mod"
)
def test_it_verifies_a_log_written_here(tmp_path: Path) -> None:
    federation = published(tmp_path, 3, 300, 1000)
    program, key = Path(__file__).parent / "foreign" / "check.go", federation.log.verifier.to_vkey()

    def run() -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "GO111MODULE": "off", "GOPATH": str(GOPATH)}
        command = ["go", "run", str(program), str(tmp_path), key]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)

    done = run()
    assert (done.returncode, done.stdout) == (0, "verified: 1000 entries of example.com/federation\n"), done.stderr
    _flip(tmp_path / "tile/entries/001", 3)
    assert "refused: entry 256 is not the one in the tree" in run().stderr
    _flip(tmp_path / "tile/0/002", 3)
    assert run().returncode == 1


# --- the decoder ------------------------------------------------------------------------------------------------------


def test_a_log_may_sign_as_a_cosigner() -> None:
    key = MlDsaKey.from_seed(b"log".ljust(32, b"\x00"))
    text = ForeignCheckpoint("log", 0, EMPTY_ROOT).text()
    note = sign_note(text, "somebody", key_of("somebody")).encode()
    signed = note + cosign(note, "log", key, now=1_700_000_000).encode()
    verifier = cosigner("log", key)
    assert verify_foreign_checkpoint(signed, verifier).size == 0
    with pytest.raises(SignatureError, match="not signed by log"):
        verify_foreign_checkpoint(note, verifier)


def test_the_cosignature_of_a_witness_is_not_the_signature_of_a_log() -> None:
    key = key_of("hospital-a")
    note = sign_note(ForeignCheckpoint("hospital-a", 0, EMPTY_ROOT).text(), "hospital-a", key_of("log")).encode()
    seen = note + cosign(note, "hospital-a", key, now=1_700_000_000).encode()
    with pytest.raises(ValueError, match="0x01 or 0x06"):
        verify_foreign_checkpoint(seen, VerifierKey("hospital-a", COSIGNATURE_V1, key.public))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "origin\n",
        "origin\n1\n",
        "origin\n1\n{root}",
        "\n1\n{root}\n",
        "origin\n01\n{root}\n",
        "origin\n-1\n{root}\n",
        "origin\n٣\n{root}\n",
        "origin\n9223372036854775808\n{root}\n",
        "origin\n" + "1" * 5000 + "\n{root}\n",
        "origin\n1\n{root}=\n",
        "origin\n1\nAAAA\n",
        "origin\n1\né\n",
        "origin\n1\n{root}\n\n",
        "origin\n1\n{root}\n\nextension\n",
        "origin\n1\n{root}\nextension",
    ],
)
def test_only_one_spelling_is_read(text: str) -> None:
    good = "origin\n1\n" + "A" * 43 + "=\n"
    assert parse_foreign_checkpoint(good).text() == good
    with pytest.raises(DecodeError, match="checkpoint"):
        parse_foreign_checkpoint(text.replace("{root}", "A" * 43 + "="))


@pytest.mark.parametrize(
    ("origin", "size", "root", "extensions", "words"),
    [
        ("", 1, bytes(32), (), "lines that are not empty"),
        ("a\nb", 1, bytes(32), (), "lines that are not empty"),
        ("a", 1, bytes(32), ("",), "lines that are not empty"),
        ("a", -1, bytes(32), (), "a tree size"),
        ("a", 2**63, bytes(32), (), "a tree size"),
        ("a", 1, bytes(31), (), "32 bytes"),
    ],
)
def test_a_checkpoint_is_checked_when_made(
    origin: str, size: int, root: bytes, extensions: tuple[str, ...], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        ForeignCheckpoint(origin, size, root, extensions)
