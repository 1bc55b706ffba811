"""Whole runs, published and verified: keys that change, ciphertexts that go, entries without effect, f dishonest."""

from pathlib import Path

import pytest

from ledger import Value, publish, sign_entry
from secure_bfl.board import Board
from secure_bfl.datasets import load
from secure_bfl.inspection import Finality, inspect
from secure_bfl.layout import PublicFolder
from secure_bfl.member import Member
from secure_bfl.messages import AggregateVote, Kind
from secure_bfl.plan import FederationPlan
from tests.secure_bfl.federation import NOW, Federation, digest

from .commands import rejected, verify
from .conftest import FinishedRun
from .dishonest import Cast, StolenKeys, play
from .published import entries_of
from .test_wrong_answers import finish, opened, published


@pytest.fixture(scope="module")
def keyed() -> Federation:
    """Three clients, four members of whom two open a sum, two rounds."""
    plan = FederationPlan.create("breast-cancer", clients=3, members=4, threshold=2, rounds=2, minimum_clients=2)
    federation = Federation(plan, load(plan.dataset, plan.clients).shares)
    federation.found()
    federation.generate_key()
    return federation


def test_a_run_in_which_keys_change_and_ciphertexts_go(keyed: Federation, tmp_path: Path) -> None:
    """Everybody rotates, a client is revoked and comes back, round 1 is released and deleted: it verifies."""
    federation = keyed.copy()
    board = federation.board
    federation.open_and_update(1, federation.zero)
    for identity in federation.identities.values():
        identity.rotate(board)
    federation.close_and_vote(1)
    model = opened(federation)
    for member in federation.members[:3]:
        member.vote_revocation(board, "client-3", reason="its laptop was stolen")
    claim = federation.identities["client-3"].claim(board.replay)
    for member in federation.members[1:]:
        member.vote_revocation(board, "client-3", reason="it came in person", claim=claim)
    federation.operator.release_blobs(board, 1)
    federation.operator.drop_blobs(board, 1, board.certify(federation.witnesses, now=NOW))
    model = finish(federation, model)
    assert board.replay.ignored == []
    answer = verify(published(federation, model, tmp_path).path)
    assert answer.code == 0, answer.out
    revoked = [board.replay.standings["client-3"].keys[number].until for number in (0, 1)]
    assert answer.notes() == [
        f"parties: key 0 of client-3 was revoked: it counts up to entry {revoked[0]}",
        f"parties: key 1 of client-3 was revoked: it counts up to entry {revoked[1]}",
        "round 1: the sum is not recomputed: its updates were deleted after 4 members attested it: "
        "member-1, member-2, member-3, member-4",
    ]


def test_entries_without_effect_are_listed_with_their_reasons(public: PublicFolder, finished: FinishedRun) -> None:
    """One that is late, one that is double, one of another federation, one out of role: the same on every machine."""
    stolen = StolenKeys.of(finished.out)
    context = bytes.fromhex(finished.answer.json["genesis"])
    entries = entries_of(public)
    client = stolen.identities["client-1"].signing
    spend: Value = [1, 10, 2698, 1_000_000, [], digest("odometer")]
    first = next(i for i, data in enumerate(entries) if b"client-4" in data and i > 0)
    extra = [
        sign_entry(Kind.BUDGET_SPEND, "client-1", spend, client, context=context),
        entries[first],
        sign_entry(Kind.BUDGET_SPEND, "client-1", spend, client, context=digest("another federation")),
        sign_entry(Kind.BUDGET_SPEND, "member-1", spend, stolen.identities["member-1"].signing, context=context),
    ]
    stolen.publish([*entries, *extra], public)
    answer = verify(public.path)
    size = len(entries)
    assert answer.notes() == [
        f"entry {size}: BUDGET_SPEND by client-1 has no effect: round 1 is not the current round",
        f"entry {size + 1} (entry {first} again, byte for byte: the operator's doing): BUDGET_SPEND by client-4 has no "
        "effect: round 1 is not the current round",
    ]
    errors = rejected(public.path)
    assert len(errors) == 2
    assert errors[0].startswith(f"entry {size + 2}: BUDGET_SPEND by client-1 has no effect: the signature does not")
    assert errors[1] == f"entry {size + 3}: BUDGET_SPEND by member-1 has no effect: BUDGET_SPEND is for the client"
    assert [(entry.index, entry.hostile) for entry in inspect(public).entries if entry.ignored] == [
        (size, False),
        (size + 1, False),
        (size + 2, True),
        (size + 3, True),
    ]
    assert {entry.finality for entry in inspect(public).entries} == {Finality.CERTIFIED}
    assert verify(public.path).out == answer.out


