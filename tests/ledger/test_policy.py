"""Quorums: what they are, and what a certificate takes."""

import dataclasses
from itertools import combinations

import pytest

from ledger import (
    COSIGNATURE_V1,
    ED25519,
    Certificate,
    Checkpoint,
    ConsistencyError,
    DecodeError,
    EquivocationError,
    Log,
    MemoryStore,
    MemoryWitnessStore,
    Note,
    NoteSignature,
    Policy,
    QuorumError,
    SignatureError,
    Tree,
    VerifierKey,
    Witness,
    byzantine_quorum,
    certify,
    cosign,
    leaf_hash,
    parse_note,
    sign_checkpoint,
)
from ledger.cosign import CosigningKey, cosigner
from ledger.evidence import Equivocation
from ledger.mldsa import MlDsaKey
from ledger.note import MAX_NOTE
from ledger.policy import verify_progress
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
        ({"witnesses": (VerifierKey("w", ED25519, first.public),)}, "type 0x04 or 0x06"),
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


# ML-DSA-44 beside Ed25519


def _mldsa(name: str) -> MlDsaKey:
    return MlDsaKey.from_seed(name.encode().ljust(32, b"\x00"))


def test_members_of_both_kinds_make_one_certificate() -> None:
    log = Log(MemoryStore(), ORIGIN, key_of("sequencer"))
    log.append(b"entry")
    keys: dict[str, CosigningKey] = {name: _mldsa(name) if i % 2 else key_of(name) for i, name in enumerate(NAMES[:4])}
    witnesses = {name: Witness(name, key, log.verifier, MemoryWitnessStore()) for name, key in keys.items()}
    policy = Policy(ORIGIN, log.verifier, tuple(witness.verifier for witness in witnesses.values()))
    certificate = certify(log, witnesses, policy, now=7)
    assert certificate.cosigners == NAMES[:4]
    assert policy.verify(certificate.note) == certificate
    without = Note(parse_note(certificate.note).text, parse_note(certificate.note).signatures[:3])
    with pytest.raises(QuorumError, match="has 2"):
        policy.verify(without.encode())


def test_a_member_is_known_by_one_key_only() -> None:
    policy = Federation().policy
    with pytest.raises(ValueError, match="one name"):
        dataclasses.replace(policy, witnesses=(*policy.witnesses, cosigner("member-1", _mldsa("member-1"))))
    with pytest.raises(ValueError, match="one public key"):
        dataclasses.replace(policy, witnesses=tuple(cosigner(f"w{i}", _mldsa("w")) for i in (1, 2)))


def test_a_policy_is_refused_if_its_certificates_might_not_fit_a_note() -> None:
    log = Federation().policy.log_key
    keys = tuple(cosigner(f"{i:02}".ljust(150, "n"), _mldsa(str(i))) for i in range(20))
    largest = Policy(ORIGIN, log, keys[:19])
    assert largest.needed == 13
    with pytest.raises(ValueError, match=f"may not fit a note: a note is at most {MAX_NOTE}"):
        Policy(ORIGIN, log, keys)
    with pytest.raises(ValueError, match="may not fit a note"):
        Policy(ORIGIN, log, tuple(cosigner(f"{i:02}" + "n" * 1000, key_of(str(i))) for i in range(63)))
    long = "o" * 256
    long_key = VerifierKey(long, ED25519, log.public)
    assert Policy(long, long_key, (cosigner("m", key_of("m")),)).needed == 1
    with pytest.raises(ValueError, match="at most 255 bytes"):
        Policy(long, long_key, keys[:1])


# A client with a memory

TREE = Tree([leaf_hash(b"%d" % i) for i in range(20)])
FORK = Tree([leaf_hash(b"%d" % i) for i in range(4)] + [leaf_hash(b"other")] * 16)


def _certificate(size: int, tree: Tree = TREE, origin: str = ORIGIN) -> Certificate:
    point = Checkpoint(origin, size, tree.root(size))
    return Certificate(point, ("member-1",), sign_checkpoint(point, key_of("sequencer")))


def test_a_stale_or_forked_view_is_found_by_what_was_seen_before() -> None:
    seen = _certificate(8)
    verify_progress(seen, _certificate(12), TREE.consistency_proof(8, 12))
    verify_progress(seen, seen, [])
    verify_progress(_certificate(0, Tree()), _certificate(12), [])
    with pytest.raises(ConsistencyError, match="a stale view: size 7 is shown, 8 was seen") as stale:
        verify_progress(seen, _certificate(7), [])
    assert stale.value.culprits == (ORIGIN,)
    with pytest.raises(EquivocationError) as caught:
        verify_progress(seen, _certificate(8, FORK), [])
    log = VerifierKey(ORIGIN, ED25519, key_of("sequencer").public)
    assert Equivocation(log, *caught.value.evidence).verify().size == 8
    for proof in (FORK.consistency_proof(8, 12), TREE.consistency_proof(8, 12), []):
        with pytest.raises(ConsistencyError):
            verify_progress(seen, _certificate(12, FORK), proof)
    with pytest.raises(ConsistencyError, match="no proof is due"):
        verify_progress(seen, seen, [bytes(32)])
    with pytest.raises(ConsistencyError, match=r"of example\.com/other"):
        verify_progress(seen, _certificate(12, TREE, "example.com/other"), [])
