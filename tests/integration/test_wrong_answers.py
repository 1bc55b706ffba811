"""Members and clients that send something wrong in a round: what is noticed, who is named, and that the run goes on."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from ledger import DirectoryBlobs, blob_digest
from protocols.arrays import Int64Array, UInt64Array
from protocols.packing import unpack
from protocols.tckks import (
    EncryptedVector,
    Opening,
    PartialDecryption,
    PieceKey,
    ReplicatedSharing,
    combine,
    fingerprint_bytes,
    partial_decrypt,
    piece_answer,
)
from secure_bfl import member as member_module
from secure_bfl.answers import faults
from secure_bfl.board import Board
from secure_bfl.client import Client
from secure_bfl.datasets import load
from secure_bfl.disputes import challenge
from secure_bfl.errors import RefusedError
from secure_bfl.layout import PublicFolder
from secure_bfl.local_training import Learner
from secure_bfl.member import Member
from secure_bfl.messages import PartialAnswer, PieceCheck, UpdateCommit
from secure_bfl.model import GlobalModel
from secure_bfl.opening import open_sum
from secure_bfl.plan import FederationPlan
from secure_bfl.results import following_model, sentinel_energy
from secure_bfl.state import Attempt
from tests.secure_bfl.federation import NOW, Federation

from .commands import rejected, verify
from .dishonest import publish_everything

FIVE = ReplicatedSharing(5, 3)


@pytest.fixture(scope="module")
def keyed() -> Federation:
    """Three clients, five members of whom three open a sum, two rounds."""
    plan = FederationPlan.create("breast-cancer", clients=3, members=5, threshold=3, rounds=2, minimum_clients=2)
    federation = Federation(plan, load(plan.dataset, plan.clients).shares)
    federation.found()
    federation.generate_key()
    return federation


@pytest.fixture(scope="module")
def voted(keyed: Federation) -> Federation:
    """Every member has voted for the sum of round 1."""
    federation = keyed.copy()
    federation.open_and_update(1, federation.zero)
    federation.close_and_vote(1)
    return federation


@pytest.fixture(scope="module")
def honest(voted: Federation) -> GlobalModel:
    """What the first round gives if nobody cheats."""
    return opened(voted.copy())


def put_in(federation: Federation, cls: type[Member], *numbers: int) -> None:
    """Some members are of another kind."""
    for number in numbers:
        member = federation.members[number - 1]
        federation.members[number - 1] = cls(
            member.identity, journal=federation.disks[member.name].journal, witness=member.witness
        )


def opened(federation: Federation, number: int = 1, members: Sequence[Member] | None = None) -> GlobalModel:
    """Open a round's sum with whoever is there."""
    return open_sum(
        federation.board,
        number,
        federation.zero,
        operator=federation.operator,
        members=federation.members if members is None else members,
        witnesses=federation.witnesses,
        now=NOW,
    )


def finish(federation: Federation, model: GlobalModel) -> GlobalModel:
    """An honest second round."""
    federation.members = [federation.member(number) for number in range(1, federation.plan.members + 1)]
    federation.open_and_update(2, model)
    federation.close_and_vote(2)
    return open_sum(
        federation.board,
        2,
        model,
        operator=federation.operator,
        members=federation.members,
        witnesses=federation.witnesses,
        now=NOW,
    )


def published(federation: Federation, model: GlobalModel, path: Path) -> PublicFolder:
    """The run as an auditor gets it."""
    folder = PublicFolder(path / "public")
    folder.blobs.mkdir(parents=True)
    blobs = DirectoryBlobs(folder.blobs)
    for data in federation.blobs._blobs.values():
        blobs.put(data)
    witnesses = {member.name: member.witness for member in federation.members}
    publish_everything(federation.board, folder, witnesses, model, federation.operator.identity)
    return folder


