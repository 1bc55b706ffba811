"""Restricted CBOR: one spelling, forbidden types, bounds, and hostile bytes."""

import enum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import DecodeError, LedgerError, decode, encode
from ledger import cbor as cbor_module
from ledger.cbor import MAX_DEPTH, MAX_VALUES
from tests.ledger import plain_cbor

INTEGERS = st.integers(-(2**64), 2**64 - 1)
VALUES: st.SearchStrategy[Any] = st.recursive(
    INTEGERS | st.binary(max_size=40) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(INTEGERS, inner, max_size=4),
    max_leaves=12,
)


class Kind(enum.IntEnum):
    GENESIS = 1


def _nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


def _depth(value: Any) -> int:
    if isinstance(value, list):
        return 1 + max(map(_depth, value), default=0)
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    return 0


@given(VALUES.filter(lambda value: _depth(value) <= MAX_DEPTH))
def test_round_trip(value: Any) -> None:
    data = encode(value)
    assert decode(data) == value
    assert encode(decode(data)) == data


@given(st.binary(max_size=64))
def test_any_bytes_are_decoded_to_their_one_spelling_or_refused(data: bytes) -> None:
    try:
        value = decode(data)
    except LedgerError:
        return
    assert encode(value) == data


@given(VALUES.filter(lambda value: _depth(value) <= MAX_DEPTH), st.data())
def test_mutations_are_decoded_to_their_one_spelling_or_refused(value: Any, draw: st.DataObject) -> None:
    data = bytearray(encode(value))
    place = draw.draw(st.integers(0, len(data) - 1))
    data[place] ^= draw.draw(st.integers(1, 255))
    try:
        again = decode(bytes(data))
    except LedgerError:
        return
    assert encode(again) == data


def _agree(data: bytes) -> None:
    """`decode` accepts what a reader that shares no code with it accepts, and reads the same."""
    try:
        value = plain_cbor.read(data)
    except plain_cbor.RefusedError:
        with pytest.raises(DecodeError):
            decode(data)
        return
    found = decode(data)
    assert found == value
    assert repr(found) == repr(value)  # in the same order, and no bool for an int


@given(st.binary(max_size=24))
def test_any_bytes_are_read_as_by_other_code(data: bytes) -> None:
    _agree(data)


@given(VALUES.filter(lambda value: _depth(value) <= MAX_DEPTH), st.data())
def test_valid_and_mutated_bytes_are_read_as_by_other_code(value: Any, draw: st.DataObject) -> None:
    data = bytearray(encode(value))
    _agree(bytes(data))
    place = draw.draw(st.integers(0, len(data) - 1))
    match draw.draw(st.integers(0, 3)):
        case 0:
            data[place] ^= draw.draw(st.integers(1, 255))
        case 1:
            del data[place]
        case 2:
            data.insert(place, draw.draw(st.integers(0, 255)))
        case _:  # two neighbouring bytes change places: keys out of order, most of all
            data[place - 1], data[place] = data[place], data[place - 1]
    _agree(bytes(data))


@given(st.lists(INTEGERS, min_size=2, max_size=4))
def test_keys_in_any_order_are_read_as_by_other_code(keys: list[int]) -> None:
    body = b"".join(encode(key) + b"\x00" for key in keys)
    _agree(bytes([0xA0 + len(keys)]) + body)


@given(VALUES.filter(lambda value: _depth(value) <= MAX_DEPTH), st.integers(0, MAX_DEPTH + 1))
def test_depth_is_counted_as_by_other_code(value: Any, around: int) -> None:
    _agree(b"\x81" * around + encode(value))
    _agree(b"\xa1\x00" * around + encode(value))


@pytest.mark.parametrize("kind", [0x80, 0x40, 0x00, 0xA0, 0x60])
@pytest.mark.parametrize("around", [0, 6])
def test_the_number_of_values_is_bounded_as_by_other_code(kind: int, around: int) -> None:
    for count in (MAX_VALUES - around - 2, MAX_VALUES - around - 1, MAX_VALUES - around, 60_000):
        data = b"\x81" * around + b"\x99" + count.to_bytes(2, "big") + bytes([kind]) * count
        _agree(data)
        if 1 + around + count <= MAX_VALUES:
            assert encode(decode(data)) == data
            continue
        with pytest.raises(DecodeError, match="more than 8192 values"):
            decode(data)
        value: Any = [plain_cbor.read(bytes([kind]))] * count
        for _ in range(around):
            value = [value]
        with pytest.raises(ValueError, match="more than 8192 values"):
            encode(value)


def _all_of_one_byte(count: int) -> bytes:
    """An encoding of so many values that has as many bytes: arrays of up to 23."""
    if count == 1:
        return b"\x00"
    parts = min(23, count - 1)
    each, more = divmod(count - 1, parts)
    return bytes([0x80 + parts]) + b"".join(_all_of_one_byte(each + (i < more)) for i in range(parts))


def test_values_of_one_byte_each_are_counted_too() -> None:
    data = _all_of_one_byte(MAX_VALUES)
    assert len(data) == MAX_VALUES
    assert encode(decode(data)) == data
    data = _all_of_one_byte(MAX_VALUES + 1)
    assert len(data) == MAX_VALUES + 1
    _agree(data)
    with pytest.raises(DecodeError, match="more than 8192 values"):
        decode(data)


