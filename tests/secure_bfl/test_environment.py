"""What `secure-bfl info` tells."""

import json
import platform
from dataclasses import asdict, replace

import pytest

from ledger import signing
from protocols import ring
from protocols.tckks import CompiledKernels, seal_build
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
    assert names == ["secure-bfl", "python", "system", "ring", "kernels", "signatures", "SEAL", *PACKAGES]
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


KERNELS = CompiledKernels("/cache", True, "skylake", "AVX2")


@pytest.mark.parametrize(
    ("kernels", "said"),
    [
        (KERNELS, "for skylake (AVX2), kept in /cache"),
        (replace(KERNELS, kept=False), "for skylake (AVX2), to be kept in /cache"),
        (
            replace(KERNELS, folder=None, kept=False),
            "kept nowhere: no folder can be written, so every process compiles",
        ),
        (None, "none: numba is not installed"),
    ],
)
def test_info_says_where_kernels_are_kept(
    monkeypatch: pytest.MonkeyPatch, kernels: CompiledKernels | None, said: str
) -> None:
    monkeypatch.setattr(CompiledKernels, "here", lambda: kernels)
    assert any(line.startswith("kernels") and said in line for line in Environment.here().lines())


@pytest.mark.parametrize(
    ("kernels", "said"),
    [
        (KERNELS, ""),
        (None, ""),
        (replace(KERNELS, kept=False), "compiling for this processor, once"),
        (replace(KERNELS, folder=None, kept=False), "compiling for this processor, in every process"),
    ],
)
def test_a_first_user_is_told_what_takes_so_long(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kernels: CompiledKernels | None, said: str
) -> None:
    monkeypatch.setattr(CompiledKernels, "here", lambda: kernels)
    assert main(["info", "--json"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["kernels"] == (None if kernels is None else asdict(kernels))
    assert said in told.err
    assert bool(told.err) is bool(said)


def test_a_distribution_that_is_not_there_has_no_version() -> None:
    assert environment._version("no-such-distribution") is None


def test_info_is_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    assert "info" in capsys.readouterr().out