def notes(federation: Federation, model: GlobalModel, path: Path) -> list[str]:
    """What an auditor says about a run that verifies."""
    answer = verify(published(federation, model, path).path)
    assert (answer.code, [f for f in answer.json["findings"] if f["level"] == "error"]) == (0, [])
    return [note for note in answer.notes() if "is named by no entry" not in note]


def asked(federation: Federation, number: int = 1) -> list[tuple[int, ...]]:
    return [attempt.request.active for attempt in federation.board.round(number).attempts]


# Members that answer wrongly.


class Wrong(Member):
    """Answers something else, and checks honestly."""

    def wrong(self, right: UInt64Array, primes: tuple[int, ...], scale: int) -> UInt64Array:
        """The residues that are sent in place of the right ones: random here, or as good as."""
        stream = hashlib.shake_256(self.name.encode()).digest(8 * right.size)
        words = np.frombuffer(stream, dtype="<u8").reshape(right.shape)
        return words % np.array(primes, dtype=np.uint64)[:, None]

    def answer(self, board: Board, number: int) -> None:
        attempt = board.round(number).attempt
        if attempt is None or self.name not in attempt.asked or self.name in attempt.answers:
            return
        key, plan = self._holder.member_key(board), board.roster.plan
        right = partial_decrypt(key, self._recomputed(board, number), attempt.request.active)
        scale = 1 << plan.noise_budget.scale_shift
        wrong = self.wrong(right.residues.copy(), plan.suite.answer_primes, scale)
        self.send(board, attempt, PartialDecryption(plan.suite, right.key_digest, wrong).encode())

    def send(self, board: Board, attempt: Attempt, data: bytes) -> None:
        """Publish an answer."""
        body = PartialAnswer(attempt.request.round, attempt.request.attempt, attempt.entry, board.blobs.put(data))
        board.append(body, self.name, self.identity.signing)


def test_random_residues_are_named_and_replaced(voted: Federation, honest: GlobalModel, tmp_path: Path) -> None:
    federation = voted.copy()
    put_in(federation, Wrong, 2)
    model = opened(federation)
    assert model.encode() == honest.encode()
    assert asked(federation) == [(1, 2, 3), (1, 3, 4)]
    assert faults(federation.board, 1).keys() == {"member-2"}
    told = "round 1: member-2: its answer is not the sum of what it states about its pieces"
    assert notes(federation, finish(federation, model), tmp_path) == [told]


class Shifts(Wrong):
    """Adds one step to one value of the sum: the sum opens all the same."""

    def wrong(self, right: UInt64Array, primes: tuple[int, ...], scale: int) -> UInt64Array:
        for row, prime in enumerate(primes):
            right[0, row, 0] = (int(right[0, row, 0]) + scale) % prime
        return right


def unchecked_sum(federation: Federation) -> Int64Array:
    """The sum that somebody gets who does not compare the answers."""
    board, plan = federation.board, federation.plan
    attempt = board.round(1).attempts[0]
    size = PartialDecryption.encoded_size(plan.suite, plan.blocks)
    answers = {}
    for name in attempt.asked:
        data = board.blobs.get(attempt.answers[name].answer, size=size)
        answers[name] = PartialDecryption.decode(data, board.joint_key, sender=name, blocks=plan.blocks)
    total = board.ciphertext(attempt.request.ciphertext, sender="operator")
    return unpack(combine(total, answers, plan.noise_budget, plan.layout), plan.values)


def unchecked_model(federation: Federation) -> GlobalModel:
    """The model that follows from it."""
    return following_model(federation.board, 1, federation.zero, unchecked_sum(federation))


def test_a_small_chosen_error_is_noticed_although_the_sum_opens(voted: Federation, honest: GlobalModel) -> None:
    federation = voted.copy()
    put_in(federation, Shifts, 1)
    model = opened(federation)
    assert np.count_nonzero(unchecked_model(federation).vector - honest.vector) == 1, "the first answers open too"
    assert model.encode() == honest.encode()
    assert asked(federation) == [(1, 2, 3), (2, 3, 4)]
    assert faults(federation.board, 1).keys() == {"member-1"}


