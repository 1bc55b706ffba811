"""The report's last sections, for verifiers: checks, mechanism, scope, evidence, signature."""

from collections.abc import Mapping, Sequence
from typing import Any

from .blocks import Block, Items, Section, Table, Words, pairs, rows_of, text
from .figures import gauge_figure

__all__ = ["assumptions", "evidence", "mechanism", "scope", "signature"]


def _bracket(check: Mapping[str, Any]) -> str:
    low = text(check["low"])
    return f"at least {low}" if check["high"] == "unbounded" else f"{low} to {text(check['high'])}"


def mechanism(report: Mapping[str, Any]) -> Section:
    """What was done to the data, what it is charged as, and whether all accountants agree."""
    mechanism, accounting = report["mechanism"], report["accounting"]
    names = {key: key.replace("_", " ") for key in mechanism}
    order = [
        "name",
        "noise_law",
        "noise_multiplier",
        "noise_std_units",
        "shares",
        "share_noise_multiplier",
        "share_std_units",
        "clip_norm",
        "clip_units",
        "rounding",
        "sampling_rate",
        "sampler",
    ]
    order += ["steps_per_round", "local_steps", "sentinels", "all_spends_as_planned"]
    brackets = tuple(
        (
            check["accountant"],
            text(check["epsilon"]),
            _bracket(check),
            "holds" if check["holds"] else "FAILS",
            text(check["clients"]),
        )
        for check in accounting["cross_checks"]
    )
    return Section(
        "accounting",
        "Mechanism and accounting",
        (
            pairs("Mechanism", ((names[key], mechanism[key]) for key in order)),
            Words(f"Accountant: {accounting['accountant']}. Composition: {accounting['composition']}."),
            Table(
                "Events of the most exposed client",
                ("noise multiplier", "sampling rate", "steps"),
                rows_of(accounting["events"], "noise_multiplier", "sampling_rate", "steps"),
                frozenset({1, 2}),
            ),
            Table(
                "Cross-checks",
                ("accountant", "epsilon", "bracket", "result", "clients"),
                brackets,
                frozenset({1, 2}),
            ),
            Words(f"Verdict: the accountants {accounting['verdict']}. {accounting['explanation']}"),
        ),
    )


def assumptions(report: Mapping[str, Any]) -> Section:
    """What was checked on the ledger, what cannot be, and what the report is silent about."""
    checked = report["assumptions"]["checked"]
    rows = tuple((row["claim"], "holds" if row["holds"] else "FAILS") for row in checked)
    return Section(
        "assumptions",
        "Checked, assumed, not covered",
        (
            Table("Checked on the ledger", ("claim", "result"), rows),
            Words("Assumed, not checkable on a ledger:"),
            Items(tuple(report["assumptions"]["made"])),
            Words("Not covered by this report:"),
            Items(tuple(report["not_covered"])),
        ),
    )


def scope(report: Mapping[str, Any]) -> Section:
    """What the report is about, what left the clients, and what the model is worth."""
    scope, utility = report["scope"], report["utility"]
    accuracy = None if utility["accuracy"] is None else f"{utility['accuracy']:.2%}"
    return Section(
        "scope",
        "Scope and utility",
        (
            pairs(
                "Scope",
                (
                    ("data set", scope["dataset"]),
                    ("mode", report["identity"]["mode"]),
                    ("model parameters", scope["parameters"]),
                    ("clients", scope["clients"]),
                    ("rounds finished", f"{scope['finished_rounds']} of {scope['planned_rounds']}"),
                    (f"accuracy ({utility['source']})", accuracy),
                ),
            ),
            Table("What is released", ("what", "to whom"), rows_of(scope["release"], "what", "to")),
            Words(f"Not included: {scope['runs_not_included']}"),
        ),
    )


def evidence(report: Mapping[str, Any]) -> Section:
    """Audits, the noise seen, and the digests by which everything is found again."""
    identity, evidence = report["identity"], report["evidence"]
    rounds = Table(
        "Rounds",
        ("round", "updates", "absent", "aggregate (SHA-256)", "model (SHA-256)"),
        tuple(
            (
                text(row["round"]),
                text(len(row["contributors"])),
                text(row["absent"]),
                row["aggregate_digest"],
                row["model_digest"],
            )
            for row in evidence["rounds"]
        ),
        frozenset({0, 1}),
        frozenset({3, 4}),
    )
    void = Table(
        "Void rounds: no model came of them, and what was spent in them stays spent",
        ("round", "the operator's reason"),
        tuple((text(row["round"]), row["reason"]) for row in evidence["void_rounds"]),
        frozenset({0}),
        frozenset(),
    )
    head = (
        ("report", identity["id"]),
        ("log", identity["origin"]),
        ("log size", identity["log_size"]),
        ("log root", identity["log_root"]),
        ("genesis", identity["genesis"]),
        ("encryption key (SHA-256)", evidence["key_digest"]),
        ("cosignatures on the log's head, at least", evidence["certificate_quorum"]),
        ("runs included", report["scope"]["runs_included"]),
    )
    gauge = gauge_figure(report)
    blocks: list[Block] = [*_audits(evidence["audits"])]
    blocks.append(Words("The plan has no sentinel coordinates, or no round is done.") if gauge is None else gauge)
    blocks += [Words(evidence["recompute"]), pairs("Identity", head, code=True), rounds]
    return Section("evidence", "Evidence", (*blocks, void) if evidence["void_rounds"] else tuple(blocks))


def _audits(audits: Sequence[Mapping[str, Any]]) -> tuple[Block, ...]:
    if not audits:
        return (Words("No audit of the mechanism is recorded on this ledger."),)
    rows = tuple(
        (
            row["party"],
            text(row["entry"]),
            text(row["claimed_epsilon"]),
            text(row["epsilon_lower_bound"]),
            f"{row['correct']} of {row['guesses']} ({row['canaries']} canaries)",
            f"{row['one_run_p']:.2g}",
            f"{row['z_test_p']:.2g}",
            f"{row['sentinel_p']:.2g}",
            text(row["violations"]),
            "holds" if row["passes"] and row["follows_from_counts"] else "FAILS",
        )
        for row in audits
    )
    header = (
        "by",
        "entry",
        "claimed",
        "refuted up to",
        "guesses right",
        "p",
        "p, z-test",
        "p, sentinels",
        "violations",
    )
    words = (
        "An audit trains with planted records and lets an attacker guess which of them were used. It can refute a "
        "claimed epsilon; it cannot prove one. The attacker's p-value and bound are recomputed here from the counts."
    )
    return (
        Table("Audits of the mechanism", (*header, "result"), rows, frozenset({1, 2, 3, 5, 6, 7})),
        Words(words),
    )


def signature(block: Mapping[str, Any]) -> Section:
    """Who vouches for the report, and what only they can say."""
    made = ", ".join(f"{name} {version}" for name, version in sorted(block["made_with"].items()))
    rows = (
        ("signed by", f"{block['signer']}, {block['role']}"),
        ("controller", block["controller"]),
        ("purpose", block["purpose"]),
        ("replaces report", "none" if block["supersedes"] is None else block["supersedes"]),
        ("made with", made or "not stated"),
    )
    key = (
        ("public key", block["public_key"]),
        ("algorithm", block["algorithm"]),
        ("signature", block["value"]),
    )
    note = (
        "The figures follow from the log, whoever signs. The signature vouches for the controller, the purpose and the "
        "software. Whether it is the signer's is for a verifier to check."
    )
    return Section("signature", "Signature", (pairs("Signed", rows), pairs("Key", key, code=True), Words(note)))
