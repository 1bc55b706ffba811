"""Cosignatures of both types: one meaning, two messages, and a note that holds enough of them."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import COSIGNATURE_V1, Checkpoint, Cosignature, DecodeError, Note, SignatureError, VerifierKey, parse_note
from ledger.checkpoint import sign_checkpoint
from ledger.cosign import CosigningKey, cosign, cosigner, verify_cosignature
from ledger.mldsa import MlDsaKey, subtree_message, verify_mldsa44
from ledger.note import ED25519, MLDSA44, sign_note
from tests.ledger.federation import ORIGIN, key_of

MLDSA = MlDsaKey.from_seed(bytes(32))
POINT = Checkpoint(ORIGIN, 20_852_163, bytes(range(32)))
NOTE = sign_checkpoint(POINT, key_of("sequencer"))
KEYS: dict[int, CosigningKey] = {COSIGNATURE_V1: key_of("member-1"), MLDSA44: MLDSA}


def _cosigned(kind: int, now: int) -> Note:
    return parse_note(NOTE + cosign(NOTE, "member-1", KEYS[kind], now=now).encode())


@pytest.mark.parametrize("kind", KEYS)
@settings(max_examples=10)
@given(now=st.integers(0, 2**63 - 1))
def test_what_is_cosigned_verifies_with_its_time(kind: int, now: int) -> None:
    key = cosigner("member-1", KEYS[kind])
    assert key.kind == kind
    assert verify_cosignature(_cosigned(kind, now), key) == Cosignature("member-1", now)


@pytest.mark.parametrize("kind", KEYS)
def test_a_changed_time_or_checkpoint_is_refused(kind: int) -> None:
    key, note = cosigner("member-1", KEYS[kind]), _cosigned(kind, 1_679_315_147)
    line = note.signatures[1]
    later = dataclasses.replace(line, signature=(1_679_315_148).to_bytes(8, "big") + line.signature[8:])
    other = dataclasses.replace(POINT, size=POINT.size + 1).text()
    for text, signature, words in (
        (note.text, later, "is bad"),
        (other, line, "is bad"),
        (note.text, dataclasses.replace(line, signature=line.signature[:-1]), "wrong length"),
        (note.text, dataclasses.replace(line, signature=b"\x80" + line.signature[1:]), "time over"),
    ):
        with pytest.raises(SignatureError, match=words) as caught:
            verify_cosignature(Note(text, (signature,)), key)
        assert caught.value.culprits == ("member-1",)


def test_the_mldsa_message_is_that_of_the_specification() -> None:
    signature = _cosigned(MLDSA44, 5).signatures[1].signature
    assert signature[:8] == (5).to_bytes(8, "big")
    verify_mldsa44(MLDSA.public, signature[8:], subtree_message("member-1", 5, ORIGIN, POINT.size, POINT.root))


def test_the_latest_time_counts_and_every_cosignature_must_verify() -> None:
    key = cosigner("member-1", MLDSA)
    lines = tuple(_cosigned(MLDSA44, now).signatures[1] for now in (3, 9, 5))
    assert verify_cosignature(Note(POINT.text(), lines), key) == Cosignature("member-1", 9)
    bad = dataclasses.replace(lines[0], signature=lines[1].signature[:8] + lines[0].signature[8:])
    with pytest.raises(SignatureError, match="is bad"):
        verify_cosignature(Note(POINT.text(), (*lines, bad)), key)


def test_keys_of_other_types_are_not_asked() -> None:
    with pytest.raises(ValueError, match="0x04 or 0x06"):
        verify_cosignature(parse_note(NOTE), VerifierKey(ORIGIN, ED25519, key_of("sequencer").public))
    assert verify_cosignature(_cosigned(MLDSA44, 1), cosigner("member-1", KEYS[COSIGNATURE_V1])) is None
    assert verify_cosignature(_cosigned(MLDSA44, 1), cosigner("member-2", MLDSA)) is None


def test_only_a_checkpoint_is_cosigned() -> None:
    text = sign_note("no checkpoint\n", ORIGIN, key_of("sequencer"))
    with pytest.raises(DecodeError):
        cosign(text.encode(), "member-1", MLDSA, now=0)
    line = _cosigned(MLDSA44, 1).signatures[1]
    with pytest.raises(DecodeError):
        verify_cosignature(Note("no checkpoint\n", (line,)), cosigner("member-1", MLDSA))
    long = sign_checkpoint(dataclasses.replace(POINT, origin="o" * 256), key_of("sequencer"))
    with pytest.raises(ValueError, match="1 to 255 bytes"):
        cosign(long, "member-1", MLDSA, now=0)
    with pytest.raises(SignatureError, match="1 to 255 bytes"):
        verify_cosignature(Note(parse_note(long).text, (line,)), cosigner("member-1", MLDSA))
    with pytest.raises(ValueError, match="time"):
        cosign(NOTE, "member-1", MLDSA, now=-1)


def test_a_note_holds_sixteen_mldsa_signatures() -> None:
    line = _cosigned(MLDSA44, 1).signatures[1]
    note = Note(POINT.text(), (parse_note(NOTE).signatures[0], *[line] * 16))
    assert parse_note(note.encode()) == note
    assert len(note.encode()) < 53_000
