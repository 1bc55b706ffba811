"""Made-up facts for the report's tests: five clients, two of them dropped now and then, one away for three rounds."""

import hashlib
import math
from dataclasses import replace
from functools import cache
from typing import Any

from ledger import SigningKey
from protocols.dp import PrivacyEvent
from protocols.dp.auditing import AuditResult, OneRun, one_run_lower_bound, one_run_p_value
from secure_bfl.report import AuditFacts, ClientFacts, ReportFacts, RoundFacts, Spend, build, sign

NAMES = ("ana", "bo", "cleo", "dee", "eli")
LOST = {("bo", 3), ("eli", 2), ("eli", 5)}
AWAY = {("dee", 2), ("dee", 3), ("dee", 4)}


def digest(*words: object) -> bytes:
    return hashlib.sha256(repr(words).encode()).digest()


def federation(
    *, noise: int = 8_000, rate: int = 1_000_000, steps: int = 10, done: int = 6, **more: Any
) -> ReportFacts:
    """Return facts of a federation after `done` rounds; `more` replaces single fields."""
    clients = []
    for name in NAMES:
        spends = tuple(Spend(r, steps, noise, rate) for r in range(1, done + 1) if (name, r) not in AWAY)
        uploads = tuple(spend.round for spend in spends if (name, spend.round) not in LOST)
        clients.append(ClientFacts(name, spends, uploads))
    base = ReportFacts(
        origin="ledger.example/digits",
        mode="local",
        log_size=240,
        log_root=digest("root"),
        genesis=digest("genesis"),
        dataset="handwritten digits",
        parameters=650,
        planned_rounds=8,
        local_steps=steps,
        noise_multiplier_milli=noise,
        sampling_rate_ppm=rate,
        clip_units=16_384,
        clip_norm_micro=100_000,
        delta_e12=10_000_000,
        epsilon_milli=8_000,
        members=5,
        threshold=3,
        certificate_quorum=4,
        minimum_clients=3,
        honest_minimum=1,
        colluders=0,
        sentinels=0,
        suite="tckks-8192",
        ring_degree=8192,
        smudging_lambda=50,
        key_digest=digest("key"),
        clients=tuple(clients),
        rounds=rounds_of(tuple(clients), done),
        accuracy_ppm=914_000,
    )
    return replace(base, **more)


def rounds_of(clients: tuple[ClientFacts, ...], rounds: int) -> tuple[RoundFacts, ...]:
    """Return the round entries that agree with the clients' uploads."""
    return tuple(
        RoundFacts(
            number,
            tuple(client.name for client in clients if number in client.uploads),
            tuple(client.name for client in clients if number not in client.uploads),
            digest("aggregate", number),
            digest("model", number),
        )
        for number in range(1, rounds + 1)
    )


def with_sentinels(facts: ReportFacts, *, noise: float = 1.0, sentinels: int = 256) -> ReportFacts:
    """Return facts whose rounds show `noise` times the planned noise variance at every sentinel."""
    share = (facts.noise_multiplier_milli * facts.clip_units / 1000) ** 2 / facts.honest_minimum
    rounds = tuple(
        replace(
            entry,
            sentinel_variance=share * len(entry.contributors),
            sentinel_energy=round(_wobble(entry.number) * noise * sentinels * share * len(entry.contributors)),
        )
        for entry in facts.rounds
    )
    return replace(facts, sentinels=sentinels, rounds=rounds)


def _wobble(number: int) -> float:
    """A factor near 1 that 256 coordinates' chance explains."""
    return 1 + 0.08 * math.sin(1.7 * number)


def audit(*, correct: int = 61, guesses: int = 100, **more: Any) -> AuditFacts:
    """Return an audit of a claimed epsilon of 1 whose stated figures follow from its counts; `more` replaces some."""
    run = OneRun(1000, guesses, correct)
    fields: dict[str, Any] = {
        "claimed_epsilon_milli": 1000,
        "delta_e12": 10_000_000,
        "canaries": run.canaries,
        "guesses": run.guesses,
        "correct": run.correct,
        "epsilon_lower_milli": math.floor(1000 * one_run_lower_bound(run, 1e-5)),
        "one_run_p_e12": math.floor(10**12 * one_run_p_value(run, 1.0, 1e-5)),
        "z_p_e12": 400_000_000_000,
        "noise_ratio_ppm": 1_012_000,
        "sentinel_p_e12": 300_000_000_000,
        "structural": "",
    }
    return AuditFacts("operator", 17, AuditResult(**(fields | more)))


