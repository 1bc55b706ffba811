"""`secure-bfl privacy …`: plans, odometers, reports and audits, as people and scripts see them."""

import json
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from ledger import SignatureError, SigningKey
from protocols.dp.auditing import AuditResult
from secure_bfl import PublicFolder
from secure_bfl.exitcodes import ExitCode
from secure_bfl.messages import Party, Role
from secure_bfl.privacy_cli import curve, self_checks
from secure_bfl.replay import Replay, RoundState
from secure_bfl.report import accounts, sign
from secure_bfl.signatory import signer_of
from tests.integration.commands import Answer, call
from tests.integration.conftest import FinishedRun
from tests.integration.published import flip

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs" / "reference" / "cli.md"
SUBJECTS = ("plan", "whatif", "status", "can-i-run", "report", "verify", "audit", "selftest", "export-registry")
SMALL = ("--clients", "4", "--rounds", "5", "--parameters", "1000")


def privacy(*arguments: str | Path) -> Answer:
    """One subcommand."""
    return call("privacy", *arguments)


# Help and reference.


def test_the_help_lists_every_subcommand_with_an_example() -> None:
    answer = privacy("--help")
    assert answer.code == 0
    for subject in SUBJECTS:
        assert f"secure-bfl privacy {subject}" in answer.out


@pytest.mark.parametrize("subject", SUBJECTS)
def test_each_subcommand_has_help_with_an_example_and_json(subject: str) -> None:
    answer = privacy(subject, "--help")
    assert answer.code == 0
    assert f"usage: secure-bfl privacy {subject}" in answer.out
    assert f"example: secure-bfl privacy {subject}" in " ".join(answer.out.split())
    assert "--json" in answer.out


@pytest.mark.parametrize("subject", SUBJECTS)
def test_the_reference_lists_the_options(subject: str) -> None:
    section = REFERENCE.read_text(encoding="utf-8").partition(f"### `privacy {subject}")[2].partition("\n##")[0]
    assert section, f"docs/reference/cli.md has no section on privacy {subject}"
    usage = privacy(subject, "--help").out.partition("options:")[2]
    shared = {"--help", "--json", "--delta", "--rounds", "--q", "--clients", "--honest-min", "--colluders", "--mode"}
    shared |= {"--steps", "--parameters"} if subject in ("whatif", "can-i-run") else set()
    known = shared - ({"--delta", "--rounds", "--q", "--clients"} if subject == "plan" else set())
    shown = set(re.findall(r"^  (--[a-z-]+)", usage, re.MULTILINE))
    assert shown - set(re.findall(r"`(--[a-z-]+)", section)) <= known


# plan


def test_a_plan_tells_its_noise_shares_and_contributors() -> None:
    answer = privacy("plan", "--epsilon", "2", *SMALL, "--honest-min", "2", "--colluders", "1", "--json")
    assert (answer.code, answer.err) == (0, "")
    plan = answer.json
    assert plan["mode"] == "distributed"
    assert plan["epsilon"] <= 2 < plan["epsilon"] * 1.02
    assert plan["epsilon_formal"] >= plan["epsilon"]
    assert plan["share_noise_multiplier"] == pytest.approx(plan["noise_multiplier"] / math.sqrt(2), rel=1e-3)
    assert plan["minimum_contributors"] == 3
    assert plan["one_share_epsilon"] > plan["epsilon"]
    assert [row["rounds"] for row in plan["after"]] == [2, 3, 4, 5]
    assert [row["epsilon"] for row in plan["after"]] == sorted(row["epsilon"] for row in plan["after"])
    assert plan["after"][-1]["epsilon"] == plan["epsilon"]


def test_drop_outs_break_a_plan_that_divides_the_noise_by_all_clients() -> None:
    plan = privacy("plan", "--epsilon", "2", "--rounds", "40", "--clients", "10", "--json").json
    assert plan["naive_drop_out"]["survivors"] == 7
    assert plan["naive_drop_out"]["epsilon"] == pytest.approx(2.5, abs=0.1)


