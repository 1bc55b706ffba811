"""The rules of key generation and of committee changes. Spec: round §3.1 (v1).

Founding: commit, reveal, check, answer the dry run, accept. A change is announced by the operator between two rounds
and certified by the committee in office; its members commit and reveal, the new ones check, answer and accept. Then
they are the committee, and the former members drop what they held.
"""

from typing import TYPE_CHECKING

from ledger import DecodeError, LedgerError
from protocols.errors import QuorumError
from protocols.tckks import ShamirSharing, trials

from .ceremony import PAIR_CHECK_BYTES, CeremonyState
from .messages import (
    ChangeCertificate,
    CommitteeChange,
    Complaint,
    KeyAccept,
    KeyAnswer,
    KeyCheck,
    KeyCommit,
    KeyDrop,
    KeyOpen,
    KeyReveal,
)
from .roster import member_number
from .rules import Effect, RuleError, require, rule

if TYPE_CHECKING:
    from .replay import Replay

__all__ = ["expected_answers"]


def _current(replay: "Replay", position: bytes) -> CeremonyState:
    ceremony = replay.ceremony
    which = f"{position.hex()[:16]} is of another ceremony than the newest one, {ceremony.position.hex()[:16]}"
    earlier = any(position == other.position for other in replay.ceremonies)  # overtaken by another announcement
    require(position == ceremony.position, which, hostile=not earlier)
    gone = f"the change to epoch {ceremony.epoch} was abandoned: a round opened before it was complete"
    require(not ceremony.abandoned, gone)
    return ceremony


def _dealer(ceremony: CeremonyState, sender: str) -> tuple[int, ...]:
    mine = ceremony.dealt_by(sender)
    require(mine, f"{sender} deals nothing in epoch {ceremony.epoch}", hostile=True)
    return mine


def _receiver(replay: "Replay", position: bytes, sender: str) -> CeremonyState:
    ceremony = _current(replay, position)
    member = sender in ceremony.committee.parties
    require(member, f"{sender} is not in the committee of epoch {ceremony.epoch}", hostile=True)
    return ceremony


@rule.register(KeyCommit)
def _(body: KeyCommit, replay: "Replay", sender: str, index: int) -> Effect:
    ceremony = _current(replay, body.ceremony)
    mine = _dealer(ceremony, sender)
    certified = ceremony.founding or ceremony.certified
    require(certified, "a commitment before the former committee certified the change")
    require(sender not in ceremony.commits, f"{sender} committed already", hostile=True)
    require(not ceremony.delivered and not ceremony.refused, "a commitment after the first reveal")
    require([part.addend for part in body.parts] == list(mine), f"{sender} deals addends {list(mine)}", hostile=True)
    size = 32 if ceremony.founding else 0
    require(all(len(p.part) == size for p in body.parts), f"a public part's digest has {size} bytes here", hostile=True)

    return lambda: ceremony.commits.update({sender: body})


@rule.register(KeyReveal)
def _(body: KeyReveal, replay: "Replay", sender: str, index: int) -> Effect:
    ceremony = _current(replay, body.ceremony)
    mine = _dealer(ceremony, sender)
    missing = ceremony.absent()
    require(not missing, f"a reveal before {', '.join(missing)} committed")
    require(ceremony.committed, "holders of an addend committed to different dealings, as many to one as to another")
    due = ceremony.due(sender)
    again = any(name == sender for addend, (name, _) in ceremony.delivered.items() if addend in body.addends)
    # in a change, whose turn it is follows from who committed, and from complaints: an honest dealer can be overtaken
    overtaken = not ceremony.founding and set(body.addends) <= set(mine) and not again
    require(due, f"no addend waits for {sender}", hostile=not overtaken)
    require(body.addends == due, f"{sender} is to deliver addends {list(due)}", hostile=not overtaken)
    return lambda: ceremony.delivered.update(dict.fromkeys(due, (sender, body)))


