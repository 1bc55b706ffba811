"""The page of privacy's figures, from measurements: tables, and the chart of errors against epsilon.

    secure-bfl bench privacy --json > docs/explanation/privacy-performance.json
    for mode in "--central" "" "--mode local"; do
        python bench/accuracy.py $mode; done > docs/explanation/privacy-accuracy.jsonl
    python bench/privacy_page.py [--check]

Writes `docs/explanation/privacy-errors.svg` and the tables of `docs/explanation/privacy-performance.md`, between its
comments; with `--check` it fails where they differ from the measurements, and writes nothing.
"""

import argparse
import json
import re
import sys
import textwrap
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))  # `bench` is not installed

from bench.charts import Line, Spot, log_log

__all__ = ["FOLDER", "MARKED", "chart", "main", "pages", "tables"]

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "explanation"
MARKED = re.compile(r"(<!-- figures: (\w+) -->\n).*?(<!-- end figures -->)", re.DOTALL)
NAMES = {"central": "one party has all records", "distributed": "distributed", "local": "local", "client": "client"}


def chart(curves: list[dict[str, Any]]) -> str:
    """Errors in a hundred held-out records against epsilon."""
    lines = []
    for curve in curves:
        found = sorted((float(epsilon), each["mean"]) for epsilon, each in curve["accuracy_at_epsilon"].items())
        name = f"{NAMES[curve['mode']]}, {curve['clients']}" if curve["mode"] != "central" else "central"
        lines.append(Line(name, tuple(Spot(epsilon, 100 * (1 - mean)) for epsilon, mean in found)))
    return log_log("What privacy costs on digits", lines, x_name="epsilon at delta 1e-5", y_name="errors in a hundred")


def tables(found: dict[str, Any], curves: list[dict[str, Any]]) -> dict[str, str]:
    """The tables by name, as Markdown."""
    return {
        "accuracy": _accuracy(found),
        "budgets": _budgets(curves),
        "time": _time(found),
        "peers": _peers(found),
        "setting": _setting(found, curves),
    }


def _accuracy(found: dict[str, Any]) -> str:
    rows = [
        f"| `{name}` | {100 * each['mean']:.1f} | {100 * each['least']:.1f} to {100 * each['largest']:.1f} | "
        f"{each['trainings']} | {each['rounds']} | {each['noise_multiplier']:g} |"
        for name, each in found["accuracies"].items()
    ]
    head = "| key | accuracy, % | least to largest | trainings | rounds or steps | noise multiplier |"
    return "\n".join([head, "|---|---:|---:|---:|---:|---:|", *rows]) + "\n"


def _budgets(curves: list[dict[str, Any]]) -> str:
    budgets = sorted({float(e) for curve in curves for e in curve["accuracy_at_epsilon"]})
    head = "| mode | clients | trainings | " + " | ".join(f"epsilon {e:g}" for e in budgets) + " |"
    rows = []
    for curve in curves:
        means = [curve["accuracy_at_epsilon"].get(f"{e:g}") for e in budgets]
        shown = " | ".join("" if each is None else f"{100 * each['mean']:.1f}" for each in means)
        clients = "" if curve["mode"] == "central" else curve["clients"]
        rows.append(f"| {NAMES[curve['mode']]} | {clients} | {curve['trainings']} | {shown} |")
    return "\n".join([head, "|---|---:|---:|" + "---:|" * len(budgets), *rows]) + "\n"


def _time(found: dict[str, Any]) -> str:
    setting = found["setting"]
    report = f"report_s_{setting['report_rounds']}x{setting['report_clients']}"
    distinct = f"heterogeneous_accounting_s_{setting['distinct']}"
    rows = [
        ("noise_s_per_million", "s", "a million values of discrete Gaussian noise, standard deviation 10⁵ units"),
        ("noise_over_numpy", "times", "that, over numpy's floating-point normal distribution"),
        ("opendp_over_noise", "times", "opendp's exact sampler, over that (estimated from 2,000 draws)"),
        ("private_step_ms", "ms", f"a private step: 64 records, {found['step_parameters']:,} parameters"),
        ("opacus_step_ms", "ms", "Opacus' own step of DP-SGD on the same"),
        ("privacy_step_ratio", "times", "the former over the latter"),
        (report, "s", "the budget report of a long run, every client with a history of its own"),
        (distinct, "s", "epsilon of a run in which no two rounds have the same noise and sampling rate"),
    ]
    lines = [f"| `{name}` | {_number(found[name])} | {unit} | {what} |" for name, unit, what in rows]
    return "\n".join(["| key | value | unit | what it is |", "|---|---:|---|---|", *lines]) + "\n"


def _peers(found: dict[str, Any]) -> str:
    """What Flower's wrapper says by default, and with its accountant."""
    flower = found["peers"].get("flower_dp")
    if flower is None:
        return f"Not measured: {found['missing']['flower_dp']}.\n"
    by_default, accounted = (
        flower["results"][name]["privacy_spent"] for name in ("default_no_accountant", "with_accountant")
    )
    seconds = flower["times"]["10_rounds_with_accountant"]["cpu_s"]
    stated = "states no epsilon at all" if by_default is None else f"states epsilon {by_default['epsilon']:g}"
    told = (
        f"Flower {flower['versions']['flwr']}, its wrapper for fixed clipping at the server, noise multiplier 1, "
        f"{found['setting']['noise_values']:,} parameters, {found['setting']['clients']} clients, 10 rounds: it "
        f"{stated} by default; with an accountant it states {accounted['epsilon']:g}. {seconds:.2f} s of CPU. "
        "The noise is floating point, and the server sees every update."
    )
    return textwrap.fill(told, 120, break_on_hyphens=False) + "\n"


def _number(value: float | None) -> str:
    return "not measured" if value is None else f"{value:g}"


def _setting(found: dict[str, Any], curves: list[dict[str, Any]]) -> str:
    environment, packages = found["machine"]["environment"], found["machine"]["environment"]["packages"]
    return (
        f"- {found['machine']['cpu']}, {environment['cpus']} processors, load average {found['load_average_before']} "
        f"before and {found['load_average_after']} after.\n"
        f"- Python {environment['python']}, numpy {packages['numpy']}, torch {packages['torch']}, Opacus "
        f"{packages['opacus']}.\n"
        f"- Digits: {curves[0]['held_out_records']} records are held out, a fifth; each training on another split.\n"
    )


def pages() -> dict[Path, str]:
    """What the files should hold, by path."""
    found = json.loads((FOLDER / "privacy-performance.json").read_text(encoding="utf-8"))
    lines = (FOLDER / "privacy-accuracy.jsonl").read_text(encoding="utf-8").splitlines()
    curves = [json.loads(line) for line in lines]
    written = tables(found, curves)
    page = FOLDER / "privacy-performance.md"
    text = page.read_text(encoding="utf-8")
    return {
        page: MARKED.sub(lambda match: f"{match[1]}\n{written[match[2]]}\n{match[3]}", text),
        FOLDER / "privacy-errors.svg": chart(curves),
    }


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description="Write, or check, the page of privacy's figures.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail where something differs")
    check = parser.parse_args().check
    wanted = pages()
    stale = [path for path, new in wanted.items() if not path.exists() or path.read_text(encoding="utf-8") != new]
    for path in stale:
        print(f"{path.relative_to(ROOT)} {'is not what was measured' if check else 'is written'}")
        if not check:
            path.write_text(wanted[path], encoding="utf-8")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
