"""The rules of what every party may write: rotation and revocation of signing keys, and audits of the mechanism.

Spec: round §3.4, §3.7 (v1). Note keys and sealing keys change with the committee only.
"""

from typing import TYPE_CHECKING

from ledger import SignatureError

from .evidence import evidence_of
from .messages import KeyClaim, KeyRevocation, KeyRotation, PrivacyAudit
from .possession import verify_claim
from .rules import Effect, RuleError, require, rule
from .standing import MAX_ROTATIONS
from .state import Audited

if TYPE_CHECKING:
    from .replay import Replay

__all__: list[str] = []

_MAX_AUDITS = 4  # of one party; a report lists them all


def _check_new(replay: "Replay", claim: KeyClaim) -> None:
    require(claim.key not in replay.used, "the new key was used before: every key is new", hostile=True)
    try:
        verify_claim(replay.context, claim)
    except SignatureError as exc:
        raise RuleError(f"nobody shows that {claim.party} holds the new key: {exc}", hostile=True) from exc


def _withdraw(replay: "Replay", voter: str) -> None:
    """Votes of a party whose key was revoked are not counted: the key may have been another's when they were cast."""
    for standing in replay.standings.values():
        standing.ballots.pop(voter, None)


@rule.register(KeyRotation)
def _(body: KeyRotation, replay: "Replay", sender: str, index: int) -> Effect:
    standing = replay.standings[sender]
    require(body.number == standing.number, f"{sender} has key {standing.number}", hostile=True)
    full = f"{sender} rotated {MAX_ROTATIONS} times since its key was admitted: members must vote for another one"
    require(standing.number - standing.lineage < MAX_ROTATIONS, full, hostile=True)
    _check_new(replay, KeyClaim(sender, body.number, body.key, body.proof))

    def effect() -> None:
        standing.rotate(body.key, index)
        replay.used.add(body.key)

    return effect


@rule.register(KeyRevocation)
def _(body: KeyRevocation, replay: "Replay", sender: str, index: int) -> Effect:
    if body.party == sender:
        return _own(body, replay, index)
    standing, office = replay.standings.get(body.party), replay.committee
    if standing is None:
        raise RuleError(f"{body.party!r:.40} is not a party of this federation", hostile=True)
    former = any(sender in committee.parties for committee in replay.committees)
    absent = f"{sender} is not in the committee of epoch {office.epoch}"
    require(sender in office.parties, absent, hostile=not former)
    unknown = f"{body.party} has no key {body.number}"
    require(body.number >= 0, unknown, hostile=True)
    require(body.number <= standing.number, unknown)  # an honest voter may know a longer history, which was lost since
    require(body.number >= standing.lineage, f"{body.party} was admitted again, with key {standing.lineage}")
    if body.key or body.proof:
        require(len(body.key) == 32 and len(body.proof) == 64, "a key has 32 bytes, its proof 64", hostile=True)
        known = any(body.key == key.public for key in standing.keys)
        require(not known, f"{body.party} has this key already")  # it rotated to the key that it had claimed
        _check_new(replay, KeyClaim(body.party, body.number, body.key, body.proof))
    else:
        require(standing.in_force, f"key {standing.number} of {body.party} was revoked already")
    require(standing.ballots.get(sender) != body.key, f"{sender} voted for this already", hostile=True)
    require((sender, body) not in standing.heard, f"{sender} said this before, word by word; it changed its mind since")

    def effect() -> None:
        standing.ballots[sender] = body.key
        standing.heard.add((sender, body))
        if standing.support(body.key, office.parties) < office.policy.needed:
            return
        standing.revoke(index)
        _withdraw(replay, body.party)
        if body.key:
            standing.admit(body.key, index)
            replay.used.add(body.key)

    return effect


def _own(body: KeyRevocation, replay: "Replay", index: int) -> Effect:
    standing = replay.standings[body.party]
    require(body.number == standing.number, f"{body.party} has key {standing.number}", hostile=True)
    require(not body.key and not body.proof, "a party replaces its own key by a rotation", hostile=True)

    def effect() -> None:
        standing.revoke(index)
        _withdraw(replay, body.party)

    return effect


@rule.register(PrivacyAudit)
def _(body: PrivacyAudit, replay: "Replay", sender: str, index: int) -> Effect:
    try:
        evidence_of(body)
    except (TypeError, ValueError) as exc:
        raise RuleError(f"impossible evidence of an audit: {exc}", hostile=True) from exc
    done = sum(audited.sender == sender for audited in replay.audits)
    require(done < _MAX_AUDITS, f"{sender} has {_MAX_AUDITS} audits on the ledger", hostile=True)
    return lambda: replay.audits.append(Audited(index, sender, body))
