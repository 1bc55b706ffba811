"""Runs in which parties cheat, with their real keys, while everybody else colludes.

The sequencer admits every entry, the committee certifies whatever the log holds, and the cheats publish a report and a
model that fit what they wrote. What is left to an auditor is what the files say.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ledger import (
    Blobs,
    CosigningWitness,
    DirectoryBlobs,
    LedgerError,
    Log,
    MemoryBlobs,
    MemoryStore,
    MemoryWitnessStore,
    SigningKey,
    VerifierKey,
    Witness,
    certify,
    publish,
    sign_entry,
)
from protocols.errors import ProtocolError
from protocols.tckks import EncryptedVector
from secure_bfl.board import Board
from secure_bfl.client import Client
from secure_bfl.datasets import load
from secure_bfl.errors import EdgeError
from secure_bfl.identity import Identity
from secure_bfl.journal import MemoryJournal
from secure_bfl.keystore import Keystore
from secure_bfl.layout import PrivateFolder, PublicFolder
from secure_bfl.local_training import Learner
from secure_bfl.member import KEY_STEPS, Member
from secure_bfl.messages import AggregateVote, Body, Role
from secure_bfl.model import GlobalModel
from secure_bfl.odometer import MemoryOdometer
from secure_bfl.opening import open_sum
from secure_bfl.operator import Operator
from secure_bfl.plan import FederationPlan
from secure_bfl.report import build, encode, html, markdown
from secure_bfl.results import final_model, report_facts
from secure_bfl.roster import OPERATOR, client_name, member_name
from secure_bfl.signatory import ReportSigner

NOW = 1_700_000_000


class ColludingBoard(Board):
    """A board that admits what replay would ignore."""

    def append(self, body: Body, sender: str, key: SigningKey) -> int:
        """Sign and append, whatever it is."""
        return self.append_bytes(sign_entry(body.kind, sender, body.to_value(), key, context=self.replay.context))

    def append_bytes(self, data: bytes) -> int:
        """Append any bytes."""
        index = self.log.append(data)
        self.replay.apply(data)
        return index


class ColludingMember(Member):
    """A member that votes for whatever is announced, and answers whatever is asked."""

    def vote(self, board: Board, number: int) -> None:
        announced = board.round(number).aggregate
        assert announced is not None
        board.append(
            AggregateVote(number, board.round(number).closing, announced.ciphertext), self.name, self.identity.signing
        )

    def _recomputed(self, board: Board, number: int) -> EncryptedVector:
        request = board.round(number).request
        assert request is not None
        return board.ciphertext(request.ciphertext, sender="operator")


@dataclass
class Cast:
    """Who plays which part; the honest class for everybody who is not named."""

    operator: type[Operator] = Operator
    members: Mapping[int, type[Member]] = field(default_factory=dict)
    clients: Mapping[int, type[Client]] = field(default_factory=dict)
    everyone_member: type[Member] = Member


def plan_of_cheats() -> FederationPlan:
    """Small: three clients, four members of whom three certify and two decrypt, one round."""
    return FederationPlan.create("breast-cancer", clients=3, members=4, threshold=2, rounds=1, minimum_clients=2)


def play(plan: FederationPlan, cast: Cast, folder: PublicFolder) -> Board:
    """Play a run as far as it goes, and publish it. Where an honest party refuses to go on, the run ends."""
    operator = cast.operator(Identity.in_memory(OPERATOR, Role.OPERATOR))
    log = Log(MemoryStore(), f"secure-bfl/{operator.identity.note.public.hex()[:16]}", operator.identity.note)
    board = ColludingBoard(log, DirectoryBlobs(folder.blobs))
    members = [
        _member(cast.members.get(number, cast.everyone_member), number, log.verifier)
        for number in range(1, plan.members + 1)
    ]
    clients = [_client(cast.clients.get(number, Client), number, plan) for number in range(1, plan.clients + 1)]
    identities = [operator.identity, *(m.identity for m in members), *(c.identity for c in clients)]
    operator.found(board, plan, tuple(identity.party for identity in identities))
    witnesses = {member.name: member.witness for member in members}
    model = GlobalModel.zero(plan.tensors)
    with suppress(EdgeError, LedgerError, ProtocolError):  # an honest party refuses; the board stays as it is
        model = _rounds(board, plan, operator, members, clients, model)
    publish_everything(board, folder, witnesses, model, operator.identity)
    return board


def _rounds(
    board: Board,
    plan: FederationPlan,
    operator: Operator,
    members: Sequence[Member],
    clients: Sequence[Client],
    model: GlobalModel,
) -> GlobalModel:
    for step in KEY_STEPS:
        for member in members:
            getattr(member, step.__name__)(board)
    witnesses = {member.name: member.witness for member in members}
    for number in range(1, plan.rounds + 1):
        operator.open_round(board, number, model)
        for client in clients:
            client.update(board, number, model)
        operator.close_round(board, number)
        operator.add_up(board, number)
        for member in members:
            member.vote(board, number)
        model = open_sum(board, number, model, operator=operator, members=members, witnesses=witnesses, now=NOW)
    return model


def _member(cls: type[Member], number: int, log_key: VerifierKey) -> Member:
    identity = Identity.in_memory(member_name(number), Role.MEMBER)
    witness = Witness(identity.name, identity.note, log_key, MemoryWitnessStore())
    return cls(identity, journal=MemoryJournal(), witness=witness)


def _client(cls: type[Client], number: int, plan: FederationPlan) -> Client:
    records = load(plan.dataset, plan.clients).shares[number - 1]
    odometer = MemoryOdometer(
        dataset=plan.dataset, unit=plan.unit_of_privacy, epsilon=plan.epsilon, delta=plan.delta, dim=plan.values
    )
    identity = Identity.in_memory(client_name(number), Role.CLIENT)
    return cls(identity, Learner(records), odometer=odometer, outbox=MemoryBlobs())


def publish_everything(
    board: Board,
    folder: PublicFolder,
    witnesses: Mapping[str, CosigningWitness],
    model: GlobalModel,
    operator: Identity,
) -> None:
    """Certify and publish whatever the log holds, with a model and a signed report that fit it if there can be one."""
    certificate = certify(board.log, witnesses, board.replay.committee.policy, now=NOW)
    publish(board.log, certificate, folder.ledger)
    rounds = board.replay.rounds
    if len(rounds) < board.roster.plan.rounds or rounds[-1].result is None:
        return
    size = len(model.encode())
    plan = board.roster.plan
    last = GlobalModel.decode(board.blobs.get(rounds[-1].result.model, size=size), plan.tensors)
    folder.model.write_bytes(final_model(board, last).encode())
    report = ReportSigner(operator, {})(build(report_facts(board, certificate)), board)
    folder.report_json.write_bytes(encode(report))
    folder.report_markdown.write_bytes(markdown(report).encode())
    folder.report_html.write_bytes(html(report).encode())


@dataclass(frozen=True)
class StolenKeys:
    """The keys of all parties of a finished run on disk, and what can be done with them."""

    identities: dict[str, Identity]

    @classmethod
    def of(cls, out: Path) -> "StolenKeys":
        identities = {}
        for folder in sorted((out / "private").iterdir()):
            if folder.is_dir():
                party = PrivateFolder(folder)
                role = Role[folder.name.partition("-")[0].upper()]
                keystore = Keystore.open(party.keystore, party.passphrase.read_text().strip())
                identities[folder.name] = Identity(folder.name, role, keystore)
        return cls(identities)

    def publish(self, entries: Sequence[bytes], folder: PublicFolder) -> Board:
        """Certify any entries with everybody's real keys, and publish them over what is in the folder."""
        operator = self.identities[OPERATOR]
        log = Log(MemoryStore(), f"secure-bfl/{operator.note.public.hex()[:16]}", operator.note)
        log.append_all(entries)
        blobs: Blobs = DirectoryBlobs(folder.blobs)
        board = ColludingBoard(log, blobs)
        witnesses = {
            name: Witness(name, identity.note, log.verifier, MemoryWitnessStore())
            for name, identity in self.identities.items()
            if identity.role is Role.MEMBER
        }
        for path in sorted(folder.ledger.rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        plan = board.roster.plan
        publish_everything(board, folder, witnesses, GlobalModel.zero(plan.tensors), operator)
        return board
