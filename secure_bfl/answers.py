"""Which answers to a request stand, and who sent one that does not: computed from public bytes alone.

Spec: round §3.3 (v1).
"""

from ledger import BlobError
from protocols.errors import BadShareError, QuorumError
from protocols.tckks import PartialDecryption, challenge_weights, check_answer

from .board import Transcript
from .disputes import challenge, convicted, disputes, has_checks
from .errors import StateError
from .roster import Committee, member_number
from .state import Attempt, RoundState

__all__ = ["check_answers", "faults"]


def check_answers(transcript: Transcript, number: int) -> dict[str, PartialDecryption]:
    """Check the answers to a round's last request; return them by sender. Run by: anyone.

    In a committee that cross-checks, an answer stands only if it is the sum of what its sender states about its pieces
    and no other holder is believed against it. So a wrong answer passes only if all who confirm it collude. In the
    other committees an answer that is well formed stands until the sum does not open.

    Raises:
        StateError: nothing was asked yet.
        QuorumError: answers or checks are missing.
        BlobError: an answer is not in the blob store.
        BadShareError: answers are proven wrong, then `culprits` are their senders; or holders disagree and neither side
            is believed, then they are all who disagree.
    """
    state = transcript.round(number)
    attempt, committee = state.attempt, transcript.committee_of(number)
    if attempt is None:
        raise StateError(f"nothing was asked in round {number} yet")
    _require_all(number, attempt, committee)
    answers = {name: _decoded(transcript, attempt, name) for name in attempt.asked}
    if has_checks(committee.sharing):
        for dispute in disputes(attempt, committee):
            if not dispute.believed:
                raise BadShareError(
                    str(dispute), culprits=tuple(sorted(name for camp in dispute.camps for name in camp))
                )
        wrong = _contradictions(transcript, state, attempt, answers)
        if wrong:
            raise BadShareError("; ".join(wrong.values()), culprits=tuple(sorted(wrong)))
    return answers


def _require_all(number: int, attempt: Attempt, committee: Committee) -> None:
    if attempt.unanswered:
        raise QuorumError(
            f"round {number} waits for the answers of {', '.join(attempt.unanswered)}",
            needed=len(attempt.asked),
            have=tuple(attempt.answers),
            missing=attempt.unanswered,
        )
    if not has_checks(committee.sharing):
        return
    absent = tuple(name for name in committee.members if name not in attempt.checks)
    needed, checked = committee.policy.needed, tuple(sorted(attempt.checks))
    if len(checked) < needed or any(name in absent for name in attempt.asked):
        raise QuorumError(
            f"round {number} waits for checks: it needs those of {needed} members, among them all that answered; "
            f"missing: {', '.join(absent)}",
            needed=needed,
            have=checked,
            missing=absent,
        )


def _decoded(transcript: Transcript, attempt: Attempt, name: str) -> PartialDecryption:
    plan = transcript.roster.plan
    size = PartialDecryption.encoded_size(plan.suite, plan.blocks)
    data = transcript.blobs.get(attempt.answers[name].answer, size=size)
    return PartialDecryption.decode(data, transcript.joint_key, sender=name, blocks=plan.blocks)


def _contradictions(
    transcript: Transcript, state: RoundState, attempt: Attempt, answers: dict[str, PartialDecryption]
) -> dict[str, str]:
    """Whose answer its own fingerprints contradict, or whose fingerprints believed holders contradict; and why."""
    plan, committee = transcript.roster.plan, transcript.committee_of(state.number)
    wrong = {
        name: f"{name}: {dispute}" for name, dispute in convicted(attempt, committee).items() if name in attempt.asked
    }
    weights = challenge_weights(
        challenge(transcript.replay.context, state.number, attempt), plan.blocks, plan.suite.ring_degree
    )
    assigned = committee.sharing.assignment(attempt.request.active)
    for name, answer in answers.items():
        member = member_number(name)
        if name in attempt.checks:
            held = committee.sharing.held_by(member)
            stated = dict(zip(held, attempt.checks[name].fingerprints, strict=True))
            try:
                check_answer(name, answer, weights, assigned[member], stated)
            except BadShareError as exc:
                wrong[name] = str(exc)
    return wrong


def faults(transcript: Transcript, number: int) -> dict[str, str]:
    """Members that must not be asked again to open a round's sum, and why. Run by: the operator, the auditor.

    Every attempt of the round counts. Apart from an answer that is not in the blob store, for which the store may be to
    blame, each reason is a proof under the assumption that `disputes` states.
    """
    state, committee = transcript.round(number), transcript.committee_of(number)
    found: dict[str, str] = {}
    for attempt in state.attempts:
        answers = {}
        for name in attempt.asked:
            if name in attempt.answers:
                try:
                    answers[name] = _decoded(transcript, attempt, name)
                except (BlobError, BadShareError) as exc:
                    found[name] = str(exc) if isinstance(exc, BadShareError) else f"{name}: its answer: {exc}"
        for name, dispute in convicted(attempt, committee).items():
            found.setdefault(name, f"{name}: {dispute}")
        if has_checks(committee.sharing) and not attempt.unanswered:
            for name, reason in _contradictions(transcript, state, attempt, answers).items():
                found.setdefault(name, reason)
    return found
