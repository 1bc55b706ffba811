"""A member in a round: what it refuses, what it answers twice in the same words, and what it checks."""

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from ledger import BlobError
from protocols.errors import DecodeError
from protocols.tckks import EncryptedVector, PartialDecryption, commitment, partial_decrypt
from secure_bfl import member as member_module
from secure_bfl.errors import RefusedError, StateError
from secure_bfl.member import KEY_STEPS, Member
from secure_bfl.messages import Aggregate, AggregateVote, RoundClose, UpdateCommit
from secure_bfl.roster import member_name
from tests.secure_bfl.federation import NOW, Federation, digest


def shares_sent(federation: Federation) -> int:
    """How many partial decryptions of a whole sum left a member: on the ledger, or at least in the blob store."""
    size = PartialDecryption.encoded_size(federation.plan.suite, federation.plan.blocks)
    test_answers = {d for same in federation.board.replay.ceremony.answered().values() for d in same}
    stored = sum(len(b) == size for d, b in federation.blobs._blobs.items() if d not in test_answers)
    assert stored >= len(federation.board.round(1).answers)
    return stored


def promises(federation: Federation, name: str) -> int:
    """How many claims about rounds a member made."""
    journal = federation.disks[name].journal
    return journal.count("aggregate/") + journal.count("ciphertext/") + journal.count("active/")


def signed_by(federation: Federation, number: int, body: Any) -> None:
    identity = federation.identities[member_name(number)]
    federation.board.append(body, identity.name, identity.signing)


def request_of(federation: Federation, aggregate: bytes, *, voters: tuple[int, ...] = (1, 2, 3)) -> None:
    """Announce an aggregate, have members vote for it unseen, and request it."""
    operator = federation.operator
    federation.board.append(Aggregate(1, aggregate), operator.name, operator.identity.signing)
    for number in voters:
        signed_by(federation, number, AggregateVote(1, federation.board.round(1).closing, aggregate))
    federation.request(1)
    assert federation.board.round(1).request is not None


# Answers.


def test_the_asked_members_answer_once(requested: Federation) -> None:
    federation = requested.copy()
    board = federation.board
    for member in federation.members:
        member.answer(board, 1)
    assert tuple(board.round(1).answers) == ("member-1", "member-2")
    size, blobs = federation.log.size, set(federation.blobs.digests())
    for member in federation.members:
        member.answer(board, 1)
    assert (federation.log.size, set(federation.blobs.digests())) == (size, blobs)


def test_who_is_not_asked_does_nothing(requested: Federation, voted: Federation) -> None:
    federation = requested.copy()
    size, blobs = federation.log.size, set(federation.blobs.digests())
    federation.members[3].answer(federation.board, 1)
    unasked = voted.copy()
    unasked.members[0].answer(unasked.board, 1)
    assert (federation.log.size, set(federation.blobs.digests())) == (size, blobs)
    assert unasked.log.size == voted.log.size
    assert promises(federation, "member-4") == promises(unasked, "member-1") == 0


def test_what_is_not_the_sum_is_refused(updated: Federation) -> None:
    federation = updated.copy()
    board = federation.board
    federation.operator.close_round(board, 1)
    one = board.round(1).commits["client-2"][1].opened
    request_of(federation, board.blobs.put(board.sum_of((one, one)).encode()))
    for member in federation.members[:2]:
        with pytest.raises(RefusedError, match="the requested aggregate is not the sum of the cohort") as caught:
            member.answer(board, 1)
        assert caught.value.culprits == ("operator",)
    assert shares_sent(federation) == 0
    assert all(promises(federation, member.name) == 0 for member in federation.members)


def test_a_vote_is_the_members_own_sum(updated: Federation) -> None:
    federation = updated.copy()
    board = federation.board
    federation.members[0].vote(board, 1)
    assert board.round(1).votes == {}, "there is nothing to vote on"
    federation.operator.close_round(board, 1)
    operator = federation.operator
    board.append(Aggregate(1, digest("made up")), operator.name, operator.identity.signing)
    for member in federation.members:
        member.vote(board, 1)
        member.vote(board, 1)
    own = commitment(board.sum_of(board.round(1).ciphertexts()).encode())
    assert {vote.ciphertext for vote in board.round(1).votes.values()} == {own}
    assert board.round(1).agreeing() == ()


