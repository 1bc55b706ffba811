"""A member: what it refuses, what it answers twice in the same words, and whom it names."""

import inspect
import os
from collections.abc import Callable
from typing import Any

import pytest

from ledger import BlobError
from protocols.errors import DecodeError, KeyGenerationError
from protocols.tckks import commitment, derive_piece, partial_decrypt
from protocols.tckks.keygen import PieceSeed
from protocols.tckks.wire import encoded_size
from secure_bfl import member as member_module
from secure_bfl.errors import RefusedError, StateError
from secure_bfl.member import Member
from secure_bfl.messages import (
    Aggregate,
    AggregateVote,
    Complaint,
    KeyCommit,
    KeyReveal,
    PieceDigest,
    Role,
    RoundClose,
    SealedSeed,
    UpdateCommit,
)
from secure_bfl.roster import member_name
from secure_bfl.sealing import seal
from tests.secure_bfl.federation import Federation, digest, identity_of


def shares_sent(federation: Federation) -> int:
    """How many partial decryptions of a whole sum left a member: on the ledger, or at least in the blob store."""
    size = encoded_size(federation.plan.blocks, federation.plan.ring_degree, federation.plan.suite.data_primes)
    test_answers = {d for same in federation.board.replay.ceremony.answered().values() for d in same}
    stored = sum(len(b) == size for d, b in federation.blobs._blobs.items() if d not in test_answers)
    assert stored >= len(federation.board.round(1).answers)
    return stored


def promises(federation: Federation, name: str) -> int:
    """How many claims about rounds a member made."""
    journal = federation.disks[name].journal
    return journal.count("aggregate/") + journal.count("ciphertext/")


def signed_by(federation: Federation, number: int, body: Any) -> None:
    identity = federation.identities[member_name(number)]
    federation.board.append(body, identity.name, identity.signing)


def request_of(federation: Federation, aggregate: bytes, *, voters: tuple[int, ...] = (1, 2, 3)) -> None:
    """Announce an aggregate, have members vote for it unseen, and request it."""
    operator = federation.operator
    federation.board.append(Aggregate(1, aggregate), operator.name, operator.identity.signing)
    for number in voters:
        signed_by(federation, number, AggregateVote(1, aggregate))
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
    one_clients_own = board.round(1).commits["client-2"][1].ciphertext
    request_of(federation, one_clients_own)
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
    fork.blobs._blobs.pop(fork.board.round(1).commits["client-3"][1].ciphertext)
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
    good = federation.blobs._blobs[board.round(1).commits["client-1"][1].ciphertext]
    bad = federation.blobs.put(good[:44] + b"\xff" * 6 + good[50:])
    client, operator = federation.clients[2], federation.operator
    client.reserve(board, 1)
    board.append(UpdateCommit(1, bad), client.name, client.identity.signing)
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
    assert set(public) == {"name", "commit", "reveal", "check", "answer_test", "vote", "answer"}
    for step in steps.values():
        taken = {name: str(p.annotation) for name, p in inspect.signature(step).parameters.items() if name != "self"}
        assert set(taken) <= {"board", "number"}, step
    federation, calls = requested.copy(), list[bytes]()
    real = partial_decrypt

    def counted(key: Any, total: Any, active: Any, **kwargs: Any) -> Any:
        calls.append(commitment(total.encode()))
        return real(key, total, active, **kwargs)

    monkeypatch.setattr(member_module, "partial_decrypt", counted)
    member, board = federation.members[0], federation.board
    for name in ("commit", "reveal", "check", "answer_test"):
        getattr(member, name)(board)
    member.vote(board, 1)
    assert calls == []
    member.answer(board, 1)
    request = board.round(1).request
    assert request is not None
    assert calls == [request.ciphertext]


# Key generation.


def dealt_to_others(federation: Federation) -> tuple[Member, PieceSeed]:
    """A dealer, and a piece of it that another member holds."""
    for member in federation.members:
        for seed in member._dealt(federation.board):
            return member, seed
    raise AssertionError("nobody deals")