class VotesOtherwise(Member):
    """Votes for a sum of its own."""

    def vote(self, board: Board, number: int) -> None:
        made_up = digest("made up", self.name)
        body = AggregateVote(number, board.round(number).closing, made_up)
        board.append(body, self.name, self.identity.signing)


class Offline(Member):
    """Deals its part of the key, and is never seen again."""

    def vote(self, board: Board, number: int) -> None:
        return

    def answer(self, board: Board, number: int) -> None:
        return

    def check_pieces(self, board: Board, number: int) -> None:
        return


class Garbage(VotesOtherwise):
    """Says what it likes, at any time."""

    def answer(self, board: Board, number: int) -> None:
        return

    def check_pieces(self, board: Board, number: int) -> None:
        return


def of_seven(**cast: dict[int, type[Member]]) -> tuple[FederationPlan, Cast]:
    """Seven members, of whom two may be dishonest and five certify; two open a sum."""
    plan = FederationPlan.create("breast-cancer", clients=2, members=7, threshold=2, rounds=1)
    return plan, Cast(**cast)  # type: ignore[arg-type]  # only members


@pytest.fixture
def folder(tmp_path: Path) -> PublicFolder:
    folder = PublicFolder(tmp_path / "public")
    folder.blobs.mkdir(parents=True)
    return folder


@pytest.mark.slow
def test_f_members_that_vote_for_other_sums_are_named_and_the_round_completes(folder: PublicFolder) -> None:
    plan, cast = of_seven(members={1: VotesOtherwise, 7: VotesOtherwise})
    board = play(plan, cast, folder)
    assert board.round(1).result is not None
    answer = verify(folder.path)
    assert (answer.code, answer.errors()) == (0, [])
    for name in ("member-1", "member-7"):
        assert f"round 1: {name} voted for another sum than the cohort's ciphertexts give" in answer.notes()


@pytest.mark.slow
@pytest.mark.parametrize("cls", [Offline, Garbage])
def test_f_members_offline_or_sending_garbage_stop_no_round(folder: PublicFolder, cls: type[Member]) -> None:
    plan, cast = of_seven(members={1: cls, 2: Offline})
    board = play(plan, cast, folder)
    state = board.round(1)
    assert state.result is not None
    assert state.attempt is not None
    assert state.attempt.asked == ("member-3", "member-4")
    answer = verify(folder.path)
    assert (answer.code, answer.errors()) == (0, [])
    voted = "round 1: member-1 voted for another sum than the cohort's ciphertexts give"
    assert (voted in answer.notes()) is (cls is Garbage)


def test_slow_members_come_after_the_request_and_cost_nothing(keyed: Federation, tmp_path: Path) -> None:
    """One of four votes and checks when the round is over: it is heard, and nothing waits for it."""
    federation = keyed.copy()
    slow = federation.members[3]
    federation.open_and_update(1, federation.zero)
    federation.operator.close_round(federation.board, 1)
    federation.operator.add_up(federation.board, 1)
    for member in federation.members[:3]:
        member.vote(federation.board, 1)
    model = opened(federation, members=federation.members[:3])
    state = federation.board.round(1)
    assert state.result is not None
    slow.attest(federation.board, 1)
    slow.check_pieces(federation.board, 1)
    assert (list(state.late_votes), list(state.attempts[-1].late)) == ([slow.name], [slow.name])
    folder = published(federation, finish(federation, model), tmp_path)
    assert (verify(folder.path).code, verify(folder.path).notes()) == (0, [])


def test_inspecting_what_was_published(keyed: Federation, tmp_path: Path) -> None:
    federation = keyed.copy()
    certificate = federation.board.certify(federation.witnesses, now=NOW)
    folder = PublicFolder(tmp_path)
    publish(federation.log, certificate, folder.ledger)
    assert inspect(folder).certified == federation.log.size
