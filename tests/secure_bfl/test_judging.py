"""Every way in which a member can spoil the founding of a key, and who is convicted of it."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from ledger import blob_digest
from protocols.errors import BadShareError, KeyGenerationError
from protocols.tckks import sharing as sharing_module
from protocols.tckks.dealing import Dealing
from protocols.tckks.subshare import SubShare
from secure_bfl.board import Board
from secure_bfl.datasets import load
from secure_bfl.errors import RefusedError, StateError
from secure_bfl.judging import Verdict, check_dry_run, dry_run_fails, judge_complaint, judge_opened, withheld_by
from secure_bfl.key_member import KeyHolder
from secure_bfl.local_training import Records
from secure_bfl.member import KEY_STEPS, Member
from secure_bfl.messages import AddendSeed, KeyAccept, KeyAnswer, KeyOpen, TrialAnswer
from secure_bfl.roster import member_name
from tests.secure_bfl import keyrun
from tests.secure_bfl.federation import Federation, digest
from tests.secure_bfl.keyrun import SMALL, checked, complaint, founded_on, small_plan, spoil, step

SHARED = [
    keyrun.Garbage,
    keyrun.WrongContext,
    keyrun.MalformedPart,
]
SEEDS = [keyrun.OtherSeed, keyrun.TwoSeeds, keyrun.PartOf, keyrun.LargeError]
SHAMIR = [
    keyrun.OffPolynomial,
    keyrun.MaskOff,
    keyrun.WrongProof,
    keyrun.MalformedProof,
    keyrun.EarlyProof,
    keyrun.OtherTable,
    keyrun.OtherShare,
]
WITHHELD = [keyrun.ShortPart, keyrun.WithheldPart, keyrun.ShortDeliveries]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing_module, "MAX_REPLICATED_PIECES", SMALL)


@pytest.fixture(scope="module")
def shares() -> Sequence[Records]:
    return load("digits", 2).shares


@pytest.fixture
def replicated(shares: Sequence[Records]) -> Federation:
    """2 of 3, in pieces that are seeds; a cheat of member 2 concerns member 3 and member 1."""
    return founded_on(small_plan(3, 2), shares)


@pytest.fixture
def shamir(shares: Sequence[Records]) -> Federation:
    """3 of 4 in Shamir's sharing: members 1 to 3 deal."""
    return founded_on(small_plan(4, 3), shares)


@pytest.fixture(params=["replicated", "shamir"])
def either(request: pytest.FixtureRequest) -> Federation:
    federation: Federation = request.getfixturevalue(request.param)
    return federation


def convicted(federation: Federation, cheat: type[KeyHolder]) -> None:
    """Member 2 cheats: whoever complains names it, and everybody who looks at the ledger convicts it."""
    spoil(federation, 2, cheat)
    step(federation, Member.commit, Member.reveal)
    found = checked(federation)
    found.pop("member-2", None)
    assert found, "somebody noticed"
    assert set(found.values()) == {("member-2",)}
    replay = federation.board.replay
    assert set(replay.ceremony.complaints) >= set(found)
    assert replay.ignored == []
    for name in found:
        assert judge_complaint(federation.board, name).guilty == "member-2"
    with pytest.raises(KeyGenerationError, match="member-2") as caught:
        check_dry_run(federation.board)
    assert caught.value.culprits == ("member-2",)
    assert not replay.key_ready
    with pytest.raises(StateError, match="a round before key generation is complete"):
        federation.operator.open_round(federation.board, 1, federation.zero)


@pytest.mark.parametrize("cheat", SHARED)
def test_a_cheating_dealer_is_convicted(either: Federation, cheat: type[KeyHolder]) -> None:
    convicted(either, cheat)


@pytest.mark.parametrize("cheat", SEEDS)
def test_a_dealer_of_wrong_seeds_or_parts_is_convicted(replicated: Federation, cheat: type[KeyHolder]) -> None:
    convicted(replicated, cheat)


@pytest.mark.parametrize("cheat", SHAMIR)
def test_a_dealer_of_wrong_shares_is_convicted(shamir: Federation, cheat: type[KeyHolder]) -> None:
    convicted(shamir, cheat)


