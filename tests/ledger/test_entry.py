"""Entries: structure, signature, context."""

import dataclasses
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import MAX_ENTRY, DecodeError, Entry, LedgerError, SignatureError, decode, encode, parse_entry, sign_entry
from ledger import entry as entry_module
from ledger import verify_entry as verify
from ledger.cose import Sign1, read_sign1, sig_structure
from ledger.entry import MAX_SENDER, MAX_TOGETHER, sign_bundle, verify_entries
from tests.ledger import plain_cbor
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


def _plainly(data: bytes) -> tuple[int, str, Any]:
    """Kind, sender and body of an entry, read from the specification with code that shares nothing with the ledger."""
    try:
        outer = plain_cbor.read(data)
        if len(data) > MAX_ENTRY or not (isinstance(outer, list) and len(outer) == 4):
            raise plain_cbor.RefusedError("no COSE_Sign1")
        protected, unprotected, payload, signature = outer
        if not all(isinstance(part, bytes) for part in (protected, payload, signature)) or len(signature) != 64:
            raise plain_cbor.RefusedError("no COSE_Sign1")
        header = plain_cbor.read(protected)
        name = header.pop(4) if isinstance(header, dict) and 4 in header else None
        if not isinstance(name, bytes) or not 1 <= len(name) <= MAX_SENDER or not name.decode().isprintable():
            raise plain_cbor.RefusedError("no sender")
        if header == {1: -8, 395: 1}:
            [(label, proofs)] = unprotected.items()
            [(minus_one, [proof])] = proofs.items()
            size, index, path = plain_cbor.read(proof)
            if (label, minus_one) != (396, -1) or not 2 <= size <= MAX_TOGETHER or not 0 <= index < size:
                raise plain_cbor.RefusedError("no proof")
            if len(path) != _length(size, index) or not all(isinstance(h, bytes) and len(h) == 32 for h in path):
                raise plain_cbor.RefusedError("no path")
        elif header != {1: -8} or unprotected != {}:
            raise plain_cbor.RefusedError("other headers")
        version, kind, body = plain_cbor.read(payload)
        if version != 1 or not isinstance(kind, int) or kind < 0:
            raise plain_cbor.RefusedError("no payload")
    except (ValueError, TypeError, AttributeError) as exc:  # another shape than is taken apart here
        raise plain_cbor.RefusedError(str(exc)) from exc
    return kind, name.decode(), body


def _length(size: int, index: int) -> int:
    """Hashes of the path, by RFC 6962 §2.1.1 word for word."""
    if size == 1:
        return 0
    k = max(1 << power for power in range(7) if 1 << power < size)
    return 1 + (_length(k, index) if index < k else _length(size - k, index - k))


def _agree(data: bytes) -> None:
    try:
        expected = _plainly(data)
    except plain_cbor.RefusedError:
        with pytest.raises(DecodeError):
            parse_entry(data)
        return
    entry = parse_entry(data)
    assert (entry.kind, entry.sender, entry.body) == expected


TOGETHER = [data for size in (2, 3, 30) for data in sign_bundle([(1, i) for i in range(size)], "a", KEY, context=b"")]
ENTRIES = st.sampled_from(
    [signed(1), signed(2**40, size=300), sign_entry(300, "é", [], KEY, context=b""), *TOGETHER[:5], TOGETHER[-1]]
)


@given(ENTRIES, st.data())
def test_valid_and_mutated_entries_are_read_as_by_other_code(whole: bytes, draw: st.DataObject) -> None:
    data = bytearray(whole)
    _agree(whole)
    place = draw.draw(st.integers(0, len(data) - 1))
    match draw.draw(st.integers(0, 3)):
        case 0:
            data[place] ^= draw.draw(st.integers(1, 255))
        case 1:
            del data[place]
        case 2:
            data.insert(place, draw.draw(st.integers(0, 255)))
        case _:
            del data[place:]
    _agree(bytes(data))


@given(ENTRIES, st.integers(0, 3), VALUES)
def test_entries_with_another_part_are_read_as_by_other_code(whole: bytes, place: int, value: Any) -> None:
    parts = _parts(whole)
    for other in (value, encode(value) if _depth(value) < 8 else b""):
        parts[place] = other
        try:
            data = encode(parts)
        except ValueError:  # nested too deep
            continue
        _agree(data)