def reveal_wrongly(federation: Federation, content: Callable[[PieceSeed], bytes], *, sealed: bool = True) -> str:
    """Everybody commits and reveals; the first dealer sends something else for its first piece. Returns its name."""
    board = federation.board
    for member in federation.members:
        member.commit(board)
    dealer, wrong = dealt_to_others(federation)
    seeds = []
    for seed in dealer._dealt(board):
        board.blobs.put(derive_piece(board.ceremony, seed)[1])
        for holder in board.roster.plan.sharing.holders(seed.piece):
            if holder == dealer.number:
                continue
            plain = content(seed) if seed.piece == wrong.piece else seed.reveal()
            public = board.roster.parties[member_name(holder)].sealing_key
            info = member_module._seal_info(board, seed.piece, dealer.number, holder)
            data = seal(plain, public, info=info) if sealed or seed.piece != wrong.piece else plain
            seeds.append(SealedSeed(seed.piece, holder, data))
    board.append(KeyReveal(tuple(seeds)), dealer.name, dealer.identity.signing)
    for member in federation.members:
        member.reveal(board)
    return dealer.name


def receiver(federation: Federation) -> tuple[Member, int]:
    """A member that the first dealer's first piece was sent to, and the piece."""
    dealer, seed = dealt_to_others(federation)
    holder = next(h for h in federation.plan.sharing.holders(seed.piece) if h != dealer.number)
    return federation.members[holder - 1], seed.piece


def test_a_wrong_piece_is_a_complaint_that_names_the_dealer(founded: Federation) -> None:
    federation, wrong = founded.copy(), os.urandom(32)
    board = federation.board
    dealer = reveal_wrongly(federation, lambda _: wrong)
    member, piece = receiver(federation)
    for _ in range(2):
        with pytest.raises(KeyGenerationError, match=f"piece {piece}: .* {dealer} dealt") as caught:
            member.check(board)
        assert caught.value.culprits == (dealer,)
    assert board.replay.ceremony.complaints == {member.name: Complaint(piece, wrong)}
    assert member.name not in board.replay.ceremony.checks
    assert not board.replay.key_ready


def test_a_seed_of_a_wrong_length_names_the_dealer(founded: Federation) -> None:
    federation = founded.copy()
    dealer = reveal_wrongly(federation, lambda seed: seed.reveal()[:5])
    with pytest.raises(KeyGenerationError, match="the seed has 5 bytes") as caught:
        receiver(federation)[0].check(federation.board)
    assert caught.value.culprits == (dealer,)


def test_sealed_garbage_names_the_dealer(founded: Federation) -> None:
    federation = founded.copy()
    dealer = reveal_wrongly(federation, lambda _: b"garbage", sealed=False)
    with pytest.raises(KeyGenerationError, match=f"{dealer} sealed something that does not open") as caught:
        receiver(federation)[0].check(federation.board)
    assert caught.value.culprits == (dealer,)
    assert federation.board.replay.ceremony.complaints == {}


def test_a_seed_is_sealed_to_one_piece_dealer_and_holder(founded: Federation) -> None:
    board = founded.copy().board
    infos = {
        member_module._seal_info(board, piece, dealer, holder)
        for piece in (1, 11)
        for dealer in (1, 2, 11)
        for holder in (1, 2, 11)
    }
    assert len(infos) == 2 * 3 * 3
    assert all(info.endswith(board.ceremony.identity) for info in infos), "of this federation"


