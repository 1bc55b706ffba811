"""Readers of the package `secure_bfl`: bodies, plans, models, sealed seeds, reports, and each party's own files."""

import json
import struct
from collections.abc import Iterator, Sequence
from enum import IntEnum
from functools import cache
from pathlib import Path
from random import Random
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import numpy as np

from ledger import DecodeError as LedgerDecodeError
from ledger import StoreError, Value, cbor
from protocols.dp import PrivacyEvent
from protocols.errors import CapacityError, DecodeError, KeyGenerationError, PrivacyError
from secure_bfl.errors import ChainError, KeystoreError, OutputError, StateError
from secure_bfl.journal import SqliteJournal
from secure_bfl.keystore import Keystore, _parse
from secure_bfl.messages import BODIES, Body
from secure_bfl.model import GlobalModel, linear_layout, parameters_of
from secure_bfl.odometer import Budget, FileOdometer
from secure_bfl.odometer.lines import START, Opening, encode_line
from secure_bfl.plan import FederationPlan
from secure_bfl.report import compare
from secure_bfl.sealing import PUBLIC_KEY_BYTES, SealingKey, check_public_key, seal
from secure_bfl.workspace import Workspace
from tests.fuzz.file_targets import file_of
from tests.fuzz.folder import emptied
from tests.fuzz.ledger_targets import CBOR_MULTIPLE, other_cbor
from tests.fuzz.mutation import altered, altered_value
from tests.fuzz.target import Target

# Bodies


def sample(hint: Any) -> Any:
    """A value that a field of this type can have."""
    origin = get_origin(hint)
    if origin is Annotated:
        return bytes(get_args(hint)[1])
    if origin is tuple:
        return (sample(get_args(hint)[0]),) * 2
    if isinstance(hint, type) and issubclass(hint, Body):
        return body_of(hint)
    if isinstance(hint, type) and issubclass(hint, IntEnum):
        return next(iter(hint))
    samples: dict[Any, Any] = {int: 1, str: "member-1", bytes: b"bytes"}
    return samples[hint]


def body_of(cls: type[Body]) -> Body:
    hints = get_type_hints(cls, include_extras=True)
    fields = {name: sample(hint) for name, hint in hints.items() if name != "kind"}
    return cls(**fields)


def read_body(data: bytes) -> None:
    """The first byte is the kind; the rest is the body's encoding."""
    cls = BODIES.get(data[0]) if data else None
    if cls is None:
        raise LedgerDecodeError("no such kind")
    body = cls.from_value(cbor.decode(data[1:]))
    assert cbor.encode(body.to_value()) == data[1:]
    assert hash(body) == hash(cls.from_value(body.to_value()))


def body_seeds() -> Sequence[bytes]:
    return [bytes([kind]) + cbor.encode(body_of(cls).to_value()) for kind, cls in BODIES.items()]


def other_body(rng: Random, data: bytes) -> bytes:
    return data[:1] + other_cbor(rng, data[1:])


# Plans


@cache
def plan() -> FederationPlan:
    return FederationPlan.create("digits", clients=3, members=4, threshold=2, rounds=2, minimum_clients=2)


def read_plan(data: bytes) -> None:
    found = FederationPlan.decode(data)
    assert found.encode() == data
    assert found.blocks >= 1
    assert found.smudging_lambda >= 40
    assert found.round_event.steps == found.local_steps


def plan_seeds() -> Sequence[bytes]:
    shamir = FederationPlan.create("digits", clients=20, members=12, threshold=7, rounds=3)
    return [plan().encode(), shamir.encode()]