def shared(mode: str = "distributed", **more: Any) -> ReportFacts:
    """Return facts of a mode with shares: three honest clients are needed for the noise, and one may be dishonest."""
    rate = 1_000_000 if mode == "client" else 100_000
    fields: dict[str, Any] = {
        "noise": 4_000,
        "rate": rate,
        "steps": 1,
        "epsilon_milli": 4_000,
        "mode": mode,
        "honest_minimum": 2,
        "colluders": 1,
        "unit_text": "one image of a digit" if mode == "distributed" else "",
        "audits": (audit(),),
    }
    return with_sentinels(federation(**(fields | more)))


OTHERS = (PrivacyEvent(noise_multiplier_milli=6_000, sampling_rate_ppm=200_000, steps=30),)


def with_others(facts: ReportFacts, client: str, others: tuple[PrivacyEvent, ...] = OTHERS) -> ReportFacts:
    """Return facts in which one client states other runs on its records."""
    clients = tuple(replace(entry, others=others) if entry.name == client else entry for entry in facts.clients)
    return replace(facts, clients=clients)


def thousand_rounds(rounds: int = 1000, clients: int = 100) -> ReportFacts:
    """Return facts of a long run in which no two clients have the same history.

    Client i is away in i + 1 rounds, evenly spread, and its update is lost in about every 53rd.
    """
    stated = []
    for i in range(clients):
        spends = tuple(Spend(r, 1, 1_100, 20_000) for r in range(1, rounds + 1) if (r * (i + 1) + 37 * i) % rounds > i)
        uploads = tuple(spend.round for spend in spends if (spend.round * 7 + i) % 53)
        stated.append(ClientFacts(f"client-{i + 1}", spends, uploads))
    base = federation(noise=1_100, rate=20_000, steps=1, done=0)
    everyone = tuple(stated)
    names = [set(client.uploads) for client in everyone]
    finished = tuple(
        RoundFacts(
            number,
            tuple(client.name for client, own in zip(everyone, names, strict=True) if number in own),
            tuple(client.name for client, own in zip(everyone, names, strict=True) if number not in own),
            digest("aggregate", number),
            digest("model", number),
        )
        for number in range(1, rounds + 1)
    )
    facts = replace(
        base,
        mode="distributed",
        honest_minimum=25,
        colluders=5,
        minimum_clients=30,
        planned_rounds=rounds + 200,
        clients=everyone,
        rounds=finished,
        audits=(audit(),),
    )
    return with_sentinels(facts)


class Party:
    """A party as a ledger knows it, for checks of signatures."""

    class Role:
        name = "OPERATOR"

    def __init__(self, key: SigningKey, role: type = Role) -> None:
        self.role: Any = role
        self.signing_key = key.public


KEY = SigningKey.from_seed(bytes(range(32)))
PARTIES = {"operator": Party(KEY)}


def with_spend(facts: ReportFacts, client: str, index: int, **changes: int) -> ReportFacts:
    """Return facts in which one spend of one client is another."""
    clients = []
    for entry in facts.clients:
        spends = list(entry.spends)
        if entry.name == client:
            spends[index] = replace(spends[index], **changes)
        clients.append(replace(entry, spends=tuple(spends)))
    return replace(facts, clients=tuple(clients))


@cache
def full_batch() -> dict[str, Any]:
    """Return the report of a federation with every record in every step. Do not change it: it is shared."""
    return build(federation())


@cache
def sampled() -> dict[str, Any]:
    """Return the report of a federation with Poisson sampling. Do not change it: it is shared."""
    return build(federation(noise=1_500, rate=100_000, done=3, planned_rounds=4))


@cache
def distributed() -> dict[str, Any]:
    """Return the report of a federation whose clients share the noise, one of them with another run. Shared."""
    return build(with_others(shared(), "bo"))


@cache
def client_level() -> dict[str, Any]:
    """Return the report of a federation that protects whole clients. Do not change it: it is shared."""
    return build(shared("client"))


@cache
def signed() -> dict[str, Any]:
    """Return the signed report of a federation whose clients share the noise. Do not change it: it is shared."""
    texts = {"controller": "St. Anna hospital, Ghent", "purpose": "triage of scans", "supersedes": "0" * 32}
    return sign(distributed(), KEY, signer="operator", role="operator", **texts)
