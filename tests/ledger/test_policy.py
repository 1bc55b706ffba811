"""Quorums: what they are, and what a certificate takes."""

import dataclasses
from itertools import combinations

import pytest

from ledger import (
    COSIGNATURE_V1,
    ED25519,
    Certificate,
    Checkpoint,
    DecodeError,
    Note,
    NoteSignature,
    QuorumError,
    SignatureError,
    VerifierKey,
    byzantine_quorum,
    cosign,
    parse_note,
    sign_checkpoint,
)
from tests.ledger.federation import NAMES, ORIGIN, Federation, key_of

POINT = Checkpoint(ORIGIN, 3, bytes(32))
NOTE = sign_checkpoint(POINT, key_of("sequencer"))


def _cosigned(*names: str) -> bytes:
    return NOTE + "".join(cosign(NOTE, name, key_of(name), now=1) for name in names).encode()


def test_the_quorum_is_n_minus_f() -> None:
    assert [byzantine_quorum(n) for n in range(1, 11)] == [1, 2, 3, 3, 4, 5, 5, 6, 7, 7]
    with pytest.raises(ValueError, match="at least one witness"):
        byzantine_quorum(0)


@pytest.mark.parametrize("n", range(1, 8))
def test_two_quorums_always_share_an_honest_witness(n: int) -> None:
    quorum, f = byzantine_quorum(n), (n - 1) // 3
    for one in combinations(range(n), quorum):
        for other in combinations(range(n), quorum):
            assert len(set(one) & set(other)) > f
    if n in (4, 7):  # with n = 3f + 1 witnesses, one fewer does not
        fewer = list(combinations(range(n), quorum - 1))
        assert min(len(set(one) & set(other)) for one in fewer for other in fewer) <= f


def test_enough_cosignatures_make_a_certificate() -> None:
    policy = Federation().policy
    assert policy.needed == 4
    certificate = policy.verify(_cosigned(*NAMES[:4]))
    assert certificate == Certificate(POINT, NAMES[:4], _cosigned(*NAMES[:4]))


def test_too_few_cosignatures_are_refused_by_name() -> None:
    with pytest.raises(QuorumError) as caught:
        Federation().policy.verify(_cosigned(*NAMES[:3]))
    assert str(caught.value) == "a certificate needs 4 of 5 cosignatures, has 3; missing: member-4, member-5"
    assert (caught.value.needed, caught.value.have, caught.value.missing) == (4, NAMES[:3], NAMES[3:])


def test_the_same_witness_twice_counts_once() -> None:
    with pytest.raises(QuorumError, match="has 3; missing: member-4, member-5"):
        Federation().policy.verify(_cosigned("member-1", "member-1", "member-2", "member-3"))


def test_unknown_keys_are_ignored_and_do_not_count() -> None:
    policy = Federation().policy
    stranger = cosign(NOTE, "member-4", key_of("stranger"), now=1).encode()
    with pytest.raises(QuorumError, match="has 3; missing: member-4, member-5"):
        policy.verify(_cosigned(*NAMES[:3]) + stranger)
    assert policy.verify(_cosigned(*NAMES[:4]) + stranger).cosigners == NAMES[:4]


def test_a_bad_signature_under_a_known_key_refuses_the_whole_note() -> None:
    key_id = VerifierKey("member-5", COSIGNATURE_V1, key_of("member-5").public).key_id
    bad = NoteSignature("member-5", key_id, bytes(72)).line().encode()
    with pytest.raises(SignatureError, match="member-5 is bad"):
        Federation().policy.verify(_cosigned(*NAMES[:4]) + bad)


def test_cosignatures_without_the_log_are_refused() -> None:
    parsed = parse_note(_cosigned(*NAMES))
    with pytest.raises(SignatureError, match=f"not signed by {ORIGIN}"):
        Federation().policy.verify(Note(parsed.text, parsed.signatures[1:]).encode())
    with pytest.raises(DecodeError):
        Federation().policy.verify(b"garbage")


def test_cosignatures_of_another_checkpoint_do_not_move_over() -> None:
    moved = parse_note(_cosigned(*NAMES)).signatures[1:]
    other = parse_note(sign_checkpoint(dataclasses.replace(POINT, size=4), key_of("sequencer")))
    with pytest.raises(SignatureError, match="member-1 is bad"):
        Federation().policy.verify(Note(other.text, other.signatures + moved).encode())


def test_unsafe_policies_are_refused() -> None:
    policy = Federation().policy
    first = policy.witnesses[0]
    log = policy.log_key
    many = tuple(VerifierKey(f"w{i}", COSIGNATURE_V1, key_of(f"w{i}").public) for i in range(64))
    for changes, words in (
        ({"quorum": 3}, "is 4 to 5"),
        ({"quorum": 6}, "is 4 to 5"),
        ({"witnesses": ()}, "at least one"),
        ({"witnesses": many}, "at most 63"),
        ({"origin": "example.com/other"}, "named as the origin"),
        ({"log_key": VerifierKey(ORIGIN, COSIGNATURE_V1, log.public)}, "type 0x01"),
        ({"witnesses": (VerifierKey("w", ED25519, first.public),)}, "type 0x04"),
        ({"witnesses": (*policy.witnesses, dataclasses.replace(first, public=key_of("x").public))}, "one name"),
        ({"witnesses": (*policy.witnesses, dataclasses.replace(first, name="member-6"))}, "one public key"),
        ({"witnesses": (*policy.witnesses, VerifierKey("w", COSIGNATURE_V1, log.public))}, "log's key"),
    ):
        with pytest.raises(ValueError, match=words):
            dataclasses.replace(policy, **changes)
    assert dataclasses.replace(policy, quorum=5).needed == 5


def test_a_certificate_is_checked_on_construction() -> None:
    for cosigners, note in (((), NOTE), (("a", "a"), NOTE), (("a",), b"other"), (("a",), NOTE[1:])):
        with pytest.raises(ValueError):
            Certificate(POINT, cosigners, note)
