"""Fingerprints that contradict each other: camps, who is believed, and the challenge."""

import hashlib

import pytest

from protocols.suites import suite
from protocols.tckks import ReplicatedSharing, ShamirSharing, Sharing, fingerprint_bytes, share_among
from secure_bfl.disputes import Dispute, are_well_formed, challenge, convicted, disputes, has_checks
from secure_bfl.messages import DecryptionRequest, PartialAnswer, PieceCheck
from secure_bfl.roster import Committee, member_name
from secure_bfl.state import Attempt
from tests.secure_bfl.federation import digest
from tests.secure_bfl.script import Script


def committee_of(script: Script, sharing: Sharing) -> Committee:
    """Only names, sharing and number of members matter here."""
    founding = script.replay().committee
    party = founding.parties["member-1"]
    parties = {member_name(i): party for i in range(1, sharing.members + 1)}
    return Committee(0, sharing, parties, founding.policy)


def attempt_of(sharing: Sharing, lies: dict[int, dict[int, int]], *, silent: tuple[int, ...] = ()) -> Attempt:
    """`lies[member][piece]` is what a member states in place of the truth, which is 0."""
    request = DecryptionRequest(1, 0, 1, digest("sum"), (1, 2, 3), b"")
    asked = ("member-1", "member-2", "member-3")
    checks = {
        member_name(m): PieceCheck(
            1, 0, bytes(32), tuple(bytes([lies.get(m, {}).get(p, 0)]) for p in sharing.held_by(m))
        )
        for m in range(1, sharing.members + 1)
        if m not in silent
    }
    entry = digest("request")
    return Attempt(request, asked, entry, {name: PartialAnswer(1, 0, entry, digest(name)) for name in asked}, checks)


FIVE = ReplicatedSharing(5, 3)
PIECE = FIVE.held_by(1)[0]
ONE, TWO, THREE = FIVE.holders(PIECE)


def test_agreement_is_no_dispute(script: Script) -> None:
    committee = committee_of(script, FIVE)
    assert disputes(attempt_of(FIVE, {}), committee) == ()
    assert disputes(attempt_of(FIVE, {}, silent=(1, 2, 3, 4, 5)), committee) == ()
    lie = {m: {PIECE: 7} for m in (ONE, TWO, THREE)}
    assert disputes(attempt_of(FIVE, lie), committee) == (), "holders who all collude are not seen"


def test_one_against_two_is_convicted(script: Script) -> None:
    committee, attempt = committee_of(script, FIVE), attempt_of(FIVE, {TWO: {PIECE: 1}})
    camps = ((member_name(ONE), member_name(THREE)), (member_name(TWO),))
    (dispute,) = disputes(attempt, committee)
    assert dispute == Dispute(PIECE, camps, camps[0])
    assert dispute.convicted == (member_name(TWO),)
    assert convicted(attempt, committee) == {member_name(TWO): dispute}
    assert str(dispute) == (
        f"the holders of piece {PIECE} disagree about its answer: "
        f"{member_name(ONE)}, {member_name(THREE)} against {member_name(TWO)}"
    )


def test_one_against_one_convicts_nobody(script: Script) -> None:
    committee, attempt = committee_of(script, FIVE), attempt_of(FIVE, {TWO: {PIECE: 1}}, silent=(THREE,))
    (dispute,) = disputes(attempt, committee)
    assert (dispute.believed, dispute.convicted) == ((), ())
    assert convicted(attempt, committee) == {}
    apart = attempt_of(FIVE, {TWO: {PIECE: 1}, THREE: {PIECE: 2}})
    (dispute,) = disputes(apart, committee)
    assert (len(dispute.camps), dispute.believed) == (3, ())


