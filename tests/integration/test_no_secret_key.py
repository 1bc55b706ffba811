"""During and after a run, nothing in memory is the secret key, in any form.

The test alone hears of all pieces (it listens at `check_piece`) and adds them up as Python integers. It then walks
everything the garbage collector knows, everything reachable from there, and the frames that are running. Planted
copies of the key, one in each form, are found: the walk can fail.
"""

import gc
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pytest

from ledger import MemoryBlobs
from protocols.ring import ring
from protocols.suites import suite
from protocols.tckks import Ceremony, PieceKey, PieceSeed, check_piece, combine, partial_decrypt
from secure_bfl import FederationPlan, datasets, deliveries, member, results, run_round
from secure_bfl.local_training import Learner

SUITE = suite(8192)
LENGTH = 24  # leading coefficients that are searched for: a real key's are not met by chance
HOLDERS = (np.ndarray, bytes, bytearray)
CONTAINERS = (tuple, dict)  # the collector stops tracking these when they hold nothing that it tracks, such as arrays


def reachable() -> Iterator[Any]:
    """Every live array and byte string: referents of what the collector tracks, and the locals of running frames.

    Types are asked for with `type`, since `isinstance` wakes up lazy objects of other libraries.
    """
    frame = sys._getframe(1)
    frames: list[Any] = []
    while frame is not None:
        frames.append(dict(frame.f_locals))
        frame = frame.f_back  # type: ignore[assignment]
    wanted: dict[type, bool] = {}
    seen: set[int] = set()
    tracked = gc.get_objects()
    waiting = [*frames, *(tracked[i : i + 1000] for i in range(0, len(tracked), 1000))]
    while waiting:
        chunk = waiting.pop()
        for thing in gc.get_referents(*chunk) if type(chunk) is list else gc.get_referents(chunk):
            kind = type(thing)
            if kind not in wanted:
                wanted[kind] = issubclass(kind, HOLDERS + CONTAINERS)
            if not wanted[kind] or id(thing) in seen:
                continue
            if issubclass(kind, HOLDERS):
                seen.add(id(thing))
                yield thing
                if kind is np.ndarray and type(thing.base) in (np.ndarray, bytes, bytearray):
                    waiting.append([[thing.base]])
            elif not gc.is_tracked(thing):
                seen.add(id(thing))
                waiting.append(thing)


@dataclass(frozen=True)
class Forms:
    """The leading coefficients of the secret key in every form it could be kept in, by name."""

    leading: Mapping[str, tuple[int, ...]]

    @cached_property
    def needles(self) -> list[tuple[str, bytes]]:
        """The same as bytes, in whole words and as on the wire."""
        unsigned = {name: row for name, row in self.leading.items() if min(row) >= 0}
        return [
            (name, b"".join(c.to_bytes(8, "little")[:width] for c in row))
            for name, row in unsigned.items()
            for width in (6, 8)
        ]

    @classmethod
    def of(cls, secret: list[int]) -> "Forms":
        forms = {"signed": tuple(secret[:LENGTH])}
        full = ring(SUITE.ring_degree, SUITE.key_primes)
        transformed = full.ntt(full.reduce(np.array(secret, dtype=np.int64)))
        for q, row in zip(SUITE.key_primes, transformed, strict=True):
            forms[f"coefficients modulo {q}"] = tuple(c % q for c in secret[:LENGTH])
            forms[f"NTT modulo {q}"] = tuple(row[:LENGTH].tolist())
        return cls(forms)

    def in_array(self, array: np.ndarray[Any, np.dtype[Any]]) -> Iterator[str]:
        flat = array.reshape(-1)
        for name, leading in self.leading.items():
            at = np.flatnonzero(flat[: 1 - LENGTH] == leading[0])
            for offset, value in enumerate(leading):
                at = at[flat[at + offset] == value]
                if not len(at):
                    break
            else:
                yield name

    def in_bytes(self, data: bytes | bytearray) -> Iterator[str]:
        yield from (name for name, needle in self.needles if needle in data)

    def in_memory(self) -> set[str]:
        """The forms of the key that are somewhere in this process."""
        found: set[str] = set()
        own = {needle for _, needle in self.needles}  # what an earlier walk left for the collector
        for thing in reachable():
            if issubclass(type(thing), np.ndarray) and thing.size >= LENGTH and thing.dtype.kind in "iufO":
                if thing.dtype.kind != "O" or isinstance(thing.reshape(-1)[0], int):
                    found.update(self.in_array(thing))
            elif issubclass(type(thing), bytes | bytearray) and len(thing) >= 6 * LENGTH and bytes(thing) not in own:
                found.update(self.in_bytes(thing))
        return found


