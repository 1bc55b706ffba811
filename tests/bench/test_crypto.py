"""`secure-bfl bench crypto` at tiny sizes: the JSON has the promised shape and follows from what was measured."""

import json
import math
from typing import Any

import numpy as np
import pytest

from protocols import DigitBlocks, unpack
from protocols.tckks import EncryptedVector, Encryptor
from secure_bfl.bench import CryptoFigures, CryptoSetting, bench_crypto, crypto, round_work
from secure_bfl.bench.clocks import CpuClock
from secure_bfl.bench.parties import Parties, full_bytes_per_value
from secure_bfl.bench.round_work import WrongSumError, run_round
from secure_bfl.bench.tenseal_peer import TensealPeer
from secure_bfl.cli import main

SETTING = CryptoSetting(values=50_000, clients=2, degree=8192, runs=3)
TIMES = ("encrypt", "add", "total", "partial", "combine", "ntt", "seal_ntt", "tenseal_encrypt")


@pytest.fixture(scope="module")
def parties() -> Parties:
    return Parties(SETTING)


@pytest.fixture(scope="module")
def measured() -> tuple[CryptoFigures, list[str]]:
    """One measurement and the news it told."""
    news: list[str] = []
    return bench_crypto(SETTING, say=news.append, peers=False), news


def test_the_news_say_that_something_compiles(measured: tuple[CryptoFigures, list[str]]) -> None:
    assert any("compiles" in line for line in measured[1])


def test_every_time_is_a_time(measured: tuple[CryptoFigures, list[str]]) -> None:
    line = measured[0].to_json()
    for name in TIMES:
        assert line[f"{name}_cpu_ms"] > 0, name
    assert line["round_cpu_s_every_check"] > line["round_cpu_s"] > 0
    assert line["speedup_vs_tenseal"] == pytest.approx(
        line["tenseal_encrypt_cpu_ms"] / line["encrypt_cpu_ms"], rel=0.01
    )


def test_the_line_says_what_was_measured(measured: tuple[CryptoFigures, list[str]]) -> None:
    line = json.loads(json.dumps(measured[0].to_json()))
    assert line["setting"] == {
        "values": 50_000,
        "clients": 2,
        "members": 5,
        "threshold": 3,
        "degree": 8192,
        "runs": 3,
        "head_room": 128,
    }
    assert line["engine"] in ("numba", "seal", "numpy")
    assert line["machine"]["environment"]["packages"]["tenseal"]
    assert line["sums_compared"] == 4
    assert line["tenseal_runs"] == 3
    assert line["digit_width"] == 23
    assert line["bytes_per_param"] == line["bytes_per_param_8192"]
    assert line["ciphertexts"] == math.ceil(50_000 / (line["digits_per_coefficient"] * 8192))


def test_ratios_are_of_this_run(measured: tuple[CryptoFigures, list[str]]) -> None:
    line = measured[0].to_json()
    ratios = line["ratios_to_seal_ntt"]
    assert "seal_engine_encrypt_cpu_ms" not in ratios
    for name, ratio in ratios.items():
        assert ratio == pytest.approx(line[name] / line["seal_ntt_cpu_ms"], rel=1e-3, abs=1e-3)


def test_what_was_not_measured_is_null_with_a_reason(measured: tuple[CryptoFigures, list[str]]) -> None:
    line = measured[0].to_json()
    assert line["secaggplus"] is None
    assert line["secaggplus_round_cpu_s"] is None
    assert line["seal_engine_encrypt_cpu_ms"] is None
    assert {name for name, value in line.items() if value is None} - {"peak_rss_mib"} <= set(line["missing"])
    assert {"secaggplus", "secaggplus_round_cpu_s", "seal_engine_encrypt_cpu_ms"} <= set(line["missing"])
    assert (line["scaling_2_workers"] is None) == ("scaling_2_workers" in line["missing"])


def test_people_get_a_table_of_the_same_figures(measured: tuple[CryptoFigures, list[str]]) -> None:
    text = "\n".join(measured[0].lines())
    assert f"{measured[0].encrypt_cpu_ms:.1f} ms" in text
    assert "Flower SecAgg+, whole round                   not measured" in text
    assert "secaggplus: left out" in text


def test_bytes_of_full_ciphertexts_at_the_published_setting() -> None:
    setting = CryptoSetting()
    assert full_bytes_per_value(setting, 16384) == (8.0, 3.154)
    assert full_bytes_per_value(setting, 32768)[0] <= 6.5