def _spellings(part: bytes) -> list[bytes]:
    """The heads that a byte string of this length could have, the shortest first, then what follows it."""
    size = len(part)
    return [head + part for head in (
        *([bytes([0x40 + size])] if size < 24 else []), *([bytes([0x58, size])] if size < 256 else []),
        b"\x59" + size.to_bytes(2, "big"), b"\x5a" + size.to_bytes(4, "big"), b"\x5b" + size.to_bytes(8, "big"),
    )]  # fmt: skip


@pytest.mark.parametrize("whole", [signed(1), signed(1, size=300), TOGETHER[0]])
def test_no_part_has_another_spelling(whole: bytes) -> None:
    protected, unprotected, payload, signature = _parts(whole)
    proof = _spellings(unprotected[396][-1][0]) if unprotected else [b""]
    before_proof = bytes.fromhex("a119018ca12081") if unprotected else b"\xa0"
    accepted = []
    for a in _spellings(protected):
        for b in proof:
            for c in _spellings(payload):
                for d in _spellings(signature):
                    data = b"\x84" + a + before_proof + b + c + d
                    _agree(data)
                    try:
                        accepted.append(parse_entry(data).encoded)
                    except DecodeError:
                        continue
    assert accepted == [whole]


@pytest.mark.parametrize("whole", [signed(1), TOGETHER[0], TOGETHER[-1]])
def test_entries_that_end_early_are_refused(whole: bytes) -> None:
    for size in range(len(whole)):
        with pytest.raises(DecodeError):
            parse_entry(whole[:size])


def test_the_fields_are_compared_with_the_bytes_and_not_trusted() -> None:
    entry = parse_entry(sign_entry(1, "client-1", 1, KEY, context=CONTEXT))
    others: tuple[Any, ...] = (True, 1.0, None)
    for body in others:
        with pytest.raises(ValueError, match="not those of its bytes"):
            verify(dataclasses.replace(entry, body=body), KEY.public, context=CONTEXT)


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


def _hostile(sender: bytes, body: bytes, signature: bytes = bytes(64)) -> bytes:
    protected = b"\xa2\x01\x27\x04" + bytes([0x40 + len(sender)]) + sender
    return Sign1(protected, None, b"\x83\x01\x01" + body, signature).encode()


NESTED = b"\x99\x2a\x00" + (b"\x81" * 5 + b"\x80") * 0x2A00  # lists in lists, as many as an entry may have bytes


def test_what_a_stranger_wrote_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[bytes] = []

    def recorded(data: bytes) -> Any:
        read.append(data)
        return decode(data)

    monkeypatch.setattr(entry_module, "decode", recorded)
    entry_module._read_short_protected.cache_clear()
    unknown, unsigned = _hostile(b"nobody", NESTED), _hostile(b"client-1", NESTED, b"\x01" * 64)
    good = signed(1)
    errors = verify_entries([unknown, unsigned, good], {"client-1": KEY.public}, context=CONTEXT)
    assert [type(error) for error in errors] == [SignatureError, SignatureError, type(None)]
    assert "no key of nobody" in str(errors[0])
    assert "the entry is not signed by client-1" in str(errors[1])
    assert read == [read_sign1(unknown).protected, read_sign1(unsigned).protected, read_sign1(good).payload]
    with pytest.raises(DecodeError, match="more than 8192 values"):  # without keys there is nothing else to judge by
        parse_entry(unknown)


def test_what_a_sender_signed_has_to_be_an_entry_all_the_same() -> None:
    for body, why in ((NESTED, "more than 8192 values"), (b"\x18\x01", "deterministic"), (b"\xf6", "not allowed")):
        unsigned = read_sign1(_hostile(b"client-1", body))
        signature = KEY.sign(sig_structure(unsigned.protected, CONTEXT, unsigned.payload))
        data = dataclasses.replace(unsigned, signature=signature).encode()
        [error] = verify_entries([data], {"client-1": KEY.public}, context=CONTEXT)
        assert isinstance(error, DecodeError)
        assert why in str(error)
        assert error.culprits == ("client-1",)


def test_the_worst_entry_is_read_in_little_time() -> None:
    for unit, count in ((b"\x80", 8188), (b"\x81" * 5 + b"\x80", 1364), (b"\x62\xc3\xa9", 8188), (b"\xa0", 8188)):
        data = _hostile(b"client-1", b"\x99" + count.to_bytes(2, "big") + unit * count)
        spent = []
        for _ in range(3):
            began = time.process_time()
            parse_entry(data)
            spent.append(time.process_time() - began)
        assert min(spent) < 0.1  # five times what it takes; 65,000 values took three times as long as this


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