class ShiftsAndLies(Shifts):
    """Adds one step to a value, and states fingerprints that fit: it shifts the answer of one of its pieces."""

    piece = 0

    def check_pieces(self, board: Board, number: int) -> None:
        twin = Member(self.identity, journal=self._journal, witness=self.witness)
        with pretending(board, self.piece, self.name):
            twin.check_pieces(board, number)


@contextmanager
def pretending(board: Board, piece: int, name: str) -> Iterator[None]:
    """Whoever checks here computes the shifted answer of one piece."""
    plan, real = board.roster.plan, piece_answer

    def shifted(key: PieceKey, total: EncryptedVector, opening: Opening) -> UInt64Array:
        answer = real(key, total, opening)
        if key.piece == piece:
            for row, prime in enumerate(plan.suite.answer_primes):
                answer[0, row, 0] = (int(answer[0, row, 0]) + (1 << plan.noise_budget.scale_shift)) % prime
        return answer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(member_module, "piece_answer", shifted)
        yield


ASSIGNED_TO_ONE = FIVE.assignment((1, 2, 3))[1][0]


def liars_about(piece: int) -> type[ShiftsAndLies]:
    return type("ShiftsAndLiesAbout", (ShiftsAndLies,), {"piece": piece})


def test_fingerprints_that_fit_are_contradicted_by_the_other_holders(
    voted: Federation, honest: GlobalModel, tmp_path: Path
) -> None:
    federation = voted.copy()
    put_in(federation, liars_about(ASSIGNED_TO_ONE), 1)
    model = opened(federation)
    assert model.encode() == honest.encode()
    assert asked(federation) == [(1, 2, 3), (2, 3, 4)]
    others = ", ".join(f"member-{m}" for m in FIVE.holders(ASSIGNED_TO_ONE) if m != 1)
    camps = f"the holders of piece {ASSIGNED_TO_ONE} disagree about its answer: member-1 against {others}"
    said = notes(federation, finish(federation, model), tmp_path)
    assert said[0] == f"round 1: member-1: {camps}"
    assert f"round 1: attempt 0: {camps}" in said


class LiesOnly(Member):
    """Answers honestly and states wrong fingerprints."""

    def check_pieces(self, board: Board, number: int) -> None:
        attempt = board.round(number).attempt
        if attempt is not None and not attempt.unanswered and self.name not in attempt.checks:
            size, held = fingerprint_bytes(board.roster.plan.suite), FIVE.held_by(self.number)
            random = challenge(board.replay.context, number, attempt)
            body = PieceCheck(number, attempt.request.attempt, random, (bytes(size),) * len(held))
            board.append(body, self.name, self.identity.signing)


@pytest.mark.parametrize("liar", [1, 5])
def test_a_lie_about_the_pieces_names_the_liar(
    voted: Federation, honest: GlobalModel, tmp_path: Path, liar: int
) -> None:
    federation = voted.copy()
    put_in(federation, LiesOnly, liar)
    model = opened(federation)
    assert model.encode() == honest.encode()
    assert asked(federation) == ([(1, 2, 3), (2, 3, 4)] if liar == 1 else [(1, 2, 3)])
    assert faults(federation.board, 1).keys() == {f"member-{liar}"}
    said = notes(federation, finish(federation, model), tmp_path)
    assert any(f"member-{liar}" in note and "disagree about its answer" in note for note in said)


