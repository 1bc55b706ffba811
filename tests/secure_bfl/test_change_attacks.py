"""Attacks on a committee change: members of the operator's own, entries of other changes, forks, fitted tests."""

from collections.abc import Iterable, Sequence

import numpy as np
import pytest

from ledger import Entry, EquivocationError, MemoryStore, QuorumError, leaf_hash, parse_entry
from ledger.store import Head
from ledger.tiled import TiledTree
from protocols.errors import BadShareError
from protocols.ring import ring
from protocols.tckks import trial_ciphertext
from protocols.tckks.dealing import Dealing
from secure_bfl.board import Board
from secure_bfl.committee_change import announce_change, certify_change
from secure_bfl.deliveries import Deliveries
from secure_bfl.errors import RefusedError, StateError
from secure_bfl.key_member import KeyHolder
from secure_bfl.local_training import Records
from secure_bfl.member import KEY_STEPS, Member
from secure_bfl.messages import ChangeCertificate, CommitteeChange, KeyAccept, KeyCommit, Kind, Role
from secure_bfl.operator import Operator
from secure_bfl.roster import member_name
from tests.secure_bfl.federation import NOW, Federation, digest, identity_of
from tests.secure_bfl.keyrun import REPLICATED, changed, founded_on, incoming, office, small_plan, spoil, started

pytestmark = pytest.mark.usefixtures("small")


@pytest.fixture(params=["trio", "quartet"])
def either(request: pytest.FixtureRequest) -> Federation:
    federation: Federation = request.getfixturevalue(request.param)
    return federation


def entries(federation: Federation, *kinds: Kind) -> list[bytes]:
    """All entries of these kinds, byte for byte."""
    return [data for data in federation.log.entries() if parsed(data).kind in kinds]


def parsed(data: bytes) -> Entry:
    return parse_entry(data)


def refused(board: Board, replayed: Iterable[bytes], reason: str) -> None:
    for data in replayed:
        assert reason in (board.replay.refuses(data) or "counts")


def fork(federation: Federation, size: int) -> Federation:
    """Another history of the same parties from some point on: same journals, keystores and witnesses, same blobs."""
    store = MemoryStore()
    kept = federation.store.entries(0, size)
    grown = TiledTree(store.tile).prepare([leaf_hash(data) for data in kept])
    store.append(kept, grown.tiles, Head(size, grown.root, None))
    return Federation(
        federation.plan, federation.shares, store=store, blobs=federation.blobs, disks=dict(federation.disks)
    )


def change_of(federation: Federation, new: Sequence[Member]) -> CommitteeChange:
    shamir = federation.plan.sharing.pieces == federation.plan.members and federation.plan.members > 3
    active = tuple(range(1, federation.plan.threshold + 1)) if shamir else ()
    return CommitteeChange(1, 2, tuple(member.identity.party for member in new), active)


def strangers(federation: Federation) -> tuple[CommitteeChange, list[Member]]:
    """Three members of the operator's own, and the change to them."""
    new = [
        Member(
            identity_of(member_name(number, 1), Role.MEMBER, 99),
            journal=federation.disks["member-1"].journal,
            witness=federation.members[0].witness,
        )
        for number in (1, 2, 3)
    ]
    return change_of(federation, new), new


def say(board: Board, operator: Operator, body: CommitteeChange | ChangeCertificate) -> None:
    board.append(body, operator.name, operator.identity.signing)


# Entries of one change in another.


def test_commitments_of_one_change_deal_in_no_other(either: Federation) -> None:
    """The members approved a change and committed; the operator announces its own members and shows the commitments."""
    board = either.board
    started(either, *REPLICATED)
    for member in either.members:
        member.commit(board)
    commits = entries(either, Kind.KEY_COMMIT)[-len(board.replay.ceremony.commits) :]
    body, _ = strangers(either)
    say(board, either.operator, body)
    certify_change(board, either.operator, either.witnesses, now=NOW)
    refused(board, commits, "is of another ceremony than the newest one")
    for member in either.members[:3]:
        with pytest.raises(RefusedError, match="did not approve"):
            member.commit(board)
        for data in commits:  # even if they stood on the log
            entry = parsed(data)
            board.replay.ceremony.commits[entry.sender] = KeyCommit.from_value(entry.body)
        with pytest.raises(RefusedError, match="did not approve"):
            member.reveal(board)
        board.replay.ceremony.commits.clear()
    assert board.replay.ceremony.delivered == {}


