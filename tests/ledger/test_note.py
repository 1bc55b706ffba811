"""Signed notes, verifier keys, checkpoints and cosignatures: foreign examples, round trips, hostile bytes."""

import dataclasses
from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import (
    COSIGNATURE_V1,
    ED25519,
    EMPTY_ROOT,
    Checkpoint,
    Cosignature,
    DecodeError,
    LedgerError,
    Note,
    NoteSignature,
    SignatureError,
    VerifierKey,
    cosign,
    parse_checkpoint,
    parse_note,
    parse_vkey,
    sign_checkpoint,
    verify_checkpoint,
    verify_cosignature,
)
from ledger.note import MAX_NOTE, MAX_SIGNATURES, parse_signature_line, sign_note, verify_note
from tests.ledger.federation import ORIGIN, key_of

LOG = VerifierKey(ORIGIN, ED25519, key_of("sequencer").public)
WITNESS = VerifierKey("member-1", COSIGNATURE_V1, key_of("member-1").public)
POINT = Checkpoint(ORIGIN, 20_852_163, bytes(range(32)))
NOTE = sign_checkpoint(POINT, key_of("sequencer"))
COSIGNED = NOTE + cosign(NOTE, "member-1", key_of("member-1"), now=1_679_315_147).encode()
TEXTS = st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]) | st.just("\n"), max_size=40).map(
    "{}\n".format
)
NAMES = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=10)

# the example of the documentation of Go's golang.org/x/mod/sumdb/note
GO_VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
# the example of C2SP tlog-cosignature, whose origin line, signature lines and structure are fixed there
C2SP_NOTE = (
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
    "— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"  # noqa: E501
    "— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n"  # noqa: E501
)


def test_a_note_made_by_go_verifies() -> None:
    key = parse_vkey(GO_VKEY)
    assert (key.name, key.kind, key.key_id.hex(), key.to_vkey()) == ("PeterNeumann", ED25519, "c74f20a3", GO_VKEY)
    note = parse_note(GO_NOTE.encode())
    verify_note(note, key)
    assert note.encode() == GO_NOTE.encode()
    with pytest.raises(SignatureError, match="PeterNeumann is bad"):
        verify_note(dataclasses.replace(note, text=note.text.replace("problem", "question")), key)


def test_the_key_of_the_go_checksum_database_is_read() -> None:
    vkey = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"
    assert parse_vkey(vkey).to_vkey() == vkey


def test_the_example_of_tlog_cosignature_is_read() -> None:
    note = parse_note(C2SP_NOTE.encode())
    point = parse_checkpoint(note.text)
    assert (point.origin, point.size, point.text()) == ("example.com/behind-the-sofa", 20_852_163, note.text)
    assert [s.name for s in note.signatures] == ["example.com/behind-the-sofa", "witness.example.com/w1"]
    assert int.from_bytes(note.signatures[1].signature[:8], "big") == 1_679_315_147
    assert len(note.signatures[1].signature) == 72


@given(
    TEXTS,
    st.lists(st.builds(NoteSignature, NAMES, st.binary(min_size=4, max_size=4), st.binary(min_size=1)), min_size=1),
)
def test_notes_round_trip(text: str, signatures: list[NoteSignature]) -> None:
    note = Note(text, tuple(signatures))
    assert parse_note(note.encode()) == note


@given(st.sampled_from([NOTE, COSIGNED, GO_NOTE.encode()]), st.data())
def test_mutated_notes_do_not_verify_and_only_ledger_errors_escape(data: bytes, draw: st.DataObject) -> None:
    changed = bytearray(data)
    changed[draw.draw(st.integers(0, len(data) - 1))] ^= draw.draw(st.integers(1, 255))
    try:
        note = parse_note(bytes(changed))
        assert note.encode() == changed
        point = verify_checkpoint(bytes(changed), LOG)
        cosignature = verify_cosignature(note, WITNESS)
    except LedgerError:
        return
    # the change was in the cosignature's name or key ID: it is an unknown key's now, and ignored
    assert point == POINT
    assert cosignature is None


