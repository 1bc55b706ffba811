"""What follows from a transcript, the same for everybody: the models, the report's facts.

Spec: round §5 (v1).
"""

import numpy as np

from ledger import Certificate, blob_digest
from protocols.arrays import Int64Array
from protocols.dp import Mode
from protocols.errors import BadShareError, DecodeError
from protocols.packing import unpack
from protocols.tckks import combine

from .answers import check_answers
from .board import Transcript
from .disputes import has_checks
from .errors import StateError, UnopenableError
from .evidence import evidence_of
from .messages import MAX_INT, MAX_TEXT
from .model import GlobalModel
from .plan import FederationPlan
from .report import AuditFacts, ClientFacts, ReportFacts, RoundFacts, Spend, VoidRound
from .roster import OPERATOR
from .spending import others_of

__all__ = [
    "apply_sum",
    "final_model",
    "first_model",
    "following_model",
    "next_model",
    "opened_sum",
    "report_facts",
    "sentinel_energy",
]


def first_model(transcript: Transcript) -> GlobalModel:
    """The model that the plan names as the first: zeros, or what lies in the blob store under its digest.

    Raises:
        BlobError, DecodeError: it is not there, or is not a model of the plan's tensors.
    """
    plan = transcript.roster.plan
    zero = GlobalModel.zero(plan.tensors)
    if blob_digest(zero.encode()) == plan.initial:
        return zero
    return GlobalModel.decode(transcript.blobs.get(plan.initial, size=plan.model_bytes), plan.tensors)


def opened_sum(transcript: Transcript, number: int) -> Int64Array:
    """The integer sums that a round's committed ciphertexts and answers open to. Run by: anyone.

    Shapes: int64[plan.values]; the sentinels come last. Units: the plan's grid.

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
        return unpack(digits, plan.values)
    except DecodeError as exc:
        among = state.cohort if has_checks(transcript.committee_of(number).sharing) else (*state.cohort, *answers)
        raise UnopenableError(
            f"the sum of round {number} opens to what no honest updates give: {exc}; the fault is among "
            f"{', '.join(among)}",
            culprits=among,
        ) from exc


def next_model(transcript: Transcript, number: int, model: GlobalModel) -> GlobalModel:
    """The model that follows from a round that starts from `model`: see `opened_sum` and `apply_sum`. Run by: anyone.

    Raises:
        As `opened_sum`.
    """
    return following_model(transcript, number, model, opened_sum(transcript, number))


def following_model(transcript: Transcript, number: int, model: GlobalModel, sums: Int64Array) -> GlobalModel:
    """The model that follows from `model`, which the round starts from, and the round's opened sum."""
    state, plan = transcript.round(number), transcript.roster.plan
    return apply_sum(plan, model, _before(transcript, number, model), sums, len(state.cohort))


def _before(transcript: Transcript, number: int, model: GlobalModel) -> GlobalModel:
    """What the round before started from; the same model in the first round and after a void one."""
    plan = transcript.roster.plan
    if number == 1 or plan.mode != Mode.DISTRIBUTED or not plan.momentum_milli:
        return model
    digest = transcript.round(number - 1).model
    if digest == transcript.round(number).model:
        return model
    return GlobalModel.decode(transcript.blobs.get(digest, size=plan.model_bytes), plan.tensors)


def apply_sum(
    plan: FederationPlan, model: GlobalModel, before: GlobalModel, sums: Int64Array, contributors: int
) -> GlobalModel:
    """The model after a round; the same bytes on every machine. Run by: anyone. Spec: round §5 (v1).

    In local and client mode the mean of the updates is added. In distributed mode the sum is a noisy gradient: one step
    of gradient descent with momentum, as a heavy ball, which needs no state but `before`, the model that the round
    before started from. Everything divides by public numbers only.

    Shapes: sums int64[plan.values]. Units: the plan's grid.
    """
    released = sums[: plan.parameters].astype(np.float64)
    if plan.mode == Mode.LOCAL:
        return model.moved(released * (plan.grid.step / contributors))
    if plan.mode == Mode.CLIENT:
        return model.moved(released * (plan.unit / contributors))
    rate, momentum = plan.learning_rate_micro / 1_000_000, plan.momentum_milli / 1000
    gradient = released * (plan.unit / (plan.expected_batch * contributors))
    return model.moved(momentum * (model.vector - before.vector) - rate * gradient)


def sentinel_energy(plan: FederationPlan, sums: Int64Array) -> int:
    """The sum of squares of an opened sum's sentinels, in grid units, at most what fits an entry."""
    return min(sum(int(value) ** 2 for value in sums[plan.parameters :]), MAX_INT)


def final_model(transcript: Transcript, last: GlobalModel) -> GlobalModel:
    """The model to use: the mean over the finished rounds from the plan's `average_from` on. Run by: anyone.

    `last` is the model after the last planned round, whose entry need not be there yet. A void round has no model of
    its own; if all of them are void, `last` is the model.

    Raises:
        StateError, BlobError: an earlier round's model is missing.
    """
    plan, rounds = transcript.roster.plan, transcript.replay.rounds
    models = []
    for number in range(plan.average_from, plan.rounds):
        state = transcript.round(number)
        if state.void is not None:
            continue
        if state.result is None:
            raise StateError(f"round {number} has no model yet")
        data = transcript.blobs.get(state.result.model, size=plan.model_bytes)
        models.append(GlobalModel.decode(data, plan.tensors))
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
        others = others_of(state.spends[name] for state in replay.rounds if name in state.spends)
        clients.append(ClientFacts(name, spends, uploads, others))
    rounds = tuple(
        RoundFacts(
            number=state.number,
            contributors=state.cohort,
            absent=tuple(name for name in transcript.roster.clients if name not in state.cohort),
            aggregate_digest=state.aggregate.ciphertext,
            model_digest=state.result.model,
            sentinel_energy=state.result.sentinel_energy,
            sentinel_variance=plan.sentinel_variance(len(state.cohort)) if plan.sentinels else 0.0,
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
        local_steps=plan.round_event.steps,
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
        mode=Mode(plan.mode).name.lower(),
        honest_minimum=plan.honest_minimum,
        colluders=plan.colluders,
        sentinels=plan.sentinels,
        audits=tuple(
            AuditFacts(audited.sender, audited.index, evidence_of(audited.evidence)) for audited in replay.audits
        ),
    )