@pytest.mark.parametrize("cheat", WITHHELD)
def test_who_withholds_is_named_and_nobody_complains(either: Federation, cheat: type[KeyHolder]) -> None:
    """Nobody can prove that bytes were missing: a complaint could be made false afterwards, by publishing them."""
    spoil(either, 2, cheat)
    step(either, Member.commit, Member.reveal)
    found = checked(either)
    found.pop("member-2", None)
    assert set(found.values()) == {("member-2",)}
    assert either.board.replay.ceremony.complaints == {}
    assert either.board.replay.ceremony.checks == {}
    assert withheld_by(either.board) == ("member-2",)


def test_who_withholds_a_sub_share_is_named(shamir: Federation) -> None:
    spoil(shamir, 2, keyrun.WithheldShares)
    step(shamir, Member.commit, Member.reveal)
    found = checked(shamir)
    assert {name: found[name] for name in ("member-1", "member-3", "member-4")} == dict.fromkeys(
        ("member-1", "member-3", "member-4"), ("member-2",)
    )
    assert shamir.board.replay.ceremony.complaints == {}


def test_a_false_complaint_convicts_the_complainant(either: Federation) -> None:
    step(either, Member.commit, Member.reveal)
    liar = either.members[2]
    addend = next(
        a
        for a in either.board.replay.ceremony.addends
        if any(slot[1] == 3 for slot in either.board.deliveries().slots(a, either.board.deliveries().deliverer(a)))
    )
    body = complaint(either.board.replay.ceremony, addend, liar.identity.sealing_seed())
    either.board.append(body, liar.name, liar.identity.signing)
    verdict = judge_complaint(either.board, liar.name)
    assert verdict.guilty == "member-3"
    assert "is false" in verdict.reason
    with pytest.raises(KeyGenerationError, match="is false") as caught:
        check_dry_run(either.board)
    assert caught.value.culprits == ("member-3",)


def test_a_complaint_about_right_public_bytes_is_false(either: Federation) -> None:
    step(either, Member.commit, Member.reveal)
    liar = either.members[0]
    either.board.append(complaint(either.board.replay.ceremony, 1, b""), liar.name, liar.identity.signing)
    assert judge_complaint(either.board, liar.name).guilty == "member-1"


def test_a_complainant_opens_its_own_key(either: Federation) -> None:
    step(either, Member.commit, Member.reveal)
    liar = either.members[0]
    either.board.append(complaint(either.board.replay.ceremony, 1, bytes(32)), liar.name, liar.identity.signing)
    verdict = judge_complaint(either.board, liar.name)
    assert verdict == Verdict("member-1", "member-1 opened another sealing key than its own")


def test_who_did_not_complain_is_not_judged(replicated: Federation) -> None:
    with pytest.raises(KeyError):
        judge_complaint(replicated.board, "member-1")


# The dry run.


def lie(federation: Federation, number: int, data: Callable[[bytes], bytes]) -> None:
    """One member answers the dry run wrongly for the first piece it is asked for."""
    twin = federation.copy()
    twin.members[number - 1].answer_test(twin.board)
    name = member_name(number)
    first, *rest = twin.board.replay.ceremony.answers[name].answers
    for answer in rest:
        federation.board.blobs.put(twin.blobs._blobs[answer.digest])
    wrong = federation.board.blobs.put(data(twin.blobs._blobs[first.digest]))
    body = KeyAnswer(federation.board.replay.ceremony.position, (TrialAnswer(first.trial, first.piece, wrong), *rest))
    federation.board.append(body, name, federation.members[number - 1].identity.signing)


def garbled(data: bytes) -> bytes:
    return data[:44] + bytes([data[44] ^ 1]) + data[45:]


def check_accept_refused(federation: Federation) -> None:
    for member in federation.members:
        with pytest.raises((StateError, BadShareError, KeyGenerationError)):
            member.accept(federation.board)
    assert federation.board.replay.ceremony.accepts == {}


def test_a_wrong_answer_to_the_dry_run_is_named(either: Federation) -> None:
    step(either, Member.commit, Member.reveal, Member.check)
    lie(either, 2, garbled)
    step(either, Member.answer_test)
    assert dry_run_fails(either.board)
    check_accept_refused(either)
    either.members[0].open_seeds(either.board)
    assert {v.guilty for v in judge_opened(either.board)} == {
        name for name in either.board.replay.ceremony.commits if name != "member-1"
    }, "who has not opened yet is asked to"
    step(either, Member.open_seeds, Member.open_seeds)
    verdicts = judge_opened(either.board)
    assert [v.guilty for v in verdicts] == ["member-2"]
    assert "of the dry run is wrong" in verdicts[0].reason
    with pytest.raises(KeyGenerationError) as caught:
        check_dry_run(either.board)
    assert caught.value.culprits == ("member-2",)
    assert either.board.replay.ignored == []