@given(st.binary(max_size=80))
def test_any_bytes_are_a_note_or_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        parse_note(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"text\n",
        b"text\n\n",
        b"text\n\nno signature\n",
        GO_NOTE[:-1].encode(),
        GO_NOTE.encode() + b"\n",
        GO_NOTE.replace("— ", "- ").encode(),
        GO_NOTE.replace("— ", "—  ").encode(),
        GO_NOTE.replace("nAM=", "nAN=").encode(),  # base64 with stray bits
        GO_NOTE.replace("nAM=", "nAM").encode(),
        GO_NOTE.replace("nAM=", "nA_=").encode(),
        GO_NOTE.replace("PeterNeumann", "Peter+Neumann").encode(),
        GO_NOTE.replace("PeterNeumann", "Peter\u00a0Neumann").encode(),
        GO_NOTE.replace("If", "\tIf").encode(),
        GO_NOTE.replace("\n", "\r\n").encode(),
        GO_NOTE.encode().replace(b"If", b"\xff"),
        "text\n\n— name AAAAAA==\n".encode(),  # a key ID without a signature
    ],
)
def test_other_spellings_of_notes_are_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        parse_note(data)


def test_notes_are_bounded() -> None:
    line = NoteSignature("a", bytes(4), bytes(64)).line().encode()
    assert len(parse_note(b"text\n\n" + line * MAX_SIGNATURES).signatures) == MAX_SIGNATURES
    with pytest.raises(DecodeError, match="at most 64"):
        parse_note(b"text\n\n" + line * (MAX_SIGNATURES + 1))
    with pytest.raises(DecodeError, match="over 65536"):
        parse_note(b"x" * MAX_NOTE + b"\n\n" + line)
    for long in (parse_vkey, parse_signature_line):
        with pytest.raises(DecodeError, match="longer than a note"):
            long("x" * (MAX_NOTE + 1))
    with pytest.raises(ValueError, match="at most 65536"):
        Note("x" * MAX_NOTE + "\n", (NoteSignature("a", bytes(4), b"s"),))
    for text, signatures in (("text", 1), ("te\0xt\n", 1), ("text\n", 0)):
        with pytest.raises(ValueError):
            Note(text, (NoteSignature("a", bytes(4), b"s"),) * signatures)


@pytest.mark.parametrize(
    "vkey",
    [
        "PeterNeumann",
        GO_VKEY.replace("c74f20a3", "c74f20a4"),
        GO_VKEY.replace("c74f20a3", "C74F20A3"),
        GO_VKEY[:-4],
        GO_VKEY + "=",
        GO_VKEY.replace("Peter", "Paul"),
        "a+00000000+" + b64encode(b"\x02" + bytes(32)).decode(),  # a type that is not supported
        "a+00000000+" + b64encode(b"\x01" + bytes(32)).decode(),  # a key of low order
        "a+00000000+",
        "a+00000000+é",
        "+00000000+" + GO_VKEY.rsplit("+", 1)[1],
    ],
)
def test_other_verifier_keys_are_refused(vkey: str) -> None:
    with pytest.raises(DecodeError):
        parse_vkey(vkey)


def test_verifier_keys_round_trip_and_are_checked() -> None:
    for key in (LOG, WITNESS):
        assert parse_vkey(key.to_vkey()) == key
    assert VerifierKey("member-1", ED25519, WITNESS.public).key_id != WITNESS.key_id
    with pytest.raises(ValueError, match="0x02"):
        VerifierKey("a", 2, WITNESS.public)
    for public in (bytes(32), WITNESS.public[:31]):
        with pytest.raises(ValueError, match="canonical"):
            VerifierKey("a", ED25519, public)
    with pytest.raises(ValueError, match="key ID of 4 bytes"):
        NoteSignature("a", bytes(3), b"s")


@given(NAMES, st.integers(1, 2**63 - 1), st.binary(min_size=32, max_size=32))
def test_checkpoints_round_trip(origin: str, size: int, root: bytes) -> None:
    point = Checkpoint(origin, size, root)
    assert parse_checkpoint(point.text()) == point


