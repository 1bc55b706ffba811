"""Bodies of entries: what comes back is what went in, and everything else is refused."""

import dataclasses
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import DecodeError, Value, cbor
from secure_bfl import messages
from secure_bfl.messages import (
    BODIES,
    Aggregate,
    AggregateVote,
    Body,
    BudgetSpend,
    Complaint,
    DecryptionRequest,
    Genesis,
    KeyAnswer,
    KeyCheck,
    KeyCommit,
    KeyReveal,
    Kind,
    Model,
    PartialAnswer,
    Party,
    PieceDigest,
    Role,
    RoundClose,
    RoundOpen,
    SealedSeed,
    UpdateCommit,
)

DIGEST = bytes(range(32))
PARTY = Party("member-1", Role.MEMBER, DIGEST, DIGEST, DIGEST)
EXAMPLES: tuple[Body, ...] = (
    PARTY,
    Genesis("origin", b"plan", (PARTY,)),
    PieceDigest(1, DIGEST),
    SealedSeed(1, 2, b"sealed"),
    KeyCommit((PieceDigest(0, DIGEST), PieceDigest(1, DIGEST))),
    KeyReveal((SealedSeed(0, 2, b""),)),
    KeyCheck(DIGEST),
    KeyAnswer((PieceDigest(0, DIGEST),)),
    Complaint(3, b"seed"),
    RoundOpen(1, DIGEST),
    BudgetSpend(1, 10, 2698, 1_000_000, DIGEST),
    UpdateCommit(1, DIGEST),
    RoundClose(1, (4, 5)),
    Aggregate(1, DIGEST),
    AggregateVote(1, DIGEST),
    DecryptionRequest(1, 1, DIGEST, (1, 2, 3), b"note"),
    PartialAnswer(1, DIGEST),
    Model(1, DIGEST, -1),
)
each = pytest.mark.parametrize("body", EXAMPLES, ids=lambda body: type(body).__name__)

# A strategy for every annotation that a field may have.
INTEGERS = st.integers(-1, messages.MAX_INT)
BYTES = st.binary(max_size=200)
DIGESTS = st.binary(min_size=32, max_size=32)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=messages.MAX_TEXT)
PARTIES = st.builds(Party, TEXT, st.sampled_from(Role), DIGESTS, BYTES, BYTES)
PIECES = st.builds(PieceDigest, INTEGERS, DIGESTS)
SEEDS = st.builds(SealedSeed, INTEGERS, INTEGERS, BYTES)
PLAIN = (RoundOpen, UpdateCommit, Aggregate, AggregateVote, PartialAnswer)
BODY = st.one_of(
    PARTIES,
    PIECES,
    SEEDS,
    st.builds(Genesis, TEXT, BYTES, st.lists(PARTIES, max_size=5).map(tuple)),
    st.builds(KeyCommit, st.lists(PIECES, max_size=5).map(tuple)),
    st.builds(KeyReveal, st.lists(SEEDS, max_size=5).map(tuple)),
    st.builds(KeyCheck, DIGESTS),
    st.builds(KeyAnswer, st.lists(PIECES, max_size=5).map(tuple)),
    st.builds(Complaint, INTEGERS, BYTES),
    st.builds(BudgetSpend, INTEGERS, INTEGERS, INTEGERS, INTEGERS, DIGESTS),
    st.builds(RoundClose, INTEGERS, st.lists(INTEGERS, max_size=9).map(tuple)),
    st.builds(DecryptionRequest, INTEGERS, INTEGERS, DIGESTS, st.lists(INTEGERS, max_size=9).map(tuple), BYTES),
    st.builds(Model, INTEGERS, DIGESTS, INTEGERS),
    *(st.builds(kind, INTEGERS, DIGESTS) for kind in PLAIN),
)


def fields_of(body: Body) -> list[Value]:
    value = body.to_value()
    assert isinstance(value, list)
    return value