class Listener:
    """Hears every piece a member checks, and looks for their sum whenever a share is made or opened."""

    def __init__(self, pieces: int) -> None:
        self.expected = pieces
        self.secrets: dict[int, tuple[int, ...]] = {}
        self.walks: list[tuple[str, set[str]]] = []

    def check_piece(self, ceremony: Ceremony, seed: PieceSeed, public_part: bytes) -> PieceKey:
        piece = check_piece(ceremony, seed, public_part)
        data = ring(SUITE.ring_degree, SUITE.data_primes)
        self.secrets[piece.piece] = tuple(data.compose(data.inverse_ntt(piece.secret_ntt)).tolist())
        return piece

    def secret(self) -> list[int]:
        assert len(self.secrets) == self.expected
        return [sum(column) for column in zip(*self.secrets.values(), strict=True)]

    def walk(self, where: str) -> None:
        self.walks.append((where, Forms.of(self.secret()).in_memory()))

    def around(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **named: Any) -> Any:
            result = function(*arguments, **named)
            if not any(where == name for where, _ in self.walks):
                self.walk(name)
            return result

        return wrapped


@pytest.mark.slow
def test_no_object_holds_the_secret_key(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = FederationPlan.create("digits", clients=3, members=4, threshold=3, rounds=1)
    assert plan.suite == SUITE
    listener = Listener(plan.sharing.pieces)
    monkeypatch.setattr(deliveries, "check_piece", listener.check_piece)
    monkeypatch.setattr(member, "partial_decrypt", listener.around("a member's answer", partial_decrypt))
    monkeypatch.setattr(results, "combine", listener.around("the combination", combine))
    learners = [Learner(records) for records in datasets.load("digits", 3).shares]
    outcome = run_round(plan, learners, blobs=MemoryBlobs(), now=1_700_000_000)
    listener.walk("the end")
    assert listener.walks == [("a member's answer", set()), ("the combination", set()), ("the end", set())]

    # The walk finds what is there: every form, hidden in another place each.
    secret = listener.secret()
    forms = Forms.of(secret)
    full = ring(SUITE.ring_degree, SUITE.key_primes)
    coefficients = full.reduce(np.array(secret, dtype=np.int64))
    transformed = full.ntt(coefficients)
    plants = {
        "inside blocks": np.stack([np.zeros_like(transformed), transformed])[None],
        "an attribute": type("Holder", (), {"key": (coefficients[:2].copy(),)})(),
        "bytes": [
            coefficients[2].astype("<u8").tobytes(),
            b"".join(int(c).to_bytes(6, "little") for c in coefficients[3]),
        ],
        "objects": np.array(coefficients[4].tolist(), dtype=object),
        "a view": np.concatenate([np.zeros(5), coefficients[5].astype(np.float64)])[2:],
        "a closure": (lambda kept: lambda: kept)(np.array(secret, dtype=np.int32)),
    }
    del coefficients, transformed, secret
    assert forms.in_memory() == set(forms.leading)
    plants.clear()
    gc.collect()
    assert forms.in_memory() == set()
    assert outcome.board.replay.rounds[0].result is not None
