"""The round machine on hostile entries: at any point of a legal run, under good signatures of any party."""

import copy
from collections.abc import Sequence
from functools import cache
from random import Random

from ledger import LedgerError, SigningKey, parse_entry, sign_entry
from secure_bfl.messages import BODIES, BlobRelease, KeyRevocation, KeyRotation, Kind
from secure_bfl.possession import claim_key
from secure_bfl.replay import Replay
from tests.fuzz.federation_targets import body_of, plan
from tests.fuzz.ledger_targets import CBOR_MULTIPLE
from tests.fuzz.mutation import altered, altered_value
from tests.fuzz.target import Target
from tests.secure_bfl.script import Script

__all__ = ["REPLAY_TARGETS"]


class VoidError(Exception):
    """The machine ignored an entry, and said why."""


@cache
def script() -> Script:
    return Script(plan())


@cache
def stages() -> tuple[Replay, ...]:
    """The state after every number of entries of the run, from none to all. Not to be changed."""
    replay, states = Replay(), [Replay()]
    for step in script().steps:
        replay.apply(step.data)
        states.append(copy.deepcopy(replay))
    return tuple(states)


def apply_entry(data: bytes) -> None:
    """The first byte is the number of legal entries before; the rest is the entry."""
    before = stages()[data[0] % len(stages()) if data else 0]
    size, ignored = before.size, len(before.ignored)
    reason = before.refuses(data[1:])
    assert (before.size, len(before.ignored)) == (size, ignored), "refuses() changed something"
    if reason is not None and data[-2:-1] > b"\x10":  # one in sixteen is applied, to see that it is only listed
        raise VoidError(reason)
    after = copy.deepcopy(before)
    after.apply(data[1:])
    assert after.size == size + 1
    if reason is not None:
        assert [listed.reason for listed in after.ignored[ignored:]] == [reason]
        assert (after.context, len(after.rounds)) == (before.context, len(before.rounds))
        raise VoidError(reason)
    assert len(after.ignored) == ignored
    entry = parse_entry(data[1:])
    assert entry.sender in script().identities
    again = BODIES[entry.kind].from_value(entry.body)
    assert again.to_value() == entry.body


def entry_seeds() -> Sequence[bytes]:
    run = script()
    claim = claim_key(run.context, "client-1", 0, SigningKey.from_seed(bytes(range(32))))
    after = [
        run.sign(KeyRotation(0, claim.key, claim.proof), "client-1"),
        run.sign(KeyRevocation("operator", 0, b"", b"", "lost"), "operator"),
        run.sign(KeyRevocation("client-1", 0, claim.key, claim.proof, "lost"), "member-1"),
        run.sign(BlobRelease(1, stages()[-1].rounds[0].closing), "operator"),
    ]
    legal = [bytes([number]) + step.data for number, step in enumerate(run.steps)]
    return [*legal, *(bytes([len(legal)]) + data for data in after)]


def resigned(rng: Random, data: bytes) -> bytes:
    """Another body under a good signature, by its sender or by somebody else, now or at another time."""
    run, number = script(), data[0] if data else 0
    if rng.random() < 0.2:
        number = rng.randrange(len(run.steps) + 1)
    sender = rng.choice(sorted(run.identities))
    if rng.random() < 0.2:
        kind, value = rng.choice([(kind, body_of(cls).to_value()) for kind, cls in BODIES.items()])
    else:
        try:
            entry = parse_entry(data[1:])
        except LedgerError:
            return altered(rng, data)
        kind, value = entry.kind, entry.body
        sender = sender if rng.random() < 0.1 else entry.sender
    if rng.random() < 0.9:
        value = altered_value(rng, value)
    key = run.identities[sender].signing if sender in run.identities else run.identities["operator"].signing
    context = b"" if kind == Kind.GENESIS else run.context
    try:
        return bytes([number]) + sign_entry(kind, sender, value, key, context=context)
    except ValueError:
        return altered(rng, data)


def apply_sequence(data: bytes) -> None:
    """Every byte is the number of an entry of the legal run: in any order, doubled, or left out."""
    run, replay = script(), Replay()
    for number in data[:40]:
        entry = run.steps[number % len(run.steps)].data
        reason = replay.refuses(entry)
        ignored = len(replay.ignored)
        replay.apply(entry)
        assert len(replay.ignored) - ignored == (reason is not None)
    if replay.ignored:
        raise VoidError(replay.ignored[0].reason)


def sequence_seeds() -> Sequence[bytes]:
    return [bytes(range(length)) for length in (1, 10, 25, 40)]


REPLAY_TARGETS = (
    Target(
        "replay.entry", apply_entry, (VoidError,), entry_seeds, resigned, share=3, slack=1 << 19, multiple=CBOR_MULTIPLE
    ),
    Target("replay.sequence", apply_sequence, (VoidError,), sequence_seeds, share=0.1, slack=1 << 20),
)
