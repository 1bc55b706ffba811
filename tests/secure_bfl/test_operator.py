"""The operator: who is in, what is asked, and that every step is done once."""

from collections.abc import Callable
from dataclasses import replace

import pytest

import ledger
from ledger import CosigningWitness
from protocols.errors import QuorumError
from secure_bfl.errors import StateError
from secure_bfl.member import Member
from secure_bfl.messages import MAX_TEXT, AggregateVote, PartialAnswer, UpdateCommit
from secure_bfl.plan import FederationPlan
from secure_bfl.roster import OPERATOR
from tests.secure_bfl.federation import NOW, Federation, digest


def away(federation: Federation, *names: str) -> dict[str, CosigningWitness | None]:
    return {name: None if name in names else witness for name, witness in federation.witnesses.items()}


def test_every_step_is_done_once(finished: Federation) -> None:
    federation = finished.copy()
    board, operator, size = federation.board, federation.operator, federation.log.size
    federation.found()
    operator.open_round(board, 1, federation.zero)
    operator.close_round(board, 1)
    operator.add_up(board, 1)
    operator.request(board, 1, federation.witnesses, now=NOW)
    operator.publish_model(board, 1, federation.zero, sentinel_energy=0)
    federation.generate_key()
    assert federation.log.size == size
    assert operator.name == OPERATOR


def test_the_parties_are_those_of_the_plan(plan: FederationPlan, keyed: Federation) -> None:
    federation = Federation(plan, keyed.shares)
    parties = tuple(identity.party for identity in federation.identities.values())
    with pytest.raises(StateError, match="exactly the parties") as caught:
        federation.operator.found(federation.board, plan, parties[:-1])
    assert caught.value.culprits == (OPERATOR,)
    assert federation.log.size == 0
    federation.operator.found(federation.board, plan, parties)
    assert federation.log.size == 1


def test_a_log_belongs_to_one_federation(founded: Federation) -> None:
    federation = founded.copy()
    parties = tuple(identity.party for identity in federation.identities.values())
    other = FederationPlan.create("digits", clients=3, members=4, threshold=3, rounds=1, minimum_clients=2)
    for plan, some in ((other, parties), (federation.plan, parties[:-1])):
        with pytest.raises(StateError, match="another plan or other parties"):
            federation.operator.found(federation.board, plan, some)
    assert federation.log.size == 1


def commit(federation: Federation, number: int, ciphertext: bytes) -> None:
    """Have a client commit to a digest, whatever stands behind it."""
    client = federation.clients[number - 1]
    client.reserve(federation.board, 1)
    federation.board.append(UpdateCommit(1, 0, ciphertext, b""), client.name, client.identity.signing)


def missing(federation: Federation, good: bytes) -> bytes:
    return digest("nothing there")


def of_another_size(federation: Federation, good: bytes) -> bytes:
    return federation.blobs.put(good[:-1])


def of_another_key(federation: Federation, good: bytes) -> bytes:
    return federation.blobs.put(good[:20] + bytes([good[20] ^ 1]) + good[21:])


def with_a_residue_too_large(federation: Federation, good: bytes) -> bytes:
    return federation.blobs.put(good[:44] + b"\xff" * 6 + good[50:])


def transparent(federation: Federation, good: bytes) -> bytes:
    half = (len(good) - 44) // 2
    return federation.blobs.put(good[: 44 + half] + bytes(half))


@pytest.mark.parametrize("spoil", [missing, of_another_size, of_another_key, with_a_residue_too_large, transparent])
def test_what_is_missing_or_malformed_is_left_out(
    opened: Federation, spoil: Callable[[Federation, bytes], bytes]
) -> None:
    federation = opened.copy()
    board = federation.board
    for client in federation.clients[:2]:
        client.update(board, 1, federation.zero)
    good = federation.blobs._blobs[board.round(1).commits["client-1"][1].opened]
    commit(federation, 3, spoil(federation, good))
    federation.operator.close_round(board, 1)
    assert board.round(1).cohort == ("client-1", "client-2")
    assert board.round(1).ciphertexts() == tuple(
        board.round(1).commits[name][1].opened for name in ("client-1", "client-2")
    )
    federation.operator.add_up(board, 1)
    for member in federation.members:
        member.vote(board, 1)
    assert board.round(1).agreeing() == board.replay.committee.members