def test_too_small_a_cohort_is_refused(requested: Federation) -> None:
    federation = requested.copy()
    state = federation.board.round(1)
    state.cohort = state.cohort[:1]  # replay never lets this pass; the member does not rely on it
    with pytest.raises(RefusedError, match="1 updates are fewer than the minimum of 2") as caught:
        federation.members[0].answer(federation.board, 1)
    assert caught.value.culprits == ("operator",)
    assert shares_sent(federation) == 0


def test_a_ciphertext_is_opened_in_one_aggregate_only(updated: Federation, requested: Federation) -> None:
    """The operator shows a member another history, in which one client is missing: the difference is that client."""
    first, fork = requested.copy(), updated.copy()
    first.members[0].answer(first.board, 1)
    fork.blobs._blobs.pop(fork.board.round(1).commits["client-3"][1].opened)
    fork.close_and_vote(1)
    fork.request(1)
    assert fork.board.round(1).cohort == ("client-1", "client-2")
    fork.disks["member-1"].journal = first.disks["member-1"].journal
    member = fork.member(1)
    with pytest.raises(StateError, match="claimed before with another value"):
        member.answer(fork.board, 1)
    assert shares_sent(fork) == 0


def test_a_ciphertext_is_not_opened_again_under_another_number(requested: Federation) -> None:
    federation = requested.copy()
    board = federation.board
    key, state = board.joint_key.digest.hex(), board.round(1)
    journal = federation.disks["member-2"].journal
    journal.claim(f"ciphertext/{key}/{state.ciphertexts()[0].hex()}", digest("another aggregate"))
    with pytest.raises(StateError, match=r"ciphertext/.* was claimed before"):
        federation.members[1].answer(board, 1)
    assert shares_sent(federation) == 0


def test_a_key_serves_its_planned_rounds(requested: Federation) -> None:
    federation = requested.copy()
    board = federation.board
    key = board.joint_key.digest.hex()
    journal = federation.disks["member-1"].journal
    for number in (8, 9):
        journal.claim(f"aggregate/{key}/{number}", digest(number))
    with pytest.raises(RefusedError, match="member-1 refuses: the key has served all 2 planned rounds"):
        federation.members[0].answer(board, 1)
    assert shares_sent(federation) == 0
    other = federation.disks["member-2"].journal
    other.claim(f"aggregate/{digest('another key').hex()}/8", b"")
    other.claim(f"aggregate/{digest('another key').hex()}/9", b"")
    federation.members[1].answer(board, 1)
    assert shares_sent(federation) == 1


def spoiled_cohort(opened: Federation) -> Federation:
    """A round whose operator counts a ciphertext that is none."""
    federation = opened.copy()
    board = federation.board
    for client in federation.clients[:2]:
        client.update(board, 1, federation.zero)
    good = federation.blobs._blobs[board.round(1).commits["client-1"][1].opened]
    bad = federation.blobs.put(good[:44] + b"\xff" * 6 + good[50:])
    client, operator = federation.clients[2], federation.operator
    client.reserve(board, 1)
    board.append(UpdateCommit(1, 0, bad, b""), client.name, client.identity.signing)
    cohort = tuple(sorted(index for index, _ in board.round(1).commits.values()))
    board.append(RoundClose(1, cohort), operator.name, operator.identity.signing)
    return federation


def test_a_malformed_ciphertext_in_the_cohort_is_refused(opened: Federation) -> None:
    federation = spoiled_cohort(opened)
    request_of(federation, digest("whatever"))
    with pytest.raises(RefusedError, match="a ciphertext of the cohort is malformed"):
        federation.members[0].answer(federation.board, 1)
    assert shares_sent(federation) == 0
    assert promises(federation, "member-1") == 0


def test_nobody_votes_for_a_malformed_cohort(opened: Federation) -> None:
    federation = spoiled_cohort(opened)
    operator = federation.operator
    federation.board.append(Aggregate(1, digest("whatever")), operator.name, operator.identity.signing)
    with pytest.raises(DecodeError, match="residue"):
        federation.members[0].vote(federation.board, 1)
    assert federation.board.round(1).votes == {}


def test_a_missing_ciphertext_is_not_answered(requested: Federation) -> None:
    federation = requested.copy()
    federation.blobs._blobs.pop(federation.board.round(1).ciphertexts()[0])
    with pytest.raises(BlobError, match="is missing"):
        federation.members[0].answer(federation.board, 1)
    assert shares_sent(federation) == 0


class CrashError(Exception):
    """The process dies here."""


def dies(*_: Any, **__: Any) -> Any:
    raise CrashError


