"""A member's part in making the key, and in handing it over.

Spec: round §4.2 (v1). Every step looks at the ledger and does nothing if it is done, or is not this member's. What a
member must never do twice, or after another thing, it promises in its journal first:

- one set of commitments of a founding: who could show it others after its reveal could choose its own part last;
- one challenge of the degree test a dealing: two answers give away sums of the dealt element;
- one verdict a founding: a member that accepted the key opens neither its seeds nor its sealing key, and one that
  opened them never accepts, so no fork of the log has it do both.
"""

import hashlib
import os
from typing import Final

from ledger import blob_digest
from protocols.errors import KeyGenerationError
from protocols.tckks import (
    MemberKey,
    PieceKey,
    PieceSeed,
    answer_test,
    commitment,
    deal,
    derive_piece,
    seed_commitment,
    trial_ciphertext,
    trials,
)
from protocols.tckks.dealing import Dealing, join_piece
from protocols.tckks.founding import founding_dealing
from protocols.tckks.handover import subdeal
from protocols.tckks.keygen import SEED_BYTES
from protocols.tckks.subshare import SubShare, masked

from .board import Board
from .ceremony import CeremonyState
from .deliveries import Deliveries, Slot, pack_section, pair_checks, table_digest
from .errors import RefusedError, StateError
from .identity import Identity
from .journal import Journal
from .judging import check_dry_run, dry_run_fails
from .key_rules import expected_answers
from .messages import (
    AddendCommit,
    AddendSeed,
    Complaint,
    KeyAccept,
    KeyAnswer,
    KeyCheck,
    KeyCommit,
    KeyDrop,
    KeyOpen,
    KeyReveal,
    TrialAnswer,
)
from .roster import member_number
from .sealing import seal

__all__ = ["KeyHolder"]

_ACCEPTED: Final = b"accepted"
_OPENED: Final = b"opened"


