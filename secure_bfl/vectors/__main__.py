"""`python -I -S secure_bfl/vectors [DIR]` verifies the vectors with the standard library alone."""

import runpy
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    runpy.run_module("plain", run_name="__main__", alter_sys=True)