def test_a_plan_in_words() -> None:
    answer = privacy("plan", "--epsilon", "2", *SMALL)
    lines = answer.out.splitlines()
    names = [line.split("  ")[0] for line in lines if line and not line[0].isspace()]
    assert "; the formal value is above 2" in answer.out
    assert names[:8] == ["unit", "budget", "noise", "epsilon", "share", "contributors", "one share", "drop-out"]
    assert "or members refuse to open" in answer.out
    assert lines[-1].split()[0] == "5"


def test_a_local_plan_has_no_shares() -> None:
    answer = privacy("plan", "--epsilon", "2", *SMALL, "--mode", "local", "--steps", "3", "--q", "0.25", "--json")
    assert answer.json["naive_drop_out"] is None
    assert answer.json["share_noise_multiplier"] == answer.json["noise_multiplier"]
    assert "drop-out" not in privacy("plan", "--epsilon", "2", *SMALL, "--mode", "local").out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--epsilon", "nan"), "finite"),
        (("--epsilon", "2", "--delta", "inf"), "finite"),
        (("--epsilon", "few"), "expected a number"),
        (("--epsilon", "-1"), "epsilon"),
        (("--epsilon", "2", "--delta", "1e-11"), "delta"),
        (("--epsilon", "2", "--clients", "4", "--honest-min", "4", "--colluders", "1"), "4"),
        (("--epsilon", "2", "--rounds", "0"), "--rounds must be 1 to"),
        (("--epsilon", "2", "--clients", "1"), "at least 2 clients"),
        (("--epsilon", "2", "--clients", "3000"), "at most 1000 clients"),
        (("--epsilon", "2", "--clients", "10", "--honest-min", "1", "--colluders", "0"), "must be 2 to 10, not 1"),
        (("--epsilon", "2", "--clients", "4", "--honest-min", "0"), "--honest-min must be 1 to 3, not 0"),
        (("--epsilon", "2", "--colluders", "-1"), "--colluders must be 0 to 9"),
        (("--epsilon", "2", "--parameters", "0"), "--parameters must be 1 to"),
        (("--epsilon", "2", "--parameters", "99999999"), "--parameters must be 1 to"),
        (("--epsilon", "2", "--steps", "0"), "--steps must be 1 to"),
        (("--epsilon", "2", "--mode", "local", "--colluders", "1"), "leave --honest-min and --colluders out"),
        (("--epsilon", "2", "--mode", "central"), "invalid choice"),
        ((), "--epsilon"),
    ],
)
def test_an_impossible_plan_is_refused_in_words(arguments: tuple[str, ...], told: str) -> None:
    answer = privacy("plan", *arguments)
    assert (answer.code, answer.out) == (ExitCode.USAGE, "")
    assert told in answer.err
    assert "Traceback" not in answer.err


# whatif


def test_more_rounds_need_more_noise() -> None:
    answer = privacy("whatif", "--vary", "rounds", "1,5,25", *SMALL, "--json")
    assert answer.code == 0, answer.err
    rows = answer.json["rows"]
    assert [row["value"] for row in rows] == [1, 5, 25]
    assert [row["noise_multiplier"] for row in rows] == sorted({row["noise_multiplier"] for row in rows})
    assert all(row["epsilon"] <= 2 for row in rows)


def test_given_noise_gives_epsilon() -> None:
    given = privacy("whatif", "--vary", "rounds", "5,25", *SMALL, "--sigma", "8", "--json").json["rows"]
    assert {row["noise_multiplier"] for row in given} == {8.0}
    assert given[0]["epsilon"] < given[1]["epsilon"]
    varied = privacy("whatif", "--vary", "sigma", "8,4", *SMALL, "--json").json["rows"]
    assert varied[0]["epsilon"] == given[0]["epsilon"] < varied[1]["epsilon"]


