"""Proofs in files: what they prove offline, and every spelling that is refused."""

from base64 import b64encode
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import (
    ED25519,
    Certificate,
    DecodeError,
    ProofError,
    QuorumError,
    SignatureError,
    VerifierKey,
    sign_checkpoint,
)
from ledger.checkpoint import Checkpoint
from ledger.foreign import ForeignCheckpoint
from ledger.note import Note, parse_note
from ledger.policy_file import TrustedLog, TrustPolicy
from ledger.proof import MAX_EXTRA, MAX_LOG_PROOF, LogProof, parse_proof, prove
from ledger.source import DirectorySource
from tests.ledger.federation import ORIGIN, Federation, key_of
from tests.ledger.publishing import published

HASH = b64encode(bytes(32)).decode()
NOTE = sign_checkpoint(Checkpoint(ORIGIN, 2**62, bytes(32)), key_of("sequencer"))


def made(size: int = 300, index: int = 17, extra: bytes = b"") -> tuple[Federation, bytes, LogProof]:
    federation = Federation()
    certificate = federation.grow(size)
    proof = tuple(federation.log.inclusion_proof(index, size))
    return federation, federation.log.entry(index), LogProof(index, proof, certificate.note, extra)


@pytest.mark.parametrize(("size", "index"), [(1, 0), (2, 1), (300, 0), (300, 17), (300, 299)])
@pytest.mark.parametrize("extra", [b"", b"for the application"])
def test_a_proof_verifies_offline(size: int, index: int, extra: bytes) -> None:
    federation, entry, proof = made(size, index, extra)
    found = parse_proof(proof.encode())
    assert found == proof
    certificate = found.verify(entry, federation.policy)
    assert isinstance(certificate, Certificate)
    assert certificate.checkpoint == Checkpoint(ORIGIN, size, federation.log.root(size))
    checkpoint = found.verify(entry, federation.log.verifier)
    assert isinstance(checkpoint, ForeignCheckpoint)
    assert (checkpoint.size, checkpoint.root) == (size, federation.log.root(size))
    trust = TrustPolicy((TrustedLog(federation.log.verifier),))
    assert found.verify(entry, trust).log == federation.log.verifier


def test_a_proof_is_written_as_the_specification_says() -> None:
    federation, _, proof = made(3, 2, b"extra data")
    hashes = [b64encode(item).decode() for item in federation.log.inclusion_proof(2, 3)]
    lines = ["c2sp.org/tlog-proof@v1", "extra ZXh0cmEgZGF0YQ==", "index 2", *hashes, "", ORIGIN, "3"]
    assert proof.encode().decode().split("\n")[: len(lines)] == lines
    assert proof.encode().endswith(proof.checkpoint)
    _, _, single = made(1, 0)
    assert single.encode() == b"c2sp.org/tlog-proof@v1\nindex 0\n\n" + single.checkpoint


def test_a_proof_is_made_from_a_published_log(tmp_path: Path) -> None:
    federation = published(tmp_path, 300)
    source = DirectorySource(tmp_path)
    proved = prove(source, source.checkpoint(), 299)
    assert proved.entry == b"entry 299"
    assert parse_proof(proved.proof.encode()).verify(proved.entry, federation.policy).cosigners
    with pytest.raises(ValueError, match="no entry 300 in a log of 300"):
        prove(source, source.checkpoint(), 300)
    with pytest.raises(DecodeError):
        prove(source, b"garbage", 0)
    with pytest.raises(ProofError, match="do not have the root"):
        prove(source, sign_checkpoint(Checkpoint(ORIGIN, 300, bytes(32)), key_of("sequencer")), 0)


# --- what does not verify ---------------------------------------------------------------------------------------------


def test_another_entry_index_or_hash_is_refused() -> None:
    federation, entry, proof = made()
    with pytest.raises(ProofError, match="leads to another root"):
        proof.verify(b"another", federation.policy)
    with pytest.raises(ProofError, match="leads to another root"):
        replace(proof, index=16).verify(entry, federation.policy)
    with pytest.raises(ProofError, match="leads to another root"):
        replace(proof, proof=(bytes(32), *proof.proof[1:])).verify(entry, federation.policy)
    with pytest.raises(ProofError, match="too few"):
        replace(proof, proof=proof.proof[:-1]).verify(entry, federation.policy)
    with pytest.raises(ProofError, match="too many"):
        replace(proof, proof=(*proof.proof, bytes(32))).verify(entry, federation.policy)


def test_the_checkpoint_needs_its_signatures() -> None:
    federation, entry, proof = made()
    note = parse_note(proof.checkpoint)
    with pytest.raises(QuorumError, match="needs 4 of 5 cosignatures, has 3"):
        replace(proof, checkpoint=Note(note.text, note.signatures[:4]).encode()).verify(entry, federation.policy)
    with pytest.raises(SignatureError, match="not signed by"):
        replace(proof, checkpoint=Note(note.text, note.signatures[1:]).encode()).verify(entry, federation.policy)
    with pytest.raises(SignatureError, match="not signed by"):
        proof.verify(entry, VerifierKey(ORIGIN, ED25519, key_of("another").public))
    other = VerifierKey("example.com/other", ED25519, key_of("sequencer").public)
    with pytest.raises(SignatureError, match=r"not signed by example\.com/other"):
        proof.verify(entry, other)
    with pytest.raises(DecodeError, match=r"not of 'example\.com/other'"):
        proof.verify(entry, federation.log.verifier, origin="example.com/other")
    larger = sign_checkpoint(Checkpoint(ORIGIN, 301, federation.log.root(300)), key_of("another"))
    with pytest.raises(SignatureError):
        replace(proof, checkpoint=larger).verify(entry, federation.log.verifier)


