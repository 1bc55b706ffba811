"""The report's sentences: what was checked, what is assumed, what is not covered, and five for everybody.

Words that depend on the facts are functions; each number in them is taken from the report itself.
"""

import math
from collections.abc import Mapping
from typing import Any

__all__ = [
    "RUNS_NOT_INCLUDED",
    "assumptions_made",
    "budget_verdict",
    "format_delta",
    "not_covered",
    "number",
    "percent_up",
    "plain_words",
    "question",
    "release",
]

RUNS_NOT_INCLUDED = (
    "Other federations, or work outside this ledger, on the same records: their epsilon adds to this one, and this "
    "ledger cannot know of them."
)

_RANDOM = "The operating system's random generator of each client is sound, and its state stays secret."
_ROUNDED = (
    "The discrete Gaussian is accounted as the rounding of a continuous Gaussian of slightly smaller variance "
    "(Peikert 2010, theorem 3.1), an argument that awaits independent review. "
)
_ACCOUNTED = _ROUNDED + (
    "The numerically tight value rests on it. The formal one, by Rényi accounting, does not: no record is sampled, and "
    "the discrete Gaussian has the continuous one's concentrated-DP bound (Canonne, Kamath, Steinke 2020, theorem 4)."
)
_ACCOUNTED_SAMPLED = _ROUNDED + (
    "With sampling, the numerically tight value and the formal one, by Rényi accounting, both rest on it; the formal "
    "one needs no numerical convolution."
)
_SECRET_SAMPLE = "Which records a step sampled stays secret at the client (privacy amplification by Poisson sampling)."
_SOFTWARE = {
    "local": "adds noise as its reservation says. A client that does not harms its own records' protection, nobody "
    "else's.",
    "shares": "adds its share of the noise as its reservation says. The other clients' protection rests on these "
    "shares: it holds as long as the stated number of clients is honest.",
}
_PERSON = {
    "local": "A person contributes one record, to one client. For a person with k records, read the group epsilon for "
    "k.",
    "client": "A person's records are at one client. For an owner with k clients, read the group epsilon for k.",
}


def assumptions_made(mode: str, *, sampled: bool) -> tuple[str, ...]:
    """List what the guarantee rests on and no ledger can show; `sampled`: whether steps leave records out by chance."""
    does = "samples, clips and " if sampled else "clips and "
    adds = _SOFTWARE["local" if mode == "local" else "shares"]
    software = f"Each client runs the published software: it {does}{adds}"
    person = _PERSON["client" if mode == "client" else "local"]
    accounted = (_ACCOUNTED_SAMPLED, _SECRET_SAMPLE) if sampled else (_ACCOUNTED,)
    if mode == "local":
        return software, _RANDOM, person, *accounted
    shares = (
        "The encryption and the committee keep every sum closed that holds too few clients: fewer than the threshold "
        "of members break this rule together.",
        "The sum of the clients' discrete Gaussian shares counts as one discrete Gaussian: the distance between the "
        "two is below 2^-800 for shares of eight grid units or more, and is priced in.",
        "Clients submit their own updates only. Ciphertexts are malleable: one that was copied from another client and "
        "multiplied makes that client's update count k times, and its epsilon grow about k times; one that cancels "
        "the others leaves one update in the sum with one share of the noise.",
    )
    return software, *shares, _RANDOM, person, *accounted


