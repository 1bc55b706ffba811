"""Replay is total and deterministic: any sequence of entries, in any storage, on any machine, gives one state.

It counts in integers, has no clock, and what it keeps on the ledger does not grow with the model.
"""

import ast
import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import secure_bfl
from ledger import Log, MemoryStore, SigningKey, SqliteStore, parse_entry
from ledger.store import Store
from protocols.dp import Mode
from secure_bfl.messages import BODIES, BlobRelease, Genesis, KeyRevocation, KeyRotation, Kind, PrivacyAudit
from secure_bfl.plan import FederationPlan
from secure_bfl.possession import claim_key
from secure_bfl.replay import Ignored, Replay
from secure_bfl.rules import rule
from secure_bfl.training import settings as settings_of
from tests.secure_bfl.federation import digest
from tests.secure_bfl.script import Script, State

pytestmark = pytest.mark.filterwarnings("error")

KEYS = [SigningKey.from_seed(digest("another key", number)) for number in range(3)]


@dataclass(frozen=True)
class Everything:
    """All that a replay holds."""

    state: State
    ignored: list[Ignored]
    seen: frozenset[bytes]
    size: int
    root: bytes

    @classmethod
    def of(cls, replay: Replay) -> "Everything":
        return cls(State.of(replay), list(replay.ignored), frozenset(replay.seen), replay.size, replay.root())


def keys_entry(script: Script, draw: st.DrawFn) -> bytes:
    """A rotation, a revocation, a vote, a release or an audit: right or wrong, by anybody, with any key."""
    names = sorted(script.identities)
    party, sender = draw(st.sampled_from(names)), draw(st.sampled_from(names))
    number, new = draw(st.integers(-1, 3)), draw(st.sampled_from(KEYS))
    signer = draw(st.sampled_from([script.identities[sender].signing, *KEYS]))
    claim = claim_key(script.context, draw(st.sampled_from([party, sender])), number, new)
    closed = digest("closed", number)
    body = draw(
        st.sampled_from(
            [
                KeyRotation(number, claim.key, claim.proof),
                KeyRevocation(party, number, b"", b"", "lost"),
                KeyRevocation(party, number, claim.key, claim.proof, "lost"),
                KeyRevocation(sender, number, b"", b"", "lost"),
                BlobRelease(number, closed),
                PrivacyAudit(1000, 10**7, 9, 5, number + 2, 0, 1, 1, 1, 1, ()),
            ]
        )
    )
    return script.sign(body, sender, key=signer)


@st.composite
def sequences(draw: st.DrawFn, script: Script) -> list[bytes]:
    """A legal run up to somewhere, into which other entries are mixed, and then anything."""
    legal = [step.data for step in script.steps]
    entries = legal[: draw(st.integers(0, len(legal)))]
    count = draw(st.integers(1, 12))
    for _ in range(count):
        which = draw(st.sampled_from(["legal", "changed", "foreign", "role", "key", "key", "key", "bytes"]))
        index = draw(st.integers(0, len(legal) - 1))
        step = script.steps[index]
        match which:
            case "legal":
                data = step.data
            case "changed":
                spoiled = bytearray(step.data)
                spoiled[draw(st.integers(0, len(spoiled) - 1))] ^= draw(st.integers(1, 255))
                data = bytes(spoiled)
            case "foreign":
                data = script.sign(step.body, step.sender, context=digest("another federation"))
            case "role":
                data = script.sign(step.body, draw(st.sampled_from(sorted(script.identities))))
            case "key":
                data = keys_entry(script, draw)
            case _:
                data = draw(st.binary(min_size=1, max_size=60))
        entries.insert(draw(st.integers(0, len(entries))), data)
    return entries


def run(entries: Sequence[bytes]) -> Replay:
    replay = Replay()
    for data in entries:
        replay.apply(data)
    return replay


@given(st.data())
@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], derandomize=True)
def test_any_sequence_replays_and_every_prefix_is_the_state_on_the_way(script: Script, data: st.DataObject) -> None:
    entries = data.draw(sequences(script), label="entries")
    way: list[Everything] = []
    running = Replay()
    for entry in entries:
        refused = running.refuses(entry)
        listed = len(running.ignored)
        running.apply(entry)
        assert len(running.ignored) - listed == (refused is not None)
        way.append(Everything.of(running))
    assert Everything.of(run(entries)) == way[-1]
    cut = data.draw(st.integers(1, len(entries)), label="prefix")
    assert Everything.of(run(entries[:cut])) == way[cut - 1]


@given(st.data())
@settings(max_examples=25, derandomize=True)
def test_signing_keys_keep_their_invariants(script: Script, data: st.DataObject) -> None:
    """At any time a party has one key in force or none, and no key is anybody's twice."""
    replay = run(data.draw(sequences(script), label="entries"))
    publics = [key.public for standing in replay.standings.values() for key in standing.keys]
    assert len(set(publics)) == len(publics)
    for standing in replay.standings.values():
        assert all(key.until is not None for key in standing.keys[:-1])
        assert 0 <= standing.lineage <= standing.number
        assert [key.since for key in standing.keys] == sorted(key.since for key in standing.keys)
        assert set(standing.ballots.items()) <= {(voter, body.key) for voter, body in standing.heard}


# Storage.


def memory(folder: Path) -> Store:
    return MemoryStore()


def sqlite(folder: Path) -> Store:
    return SqliteStore(folder / "log.sqlite", create=True)