def test_too_few_updates_leave_the_round_open(opened: Federation) -> None:
    federation = opened.copy()
    board = federation.board
    federation.clients[1].update(board, 1, federation.zero)
    commit(federation, 3, digest("nothing there"))
    size = federation.log.size
    with pytest.raises(QuorumError, match="round 1 has 1 updates, the plan needs 2") as caught:
        federation.operator.close_round(board, 1)
    error = caught.value
    assert (error.needed, error.have, error.missing) == (2, ("client-2",), ("client-1", "client-3"))
    assert "missing, malformed or over budget: client-1, client-3" in str(error)
    assert board.round(1).closed is None
    assert federation.log.size == size
    federation.clients[0].update(board, 1, federation.zero)
    federation.operator.close_round(board, 1)
    assert board.round(1).cohort == ("client-2", "client-1")


def test_the_sum_needs_votes(updated: Federation) -> None:
    federation = updated.copy()
    board, operator = federation.board, federation.operator
    operator.close_round(board, 1)
    operator.request(board, 1, federation.witnesses, now=NOW)
    assert board.round(1).request is None, "there is no sum to ask for"
    operator.add_up(board, 1)
    federation.members[0].vote(board, 1)
    wrong = federation.members[1]
    board.append(AggregateVote(1, board.round(1).closing, digest("another sum")), wrong.name, wrong.identity.signing)
    federation.members[3].vote(board, 1)
    with pytest.raises(QuorumError, match="needs the votes of 3 of 4 members, has 2") as caught:
        operator.request(board, 1, federation.witnesses, now=NOW)
    error = caught.value
    assert (error.needed, error.have, error.missing) == (3, ("member-1", "member-4"), ("member-2", "member-3"))
    federation.members[2].vote(board, 1)
    operator.request(board, 1, federation.witnesses, now=NOW)
    request = board.round(1).request
    assert request is not None
    assert request.active == (1, 3), "a member of another opinion is not asked"


def test_the_sum_needs_a_certificate(voted: Federation) -> None:
    federation = voted.copy()
    board, operator = federation.board, federation.operator
    with pytest.raises(ledger.QuorumError, match="missing: member-2, member-3") as caught:
        operator.request(board, 1, away(federation, "member-2", "member-3"), now=NOW)
    assert caught.value.needed == 3
    assert caught.value.have == ("member-1", "member-4")
    assert board.round(1).request is None
    operator.request(board, 1, away(federation, "member-2"), now=NOW)
    request = board.round(1).request
    assert request is not None
    certificate = board.replay.committee.policy.verify(request.certificate)
    assert certificate.cosigners == ("member-1", "member-3", "member-4")


def test_the_accuracy_is_the_operators_word(requested: Federation) -> None:
    federation = requested.copy()
    for step in (Member.answer, Member.check_pieces):
        for member in federation.members:
            step(member, federation.board, 1)
    federation.operator.publish_model(federation.board, 1, federation.zero, sentinel_energy=0, accuracy_ppm=912_345)
    result = federation.board.round(1).result
    assert result is not None
    assert result.accuracy_ppm == 912_345
    assert federation.blobs.has(result.model)


# What comes back on a request.


def play(federation: Federation, *, silent: tuple[int, ...] = (), unchecked: tuple[int, ...] = ()) -> None:
    """Everybody answers and checks, but some."""
    for member in federation.members:
        if member.number not in silent:
            member.answer(federation.board, 1)
    for member in federation.members:
        if member.number not in (*silent, *unchecked):
            member.check_pieces(federation.board, 1)


def settle(federation: Federation) -> bool:
    return federation.operator.settle(federation.board, 1, federation.witnesses, now=NOW)


def asked(federation: Federation) -> tuple[int, ...]:
    request = federation.board.round(1).request
    assert request is not None
    return request.active


def answer_with(federation: Federation, number: int, digest_of_answer: bytes) -> None:
    member, attempt = federation.members[number - 1], federation.board.round(1).attempts[-1]
    body = PartialAnswer(1, attempt.request.attempt, attempt.entry, digest_of_answer)
    federation.board.append(body, member.name, member.identity.signing)


def test_good_answers_stand(requested: Federation) -> None:
    federation = requested.copy()
    play(federation, unchecked=(4,))
    size = federation.log.size
    assert settle(federation)
    assert settle(federation)
    assert federation.log.size == size