def test_what_gives_no_plan_is_listed_with_its_reason() -> None:
    answer = privacy("whatif", "--vary", "honest-min", "2,9", *SMALL, "--json")
    assert [row["value"] for row in answer.json["rows"]] == [2]
    assert answer.json["impossible"][0]["value"] == 9
    assert answer.json["impossible"][0]["reason"]
    nothing = privacy("whatif", "--vary", "honest-min", "9", *SMALL)
    assert (nothing.code, nothing.out) == (ExitCode.USAGE, "")
    assert "no value of honest-min gives a plan" in nothing.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--vary", "weather", "1"), "--vary takes one of rounds"),
        (("--vary", "rounds", "one"), "takes numbers separated by commas"),
        (("--vary", "rounds", ","), "takes 1 to 64 values"),
        (("--vary", "sigma", "1", "--epsilon", "2"), "neither --epsilon nor --sigma"),
        (("--vary", "sigma", "0"), "--sigma must be 0.1 to"),
        (("--vary", "clients", "1,3000"), "at least 2 clients"),
    ],
)
def test_whatif_refuses_in_words(arguments: tuple[str, ...], told: str) -> None:
    answer = privacy("whatif", *arguments)
    assert answer.code == ExitCode.USAGE
    assert told in answer.err


def test_a_whatif_is_drawn(tmp_path: Path) -> None:
    path = tmp_path / "rounds.svg"
    answer = privacy("whatif", "--vary", "rounds", "1,5,25", *SMALL, "--svg", path)
    assert answer.code == 0, answer.err
    root = ElementTree.fromstring(path.read_text(encoding="utf-8"))  # noqa: S314  our own text
    assert len(root.findall("{http://www.w3.org/2000/svg}circle")) == 3
    assert "http" not in path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")


def test_a_curve_holds_finite_points_only() -> None:
    with pytest.raises(ValueError, match="nothing to draw"):
        curve.Curve("", "", "", ())
    for bad in (math.inf, math.nan, -1.0):
        with pytest.raises(ValueError, match="finite numbers"):
            curve.Curve("", "", "", ((1.0, bad),))
    flat = curve.draw(curve.Curve("<a>", "x", "y", ((0.0, 0.0),)))
    assert "&lt;a&gt;" in flat


# selftest


def test_the_selftest_passes_here() -> None:
    answer = privacy("selftest", "--json")
    assert answer.code == 0, answer.out
    assert answer.json["ok"] is True
    assert len(answer.json["checks"]) >= 11
    assert all(check["found"] for check in answer.json["checks"])


