"""What follows from a transcript, the same for everybody: the key's dry run, the models, the report's facts.

Spec: round §5 (v1).
"""

from ledger import Certificate
from protocols.errors import QuorumError
from protocols.packing import unpack
from protocols.tckks import PartialDecryption, check_test, combine
from protocols.tckks.wire import encoded_size

from .board import Transcript
from .errors import StateError
from .model import GlobalModel
from .report import ClientFacts, ReportFacts, RoundFacts, Spend
from .roster import member_name

__all__ = ["check_dry_run", "final_model", "next_model", "report_facts"]


def next_model(transcript: Transcript, number: int, model: GlobalModel) -> GlobalModel:
    """The model that follows from a round's committed ciphertexts and answers. Run by: anyone.

    Raises:
        QuorumError: an answer is missing.
        BlobError, BadShareError, DecodeError: an answer or ciphertext is not what it should be.
    """
    round_state, plan = transcript.round(number), transcript.roster.plan
    if round_state.request is None:
        raise StateError(f"nothing was asked in round {number} yet")
    asked = tuple(member_name(m) for m in round_state.request.active)
    absent = tuple(name for name in asked if name not in round_state.answers)
    if absent:
        raise QuorumError(
            f"round {number} waits for the answers of {', '.join(absent)}",
            needed=len(asked),
            have=tuple(round_state.answers),
            missing=absent,
        )
    size = encoded_size(plan.blocks, plan.suite.ring_degree, plan.suite.data_primes)
    answers = {}
    for name in asked:
        data = transcript.blobs.get(round_state.answers[name].answer, size=size)
        answers[name] = PartialDecryption.decode(data, transcript.joint_key, sender=name, blocks=plan.blocks).residues
    total = transcript.ciphertext(round_state.request.ciphertext)
    sums = unpack(combine(total, answers, plan.noise_budget, plan.layout), plan.parameters)
    return model.apply(sums, len(round_state.cohort), plan.grid)


def check_dry_run(transcript: Transcript) -> None:
    """Open the dry run's test from the published answers. Run by: anyone, once the key is ready.

    Raises:
        StateError: holders of a piece gave different answers; the camps are named.
        BlobError, BadShareError: an answer is missing or the test does not open.
    """
    disputed = transcript.replay.disputed_pieces
    if disputed:
        piece, camps = next(iter(disputed.items()))
        sides = " against ".join(", ".join(camp) for camp in camps)
        raise StateError(f"the holders of piece {piece} answered the dry run differently: {sides}")
    plan = transcript.roster.plan
    size = encoded_size(1, plan.suite.ring_degree, plan.suite.data_primes)
    answers = {
        piece: transcript.blobs.get(next(iter(same)), size=size)
        for piece, same in transcript.replay.ceremony.answered().items()
    }
    check_test(transcript.joint_key, plan.noise_budget, plan.layout, answers)


def final_model(transcript: Transcript, last: GlobalModel) -> GlobalModel:
    """The model to use: the mean over the rounds from the plan's `average_from` on, `last` being the last one's.

    Run by: anyone.

    Raises:
        StateError, BlobError: an earlier round's model is missing.
    """
    plan = transcript.roster.plan
    size = len(last.encode())
    models = []
    for number in range(plan.average_from, plan.rounds):
        result = transcript.round(number).result
        if result is None:
            raise StateError(f"round {number} has no model yet")
        models.append(GlobalModel.decode(transcript.blobs.get(result.model, size=size), plan.features, plan.classes))
    return GlobalModel.mean([*models, last])


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
        certificate_quorum=transcript.roster.policy.needed,
        minimum_clients=plan.minimum_clients,
        suite=plan.suite.name,
        ring_degree=plan.ring_degree,
        smudging_lambda=plan.smudging_lambda,
        key_digest=digest,
        clients=tuple(clients),
        rounds=rounds,
        accuracy_ppm=None if last is None or last.accuracy_ppm < 0 else last.accuracy_ppm,
    )
