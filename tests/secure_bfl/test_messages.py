"""Bodies of entries: what comes back is what went in, and everything else is refused."""

import dataclasses
import hashlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import DecodeError, Value, cbor
from secure_bfl import body as codec
from secure_bfl.messages import (
    BODIES,
    AddendCommit,
    AddendSeed,
    Aggregate,
    AggregateVote,
    BlobRelease,
    Body,
    BudgetSpend,
    ChangeCertificate,
    CommitteeChange,
    Complaint,
    DecryptionRequest,
    Genesis,
    KeyAccept,
    KeyAnswer,
    KeyCheck,
    KeyClaim,
    KeyCommit,
    KeyDrop,
    KeyOpen,
    KeyReveal,
    KeyRevocation,
    KeyRotation,
    Kind,
    Model,
    OtherSpend,
    PartialAnswer,
    Party,
    PieceCheck,
    PrivacyAudit,
    Role,
    RoundClose,
    RoundOpen,
    RoundVoid,
    TrialAnswer,
    UpdateCommit,
)

DIGEST = bytes(range(32))
PARTY = Party("member-1", Role.MEMBER, DIGEST, DIGEST, DIGEST)
EXAMPLES: tuple[Body, ...] = (
    PARTY,
    Genesis("origin", b"plan", (PARTY,)),
    AddendCommit(1, DIGEST, DIGEST),
    KeyCommit(DIGEST, (AddendCommit(0, DIGEST, DIGEST), AddendCommit(1, b"", DIGEST))),
    KeyReveal(DIGEST, (0, 1), DIGEST),
    KeyCheck(DIGEST, DIGEST, (bytes(16),)),
    TrialAnswer(0, 1, DIGEST),
    KeyAnswer(DIGEST, (TrialAnswer(0, 1, DIGEST),)),
    KeyAccept(DIGEST, DIGEST),
    Complaint(DIGEST, 3, DIGEST, b"seed"),
    AddendSeed(3, DIGEST),
    KeyOpen(DIGEST, (AddendSeed(3, DIGEST),)),
    CommitteeChange(1, 2, (PARTY,), (1, 2)),
    KeyDrop(DIGEST),
    ChangeCertificate(DIGEST, b"note"),
    RoundOpen(1, DIGEST),
    BudgetSpend(1, 10, 2698, 1_000_000, (OtherSpend(3000, 10_000, 5),), DIGEST),
    UpdateCommit(1, 0, DIGEST, b""),
    RoundClose(1, (4, 5)),
    Aggregate(1, DIGEST),
    AggregateVote(1, DIGEST, DIGEST),
    DecryptionRequest(1, 0, 1, DIGEST, (1, 2, 3), b"note"),
    PartialAnswer(1, 0, DIGEST, DIGEST),
    Model(1, DIGEST, -1, 1 << 40),
    PieceCheck(1, 0, DIGEST, (b"one", b"two")),
    RoundVoid(1, "a reason"),
    KeyClaim("client-1", 0, DIGEST, bytes(64)),
    KeyRotation(0, DIGEST, bytes(64)),
    KeyRevocation("client-1", 0, DIGEST, bytes(64), "lost"),
    BlobRelease(1, DIGEST),
    PrivacyAudit(1000, 10**7, 100, 40, 21, 0, 10**11, 10**11, 10**6, 10**11, ("integer norms",)),
)
each = pytest.mark.parametrize("body", EXAMPLES, ids=lambda body: type(body).__name__)

# A strategy for every annotation that a field may have.
INTEGERS = st.integers(-1, codec.MAX_INT)
BYTES = st.binary(max_size=200)
DIGESTS = st.binary(min_size=32, max_size=32)
PROOFS = st.binary(min_size=64, max_size=64)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=codec.MAX_TEXT)
PARTIES = st.builds(Party, TEXT, st.sampled_from(Role), DIGESTS, BYTES, BYTES)
SEVERAL = st.lists(INTEGERS, max_size=9).map(tuple)
PLAIN = (RoundOpen, Aggregate, AddendSeed)
ADDENDS = st.builds(AddendCommit, INTEGERS, BYTES, DIGESTS)
TRIALS = st.builds(TrialAnswer, INTEGERS, INTEGERS, DIGESTS)
OTHERS = st.lists(st.builds(OtherSpend, INTEGERS, INTEGERS, INTEGERS), max_size=4).map(tuple)
SEEDS = st.builds(AddendSeed, INTEGERS, DIGESTS)
BODY = st.one_of(
    PARTIES,
    ADDENDS,
    TRIALS,
    st.builds(Genesis, TEXT, BYTES, st.lists(PARTIES, max_size=5).map(tuple)),
    st.builds(KeyCommit, DIGESTS, st.lists(ADDENDS, max_size=5).map(tuple)),
    st.builds(KeyReveal, DIGESTS, SEVERAL, DIGESTS),
    st.builds(KeyAnswer, DIGESTS, st.lists(TRIALS, max_size=5).map(tuple)),
    st.builds(Complaint, DIGESTS, INTEGERS, DIGESTS, BYTES),
    st.builds(KeyOpen, DIGESTS, st.lists(SEEDS, max_size=5).map(tuple)),
    st.builds(CommitteeChange, INTEGERS, INTEGERS, st.lists(PARTIES, max_size=5).map(tuple), SEVERAL),
    st.builds(KeyClaim, TEXT, INTEGERS, DIGESTS, PROOFS),
    st.builds(KeyRotation, INTEGERS, DIGESTS, PROOFS),
    st.builds(KeyRevocation, TEXT, INTEGERS, BYTES, BYTES, TEXT),
    st.builds(BlobRelease, INTEGERS, DIGESTS),
    st.builds(KeyCheck, DIGESTS, DIGESTS, st.lists(BYTES, max_size=9).map(tuple)),
    st.builds(KeyAccept, DIGESTS, DIGESTS),
    st.builds(ChangeCertificate, DIGESTS, BYTES),
    st.builds(KeyDrop, DIGESTS),
    st.builds(BudgetSpend, INTEGERS, INTEGERS, INTEGERS, INTEGERS, OTHERS, DIGESTS),
    st.builds(UpdateCommit, INTEGERS, INTEGERS, DIGESTS, BYTES),
    st.builds(RoundClose, INTEGERS, SEVERAL),
    st.builds(DecryptionRequest, INTEGERS, INTEGERS, INTEGERS, DIGESTS, SEVERAL, BYTES),
    st.builds(AggregateVote, INTEGERS, DIGESTS, DIGESTS),
    st.builds(PartialAnswer, INTEGERS, INTEGERS, DIGESTS, DIGESTS),
    st.builds(Model, INTEGERS, DIGESTS, INTEGERS, INTEGERS),
    st.builds(PrivacyAudit, *[INTEGERS] * 10, st.lists(TEXT, max_size=4).map(tuple)),
    st.builds(PieceCheck, INTEGERS, INTEGERS, DIGESTS, st.lists(BYTES, max_size=9).map(tuple)),
    st.builds(RoundVoid, INTEGERS, TEXT),
    *(st.builds(kind, INTEGERS, DIGESTS) for kind in PLAIN),
)