def test_two_liars_of_five_are_more_than_the_rule_assumes(script: Script) -> None:
    """f is 1 of 5: two who collude are believed against one. The dispute still shows that something is wrong."""
    committee = committee_of(script, FIVE)
    (dispute,) = disputes(attempt_of(FIVE, {ONE: {PIECE: 1}, TWO: {PIECE: 1}}), committee)
    assert dispute.believed == (member_name(ONE), member_name(TWO))
    assert dispute.convicted == (member_name(THREE),)


def test_two_camps_that_are_both_large_convict_nobody(script: Script) -> None:
    sharing = ReplicatedSharing(5, 2)
    piece = sharing.held_by(1)[0]
    a, b, c, d = sharing.holders(piece)
    (dispute,) = disputes(attempt_of(sharing, {a: {piece: 1}, b: {piece: 1}}), committee_of(script, sharing))
    assert dispute.camps == ((member_name(a), member_name(b)), (member_name(c), member_name(d)))
    assert dispute.believed == ()


def test_three_members_cannot_convict_each_other(script: Script) -> None:
    """f is 0 of 3: a single member is a camp as large as any, so nobody is believed."""
    sharing = ReplicatedSharing(3, 2)
    piece = sharing.held_by(1)[0]
    (dispute,) = disputes(attempt_of(sharing, {1: {piece: 1}}), committee_of(script, sharing))
    assert dispute.believed == ()


UNDECIDED = {(3, 2), (4, 3), (5, 4), (6, 5), (7, 5), (7, 6), (8, 6), (8, 7), (9, 8), (10, 9), (11, 10), (12, 11)}


def test_where_a_single_liar_is_convicted(script: Script) -> None:
    """All have checked, and one lies about a piece: nobody is believed in exactly the committees of the limitations."""
    found = set()
    for members, threshold in ((n, t) for n in range(3, 33) for t in range(2, n)):
        sharing = share_among(members, threshold)
        if has_checks(sharing):
            (dispute,) = disputes(attempt_of(sharing, {1: {sharing.held_by(1)[0]: 1}}), committee_of(script, sharing))
            assert dispute.convicted in ((), ("member-1",))
            found |= set() if dispute.convicted else {(members, threshold)}
    assert found == UNDECIDED


def test_who_cross_checks() -> None:
    assert has_checks(ReplicatedSharing(3, 2))
    assert not has_checks(ReplicatedSharing(3, 3)), "each piece has one holder"
    assert not has_checks(ShamirSharing(9, 5))


def test_the_length_of_a_check() -> None:
    small = suite(8192)
    size = fingerprint_bytes(small)
    assert are_well_formed(PieceCheck(1, 0, bytes(32), (bytes(size),) * 3), small, 3)
    for prints in ((bytes(size),) * 2, (bytes(size),) * 4, (bytes(size), bytes(size), bytes(size - 1)), ()):
        assert not are_well_formed(PieceCheck(1, 0, bytes(32), prints), small, 3)


def test_the_challenge_is_fixed_by_the_request_and_every_answer(script: Script) -> None:
    attempt = attempt_of(FIVE, {})
    answers = b"".join(digest(name) for name in attempt.asked)
    label = b"secure-bfl/fingerprint/v1" + digest("run") + (1).to_bytes(4, "big") + b"\x00" + digest("request")
    assert challenge(digest("run"), 1, attempt) == hashlib.sha256(label + answers).digest()
    seen = {challenge(digest("run"), 1, attempt), challenge(digest("other"), 1, attempt)}
    seen.add(challenge(digest("run"), 2, attempt))
    for name in attempt.asked:
        other = attempt_of(FIVE, {})
        other.answers[name] = PartialAnswer(1, 0, other.entry, digest("another"))
        seen.add(challenge(digest("run"), 1, other))
    other = attempt_of(FIVE, {})
    other.entry = digest("another request")
    seen.add(challenge(digest("run"), 1, other))
    assert len(seen) == 7
    del attempt.answers["member-2"]
    with pytest.raises(ValueError, match="no challenge before member-2 answered"):
        challenge(digest("run"), 1, attempt)