@rule.register(KeyCheck)
def _(body: KeyCheck, replay: "Replay", sender: str, index: int) -> Effect:
    ceremony = _receiver(replay, body.ceremony, sender)
    require(not ceremony.undelivered, "a check before every addend was delivered")
    require(sender not in ceremony.checks, f"{sender} checked already", hostile=True)
    known = ceremony.founding or body.joint_key == replay.joint_key_digest
    require(known, "a committee change keeps the joint key", hostile=True)
    count = ceremony.committee.sharing.pieces - 1 if isinstance(ceremony.committee.sharing, ShamirSharing) else 0
    formed = len(body.pairs) == count and all(len(pair) == PAIR_CHECK_BYTES for pair in body.pairs)
    require(formed, f"{sender} states {count} digests of {PAIR_CHECK_BYTES} bytes of keys in common", hostile=True)
    return lambda: ceremony.checks.update({sender: body})


@rule.register(Complaint)
def _(body: Complaint, replay: "Replay", sender: str, index: int) -> Effect:
    ceremony = _receiver(replay, body.ceremony, sender)
    require(not (replay.rounds if ceremony.founding else ceremony.ready), "a complaint after key generation")
    another = body.addend in ceremony.refused  # another member has complained about the same delivery
    delivered = ceremony.delivered.get(body.addend)
    if delivered is None:
        raise RuleError(f"addend {body.addend} was not delivered", hostile=not another)
    name, reveal = delivered
    about = f"the complaint is about another delivery of addend {body.addend} than that of {name}"
    require(body.deliveries == reveal.deliveries, about, hostile=not another)
    require(sender not in ceremony.checks, f"{sender} checked already", hostile=True)
    if ceremony.founding:
        require(sender not in ceremony.complaints, f"{sender} complained already")
        require(len(body.sealing_seed) in (0, 32), "a sealing key's seed has 32 bytes", hostile=True)
        return lambda: ceremony.complaints.update({sender: body})
    require(not body.sealing_seed, "no sealing key is opened in a committee change", hostile=True)

    def effect() -> None:
        del ceremony.delivered[body.addend]
        ceremony.refused.setdefault(body.addend, {})[name] = sender

    return effect


def expected_answers(ceremony: CeremonyState, name: str) -> tuple[tuple[int, int], ...]:
    """The trials and pieces of the dry run for which a member of the new committee answers."""
    sharing, number = ceremony.committee.sharing, member_number(name)
    return tuple((trial.number, piece) for trial in trials(sharing) for piece in trial.pieces_of(sharing, number))


@rule.register(KeyAnswer)
def _(body: KeyAnswer, replay: "Replay", sender: str, index: int) -> Effect:
    ceremony = _receiver(replay, body.ceremony, sender)
    pinned = replay.joint_key_digest is not None and ceremony.everyone_in(ceremony.checks)
    require(pinned, "an answer before every member pinned the same key")
    require(sender not in ceremony.answers, f"{sender} answered the test already", hostile=True)
    expected = expected_answers(ceremony, sender)
    given = tuple((a.trial, a.piece) for a in body.answers)
    require(given == expected, f"{sender} answers (trial, piece) {list(expected)}", hostile=True)
    return lambda: ceremony.answers.update({sender: body})


@rule.register(KeyAccept)
def _(body: KeyAccept, replay: "Replay", sender: str, index: int) -> Effect:
    ceremony = _receiver(replay, body.ceremony, sender)
    require(ceremony.everyone_in(ceremony.answers), "an acceptance before every member answered the test")
    require(not ceremony.disputed, "an acceptance although holders of a piece answered differently", hostile=True)
    require(not ceremony.unequal, "an acceptance although two pieces have no key in common", hostile=True)
    require(body.joint_key == replay.joint_key_digest, "an acceptance of another key", hostile=True)
    require(sender not in ceremony.accepts, f"{sender} accepted already", hostile=True)
    opened = sender in ceremony.opens or (ceremony.founding and sender in ceremony.complaints)
    require(not opened, f"{sender} has given this key up", hostile=True)

    def effect() -> None:
        ceremony.accepts[sender] = body
        ceremony.accepted = index

    return effect