def test_an_answer_of_another_length_is_withheld(shamir: Federation) -> None:
    """Whoever keeps the blobs can cut one short: so that is no reason to open anything."""
    step(shamir, Member.commit, Member.reveal, Member.check)
    lie(shamir, 2, lambda data: data[:-1])
    step(shamir, Member.answer_test)
    assert not dry_run_fails(shamir.board)
    with pytest.raises(BadShareError, match="member-2 withholds an answer"):
        check_dry_run(shamir.board)


@pytest.mark.parametrize("cheat", [keyrun.OtherSecret, keyrun.PairOff])
def test_what_passes_every_check_and_is_wrong_is_named(shamir: Federation, cheat: type[KeyHolder]) -> None:
    """Another secret than the public one, unequal keys of pairs: the dry run finds it, and the opened seeds tell whose
    it is.
    """
    spoil(shamir, 2, cheat)
    step(shamir, Member.commit, Member.reveal)
    assert checked(shamir) == {}
    step(shamir, Member.answer_test)
    check_accept_refused(shamir)
    step(shamir, Member.open_seeds)
    verdicts = judge_opened(shamir.board)
    assert [v.guilty for v in verdicts] == ["member-2"]
    assert "do not follow from the seed" in verdicts[0].reason


def test_a_part_that_only_its_dealer_could_check_is_named(shares: Sequence[Records]) -> None:
    """All of 3: each piece has one holder, its dealer, so only the dry run shows the error."""
    federation = founded_on(small_plan(3, 3), shares)
    spoil(federation, 2, keyrun.LargeError)
    step(federation, Member.commit, Member.reveal)
    assert checked(federation) == {}
    step(federation, Member.answer_test)
    check_accept_refused(federation)
    step(federation, Member.open_seeds)
    assert [v.guilty for v in judge_opened(federation.board)] == ["member-2"]


def test_who_does_not_open_is_named(either: Federation) -> None:
    step(either, Member.commit, Member.reveal, Member.check)
    lie(either, 2, garbled)
    step(either, Member.answer_test)
    for member in either.members:
        if member.number != 2:
            member.open_seeds(either.board)
    assert judge_opened(either.board) == [Verdict("member-2", "it does not open its seeds")]


def test_who_opens_another_seed_is_named(either: Federation) -> None:
    step(either, Member.commit, Member.reveal, Member.check)
    lie(either, 2, garbled)
    step(either, Member.answer_test)
    mine = either.board.replay.ceremony.dealt_by("member-2")
    body = KeyOpen(either.board.replay.ceremony.position, tuple(AddendSeed(addend, digest("other")) for addend in mine))
    either.board.append(body, "member-2", either.members[1].identity.signing)
    step(either, Member.open_seeds)
    assert {v.guilty for v in judge_opened(either.board)} == {"member-2"}


def test_nobody_opens_a_key_that_works(either: Federation) -> None:
    step(either, *KEY_STEPS[:-1])
    assert not dry_run_fails(either.board)
    for member in either.members[:2]:
        with pytest.raises(RefusedError, match="the dry run does not fail"):
            member.open_seeds(either.board)
    liar = either.members[0]
    seeds = tuple(AddendSeed(seed.piece, seed.reveal()) for seed in liar._holder._dealt(either.board))
    either.board.append(KeyOpen(either.board.replay.ceremony.position, seeds), liar.name, liar.identity.signing)
    assert judge_opened(either.board) == [Verdict("member-1", "it opened its seeds although the dry run holds")]
    with pytest.raises(KeyGenerationError) as caught:
        either.members[1].accept(either.board)
    assert caught.value.culprits == ("member-1",)


def test_a_dry_run_waits_for_every_answer(either: Federation) -> None:
    step(either, Member.commit, Member.reveal, Member.check)
    assert not dry_run_fails(either.board)
    with pytest.raises(StateError, match=r"cannot go on before member-1, .* answered"):
        either.members[0].accept(either.board)
    with pytest.raises(BadShareError, match="no answer for piece 0"):
        check_dry_run(either.board)


def test_a_withheld_answer_names_its_sender(either: Federation) -> None:
    step(either, *KEY_STEPS[:-1])
    last = either.board.replay.ceremony.answers["member-2"].answers[0].digest
    del either.blobs._blobs[last]
    with pytest.raises(BadShareError, match=r"member-2.* withholds an answer") as caught:
        check_dry_run(either.board)
    assert "member-2" in caught.value.culprits
    assert not dry_run_fails(either.board), "nobody opens a seed because bytes were lost"
    for member in either.members[:2]:
        with pytest.raises(RefusedError, match="the dry run does not fail"):
            member.open_seeds(either.board)


