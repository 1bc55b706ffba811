"""Entries signed together: each stands alone, in one spelling, and no signature passes for another kind's."""

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import (
    DecodeError,
    LedgerError,
    SignatureError,
    decode,
    encode,
    leaf_hash,
    node_hash,
    parse_entry,
    sign_entry,
    verify_entry,
    verify_strict,
)
from ledger import entry as entry_module
from ledger.cose import Inclusion, Sign1, read_sign1, sig_structure
from ledger.entry import MAX_TOGETHER, check_context, sign_bundle, verify_entries
from tests.ledger.federation import CONTEXT, key_of

KEY = key_of("client-1")
KEYS = {"client-1": KEY.public, "client-2": key_of("client-2").public}


def bundle(size: int, *, first: int = 0) -> list[bytes]:
    return sign_bundle([(7, {1: first + i}) for i in range(size)], "client-1", KEY, context=CONTEXT)


def verifies(data: bytes) -> bool:
    """Whether it is an entry that verifies; by itself and among many alike."""
    among = verify_entries([data], KEYS, context=CONTEXT) == [None]
    try:
        verify_entry(parse_entry(data), KEY.public, context=CONTEXT)
    except LedgerError:
        assert not among
        return False
    assert among
    return True


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 13, 32, 63, 64])
def test_each_entry_stands_alone(size: int) -> None:
    entries = bundle(size)
    assert len(set(entries)) == size
    for number, data in enumerate(entries):
        entry = parse_entry(data)
        assert (entry.kind, entry.sender, entry.body) == (7, "client-1", {1: number})
        assert verifies(data)
        assert read_sign1(data).encode() == data
    assert len({read_sign1(data).signature for data in entries}) == 1


def test_one_entry_is_signed_as_ever() -> None:
    assert bundle(1) == [sign_entry(7, "client-1", {1: 0}, KEY, context=CONTEXT)]


def test_it_is_the_receipt_of_rfc_9942_with_the_leaf_as_payload() -> None:
    payloads = [encode([1, 7, {1: i}]) for i in range(3)]
    leaves = [leaf_hash(payload) for payload in payloads]
    left = node_hash(leaves[0], leaves[1])
    protected = encode({1: -8, 4: b"client-1", 395: 1})
    root = node_hash(left, leaves[2])
    message = encode(["Signature1", protected, CONTEXT + b"\x03", root])
    paths: list[Any] = [[leaves[1], leaves[2]], [leaves[0], leaves[2]], [left]]
    for index, data in enumerate(bundle(3)):
        proof = encode([3, index, paths[index]])
        assert decode(data) == [protected, {396: {-1: [proof]}}, payloads[index], KEY.sign(message)]
    verify_strict(KEY.public, read_sign1(bundle(3)[0]).signature, message)


def test_a_position_has_one_spelling_because_the_size_is_signed() -> None:
    last = read_sign1(bundle(3)[2])
    assert last.inclusion is not None
    # Number 2 of 3 and number 1 of 2 are hashed alike: without the size both would verify.
    other = Inclusion(2, 1, last.inclusion.path)
    assert other.root(last.payload) == last.inclusion.root(last.payload)
    assert not verifies(dataclasses.replace(last, inclusion=other).encode())


def test_signatures_of_one_entry_and_of_several_are_not_exchanged() -> None:
    together = read_sign1(bundle(2)[0])
    assert together.inclusion is not None
    alone = read_sign1(sign_entry(7, "client-1", {1: 0}, KEY, context=CONTEXT))
    assert together.payload == alone.payload
    for forged in (
        Sign1(alone.protected, None, alone.payload, together.signature),
        Sign1(together.protected, together.inclusion, together.payload, alone.signature),
        Sign1(together.protected, None, together.payload, together.signature),
        Sign1(alone.protected, together.inclusion, together.payload, together.signature),
    ):
        assert not verifies(forged.encode())
    root = together.inclusion.root(together.payload)
    for message in (
        sig_structure(alone.protected, CONTEXT, root),
        sig_structure(alone.protected, CONTEXT, root, 2),
        sig_structure(together.protected, CONTEXT, root),
        sig_structure(together.protected, CONTEXT, together.payload, 2),
    ):
        assert not verifies(dataclasses.replace(together, signature=KEY.sign(message)).encode())


@given(st.integers(0, len(bundle(5)[2]) - 1), st.integers(1, 255))
def test_no_mutation_verifies(place: int, change: int) -> None:
    data = bytearray(bundle(5)[2])
    data[place] ^= change
    assert not verifies(bytes(data))