def test_a_member_deals_only_what_it_would_commit_to(trio: Federation) -> None:
    started(trio, *REPLICATED)
    board, ceremony = trio.board, trio.board.replay.ceremony
    for member in trio.members:
        member.commit(board)
    for name, body in ceremony.commits.items():
        parts = tuple(type(part)(part.addend, part.part, digest("forged", part.addend)) for part in body.parts)
        ceremony.commits[name] = KeyCommit(body.ceremony, parts)
    with pytest.raises(RefusedError, match="the commitment on the ledger is not to what it deals"):
        trio.members[0].reveal(board)
    assert ceremony.delivered == {}


def test_acceptances_of_an_abandoned_change_count_in_no_other(trio: Federation) -> None:
    """All but one accepted a change; what they said then puts nobody into office later."""
    new, board = started(trio, *REPLICATED), trio.board
    for step in KEY_STEPS[:2]:
        for member in trio.members:
            step(member, board)
    for step in KEY_STEPS[2:4]:
        for member in new:
            step(member, board)
    for member in new[:2]:
        member.accept(board)
    old = [
        data
        for data in entries(trio, Kind.KEY_CHECK, Kind.KEY_ANSWER, Kind.KEY_ACCEPT)
        if parsed(data).sender.endswith("@1")
    ]
    assert len(old) == 8
    with pytest.raises(StateError, match="has a key that was used before"):
        announce_change(board, trio.operator, trio.members, new, threshold=2, witnesses=trio.witnesses, now=NOW)
    later = started(trio, *REPLICATED)
    for step in KEY_STEPS[:2]:
        for member in trio.members:
            step(member, board)
    refused(board, old, "which was replaced by entry")
    again = KeyAccept(board.replay.ceremonies[1].position, board.joint_key.digest)
    with pytest.raises(StateError, match="is of another ceremony than the newest one"):
        board.append(again, later[0].name, later[0].identity.signing)


# Who decides which change there is.


def test_nobody_deals_in_a_change_that_is_not_certified(trio: Federation) -> None:
    board, members = trio.board, trio.members
    say(board, trio.operator, change_of(trio, incoming(trio, 3, 1)))
    position = board.replay.ceremony.position
    for member in members:
        member.approve(board, position)
        with pytest.raises(StateError, match="a commitment before the former committee certified the change"):
            member.commit(board)
    with pytest.raises(QuorumError):
        certify_change(board, trio.operator, {"member-1": members[0].witness}, now=NOW)
    certify_change(board, trio.operator, trio.witnesses, now=NOW)
    size = board.log.size
    certify_change(board, trio.operator, trio.witnesses, now=NOW)
    assert board.log.size == size
    for member in members:
        member.commit(board)
    note = board.certify(trio.witnesses, now=NOW).note
    with pytest.raises(StateError, match="this change was certified already"):
        say(board, trio.operator, ChangeCertificate(position, note))


def test_a_certificate_is_of_the_change_and_by_those_in_office(trio: Federation) -> None:
    board, operator = trio.board, trio.operator
    early = board.certify(trio.witnesses, now=NOW).note
    other = trio.copy()
    new = incoming(trio, 3, 1)
    say(board, operator, change_of(trio, new))
    position = board.replay.ceremony.position
    say(other.board, other.operator, strangers(other)[0])
    foreign = other.board.certify(other.witnesses, now=NOW).note
    uncosigned = board.log.checkpoint()
    for certificate, reason in (
        (early, "the certificate does not cover the change"),
        (foreign, "the certificate is of another log"),
        (uncosigned, "the change's certificate does not verify"),
        (b"", "the change's certificate does not verify"),
    ):
        with pytest.raises(StateError, match=reason):
            say(board, operator, ChangeCertificate(position, certificate))
    with pytest.raises(StateError, match="is of another ceremony"):
        say(board, operator, ChangeCertificate(board.replay.context, early))
    with pytest.raises(StateError, match="is for the operator"):
        board.append(ChangeCertificate(position, early), "member-1", trio.members[0].identity.signing)
    certify_change(board, operator, trio.witnesses, now=NOW)
    assert board.replay.ceremony.certified


