"""A small federation in memory, which a test can stop, copy and spoil at any stage."""

import copy
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from ledger import (
    CosigningWitness,
    Log,
    MemoryBlobs,
    MemoryStore,
    MemoryWitnessStore,
    Witness,
    leaf_hash,
)
from ledger.tiled import TiledTree
from secure_bfl.board import Board
from secure_bfl.client import Client
from secure_bfl.identity import Identity, Secrets
from secure_bfl.journal import MemoryJournal
from secure_bfl.local_training import Learner, Records
from secure_bfl.member import KEY_STEPS, Member
from secure_bfl.messages import Role
from secure_bfl.model import GlobalModel
from secure_bfl.odometer import MemoryOdometer
from secure_bfl.operator import Operator
from secure_bfl.plan import FederationPlan
from secure_bfl.results import following_model, opened_sum, sentinel_energy
from secure_bfl.roster import OPERATOR, client_name, member_name

NOW = 1_700_000_000


def digest(*words: object) -> bytes:
    """A made-up digest."""
    return hashlib.sha256(repr(words).encode()).digest()


def identity_of(name: str, role: Role, attempt: int = 0) -> Identity:
    """The same identity on every call; another one for another attempt to bring a committee into office."""
    secrets = Secrets()
    for key in Identity.fresh_secrets(role):
        secrets.put(key, digest("seed", name, key, *([attempt] if attempt else [])))
    return Identity(name, role, secrets)


def identities(plan: FederationPlan) -> dict[str, Identity]:
    """Every party of a plan, in the order of the roster."""
    names = [(OPERATOR, Role.OPERATOR)]
    names += [(member_name(i), Role.MEMBER) for i in range(1, plan.members + 1)]
    names += [(client_name(i), Role.CLIENT) for i in range(1, plan.clients + 1)]
    return {name: identity_of(name, role) for name, role in names}


@dataclass
class Disk:
    """What one party has on its disk."""

    journal: MemoryJournal
    outbox: MemoryBlobs
    odometer: MemoryOdometer
    witness: MemoryWitnessStore
    identity: Identity

    @classmethod
    def new(cls, plan: FederationPlan, identity: Identity) -> "Disk":
        return cls(MemoryJournal(), MemoryBlobs(), odometer_of(plan), MemoryWitnessStore(), identity)

    def copy(self, plan: FederationPlan) -> "Disk":
        new = Disk.new(plan, identity_of(self.identity.name, self.identity.role))
        assert isinstance(self.identity.secrets, Secrets)
        for name, secret in self.identity.secrets._secrets.items():
            new.identity.secrets.put(name, secret)
        new.journal._claims.update(self.journal._claims)
        new.outbox._blobs.update(self.outbox._blobs)
        new.odometer = copy.deepcopy(self.odometer)
        state = self.witness.load()
        if state is not None:
            new.witness.compare_and_swap(None, state)
        return new


def odometer_of(plan: FederationPlan) -> MemoryOdometer:
    return MemoryOdometer(
        dataset=plan.dataset, unit=plan.unit_of_privacy, epsilon=plan.epsilon, delta=plan.delta, dim=plan.values
    )


class Federation:
    """All parties of one federation, and the board where they meet."""

    def __init__(
        self,
        plan: FederationPlan,
        shares: Sequence[Records],
        *,
        store: MemoryStore | None = None,
        blobs: MemoryBlobs | None = None,
        disks: dict[str, Disk] | None = None,
    ) -> None:
        self.plan, self.shares = plan, shares
        self.store = MemoryStore() if store is None else store
        self.blobs = MemoryBlobs() if blobs is None else blobs
        if disks is None:
            disks = {name: Disk.new(plan, identity) for name, identity in identities(plan).items()}
        self.disks = disks
        self.identities = {name: disk.identity for name, disk in disks.items()}
        note = self.identities[OPERATOR].note
        self.log = Log(self.store, f"secure-bfl/{note.public.hex()[:16]}", note)
        self.board = Board(self.log, self.blobs)
        self.operator = Operator(self.identities[OPERATOR])
        self.members = [self.member(i) for i in range(1, plan.members + 1)]
        self.clients = [self.client(i) for i in range(1, plan.clients + 1)]

    def member(self, number: int) -> Member:
        """A member, as after a restart."""
        identity = self.identities[member_name(number)]
        disk = self.disks[identity.name]
        witness = Witness(identity.name, identity.note, self.log.verifier, disk.witness)
        return Member(identity, journal=disk.journal, witness=witness)

    def client(self, number: int) -> Client:
        """A client, as after a restart."""
        identity = self.identities[client_name(number)]
        disk = self.disks[identity.name]
        records = self.shares[number - 1]
        return Client(identity, Learner(records), odometer=disk.odometer, outbox=disk.outbox)

    def copy(self) -> "Federation":
        """The same federation at the same point, sharing nothing that changes."""
        store, blobs = MemoryStore(), MemoryBlobs()
        entries = self.store.entries(0, self.log.size)
        grown = TiledTree(store.tile).prepare([leaf_hash(data) for data in entries])
        store.append(entries, grown.tiles, self.store.head())
        blobs._blobs.update(self.blobs._blobs)
        disks = {name: disk.copy(self.plan) for name, disk in self.disks.items()}
        return Federation(self.plan, self.shares, store=store, blobs=blobs, disks=disks)

    @property
    def witnesses(self) -> dict[str, CosigningWitness | None]:
        return {member.name: member.witness for member in self.members}

    @property
    def zero(self) -> GlobalModel:
        return GlobalModel.zero(self.plan.tensors)

    def found(self) -> None:
        self.operator.found(self.board, self.plan, tuple(i.party for i in self.identities.values()))

    def generate_key(self) -> None:
        for step in KEY_STEPS:
            for member in self.members:
                step(member, self.board)

    def open_and_update(self, number: int, model: GlobalModel) -> None:
        self.operator.open_round(self.board, number, model)
        for client in self.clients:
            assert client.update(self.board, number, model)

    def close_and_vote(self, number: int) -> None:
        self.operator.close_round(self.board, number)
        self.operator.add_up(self.board, number)
        for member in self.members:
            member.vote(self.board, number)

    def request(self, number: int) -> None:
        self.operator.request(self.board, number, self.witnesses, now=NOW)

    def answer_and_publish(self, number: int, model: GlobalModel) -> GlobalModel:
        for step in (Member.answer, Member.check_pieces):
            for member in self.members:
                step(member, self.board, number)
        sums = opened_sum(self.board, number)
        following = following_model(self.board, number, model, sums)
        self.operator.publish_model(self.board, number, following, sentinel_energy=sentinel_energy(self.plan, sums))
        return following
