"""Evidence of an equivocation: anyone verifies it, nothing less is accepted, and it has one spelling."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import (
    COSIGNATURE_V1,
    ED25519,
    Checkpoint,
    DecodeError,
    LedgerError,
    ProofError,
    SignatureError,
    VerifierKey,
)
from ledger.checkpoint import sign_checkpoint
from ledger.cosign import cosign, cosigner
from ledger.evidence import MAX_EVIDENCE, Equivocation, ProvenEquivocation, parse_equivocation
from ledger.mldsa import MlDsaKey
from ledger.note import MAX_NOTE, parse_note, sign_note
from tests.ledger.federation import ORIGIN, key_of

LOG = VerifierKey(ORIGIN, ED25519, key_of("sequencer").public)


def _note(size: int, fill: int, origin: str = ORIGIN, key: str = "sequencer") -> bytes:
    return sign_checkpoint(Checkpoint(origin, size, bytes([fill]) * 32), key_of(key))


EVIDENCE = Equivocation(LOG, _note(8, 1), _note(8, 2))


def test_two_signed_roots_of_one_size_are_proof() -> None:
    assert EVIDENCE.verify() == ProvenEquivocation(ORIGIN, 8, (b"\x01" * 32, b"\x02" * 32))
    cosigned = dataclasses.replace(
        EVIDENCE, first=EVIDENCE.first + cosign(EVIDENCE.first, "member-1", key_of("member-1"), now=1).encode()
    )
    assert cosigned.verify() == EVIDENCE.verify()


def test_a_log_that_signs_with_mldsa_is_convicted_too() -> None:
    key = MlDsaKey.from_seed(bytes(32))
    notes = []
    for note in (_note(8, 1), _note(8, 2)):
        line = parse_note(note + cosign(note, ORIGIN, key, now=0).encode()).signatures[1]
        notes.append(dataclasses.replace(parse_note(note), signatures=(line,)).encode())
    found = parse_equivocation(Equivocation(cosigner(ORIGIN, key), *notes).encode())
    assert found.verify() == EVIDENCE.verify()


def test_the_file_is_readable_and_round_trips() -> None:
    data = EVIDENCE.encode()
    assert data.startswith(f"equivocation/v1\n{LOG.to_vkey()}\n{len(EVIDENCE.first)}\n{ORIGIN}\n8\nAQEB".encode())
    assert parse_equivocation(data) == EVIDENCE


@given(st.binary(min_size=1, max_size=40), st.binary(min_size=1, max_size=40))
def test_any_two_notes_are_told_apart(first: bytes, second: bytes) -> None:
    evidence = Equivocation(LOG, first, second)
    assert parse_equivocation(evidence.encode()) == evidence
    with pytest.raises(LedgerError):
        evidence.verify()


@pytest.mark.parametrize(
    ("first", "second", "error", "words"),
    [
        (_note(8, 1), _note(8, 1), ProofError, "do not contradict"),
        (_note(8, 1), _note(9, 2), ProofError, "of size 8 and 9, do not contradict"),
        (_note(8, 1), _note(8, 2, key="stranger"), SignatureError, "not signed by"),
        (_note(8, 1, key="stranger"), _note(8, 2), SignatureError, "not signed by"),
        (_note(8, 1, origin="example.com/other"), _note(8, 2), SignatureError, "not signed by"),
        (_note(8, 1), sign_note("no checkpoint\n", ORIGIN, key_of("sequencer")).encode(), DecodeError, "checkpoint"),
        (
            sign_note(Checkpoint("example.com/other", 8, bytes(32)).text(), ORIGIN, key_of("sequencer")).encode(),
            _note(8, 2),
            DecodeError,
            r"example\.com/other",
        ),
        (_note(8, 1).replace(b"\n8\n", b"\n9\n"), _note(9, 2), SignatureError, "is bad"),
    ],
)
def test_nothing_less_is_proof(first: bytes, second: bytes, error: type[LedgerError], words: str) -> None:
    with pytest.raises(error, match=words):
        parse_equivocation(Equivocation(LOG, first, second).encode()).verify()


def test_an_honest_log_cannot_be_convicted() -> None:
    """What it signed once does not contradict itself, and its signature does not move to another text."""
    honest = [_note(size, size) for size in (1, 2, 3)]
    moved = dataclasses.replace(parse_note(_note(2, 9)), signatures=parse_note(honest[1]).signatures).encode()
    for first in (*honest, moved):
        for second in (*honest, moved):
            with pytest.raises((ProofError, SignatureError)):
                Equivocation(LOG, first, second).verify()


DATA = EVIDENCE.encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"equivocation/v1\n",
        DATA[:-1],
        DATA + b"\n",
        DATA.replace(b"/v1", b"/v2", 1),
        DATA.replace(b"\n%d\n" % len(EVIDENCE.first), b"\n0%d\n" % len(EVIDENCE.first)),
        DATA.replace(b"\n%d\n" % len(EVIDENCE.first), b"\n%d\n" % (len(EVIDENCE.first) - 1)),
        DATA.replace(b"\n%d\n" % len(EVIDENCE.first), b"\n9999999\n"),
        DATA.replace(b"\n%d\n" % len(EVIDENCE.first), b"\n0\n"),
        DATA.replace(b"\n%d\n" % len(EVIDENCE.first), b"\n-1\n"),
        DATA.replace(LOG.to_vkey().encode(), b"garbage"),
        DATA.replace(LOG.to_vkey().encode(), b"\xff"),
        DATA.replace(LOG.to_vkey().encode(), cosigner("w", key_of("w")).to_vkey().encode()),
        b"equivocation/v1\n" + LOG.to_vkey().encode() + b"\n1\nx%d\n" % (MAX_NOTE + 1) + bytes(MAX_NOTE + 1),
        b"x" * (MAX_EVIDENCE + 1),
    ],
)
def test_other_spellings_are_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        parse_equivocation(data)


def test_it_is_bounded_and_checked_on_construction() -> None:
    largest = Equivocation(LOG, b"x" * MAX_NOTE, b"y" * MAX_NOTE)
    assert parse_equivocation(largest.encode()) == largest
    for key, first, second in (
        (LOG, b"", b"y"),
        (LOG, b"x", b""),
        (LOG, b"x", b"y" * (MAX_NOTE + 1)),
        (VerifierKey(ORIGIN, COSIGNATURE_V1, LOG.public), b"x", b"y"),
        (VerifierKey("n" * MAX_NOTE, ED25519, LOG.public), b"x", b"y"),
    ):
        with pytest.raises(ValueError, match=r"note|0x01 or 0x06"):
            Equivocation(key, first, second)