# Bytes that are missing convict nobody.


def test_a_lost_blob_does_not_make_a_complaint_right(either: Federation) -> None:
    step(either, Member.commit, Member.reveal)
    state, liar = either.board.replay.ceremony, either.members[2]
    addend = next(a for a in state.addends if state.delivered[a][0] == "member-1")
    either.board.append(complaint(state, addend, b""), liar.name, liar.identity.signing)
    assert judge_complaint(either.board, liar.name).guilty == "member-3"
    counted = state.commitment(addend)
    assert counted is not None
    for lost in (counted[0].part, state.delivered[addend][1].deliveries):
        kept = either.blobs._blobs.pop(lost)
        verdict = judge_complaint(Board(either.log, either.blobs), liar.name)
        assert verdict.guilty is None
        assert "the complaint of member-3 cannot be judged: member-1 withholds" in str(verdict)
        with pytest.raises(KeyGenerationError, match="cannot be judged") as caught:
            check_dry_run(Board(either.log, either.blobs))
        assert caught.value.culprits == ()
        either.blobs._blobs[lost] = kept


def test_a_lost_sub_share_does_not_make_a_complaint_right(shamir: Federation) -> None:
    step(shamir, Member.commit, Member.reveal)
    state, liar = shamir.board.replay.ceremony, shamir.members[3]
    body = complaint(state, 0, liar.identity.sealing_seed())
    shamir.board.append(body, liar.name, liar.identity.signing)
    assert judge_complaint(shamir.board, liar.name).guilty == "member-4"
    section = shamir.board.deliveries()._section(0)
    (lost,) = {slot.masked for (_, holder), slot in section.slots.items() if holder == 4}
    del shamir.blobs._blobs[lost]
    assert judge_complaint(shamir.board, liar.name).guilty is None


def test_lost_answers_convict_nobody_who_opened(either: Federation) -> None:
    """Who opened without grounds is known as long as the answers are there, and cannot be told afterwards."""
    step(either, *KEY_STEPS[:-1])
    state = either.board.replay.ceremony
    for member in either.members:
        if mine := state.dealt_by(member.name):
            seeds = {s.piece: s for s in member._holder._dealt(either.board)}
            body = KeyOpen(state.position, tuple(AddendSeed(a, seeds[a].reveal()) for a in mine))
            either.board.append(body, member.name, member.identity.signing)
    assert {v.guilty for v in judge_opened(either.board)} == set(state.opens)
    del either.blobs._blobs[state.answers["member-2"].answers[0].digest]
    (verdict,) = judge_opened(either.board)
    assert verdict.guilty is None
    assert "cannot be judged" in verdict.reason
    state.opens.pop("member-1")
    (verdict,) = judge_opened(either.board)
    assert verdict.guilty is None


def test_opened_seeds_convict_without_any_blob(either: Federation) -> None:
    step(either, Member.commit, Member.reveal, Member.check)
    lie(either, 2, garbled)
    step(either, Member.answer_test, Member.open_seeds)
    either.blobs._blobs.clear()
    verdicts = judge_opened(Board(either.log, either.blobs))
    assert [v.guilty for v in verdicts] == ["member-2"]
    assert "of the dry run is wrong" in verdicts[0].reason


# Keys in common: pairs of pieces that no trial has together.


class UnequalPair(keyrun.Skewed):
    """Members 3 and 4 get different contributions to the key that they are to have in common, and nothing else does."""

    def share(self, piece: int) -> SubShare:
        share = Dealing.share(self, piece)
        if piece != 3:
            return share
        pairs = tuple(digest("pair") if other == 2 else value for other, value in share.pairs.items())
        return SubShare(self.terms, piece, share.contribution, share.value(), share.masks(), pairs=pairs)


class UnequalDealer(keyrun.ChangedDealing):
    """Deals such pairs."""

    def changed(self, dealing: Dealing, board: Board) -> Dealing:
        return UnequalPair.of(dealing)


