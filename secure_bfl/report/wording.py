"""The report's sentences: what was checked, what is assumed, what is not covered, and five for everybody.

Words that depend on the facts are functions; each number in them is taken from the report itself.
"""

import math
from collections.abc import Mapping
from typing import Any

__all__ = [
    "ASSUMPTIONS_MADE",
    "NOT_COVERED",
    "RUNS_NOT_INCLUDED",
    "format_delta",
    "number",
    "percent_up",
    "plain_words",
    "release",
    "trust",
]

RUNS_NOT_INCLUDED = (
    "Other federations, or work outside this ledger, on the same records: their epsilon adds to this one, and this "
    "ledger cannot know of them."
)

ASSUMPTIONS_MADE = (
    "Each client runs the published software: it samples, clips and adds noise as its reservation says. A client that "
    "does not harms its own records' protection, nobody else's.",
    "The operating system's random generator of each client is sound, and its state stays secret.",
    "A person contributes one record, to one client. For a person with k records, read the group epsilon for k.",
    "The discrete Gaussian is accounted as the rounding of a continuous Gaussian of slightly smaller variance "
    "(Peikert 2010, theorem 3.1). The argument awaits independent review: the Renyi value is therefore the "
    "formal one, and the privacy loss distribution value is called numerically tight.",
    "Which records a step sampled stays secret at the client (privacy amplification by Poisson sampling).",
)

NOT_COVERED = (
    "Choosing hyper-parameters: settings tried on private records before this federation have spent privacy "
    "that is not counted here.",
    "The choice of data set and of clients: that a client took part, in which rounds, and that it holds records of "
    "this kind is public.",
    "Timing and traffic: how long a client computes or stays silent may depend on its records or their number.",
    "Malicious clients: a hand-made ciphertext can make the opened sum depend on the decryption key. The other "
    "clients' noise still protects their records; confidentiality of their single updates may be lost.",
    "Stated accuracy: the operator measured it on public held-out data, and nobody has verified it.",
)


def number(value: Any) -> str:
    """Write one of the report's numbers for people; `unbounded` stays a word."""
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.1f}" if abs(value) >= 1000 else f"{value:.4g}"


def format_delta(delta: float) -> str:
    """Write delta as people do: `1e-5`, `2.5e-6`."""
    mantissa, exponent = f"{delta:.3e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def percent_up(share: float) -> str:
    """Write a share of 1 as a percentage with one digit, rounded up: an upper bound stays one."""
    return f"{math.ceil(share * 1000 - 1e-6) / 10:.1f}"


def release() -> list[dict[str, str]]:
    """List what leaves the clients, and who can see it."""
    return [
        {"what": "each client's encrypted update (noised before encryption)", "to": "everybody who can read the log"},
        {"what": "the sum of all updates of a round, opened", "to": "everybody who can read the log"},
        {"what": "the global model after each round", "to": "everybody who can read the log"},
        {"what": "each client's participation and privacy spending", "to": "everybody who can read the log"},
    ]


def trust(threshold: int, members: int, epsilon: Any) -> list[dict[str, Any]]:
    """List the observers and what each of them may hold against one record: in `local` mode the same epsilon."""
    return [
        {
            "observer": "a reader of the log and of the models",
            "sees": "the opened sums and the models",
            "epsilon": epsilon,
            "trusts": "nobody",
        },
        {
            "observer": f"fewer than {threshold} of {members} members, the operator, and all other clients together",
            "sees": "the same, and their own updates: a difference may leave one client's noised update",
            "epsilon": epsilon,
            "trusts": "nobody",
        },
        {
            "observer": f"{threshold} or more members together",
            "sees": "every single noised update, decrypted",
            "epsilon": epsilon,
            "trusts": "nobody",
        },
        {
            "observer": "the client that holds the record",
            "sees": "the record itself",
            "epsilon": "unbounded",
            "trusts": "the client, with its own records only",
        },
    ]


def _spending(report: Mapping[str, Any]) -> str:
    budget = report["budget"]
    spent, total, rounds = number(budget["spent"]), number(budget["total"]), budget["remaining_rounds"]
    if budget["exceeded"]:
        return (
            f"The agreed budget is exceeded: epsilon of the most exposed client is {spent}, where {total} was agreed, "
            "and no further round may run."
        )
    count = f"{rounds} or more" if budget["remaining_rounds_is_minimum"] else f"{rounds}"
    fit = {0: "no further round fits", 1: "one further round of this kind fits"}.get(
        rounds, f"{count} further rounds of this kind fit"
    )
    return (
        f"Of the agreed budget of epsilon {total}, {spent} is spent for the most exposed client, every reserved round "
        f"counted even if its update never arrived; {fit}."
    )


def _strength(report: Mapping[str, Any]) -> str:
    guarantee = report["guarantee"]
    epsilon, delta = number(guarantee["epsilon"]), format_delta(guarantee["delta"])
    if report["accounting"]["verdict"] == "disagree":
        return (
            "The accountants disagree on what the published results reveal about one record: the largest figure, "
            f"epsilon {epsilon} at delta {delta}, counts until the cause is found."
        )
    if guarantee["epsilon"] == "unbounded":
        return "No useful limit can be given on what the published results reveal about one record."
    detected = percent_up(guarantee["attacker"]["true_positive_rate"])
    return (
        "Somebody who knows everything but whether one particular record was used, and who accepts one false alarm in "
        f"100, detects a used record in at most {detected} of 100 cases (guessing: 1; no protection: 100); formally, "
        f"epsilon is {epsilon} at delta {delta}."
    )


def plain_words(report: Mapping[str, Any]) -> list[str]:
    """Return five sentences that a data-protection officer can use as they stand."""
    scope, encryption = report["scope"], report["trust"]["encryption"]
    clients = "One client" if scope["clients"] == 1 else f"{scope['clients']} clients"
    return [
        f"{clients} trained one model on {scope['dataset']} in {scope['finished_rounds']} of "
        f"{scope['planned_rounds']} planned rounds, sending noised and encrypted updates, never records.",
        _strength(report),
        "The noise needs no trust in the operator, the members or other clients, since each client adds its own before "
        f"anything leaves it; encryption also hides single updates unless {encryption['threshold']} of "
        f"{encryption['members']} members work together.",
        _spending(report),
        "All of this holds for one record at a client that runs the published software, and does not cover other uses "
        "of the same records, settings chosen by trying them on private records, or the fact that a client took part.",
    ]