@pytest.mark.parametrize(("name", "code"), [("_closed_form", 4), ("_chi_square", 6)])
def test_a_failed_selftest_has_its_own_exit_code(name: str, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for slow in ("_other_accountants", "_known_sgd"):
        monkeypatch.setattr(self_checks, slow, lambda: (True, "skipped"))
    monkeypatch.setattr(self_checks, name, lambda: (False, "as the test says"))
    answer = privacy("selftest")
    assert answer.code == code
    assert re.search(r"^FAIL  .*: as the test says$", answer.out, re.MULTILINE)


@pytest.mark.parametrize("arguments", [("plan",), ("plan", "--json")])
def test_a_reader_that_goes_away_is_no_error(arguments: tuple[str, ...]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "secure_bfl", "privacy", *arguments, "--epsilon", "2", *SMALL]
    with os.fdopen(writer, "wb") as gone:
        done = subprocess.run(command, stdout=gone, stderr=subprocess.PIPE, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (141, b"")


def test_another_broken_pipe_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(options: object) -> int:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr("secure_bfl.cli.run_privacy", broken)
    answer = privacy("selftest")
    assert answer.code == ExitCode.OUTPUT
    assert "Broken pipe" in answer.err


# report, verify and export-registry


def report_of(folder: Path) -> dict[str, Any]:
    """The published report."""
    found: dict[str, Any] = json.loads((PublicFolder.of(folder).report_json).read_bytes())
    return found


def rewrite(folder: Path, report: dict[str, Any]) -> None:
    """Publish another report instead."""
    text = json.dumps(report, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    PublicFolder.of(folder).report_json.write_text(text + "\n", encoding="utf-8")


def test_a_signed_report_verifies_and_a_changed_one_does_not(finished: FinishedRun, tmp_path: Path) -> None:
    out = finished.copy(tmp_path / "out")
    assert privacy("verify", out, "--json").json["signer"] == "operator"
    said = ("--controller", "A Hospital", "--purpose", "reading digits")
    written = privacy("report", out, "--sign-as", "operator", *said, "--json")
    assert (written.code, written.json["signer"]) == (0, "operator"), written.err
    signature = report_of(out)["signature"]
    assert (signature["signer"], signature["controller"], signature["supersedes"]) == ("operator", "A Hospital", None)
    answer = privacy("verify", out)
    assert answer.code == 0, answer.out
    assert answer.out.endswith("follows from the ledger; signed by operator\n")
    entry = privacy("export-registry", out, "--sector", "Healthcare")
    assert entry.code == 0
    assert entry.json["deployment"]["basic"]["intended_use"] == "reading digits"
    assert "the registry also requires" in entry.err
    changed = report_of(out)
    changed["signature"]["controller"] = "Somebody Else"
    rewrite(out, changed)
    answer = privacy("verify", out)
    assert answer.code == ExitCode.FINDINGS
    assert "changed after signing" in answer.out
    assert privacy("export-registry", out).code == ExitCode.FINDINGS
    again = call("report", out)
    assert (again.code, again.out) == (ExitCode.OUTPUT, "")
    assert "--sign-as PARTY" in again.err
    assert "--unsigned" in again.err
    assert report_of(out) == changed
    assert call("report", out, "--unsigned", "--sign-as", "operator").code == ExitCode.USAGE
    unsigned = call("report", out, "--unsigned")
    assert (unsigned.code, unsigned.out.strip()) == (0, str(out / "public" / "budget-report.html"))
    assert "signature" not in report_of(out)
    assert call("report", out).code == 0


def test_a_report_that_differs_is_found(finished: FinishedRun, tmp_path: Path) -> None:
    out = finished.copy(tmp_path / "out")
    report = report_of(out)
    report["guarantee"]["epsilon"] = 0.5
    rewrite(out, report)
    answer = privacy("verify", out, "--json")
    assert answer.code == ExitCode.FINDINGS
    assert any("guarantee.epsilon" in finding["what"] for finding in answer.json["findings"])
    report = report_of(out)
    report["identity"]["log_size"] += 3
    rewrite(out, report)
    rolled = privacy("verify", out, "--json")
    assert rolled.code == ExitCode.CHAIN
    assert "rolled back" in rolled.json["chain"]


def test_a_ledger_that_does_not_verify_is_a_broken_chain(public: PublicFolder) -> None:
    pinned = privacy("verify", public.path, "--genesis", "00" * 32)
    assert pinned.code == ExitCode.FINDINGS
    assert "another federation" in pinned.out
    flip(next(path for path in (public.ledger / "tile" / "entries").rglob("*") if path.is_file()))
    answer = privacy("verify", public.path)
    assert answer.code == ExitCode.CHAIN
    assert "broken chain: " in answer.out
    assert privacy("export-registry", public.path).code == ExitCode.FINDINGS
    shutil.rmtree(public.ledger)
    for subject in ("verify", "report", "export-registry"):
        missing = privacy(subject, public.path)
        assert (missing.code, missing.out) == (ExitCode.OUTPUT, "")
        assert "there is no ledger in it" in missing.err


def test_accountants_that_disagree_have_their_own_exit_code(
    public: PublicFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accounts, "PRV_ABOVE", -1.0)
    assert privacy("report", public.path, "--unsigned").code == ExitCode.ACCOUNTANTS
    answer = privacy("verify", public.path, "--json")
    assert (answer.code, answer.json["verdict"]) == (ExitCode.ACCOUNTANTS, "disagree"), answer.out


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("--controller", "X"), ExitCode.USAGE, "give --sign-as PARTY too"),
        (("--sign-as", "nobody"), ExitCode.USAGE, "this run has no such party"),
        (("--sign-as", "operator"), ExitCode.KEYSTORE, "no passphrase for"),
    ],
)
def test_a_report_is_signed_by_a_party_with_its_key(
    arguments: tuple[str, ...], code: int, told: str, public: PublicFolder
) -> None:
    answer = privacy("report", public.path, *arguments)
    assert (answer.code, answer.out) == (code, "")
    assert told in answer.err


def test_a_keystore_of_another_party_does_not_sign(finished: FinishedRun, public: PublicFolder) -> None:
    other = finished.out / "private" / "client-1"
    answer = privacy("report", public.path, "--sign-as", "client-2", "--keystore", other / "keystore")
    assert answer.code == ExitCode.KEYSTORE
    assert "does not hold the signing key that the ledger has for client-2" in answer.err
    assert privacy("report", public.path, "--sign-as", "client-1", "--keystore", other).code == 0
    assert report_of(public.path)["signature"]["role"] == "client"


