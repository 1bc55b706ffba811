"""Insiders that cheat with their real keys, while the sequencer and the committee's witnesses collude: still found."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from ledger import CosigningWitness, Note, SigningKey
from protocols.dp import Noise
from protocols.tckks import Purpose
from secure_bfl.board import Board
from secure_bfl.client import Client
from secure_bfl.layout import PublicFolder
from secure_bfl.member import Member
from secure_bfl.messages import (
    Aggregate,
    AggregateVote,
    BudgetSpend,
    DecryptionRequest,
    Model,
    PartialAnswer,
    RoundClose,
    RoundOpen,
    UpdateCommit,
)
from secure_bfl.model import GlobalModel
from secure_bfl.operator import Operator
from secure_bfl.plan import FederationPlan

from .commands import rejected, verify
from .dishonest import Cast, ColludingMember, plan_of_cheats, play
from .published import note_of, write_note


@pytest.fixture
def folder(tmp_path: Path) -> PublicFolder:
    folder = PublicFolder(tmp_path / "public")
    folder.blobs.mkdir(parents=True)
    return folder


def played(cast: Cast, folder: PublicFolder) -> list[str]:
    play(plan_of_cheats(), cast, folder)
    return rejected(folder.path)


def test_a_run_without_a_cheat_verifies(folder: PublicFolder) -> None:
    play(plan_of_cheats(), Cast(), folder)
    answer = verify(folder.path)
    assert (answer.code, answer.json["findings"]) == (0, [])
    note = note_of(folder)
    write_note(folder, Note(note.text, note.signatures[:4]))
    assert verify(folder.path).code == 0, "three of four cosignatures suffice for a threshold of two"
    write_note(folder, Note(note.text, note.signatures[:3]))
    assert "a certificate needs 3 of 4 cosignatures, has 2; missing: member-3, member-4" in rejected(folder.path)[0]


# The operator.


class SinglesOut(Operator):
    """Announces twice one client's ciphertext as the sum, so that the committee opens that client's update."""

    def add_up(self, board: Board, number: int) -> None:
        one = board.round(number).ciphertexts()[0]
        digest = board.blobs.put(board.sum_of((one, one)).encode())
        board.append(Aggregate(number, digest), self.name, self.identity.signing)


def test_an_aggregate_that_is_one_client_s_update(folder: PublicFolder) -> None:
    assert played(Cast(operator=SinglesOut, everyone_member=ColludingMember), folder) == [
        "round 1: the aggregate is not the sum of the cohort's ciphertexts",
        *(f"round 1: member-{i} voted for another sum than the cohort's ciphertexts give" for i in range(1, 5)),
    ]


def test_honest_members_do_not_open_it(folder: PublicFolder) -> None:
    errors = played(Cast(operator=SinglesOut), folder)
    assert "round 1: is not finished" in errors
    board = play(plan_of_cheats(), Cast(operator=SinglesOut, members={1: ColludingMember}), folder_beside(folder))
    assert board.round(1).request is None
    assert board.round(1).answers == {}


def folder_beside(folder: PublicFolder) -> PublicFolder:
    other = PublicFolder(folder.path.with_name("other"))
    other.blobs.mkdir(parents=True)
    return other


class SinglesOutAsItIs(Operator):
    """Announces one client's ciphertext as it is."""

    def add_up(self, board: Board, number: int) -> None:
        board.append(Aggregate(number, board.round(number).ciphertexts()[0]), self.name, self.identity.signing)


def test_a_committed_ciphertext_is_no_sum_whoever_votes_for_it(folder: PublicFolder) -> None:
    errors = played(Cast(operator=SinglesOutAsItIs), folder)
    assert errors[0].endswith("AGGREGATE by operator has no effect: the sum is a ciphertext that somebody committed to")
    assert "round 1: is not finished" in errors


class MakesUpAModel(Operator):
    """Publishes a model of its own."""

    def publish_model(
        self, board: Board, number: int, model: GlobalModel, *, sentinel_energy: int, accuracy_ppm: int = -1
    ) -> None:
        other = GlobalModel(model.layout, model.vector + 0.01)
        digest = board.blobs.put(other.encode())
        board.append(Model(number, digest, accuracy_ppm, sentinel_energy), self.name, self.identity.signing)


def test_a_model_that_does_not_follow_from_the_shares(folder: PublicFolder) -> None:
    assert played(Cast(operator=MakesUpAModel), folder) == [
        "round 1: the published model does not follow from the opened sum",
        "model.safetensors: is not the model that follows from the ledger",
    ]


class OverstatesTheNoise(Operator):
    """States sentinels with one unit more of noise than the opened sum has."""

    def publish_model(
        self, board: Board, number: int, model: GlobalModel, *, sentinel_energy: int, accuracy_ppm: int = -1
    ) -> None:
        super().publish_model(board, number, model, sentinel_energy=sentinel_energy + 1, accuracy_ppm=accuracy_ppm)


