"""Who must be trusted for which epsilon: the same run seen by observers with more and more power.

In the modes with shares, the noise that epsilon counts is that of `honest_minimum` clients together. Whoever sees a
single client's share without the others' sees less noise, and that epsilon is much larger.
"""

from typing import Any

from .assessment import Assessment
from .facts import ReportFacts
from .spelling import real
from .survivors import fewest, one_share_epsilon, survivors_epsilon

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
    return (
        f"This epsilon rests on two things: fewer than {facts.threshold} of the {facts.members} members work together "
        f"against the clients, and of the clients in each opened sum at least {facts.honest_minimum} add their share "
        f"of the noise and keep it secret. A sum of fewer than {facts.minimum_clients} clients is not opened, so up to "
        f"{facts.colluders} of them may be dishonest."
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
    honest = f"{facts.honest_minimum} clients of each opened sum, with their noise; the members, as in the next row"
    others = "the operator alone" if facts.colluders == 0 else f"the operator and up to {facts.colluders} other clients"
    return [
        {
            "kind": "reader",
            "observer": "a reader of the log and of the models",
            "sees": "the opened sums and the models",
            "epsilon": epsilon,
            "trusts": honest,
        },
        {
            "kind": "coalition",
            "observer": f"fewer than {members}, and {others}, together",
            "sees": "the same, and what they added themselves",
            "epsilon": epsilon,
            "trusts": f"{facts.honest_minimum} other clients of each opened sum, with their noise; all members but "
            f"{facts.threshold - 1}",
        },
        {
            "kind": "one_share",
            "observer": f"{members} or more together",
            "sees": "each client's contribution alone, with that client's share of the noise only",
            "epsilon": real(max(one_share_epsilon(facts, h) for h in seen.frontier)),
            "trusts": "the client itself, with its share of the noise",
        },
        _holder(facts),
    ]