@pytest.mark.parametrize(
    "text",
    [
        "",
        POINT.text()[:-1],
        POINT.text() + "extension\n",
        POINT.text().replace("20852163", "020852163"),
        POINT.text().replace("20852163", "+1"),
        POINT.text().replace("20852163", "٣"),
        POINT.text().replace("20852163", str(2**63)),
        POINT.text().replace("20852163", "9" * 30),
        POINT.text().replace("20852163", "0"),  # the root of an empty tree is fixed
        POINT.text().replace("=\n", "\n"),
        POINT.text().replace("AAEC", "AAE"),
        f"{ORIGIN}\n1\n{b64encode(bytes(31)).decode()}\n",
        f"\n1\n{b64encode(bytes(32)).decode()}\n",
        f"two words\n1\n{b64encode(bytes(32)).decode()}\n",
    ],
)
def test_other_checkpoints_are_refused(text: str) -> None:
    with pytest.raises(DecodeError):
        parse_checkpoint(text)


def test_a_checkpoint_is_verified_against_its_log() -> None:
    assert verify_checkpoint(NOTE, LOG) == POINT
    assert parse_checkpoint(Checkpoint(ORIGIN, 0, EMPTY_ROOT).text()).size == 0
    other = sign_checkpoint(POINT, key_of("member-1"))
    with pytest.raises(SignatureError, match=f"not signed by {ORIGIN}") as caught:
        verify_checkpoint(other, LOG)
    assert caught.value.culprits == (ORIGIN,)
    foreign = sign_note(dataclasses.replace(POINT, origin="example.com/other").text(), ORIGIN, key_of("sequencer"))
    with pytest.raises(DecodeError, match=r"of example\.com/other, not of"):
        verify_checkpoint(foreign.encode(), LOG)


def test_every_signature_under_a_known_key_must_verify() -> None:
    bad = NoteSignature(ORIGIN, LOG.key_id, bytes(64)).line().encode()
    with pytest.raises(SignatureError, match="is bad"):
        verify_checkpoint(NOTE + bad, LOG)
    bad = NoteSignature("member-1", WITNESS.key_id, bytes(72)).line().encode()
    with pytest.raises(SignatureError, match="by member-1 is bad") as caught:
        verify_cosignature(parse_note(COSIGNED + bad), WITNESS)
    assert caught.value.culprits == ("member-1",)


def test_a_cosignature_signs_its_time_and_the_checkpoint() -> None:
    assert verify_cosignature(parse_note(COSIGNED), WITNESS) == Cosignature("member-1", 1_679_315_147)
    assert verify_cosignature(parse_note(NOTE), WITNESS) is None
    line = parse_note(COSIGNED).signatures[1]
    message = b"cosignature/v1\ntime 1679315147\n" + POINT.text().encode()
    assert line.signature == (1_679_315_147).to_bytes(8, "big") + key_of("member-1").sign(message)
    later = (1_679_315_148).to_bytes(8, "big") + line.signature[8:]
    forged = Note(POINT.text(), (dataclasses.replace(line, signature=later),))
    with pytest.raises(SignatureError, match="is bad"):
        verify_cosignature(forged, WITNESS)


def test_cosignatures_of_wrong_length_or_time_are_refused() -> None:
    for signature, words in ((bytes(71), "wrong length"), (b"\x80" + bytes(71), "time over")):
        note = Note(POINT.text(), (NoteSignature("member-1", WITNESS.key_id, signature),))
        with pytest.raises(SignatureError, match=words):
            verify_cosignature(note, WITNESS)
    for now in (-1, 2**63):
        with pytest.raises(ValueError, match="time"):
            cosign(NOTE, "member-1", key_of("member-1"), now=now)
    with pytest.raises(DecodeError):
        cosign(GO_NOTE.encode(), "member-1", key_of("member-1"), now=0)


def test_key_types_are_not_mixed_up() -> None:
    with pytest.raises(ValueError, match="0x04"):
        verify_cosignature(parse_note(NOTE), LOG)
    with pytest.raises(ValueError, match="0x01"):
        verify_checkpoint(NOTE, WITNESS)