def test_sentinels_that_are_not_those_of_the_sum(folder: PublicFolder) -> None:
    assert played(Cast(operator=OverstatesTheNoise), folder) == [
        "round 1: the stated sentinels are not those of the opened sum",
    ]


class StartsElsewhere(Operator):
    """Opens every round from a model of its own."""

    def open_round(self, board: Board, number: int, model: GlobalModel) -> None:
        other = GlobalModel(model.layout, model.vector + 0.01)
        digest = board.blobs.put(other.encode())
        board.append(RoundOpen(number, digest), self.name, self.identity.signing)


class TrainsOnAnything(Client):
    """Trains on whatever model the round was opened with."""

    def update(self, board: Board, number: int, model: GlobalModel) -> bool:
        data = board.blobs.get(board.round(number).model, size=len(model.encode()))
        return super().update(board, number, GlobalModel.decode(data, model.layout))


def test_a_first_round_from_another_model_than_the_plan_s(folder: PublicFolder) -> None:
    """There is no round to train in, whoever would."""
    everyone = dict.fromkeys((1, 2, 3), TrainsOnAnything)
    board = play(plan_of_cheats(), Cast(operator=StartsElsewhere, clients=everyone), folder)
    opened = board.replay.size - 1
    assert board.replay.rounds == []
    assert rejected(folder.path) == [
        f"entry {opened}: ROUND_OPEN by operator has no effect: the first round starts from the plan's model",
        "run: 0 of 1 planned rounds are finished",
    ]


class GoesOnFromItsOwn(Operator):
    """Publishes a model of its own after the first round, and opens the second one from it."""

    def publish_model(
        self, board: Board, number: int, model: GlobalModel, *, sentinel_energy: int, accuracy_ppm: int = -1
    ) -> None:
        given = GlobalModel(model.layout, model.vector + 0.01) if number == 1 else model
        super().publish_model(board, number, given, sentinel_energy=sentinel_energy, accuracy_ppm=accuracy_ppm)

    def open_round(self, board: Board, number: int, model: GlobalModel) -> None:
        result = board.round(1).result if number == 2 else None
        digest = board.blobs.put(model.encode()) if result is None else result.model
        board.append(RoundOpen(number, digest), self.name, self.identity.signing)


def plan_of_two_rounds() -> FederationPlan:
    return FederationPlan.create("breast-cancer", clients=3, members=4, threshold=2, rounds=2, minimum_clients=2)


def test_a_round_from_another_model(folder: PublicFolder) -> None:
    everyone = dict.fromkeys((1, 2, 3), TrainsOnAnything)
    board = play(plan_of_two_rounds(), Cast(operator=GoesOnFromItsOwn, clients=everyone), folder)
    assert len(board.round(2).cohort) == 3
    assert rejected(folder.path) == [
        "round 1: the published model does not follow from the opened sum",
        "round 2: starts from another model than the one the rounds before it give",
    ]


def test_honest_clients_do_not_train_on_it(folder: PublicFolder) -> None:
    board = play(plan_of_two_rounds(), Cast(operator=GoesOnFromItsOwn), folder)
    assert board.round(1).spends.keys() == {"client-1", "client-2", "client-3"}
    assert board.round(2).spends == {}
    assert "round 2: is not finished" in rejected(folder.path)


class ClosesEarly(Operator):
    """Closes a round with a single update."""

    def close_round(self, board: Board, number: int) -> None:
        index, _ = board.round(number).commits["client-1"]
        board.append(RoundClose(number, (index,)), self.name, self.identity.signing)

    def add_up(self, board: Board, number: int) -> None:
        board.append(Aggregate(number, board.round(number).commits["client-1"][1].opened), self.name, self.key)

    @property
    def key(self) -> SigningKey:
        return self.identity.signing


def test_a_cohort_below_the_minimum(folder: PublicFolder) -> None:
    errors = played(Cast(operator=ClosesEarly), folder)
    assert any(
        "ROUND_CLOSE by operator has no effect: 1 updates are fewer than the plan's minimum of 2" in e for e in errors
    )
    assert "round 1: is not finished" in errors


class AsksTooFew(Operator):
    """Asks for the opening without the votes and without a certificate."""

    def request(self, board: Board, number: int, witnesses: Mapping[str, CosigningWitness | None], *, now: int) -> None:
        announced = board.round(number).aggregate
        assert announced is not None
        body = DecryptionRequest(number, 0, Purpose.UPDATE, announced.ciphertext, (1, 2), self.certificate(board))
        board.append(body, self.name, self.identity.signing)

    def certificate(self, board: Board) -> bytes:
        return board.log.checkpoint()


class Abstains(Member):
    """Does not vote."""

    def vote(self, board: Board, number: int) -> None:
        return


def test_a_request_without_the_votes(folder: PublicFolder) -> None:
    errors = played(Cast(operator=AsksTooFew, members={3: Abstains, 4: Abstains}), folder)
    assert any(
        "DECRYPTION_REQUEST by operator has no effect: 2 of 3 members computed this aggregate" in e for e in errors
    )