def test_unequal_keys_in_common_are_found_before_the_dry_run_and_convict_the_dealer(shamir: Federation) -> None:
    spoil(shamir, 2, UnequalDealer)
    step(shamir, Member.commit, Member.reveal)
    assert checked(shamir) == {}
    state = shamir.board.replay.ceremony
    assert state.unequal == {(2, 3): (("member-3",), ("member-4",))}
    step(shamir, Member.answer_test)
    assert dry_run_fails(shamir.board)
    with pytest.raises(StateError, match="pieces 2 and 3 have no key in common: member-3 against member-4"):
        shamir.members[0].accept(shamir.board)
    accept = KeyAccept(state.position, shamir.board.joint_key.digest)
    with pytest.raises(StateError, match="an acceptance although two pieces have no key in common"):
        shamir.board.append(accept, "member-1", shamir.members[0].identity.signing)
    step(shamir, Member.open_seeds)
    assert [v.guilty for v in judge_opened(shamir.board)] == ["member-2"]


def test_who_states_wrong_keys_in_common_is_convicted(shamir: Federation) -> None:
    step(shamir, Member.commit, Member.reveal)
    for member in shamir.members[:3]:
        member.check(shamir.board)
    twin = shamir.copy()
    twin.members[3].check(twin.board)
    right = twin.board.replay.ceremony.checks["member-4"]
    liar = shamir.members[3]
    for pairs in ((), right.pairs[:-1], (*right.pairs[:-1], bytes(15))):
        with pytest.raises(StateError, match="member-4 states 3 digests of 16 bytes of keys in common"):
            shamir.board.append(replace(right, pairs=pairs), liar.name, liar.identity.signing)
    body = replace(right, pairs=(*right.pairs[:-1], bytes(16)))
    shamir.board.append(body, liar.name, liar.identity.signing)
    step(shamir, Member.answer_test, Member.open_seeds)
    verdicts = judge_opened(shamir.board)
    assert [v.guilty for v in verdicts] == ["member-4"]
    assert "the digests it states of the keys that its piece has in common with others are wrong" in verdicts[0].reason


# Forks: no member both accepts and opens.


@pytest.fixture
def forked(either: Federation) -> tuple[Federation, Federation]:
    """The same federation on two branches of the log, split before the dry run; members keep one journal."""
    step(either, Member.commit, Member.reveal, Member.check)
    fork = either.copy()
    for name, disk in fork.disks.items():
        disk.journal = either.disks[name].journal
    fork.members = [fork.member(number) for number in range(1, either.plan.members + 1)]
    return either, fork


def test_who_accepted_opens_nothing_on_a_fork(forked: tuple[Federation, Federation]) -> None:
    main, fork = forked
    step(main, Member.answer_test, Member.accept)
    assert main.board.replay.key_ready
    lie(fork, 2, garbled)
    step(fork, Member.answer_test)
    for member in fork.members:
        if fork.board.replay.ceremony.dealt_by(member.name):
            with pytest.raises(StateError, match=r"verdict/.* was claimed before"):
                member.open_seeds(fork.board)
    assert fork.board.replay.ceremony.opens == {}


def test_who_opened_accepts_nothing_on_a_fork(forked: tuple[Federation, Federation]) -> None:
    main, fork = forked
    lie(fork, 2, garbled)
    step(fork, Member.answer_test)
    fork.members[0].open_seeds(fork.board)
    step(main, Member.answer_test)
    with pytest.raises(StateError, match=r"verdict/.* was claimed before"):
        main.members[0].accept(main.board)
    assert not main.board.replay.key_ready


def test_who_accepted_opens_no_sealing_key_on_a_fork(either: Federation) -> None:
    """The operator and a dealer show a member of a key in use a fork on which its delivery is garbage."""
    step(either, Member.commit)
    fork = either.copy()
    for name, disk in fork.disks.items():
        disk.journal = either.disks[name].journal
    fork.members = [fork.member(number) for number in range(1, either.plan.members + 1)]
    step(either, *KEY_STEPS[1:])
    assert either.board.replay.key_ready
    spoil(fork, 2, keyrun.Garbage)
    step(fork, Member.reveal)
    with pytest.raises(StateError, match=r"verdict/.* was claimed before"):
        fork.members[2].check(fork.board)
    assert fork.board.replay.ceremony.complaints == {}


def test_digests_are_of_blobs(replicated: Federation) -> None:
    """Everything that the ceremony leaves in the blob store is named by its entries."""
    step(replicated, *KEY_STEPS)
    assert replicated.board.deliveries().named() == set(replicated.blobs.digests())
    assert all(blob_digest(replicated.blobs._blobs[d]) == d for d in replicated.blobs.digests())
