"""What privacy costs here: in accuracy, in time for noise, a training step, accounting and a report.

CPU time is that of this process. Where two things are compared, their runs take turns, so that both meet the same
machine. Trainings are the plan's own, without encryption and ledger, whose sums are exact.
"""

import hashlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, cast

import numpy as np

from protocols.dp import DiscreteGaussian, Mechanism, Mode, PrivacyEvent, epsilon_pld, poisson_sample, privatize
from protocols.dp.clipping import Rows

from ..adapters.opacus import GradientEngine
from ..adapters.rows import GradientRows
from ..datasets import Dataset, load
from ..local_training import one_thread
from ..model import GlobalModel
from ..plan import FederationPlan
from ..report import build
from .clocks import CpuClock, cpu_seconds
from .drivers import DriverError, Outcome, attempt, json_line
from .machine import Machine, load_average
from .privacy_facts import long_run
from .privacy_figures import Accuracy, PrivacyFigures, PrivacySetting
from .privacy_peers import BATCH, FEATURES, network, numpy_normal, opacus_step, opendp_seconds
from .privacy_training import accuracy_of, central, federated

__all__ = ["bench_privacy"]

Say = Callable[[str], None]
_STD_UNITS: Final = 100_000
_FASHION: Final = "fashion-mnist-scattering"
_FASHION_DROPOUTS: Final = 10  # of a hundred clients: how many may be missing from a round
_STEP_RECORDS: Final = 4 * BATCH
_RATE_PPM: Final = 1_000_000 * BATCH // _STEP_RECORDS


def bench_privacy(setting: PrivacySetting, *, say: Say, peers: bool = True) -> PrivacyFigures:
    """Measure. Run by: anyone; some minutes, much longer with `setting.fashion`; `say` gets a line of news.

    Without `peers`, none of the programs in the folder BASELINES is run.

    Raises:
        DatasetError: clothing is wanted and not installed.
    """
    before = load_average()
    missing: dict[str, str] = {}
    say("noise")
    clock = _noise(setting)
    opendp: float | None = None
    try:
        opendp = round(opendp_seconds(float(_STD_UNITS)), 3)
    except ImportError:
        missing["opendp_s_per_million"] = "opendp is not installed"
    say("a private step, ours and Opacus'")
    parameters = _steps(setting, clock)
    accuracies = _digits(setting, say)
    if setting.fashion:
        accuracies |= _fashion(setting, say)
    say("reports and accounts, now that everything is loaded")
    report_s = cpu_seconds(lambda: build(long_run(setting.report_rounds, setting.report_clients)))
    distinct = _distinct(setting.distinct)
    heterogeneous = cpu_seconds(lambda: epsilon_pld(distinct, setting.delta))
    found = {"flower_dp": _flower(setting), "opacus_overhead": _overhead()} if peers else {}
    missing.update({name: str(outcome.reason) for name, outcome in found.items() if outcome.result is None})
    million = 1_000_000 / setting.noise_values
    return PrivacyFigures(
        setting=setting,
        machine=Machine.here(),
        accuracies=accuracies,
        noise_s_per_million=round(clock.median("noise") * million, 4),
        numpy_normal_s_per_million=round(clock.median("numpy") * million, 4),
        opendp_s_per_million=opendp,
        step_parameters=parameters,
        private_step_ms=clock.milliseconds("ours"),
        opacus_step_ms=clock.milliseconds("opacus"),
        report_s=round(report_s, 3),
        heterogeneous_accounting_s=round(heterogeneous, 3),
        peers={name: dict(outcome.result) for name, outcome in found.items() if outcome.result is not None},
        load_average_before=before,
        load_average_after=load_average(),
        missing=missing,
    )


def _noise(setting: PrivacySetting) -> CpuClock:
    """Our noise and numpy's, in turns."""
    law, clock = DiscreteGaussian(_STD_UNITS**2), CpuClock()
    theirs = numpy_normal(setting.noise_values, float(_STD_UNITS))
    law.sample(1000, os.urandom(32))
    for _ in range(setting.runs):
        with clock("noise"):
            law.sample(setting.noise_values, os.urandom(32))
        with clock("numpy"):
            theirs()
    return clock


