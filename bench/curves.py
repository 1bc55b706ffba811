"""How the cost of the encrypted sum grows: 10 to 1000 clients, 10^5 to 10^8 parameters. Charts and a JSON file.

    python bench/curves.py [--out docs/explanation] [--quick]

Everything is streamed, ciphertext by ciphertext: each is encrypted by every client, parsed, checked and added at once,
answered by the quorum, opened and compared with the sum in the clear. So memory does not grow, and the figures are sums
over all ciphertexts. A job of more than `MOST` encryptions is measured on `PART` of them, and scaled up in the number
of ciphertexts: such figures are marked. CPU seconds of one process, one thread. With `--quick` the sizes are
a hundredth, to try the program.
"""

import argparse
import json
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[1]))  # `bench` is not installed

from bench.charts import Line, Spot, log_log, slope
from protocols import unpack
from protocols.ring import engine
from protocols.tckks import Adder, PartialDecryption, combine, partial_decrypt
from secure_bfl.bench.clocks import CpuClock
from secure_bfl.bench.machine import Machine, load_average, peak_memory_mib
from secure_bfl.bench.parties import CryptoSetting, Parties
from secure_bfl.bench.round_work import WrongSumError

__all__ = ["Job", "Stream", "charts", "main"]

ROOT = Path(__file__).resolve().parents[1]
CLIENTS = (10, 100, 1000)
PARAMETERS = (10**5, 10**6, 10**7, 10**8)
MOST = 7000  # encryptions of one ciphertext in one job that is measured in full
PART = 2000  # encryptions in a job that is not
ROUGHLY = 100  # encryptions at least, in any job
UPDATES = 10  # different updates; every encryption of one is fresh


@dataclass(frozen=True, slots=True)
class Job:
    """One point of the curves. Units: CPU seconds, for all ciphertexts of the vector.

    `encrypt_s` is one client's, `answer_s` one member's, `sum_s` that of whoever adds: the operator and every member.
    """

    parameters: int
    clients: int
    ciphertexts: int
    measured_ciphertexts: int
    encrypt_s: float
    sum_s: float
    answer_s: float
    open_s: float
    round_s: float

    @property
    def measured(self) -> bool:
        """Whether all of it was measured."""
        return self.ciphertexts == self.measured_ciphertexts


