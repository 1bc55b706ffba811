"""Made-up facts of a long run with many clients, no two of which took part in the same rounds: what a report costs."""

import hashlib
from typing import Final

from ..report import ClientFacts, ReportFacts, RoundFacts, Spend

__all__ = ["long_run"]

_NOISE_MILLI: Final = 1_100
_RATE_PPM: Final = 20_000
_CLIP_UNITS: Final = 4096
_SENTINELS: Final = 256


def long_run(rounds: int, clients: int) -> ReportFacts:
    """Facts of so many rounds: each client joins late, is away at times of its own, and loses some of its updates."""
    stated = []
    for i in range(clients):
        away = max(4, clients + 1 - i // 2)
        present = [r for r in range(1, rounds + 1) if r > min(i // 3, rounds - 1) and r % away != i % away]
        spends = tuple(Spend(r, 1, _NOISE_MILLI, _RATE_PPM) for r in present)
        uploads = tuple(r for r in present if (r * 7 + i) % 53)
        stated.append(ClientFacts(f"client-{i + 1}", spends, uploads))
    opened = [set(client.uploads) for client in stated]
    names = [client.name for client in stated]
    honest = max(1, clients * 2 // 5)
    share = (_NOISE_MILLI * _CLIP_UNITS / 1000) ** 2 / honest
    finished = []
    for number in range(1, rounds + 1):
        inside = tuple(name for name, own in zip(names, opened, strict=True) if number in own)
        outside = tuple(name for name, own in zip(names, opened, strict=True) if number not in own)
        variance = share * max(1, len(inside))
        energy = round(_SENTINELS * variance)
        digests = _digest("aggregate", number), _digest("model", number)
        finished.append(RoundFacts(number, inside, outside, *digests, energy, variance))
    return ReportFacts(
        origin="ledger.example/long-run",
        log_size=rounds * (clients + 4),
        log_root=_digest("root"),
        genesis=_digest("genesis"),
        dataset="made up",
        parameters=650,
        planned_rounds=rounds,
        local_steps=1,
        noise_multiplier_milli=_NOISE_MILLI,
        sampling_rate_ppm=_RATE_PPM,
        clip_units=_CLIP_UNITS,
        clip_norm_micro=1_000_000,
        delta_e12=10_000_000,
        epsilon_milli=8_000,
        members=5,
        threshold=3,
        certificate_quorum=4,
        minimum_clients=honest,
        suite="tckks-8192",
        ring_degree=8192,
        smudging_lambda=50,
        key_digest=_digest("key"),
        clients=tuple(stated),
        rounds=tuple(finished),
        mode="distributed",
        honest_minimum=honest,
        colluders=0,
        sentinels=_SENTINELS,
    )


def _digest(*words: object) -> bytes:
    return hashlib.sha256(repr(words).encode()).digest()
