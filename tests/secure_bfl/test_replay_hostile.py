"""The round machine on hostile bytes: it never raises, and nothing void has an effect."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import (
    Log,
    MemoryBlobs,
    MemoryStore,
    Value,
)
from secure_bfl.board import Board
from secure_bfl.errors import StateError
from secure_bfl.messages import (
    BODIES,
    Kind,
    Role,
)
from secure_bfl.replay import Replay
from tests.secure_bfl.federation import digest
from tests.secure_bfl.script import Script, State, check_ignored

# A board admits what replay accepts, and nothing else.


def test_a_board_appends_only_what_counts(script: Script) -> None:
    log = Log(MemoryStore(), script.log.origin, script.identities["operator"].note)
    log.append_all([step.data for step in script.steps[:3]])
    board = Board(log, MemoryBlobs())
    step = script.steps[1]
    with pytest.raises(
        StateError, match="member-1: KEY_COMMIT is not allowed now: member-1 committed already"
    ) as caught:
        board.append(step.body, step.sender, script.identities[step.sender].signing)
    assert caught.value.culprits == ("member-1",)
    assert (log.size, board.replay.size) == (3, 3)
    assert board.append(script.steps[3].body, "member-3", script.identities["member-3"].signing) == 3
    assert (log.size, board.replay.size) == (4, 4)


# Hostile bytes.


@given(st.data())
@settings(max_examples=60)
def test_any_change_of_an_entry_makes_it_void(script: Script, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(script.steps) - 1), label="entry")
    entry = bytearray(script.steps[index].data)
    at = data.draw(st.integers(0, len(entry) - 1), label="byte")
    entry[at] ^= data.draw(st.integers(1, 255), label="mask")
    check_ignored(script.replay(index), bytes(entry))


@given(st.data())
@settings(max_examples=25)
def test_reordered_doubled_and_missing_entries_never_raise(script: Script, data: st.DataObject) -> None:
    order = data.draw(st.lists(st.integers(0, len(script.steps) - 1), max_size=40), label="order")
    genesis = data.draw(st.booleans(), label="genesis first")
    replay = Replay()
    for index in [0, *order] if genesis else order:
        accepted = replay.refuses(script.steps[index].data) is None
        ignored = len(replay.ignored)
        replay.apply(script.steps[index].data)
        assert (len(replay.ignored) == ignored) is accepted


VALUES: st.SearchStrategy[Value] = st.recursive(
    st.integers(-(2**64), 2**64 - 1)
    | st.binary(max_size=40)
    | st.sampled_from([bytes(32), digest("x")])
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.integers(-5, 5), inner, max_size=2),
    max_leaves=12,
)


@given(st.data())
@settings(max_examples=60)
def test_well_signed_nonsense_never_raises(script: Script, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(script.steps)), label="after")
    kind = data.draw(st.sampled_from(sorted(BODIES)), label="kind")
    name = data.draw(st.sampled_from(sorted(script.identities)), label="sender")
    fields = len(dataclasses.fields(BODIES[kind]))  # type: ignore[arg-type]  # every body is a dataclass
    value = data.draw(st.lists(VALUES, min_size=fields, max_size=fields) | VALUES, label="body")
    replay = script.replay(index)
    before = State.of(replay)
    entry = script.sign_value(kind, value, name, context=b"" if kind == Kind.GENESIS else None)
    accepted = replay.refuses(entry) is None
    replay.apply(entry)
    assert accepted is not (State.of(replay) == before)
    assert replay.size == index + 1


def test_every_role_is_used(script: Script) -> None:
    assert {identity.role for identity in script.identities.values()} == set(Role)
