"""Who spoiled a key: complaints and failed dry runs, judged by anybody from public bytes alone.

Spec: round §3.1 (v1). At founding nothing was ever encrypted under the key, so a complainant opens its sealing key, and
after a failed dry run the dealers open their seeds; then everything can be derived again, and either the accused or the
accuser is convicted. In a committee change nothing secret is ever opened: faults are found, and only what public bytes
show is attributed.
"""

from dataclasses import dataclass

from ledger import BlobError, blob_digest
from protocols.errors import BadShareError, KeyGenerationError
from protocols.tckks import (
    MemberKey,
    PartialDecryption,
    PieceKey,
    PieceSeed,
    answer_test,
    check_piece,
    check_test,
    commitment,
    trial_ciphertext,
    trials,
)
from protocols.tckks.dealing import join_piece
from protocols.tckks.founding import founding_dealing

from .board import Transcript
from .ceremony import CeremonyState
from .deliveries import Deliveries, table_digest
from .errors import StateError
from .messages import Complaint
from .roster import member_number
from .sealing import SealingKey

__all__ = ["Verdict", "check_dry_run", "dry_run_fails", "judge_complaint", "judge_opened", "withheld_by"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Who is guilty, and of what."""

    guilty: str
    reason: str

    def __str__(self) -> str:
        return f"{self.guilty}: {self.reason}"


def judge_complaint(transcript: Transcript, complainant: str) -> Verdict:
    """Judge a complaint of the founding. Run by: anyone.

    Raises:
        KeyError: this member has not complained.
    """
    state = transcript.replay.ceremonies[0]
    complaint = state.complaints[complainant]
    deliveries = transcript.deliveries(state)
    try:
        deliveries.check_public(complaint.addend)
        _repeat(deliveries, complaint, complainant)
    except KeyGenerationError as exc:
        return Verdict(exc.culprits[0], str(exc))
    return Verdict(complainant, f"its complaint about addend {complaint.addend} is false: what it was dealt is right")


def _repeat(deliveries: Deliveries, complaint: Complaint, complainant: str) -> None:
    """Open and check what the complainant got, as it should have. KeyGenerationError names who is guilty."""
    if not complaint.sealing_seed:
        return
    state, number = deliveries.state, member_number(complainant)
    key = SealingKey.from_seed(complaint.sealing_seed)
    if key.public != state.committee.parties[complainant].sealing_key:
        raise KeyGenerationError(f"{complainant} opened another sealing key than its own", culprits=(complainant,))
    dealer = deliveries.deliverer(complaint.addend)
    for slot in deliveries.slots(complaint.addend, dealer):
        if slot[1] == number:
            if state.seeds_travel:
                deliveries.seed(complaint.addend, slot, key)
            else:
                deliveries.subshare(complaint.addend, slot, key)


def dry_run_fails(transcript: Transcript) -> bool:
    """Whether all members answered the newest dry run, and its tests do not open. Run by: anyone."""
    state = transcript.replay.ceremony
    if not state.everyone_in(state.answers):
        return False
    if state.disputed:
        return True
    try:
        _check_answers(transcript, state)
    except BadShareError:
        return True
    return False


def _check_answers(transcript: Transcript, state: CeremonyState) -> None:
    plan = transcript.roster.plan
    size = PartialDecryption.encoded_size(plan.suite, 1)
    answers = {}
    for key, same in state.answered().items():
        digest, names = next(iter(same.items()))
        try:
            answers[key] = transcript.blobs.get(digest, size=size)
        except BlobError as exc:
            raise BadShareError(
                f"{', '.join(names)} withholds an answer to the dry run: {exc}", culprits=names
            ) from exc
    sharing = state.committee.sharing
    check_test(transcript.joint_key, sharing, plan.noise_budget, plan.layout, answers, epoch=state.epoch)


def check_dry_run(transcript: Transcript, *, epoch: int | None = None) -> None:
    """Open a dry run's tests from the published answers: of the newest ceremony, or of the one that made an epoch.

    Run by: anyone, once every member answered.

    Raises:
        KeyGenerationError: somebody complained, or the dealers opened their seeds; `culprits` names the guilty.
        StateError: holders of a piece gave different answers; the camps are named.
        BadShareError: an answer is missing or a test does not open.
    """
    replay = transcript.replay
    state = replay.ceremony if epoch is None else replay.ceremony_of(epoch)
    if state.founding and state.complaints:
        raise _convicted([judge_complaint(transcript, name) for name in sorted(state.complaints)])
    if state.opens:
        raise _convicted(judge_opened(transcript))
    if state.disputed:
        (trial, piece), camps = next(iter(state.disputed.items()))
        sides = " against ".join(", ".join(camp) for camp in camps)
        raise StateError(f"the holders of piece {piece} answered trial {trial} of the dry run differently: {sides}")
    _check_answers(transcript, state)


def _convicted(verdicts: list[Verdict]) -> KeyGenerationError:
    guilty = tuple(dict.fromkeys(verdict.guilty for verdict in verdicts))
    return KeyGenerationError("; ".join(str(verdict) for verdict in verdicts), culprits=guilty)


def judge_opened(transcript: Transcript) -> list[Verdict]:
    """Find who made the founding's dry run fail, from the opened seeds. Run by: anyone, once a dealer opened its seeds.

    In this order: who opened although the dry run holds; who does not open; who opened other seeds than it committed
    to, or whose public part or sub-shares do not follow from them; who answered the tests wrongly.
    """
    state = transcript.replay.ceremonies[0]
    if not dry_run_fails(transcript):
        return [Verdict(name, "it opened its seeds although the dry run holds") for name in sorted(state.opens)]
    dealers = sorted({name for addend in state.addends for name in state.dealers(addend)})
    silent = [Verdict(name, "it does not open its seeds") for name in dealers if name not in state.opens]
    if silent:
        return silent
    deliveries = transcript.deliveries(state)
    seeds = {s.addend: PieceSeed(s.addend, s.seed) for body in state.opens.values() for s in body.seeds}
    wrong = []
    for addend, seed in sorted(seeds.items()):
        try:
            _check_opened(deliveries, seed)
        except KeyGenerationError as exc:
            wrong.append(Verdict(deliveries.deliverer(addend), str(exc)))
    return wrong or _wrong_answers(transcript, deliveries, seeds)


def _check_opened(deliveries: Deliveries, seed: PieceSeed) -> None:
    """Everything a dealer published for an addend must follow from its seed."""
    ceremony, dealer = deliveries.ceremony, deliveries.deliverer(seed.piece)
    if deliveries.state.seeds_travel:
        deliveries.check_seed(seed, dealer)
        check_piece(ceremony, seed, deliveries.public_part(seed.piece))
        return
    counted = deliveries.state.commitment(seed.piece)
    dealing, part = founding_dealing(ceremony, seed)
    if counted is None or (counted[0].part, counted[0].dealing) != (commitment(part), table_digest(dealing.digests)):
        raise KeyGenerationError(
            f"addend {seed.piece}: the public part and the sub-shares do not follow from the seed that {dealer} opened",
            culprits=(dealer,),
        )


def _wrong_answers(transcript: Transcript, deliveries: Deliveries, seeds: dict[int, PieceSeed]) -> list[Verdict]:
    """With every seed right: answer the tests in place of everybody, and compare."""
    state, plan = deliveries.state, transcript.roster.plan
    sharing, key = state.committee.sharing, transcript.joint_key
    pieces = _all_pieces(deliveries, seeds)
    expected: dict[tuple[int, int], bytes] = {}
    for trial in trials(sharing):
        test = trial_ciphertext(key, plan.noise_budget, plan.layout, epoch=0, trial=trial.number)
        for number in range(1, sharing.members + 1):
            held = {piece: pieces[piece] for piece in sharing.held_by(number)}
            member = MemberKey(number, key, held, sharing=sharing)
            for piece in trial.pieces_of(sharing, number):
                if (trial.number, piece) not in expected:
                    expected[trial.number, piece] = blob_digest(answer_test(member, piece, trial, test))
    guilty: dict[str, tuple[int, int]] = {}
    for (number, piece), same in state.answered().items():
        for digest, names in same.items():
            if digest != expected[number, piece] or not transcript.blobs.has(digest):
                guilty.update({name: guilty.get(name, (number, piece)) for name in names})
    return [
        Verdict(name, f"its answer for piece {piece} in trial {number} of the dry run is wrong, or withheld")
        for name, (number, piece) in sorted(guilty.items())
    ]


def _all_pieces(deliveries: Deliveries, seeds: dict[int, PieceSeed]) -> dict[int, PieceKey]:
    ceremony, sharing = deliveries.ceremony, deliveries.state.committee.sharing
    if deliveries.state.seeds_travel:
        return {p: check_piece(ceremony, seed, deliveries.public_part(p)) for p, seed in seeds.items()}
    dealings = {addend: founding_dealing(ceremony, seed)[0] for addend, seed in seeds.items()}
    terms = tuple(deliveries.terms.values())
    return {
        piece: join_piece(terms, piece, {addend: dealing.share(piece) for addend, dealing in dealings.items()})
        for piece in range(sharing.pieces)
    }


def withheld_by(transcript: Transcript) -> tuple[str, ...]:
    """Dealers of the newest ceremony whose published bytes are not there to be checked. Run by: anyone."""
    state = transcript.replay.ceremony
    deliveries = transcript.deliveries(state)
    late = {deliveries.deliverer(addend) for addend in state.delivered if deliveries.withheld(addend)}
    return tuple(sorted(late))