@pytest.mark.parametrize("point", ["after the claim", "after the share", "before the entry"])
def test_answers_are_the_same_bytes_after_a_crash(requested: Federation, point: str) -> None:
    calm, federation = requested.copy(), requested.copy()
    calm.members[0].answer(calm.board, 1)
    expected = calm.board.round(1).answers["member-1"]
    owner, name = {
        "after the claim": (member_module, "partial_decrypt"),
        "after the share": (federation.blobs, "put"),
        "before the entry": (federation.board, "append"),
    }[point]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, dies)
        with pytest.raises(CrashError):
            federation.members[0].answer(federation.board, 1)
    assert shares_sent(federation) == (point == "before the entry")
    assert promises(federation, "member-1") == 1 + 3, "the aggregate, and each ciphertext for it"
    federation.member(1).answer(federation.board, 1)
    assert federation.board.round(1).answers["member-1"] == expected
    assert promises(federation, "member-1") == 1 + 3


def test_the_claim_is_made_before_the_share_exists(requested: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
    federation, seen = requested.copy(), list[str]()
    journal = federation.disks["member-1"].journal

    def watch(owner: Any, name: str) -> None:
        real: Callable[..., Any] = getattr(owner, name)

        def watched(*args: Any, **kwargs: Any) -> Any:
            seen.append(name)
            return real(*args, **kwargs)

        monkeypatch.setattr(owner, name, watched)

    for owner, name in (
        (federation.board, "sum_of"),
        (journal, "claim"),
        (member_module, "partial_decrypt"),
        (federation.blobs, "put"),
        (federation.board, "append"),
    ):
        watch(owner, name)
    federation.members[0].answer(federation.board, 1)
    assert seen == ["sum_of", "claim", "claim", "claim", "claim", "partial_decrypt", "put", "append"]


def test_the_request_path_is_the_only_one(requested: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
    """No public step of a member takes a ciphertext, and only `answer` decrypts: an unbound one is never answered."""
    public = {name: value for name, value in vars(Member).items() if not name.startswith("_")}
    steps = {name: value for name, value in public.items() if inspect.isfunction(value)}
    key = {"approve", "commit", "reveal", "check", "answer_test", "accept", "open_seeds", "drop"}
    del steps["vote_revocation"]  # it is about keys, and takes no round
    assert set(public) == {"name", "vote", "attest", "answer", "check_pieces", "vote_revocation"} | key
    for step in steps.values():
        taken = {name: str(p.annotation) for name, p in inspect.signature(step).parameters.items() if name != "self"}
        assert set(taken) <= {"board", "number"} | ({"change"} if step is Member.approve else set()), step
    federation, calls = requested.copy(), list[bytes]()
    real = partial_decrypt

    def counted(key: Any, total: Any, active: Any, **kwargs: Any) -> Any:
        calls.append(commitment(total.encode()))
        return real(key, total, active, **kwargs)

    monkeypatch.setattr(member_module, "partial_decrypt", counted)
    member, board = federation.members[0], federation.board
    for key_step in KEY_STEPS:
        key_step(member, board)
    member.vote(board, 1)
    member.attest(board, 1)
    assert calls == []
    member.answer(board, 1)
    request = board.round(1).request
    assert request is not None
    assert calls == [request.ciphertext]


def test_a_member_can_be_restarted_before_it_answers(requested: Federation) -> None:
    federation = requested.copy()
    federation.member(2).answer(federation.board, 1)
    assert tuple(federation.board.round(1).answers) == ("member-2",)


# Checks, further attempts, and void rounds.


def again(federation: Federation, *active: int) -> None:
    """The operator asks others for the same sum."""
    board, operator = federation.board, federation.operator
    state = board.round(1)
    assert state.request is not None
    note = board.certify(federation.witnesses, now=NOW).note
    body = replace(state.request, attempt=len(state.attempts), active=active, certificate=note)
    board.append(body, operator.name, operator.identity.signing)


def test_everybody_checks_once_after_the_last_answer(requested: Federation) -> None:
    federation = requested.copy()
    board = federation.board
    for member in federation.members:
        member.check_pieces(board, 1)
    federation.members[0].answer(board, 1)
    for member in federation.members:
        member.check_pieces(board, 1)
    attempt = board.round(1).attempt
    assert attempt is not None
    assert attempt.checks == {}, "there is nothing to compare yet"
    federation.members[1].answer(board, 1)
    for _ in range(2):
        for member in federation.members:
            member.check_pieces(board, 1)
    sharing = federation.plan.sharing
    assert {name: len(check.fingerprints) for name, check in attempt.checks.items()} == dict.fromkeys(
        board.replay.committee.members, len(sharing.held_by(1))
    )
    for piece in range(sharing.pieces):
        stated = {
            attempt.checks[member_name(m)].fingerprints[sharing.held_by(m).index(piece)] for m in sharing.holders(piece)
        }
        assert len(stated) == 1, "all holders of a piece state the same"
    assert promises(federation, "member-4") == 1 + 3, "who checks is bound by the same promises as who answers"


def test_a_check_is_refused_where_an_answer_is(requested: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
    federation = requested.copy()
    board = federation.board
    for member in federation.members:
        member.answer(board, 1)
    journal = federation.disks["member-3"].journal
    journal.claim(f"ciphertext/{board.joint_key.digest.hex()}/{board.round(1).ciphertexts()[0].hex()}", b"another sum")
    with pytest.raises(StateError, match="was claimed before with another value"):
        federation.members[2].check_pieces(board, 1)
    other = board.ciphertext(board.round(1).ciphertexts()[0], sender="client-1")
    monkeypatch.setattr(board, "sum_of", lambda digests: other)
    with pytest.raises(RefusedError, match="the requested aggregate is not the sum of the cohort"):
        federation.members[3].check_pieces(board, 1)
    assert board.round(1).attempts[0].checks == {}


def test_a_further_attempt_is_answered_with_the_same_bytes(requested: Federation) -> None:
    federation = requested.copy()
    board, sharing = federation.board, federation.plan.sharing
    federation.members[1].answer(board, 1)
    first = board.round(1).answers["member-2"].answer
    again(federation, 2, 3)
    assert board.round(1).answers == {}
    for member in federation.members:
        member.answer(board, 1)
    assert tuple(board.round(1).answers) == ("member-2", "member-3")
    assert promises(federation, "member-2") == 1 + 3
    again(federation, 1, 2)
    federation.members[1].answer(board, 1)
    assert sharing.assignment((1, 2))[2] == sharing.assignment(board.round(1).attempts[0].request.active)[2]
    assert board.round(1).answers["member-2"].answer == first, "the noise does not depend on the attempt"


def test_a_void_round_is_not_answered(requested: Federation) -> None:
    federation = requested.copy()
    board = federation.board
    federation.members[0].answer(board, 1)
    federation.operator.void_round(board, 1, "for a test")
    with pytest.raises(RefusedError, match="member-2 refuses: round 1 is void") as caught:
        federation.members[1].answer(board, 1)
    assert caught.value.culprits == ("operator",)
    assert shares_sent(federation) == 1
    assert promises(federation, "member-2") == 0
    size = federation.log.size
    for member in federation.members:
        member.check_pieces(board, 1)
        member.vote(board, 1)
    assert federation.log.size == size


def test_nobody_votes_in_a_void_round(updated: Federation) -> None:
    federation = updated.copy()
    federation.operator.close_round(federation.board, 1)
    federation.operator.add_up(federation.board, 1)
    federation.operator.void_round(federation.board, 1, "for a test")
    for member in federation.members:
        member.vote(federation.board, 1)
    assert federation.board.round(1).votes == {}


def test_a_transparent_sum_is_refused(requested: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
    federation = requested.copy()
    board = federation.board
    total = board.sum_of(board.round(1).ciphertexts())
    residues = total.residues.copy()
    residues[0, 1, -1] = 0
    hollow = EncryptedVector(total.suite, total.key_digest, residues)
    monkeypatch.setattr(board, "sum_of", lambda digests: hollow)
    request = board.round(1).attempts[0]
    request.request = replace(request.request, ciphertext=commitment(hollow.encode()))
    with pytest.raises(RefusedError, match="the sum of the cohort is transparent"):
        federation.members[0].answer(board, 1)
    assert shares_sent(federation) == 0


def test_a_crash_between_answer_and_check(requested: Federation) -> None:
    calm, federation = requested.copy(), requested.copy()
    for each in (calm, federation):
        for member in each.members:
            member.answer(each.board, 1)
    calm.members[0].check_pieces(calm.board, 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(federation.board, "append", dies)
        with pytest.raises(CrashError):
            federation.members[0].check_pieces(federation.board, 1)
    federation.member(1).check_pieces(federation.board, 1)
    assert federation.board.round(1).attempts[0].checks == calm.board.round(1).attempts[0].checks