def not_covered(mode: str) -> tuple[str, ...]:
    """List what this report says nothing about."""
    shares = (
        "Figures about single clients: a norm, a cosine or a sketch of one client's update is not free after the fact, "
        "since one share of the noise does not protect it. This software publishes none; whoever computes one has to "
        "charge it as a release of its own.",
    )
    metrics = (
        "Metrics on private records: a loss, an accuracy or a count that a client publishes about its own records is a "
        "release that is not counted here."
    )
    return (
        "Choosing hyper-parameters: settings tried on private records before this federation have spent privacy "
        "that is not counted here.",
        metrics,
        *(() if mode == "local" else shares),
        "The choice of data set and of clients: that a client took part, in which rounds, and that it holds records of "
        "this kind is public.",
        "Copied updates: a client that copies another's ciphertext and changes it can make that update count several "
        "times. "
        + (
            "Its noise is copied with it, so epsilon stands."
            if mode == "local"
            else "The noise of the others stays what it was, so epsilon grows; it is assumed that nobody does."
        ),
        "Timing and traffic: how long a client computes or stays silent may depend on its records or their number.",
        "Malicious clients: a hand-made ciphertext can make the opened sum depend on the decryption key. "
        + (
            "The other clients' noise still protects their records; confidentiality of their single updates may be "
            "lost."
            if mode == "local"
            else "Confidentiality of single updates may then be lost, and with it what rests on the sum of the shares."
        ),
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


def percent_up(share: float, digits: int = 1) -> str:
    """Write a share of 1 as a percentage with so many decimals, rounded up: an upper bound stays one."""
    scale = 10**digits
    return f"{math.ceil(share * 100 * scale - 1e-6) / scale:.{digits}f}"


def budget_verdict(*, formal: float | str, formal_within: bool) -> str:
    """Say that spending is within the budget, and whether it is by the formal value too."""
    if formal_within:
        return "within the budget"
    return f"within the budget by the tight value; the formal value {number(formal)} is above it"


def question(unit: str) -> str:
    """What an attacker wants to know about one unit, as the end of a sentence that begins with "whether"."""
    return "one client's update was its own or zeros" if unit == "client" else "one particular record was used"


def release(mode: str) -> list[dict[str, str]]:
    """List what leaves the clients, and who can see it."""
    noised = "noised" if mode == "local" else "with its share of the noise"
    return [
        {
            "what": f"each client's encrypted update ({noised} before encryption)",
            "to": "everybody who can read the log",
        },
        {"what": "the sum of all updates of a round, opened", "to": "everybody who can read the log"},
        {"what": "the global model after each round", "to": "everybody who can read the log"},
        {"what": "each client's participation and privacy spending", "to": "everybody who can read the log"},
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
    formal = "" if budget["formal_within_budget"] else f" (this is {_verdict_of(report)})"
    return (
        f"Of the agreed budget of epsilon {total}, {spent} is spent for the most exposed client{formal}, every "
        f"reserved round counted even if its update never arrived; {fit}."
    )


def _verdict_of(report: Mapping[str, Any]) -> str:
    within = report["budget"]["formal_within_budget"]
    return budget_verdict(formal=report["guarantee"]["formal"]["epsilon"], formal_within=within)


def _strength(report: Mapping[str, Any]) -> str:
    guarantee = report["guarantee"]
    unit = report["unit"]["unit"]
    epsilon, delta = number(guarantee["epsilon"]), format_delta(guarantee["delta"])
    if report["accounting"]["verdict"] == "disagree":
        return (
            f"The accountants disagree on what the published results reveal about one {unit}: the largest figure, "
            f"epsilon {epsilon} at delta {delta}, counts until the cause is found."
        )
    if guarantee["epsilon"] == "unbounded":
        return f"No useful limit can be given on what the published results reveal about one {unit}."
    detected = percent_up(guarantee["attacker"]["true_positive_rate"])
    found = "tells that it was its own" if unit == "client" else "detects a used record"
    return (
        f"Somebody who knows everything but whether {question(unit)}, and who accepts one false alarm in 100, {found} "
        f"in at most {detected} of 100 cases (guessing: 1; no protection: 100); in numbers, epsilon is {epsilon} at "
        f"delta {delta}."
    )


def _trusted(report: Mapping[str, Any]) -> str:
    encryption, survivors = report["trust"]["encryption"], report["trust"]["survivors"]
    members = f"{encryption['threshold']} of {encryption['members']} members"
    if report["identity"]["mode"] == "local":
        return (
            "The noise needs no trust in the operator, the members or other clients, since each client adds its own "
            f"before anything leaves it; encryption also hides single updates unless {members} work together."
        )
    honest = survivors["honest_minimum"]
    adds = "one client adds its part" if honest == 1 else f"{honest} clients add their parts"
    return (
        f"The noise is the work of several clients: the limit holds if in every round at least {adds} honestly, and "
        f"if no {members} work together to look at single updates."
    )


def plain_words(report: Mapping[str, Any]) -> list[str]:
    """Return five sentences that a data-protection officer can use as they stand."""
    scope, mode = report["scope"], report["identity"]["mode"]
    clients = "One client" if scope["clients"] == 1 else f"{scope['clients']} clients"
    covered = {
        "local": "one record at a client that runs the published software",
        "distributed": "one record of a client that runs the published software",
        "client": "all records of one client together, if it runs the published software",
    }[mode]
    return [
        f"{clients} trained one model on {scope['dataset']} in {scope['finished_rounds']} of "
        f"{scope['planned_rounds']} planned rounds, sending noised and encrypted updates, never records.",
        _strength(report),
        _trusted(report),
        _spending(report),
        f"All of this holds for {covered}, and does not cover other uses of the same records, settings chosen by "
        "trying them on private records, or the fact that a client took part.",
    ]