def test_keys_count_and_contents_of_strings_do_not() -> None:
    most = (MAX_VALUES - 1) // 2
    data = encode({i: i for i in range(most)})
    assert decode(data) == {i: i for i in range(most)}
    _agree(data)
    with pytest.raises(ValueError, match="more than 8192 values"):
        encode({i: i for i in range(most + 1)})
    strings: tuple[Any, ...] = (bytes(60_000), "é" * 30_000, [bytes(60_000), 0], {1: "\x80" * 20_000})
    for string in strings:
        _agree(encode(string))
        assert decode(encode(string)) == string


@given(st.lists(INTEGERS | st.binary(max_size=300) | st.text(max_size=9), min_size=1, max_size=9), st.integers(-9, 9))
def test_values_of_any_length_are_counted_as_by_other_code(items: list[Any], more: int) -> None:
    row = b"".join(map(encode, items))
    count = (MAX_VALUES - 1) // len(items) * len(items) + more
    whole, rest = divmod(count, len(items))
    data = b"\x99" + count.to_bytes(2, "big") + row * whole + b"".join(map(encode, items[:rest]))
    if len(data) <= 65_535:
        _agree(data)


def test_any_text_is_encoded_without_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(value: object, depth: int) -> object:
        raise AssertionError("copied")

    monkeypatch.setattr(cbor_module, "_ordered", refused)
    value: Any = [1, "é", {1: "\U0001f600", 2: ["ü" * 100]}]
    data = encode(value)
    assert decode(data) == value
    with pytest.raises(DecodeError, match="deterministic"):  # nor what stands in another order
        decode(bytes.fromhex("a22000181800"))
    for text in (["\ud800"], {1: "a\udfff"}):
        with pytest.raises(ValueError, match="surrogates"):
            encode(text)  # type: ignore[arg-type]


def test_map_keys_are_in_the_bytewise_order_of_rfc_8949_4_2_1() -> None:
    # not the length-first order of §4.2.3, which puts -1 (0x20) before 24 (0x18 0x18)
    assert encode({-1: 0, 24: 0, 300: 0, 1: 0, -300: 0}).hex() == "a5010018180019012c00200039012b00"
    with pytest.raises(DecodeError, match="deterministic"):
        decode(bytes.fromhex("a22000181800"))


def test_subclasses_of_int_and_insertion_order_do_not_change_the_spelling() -> None:
    assert encode([Kind.GENESIS, {2: 0, 1: 0}]) == encode([1, {1: 0, 2: 0}])


@pytest.mark.parametrize("value", [True, None, 1.5, (1,), {1}, bytearray(b"x"), {"a": 1}, {True: 1}, [[False]]])
def test_types_without_a_spelling_are_refused(value: Any) -> None:
    with pytest.raises(TypeError):
        encode(value)


@pytest.mark.parametrize("value", [2**64, -(2**64) - 1, {2**64: 0}, "\ud800", _nested(MAX_DEPTH + 1)])
def test_values_out_of_range_are_refused(value: Any) -> None:
    with pytest.raises(ValueError):
        encode(value)


def test_depth_is_bounded_on_both_sides() -> None:
    deepest = encode(_nested(MAX_DEPTH))
    assert decode(deepest) == _nested(MAX_DEPTH)
    with pytest.raises(DecodeError):
        decode(b"\x81" + deepest)


@pytest.mark.parametrize(
    "text",
    [
        "",  # nothing
        "0000",  # a byte follows
        "1800",  # a longer spelling of 0
        "190001",
        "5800",  # a longer length
        "f4", "f6", "f7", "e0", "f820",  # false, null, undefined, simple values
        "f93c00", "fb3ff199999999999a", "f97e00",  # floats
        "c100", "c24101", "c0613a", "d8236128", "d81d00", "d9ffff00", "c48200c249010000000000000000",  # tags
        "9f00ff", "5f4100ff", "bf0000ff", "7f6161ff",  # indefinite lengths
        "a200000000",  # a key twice
        "a201000000",  # keys out of order
        "a1616100", "a14000", "a1800000", "a1a00000", "a1f400",  # keys that are no integers
        "62ff00",  # not UTF-8
        "ff", "fc", "1c",
        "9bffffffffffffffff", "5bffffffffffffffff", "bb7fffffffffffffff", "7b7fffffffffffffff", "9a00ffffff",  # lengths
        "81" * 300 + "00",
    ],
)  # fmt: skip
def test_other_spellings_and_forbidden_types_are_refused(text: str) -> None:
    with pytest.raises(DecodeError):
        decode(bytes.fromhex(text))


def test_size_is_bounded_before_anything_is_read() -> None:
    data = encode(bytes(100))
    assert decode(data, max_size=len(data)) == bytes(100)
    with pytest.raises(DecodeError, match="longer than the 101 allowed"):
        decode(data, max_size=len(data) - 1)
    with pytest.raises(DecodeError, match="65535"):
        decode(encode(bytes(70_000)))
