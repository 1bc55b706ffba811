"""Who must be trusted for which epsilon: the same run seen by observers with more and more power.

In the modes with shares, the noise that epsilon counts is that of `honest_minimum` clients together. Whoever sees a
single client's share without the others' sees less noise, and that epsilon is much larger.
"""

from typing import Any

from .assessment import Assessment
from .facts import ReportFacts
from .spelling import real
from .survivors import fewest, shares_epsilon, survivors_epsilon

__all__ = ["trust"]


def trust(seen: Assessment) -> dict[str, Any]:
    """Describe each observer and the epsilon against it; `survivors` is what the log shows about the noise's makers."""
    facts = seen.facts
    return {
        "statement": _statement(facts),
        "variants": _local(seen) if facts.mode == "local" else _shared(seen),
        "survivors": {
            "honest_minimum": facts.honest_minimum,
            "colluders": facts.colluders,
            "required": facts.minimum_clients,
            "fewest_seen": fewest(facts),
            "epsilon_if_the_rest_is_honest": real(survivors_epsilon(facts)),
        },
        "encryption": {
            "adds": "Single updates stay hidden, and only sums are opened, unless the threshold of members work "
            "together. No smaller epsilon is claimed for it."
            if facts.mode == "local"
            else "Only sums of enough clients are opened, so that the shares of noise add up before anybody sees "
            "anything. Epsilon rests on it.",
            "members": facts.members,
            "threshold": facts.threshold,
            "minimum_clients": facts.minimum_clients,
            "suite": facts.suite,
            "ring_degree": facts.ring_degree,
            "smudging_bits": facts.smudging_lambda,
        },
    }


def _statement(facts: ReportFacts) -> str:
    if facts.mode == "local":
        return (
            "Nobody has to be trusted for this epsilon: each client adds all the noise its own records need before "
            "anything leaves it."
        )
    dishonest = {0: "none", 1: "one"}.get(facts.colluders, f"up to {facts.colluders}")
    return (
        f"This epsilon rests on two things: fewer than {facts.threshold} of the {facts.members} members work together "
        f"against the clients, and of the clients in each opened sum at least {facts.honest_minimum} add their share "
        f"of the noise and keep it secret. A sum of fewer than {facts.minimum_clients} clients is not opened, so "
        f"{dishonest} of them may leave theirs out, or tell others what it was. All of them encrypt values of their "
        "own."
    )


def _holder(facts: ReportFacts) -> dict[str, Any]:
    what = "its own update" if facts.mode == "client" else "the record itself"
    return {
        "kind": "holder",
        "observer": "the client itself" if facts.mode == "client" else "the client that holds the record",
        "sees": what,
        "epsilon": "unbounded",
        "trusts": "the client, with its own records only",
    }


def _local(seen: Assessment) -> list[dict[str, Any]]:
    facts, epsilon = seen.facts, real(seen.headline)
    return [
        {
            "kind": "reader",
            "observer": "a reader of the log and of the models",
            "sees": "the opened sums and the models",
            "epsilon": epsilon,
            "trusts": "nobody",
        },
        {
            "kind": "coalition",
            "observer": f"fewer than {facts.threshold} of {facts.members} members, the operator, and all other "
            "clients together",
            "sees": "the same, and their own updates: a difference may leave one client's noised update",
            "epsilon": epsilon,
            "trusts": "nobody",
        },
        {
            "kind": "one_share",
            "observer": f"{facts.threshold} or more members together",
            "sees": "every single noised update, decrypted",
            "epsilon": epsilon,
            "trusts": "nobody",
        },
        _holder(facts),
    ]


def _shared(seen: Assessment) -> list[dict[str, Any]]:
    facts, epsilon = seen.facts, real(seen.headline)
    members = f"{facts.threshold} of {facts.members} members"
    honest = _honest(facts, facts.honest_minimum)
    others = {0: "the operator alone", 1: "the operator and one other client"}.get(
        facts.colluders, f"the operator and up to {facts.colluders} other clients"
    )
    return [
        {
            "kind": "reader",
            "observer": "a reader of the log and of the models",
            "sees": "the opened sums and the models",
            "epsilon": epsilon,
            "trusts": f"{honest}; the members, as in the next rows",
        },
        _other_client(seen),
        {
            "kind": "coalition",
            "observer": f"fewer than {members}, and {others}, together",
            "sees": "the same, and what they added themselves",
            "epsilon": epsilon,
            "trusts": f"{honest}; all members but {facts.threshold - 1}",
        },
        {
            "kind": "one_share",
            "observer": f"{members} or more together",
            "sees": "each client's contribution alone, with that client's share of the noise only",
            "epsilon": real(_with_shares(seen, 1)),
            "trusts": "the client itself, with its share of the noise",
        },
        _holder(facts),
    ]


def _honest(facts: ReportFacts, count: int) -> str:
    """The clients whose noise epsilon counts: the one that holds the record is among them."""
    if count <= 1:
        return "the client itself, with its noise"
    own = "the protected one" if facts.mode == "client" else "the record's own"
    return f"{count} honest clients of each opened sum, {own} included, with their noise"


def _with_shares(seen: Assessment, present: int) -> float:
    return max(shares_epsilon(seen.facts, history, present) for history in seen.frontier)


def _other_client(seen: Assessment) -> dict[str, Any]:
    """One other client that took part: it can take its own share of the noise out of the sums again."""
    facts = seen.facts
    least = fewest(facts)
    smallest = facts.minimum_clients if least is None else min(facts.minimum_clients, least)
    present = min(facts.honest_minimum, smallest - max(1, facts.colluders))
    alone = present == facts.honest_minimum
    return {
        "kind": "client",
        "observer": "one other client that took part",
        "sees": "the same, and its own share of the noise",
        "epsilon": real(seen.headline if alone else max(seen.headline, _with_shares(seen, present))),
        "trusts": f"{_honest(facts, present)}; the members, as in the next row",
    }
