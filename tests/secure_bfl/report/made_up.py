"""Made-up facts for the report's tests: five clients, two of them dropped now and then, one away for three rounds."""

import hashlib
from dataclasses import replace
from functools import cache
from typing import Any

from secure_bfl.report import ClientFacts, ReportFacts, RoundFacts, Spend, build

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
