"""The page of the ledger's figures, from a measurement: tables, and the curve of a growing log.

    secure-bfl bench ledger --json > docs/explanation/ledger-performance.json
    python bench/ledger_page.py [--check]

Writes `docs/explanation/ledger-append.svg` and the tables of `docs/explanation/ledger-performance.md`, between its
comments; with `--check` it fails where they differ from the measurement, and writes nothing.
"""

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))  # `bench` is not installed

from bench.charts import Line, Spot, log_log, slope

__all__ = ["chart", "main", "tables"]

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "explanation"
MARKED = re.compile(r"(<!-- figures: (\w+) -->\n).*?(<!-- end figures -->)", re.DOTALL)


def chart(found: dict[str, Any]) -> str:
    """Microseconds of an append, for an entry, against the size of the log."""
    spots = tuple(Spot(float(size), 1e6 / float(rate)) for size, rate in found["append_curve"])
    line = Line(f"durable append, slope {slope(spots):+.2f}", spots)
    return log_log("What an append costs as the log grows", [line], x_name="entries", y_name="µs an entry")


def tables(found: dict[str, Any]) -> dict[str, str]:
    """The tables by name, as Markdown."""
    admitted = [
        ("one signature an entry, libsodium", found["entries_per_s_libsodium"]),
        ("one signature an entry, OpenSSL", found["entries_per_s_openssl"]),
        ("one signature for eight", found["entries_per_s_bundled"]),
        ("over loopback HTTP, batches of 1,000", found["http_entries_per_s"]),
        ("*signatures alone, nothing else*", found["signature_ceiling_per_s"]),
    ]
    large = [
        ("opening it, certified", f"{found['open_s_10m']:.2f} s"),
        ("memory of the process then", f"{found['open_rss_mib_10m']:.0f} MiB"),
        ("an inclusion proof", f"{found['proof_ms_10m']:.2f} ms"),
        ("on disk", f"{found['bytes_per_entry_10m']:.0f} bytes an entry of 128"),
    ]
    rates = "\n".join(f"| {name} | {'not measured' if rate is None else f'{rate:,.0f}'} |" for name, rate in admitted)
    facts = "\n".join(f"| {name} | {value} |" for name, value in large)
    return {
        "admission": f"| admitted, from signed bytes to a durable index | entries a second |\n|---|---:|\n{rates}\n",
        "large": f"| a log of 10 million entries | |\n|---|---:|\n{facts}\n",
    }


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description="Write, or check, the page of the ledger's figures.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail where something differs")
    check = parser.parse_args().check
    found = json.loads((FOLDER / "ledger-performance.json").read_text(encoding="utf-8"))
    written = tables(found)
    page = FOLDER / "ledger-performance.md"
    text = page.read_text(encoding="utf-8")
    wanted = {
        page: MARKED.sub(lambda match: f"{match[1]}\n{written[match[2]]}\n{match[3]}", text),
        FOLDER / "ledger-append.svg": chart(found),
    }
    stale = [path for path, new in wanted.items() if not path.exists() or path.read_text(encoding="utf-8") != new]
    for path in stale:
        print(f"{path.relative_to(ROOT)} {'is not what was measured' if check else 'is written'}")
        if not check:
            path.write_text(wanted[path], encoding="utf-8")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
