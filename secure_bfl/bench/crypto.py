"""What the cryptography of one round costs here, beside TenSEAL, SEAL's NTT and, where it is installed, SecAgg+.

CPU time is that of this process, all threads. Where two things are compared, their runs take turns, so that both meet
the same machine. Every opened sum is compared with the sum in the clear. What compiles, compiles before.
"""

import os
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from protocols import DigitBlocks, GridVector
from protocols.ring import engine, ring

from .clocks import CpuClock, cpu_seconds, wall_seconds
from .drivers import Outcome, seal_engine, secaggplus
from .figures import CryptoFigures
from .machine import Machine, load_average, peak_memory_mib
from .parties import CryptoSetting, Parties, full_bytes_per_value
from .round_work import run_round
from .tenseal_peer import TensealPeer, seal_ntt_seconds

__all__ = ["bench_crypto"]

Say = Callable[[str], None]
_PEER_RUNS: Final = 3
_NTT_RUNS: Final = 15
_SCALING_RUNS: Final = 3  # for each run of the others


@dataclass(frozen=True, slots=True)
class _BesideTenseal:
    ours_ms: float
    theirs_ms: float
    their_bytes: int
    runs: int


def _beside_tenseal(parties: Parties, update: GridVector, say: Say) -> _BesideTenseal:
    """A client's work, ours and TenSEAL's in turns."""
    values = np.multiply(update.values, update.grid.step, dtype=np.float64)
    peer, clock, size = TensealPeer(), CpuClock(), 0
    for run in range(parties.setting.runs):
        with clock("ours"):
            parties.upload(update)
        if run < _PEER_RUNS:
            with clock("theirs"):
                encrypted = peer.encrypt(values)
            size = sum(map(len, encrypted))
            peer.check(encrypted, values)
            say(f"encryption beside TenSEAL: {run + 1} of {_PEER_RUNS}")
    runs = min(_PEER_RUNS, parties.setting.runs)
    return _BesideTenseal(clock.milliseconds("ours"), clock.milliseconds("theirs"), size, runs)