def test_two_colluding_holders_are_noticed_but_may_be_believed(
    voted: Federation, honest: GlobalModel, tmp_path: Path
) -> None:
    """Two of five are more than f = 1: they are believed against the third holder. An auditor reads of the dispute."""
    federation = voted.copy()
    piece = next(p for p in FIVE.assignment((1, 2, 3))[1] if {1, 2} <= set(FIVE.holders(p)))
    (third,) = (m for m in FIVE.holders(piece) if m not in (1, 2))
    put_in(federation, liars_about(piece), 1)
    put_in(federation, type("Backs", (ShiftsAndLies,), {"piece": piece, "answer": Member.answer}), 2)
    model = opened(federation)
    camps = f"the holders of piece {piece} disagree about its answer: member-1, member-2 against member-{third}"
    assert np.count_nonzero(model.vector - honest.vector) == 1, "what f + 1 colluding holders can do"
    assert faults(federation.board, 1).keys() == {f"member-{third}"}
    assert f"round 1: attempt 0: {camps}" in notes(federation, finish(federation, model), tmp_path)


def test_two_colluding_members_that_do_not_share_the_piece(voted: Federation, honest: GlobalModel) -> None:
    federation = voted.copy()
    put_in(federation, liars_about(ASSIGNED_TO_ONE), 1)
    other = next(m for m in (2, 3, 4, 5) if m not in FIVE.holders(ASSIGNED_TO_ONE))
    put_in(federation, Wrong, other)
    assert opened(federation).encode() == honest.encode()
    assert "member-1" in faults(federation.board, 1)


class Silent(Member):
    """Votes, and does not answer."""

    def answer(self, board: Board, number: int) -> None:
        return


class SilentLater(Member):
    """Answers, and does not check."""

    def check_pieces(self, board: Board, number: int) -> None:
        return


@pytest.mark.parametrize("cls", [Silent, SilentLater])
def test_a_silent_member_is_replaced(voted: Federation, honest: GlobalModel, tmp_path: Path, cls: type[Member]) -> None:
    federation = voted.copy()
    put_in(federation, cls, 3)
    model = opened(federation)
    assert model.encode() == honest.encode()
    assert asked(federation) == [(1, 2, 3), (1, 2, 4)]
    said = notes(federation, finish(federation, model), tmp_path)
    assert said == (["round 1: member-3 did not answer attempt 0"] if cls is Silent else [])


class Malformed(Wrong):
    """Sends bytes that are no answer."""

    def send(self, board: Board, attempt: Attempt, data: bytes) -> None:
        super().send(board, attempt, data[:44] + b"\xff" * 6 + data[50:])


class Missing(Wrong):
    """Names an answer that it does not publish."""

    def send(self, board: Board, attempt: Attempt, data: bytes) -> None:
        body = PartialAnswer(attempt.request.round, attempt.request.attempt, attempt.entry, blob_digest(data))
        board.append(body, self.name, self.identity.signing)


@pytest.mark.parametrize(("cls", "told"), [(Malformed, "residue"), (Missing, "is missing")])
def test_malformed_and_missing_answers_are_replaced(
    voted: Federation, honest: GlobalModel, tmp_path: Path, cls: type[Member], told: str
) -> None:
    federation = voted.copy()
    put_in(federation, cls, 1)
    model = opened(federation)
    assert model.encode() == honest.encode()
    assert asked(federation) == [(1, 2, 3), (2, 3, 4)]
    (note,) = notes(federation, finish(federation, model), tmp_path)
    assert note.startswith("round 1: member-1: ")
    assert told in note


def test_nobody_left_makes_the_round_void_and_the_run_goes_on(voted: Federation, tmp_path: Path) -> None:
    federation = voted.copy()
    put_in(federation, Wrong, 1, 2, 3)
    model = opened(federation)
    state = federation.board.round(1)
    assert state.void is not None
    assert state.void.reason.startswith("nobody is left to open the sum: member-1: its answer is not the sum")
    assert model.encode() == federation.zero.encode()
    last = finish(federation, model)
    assert federation.board.round(2).result is not None
    said = notes(federation, last, tmp_path)
    assert said[0].startswith("round 1: is void: nobody is left to open the sum")
    assert [n for n in said if "its answer is not the sum of what it states" in n and "member-3" in n]
    report = json.loads((tmp_path / "public" / "budget-report.json").read_bytes())
    assert [r["round"] for r in report["evidence"]["void_rounds"]] == [1]
    assert [r["round"] for r in report["evidence"]["rounds"]] == [2]
    assert [client["rounds_reserved"] for client in report["clients"]] == [[1, 2]] * 3
    assert [client["rounds_reserved_without_upload"] for client in report["clients"]] == [[1]] * 3