def test_extra_data_is_not_signed() -> None:
    federation, entry, proof = made(extra=b"one")
    assert replace(proof, extra=b"other").verify(entry, federation.policy).cosigners


# --- what is not read -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: "", "begins with the line"),
        (lambda text: text.replace("@v1", "@v2"), "begins with the line"),
        (lambda text: "\n" + text, "begins with the line"),
        (lambda text: text.partition("\n\n")[0] + "\n", "an empty line and a checkpoint"),
        (lambda text: text.replace("index", "é"), "ASCII down to its checkpoint"),
        (lambda text: text.replace("index 17\n", ""), "a line `index`"),
        (lambda text: "c2sp.org/tlog-proof@v1\n\n" + NOTE.decode(), "a line `index`"),
        (lambda text: text.replace("index 17", "index 017"), "a line `index`"),
        (lambda text: text.replace("index 17", "index -1"), "a line `index`"),
        (lambda text: text.replace("index 17", "index  17"), "a line `index`"),
        (lambda text: text.replace("index 17", "index ٣"), "ASCII"),
        (lambda text: text.replace("index 17", "index " + "1" * 20), "a line `index`"),
        (lambda text: text.replace("index 17", "index 9223372036854775807"), "an index is in"),
        (lambda text: text.replace("index 17", "index 300"), "index 300 is not in a tree of 300 leaves"),
        (lambda text: text.replace("index 17", "extra AA==\nextra AA==\nindex 17"), "a line `index`"),
        (lambda text: text.replace("index 17", "index 17\nextra AA=="), "not a proof"),
        (lambda text: text.replace("index 17", "extra \nindex 17"), "one spelling"),
        (lambda text: text.replace("index 17", "extra AB==\nindex 17"), "one spelling"),
        (lambda text: text.replace("index 17", "extra A\nindex 17"), "not a proof"),
        (lambda text: text.replace("index 17", "index 17\nAAAA"), "at most 64 hashes of 32 bytes"),
        (lambda text: text.replace("index 17", "index 17\n" + "!" * 44), "not a proof"),
        (lambda text: text.replace("index 17", "index 17\n" + HASH.replace("A=", "B=")), "one spelling"),
        (lambda text: text.replace("index 17", f"index 17\n{HASH}\r"), "not a proof|one spelling"),
        (lambda text: text.replace("index 17", f"index 17\n{HASH}" * 1 + f"\n{HASH}" * 64), "at most 64 hashes"),
        (lambda text: text.replace("\n\n", "\n\n\n", 1), "holds a signed checkpoint"),
        (lambda text: text + "\n", "holds a signed checkpoint"),
        (lambda text: text.replace(f"{ORIGIN}\n300", f"{ORIGIN}\n0300"), "holds a signed checkpoint"),
        (lambda text: text.partition("\n\n")[0] + "\n\ngarbage\n", "holds a signed checkpoint"),
    ],
)
def test_only_one_spelling_is_read(change: object, words: str) -> None:
    text = made()[2].encode().decode()
    assert callable(change)
    with pytest.raises(DecodeError, match=words):
        parse_proof(change(text).encode())


def test_a_proof_is_bounded() -> None:
    with pytest.raises(DecodeError, match=f"a proof of {MAX_LOG_PROOF + 1} bytes is over"):
        parse_proof(bytes(MAX_LOG_PROOF + 1))
    most = LogProof(2**61, (bytes(32),) * 64, NOTE + b"\xe2\x80\x94 a AAAAAAAA\n", bytes(MAX_EXTRA))
    assert parse_proof(most.encode()) == most
    assert len(most.encode()) <= MAX_LOG_PROOF


@pytest.mark.parametrize(
    ("index", "proof", "checkpoint", "extra", "words"),
    [
        (-1, (), NOTE, b"", "an index is in"),
        (2**63 - 1, (), NOTE, b"", "an index is in"),
        (2**62, (), NOTE, b"", "is not in a tree"),
        (0, (bytes(31),), NOTE, b"", "hashes of 32 bytes"),
        (0, (bytes(32),) * 65, NOTE, b"", "at most 64 hashes"),
        (0, (), b"", b"", "holds a signed checkpoint"),
        (0, (), NOTE, bytes(MAX_EXTRA + 1), "extra data is at most"),
    ],
)
def test_a_proof_is_checked_when_made(
    index: int, proof: tuple[bytes, ...], checkpoint: bytes, extra: bytes, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        LogProof(index, proof, checkpoint, extra)


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    whole = made(3, 1)[2].encode()
    for candidate in (data, whole[: len(whole) // 2] + data, whole[:23] + data + whole[23:]):
        try:
            found = parse_proof(candidate)
        except DecodeError:
            continue
        assert found.encode() == candidate