class Stream:
    """A committee and updates of one ciphertext each, over which any job can be streamed."""

    def __init__(self, head_room: int) -> None:
        first = CryptoSetting(values=1, head_room=head_room)
        whole = Parties(first).layout.values_per_block
        self._parties = Parties(CryptoSetting(values=whole, head_room=head_room))
        self._updates = self._parties.updates(UPDATES)
        self._packed = [self._parties.pack(update) for update in self._updates]
        self.values_per_block = whole

    def ciphertext(self, clients: int, clock: CpuClock) -> None:
        """All parties' work on one ciphertext.

        Raises:
            WrongSumError: it does not open to the sum of the updates.
        """
        parties, setting = self._parties, self._parties.setting
        adder = Adder(parties.key, 1, most=parties.budget.clients)
        for client in range(clients):
            with clock("encrypt"):
                data = parties.upload(self._updates[client % UPDATES])
            with clock("sum"):
                adder.add(data, sender="client")
        with clock("sum"):
            total = adder.total()
            total.encode()
        shares = {}
        for number in setting.active:
            name = f"member-{number}"
            with clock("answer"):
                answer = partial_decrypt(parties.members[number - 1], total, setting.active).encode()
            with clock("open"):
                shares[name] = PartialDecryption.decode(answer, parties.key, sender=name, blocks=1)
        with clock("open"):
            sums = unpack(combine(total, shares, parties.budget, parties.layout), setting.values)
        times = [clients // UPDATES + (index < clients % UPDATES) for index in range(UPDATES)]
        expected = np.sum([n * u.values for n, u in zip(times, self._updates, strict=True)], axis=0)
        if not np.array_equal(sums, expected):
            raise WrongSumError("the opened sum differs from the sum in the clear")

    def job(self, parameters: int, clients: int) -> Job:
        """Measure one point."""
        blocks = math.ceil(parameters / self.values_per_block)
        measured = blocks if blocks * clients <= MOST else max(1, PART // clients)
        clock, repeats = CpuClock(), math.ceil(ROUGHLY / (clients * measured))
        for _ in range(repeats * measured):
            self.ciphertext(clients, clock)
        scale = blocks / (measured * repeats)
        client, added = clock.total("encrypt") * scale, clock.total("sum") * scale
        answers, opening = clock.total("answer") * scale, clock.total("open") * scale
        return Job(
            parameters,
            clients,
            blocks,
            measured,
            round(client / clients, 5),
            round(added, 5),
            round(answers / self._parties.setting.threshold, 5),
            round(opening, 5),
            round(client + added + answers + opening, 5),
        )


def by_parameters(jobs: Sequence[Job], clients: int) -> list[Job]:
    """The points of one number of clients."""
    return [job for job in jobs if job.clients == clients]


def charts(jobs: Sequence[Job], parameters: int) -> dict[str, tuple[str, list[Line], str]]:
    """Title, lines and the name of the x axis of each chart, by the end of its file's name."""
    steps = (
        ("one client encrypts", "encrypt_s"),
        ("sum, parsed and checked", "sum_s"),
        ("one member's answer", "answer_s"),
        ("opening", "open_s"),
    )
    few = by_parameters(jobs, min(job.clients for job in jobs))
    across = [job for job in jobs if job.parameters == parameters]

    def lines(chosen: Sequence[Job], x: str) -> list[Line]:
        return [
            Line(name, tuple(Spot(getattr(job, x), getattr(job, field), job.measured) for job in chosen))
            for name, field in steps
        ]

    rounds = [
        Line(
            f"{clients} clients", tuple(Spot(j.parameters, j.round_s, j.measured) for j in by_parameters(jobs, clients))
        )
        for clients in sorted({job.clients for job in jobs}, reverse=True)
    ]
    return {
        "parameters": (f"Each step, {few[0].clients} clients", lines(few, "parameters"), "parameters"),
        "clients": (f"Each step, {parameters:,} parameters", lines(across, "clients"), "clients"),
        "round": ("A whole round: all clients, one sum, three answers", rounds, "parameters"),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description="Measure how cost grows with clients and parameters; draw it.")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "explanation", help="folder of the files")
    parser.add_argument("--quick", action="store_true", help="a hundredth of the sizes, to try the program")
    options = parser.parse_args(arguments)
    if not options.out.is_dir():
        parser.error(f"{options.out} is not a folder")
    clients = (2, 20) if options.quick else CLIENTS
    parameters = tuple(p // 100 for p in PARAMETERS) if options.quick else PARAMETERS
    before = load_average()
    stream = Stream(max(clients))
    stream.ciphertext(2, CpuClock())  # whatever compiles, compiles now
    jobs = []
    for count in clients:
        for size in parameters:
            jobs.append(stream.job(size, count))
            print(f"{size} parameters, {count} clients: {jobs[-1].round_s:.3f} s CPU", file=sys.stderr)
    drawn = charts(jobs, parameters[1])
    result: dict[str, Any] = {
        "bench": "curves",
        "engine": engine(),
        "values_per_ciphertext": stream.values_per_block,
        "head_room": max(clients),
        "machine": Machine.here().to_json(),
        "load_average_before": before,
        "load_average_after": load_average(),
        "peak_rss_mib": peak_memory_mib(),
        "jobs": [{**asdict(job), "measured": job.measured} for job in jobs],
        "exponents": {},
    }
    for name, (title, lines, x_name) in drawn.items():
        text = log_log(title, lines, x_name=x_name, y_name="CPU seconds")
        (options.out / f"performance-{name}.svg").write_text(text, encoding="utf-8")
        result["exponents"][name] = {line.name: round(slope(line.spots), 3) for line in lines}
    path = options.out / "performance-curves.json"
    path.write_text(json.dumps(result, indent=1) + os.linesep, encoding="utf-8")
    print(json.dumps({"bench": "curves", "out": str(options.out), "exponents": result["exponents"]}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
