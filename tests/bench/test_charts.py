"""Charts show the numbers they are given; curves are measured, or marked as scaled up."""

import itertools
import json
import math
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from bench import curves
from bench.charts import Line, Spot, log_log, slope
from secure_bfl.bench import CryptoSetting
from secure_bfl.bench.clocks import CpuClock
from secure_bfl.bench.round_work import WrongSumError

SVG = "{http://www.w3.org/2000/svg}"


def parsed(svg: str) -> ET.Element:
    return ET.fromstring(svg)  # noqa: S314 (our own text)


def test_points_stand_where_their_logarithms_are() -> None:
    line = Line("a < b", (Spot(10, 1), Spot(100, 10, measured=False), Spot(1000, 100)))
    root = parsed(log_log("T", [line], x_name="x", y_name="seconds"))
    dots = [(float(c.attrib["cx"]), float(c.attrib["cy"])) for c in root.iter(f"{SVG}circle")]
    assert dots[1][0] - dots[0][0] == pytest.approx(dots[2][0] - dots[1][0], abs=0.2)
    assert dots[0][1] - dots[1][1] == pytest.approx(dots[1][1] - dots[2][1], abs=0.2)
    assert dots[0][1] > dots[2][1]
    assert [c.attrib.get("class") for c in root.iter(f"{SVG}circle")] == [None, "hollow", None]
    assert "a < b" in {text.text for text in root.iter(f"{SVG}text")}
    assert "10 at 100" in str(root.findtext(f"{SVG}desc"))


def test_labels_of_lines_that_meet_do_not_overlap() -> None:
    lines = [Line(name, (Spot(1, 1), Spot(10, 5))) for name in "abc"]
    root = parsed(log_log("T", lines, x_name="x", y_name="y"))
    heights = sorted(float(t.attrib["y"]) for t in root.iter(f"{SVG}text") if t.text in ("a", "b", "c"))
    assert all(later - earlier >= 16 for earlier, later in itertools.pairwise(heights))


@pytest.mark.parametrize(("x", "y"), [(0, 1), (1, 0), (-1, 1), (math.inf, 1), (1, math.nan)])
def test_what_has_no_logarithm_is_refused(x: float, y: float) -> None:
    with pytest.raises(ValueError, match="positive and finite"):
        Spot(x, y)


def test_slopes() -> None:
    assert slope([Spot(10, 3), Spot(100, 30), Spot(1000, 300)]) == pytest.approx(1)
    assert slope([Spot(10, 3), Spot(100, 3)]) == pytest.approx(0)
    with pytest.raises(ValueError, match="two different x"):
        slope([Spot(10, 3), Spot(10, 4)])


def test_a_large_job_is_measured_in_part_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curves, "MOST", 3)
    monkeypatch.setattr(curves, "PART", 2)
    stream = curves.Stream.__new__(curves.Stream)
    stream.values_per_block = 10
    done: list[int] = []

    def ciphertext(clients: int, clock: CpuClock) -> None:
        done.append(clients)
        for step, seconds, times in (("encrypt", 1.0, clients), ("sum", 0.5, 1), ("answer", 2.0, 3), ("open", 4.0, 1)):
            clock._seconds[step] += [seconds] * times

    stream.ciphertext = ciphertext  # type: ignore[method-assign]
    stream._parties = type("P", (), {"setting": CryptoSetting()})()
    job = stream.job(parameters=95, clients=2)
    assert (job.ciphertexts, job.measured_ciphertexts, job.measured) == (10, 1, False)
    assert (job.encrypt_s, job.sum_s, job.answer_s, job.open_s) == (10.0, 5.0, 20.0, 40.0)
    assert job.round_s == 2 * 10 + 5 + 3 * 20 + 40
    assert len(done) == 50  # at least a hundred encryptions
    assert stream.job(parameters=8, clients=3).measured


def test_a_streamed_ciphertext_opens_to_the_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curves, "CryptoSetting", _small)
    stream, clock = curves.Stream(12), CpuClock()
    stream.ciphertext(12, clock)
    assert {step: len(taken) for step, taken in clock._seconds.items()} == {
        "encrypt": 12,
        "sum": 13,
        "answer": 3,
        "open": 4,
    }
    monkeypatch.setattr(curves, "unpack", lambda total, values: [0] * values)
    with pytest.raises(WrongSumError):
        stream.ciphertext(2, clock)


def _small(values: int, head_room: int) -> CryptoSetting:
    return CryptoSetting(values=values, clients=2, degree=8192, head_room=head_room)


@pytest.mark.slow
def test_the_program_writes_charts_and_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curves, "CryptoSetting", _small)
    monkeypatch.setattr(curves, "PARAMETERS", (100_000, 10_000_000))
    monkeypatch.setattr(curves, "ROUGHLY", 10)
    assert curves.main(["--quick", "--out", str(tmp_path)]) == 0
    written = json.loads((tmp_path / "performance-curves.json").read_text())
    sizes = [(job["parameters"], job["clients"]) for job in written["jobs"]]
    assert sizes == [(1000, 2), (100_000, 2), (1000, 20), (100_000, 20)]
    assert all(job["measured"] for job in written["jobs"])
    for name in ("parameters", "clients", "round"):
        assert parsed((tmp_path / f"performance-{name}.svg").read_text()).tag == f"{SVG}svg"


def test_a_folder_that_is_not_there_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        curves.main(["--out", "/no/such/folder"])
    assert "is not a folder" in capsys.readouterr().err