def _steps(setting: PrivacySetting, clock: CpuClock) -> int:
    """Whole steps on 64 records, ours and Opacus', in turns; the network's number of parameters.

    Ours draws the noise, samples, computes gradients, clips, truncates, adds, updates the weights and keeps account.
    """
    stream = np.frombuffer(hashlib.shake_256(b"records").digest(_STEP_RECORDS * (FEATURES + 1)), np.uint8)
    features = stream[_STEP_RECORDS:].reshape(_STEP_RECORDS, FEATURES) / 255.0
    labels = stream[:_STEP_RECORDS].astype(np.int64) % 10
    engine = GradientEngine(network(setting.hidden))
    mechanism = Mechanism(4096, 1_000_000, 1_000, _RATE_PPM)
    law = DiscreteGaussian(Fraction(mechanism.share_variance_units))
    vector = engine.flat().astype(np.float64)
    events: list[PrivacyEvent] = []
    theirs = opacus_step(setting.hidden, features[:BATCH], labels[:BATCH])

    def ours() -> None:
        nonlocal vector
        noise = law.sample(engine.dim, os.urandom(32))
        while (sample := poisson_sample(_STEP_RECORDS, mechanism, rand=os.urandom(32))).size != BATCH:
            pass  # so that both have as many records
        engine.load_flat(vector)
        rows = cast(Rows, GradientRows(engine, features, labels, sample.indices))
        released, record = privatize(rows, sample, mechanism, noise)
        vector = vector - 0.05 * released.to_gradient(BATCH)
        events.append(record.event())

    with one_thread():
        ours()
        theirs()
        for _ in range(2 * setting.runs):
            with clock("ours"):
                ours()
            with clock("opacus"):
                theirs()
    return len(vector)


def _distinct(count: int) -> list[PrivacyEvent]:
    """So many mechanisms, no two alike, as of a run whose noise and sampling rate change every round."""
    return [PrivacyEvent(1_000 + 3 * i, 10_000 + 7 * i, 1) for i in range(count)]


def _trained(
    plan: FederationPlan, datas: Sequence[Dataset], train: Callable[[FederationPlan, Dataset], GlobalModel]
) -> Accuracy:
    found = [accuracy_of(train(plan, data), data) for data in datas]
    return Accuracy.of(found, rounds=plan.rounds, noise_multiplier=plan.noise_multiplier_milli / 1000)


def _digits(setting: PrivacySetting, say: Say) -> dict[str, Accuracy]:
    """Digits, each training on another split; what is trained centrally has the same splits."""
    found: dict[str, Accuracy] = {}
    label = f"eps{setting.epsilon:g}"
    named: tuple[tuple[str, int, int | None, Any], ...] = (
        (f"digits_accuracy_{label}", setting.clients, setting.rounds, federated),
        (f"digits_accuracy_{label}_{setting.many}", setting.many, setting.rounds, federated),
        (f"digits_central_{label}", setting.clients, setting.rounds, central),
        (f"digits_central_{label}_{setting.central_steps}_steps", setting.clients, setting.central_steps, central),
    )
    for name, clients, rounds, train in named:
        say(name)
        datas = [load("digits", clients, split=split) for split in range(setting.splits)]
        found[name] = _trained(_plan("digits", setting, clients, rounds), datas, train)
    return found


def _fashion(setting: PrivacySetting, say: Say) -> dict[str, Accuracy]:
    """Images of clothing, one training each, as their test part is fixed. A tenth of the clients may drop out."""
    found = {}
    data = load(_FASHION, setting.many, cache=setting.cache)
    for name, mode, train in (
        ("fashion_accuracy", Mode.DISTRIBUTED, federated),
        ("fashion_central", Mode.DISTRIBUTED, central),
        ("fashion_local", Mode.LOCAL, federated),
    ):
        say(name)
        least = max(2, setting.many - setting.many * _FASHION_DROPOUTS // 100)
        plan = _plan(_FASHION, setting, setting.many, setting.rounds, mode, least)
        found[f"{name}_eps{setting.epsilon:g}"] = _trained(plan, [data], train)
    return found


def _plan(
    dataset: str,
    setting: PrivacySetting,
    clients: int,
    rounds: int | None,
    mode: Mode = Mode.DISTRIBUTED,
    least: int | None = None,
) -> FederationPlan:
    return FederationPlan.create(
        dataset,
        mode=mode,
        clients=clients,
        minimum_clients=least,
        rounds=rounds,
        epsilon=setting.epsilon,
        delta=setting.delta,
    )


def _flower(setting: PrivacySetting) -> Outcome:
    """What Flower's own wrapper for differential privacy reports and costs, in its own installation."""

    def measure() -> Mapping[str, Any]:
        folder, python = os.environ.get("BASELINES"), os.environ.get("FLOWER_PYTHON")
        if not folder or not python:
            raise DriverError("the variables BASELINES (a folder of drivers) and FLOWER_PYTHON are not both set")
        job = ("--params", str(setting.noise_values), "--clients", str(setting.clients), "--delta", str(setting.delta))
        found = json_line([python, Path(folder) / "flower_dp.py", *job])
        return {"results": found["results"], "times": found["times"], "versions": found["versions"]}

    return attempt(measure)


def _overhead() -> Outcome:
    """Opacus' step over a plain one of torch, by a program of its own."""

    def measure() -> Mapping[str, Any]:
        folder = os.environ.get("BASELINES")
        if not folder:
            raise DriverError("the variable BASELINES (a folder of drivers) is not set")
        program = Path(folder) / "opacus_overhead.py"
        found = json_line([sys.executable, program, "--batch", str(BATCH), "--modes", "plain,hooks"])
        return {"overhead_vs_plain": found["overhead_vs_plain"], "versions": found["versions"]}

    return attempt(measure)
