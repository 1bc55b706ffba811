"""`secure-bfl bench ledger` at tiny sizes: the JSON has the promised shape and follows from what was measured."""

import json
from pathlib import Path
from typing import Any

import pytest

from ledger import Log, MemoryStore, SigningKey
from ledger.sequencer import Admission, Sequencer
from ledger.signing import verifier
from ledger.verifying import VerifierPool
from secure_bfl.bench import LedgerFigures, LedgerSetting, admission, bench_ledger
from secure_bfl.bench import ledger as module
from secure_bfl.bench.admission import AdmissionRun, Prepared, admit_all, median_rate, verification_us
from secure_bfl.bench.drivers import DriverError
from secure_bfl.bench.large_log import append_rate, bare_rate, entries_of, grow
from secure_bfl.cli import main

SETTING = LedgerSetting(entries=300, batch=50, callers=2, workers=1, runs=3, large=3000)
KEYS = {
    "entries_per_s", "entries_per_s_openssl", "entries_per_s_libsodium", "entries_per_s_bundled",
    "http_entries_per_s", "proof_ms_10m", "open_s_10m", "open_rss_mib_10m", "append_curve", "signature_ceiling_per_s",
    "achieved_of_ceiling", "bare_rows_per_s", "log_rows_per_s", "log_of_bare", "verify_us", "peers", "missing",
}  # fmt: skip


@pytest.fixture(scope="module")
def measured() -> tuple[LedgerFigures, list[str]]:
    """One measurement and the news it told."""
    news: list[str] = []
    return bench_ledger(SETTING, say=news.append, peers=False), news


@pytest.mark.slow
def test_every_promised_figure_is_there(measured: tuple[LedgerFigures, list[str]]) -> None:
    line: dict[str, Any] = json.loads(json.dumps(measured[0].to_json()))
    assert line.keys() >= KEYS
    assert line["bench"] == "ledger"
    assert (line["setting"]["entries"], line["setting"]["large"]) == (300, 3000)
    for name in ("entries_per_s", "entries_per_s_bundled", "http_entries_per_s", "bare_rows_per_s", "log_rows_per_s"):
        assert line[name] > 0, name
    assert [size for size, _ in line["append_curve"]] == [1000, 3000]
    assert all(rate > 0 for _, rate in line["append_curve"])
    assert (line["proof_ms_10m"], line["open_s_10m"], line["open_rss_mib_10m"]) == (None, None, None)
    assert line["missing"]["proof_ms_10m"] == "the large log had 3000 entries only"
    assert line["proof_ms_3000"] > 0
    assert line["open_s_3000"] > 0
    assert line["bytes_per_entry_3000"] > 128
    assert line["load_average_before"] is not None


@pytest.mark.slow
def test_ratios_follow_from_what_was_measured(measured: tuple[LedgerFigures, list[str]]) -> None:
    figures, line = measured[0], measured[0].to_json()
    assert line["achieved_of_ceiling"] == round(figures.entries_per_s / figures.signature_ceiling_per_s, 3)
    assert line["log_of_bare"] == round(figures.log_rows_per_s / figures.bare_rows_per_s, 3)
    assert figures.cpu_us_per_entry is not None
    assert line["cpu_share_of_signatures"] == round(figures.verify_us / figures.cpu_us_per_entry, 3)
    assert line[f"entries_per_s_{verifier()}"] == line["entries_per_s"]
    assert line["entries_per_s_openssl"] > 0
    if verifier() == "openssl":
        assert line["entries_per_s_libsodium"] is None
        assert "libsodium" in line["missing"]["entries_per_s_libsodium"]


@pytest.mark.slow
def test_the_table_and_the_news_are_for_people(measured: tuple[LedgerFigures, list[str]]) -> None:
    figures, news = measured
    text = "\n".join(figures.lines())
    assert f"{figures.entries_per_s:,.0f}/s" in text
    assert "300 entries in batches of 50" in text
    assert any("3 of 3" in line for line in news)