def test_every_kind_has_one_body() -> None:
    assert set(BODIES) == {int(kind) for kind in Kind}
    assert all(body.kind == kind for kind, body in BODIES.items())
    assert set(BODIES.values()) | {Party, PieceDigest, SealedSeed} == {type(body) for body in EXAMPLES}


@given(BODY)
@settings(max_examples=200)
def test_round_trip(body: Body) -> None:
    value = cbor.decode(cbor.encode(body.to_value()))
    again = type(body).from_value(value)
    assert again == body
    assert again.to_value() == value


@each
def test_frozen_and_slotted(body: Body) -> None:
    for field in dataclasses.fields(body):  # type: ignore[arg-type]  # every body is a dataclass
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(body, field.name, 0)
    assert not hasattr(body, "__dict__")
    assert hash(body) == hash(type(body).from_value(body.to_value()))


@each
def test_the_number_of_fields_is_exact(body: Body) -> None:
    fields = fields_of(body)
    for value in (fields[:-1], [*fields, 0], [], 0, b"", "text", {0: 1}):
        with pytest.raises(DecodeError, match=f"{type(body).__name__}: expected {len(fields)} fields"):
            type(body).from_value(value)  # type: ignore[arg-type]  # hostile


def wrong_values(value: Any) -> list[Any]:
    """What must not stand where `value` stands."""
    if isinstance(value, bytes):
        return [0, "text", [], {}, None, 1.5, bytearray(32), bytes(messages.MAX_BYTES + 1)]
    if isinstance(value, str):
        return [0, b"bytes", [], "", "x" * (messages.MAX_TEXT + 1), None]
    if isinstance(value, list):
        return [0, b"", "text", {}, [None], [[[]]], [0] * (messages.MAX_LIST + 1), ()]
    return [b"", "1", [], {}, None, 1.0, True, False, -2, messages.MAX_INT + 1, 2**64]


@each
def test_wrong_types_lengths_and_ranges_are_refused(body: Body) -> None:
    fields = fields_of(body)
    for index, value in enumerate(fields):
        for wrong in wrong_values(value):
            with pytest.raises(DecodeError, match=r"^[A-Z]\w+(\.\w+)?: "):
                type(body).from_value([*fields[:index], wrong, *fields[index + 1 :]])


@each
def test_digests_have_32_bytes(body: Body) -> None:
    fields = fields_of(body)
    hints = messages._hints(type(body))  # type: ignore[arg-type]  # a class is hashable
    for index, hint in enumerate(hints[field.name] for field in dataclasses.fields(body)):  # type: ignore[arg-type]
        if hint == messages.Digest:
            for size in (0, 31, 33):
                with pytest.raises(DecodeError, match="expected 32 bytes"):
                    type(body).from_value([*fields[:index], bytes(size), *fields[index + 1 :]])


@pytest.mark.parametrize("role", [-1, 0, 4, 2**63, True, "1", b"\x01", None])
def test_unknown_roles_are_refused(role: Any) -> None:
    fields = fields_of(PARTY)
    with pytest.raises(DecodeError, match=r"Party\.role: .* is not a Role"):
        Party.from_value([fields[0], role, *fields[2:]])


def test_limits_themselves_are_allowed() -> None:
    assert Complaint.from_value([-1, bytes(messages.MAX_BYTES)]).piece == -1
    assert Complaint.from_value([messages.MAX_INT, b""]).piece == messages.MAX_INT
    assert len(RoundClose.from_value([1, [0] * messages.MAX_LIST]).cohort) == messages.MAX_LIST
    assert Genesis.from_value(["x" * messages.MAX_TEXT, b"", []]).origin == "x" * messages.MAX_TEXT


def test_an_enumeration_travels_as_an_integer() -> None:
    assert all(type(item) is not Role for item in fields_of(PARTY))
    assert Party.from_value(PARTY.to_value()).role is Role.MEMBER


def test_a_message_does_not_repeat_a_long_value() -> None:
    fields = fields_of(PARTY)
    with pytest.raises(DecodeError) as caught:
        Party.from_value([fields[0], "z" * 10_000, *fields[2:]])
    assert len(str(caught.value)) < 100
