"""Keep the code that the documents print equal to the code that runs.

    python docs/build.py           writes the current source into the documents
    python docs/build.py --check   changes nothing; fails where a document differs or an example of README.md fails

A document prints a function between two comments:

    <!-- source: secure_bfl.reference.run_round -->
    <!-- end source -->

The `python` blocks of README.md are run one after another, in one process, in an empty folder.
"""

import argparse
import ast
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
REQUIRED = {ROOT / "docs" / "spec" / "round.md": "secure_bfl.reference.run_round"}
MARKED = re.compile(r"<!-- source: ([\w.]+) -->\n(.*?)<!-- end source -->", re.DOTALL)
EXAMPLE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def source(name: str) -> str:
    """The text of a top-level function or class, given by its dotted name, decorators included."""
    module, _, attribute = name.rpartition(".")
    text = ROOT.joinpath(*module.split(".")).with_suffix(".py").read_text(encoding="utf-8")
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == attribute:
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            return "\n".join(text.splitlines()[first - 1 : node.end_lineno]) + "\n"
    raise LookupError(f"{module} has no function or class {attribute} at its top level")


def rendered(text: str) -> str:
    """A document with the current source between all its markers."""
    return MARKED.sub(
        lambda match: f"<!-- source: {match[1]} -->\n```python\n{source(match[1])}```\n<!-- end source -->", text
    )


def stale(*, write: bool) -> list[str]:
    """Documents that print old source, or lack what they must print; with `write` the old source is replaced."""
    faults = []
    for path in sorted((ROOT / "docs").rglob("*.md")):
        before = path.read_text(encoding="utf-8")
        after = rendered(before)
        if path in REQUIRED and REQUIRED[path] not in [name for name, _ in MARKED.findall(before)]:
            faults.append(f"{path.relative_to(ROOT)} does not print {REQUIRED[path]}")
        if after != before and write:
            path.write_text(after, encoding="utf-8")
        elif after != before:
            faults.append(f"{path.relative_to(ROOT)} prints old source: run python docs/build.py")
    faults.extend(f"{path.relative_to(ROOT)} is missing" for path in REQUIRED if not path.exists())
    return faults


def failing_examples() -> list[str]:
    """Run the examples of README.md; their complaint, if they fail."""
    blocks = EXAMPLE.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    if not blocks:
        return ["README.md has no python example"]
    with tempfile.TemporaryDirectory() as folder:
        run = subprocess.run([sys.executable, "-c", "\n".join(blocks)], cwd=folder, capture_output=True, text=True)
    return [] if run.returncode == 0 else [f"the examples of README.md fail:\n{run.stderr}"]


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description="Keep the printed code equal to the code that runs.")
    parser.add_argument("--check", action="store_true", help="change nothing, and run the examples of README.md")
    check = parser.parse_args().check
    faults = stale(write=not check)
    if check:
        faults += failing_examples()
    print("\n".join(faults) or "the documents are current")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
