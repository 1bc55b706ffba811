"""What `secure-bfl info` tells."""

import json
import platform

import pytest

from ledger import signing
from protocols import ring
from protocols.tckks import seal_build
from secure_bfl import environment
from secure_bfl.cli import main
from secure_bfl.environment import PACKAGES, Environment


def test_info_prints_one_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == Environment.here().to_json()
    assert set(told["packages"]) == set(PACKAGES)
    assert told["python"] == platform.python_version()
    assert told["ring"] == ring.engine()
    assert told["signatures"] == signing.verifier()
    assert told["cpus"] >= 1
    assert told["memory_file"] is seal_build().memory_file
    assert told["seal"].startswith("4.")
    assert told["packages"]["torch"]


def test_info_prints_a_line_a_fact(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info"]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = [line.split()[0] for line in lines]
    assert names == ["secure-bfl", "python", "system", "ring", "signatures", "SEAL", *PACKAGES]
    assert all(len(line.split()) > 1 for line in lines)


def test_info_says_what_the_extra_would_change(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ring, "engine", lambda: "numpy")
    monkeypatch.setattr(signing, "verifier", lambda: "openssl")
    monkeypatch.setattr(environment, "_version", lambda name: None if name in ("numba", "pynacl") else "1.0")
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    assert "numpy (same results, slower than with the extra `fast`)" in out
    assert "openssl (same results, slower than with the extra `fast`)" in out
    assert out.count("not installed") == 2


def test_a_distribution_that_is_not_there_has_no_version() -> None:
    assert environment._version("no-such-distribution") is None


def test_info_is_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    assert "info" in capsys.readouterr().out