def test_two_forks_cannot_both_hand_the_key_over(trio: Federation) -> None:
    """A round goes on under those in office; on a fork from before it, dishonest and honest ones cannot leave it."""
    split = trio.log.size
    trio.open_and_update(1, trio.zero)
    trio.close_and_vote(1)
    trio.request(1)
    other = fork(trio, split)
    say(other.board, other.operator, change_of(other, incoming(other, 3, 1)))
    with pytest.raises(QuorumError, match="a certificate needs 3 of 3"):
        certify_change(other.board, other.operator, other.witnesses, now=NOW)
    position = other.board.replay.ceremony.position
    for member in other.members:
        member.approve(other.board, position)
        with pytest.raises(StateError, match="before the former committee certified"):
            member.commit(other.board)


def test_a_handed_over_key_serves_no_round_on_a_fork(trio: Federation) -> None:
    split = trio.log.size
    new, other = started(trio, *REPLICATED), fork(trio, split)
    assert new
    other.open_and_update(1, other.zero)
    other.close_and_vote(1)
    with pytest.raises((QuorumError, EquivocationError)):
        other.request(1)


def test_the_operator_alone_cannot_write_another_change(trio: Federation) -> None:
    """After a change and a round, it takes the former members' entries to a fork with its own members."""
    split = trio.log.size
    former = changed(trio, *REPLICATED)
    trio.open_and_update(1, trio.zero)
    assert former
    other = fork(trio, split)
    body, _ = strangers(other)
    say(other.board, other.operator, body)
    real = entries(trio, Kind.CHANGE_CERTIFICATE)
    refused(other.board, real, "is of another ceremony than the newest one")
    note = ChangeCertificate.from_value(parsed(real[0]).body).certificate
    with pytest.raises(StateError, match=r"the certificate (is of another log|does not cover)"):
        say(other.board, other.operator, ChangeCertificate(other.board.replay.ceremony.position, note))
    replayed = entries(trio, Kind.KEY_COMMIT, Kind.KEY_REVEAL)[-6:]
    refused(other.board, replayed, "is of another ceremony than the newest one")
    with pytest.raises((QuorumError, EquivocationError)):
        certify_change(other.board, other.operator, office(other), now=NOW)


# Tests of the dry run that were known before the dealing.


class Fitted(KeyHolder):
    """Its element is off by what a test that is known in advance would not show."""

    def _dealing(self, board: Board, addend: int) -> tuple[Dealing, bytes]:
        dealing, part = super()._dealing(board, addend)
        if board.replay.ceremony.founding:
            return dealing, part
        plan, suite = board.roster.plan, board.roster.plan.suite
        test = trial_ciphertext(board.joint_key, plan.noise_budget, plan.layout, epoch=1, trial=0, binding=bytes(32))
        inverse = np.stack(
            [
                np.array([pow(int(v), -1, q) for v in row], dtype=np.uint64)
                for row, q in zip(test.residues[0, 1], suite.data_primes, strict=True)
            ]
        )
        secret = ring(suite.ring_degree, suite.data_primes).add(dealing._secret, inverse)
        return Dealing(dealing.terms, secret, digest("fitted")), part


def hand_over(federation: Federation) -> list[Member]:
    new, board = started(federation, *REPLICATED), federation.board
    for step in KEY_STEPS[:2]:
        for member in federation.members:
            step(member, board)
    for step in KEY_STEPS[2:4]:
        for member in new:
            step(member, board)
    return new