class KeyHolder:
    """One member's seeds and pieces, for the epoch that its name tells."""

    def __init__(self, identity: Identity, journal: Journal) -> None:
        self.identity, self._journal = identity, journal
        self.number = member_number(identity.name)
        self._key: MemberKey | None = None

    @property
    def name(self) -> str:
        """The member's name."""
        return self.identity.name

    def __repr__(self) -> str:
        return f"KeyHolder({self.name}, <secret>)"

    # A dealer's steps.

    def approve(self, board: Board, change: bytes) -> None:
        """Agree, durably, to deal in the committee change of this position: its human has looked at the new members.

        Raises:
            StateError: the newest ceremony is not that change.
        """
        ceremony = board.replay.ceremony
        if ceremony.founding or ceremony.position != change:
            raise StateError(f"{self.name}: the change of position {change.hex()} is not under way")
        self._journal.claim(f"approved/{change.hex()}", b"")

    def commit(self, board: Board) -> None:
        """Step 1: commit to what this member deals.

        Raises:
            RefusedError: a committee change that this member did not approve.
            StateError: the keystore lacks what is to be dealt.
        """
        ceremony = board.replay.ceremony
        if self.name in ceremony.commits or not ceremony.dealt_by(self.name):
            return
        self._require_approval(ceremony)
        board.append(self._commitments(board, ceremony), self.name, self.identity.signing_in(board.replay))

    def _require_approval(self, ceremony: CeremonyState) -> None:
        if not ceremony.founding and self._journal.get(f"approved/{ceremony.position.hex()}") is None:
            raise RefusedError(f"{self.name} refuses: it did not approve this committee change", culprits=("operator",))

    def _commitments(self, board: Board, ceremony: CeremonyState) -> KeyCommit:
        parts = tuple(self._commitment(board, addend) for addend in ceremony.dealt_by(self.name))
        return KeyCommit(ceremony.position, parts)

    def _commitment(self, board: Board, addend: int) -> AddendCommit:
        state = board.deliveries().state
        if state.seeds_travel:
            seed, ceremony = self._seed(board, addend), board.ceremony
            return AddendCommit(addend, commitment(derive_piece(ceremony, seed)[1]), seed_commitment(ceremony, seed))
        dealing, part = self._dealing(board, addend)
        return AddendCommit(addend, commitment(part) if part else b"", table_digest(dealing.digests))

    def reveal(self, board: Board) -> None:
        """Step 2: publish the public parts, and what every holder gets, sealed.

        Raises:
            RefusedError: a committee change that this member did not approve, or a commitment that it would not make.
            StateError: not every dealer has committed, or the commitments are not those it saw before; nothing was
                shown, so nobody can choose a part after it.
        """
        ceremony = board.replay.ceremony
        due = ceremony.due(self.name)
        if not ceremony.dealt_by(self.name) or (ceremony.delivered and not due):
            return
        self._wait("committed", ceremony.absent())
        disputed = [addend for addend in ceremony.addends if ceremony.commitment(addend) is None]
        if disputed:
            camps = " against ".join(", ".join(camp) for camp in ceremony.camps(disputed[0]).values())
            raise StateError(f"the holders of addend {disputed[0]} committed to different dealings: {camps}")
        self._require_approval(ceremony)
        if due and ceremony.commits[self.name] != self._commitments(board, ceremony):
            raise RefusedError(f"{self.name} refuses: the commitment on the ledger is not to what it deals")
        if ceremony.founding:
            self._claim_commitments(board, ceremony)
        digest = self._deliver(board, board.deliveries(), due)
        board.append(KeyReveal(ceremony.position, due, digest), self.name, self.identity.signing_in(board.replay))

    def _deliver(self, board: Board, deliveries: Deliveries, due: tuple[int, ...]) -> bytes:
        """Publish what the holders get. Sealing is random, so after a crash what was published before is used again."""
        prefix = f"deliveries/{deliveries.identity.hex()}/{'-'.join(map(str, due))}/"
        tried = self._journal.count(prefix)
        for attempt in range(tried):
            known = self._journal.get(f"{prefix}{attempt}")
            if known is not None and board.blobs.has(known):
                return known
        data = b"".join(self._section(board, deliveries, addend) for addend in due)
        self._journal.claim(f"{prefix}{tried}", blob_digest(data))
        return board.blobs.put(data)

    def _section(self, board: Board, deliveries: Deliveries, addend: int) -> bytes:
        slots: dict[tuple[int, int], Slot] = {}
        if deliveries.state.seeds_travel:
            seed = self._seed(board, addend)
            board.blobs.put(derive_piece(board.ceremony, seed)[1])
            for slot in deliveries.slots(addend, self.name):
                slots[slot] = Slot(b"", self._sealed(deliveries, addend, slot, seed.reveal()))
            return pack_section((), b"", slots)
        dealing, part = self._dealing(board, addend)
        if part:
            board.blobs.put(part)
        hidden = {
            piece: board.blobs.put(masked(dealing.share(piece).encode(), dealing.mask_key(piece)))
            for piece, _ in deliveries.slots(addend, self.name)
        }
        for slot in deliveries.slots(addend, self.name):
            sealed = self._sealed(deliveries, addend, slot, dealing.mask_key(slot[0]))
            slots[slot] = Slot(hidden[slot[0]], sealed)
        return pack_section(dealing.digests, self._proof(deliveries, addend, dealing), slots)

    def _sealed(self, deliveries: Deliveries, addend: int, slot: tuple[int, int], secret: bytes) -> bytes:
        committee = deliveries.state.committee
        public = committee.parties[committee.name(slot[1])].sealing_key
        return seal(secret, public, info=deliveries.seal_info(addend, self.name, slot))

    def _proof(self, deliveries: Deliveries, addend: int, dealing: Dealing) -> bytes:
        if not dealing.terms.tested:
            return b""
        challenge = deliveries.challenge(addend, dealing.digests)
        self._journal.claim(f"degree-test/{deliveries.identity.hex()}/{addend}", challenge)
        return dealing.degree_proof(challenge)

    def _claim_commitments(self, board: Board, ceremony: CeremonyState) -> None:
        counted = [ceremony.commitment(addend) for addend in ceremony.addends]
        stated = [c[0].addend.to_bytes(2, "big") + c[0].part + c[0].dealing for c in counted if c is not None]
        digest = hashlib.sha256(b"".join(stated)).digest()
        self._journal.claim(f"commitments/{board.deliveries(ceremony).identity.hex()}", digest)

    def _wait(self, what: str, absent: tuple[str, ...]) -> None:
        if absent:
            raise StateError(f"{self.name} cannot go on before {', '.join(absent)} {what}", culprits=absent)

    def _secret_name(self, board: Board) -> str:
        return f"deal/{board.replay.context.hex()}"

    def _dealt(self, board: Board) -> tuple[PieceSeed, ...]:
        """The seeds of a founding; drawn once, kept before anything about them is published."""
        name = self._secret_name(board)
        rand = self.identity.secrets.get(name)
        if rand is None:
            if self.name in board.replay.ceremonies[0].commits:
                raise StateError(f"{self.name}: its keystore lacks the seeds it dealt; bring back the newest copy")
            rand = os.urandom(SEED_BYTES)
            self.identity.secrets.put(name, rand)
        return deal(board.ceremony, self.number, rand=rand)

    def _seed(self, board: Board, addend: int) -> PieceSeed:
        return next(seed for seed in self._dealt(board) if seed.piece == addend)

    def _dealing(self, board: Board, addend: int) -> tuple[Dealing, bytes]:
        """What this member deals for an addend, and at founding its public part."""
        state = board.replay.ceremony
        if state.former is None:
            return founding_dealing(board.ceremony, self._seed(board, addend))
        own = board.replay.ceremony_of(state.former.epoch)
        return subdeal(board.deliveries(state).handover, self._held(board, own).piece(addend)), b""

    # A receiver's steps.

    def check(self, board: Board) -> None:
        """Steps 3 and 4: check everything this member was dealt, and pin the joint key.

        Raises:
            StateError: not every addend was delivered.
            KeyGenerationError: something is wrong, and the dealer is named. What can be judged is a complaint on the
                ledger; at founding it opens this member's sealing key, if the fault is in what was sealed.
        """
        ceremony = board.replay.ceremony
        if self.name not in ceremony.committee.parties or self.name in ceremony.checks:
            return
        late = {ceremony.turn(addend) or ceremony.dealers(addend)[0] for addend in ceremony.undelivered}
        self._wait("revealed", tuple(sorted(late)))
        if ceremony.founding:
            self._claim_commitments(board, ceremony)
        deliveries = board.deliveries(ceremony)
        for addend in ceremony.addends:
            try:
                deliveries.check_public(addend)
            except KeyGenerationError:
                if not ceremony.founding or not deliveries.withheld(addend):
                    self._complain(board, ceremony, addend, b"")
                raise
        pairs = pair_checks(ceremony, self._pieces(board, deliveries, complain=True))
        board.append(
            KeyCheck(ceremony.position, board.joint_key.digest, pairs),
            self.name,
            self.identity.signing_in(board.replay),
        )

    def _complain(self, board: Board, ceremony: CeremonyState, addend: int, sealing_seed: bytes) -> None:
        if ceremony.founding and self.name in ceremony.complaints:
            return
        if sealing_seed:
            self._journal.claim(f"verdict/{board.deliveries(ceremony).identity.hex()}", _OPENED)
        board.append(
            Complaint(ceremony.position, addend, ceremony.delivered[addend][1].deliveries, sealing_seed),
            self.name,
            self.identity.signing_in(board.replay),
        )

    def _pieces(self, board: Board, deliveries: Deliveries, *, complain: bool = False) -> dict[int, PieceKey]:
        state = deliveries.state
        pieces = {}
        for piece in state.committee.sharing.held_by(self.number):
            shares = {}
            for addend in (piece,) if state.seeds_travel else state.addends:
                try:
                    got = self._received(board, deliveries, addend, piece)
                except KeyGenerationError:
                    if complain and not (state.founding and deliveries.withheld(addend, (piece, self.number))):
                        seed = self.identity.sealing_seed() if state.founding else b""
                        self._complain(board, state, addend, seed)
                    raise
                if isinstance(got, PieceKey):
                    pieces[piece] = got
                else:
                    shares[addend] = got
            if shares:
                pieces[piece] = join_piece(tuple(deliveries.terms.values()), piece, shares)
        return pieces

    def _received(self, board: Board, deliveries: Deliveries, addend: int, piece: int) -> PieceKey | SubShare:
        state, slot = deliveries.state, (piece, self.number)
        own = state.founding and deliveries.deliverer(addend) == self.name
        if own and state.seeds_travel:
            return derive_piece(board.ceremony, self._seed(board, addend))[0]
        if own:
            return founding_dealing(board.ceremony, self._seed(board, addend))[0].share(piece)
        if state.seeds_travel:
            return deliveries.seed(addend, slot, self.identity.sealing)
        return deliveries.subshare(addend, slot, self.identity.sealing)

    def _held(self, board: Board, state: CeremonyState) -> MemberKey:
        """The pieces of this member's epoch, read again from the ledger after a restart."""
        if self.identity.retired:
            raise StateError(f"{self.name} has erased its pieces")
        if self._key is None:
            if state.undelivered:
                raise StateError(f"{self.name}: not every addend was delivered in epoch {state.epoch}")
            sharing = state.committee.sharing
            pieces = self._pieces(board, board.deliveries(state))
            self._key = MemberKey(self.number, board.joint_key, pieces, sharing=sharing, epoch=state.epoch)
        return self._key

    def answer_test(self, board: Board) -> None:
        """Step 5: answer the dry run, for every piece held and every trial that asks for it."""
        ceremony, plan = board.replay.ceremony, board.roster.plan
        if self.name not in ceremony.committee.parties or self.name in ceremony.answers:
            return
        self._wait("checked", tuple(n for n in ceremony.committee.members if n not in ceremony.checks))
        key, expected = self._held(board, ceremony), expected_answers(ceremony, self.name)
        answers = []
        for trial in trials(ceremony.committee.sharing):
            asked = [piece for number, piece in expected if number == trial.number]
            if asked:
                budget, binding = plan.noise_budget, board.deliveries(ceremony).binding
                test = trial_ciphertext(
                    board.joint_key, budget, plan.layout, epoch=ceremony.epoch, trial=trial.number, binding=binding
                )
                for piece in asked:
                    digest = board.blobs.put(answer_test(key, piece, trial, test))
                    answers.append(TrialAnswer(trial.number, piece, digest))
        board.append(KeyAnswer(ceremony.position, tuple(answers)), self.name, self.identity.signing_in(board.replay))

    def accept(self, board: Board) -> None:
        """Step 6: open the dry run's tests, and accept the key for good.

        Raises:
            StateError: not every member answered, or this member gave the key up.
            BadShareError, KeyGenerationError: the dry run fails; see `open_seeds`.
        """
        ceremony = board.replay.ceremony
        if self.name not in ceremony.committee.parties or self.name in ceremony.accepts:
            return
        self._wait("answered", tuple(n for n in ceremony.committee.members if n not in ceremony.answers))
        check_dry_run(board)
        self._journal.claim(f"verdict/{board.deliveries(ceremony).identity.hex()}", _ACCEPTED)
        digest = board.joint_key.digest
        board.append(KeyAccept(ceremony.position, digest), self.name, self.identity.signing_in(board.replay))

    def open_seeds(self, board: Board) -> None:
        """After a founding whose dry run fails: show the seeds this member dealt, so that the culprit is found.

        Raises:
            StateError: this is a committee change, or this member accepted the key.
            RefusedError: the dry run does not fail.
        """
        ceremony = board.replay.ceremony
        if not ceremony.dealt_by(self.name) or self.name in ceremony.opens:
            return
        if not ceremony.founding:
            raise StateError(f"{self.name}: seeds are never opened in a committee change")
        if not dry_run_fails(board):
            raise RefusedError(f"{self.name} refuses to open its seeds: the dry run does not fail")
        self._journal.claim(f"verdict/{board.deliveries(ceremony).identity.hex()}", _OPENED)
        seeds = tuple(AddendSeed(seed.piece, seed.reveal()) for seed in self._dealt(board))
        board.append(KeyOpen(ceremony.position, seeds), self.name, self.identity.signing_in(board.replay))

    # In office, and after it.

    def member_key(self, board: Board) -> MemberKey:
        """The pieces, for answers to requests.

        Raises:
            RefusedError: another committee is in office.
            StateError: the pieces were erased.
        """
        office = board.replay.committee
        if self.name not in office.parties:
            raise RefusedError(f"{self.name} refuses: the committee of epoch {office.epoch} is in office")
        return self._held(board, board.replay.ceremony_of(office.epoch))

    def drop(self, board: Board) -> None:
        """Erase everything that this member's pieces could be made from again, once another committee is in office,
        and say so, unless the signing key was revoked.

        Raises:
            StateError: this member is in office, or its committee never was.
            StateError, BadShareError: the dry run of the next committee does not open with the answers there are.
        """
        epochs = {name: c.epoch for c in board.replay.committees[:-1] for name in c.members}
        if self.name not in epochs:
            raise StateError(f"{self.name} is not of a former committee: it has nothing to drop")
        epoch = epochs[self.name]
        own = board.replay.ceremony_of(epoch)
        if not self.identity.retired:
            check_dry_run(board, epoch=epoch + 1)
        self._key = None
        self.identity.retire(self._secret_name(board))
        if self.name not in own.drops and board.replay.in_force(self.name):
            board.append(KeyDrop(own.position), self.name, self.identity.signing_in(board.replay))