@pytest.mark.parametrize("store", [memory, sqlite], ids=lambda made: made.__name__)
def test_every_storage_gives_one_state(script: Script, tmp_path: Path, store: Callable[[Path], Store]) -> None:
    """A run with late, double, foreign and out-of-role entries, written to a store, and read back from it."""
    legal = [step.data for step in script.steps]
    spend = script.steps[script.first(BODIES[Kind.BUDGET_SPEND])]
    other = [
        legal[script.first(BODIES[Kind.UPDATE_COMMIT])],
        script.sign(spend.body, spend.sender, context=digest("another federation")),
        script.sign(spend.body, "member-1"),
        b"\xff" * 9,
    ]
    entries = [*legal, *other]
    log = Log(store(tmp_path), script.log.origin, script.identities["operator"].note)
    log.append_all(entries[:50])
    for data in entries[50:]:
        log.append(data)
    log.close()
    if store is memory:
        reopened, ours = entries, log.root(len(entries))
    else:
        again = Log(store(tmp_path), script.log.origin, script.identities["operator"].note)
        reopened, ours = list(again.entries()), again.root(len(entries))
        again.close()
    read, direct = run(reopened), run(entries)
    assert Everything.of(read) == Everything.of(direct)
    assert read.root() == ours
    assert [entry.index for entry in read.ignored] == list(range(len(legal), len(entries)))


# What replay may use.

PURE = ("rules", "round_rules", "key_rules", "party_rules", "replay", "state", "standing", "ceremony", "disputes")


@pytest.mark.parametrize("name", PURE)
def test_replay_counts_in_integers_and_has_no_clock(name: str) -> None:
    folder = Path(secure_bfl.__file__).parent
    tree = ast.parse((folder / f"{name}.py").read_text(encoding="utf-8"))
    forbidden = {"time", "datetime", "random", "secrets", "os", "pathlib", "math", "numpy", "socket", "threading"}
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                assert not forbidden & {alias.name.partition(".")[0] for alias in names}
            case ast.ImportFrom(module=str(module), level=0):
                assert module.partition(".")[0] not in forbidden
            case ast.Constant(value=float() | complex()):
                pytest.fail(f"{name}, line {node.lineno}: a number that is no integer")
            case ast.BinOp(op=ast.Div()):
                pytest.fail(f"{name}, line {node.lineno}: a division that is not exact")
            case ast.Name(id="float" | "complex" | "hash" | "id" | "open" as used):
                pytest.fail(f"{name}, line {node.lineno}: {used}")


def test_every_rule_is_in_a_module_that_was_looked_at() -> None:
    homes = {found.__module__.rpartition(".")[2] for found in rule.registry.values()}
    assert {"key_rules", "party_rules", "round_rules"} <= homes <= set(PURE)
    judged = {body for body in rule.registry if body in BODIES.values()}
    assert judged == set(BODIES.values()) - {Genesis}, "the genesis is judged by replay itself"


# Bytes on the ledger.

GROWING = {  # fields whose size depends on how many parties, other runs or failed checks there are, never on the model
    "Genesis.plan", "Genesis.parties", "KeyCommit.parts", "KeyReveal.addends", "KeyCheck.pairs", "KeyAnswer.answers",
    "KeyOpen.seeds", "CommitteeChange.parties", "CommitteeChange.active", "ChangeCertificate.certificate",
    "RoundClose.cohort", "DecryptionRequest.active", "DecryptionRequest.certificate", "PieceCheck.fingerprints",
    "UpdateCommit.data", "Complaint.sealing_seed", "KeyRevocation.key", "KeyRevocation.proof", "KeyRevocation.party",
    "KeyRevocation.reason", "RoundVoid.reason", "Genesis.origin", "BudgetSpend.others", "PrivacyAudit.structural",
}  # fmt: skip


def test_no_field_of_an_entry_grows_with_the_model() -> None:
    """Every field is an integer or a digest, or is on the list above; a dense update has no data, by the rules."""
    open_ended = {
        f"{cls.__name__}.{field.name}"
        for cls in BODIES.values()
        for field in dataclasses.fields(cls)  # type: ignore[arg-type]  # every body is a dataclass
        if (field.type in (bytes, str, "bytes", "str") or "tuple" in str(field.type))
    }
    assert open_ended == GROWING


def plan_of(features: int) -> FederationPlan:
    """A plan of features x 10 + 10 parameters."""
    training = dataclasses.replace(settings_of("digits", Mode.DISTRIBUTED), record_shape=(features,))
    return FederationPlan.create(
        "digits", clients=3, members=4, threshold=2, rounds=2, minimum_clients=2, training=training
    )


def test_entries_do_not_grow_with_the_model() -> None:
    """Signed entries of the same run with 10^3, 5 * 10^6 and 10^7 parameters: as many bytes, one by one.

    The genesis states the plan, whose integers have other lengths. Fingerprints have a few words for each prime of the
    ring: they depend on the ring, of which there are three, and not on the number of parameters.
    """
    small, medium, large = (Script(plan_of(features)) for features in (99, 499_999, 999_999))
    assert [run.plan.parameters for run in (small, medium, large)] == [10**3, 5 * 10**6, 10**7]
    assert small.plan.suite != medium.plan.suite == large.plan.suite
    assert different_sizes(medium, large) <= {Kind.GENESIS}
    assert different_sizes(small, large) <= {Kind.GENESIS, Kind.PIECE_CHECK}
    largest = max(len(step.data) for step in large.steps[1:])
    assert largest < 4096


def different_sizes(one: Script, other: Script) -> set[Kind]:
    kinds = [Kind(parse_entry(step.data).kind) for step in one.steps]
    assert kinds == [Kind(parse_entry(step.data).kind) for step in other.steps]
    pairs = zip(kinds, one.steps, other.steps, strict=True)
    return {kind for kind, ours, theirs in pairs if len(ours.data) != len(theirs.data)}
