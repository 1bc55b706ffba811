"""Verify all vector files, in the folder that is named or in the one they came in."""

import sys
from pathlib import Path

from .verify import main

if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:2])))
