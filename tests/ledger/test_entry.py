"""Entries: structure, signature, context."""

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import MAX_ENTRY, DecodeError, Entry, LedgerError, SignatureError, decode, encode, parse_entry, sign_entry
from ledger import verify_entry as verify
from tests.ledger.federation import CONTEXT, key_of, signed
from tests.ledger.test_cbor import VALUES, _depth

KEY = key_of("client-1")
NAMES = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=20)


def _parts(data: bytes) -> list[Any]:
    parts = decode(data)
    assert isinstance(parts, list)
    return parts


@given(st.integers(0, 2**64 - 1), NAMES, VALUES.filter(lambda value: _depth(value) <= 7))
def test_round_trip(kind: int, sender: str, body: Any) -> None:
    data = sign_entry(kind, sender, body, KEY, context=CONTEXT)
    entry = parse_entry(data)
    assert (entry.kind, entry.sender, entry.body, entry.encoded) == (kind, sender, body, data)
    verify(entry, KEY.public, context=CONTEXT)


@given(st.integers(0, len(signed(1)) - 1), st.integers(1, 255))
def test_no_mutation_verifies_and_only_ledger_errors_escape(place: int, change: int) -> None:
    data = bytearray(signed(1))
    data[place] ^= change
    with pytest.raises(LedgerError):
        verify(parse_entry(bytes(data)), KEY.public, context=CONTEXT)


@given(st.binary(max_size=200))
def test_any_bytes_are_an_entry_or_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        parse_entry(data)


def test_it_is_the_cose_sign1_of_rfc_9052() -> None:
    protected, unprotected, payload, signature = _parts(signed(7))
    assert decode(protected) == {1: -8, 4: b"client-1"}
    assert unprotected == {}
    assert decode(payload) == [1, 1, {1: 7, 2: bytes(20)}]
    assert signature == KEY.sign(encode(["Signature1", protected, CONTEXT, payload]))


def test_an_entry_does_not_replay_into_another_context() -> None:
    entry = parse_entry(signed(1))
    for other in (b"", bytes(32), CONTEXT[::-1]):
        with pytest.raises(SignatureError, match="client-1 for this federation") as caught:
            verify(entry, KEY.public, context=other)
        assert caught.value.culprits == ("client-1",)


def test_an_entry_by_another_key_is_refused_by_name() -> None:
    with pytest.raises(SignatureError, match="not signed by client-1"):
        verify(parse_entry(signed(1)), key_of("client-2").public, context=CONTEXT)


def test_fields_that_are_not_those_of_the_bytes_are_refused() -> None:
    entry = parse_entry(signed(1))
    for forged in (dataclasses.replace(entry, kind=2), dataclasses.replace(entry, sender="client-2")):
        with pytest.raises(ValueError, match="not those of its bytes"):
            verify(forged, KEY.public, context=CONTEXT)
    assert isinstance(entry.body, dict)
    entry.body[1] = 99
    with pytest.raises(ValueError, match="not those of its bytes"):
        verify(entry, KEY.public, context=CONTEXT)


def test_size_is_bounded_on_both_sides() -> None:
    spare = MAX_ENTRY - len(sign_entry(1, "a", bytes(60_000), KEY, context=b"")) + 60_000
    largest = sign_entry(1, "a", bytes(spare), KEY, context=b"")
    assert len(parse_entry(largest).encoded) == MAX_ENTRY
    with pytest.raises(ValueError, match="put the bulk into a blob"):
        sign_entry(1, "a", bytes(spare + 1), KEY, context=b"")
    with pytest.raises(DecodeError, match="over 65535"):
        parse_entry(largest + b"\x00")


@pytest.mark.parametrize("kind", [-1, 2**64])
def test_kinds_out_of_range_are_refused(kind: int) -> None:
    with pytest.raises(ValueError, match="kind"):
        sign_entry(kind, "a", 0, KEY, context=b"")


@pytest.mark.parametrize("sender", ["", "a\nb", "x" * 256, "é" * 128])
def test_senders_are_bounded_and_printable(sender: str) -> None:
    with pytest.raises(ValueError, match="sender"):
        sign_entry(1, sender, 0, KEY, context=b"")


def test_wrong_types_and_contexts_are_the_callers_bug() -> None:
    for kind, sender in ((True, "a"), ("1", "a"), (1, b"a")):
        with pytest.raises(TypeError):
            sign_entry(kind, sender, 0, KEY, context=b"")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="context"):
        sign_entry(1, "a", 0, KEY, context=bytes(31))
    with pytest.raises(ValueError, match="1 to 65535"):
        Entry(1, "a", 0, b"")


def _with(place: int, value: Any) -> bytes:
    parts = _parts(signed(1))
    parts[place] = value
    return encode(parts)


@pytest.mark.parametrize(
    "data",
    [
        encode([b"", {}, b""]),
        encode({1: 2}),
        _with(0, 5),
        _with(0, encode({1: -8})),
        _with(0, encode({1: -7, 4: b"client-1"})),
        _with(0, encode({1: -8, 4: "client-1"})),
        _with(0, encode({1: -8, 4: b"\xff"})),
        _with(0, encode({1: -8, 4: b""})),
        _with(0, encode({1: -8, 4: b"client-1", 5: 0})),
        _with(0, encode({1: -8, 4: b"client-1"}) + b"\x00"),
        _with(1, {1: 2}),
        _with(2, encode([2, 1, 0])),
        _with(2, encode([1, 1])),
        _with(2, encode([1, -1, 0])),
        _with(2, encode([1, "1", 0])),
        _with(2, encode([1, 1, 0, 0])),
        _with(2, "payload"),
        _with(3, bytes(63)),
        _with(3, "signature"),
        b"\xd2" + signed(1),  # the tag of COSE_Sign1
    ],
)
def test_other_structures_are_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        parse_entry(data)