def _ntt_ms(setting: CryptoSetting) -> tuple[float, float]:
    """Our NTT of one polynomial over the data primes, and SEAL's."""
    data = ring(setting.degree, setting.suite.data_primes)
    polynomial = data.reduce(np.arange(setting.degree, dtype=np.int64) - setting.degree // 2)
    data.ntt(polynomial)
    ours = [cpu_seconds(lambda: data.ntt(polynomial)) for _ in range(_NTT_RUNS)]
    theirs = seal_ntt_seconds(setting.suite, _NTT_RUNS)
    return round(1000 * statistics.median(ours), 4), round(1000 * statistics.median(theirs), 4)


def _scaling(parties: Parties, update: GridVector) -> tuple[float, float]:
    """Wall time of a client's encryption on one thread over that on two.

    The median of the ratios of neighbouring runs; and the shortest run on one thread over the shortest on two, which
    other work on the machine spoils less. Threads share whole ciphertexts, so the vector is taken twice: of an odd
    number one thread would get one more.
    """
    packed = parties.pack(update)
    digits = DigitBlocks(packed.layout, np.concatenate([packed.digits, packed.digits]))

    def work(workers: int) -> Callable[[], object]:
        return lambda: parties.encryptor.encrypt(digits, rand=os.urandom(32), workers=workers)

    for workers in (1, 2):
        work(workers)()
    one, two = [], []
    for _ in range(_SCALING_RUNS * parties.setting.runs):
        one.append(wall_seconds(work(1)))
        two.append(wall_seconds(work(2)))
    median = statistics.median(first / second for first, second in zip(one, two, strict=True))
    return round(median, 3), round(min(one) / min(two), 3)


def bench_crypto(setting: CryptoSetting, *, say: Say, peers: bool = True) -> CryptoFigures:
    """Measure. Run by: anyone; it takes a minute or two, and `say` gets a line of news now and then.

    Without `peers` no other process is started: neither SecAgg+ nor the engine without numba is measured.

    Raises:
        WrongSumError: an opened sum was wrong.
        ValueError: the setting is impossible.
    """
    before = load_average()
    say("generating a key" if engine() != "numba" else "loading the compiled engine (its first use compiles)")
    parties = Parties(setting)
    updates = parties.updates(setting.clients)
    say("warming up: whatever compiles, compiles now")
    run_round(parties, updates, CpuClock())
    clock = CpuClock()
    rounds, checked = [], []
    for run in range(setting.runs):
        each = CpuClock()
        run_round(parties, updates, each)
        clock.take(each)
        once = each.total("encrypt", "add", "total", "answer", "open")
        rounds.append(once)
        checked.append(once + each.total("member_sum", "fingerprints", "judge"))
        say(f"rounds: {run + 1} of {setting.runs}")
    peak = peak_memory_mib()
    ntt, seal_ntt = _ntt_ms(setting)
    beside = _beside_tenseal(parties, updates[0], say)
    missing: dict[str, str] = {}
    scaling: tuple[float | None, float | None] = None, None
    if engine() != "numba":
        missing["scaling_2_workers"] = "only the compiled engine runs on threads"
    elif (os.cpu_count() or 1) < 2:
        missing["scaling_2_workers"] = "this machine has one processor"
    else:
        scaling = _scaling(parties, updates[0])
    found: dict[str, Outcome] = {}
    for name, measure in (("seal_engine_encrypt_cpu_ms", seal_engine), ("secaggplus", secaggplus)):
        if peers:
            say(f"starting another process for {name}")
            found[name] = measure(setting)
        else:
            found[name] = Outcome(None, "left out: no other process was wanted")
        if found[name].reason is not None:
            missing[name] = str(found[name].reason)
    alone = found["seal_engine_encrypt_cpu_ms"].result
    by_degree = {degree: full_bytes_per_value(setting, degree) for degree in (8192, 16384, 32768)}
    return CryptoFigures(
        setting=setting,
        machine=Machine.here(),
        engine=engine(),
        suite=setting.suite.name,
        ciphertexts=parties.blocks,
        digits_per_coefficient=parties.layout.per_coefficient,
        digit_width=parties.width,
        bytes_per_client=len(parties.upload(updates[0])),
        bytes_per_param=by_degree[setting.degree][0],
        share_bytes_per_param=by_degree[setting.degree][1],
        bytes_per_param_8192=by_degree[8192][0],
        bytes_per_param_16384=by_degree[16384][0],
        bytes_per_param_32768=by_degree[32768][0],
        encrypt_cpu_ms=beside.ours_ms,
        add_cpu_ms=clock.milliseconds("add"),
        total_cpu_ms=clock.milliseconds("total"),
        partial_cpu_ms=clock.milliseconds("answer"),
        combine_cpu_ms=clock.milliseconds("open"),
        round_cpu_s=round(statistics.median(rounds), 4),
        round_cpu_s_every_check=round(statistics.median(checked), 4),
        sums_compared=setting.runs + 1,
        peak_rss_mib=peak,
        ntt_cpu_ms=ntt,
        seal_ntt_cpu_ms=seal_ntt,
        tenseal_encrypt_cpu_ms=beside.theirs_ms,
        tenseal_bytes_per_param=round(beside.their_bytes / setting.values, 3),
        tenseal_runs=beside.runs,
        speedup_vs_tenseal=round(beside.theirs_ms / beside.ours_ms, 2),
        scaling_2_workers=scaling[0],
        scaling_2_workers_best=scaling[1],
        seal_engine_encrypt_cpu_ms=None if alone is None else float(alone["encrypt_cpu_ms"]),
        secaggplus=found["secaggplus"].result,
        load_average_before=before,
        load_average_after=load_average(),
        missing=missing,
    )