def test_an_element_fitted_to_a_known_test_fails(quartet: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
    foreseen = quartet.copy()
    spoil(quartet, 1, Fitted)
    new = hand_over(quartet)
    with pytest.raises(BadShareError, match="does not open"):
        new[1].accept(quartet.board)
    monkeypatch.setattr(Deliveries, "binding", bytes(32))  # if nothing were bound, it would pass
    spoil(foreseen, 1, Fitted)
    for member in hand_over(foreseen):
        member.accept(foreseen.board)
    certify_change(foreseen.board, foreseen.operator, foreseen.witnesses, now=NOW)
    assert foreseen.board.replay.committee.epoch == 1


def test_tests_are_bound_to_every_commitment(trio: Federation) -> None:
    started(trio, *REPLICATED)
    for member in trio.members:
        member.commit(trio.board)
    state = trio.board.replay.ceremony
    bindings = {trio.board.deliveries().binding, trio.board.deliveries(trio.board.replay.ceremonies[0]).binding}
    for addend in state.addends:
        honest = dict(state.commits)
        for name, body in honest.items():
            parts = tuple(type(p)(p.addend, p.part, digest("other")) if p.addend == addend else p for p in body.parts)
            state.commits[name] = KeyCommit(body.ceremony, parts)
        bindings.add(trio.board.deliveries().binding)
        state.commits.update(honest)
    assert len(bindings) == 2 + len(state.addends)
    state.commits.clear()
    with pytest.raises(ValueError, match="no commitment to addend 0 counts"):
        _ = trio.board.deliveries().binding


def test_former_members_open_the_dry_run_themselves_before_they_erase(trio: Federation) -> None:
    former, new = trio.members, hand_over(trio)
    for member in new:
        member.accept(trio.board)
    assert trio.board.replay.committee.epoch == 0, "acceptances alone put nobody in office"
    certify_change(trio.board, trio.operator, trio.witnesses, now=NOW)
    assert trio.board.replay.committee.epoch == 1
    lost = next(iter(trio.board.replay.ceremony.answers.values())).answers[0].digest
    kept = trio.blobs._blobs.pop(lost)
    for member in former:
        with pytest.raises(BadShareError, match="withholds an answer"):
            member.drop(trio.board)
        assert not member.identity.retired
    trio.blobs._blobs[lost] = kept
    for member in former:
        member.drop(trio.board)
        assert member.identity.retired


def test_keys_of_an_abandoned_change_are_used_up(shares: Sequence[Records]) -> None:
    federation = founded_on(small_plan(3, 2, committee_changes=3), shares)
    federation.generate_key()
    first = started(federation, *REPLICATED)
    started(federation, *REPLICATED)
    with pytest.raises(StateError, match="member-1@1 has a key that was used before"):
        say(federation.board, federation.operator, change_of(federation, first))


def test_no_fork_has_a_certified_round_beside_a_successor_in_office(trio: Federation) -> None:
    """The history in which the change was certified goes on twice: to a round, and to a new committee."""
    new, board = hand_over(trio), trio.board
    fork = trio.copy()
    for member in new:
        member.accept(board)
    accepted = entries(trio, Kind.KEY_ACCEPT)
    fork.operator.open_round(fork.board, 1, fork.zero)
    fork.open_and_update(1, fork.zero)
    fork.close_and_vote(1)
    fork.request(1)  # certified by the former members' witnesses, on this history
    with pytest.raises(QuorumError):
        certify_change(board, trio.operator, fork.witnesses, now=NOW)
    assert board.replay.committee.epoch == 0
    assert not board.replay.ceremony.ready
    assert all(fork.board.replay.refuses(data) is not None for data in accepted)


def test_the_second_certificate_covers_every_acceptance_and_comes_once(trio: Federation) -> None:
    new, board = hand_over(trio), trio.board
    for member in new[:-1]:
        member.accept(board)
    early = board.certify(trio.witnesses, now=NOW).note
    position = board.replay.ceremony.position
    with pytest.raises(StateError, match="was certified already"):
        board.append(ChangeCertificate(position, early), trio.operator.name, trio.operator.identity.signing)
    new[-1].accept(board)
    with pytest.raises(StateError, match="does not cover the change"):
        board.append(ChangeCertificate(position, early), trio.operator.name, trio.operator.identity.signing)
    certify_change(board, trio.operator, trio.witnesses, now=NOW)
    assert board.replay.committee.epoch == 1
    with pytest.raises(StateError, match="certified to its end already"):
        board.append(ChangeCertificate(position, early), trio.operator.name, trio.operator.identity.signing)