def test_a_model_that_rests_on_a_wrong_answer_is_an_error(voted: Federation, tmp_path: Path) -> None:
    """An operator that does not compare, or does not care."""
    federation = voted.copy()
    put_in(federation, Shifts, 1)
    federation.request(1)
    for member in federation.members:
        member.answer(federation.board, 1)
    for member in federation.members:
        member.check_pieces(federation.board, 1)
    energy = sentinel_energy(federation.plan, unchecked_sum(federation))
    federation.operator.publish_model(federation.board, 1, unchecked_model(federation), sentinel_energy=energy)
    errors = rejected(published(federation, unchecked_model(federation), tmp_path).path)
    assert any("rounds: member-1: its answer is not the sum of what it states about its pieces" in e for e in errors)


# Clients.


class SendsNoise(Client):
    """Commits to random bytes in the form of a ciphertext."""

    def update(self, board: Board, number: int, model: GlobalModel) -> bool:
        reservation = self.reserve(board, number)
        plan = board.roster.plan
        shape = (plan.blocks, 2, len(plan.suite.data_primes), plan.ring_degree)
        stream = hashlib.shake_256(b"noise").digest(8 * int(np.prod(shape)))
        primes = np.array(plan.suite.data_primes, dtype=np.uint64)[:, None]
        residues = np.frombuffer(stream, dtype="<u8").reshape(shape) % primes
        data = EncryptedVector(plan.suite, board.joint_key.digest, residues).encode()
        digest = board.blobs.put(data)
        self._odometer.persist(reservation.run, number, self._outbox.put(data), len(data))
        board.append(UpdateCommit(number, 0, digest, b""), self.name, self.identity.signing)
        return True


def test_a_ciphertext_that_is_none_costs_one_round(keyed: Federation, tmp_path: Path) -> None:
    federation = keyed.copy()
    client, disk = federation.clients[1], federation.disks["client-2"]
    federation.clients[1] = SendsNoise(
        client.identity, Learner(federation.shares[1]), odometer=disk.odometer, outbox=disk.outbox
    )
    federation.open_and_update(1, federation.zero)
    federation.close_and_vote(1)
    model = opened(federation)
    void = federation.board.round(1).void
    assert void is not None
    told = "the sum of round 1 does not open although every answer is confirmed: a ciphertext of client-1, client-2, "
    assert void.reason == f"{told}client-3 was not honestly made; no member is to blame"
    assert faults(federation.board, 1) == {}, "no member is to blame"
    federation.clients[1] = client
    last = finish(federation, model)
    assert last.encode() != federation.zero.encode()
    said = notes(federation, last, tmp_path)
    assert said[0] == f"round 1: is void: {void.reason}"
    assert said[1] == f"round 1: gives no model: {void.reason}"


def test_a_round_made_void_for_no_reason_is_noted(voted: Federation, tmp_path: Path) -> None:
    federation = voted.copy()
    federation.request(1)
    for member in federation.members:
        member.answer(federation.board, 1)
    for member in federation.members:
        member.check_pieces(federation.board, 1)
    federation.operator.void_round(federation.board, 1, "I do not like it")
    with pytest.raises(RefusedError, match="is void"):
        federation.members[0]._recomputed(federation.board, 1)
    said = notes(federation, finish(federation, federation.zero), tmp_path)
    assert said == [
        "round 1: is void: I do not like it",
        "round 1: was made void by the operator although its sum opens",
    ]