class _Revoked(Replay):
    """A ledger on which the operator's key does not count any more."""

    key = SigningKey.from_seed(bytes(32))

    def party(self, name: str) -> Party | None:
        return Party(name, Role.OPERATOR, self.key.public, b"", b"") if name == "operator" else None


def test_the_signature_of_a_revoked_key_does_not_count() -> None:
    report = sign({"identity": {"id": "0" * 32}}, _Revoked.key, signer="operator", role="operator")
    with pytest.raises(SignatureError, match="was revoked"):
        signer_of(report, _Revoked())
    with pytest.raises(SignatureError, match="no party of this ledger"):
        signer_of(sign(report, _Revoked.key, signer="guest", role="operator"), _Revoked())
    assert signer_of({}, _Revoked()) is None


# audit


VIOLATED = AuditResult(
    claimed_epsilon_milli=1000,
    delta_e12=10**6,
    canaries=1000,
    guesses=200,
    correct=200,
    epsilon_lower_milli=4200,
    one_run_p_e12=1,
    z_p_e12=1,
    noise_ratio_ppm=0,
    sentinel_p_e12=0,
    structural="record-norm",
)


def test_an_audit_of_a_run_becomes_part_of_its_ledger_and_report(finished: FinishedRun, tmp_path: Path) -> None:
    out = finished.copy(tmp_path / "out")
    assert privacy("report", out, "--sign-as", "operator", "--purpose", "reading digits").code == 0
    before = report_of(out)
    answer = privacy("audit", "--dir", out, "--json")
    assert answer.code == 0, answer.out + answer.err
    found = answer.json
    assert (found["passes"], found["violations"], found["mode"]) == (True, [], "distributed")
    assert found["index"] == before["identity"]["log_size"]
    after = report_of(out)
    assert len(after["evidence"]["audits"]) == 1
    assert after["signature"]["supersedes"] == before["identity"]["id"]
    assert after["signature"]["purpose"] == "reading digits"
    verified = privacy("verify", out, "--json")
    assert (verified.code, verified.json["signer"]) == (0, "operator")


def test_a_violation_has_its_own_exit_code_then_and_later(
    finished: FinishedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = finished.copy(tmp_path / "out")
    monkeypatch.setattr("secure_bfl.auditing.privacy_audit", lambda settings, *, progress: VIOLATED)
    answer = privacy("audit", "--dir", out)
    assert answer.code == ExitCode.AUDIT, answer.err
    assert re.search(r"verdict +VIOLATED: one-run, z-test, sentinels, record-norm", answer.out)
    assert report_of(out)["signature"]["signer"] == "operator", "the demo signs, and the new report is signed again"
    later = privacy("verify", out)
    assert later.code == ExitCode.AUDIT
    assert re.search(r"^violation: operator, entry \d+: one-run", later.out, re.MULTILINE)
    assert privacy("audit", "--mode", "client").code == ExitCode.AUDIT


def test_what_cannot_be_audited(finished: FinishedRun, public: PublicFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secure_bfl.auditing.privacy_audit", lambda settings, *, progress: VIOLATED)
    assert privacy("audit", "--dataset", "nothing").code == ExitCode.DATASET
    assert privacy("audit", "--dir", finished.out / "private").code == ExitCode.OUTPUT
    other = privacy("audit", "--dir", finished.out, "--mode", "local")
    assert other.code == ExitCode.USAGE
    assert "is in mode distributed, not local" in other.err
    alone = privacy("audit", "--dir", public.path)
    assert alone.code == ExitCode.OUTPUT
    assert "lacks the private folder" in alone.err


def test_the_ledger_of_an_unfinished_run_takes_no_audit(
    finished: FinishedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = finished.copy(tmp_path / "out")
    monkeypatch.setattr(RoundState, "finished", property(lambda self: False))
    answer = privacy("audit", "--dir", out)
    assert answer.code == ExitCode.STATE
    assert "the run is not finished" in answer.err