def test_there_is_nothing_to_settle(voted: Federation, finished: Federation) -> None:
    for stage in (voted, finished):
        federation = stage.copy()
        assert not settle(federation)
        assert federation.log.size == stage.log.size


@pytest.mark.parametrize("by_check", [False, True])
def test_a_silent_member_is_replaced(requested: Federation, *, by_check: bool) -> None:
    federation = requested.copy()
    play(federation, silent=() if by_check else (1,), unchecked=(1,))
    assert not settle(federation)
    assert asked(federation) == (2, 3)
    play(federation, silent=(1,))
    assert settle(federation)


def test_an_answer_that_is_malformed_or_not_there_is_replaced(requested: Federation) -> None:
    federation = requested.copy()
    answer_with(federation, 1, digest("nothing there"))
    play(federation)
    assert not settle(federation)
    assert asked(federation) == (2, 3)
    answer_with(federation, 2, federation.blobs.put(b"no answer"))
    play(federation)
    assert not settle(federation)
    assert asked(federation) == (3, 4), "who was found wrong in any attempt is not asked again"
    play(federation)
    assert settle(federation)


def test_nobody_left_makes_the_round_void(requested: Federation) -> None:
    federation = requested.copy()
    board = federation.board
    for number in (1, 2, 3):
        if number in asked(federation):
            answer_with(federation, number, digest("nothing there"))
        play(federation)
        assert not settle(federation)
    state = board.round(1)
    assert state.void is not None
    assert state.void.reason.startswith("nobody is left to open the sum: member-1: its answer: blob")
    assert len(state.void.reason) == MAX_TEXT
    assert not settle(federation)
    size = federation.log.size
    federation.operator.request(board, 1, federation.witnesses, now=NOW)
    federation.operator.publish_model(board, 1, federation.zero, sentinel_energy=0)
    federation.operator.void_round(board, 1, "again")
    assert federation.log.size == size
    federation.operator.open_round(board, 2, federation.zero)
    assert board.round(2).model == state.model


def test_silence_that_nobody_can_fill_is_waited_for(requested: Federation) -> None:
    federation = requested.copy()
    play(federation, silent=(1, 2))
    assert not settle(federation)
    play(federation, silent=(1, 2, 3))
    assert not settle(federation), "member-1 and member-2 may be back"
    assert asked(federation) == (1, 2)
    play(federation, silent=(1, 2, 3))
    play(federation, silent=(1, 2, 3, 4))
    for member in federation.board.replay.committee.members[2:]:
        vote = federation.board.round(1).votes.pop(member)  # as if two had computed another sum
        federation.board.round(1).votes[member] = replace(vote, ciphertext=digest("another"))
    with pytest.raises(QuorumError, match="round 1 waits for member-1, member-2, and nobody is left") as caught:
        settle(federation)
    assert (caught.value.needed, caught.value.have, caught.value.missing) == (2, (), ("member-1", "member-2"))
    assert federation.board.round(1).void is None


def test_too_few_checks_are_waited_for(requested: Federation) -> None:
    federation = requested.copy()
    play(federation, unchecked=(3, 4))
    with pytest.raises(QuorumError, match="need the checks of 3 of 4 members, have 2") as caught:
        settle(federation)
    assert caught.value.missing == ("member-3", "member-4")
    play(federation)
    assert settle(federation)


def test_an_undecided_dispute_makes_the_round_void(requested: Federation) -> None:
    """Piece 2 has the holders 1, 2 and 4; member-4 is away, and member-2 states something else than member-1."""
    federation = requested.copy()
    play(federation, unchecked=(2, 4))
    twin, liar = federation.copy(), federation.members[1]
    twin.members[1].check_pieces(twin.board, 1)
    check = twin.board.round(1).attempts[0].checks["member-2"]
    honest = check.fingerprints
    index = federation.plan.sharing.held_by(2).index(2)
    assert 2 not in federation.plan.sharing.assignment(asked(federation))[2], "its answer is not concerned"
    lied = (*honest[:index], bytes(len(honest[index])), *honest[index + 1 :])
    federation.board.append(replace(check, fingerprints=lied), liar.name, liar.identity.signing)
    assert not settle(federation)
    void = federation.board.round(1).void
    assert void is not None
    assert void.reason == "the holders of piece 2 disagree about its answer: member-1 against member-2"
