"""What follows from a transcript, the same for everybody: the models, the report's facts.

Spec: round §5 (v1).
"""

from ledger import Certificate
from protocols.errors import BadShareError, DecodeError
from protocols.packing import unpack
from protocols.tckks import combine

from .answers import check_answers
from .board import Transcript
from .disputes import has_checks
from .errors import StateError, UnopenableError
from .messages import MAX_TEXT
from .model import GlobalModel
from .report import ClientFacts, ReportFacts, RoundFacts, Spend, VoidRound
from .roster import OPERATOR

__all__ = ["final_model", "next_model", "report_facts"]


def next_model(transcript: Transcript, number: int, model: GlobalModel) -> GlobalModel:
    """The model that follows from a round's committed ciphertexts and answers. Run by: anyone.

    Raises:
        QuorumError: an answer or a check is missing.
        BlobError, BadShareError, DecodeError: an answer or ciphertext is not what it should be.
        UnopenableError: the answers are right and the sum does not open; or it opens to what no honest updates add up
            to, such as padding that is filled or a checksum digit that does not fit.
    """
    answers = check_answers(transcript, number)
    state, plan = transcript.round(number), transcript.roster.plan
    total = transcript.ciphertext(state.attempts[-1].request.ciphertext, sender=OPERATOR)
    try:
        digits = combine(total, answers, plan.noise_budget, plan.layout)
    except BadShareError as exc:
        if not has_checks(transcript.committee_of(number).sharing):
            raise
        raise UnopenableError(
            f"the sum of round {number} does not open although every answer is confirmed: a ciphertext of "
            f"{', '.join(state.cohort)} was not honestly made; no member is to blame",
            culprits=state.cohort,
        ) from exc
    try:
        sums = unpack(digits, plan.parameters)
    except DecodeError as exc:
        among = state.cohort if has_checks(transcript.committee_of(number).sharing) else (*state.cohort, *answers)
        raise UnopenableError(
            f"the sum of round {number} opens to what no honest updates give: {exc}; the fault is among "
            f"{', '.join(among)}",
            culprits=among,
        ) from exc
    return model.apply(sums, len(state.cohort), plan.grid)


def final_model(transcript: Transcript, last: GlobalModel) -> GlobalModel:
    """The model to use: the mean over the finished rounds from the plan's `average_from` on. Run by: anyone.

    `last` is the model after the last planned round, whose entry need not be there yet. A void round has no model of
    its own; if all of them are void, `last` is the model.

    Raises:
        StateError, BlobError: an earlier round's model is missing.
    """
    plan, rounds = transcript.roster.plan, transcript.replay.rounds
    size = len(last.encode())
    models = []
    for number in range(plan.average_from, plan.rounds):
        state = transcript.round(number)
        if state.void is not None:
            continue
        if state.result is None:
            raise StateError(f"round {number} has no model yet")
        data = transcript.blobs.get(state.result.model, size=size)
        models.append(GlobalModel.decode(data, plan.features, plan.classes))
    is_void = len(rounds) >= plan.rounds and rounds[plan.rounds - 1].void is not None
    return GlobalModel.mean(models if is_void and models else [*models, last])


def report_facts(transcript: Transcript, certificate: Certificate) -> ReportFacts:
    """What a verified transcript states about privacy: the report's only input."""
    plan, replay = transcript.roster.plan, transcript.replay
    clients = []
    for name in transcript.roster.clients:
        spends = tuple(
            Spend(state.number, spend.steps, spend.noise_multiplier_milli, spend.sampling_rate_ppm)
            for state in replay.rounds
            if (spend := state.spends.get(name)) is not None
        )
        uploads = tuple(s.number for s in replay.rounds if s.result is not None and name in s.cohort)
        clients.append(ClientFacts(name, spends, uploads))
    rounds = tuple(
        RoundFacts(
            number=state.number,
            contributors=state.cohort,
            absent=tuple(name for name in transcript.roster.clients if name not in state.cohort),
            aggregate_digest=state.aggregate.ciphertext,
            model_digest=state.result.model,
        )
        for state in replay.rounds
        if state.aggregate is not None and state.result is not None
    )
    last = replay.rounds[-1].result if replay.rounds else None
    digest = replay.joint_key_digest
    if digest is None:
        raise ValueError("key generation is not complete")
    return ReportFacts(
        origin=transcript.roster.origin,
        log_size=certificate.checkpoint.size,
        log_root=certificate.checkpoint.root,
        genesis=replay.context,
        dataset=plan.dataset,
        parameters=plan.parameters,
        planned_rounds=plan.rounds,
        local_steps=plan.local_steps,
        noise_multiplier_milli=plan.noise_multiplier_milli,
        sampling_rate_ppm=plan.sampling_rate_ppm,
        clip_units=plan.clip_units,
        clip_norm_micro=plan.clip_norm_micro,
        delta_e12=plan.delta_e12,
        epsilon_milli=plan.epsilon_milli,
        members=plan.members,
        threshold=plan.threshold,
        certificate_quorum=transcript.replay.committee.policy.needed,
        minimum_clients=plan.minimum_clients,
        suite=plan.suite.name,
        ring_degree=plan.ring_degree,
        smudging_lambda=plan.smudging_lambda,
        key_digest=digest,
        clients=tuple(clients),
        rounds=rounds,
        void_rounds=tuple(
            VoidRound(state.number, ascii(state.void.reason)[1:-1][:MAX_TEXT])
            for state in replay.rounds
            if state.void is not None
        ),
        accuracy_ppm=None if last is None or last.accuracy_ppm < 0 else last.accuracy_ppm,
    )