def test_a_malformed_public_part_names_its_dealer(founded: Federation) -> None:
    federation = founded.copy()
    board = federation.board
    dealer, seed = dealt_to_others(federation)
    part = derive_piece(board.ceremony, seed)[1]
    bad = part[:44] + b"\xff" * 6 + part[50:]
    parts = tuple(
        PieceDigest(s.piece, commitment(bad if s.piece == seed.piece else derive_piece(board.ceremony, s)[1]))
        for s in dealer._dealt(board)
    )
    board.append(KeyCommit(parts), dealer.name, dealer.identity.signing)
    board.blobs.put(bad)
    for step in (Member.commit, Member.reveal):
        for member in federation.members:
            step(member, board)
    outsider = next(m for m in federation.members if m.number not in federation.plan.sharing.holders(seed.piece))
    with pytest.raises(KeyGenerationError, match=f"piece {seed.piece}") as caught:
        outsider.check(board)
    assert caught.value.culprits == (dealer.name,)
    holder = receiver(federation)[0]
    with pytest.raises(KeyGenerationError) as caught:
        holder.check(board)
    assert caught.value.culprits == (dealer.name,)
    assert holder.name in board.replay.ceremony.complaints


def test_steps_out_of_order(founded: Federation) -> None:
    federation = founded.copy()
    board, member = federation.board, federation.members[0]
    with pytest.raises(StateError, match=r"member-1 cannot go on before member-1, .*, member-4 committed") as caught:
        member.reveal(board)
    assert caught.value.culprits == board.roster.members
    assert list(federation.blobs.digests()) == [], "no public part is shown before all are committed"
    with pytest.raises(StateError, match=r"member-1 cannot go on before member-1, .*, member-4 revealed") as caught:
        member.check(board)
    assert caught.value.culprits == board.roster.members
    with pytest.raises(StateError, match="not every dealer has committed"):
        member.answer_test(board)
    assert federation.log.size == 1


def test_commitments_shown_after_the_reveal_are_refused(founded: Federation) -> None:
    """Who could show others later could choose its own part of the key last."""
    federation, fork = founded.copy(), founded.copy()
    for member in federation.members:
        member.commit(federation.board)
    federation.members[0].reveal(federation.board)
    fork.disks["member-1"] = federation.disks["member-1"]
    first, late = fork.member(1), fork.members[3]
    first.commit(fork.board)
    for member in fork.members[1:3]:
        member.commit(fork.board)
    parts = tuple(PieceDigest(seed.piece, digest("chosen last")) for seed in late._dealt(fork.board))
    fork.board.append(KeyCommit(parts), late.name, late.identity.signing)
    for step in (
        first.reveal,
        Member(first.identity, journal=fork.disks["member-1"].journal, witness=first.witness).reveal,
    ):
        with pytest.raises(StateError, match=r"commitments/.* was claimed before"):
            step(fork.board)
    assert fork.board.replay.ceremony.reveals == {}
    assert list(fork.blobs.digests()) == []


def test_a_restart_deals_the_same_pieces(founded: Federation, keyed: Federation) -> None:
    federation = founded.copy()
    for number in range(1, federation.plan.members + 1):
        federation.member(number).commit(federation.board)
    for step in (Member.reveal, Member.check, Member.answer_test):
        for number in range(1, federation.plan.members + 1):
            step(federation.member(number), federation.board)
            step(federation.member(number), federation.board)
    assert federation.board.replay.key_ready
    assert federation.log.size == keyed.log.size


def test_a_keystore_that_lost_the_seeds_is_said_so(keyed: Federation, requested: Federation) -> None:
    for stage in (keyed, requested):
        federation = stage.copy()
        board, older = federation.board, identity_of("member-1", Role.MEMBER)
        member = Member(older, journal=federation.disks["member-1"].journal, witness=federation.members[0].witness)
        with pytest.raises(StateError, match="member-1: its keystore lacks the seeds it dealt"):
            member._dealt(board)
        if board.replay.rounds:
            with pytest.raises(StateError, match="bring back the newest copy"):
                member.answer(board, 1)
        assert board.replay.ceremony.complaints == {}


def test_a_member_can_be_restarted_before_it_answers(requested: Federation) -> None:
    federation = requested.copy()
    federation.member(2).answer(federation.board, 1)
    assert tuple(federation.board.round(1).answers) == ("member-2",)