@pytest.mark.slow
def test_the_command_prints_one_object(
    measured: tuple[LedgerFigures, list[str]], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[LedgerSetting, bool]] = []

    def bench(setting: LedgerSetting, *, say: Any, peers: bool) -> Any:
        asked.append((setting, peers))
        say("news")
        return measured[0]

    monkeypatch.setattr("secure_bfl.bench.bench_ledger", bench)
    assert main(["bench", "ledger", "--quick", "--json", "--entries", "500"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["bench"] == "ledger"
    assert "news" in told.err
    assert asked == [(LedgerSetting(entries=500, large=1_000_000), False)]


def test_the_full_size_has_the_promised_names() -> None:
    setting = LedgerSetting()
    assert setting.sizes == (1000, 10_000, 100_000, 1_000_000, 10_000_000)
    assert LedgerSetting(large=10).sizes == (10,)


@pytest.mark.parametrize("change", [{"runs": 2}, {"entries": 0}, {"workers": 0}, {"large": 0}, {"callers": 0}])
def test_impossible_settings_are_refused(change: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least"):
        LedgerSetting(**change)


def test_entries_are_prepared_by_ten_senders_and_verify() -> None:
    for together in (1, 8):
        prepared = Prepared.sign(100, batch=30, together=together)
        assert len(prepared.keys) == 10
        assert [len(batch) for batch in prepared.batches] == [30, 30, 30, 10]
        assert prepared.count == 100
        assert len({entry for batch in prepared.batches for entry in batch}) == 100
        with VerifierPool(prepared.keys, context=bytes(32), workers=0) as pool:
            assert pool.check([entry for batch in prepared.batches for entry in batch]) == [None] * 100


def test_a_run_in_which_an_entry_is_lost_is_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def forgetful(self: Sequencer, batch: Any, *, wait: bool = True) -> list[Admission]:
        return real(self, batch)[1:]

    real = Sequencer.admit
    prepared = Prepared.sign(20, batch=10, together=1)
    assert admit_all(prepared, callers=2, workers=1).entries_per_s > 0
    monkeypatch.setattr(Sequencer, "admit", forgetful)
    with pytest.raises(RuntimeError, match="18 of 20"):
        admit_all(prepared, callers=1, workers=1)


def test_medians() -> None:
    runs = [AdmissionRun(rate, used) for rate, used in ((1.0, 9.0), (5.0, 7.0), (2.0, 8.0))]
    assert median_rate(runs) == AdmissionRun(2.0, 8.0)
    assert median_rate([*runs, AdmissionRun(3.0, None)]).cpu_us_per_entry is None


def test_the_cost_of_a_verification_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []
    monkeypatch.setattr(admission, "verify_strict", lambda public, signature, message: asked.append(message))
    assert verification_us() >= 0
    assert len(asked) == 2000
    monkeypatch.undo()
    assert 5 < verification_us() < 20_000


def test_rates_without_signatures() -> None:
    assert append_rate(500, 100) > 0
    assert bare_rate(500, 100) > 0
    assert len(set(entries_of(0, 300))) == 300
    assert {len(entry) for entry in entries_of(0, 300)} == {128}


def test_a_log_grows_to_each_size_and_is_certified(tmp_path: Path) -> None:
    news: list[str] = []
    curve = grow(tmp_path / "log", (10, 600), news.append)
    assert [size for size, _ in curve] == [10, 600]
    assert [line.partition(":")[0] for line in news] == ["a log of 10 entries", "a log of 600 entries"]


def test_a_program_that_verifies_with_another_library_is_not_passed_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "json_line", lambda _: {"verifier": "libsodium", "entries_per_s": 1.0})
    with pytest.raises(DriverError, match="not with OpenSSL"):
        module._without_sodium(SETTING)


def test_a_log_that_opens_with_another_size_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "json_line", lambda _: {"size": 1})
    with pytest.raises(DriverError, match="has 1 entries, not 3000"):
        module._large(SETTING, lambda _: None)


def test_peers_are_read_from_their_drivers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BASELINES", raising=False)
    assert "BASELINES" in str(module._peer("ledger_sqlite", SETTING).reason)
    monkeypatch.setenv("BASELINES", str(tmp_path))
    answer = {"results": {"FULL.batch1000": {"append_s_median": 7}}, "versions": {"sqlite": "3"}, "other": 1}
    text = "import sys\nassert sys.argv[1:] == ['--entries', '300', '--runs', '3']\n"
    (tmp_path / "ledger_sqlite.py").write_text(f"{text}print({json.dumps(json.dumps(answer))})\n")
    found = module._peer("ledger_sqlite", SETTING)
    assert found.reason is None
    assert found.result == {"results": answer["results"], "versions": answer["versions"]}


def test_the_sequencer_of_a_log_in_memory_is_the_same() -> None:
    prepared = Prepared.sign(9, batch=9, together=3)
    log = Log(MemoryStore(), "example.com/x", SigningKey.from_seed(bytes(32)))
    with VerifierPool(prepared.keys, context=bytes(32), workers=0) as pool:
        assert Sequencer(log, pool).admit(prepared.batches[0]) == [Admission(index=i) for i in range(9)]
