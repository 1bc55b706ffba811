"""Who spoiled a key: complaints and failed dry runs, judged by anybody from public bytes alone.

Spec: round §3.1 (v1). At founding nothing was ever encrypted under the key, so a complainant opens its sealing key, and
after a failed dry run the dealers open their seeds; then everything can be derived again, and either the accused or the
accuser is convicted. Only bytes that are there convict: whoever keeps the blobs could lose some of them. In a committee
change nothing secret is ever opened: faults are found, and only what public bytes show is attributed.
"""

from dataclasses import dataclass

from ledger import BlobError, blob_digest
from protocols.errors import BadShareError, KeyGenerationError
from protocols.tckks import (
    JointKey,
    MemberKey,
    PartialDecryption,
    PieceKey,
    PieceSeed,
    answer_test,
    check_test,
    commitment,
    derive_piece,
    join,
    seed_commitment,
    trial_ciphertext,
    trials,
)
from protocols.tckks.dealing import join_piece
from protocols.tckks.founding import founding_dealing

from .board import Transcript
from .ceremony import CeremonyState
from .deliveries import Deliveries, WithheldError, pair_checks, table_digest
from .errors import StateError
from .messages import Complaint
from .roster import member_number
from .sealing import SealingKey

__all__ = ["Verdict", "check_dry_run", "dry_run_fails", "judge_complaint", "judge_opened", "withheld_by"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Who is guilty, and of what. `guilty` is None if it cannot be judged, because bytes are missing."""

    guilty: str | None
    reason: str

    def __str__(self) -> str:
        return f"{self.guilty}: {self.reason}" if self.guilty else self.reason


def judge_complaint(transcript: Transcript, complainant: str) -> Verdict:
    """Judge a complaint of the founding, if all that it takes is there. Run by: anyone.

    Raises:
        KeyError: this member has not complained.
    """
    state = transcript.replay.ceremonies[0]
    complaint = state.complaints[complainant]
    deliveries = transcript.deliveries(state)
    try:
        deliveries.check_public(complaint.addend)
        _repeat(deliveries, complaint, complainant)
    except WithheldError as exc:
        return Verdict(None, f"the complaint of {complainant} cannot be judged: {exc}")
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
    """Whether all answers to the newest dry run are there, and its tests do not open. Run by: anyone."""
    return _dry_run_holds(transcript, transcript.replay.ceremony) is False


def _dry_run_holds(transcript: Transcript, state: CeremonyState) -> bool | None:
    """Whether the tests open; None if that cannot be told, because answers or public parts are missing."""
    if not state.everyone_in(state.answers):
        return None
    if state.disputed or state.unequal:
        return False
    try:
        answers = _answers(transcript, state)
        key = transcript.joint_key
    except (BadShareError, BlobError):
        return None
    try:
        _open_tests(transcript, state, key, answers)
    except BadShareError:
        return False
    return True


def _answers(transcript: Transcript, state: CeremonyState) -> dict[tuple[int, int], bytes]:
    """The answers to the dry run. BadShareError names who gave one that is not there, in the length it must have."""
    size = PartialDecryption.encoded_size(transcript.roster.plan.suite, 1)
    answers = {}
    for key, same in state.answered().items():
        digest, names = next(iter(same.items()))
        try:
            answers[key] = transcript.blobs.get(digest, size=size)
        except BlobError as exc:
            raise BadShareError(
                f"{', '.join(names)} withholds an answer to the dry run: {exc}", culprits=names
            ) from exc
    return answers


def _open_tests(
    transcript: Transcript, state: CeremonyState, key: JointKey, answers: dict[tuple[int, int], bytes]
) -> None:
    plan, binding = transcript.roster.plan, transcript.deliveries(state).binding
    sharing = state.committee.sharing
    check_test(key, sharing, plan.noise_budget, plan.layout, answers, epoch=state.epoch, binding=binding)


def check_dry_run(transcript: Transcript, *, epoch: int | None = None) -> None:
    """Open a dry run's tests from the published answers: of the newest ceremony, or of the one that made an epoch.

    Run by: anyone, once every member answered.

    Raises:
        KeyGenerationError: somebody complained, or the dealers opened their seeds; `culprits` names the guilty.
        StateError: holders of a piece gave different answers, or two pieces have no key in common; the camps are named.
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
    if state.unequal:
        (one, other), camps = next(iter(state.unequal.items()))
        sides = " against ".join(", ".join(camp) for camp in camps)
        raise StateError(f"pieces {one} and {other} have no key in common: {sides}")
    _open_tests(transcript, state, transcript.joint_key, _answers(transcript, state))


def _convicted(verdicts: list[Verdict]) -> KeyGenerationError:
    guilty = tuple(dict.fromkeys(verdict.guilty for verdict in verdicts if verdict.guilty))
    return KeyGenerationError("; ".join(str(verdict) for verdict in verdicts), culprits=guilty)


def judge_opened(transcript: Transcript) -> list[Verdict]:
    """Find who made the founding's dry run fail, from the opened seeds. Run by: anyone, once a dealer opened its seeds.

    In this order: who opened although the dry run holds; who does not open; who opened other seeds than it committed
    to, or whose public part or sub-shares do not follow from them; who stated wrong keys of pairs, or answered the
    tests wrongly. Nothing but the opened seeds and the ledger is needed for the last two.
    """
    state = transcript.replay.ceremonies[0]
    holds = _dry_run_holds(transcript, state)
    if holds:
        return [Verdict(name, "it opened its seeds although the dry run holds") for name in sorted(state.opens)]
    dealers = sorted({name for addend in state.addends for name in state.dealers(addend)})
    silent = [name for name in dealers if name not in state.opens]
    unknown = Verdict(None, "the opened seeds cannot be judged: an answer to the dry run or a public part is missing")
    if silent:
        return [unknown] if holds is None else [Verdict(name, "it does not open its seeds") for name in silent]
    deliveries = transcript.deliveries(state)
    seeds = {s.addend: PieceSeed(s.addend, s.seed) for body in state.opens.values() for s in body.seeds}
    wrong, parts = [], {}
    for addend, seed in sorted(seeds.items()):
        try:
            parts[addend] = _check_opened(deliveries, seed)
        except KeyGenerationError as exc:
            wrong.append(Verdict(deliveries.deliverer(addend), str(exc)))
    if not wrong:
        pieces = _all_pieces(deliveries, seeds)
        key = join(deliveries.ceremony, parts)
        wrong = _wrong_pairs(deliveries, pieces) + _wrong_answers(transcript, deliveries, key, pieces)
    return wrong or [unknown]


def _check_opened(deliveries: Deliveries, seed: PieceSeed) -> bytes:
    """Everything a dealer committed to for an addend must follow from its seed; the public part that does."""
    ceremony, dealer = deliveries.ceremony, deliveries.deliverer(seed.piece)
    counted = deliveries.state.commitment(seed.piece)
    if deliveries.state.seeds_travel:
        deliveries.check_seed(seed, dealer)
        part, dealing = derive_piece(ceremony, seed)[1], seed_commitment(ceremony, seed)
    else:
        dealt, part = founding_dealing(ceremony, seed)
        dealing = table_digest(dealt.digests)
    if counted is None or (counted[0].part, counted[0].dealing) != (commitment(part), dealing):
        raise KeyGenerationError(
            f"addend {seed.piece}: the public part and the sub-shares do not follow from the seed that {dealer} opened",
            culprits=(dealer,),
        )
    return part


def _wrong_pairs(deliveries: Deliveries, pieces: dict[int, PieceKey]) -> list[Verdict]:
    """With every seed right: who stated other keys in common than its piece has."""
    state = deliveries.state
    return [
        Verdict(name, "the digests it states of the keys that its piece has in common with others are wrong")
        for name, check in sorted(state.checks.items())
        if check.pairs and check.pairs != pair_checks(state, {0: pieces[member_number(name) - 1]})
    ]


def _wrong_answers(
    transcript: Transcript, deliveries: Deliveries, key: JointKey, pieces: dict[int, PieceKey]
) -> list[Verdict]:
    """With every seed right: answer the tests in place of everybody, and compare."""
    state, plan = deliveries.state, transcript.roster.plan
    sharing, binding = state.committee.sharing, deliveries.binding
    expected: dict[tuple[int, int], bytes] = {}
    for trial in trials(sharing):
        test = trial_ciphertext(key, plan.noise_budget, plan.layout, epoch=0, trial=trial.number, binding=binding)
        for number in range(1, sharing.members + 1):
            held = {piece: pieces[piece] for piece in sharing.held_by(number)}
            member = MemberKey(number, key, held, sharing=sharing)
            for piece in trial.pieces_of(sharing, number):
                if (trial.number, piece) not in expected:
                    expected[trial.number, piece] = blob_digest(answer_test(member, piece, trial, test))
    guilty: dict[str, tuple[int, int]] = {}
    for (number, piece), same in state.answered().items():
        for digest, names in same.items():
            if digest != expected[number, piece]:
                guilty.update({name: guilty.get(name, (number, piece)) for name in names})
    return [
        Verdict(name, f"its answer for piece {piece} in trial {number} of the dry run is wrong")
        for name, (number, piece) in sorted(guilty.items())
    ]


def _all_pieces(deliveries: Deliveries, seeds: dict[int, PieceSeed]) -> dict[int, PieceKey]:
    ceremony, sharing = deliveries.ceremony, deliveries.state.committee.sharing
    if deliveries.state.seeds_travel:
        return {piece: derive_piece(ceremony, seed)[0] for piece, seed in seeds.items()}
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
