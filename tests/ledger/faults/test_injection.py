"""Every system call of a new log, an append, a cosignature, a blob and a publication fails, or is the last one.

Sampled by default; `FAULTS=all` runs every case.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
STRIDE = 1 if os.environ.get("FAULTS") == "all" else 23

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace"),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
]


@pytest.mark.parametrize(
    ("act", "least"), [("found", 100), ("append", 100), ("cosign", 50), ("blobs", 50), ("publish", 100)]
)
def test_a_call_that_fails_or_is_the_last_loses_nothing_acknowledged(tmp_path: Path, act: str, least: int) -> None:
    command = [sys.executable, "-m", "tests.ledger.faults.injection", act, str(tmp_path), str(STRIDE)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if "ptrace" in done.stderr:
        pytest.skip("this system lets nobody trace")
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)
    print(f"strace, {act}: {counts}")
    assert counts["wrong"] == []
    assert counts["calls"] >= least
    assert counts["SIGKILL"] > 0
    assert counts["refused"] > 0
