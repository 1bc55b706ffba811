"""Verify the test vectors with the standard library alone: Python integers, hashlib, and the text of the specification.

    python tests/vectors/verify.py          the files that come with the library
    python tests/vectors/verify.py DIR      those of a folder, made by somebody else

The verifier is `secure_bfl/vectors/plain`. It imports nothing of the project, so that a mistake of the library cannot
hide in its own vectors, and here it could not: Python runs without installed packages. Exit code 1 if anything differs.
"""

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "secure_bfl" / "vectors"

if __name__ == "__main__":
    sys.exit(subprocess.run([sys.executable, "-I", "-S", str(FOLDER), *sys.argv[1:2]], check=False).returncode)