def test_context_sender_and_key_are_bound() -> None:
    data = bundle(2)[0]
    for context in (b"", bytes(32)):
        with pytest.raises(SignatureError, match="client-1 for this federation"):
            verify_entry(parse_entry(data), KEY.public, context=context)
    renamed = dataclasses.replace(read_sign1(data), protected=encode({1: -8, 4: b"client-2", 395: 1})).encode()
    swapped = {"client-2": KEY.public, "client-1": KEYS["client-2"]}
    for refused in (
        verify_entries([renamed], swapped, context=CONTEXT),
        verify_entries([data], swapped, context=CONTEXT),
    ):
        assert isinstance(refused[0], SignatureError)
    [error] = verify_entries([renamed], KEYS, context=CONTEXT)
    assert error is not None
    assert error.culprits == ("client-2",)


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The messages whose signatures are verified."""
    seen: list[bytes] = []

    def counted(public: bytes, signature: bytes, message: bytes) -> None:
        seen.append(message)
        verify_strict(public, signature, message)

    monkeypatch.setattr(entry_module, "verify_strict", counted)
    return seen


def test_many_entries_cost_one_verification_a_signature(checks: list[bytes]) -> None:
    plain = [sign_entry(1, "client-1", i, KEY, context=CONTEXT) for i in range(3)]
    entries = [*bundle(8), *plain, *bundle(8, first=8)]
    entries.reverse()
    assert verify_entries(entries, KEYS, context=CONTEXT) == [None] * len(entries)
    assert len(checks) == 5


def test_verdicts_are_one_each_and_say_why(checks: list[bytes]) -> None:
    good = bundle(3)
    forged = dataclasses.replace(read_sign1(good[1]), signature=bytes([1]) * 64).encode()
    changed = dataclasses.replace(read_sign1(good[1]), payload=encode([1, 7, {1: 99}])).encode()
    stranger = sign_entry(1, "nobody", 0, KEY, context=CONTEXT)
    entries = [forged, good[0], changed, good[1], stranger, b"", good[2], bytes(70_000), forged]
    verdicts = verify_entries(entries, KEYS, context=CONTEXT)
    assert [verdict is None for verdict in verdicts] == [False, True, False, True, False, False, True, False, False]
    reasons = [str(verdict) for verdict in verdicts if verdict is not None]
    assert "not signed by client-1" in reasons[0]
    assert reasons[2] == "no key of nobody is known here"
    assert "ends early" in reasons[3]
    assert "over 65535" in reasons[4]
    assert len(checks) == 3  # the bundle, its forged signature, its changed root
    with pytest.raises(ValueError, match="context"):
        verify_entries([], KEYS, context=bytes(31))
    with pytest.raises(ValueError, match="context"):
        check_context(bytes(33))


@pytest.mark.parametrize("size", [0, MAX_TOGETHER + 1])
def test_a_bundle_has_1_to_64_entries(size: int) -> None:
    with pytest.raises(ValueError, match="1 to 64"):
        bundle(size)


def test_contents_are_checked_like_single_ones() -> None:
    with pytest.raises(ValueError, match="sender"):
        sign_bundle([(1, 0), (1, 0)], "", KEY, context=CONTEXT)
    with pytest.raises(ValueError, match="context"):
        sign_bundle([(1, 0), (1, 0)], "a", KEY, context=bytes(3))
    with pytest.raises(ValueError, match="kind"):
        sign_bundle([(1, 0), (-1, 0)], "a", KEY, context=CONTEXT)
    with pytest.raises(ValueError, match="put the bulk into a blob"):
        sign_bundle([(1, 0), (1, bytes(65_500))], "a", KEY, context=CONTEXT)


@pytest.mark.parametrize(
    ("size", "index", "path", "why"),
    [
        (1, 0, (), "2 to 64"),
        (65, 0, (), "2 to 64"),
        (2, 2, (bytes(32),), "no number 2 of 2"),
        (2, -1, (bytes(32),), "no number"),
        (2, 0, (), "do not lead"),
        (3, 2, (bytes(32), bytes(32)), "do not lead"),
        (2, 0, (bytes(31),), "32 bytes"),
        (2, 0, ("x" * 32,), "32 bytes"),
    ],
)
def test_positions_that_cannot_be_are_refused(size: int, index: int, path: tuple[bytes, ...], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Inclusion(size, index, path)


def _with(place: int, value: Any) -> bytes:
    parts = decode(bundle(2)[0])
    assert isinstance(parts, list)
    parts[place] = value
    return encode(parts)


def _proof(value: Any) -> bytes:
    return _with(1, {396: {-1: [encode(value)]}})


HASH = leaf_hash(encode([1, 7, {1: 1}]))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (_with(0, encode({1: -8, 4: b"client-1"})), "if, and only if"),
        (_with(0, encode({1: -8, 4: b"client-1", 395: 2})), "RFC 9162"),
        (_with(0, encode({1: -8, 4: b"client-1", 394: 1})), "or has 395"),
        (_with(0, encode({1: -8, 4: b"c" * 300, 395: 1})), "at most"),
        (_with(1, {}), "if, and only if"),
        (_with(1, {396: {-1: [b"", b""]}}), "unprotected"),
        (_with(1, {396: {-2: [b""]}}), "unprotected"),
        (_with(1, {396: {-1: [7]}}), "byte string"),
        (_with(1, {396: {-1: [b""]}}), "ends early"),
        (_with(3, bytes(63)), "signature of 64"),
        (_proof([2, 0]), r"\[size, index, path\]"),
        (_proof([2, 0, []]), "array of hashes"),
        (_proof([2, 0, [HASH[:31]]]), "array of hashes"),
        (_proof([2, 0, [HASH.hex()[:32]]]), "32 bytes"),
        (_proof([2, 0, [HASH, HASH]]), "do not lead"),
        (_proof([2, 2, [HASH]]), "no number 2"),
        (_proof([1, 0, [HASH]]), "2 to 64"),
        (_proof([300, 0, [HASH]]), "shortest"),
        (_proof([2, -1, [HASH]]), "shortest"),
        (_with(1, {396: {-1: [encode([2, 0, [HASH]]) + b"\x00"]}}), "nothing follows"),
        (_with(1, {396: {-1: [b"\x83\x18\x02\x00\x81\x58\x20" + HASH]}}), "shortest"),
        (bundle(2)[0] + b"\x00", "ends with a signature"),
        (b"\xd2" + bundle(2)[0], "COSE_Sign1"),
    ],
)
def test_other_structures_are_refused(data: bytes, why: str) -> None:
    with pytest.raises(DecodeError, match=why):
        parse_entry(data)


def test_the_right_proof_in_this_form_is_taken() -> None:
    assert verifies(_proof([2, 0, [HASH]]))
    assert _proof([2, 0, [HASH]]) == bundle(2)[0]