@rule.register(KeyOpen)
def _(body: KeyOpen, replay: "Replay", sender: str, index: int) -> Effect:
    ceremony = _current(replay, body.ceremony)
    require(ceremony.founding, "nobody opens seeds in a committee change", hostile=True)
    mine = _dealer(ceremony, sender)
    require(ceremony.everyone_in(ceremony.answers), "seeds opened before every member answered the test", hostile=True)
    require(not ceremony.ready, "seeds opened of a key that everybody accepted", hostile=True)
    require(sender not in ceremony.accepts, f"{sender} accepted this key", hostile=True)
    require(sender not in ceremony.opens, f"{sender} opened its seeds already")
    require([s.addend for s in body.seeds] == list(mine), f"{sender} deals addends {list(mine)}", hostile=True)
    return lambda: ceremony.opens.update({sender: body})


@rule.register(CommitteeChange)
def _(body: CommitteeChange, replay: "Replay", sender: str, index: int) -> Effect:
    plan, former, current = replay.known.plan, replay.committee, replay.current
    require(replay.ceremonies[0].ready, "a committee change before key generation is complete")
    require(current is None or current.finished, "a committee change while a round is open")
    require(body.epoch == former.epoch + 1, f"epoch {former.epoch + 1} is next", hostile=True)
    changes = len(replay.ceremonies) - 1
    require(changes < plan.committee_changes, f"the plan has {plan.committee_changes} changes", hostile=True)
    try:
        earlier = [ceremony.committee for ceremony in replay.ceremonies]
        committee = replay.known.next_committee(body.epoch, body.threshold, body.parties, earlier, replay.used)
        if isinstance(former.sharing, ShamirSharing):
            fitting = tuple(former.sharing.assignment(body.active)) == body.active
        else:
            fitting = body.active == ()
    except (ValueError, DecodeError, QuorumError) as exc:
        raise RuleError(f"not a committee: {exc}", hostile=True) from exc
    require(fitting, "the active members are t of the former ones in Shamir's sharing, else none", hostile=True)
    admitted = plan.noise_budget.admits(committee.sharing)
    require(admitted, "openings of this committee would hold more noise than the plan's scale", hostile=True)

    def effect() -> None:
        replay.ceremonies.append(CeremonyState(committee, replay.root(), former, body.active, index))
        for party in body.parties:
            replay.admit(party, index)

    return effect


@rule.register(ChangeCertificate)
def _(body: ChangeCertificate, replay: "Replay", sender: str, index: int) -> Effect:
    """The first certificate lets former members deal; the second, of all acceptances, puts the new ones in office.

    Former members cosign one history only. So no two forks get a certificate from the same ones, and no history has a
    round that they certified while another has a successor in office.
    """
    ceremony = _current(replay, body.ceremony)
    if ceremony.former is None:
        raise RuleError("key generation needs no certificate", hostile=True)
    complete = ceremony.everyone_in(ceremony.accepts)
    require(not ceremony.certified or complete, "this change was certified already", hostile=True)
    require(not ceremony.confirmed, "this change was certified to its end already", hostile=True)
    last = ceremony.accepted if ceremony.certified else ceremony.index
    try:
        checkpoint = ceremony.former.policy.verify(body.certificate).checkpoint
    except LedgerError as exc:
        raise RuleError(f"the change's certificate does not verify: {exc}", hostile=True) from exc
    require(last < checkpoint.size <= index, "the certificate does not cover the change", hostile=True)
    require(checkpoint.root == replay.root(checkpoint.size), "the certificate is of another log", hostile=True)

    def effect() -> None:
        if ceremony.certified:
            ceremony.confirmed = True
            replay.committees.append(ceremony.committee)
        ceremony.certified = True

    return effect


@rule.register(KeyDrop)
def _(body: KeyDrop, replay: "Replay", sender: str, index: int) -> Effect:
    held = next((c for c in replay.committees if sender in c.parties), None)
    if held is None or held is replay.committee:
        raise RuleError(f"{sender} is not of a former committee", hostile=True)
    ceremony = replay.ceremony_of(held.epoch)
    require(
        body.ceremony == ceremony.position, f"{sender} drops what is of another ceremony than its own", hostile=True
    )
    dropped = ceremony.drops
    require(sender not in dropped, f"{sender} dropped its pieces already")
    return lambda: dropped.update({sender: body})