def test_a_request_without_a_certificate(folder: PublicFolder) -> None:
    errors = played(Cast(operator=AsksTooFew), folder)
    assert any("no effect: the request's certificate does not verify: a certificate needs 3 of 4" in e for e in errors)


# Members.


class AnswersTwice(Member):
    """Publishes a second answer to one aggregate."""

    def answer(self, board: Board, number: int) -> None:
        super().answer(board, number)
        digest = board.blobs.put(b"another answer")
        attempt = board.round(number).attempts[0]
        board.append(PartialAnswer(number, 0, attempt.entry, digest), self.name, self.identity.signing)


def test_an_aggregate_answered_twice(folder: PublicFolder) -> None:
    errors = played(Cast(members={1: AnswersTwice}), folder)
    assert len(errors) == 1
    assert errors[0].endswith("PARTIAL_DECRYPTION by member-1 has no effect: member-1 answered this aggregate twice")


class VotesOtherwise(Member):
    """Votes for a sum of its own."""

    def vote(self, board: Board, number: int) -> None:
        board.append(AggregateVote(number, board.round(number).closing, bytes(32)), self.name, self.identity.signing)


def test_a_vote_for_another_sum_names_the_member(folder: PublicFolder) -> None:
    """A note: the others agree on the sum, and one vote cannot spoil the run, whenever it comes."""
    play(plan_of_cheats(), Cast(members={4: VotesOtherwise}), folder)
    answer = verify(folder.path)
    assert (answer.code, answer.errors()) == (0, [])
    assert answer.notes() == ["round 1: member-4 voted for another sum than the cohort's ciphertexts give"]


# Clients.


class Copies(Client):
    """Commits to the first client's ciphertext."""

    def update(self, board: Board, number: int, model: GlobalModel) -> bool:
        self.reserve(board, number)
        _, commit = board.round(number).commits["client-1"]
        board.append(UpdateCommit(number, 0, commit.opened, b""), self.name, self.identity.signing)
        return True


def test_an_update_copied_from_another_client(folder: PublicFolder) -> None:
    """A note, as nobody can tell which of the two copied; it counts once."""
    board = play(plan_of_cheats(), Cast(clients={2: Copies}), folder)
    assert board.round(1).cohort == ("client-1", "client-3")
    answer = verify(folder.path)
    assert (answer.code, answer.errors()) == (0, [])
    noted = [note for note in answer.notes() if "UPDATE_COMMIT" in note]
    assert len(noted) == 1
    assert noted[0].endswith("UPDATE_COMMIT by client-2 has no effect: this ciphertext was committed before")


class LeavesOneOut(Operator):
    """Leaves one client out, although its update is there."""

    def close_round(self, board: Board, number: int) -> None:
        cohort = tuple(sorted(index for name, (index, _) in board.round(number).commits.items() if name != "client-3"))
        board.append(RoundClose(number, cohort), self.name, self.identity.signing)


def test_a_client_that_was_left_out_is_noted(folder: PublicFolder) -> None:
    board = play(plan_of_cheats(), Cast(operator=LeavesOneOut), folder)
    index, _ = board.round(1).commits["client-3"]
    answer = verify(folder.path)
    assert answer.code == 0
    assert answer.notes() == [f"round 1: client-3 committed a well-formed update (entry {index}) and was left out"]


class SpendsNothing(Client):
    """Commits without recording what it spent."""

    def update(self, board: Board, number: int, model: GlobalModel) -> bool:
        board.append(UpdateCommit(number, 0, bytes(32), b""), self.name, self.identity.signing)
        return True


def test_an_update_without_a_spend(folder: PublicFolder) -> None:
    errors = played(Cast(clients={3: SpendsNothing}), folder)
    assert len(errors) == 1
    assert errors[0].endswith(
        "UPDATE_COMMIT by client-3 has no effect: client-3 recorded no budget spend for this round"
    )


class SpendsLess(Client):
    """States more noise than the plan's."""

    def update(self, board: Board, number: int, model: GlobalModel) -> bool:
        event = board.roster.plan.round_event
        spend = BudgetSpend(
            number, event.steps, event.noise_multiplier_milli * 2, event.sampling_rate_ppm, (), bytes(32)
        )
        board.append(spend, self.name, self.identity.signing)
        return True


def test_a_spend_that_is_not_the_plan_s(folder: PublicFolder) -> None:
    errors = played(Cast(clients={1: SpendsLess}), folder)
    assert len(errors) == 1
    assert errors[0].endswith("BUDGET_SPEND by client-1 has no effect: the spend is not the plan's mechanism")


def test_a_run_without_noise_is_no_run_that_holds(folder: PublicFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """All clients' software forgets it, in the last round there is: nobody comes after to notice."""
    monkeypatch.setattr(Noise, "take", lambda noise: np.zeros(noise.dim, dtype=np.int64))
    errors = played(Cast(), folder)
    assert len(errors) == 1
    assert errors[0].startswith("assumption: does not hold: ")
    assert errors[0].endswith("shows less noise than epsilon rests on.")