def fields_of(body: Body) -> list[Value]:
    value = body.to_value()
    assert isinstance(value, list)
    return value


def test_every_kind_has_one_body() -> None:
    assert set(BODIES) == {int(kind) for kind in Kind}
    assert all(body.kind == kind for kind, body in BODIES.items())
    assert set(BODIES.values()) | {KeyClaim, Party, AddendCommit, AddendSeed, TrialAnswer} == {
        type(body) for body in EXAMPLES
    }


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
        return [0, "text", [], {}, None, 1.5, bytearray(32), bytes(codec.MAX_BYTES + 1)]
    if isinstance(value, str):
        return [0, b"bytes", [], "", "x" * (codec.MAX_TEXT + 1), None]
    if isinstance(value, list):
        return [0, b"", "text", {}, [None], [[[]]], [0] * (codec.MAX_LIST + 1), ()]
    return [b"", "1", [], {}, None, 1.0, True, False, -2, codec.MAX_INT + 1, 2**64]


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
    hints = codec._hints(type(body))  # type: ignore[arg-type]  # a class is hashable
    for index, hint in enumerate(hints[field.name] for field in dataclasses.fields(body)):  # type: ignore[arg-type]
        if hint == codec.Digest:
            for size in (0, 31, 33):
                with pytest.raises(DecodeError, match="expected 32 bytes"):
                    type(body).from_value([*fields[:index], bytes(size), *fields[index + 1 :]])


@pytest.mark.parametrize("role", [-1, 0, 4, 2**63, True, "1", b"\x01", None])
def test_unknown_roles_are_refused(role: Any) -> None:
    fields = fields_of(PARTY)
    with pytest.raises(DecodeError, match=r"Party\.role: .* is not a Role"):
        Party.from_value([fields[0], role, *fields[2:]])


def test_limits_themselves_are_allowed() -> None:
    assert Complaint.from_value([DIGEST, -1, DIGEST, bytes(codec.MAX_BYTES)]).addend == -1
    assert Complaint.from_value([DIGEST, codec.MAX_INT, DIGEST, b""]).addend == codec.MAX_INT
    assert len(RoundClose.from_value([1, [0] * codec.MAX_LIST]).cohort) == codec.MAX_LIST
    assert Genesis.from_value(["x" * codec.MAX_TEXT, b"", []]).origin == "x" * codec.MAX_TEXT


def test_an_enumeration_travels_as_an_integer() -> None:
    assert all(type(item) is not Role for item in fields_of(PARTY))
    assert Party.from_value(PARTY.to_value()).role is Role.MEMBER


def test_a_message_does_not_repeat_a_long_value() -> None:
    fields = fields_of(PARTY)
    with pytest.raises(DecodeError) as caught:
        Party.from_value([fields[0], "z" * 10_000, *fields[2:]])
    assert len(str(caught.value)) < 100


def test_an_upload_is_all_that_is_sent() -> None:
    base = UpdateCommit(1, 0, DIGEST, b"data")
    label = b"secure-bfl/upload/v1" + bytes(8)
    assert base.upload == hashlib.sha256(label + DIGEST + b"data").digest()
    assert dataclasses.replace(base, round=2).upload == base.upload
    others = [dataclasses.replace(base, mode=1), dataclasses.replace(base, mode=-1)]
    others += [dataclasses.replace(base, opened=bytes(32)), dataclasses.replace(base, data=b"")]
    assert len({base.upload, *(other.upload for other in others)}) == 5