def other_plan(rng: Random, data: bytes) -> bytes:
    """Numbers that are near to, or far from, what they were: most of them pass the check of types."""
    try:
        value = cbor.decode(data)
    except LedgerDecodeError:
        return altered(rng, data)
    if not isinstance(value, list) or not value or rng.random() < 0.2:
        return other_cbor(rng, data)
    fields: list[Value] = list(value)
    for _ in range(rng.choice((1, 1, 2, 3))):
        at = rng.randrange(len(fields))
        number = fields[at]
        if isinstance(number, int):
            fields[at] = rng.choice((0, 1, 2, number * 2, number // 2, number * 1000, 10**6, 2**31, 2**62, 2**63 - 1))
    return cbor.encode([min(max(f, -(2**64)), 2**64 - 1) if isinstance(f, int) else f for f in fields])


# Models

LAYOUT = linear_layout(6, 3)


def read_model(data: bytes) -> None:
    model = GlobalModel.decode(data, LAYOUT)
    assert model.encode() == data
    assert np.isfinite(model.vector).all()


def model_seeds() -> Sequence[bytes]:
    size = parameters_of(LAYOUT)
    return [
        GlobalModel(LAYOUT, np.linspace(-3, 3, size)).encode(),
        GlobalModel.zero(LAYOUT).encode(),
    ]


def other_model(rng: Random, data: bytes) -> bytes:
    """A header of other tensors under its right length, or numbers that are none."""
    size = int.from_bytes(data[:8], "little") if len(data) >= 8 else 0
    head, body = data[8 : 8 + size], bytearray(data[8 + size :])
    if rng.random() < 0.3 and len(body) >= 4:
        struct.pack_into(
            "<f", body, 4 * rng.randrange(len(body) // 4), rng.choice((float("nan"), float("inf"), 1e-40, -0.0))
        )
        return data[: 8 + size] + bytes(body)
    words = (
        b"F32",
        b"F64",
        b"F16",
        b"BF16",
        b"BOOL",
        b"U8",
        b"I64",
        b"F8_E4M3",
        b"weight",
        b"bias",
        b"[3,6]",
        b"[18]",
        b"[6,3]",
    )
    old, new = (
        rng.choice(words),
        rng.choice((*words, b"[]", b"[0]", b"[-1,2]", b"[4294967296,4294967296]", b"bias2", b"__metadata__")),
    )
    head = head.replace(old, new, 1) if rng.random() < 0.7 else altered(rng, head)
    if rng.random() < 0.5:
        head += b" " * (-len(head) % 8)
    return len(head).to_bytes(8, "little") + head + bytes(body)


# Sealed seeds

INFO = b"secure-bfl/fuzz"


@cache
def sealing_key() -> SealingKey:
    return SealingKey.from_seed(bytes(range(32)))


@cache
def sealed() -> bytes:
    return seal(bytes(32), sealing_key().public, info=INFO)


def open_sealed(data: bytes) -> None:
    assert sealing_key().open(data, info=INFO, sender="member-1") == bytes(32)
    assert data == sealed()


def read_sealing_key(data: bytes) -> None:
    check_public_key(data)
    assert len(data) == PUBLIC_KEY_BYTES


# A published report


@cache
def report() -> dict[str, Any]:
    return {
        "budget": {"epsilon": 8.0, "delta": 1e-5, "spent": 3.25, "exceeded": False},
        "rounds": [{"number": 1, "clients": 3, "note": None}, {"number": 2, "clients": 2, "note": "void"}],
        "schema": "budget-report/v1",
        "curve": [0.5, 1, 2.5e-9],
    }


def read_report(data: bytes) -> None:
    theirs = json.loads(data)
    differences = compare(report(), theirs)
    assert all(isinstance(line, str) for line in differences)
    if not differences:
        assert theirs["budget"]["delta"] == 1e-5
        assert abs(theirs["budget"]["spent"] - 3.25) < 1e-5
        assert len(theirs["rounds"]) == 2


def report_seeds() -> Sequence[bytes]:
    return [json.dumps(report()).encode()]


def other_report(rng: Random, data: bytes) -> bytes:
    tokens = (b"8.0", b"1e-05", b"3.25", b"false", b"1", b"2", b"null", b'"void"', b"[", b"]", b"{", b"}")
    wild = (
        *tokens,
        b"NaN",
        b"Infinity",
        b"1e999",
        b"-0.0",
        b"1" * 400,
        b"1" * 5000,
        b"[" * 900,
        b"{}",
        b"true",
        b'"\\ud800"',
    )
    return data.replace(rng.choice(tokens), rng.choice(wild), rng.choice((1, 1, 1, -1)))


# A party's own files

PASSPHRASE = "correct horse"


@cache
def keystore_bytes() -> bytes:
    """One file, with a salt and a nonce of the operating system: its seeds are equal within a process only."""
    path = emptied("seed") / "keystore"
    Keystore.create(path, PASSPHRASE, {"signing": bytes(32), "sealing": bytes(range(32))})
    return path.read_bytes()


def open_keystore(data: bytes) -> None:
    path = emptied("keystore") / "keystore"
    path.write_bytes(data)
    store = Keystore.open(path, PASSPHRASE)
    assert store.get("sealing") == bytes(range(32))
    assert data == keystore_bytes()


def read_keystore_content(data: bytes) -> None:
    """What is inside, once it is decrypted."""
    secrets = _parse(cbor.decode(data))
    assert all(isinstance(name, str) and isinstance(secret, bytes) for name, secret in secrets.items())


def keystore_content_seeds() -> Sequence[bytes]:
    return [cbor.encode([["note", bytes(32)], ["signing", b"secret"]]), cbor.encode([])]


def read_journal(data: bytes) -> None:
    path = emptied("journal") / "journal.sqlite"
    path.write_bytes(data)
    journal = SqliteJournal(path)
    try:
        assert journal.count("update/") >= 0
        kept = journal.get("update/1")
        journal.claim("update/1", b"one" if kept is None else kept)
        journal.claim("update/new", b"new")
    finally:
        journal.close()


def journal_seeds() -> Sequence[bytes]:
    path = emptied("seed") / "journal.sqlite"
    journal = SqliteJournal(path)
    for number in range(20):
        journal.claim(f"update/{number}", b"one" * number)
    journal.close()
    return [file_of(path)]


EVENT = PrivacyEvent(noise_multiplier_milli=4000, sampling_rate_ppm=10_000, steps=10)


def opened_odometer(path: Path) -> FileOdometer:
    return FileOdometer(path, dataset="digits/client-1", unit="record", epsilon=8.0, delta=1e-5, dim=650)


def read_odometer(data: bytes) -> None:
    path = emptied("odometer") / "odometer.jsonl"
    path.write_bytes(data)
    odometer = opened_odometer(path)
    odometer.close()
    kept = path.read_bytes()
    assert data.startswith(kept)
    assert len(odometer.reservations) == kept.count(b'"kind":"reserve"')
    assert all(type(r.round) is int and len(r.run) == 32 for r in odometer.reservations)
    assert all(len(r.upload) == 32 and r.size > 0 for r in odometer.reservations if r.upload is not None)
    assert sum(event.steps for event in odometer.status.events) == sum(r.event.steps for r in odometer.reservations)


def odometer_seeds() -> Sequence[bytes]:
    path = emptied("seed") / "odometer.jsonl"
    opening = Opening("digits/client-1", "record", Budget.of(8.0, 1e-5), bytes(16))
    path.write_bytes(encode_line(opening, START))
    odometer = opened_odometer(path)
    odometer.begin(bytes(32), [EVENT] * 10)
    odometer.reserve(bytes(32), 1, EVENT)
    odometer.persist(bytes(32), 1, bytes(32), 1000)
    odometer.commit(bytes(32), 1, 17)
    odometer.reserve(bytes(32), 2, EVENT)
    odometer.close()
    data = path.read_bytes()
    ends = [end for end, byte in enumerate(data, start=1) if byte == ord("\n")]
    return [data, *(data[:end] for end in ends)]  # each kind of line is the last one once


def other_odometer(rng: Random, data: bytes) -> bytes:
    """The last line, which nothing is chained to, with another value."""
    *lines, last, _ = data.split(b"\n") if data.count(b"\n") > 1 else [data, b""]
    try:
        record = json.loads(last)
        key = rng.choice(sorted(record))
        wild: tuple[Any, ...] = (0, 1, -1, 2**63, 1.5, True, None, "", "00" * 32, [], {}, [1], "\ud800", 10**40)
        record[key] = rng.choice(wild)
    except (ValueError, TypeError, IndexError, RecursionError):
        return altered(rng, data)
    changed = json.dumps(record, sort_keys=True, separators=(",", ":")).encode()
    return b"".join(line + b"\n" for line in (*lines, changed))


def claim_folder(data: bytes) -> None:
    """The mark of a run in a folder that is taken up again."""
    out = emptied("run")
    (out / "private").mkdir()
    (out / "private" / "run.json").write_bytes(data)
    Workspace.claim(out, plan()).close()
    assert FederationPlan.decode(bytes.fromhex(json.loads(data)["plan"])) == plan()


def mark_seeds() -> Sequence[bytes]:
    return [json.dumps({"plan": plan().encode().hex(), "version": 1}, sort_keys=True).encode() + b"\n"]


def other_mark(rng: Random, data: bytes) -> bytes:
    value = altered_value(rng, plan().to_value())
    try:
        wild: tuple[Any, ...] = (cbor.encode(value).hex(), "zz", "", "00" * 70000, 5, None, [], {}, [[]])
    except ValueError:
        return altered(rng, data)
    marks = (
        json.dumps({"plan": rng.choice(wild)}).encode(),
        b"[" * 50_000,
        b'{"plan":' * 9000,
        b"7",
        b"null",
        b'"plan"',
    )
    return rng.choice((marks[0], marks[0], *marks))


def federation_targets() -> Iterator[Target]:
    yield Target(
        "messages.bodies", read_body, (LedgerDecodeError,), body_seeds, other_body, share=4, multiple=CBOR_MULTIPLE
    )
    yield Target(
        "plan", read_plan, (LedgerDecodeError, ValueError, CapacityError), plan_seeds, other_plan, share=2,
        slack=1 << 17, multiple=CBOR_MULTIPLE,
    )  # fmt: skip
    yield Target("model", read_model, (DecodeError,), model_seeds, other_model, share=2)
    yield Target("sealing.open", open_sealed, (KeyGenerationError,), lambda: [sealed()], share=0.5)
    yield Target("sealing.key", read_sealing_key, (ValueError,), lambda: [sealing_key().public], share=0.5)
    refusals = (json.JSONDecodeError, UnicodeDecodeError, ValueError, RecursionError)  # the auditor takes all of these
    yield Target("report", read_report, refusals, report_seeds, other_report, share=2, slack=1 << 17, multiple=100)
    yield Target("keystore", open_keystore, (KeystoreError, StoreError), lambda: [keystore_bytes()], share=0.01)
    yield Target(
        "keystore.content", read_keystore_content, (LedgerDecodeError,), keystore_content_seeds, other_cbor,
        multiple=CBOR_MULTIPLE,
    )  # fmt: skip
    yield Target("journal", read_journal, (StoreError, StateError), journal_seeds, share=0.1, slack=1 << 17)
    yield Target(
        "odometer", read_odometer, (ChainError, PrivacyError, StateError), odometer_seeds, other_odometer,
        share=0.3, slack=1 << 17, multiple=40,
    )  # fmt: skip
    yield Target(
        "workspace.mark",
        claim_folder,
        (OutputError,),
        mark_seeds,
        other_mark,
        share=0.3,
        slack=1 << 17,
        multiple=CBOR_MULTIPLE,
    )


FEDERATION_TARGETS = tuple(federation_targets())