def test_the_command_prints_one_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "crypto", "--quick", "--json", "--values=3000", "--clients=2", "--degree=8192"]) == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    line = json.loads(out)
    assert (line["bench"], line["setting"]["runs"]) == ("crypto", 3)
    assert line["ciphertexts"] == 1


def test_more_clients_than_the_usual_head_room_get_more(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[CryptoSetting] = []

    def refuse(setting: CryptoSetting, **_: Any) -> CryptoFigures:
        asked.append(setting)
        raise ValueError("seen")

    monkeypatch.setattr("secure_bfl.bench.bench_crypto", refuse)
    assert main(["bench", "crypto", "--clients=1000"]) == 2
    assert main(["bench", "crypto", "--clients=3"]) == 2
    assert [setting.head_room for setting in asked] == [1000, 128]


@pytest.mark.parametrize("change", [{"values": 0}, {"clients": 1}, {"degree": 4096}, {"runs": 2}, {"clients": 129}])
def test_impossible_settings_are_refused(change: dict[str, int]) -> None:
    with pytest.raises(ValueError):
        CryptoSetting(**change)


def test_a_wrong_sum_stops_the_bench(parties: Parties, monkeypatch: pytest.MonkeyPatch) -> None:
    updates, honest = parties.updates(2), unpack

    def off_by_one(*given: Any) -> Any:
        sums = honest(*given).copy()
        sums[-1] += 1
        return sums

    monkeypatch.setattr(round_work, "unpack", off_by_one)
    with pytest.raises(WrongSumError, match="sum in the clear"):
        run_round(parties, updates, CpuClock())


def test_a_member_that_sums_otherwise_stops_the_bench(parties: Parties, monkeypatch: pytest.MonkeyPatch) -> None:
    updates, honest, calls = parties.updates(2), round_work.summed, []

    def forgetful(parties: Parties, uploads: list[bytes], clock: CpuClock) -> Any:
        calls.append(len(uploads))
        return honest(parties, uploads if len(calls) == 1 else uploads[:1], clock)

    monkeypatch.setattr(round_work, "summed", forgetful)
    with pytest.raises(WrongSumError, match="operator's"):
        run_round(parties, updates, CpuClock())


def test_a_round_counts_every_step_of_every_party(parties: Parties, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = CpuClock()
    run_round(parties, parties.updates(2), clock)
    counted = {step: len(seconds) for step, seconds in clock._seconds.items()}
    assert counted == {
        "encrypt": 2,
        "add": 2,
        "total": 1,
        "answer": 3,
        "open": 1,
        "member_sum": 5,
        "fingerprints": 5,
        "judge": 1,
    }


def test_updates_fill_the_grid_and_differ(parties: Parties) -> None:
    first, second = (update.values for update in parties.updates(2))
    assert not np.array_equal(first, second)
    assert first.min() < -32_000
    assert first.max() > 32_000


def test_the_peer_encrypts_what_it_is_given() -> None:
    peer, values = TensealPeer(), np.linspace(-1, 1, 5000)
    encrypted = peer.encrypt(values)
    assert len(encrypted) == 2
    peer.check(encrypted, values)
    with pytest.raises(ValueError, match="other values"):
        peer.check(encrypted, -values)


def test_a_clock_takes_medians_and_knows_what_never_ran() -> None:
    clock, other = CpuClock(), CpuClock()
    for seconds in (3.0, 1.0):
        other._seconds["step"].append(seconds)
    clock._seconds["step"].append(8.0)
    clock.take(other)
    assert (clock.median("step"), clock.milliseconds("step")) == (3.0, 3000.0)
    assert clock.total("step", "never") == 12.0
    with pytest.raises(KeyError):
        CpuClock().median("never")


def test_scaling_divides_one_thread_by_two(parties: Parties, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crypto, "_SCALING_RUNS", 1)
    seconds, shared = iter([2.0, 1.0, 3.0, 1.0, 4.0, 0.5]), set()
    honest = Encryptor.encrypt

    def encrypt(encryptor: Encryptor, digits: DigitBlocks, *, rand: bytes, workers: int = 1) -> EncryptedVector:
        shared.add((workers, len(digits.digits) % 2))
        return honest(encryptor, digits, rand=rand, workers=workers)

    monkeypatch.setattr(Encryptor, "encrypt", encrypt)
    monkeypatch.setattr(crypto, "wall_seconds", lambda work: (work(), next(seconds))[1])
    assert crypto._scaling(parties, parties.updates(1)[0]) == (3.0, 4.0)
    assert shared == {(1, 0), (2, 0)}
