"""Block by block: the same bytes as at once, the same refusals, and little memory."""

import hashlib
import io
import subprocess
import sys
from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest

from protocols.digits import DigitBlocks
from protocols.errors import BadShareError, CapacityError, DecodeError
from protocols.tckks import EncryptedVector, aggregate, partial_decrypt
from protocols.tckks.stream import add_streams, answer_stream, check_stream, encrypt_stream, open_streams
from protocols.tckks.wire import HEADER_BYTES
from tests.protocols.tckks.committee import combined, committee, rand

BLOCKS = 3
ACTIVE = (1, 3, 5)


class Dribble(io.BytesIO):
    """A source that gives less than it is asked for."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(min(size if size is not None and size >= 0 else 1 << 30, 100_003))


@cache
def vectors() -> tuple[EncryptedVector, ...]:
    team = committee()
    return tuple(team.encryptor.encrypt(team.digits(i, blocks=BLOCKS), rand=rand("stream", i)) for i in range(3))


def sources(**changed: bytes) -> dict[str, Dribble]:
    return {f"client_{i}": Dribble(changed.get(f"client_{i}", v.encode())) for i, v in enumerate(vectors())}


def parts(digits: DigitBlocks) -> Iterator[DigitBlocks]:
    for block in digits.digits:
        yield DigitBlocks(digits.layout, block[None])


def test_an_encrypted_stream_is_the_message() -> None:
    team = committee()
    for i, vector in enumerate(vectors()):
        made = encrypt_stream(
            team.encryptor, parts(team.digits(i, blocks=BLOCKS)), blocks=BLOCKS, rand=rand("stream", i)
        )
        assert b"".join(made) == vector.encode()


@pytest.mark.parametrize("blocks", [BLOCKS - 1, BLOCKS + 1])
def test_another_number_of_blocks_is_a_mistake(blocks: int) -> None:
    team = committee()
    packed = parts(team.digits(0, blocks=BLOCKS))
    with pytest.raises(ValueError, match=r"more than 2 blocks|are 3 blocks, not 4"):
        list(encrypt_stream(team.encryptor, packed, blocks=blocks, rand=rand("stream", 0)))
    total = add_streams(sources(), team.joint, blocks=BLOCKS, most=3)
    with pytest.raises(ValueError, match="there are 3 blocks, not"):
        list(answer_stream(team.keys[1], total, ACTIVE, blocks=blocks))


def test_sum_answers_and_opening_are_those_of_the_whole_message() -> None:
    team, whole = committee(), aggregate(vectors(), most=3)
    for name, source in sources().items():
        digest = check_stream(source, team.joint, blocks=BLOCKS, sender=name)
        assert digest == hashlib.sha256(source.getvalue()).digest()
    sums = list(add_streams(sources(), team.joint, blocks=BLOCKS, most=3))
    assert b"".join(part.encode()[HEADER_BYTES:] for part in sums) == whole.encode()[HEADER_BYTES:]
    answers = {}
    for member in ACTIVE:
        data = b"".join(answer_stream(team.keys[member], sums, ACTIVE, blocks=BLOCKS))
        assert data == partial_decrypt(team.keys[member], whole, ACTIVE).encode()
        answers[f"member-{member}"] = Dribble(data)
    opened = np.concatenate(list(open_streams(sums, answers, team.joint, team.budget, team.layout, blocks=BLOCKS)))
    assert np.array_equal(opened, combined(whole, team.answers(whole, ACTIVE), team.budget, team.layout).digits)
    assert np.array_equal(opened, sum(team.digits(i, blocks=BLOCKS).digits for i in range(3)))


def spoiled() -> dict[str, bytes]:
    data = vectors()[1].encode()
    each = (len(data) - HEADER_BYTES) // BLOCKS
    transparent = data[: HEADER_BYTES + each + each // 2] + bytes(each // 2) + data[HEADER_BYTES + 2 * each :]
    return {
        "empty": b"",
        "short header": data[:20],
        "foreign header": b"X" + data[1:],
        "one block less": data[:-each],
        "cut": data[:-1],
        "longer": data + b"\0",
        "residue": data[:-6] + b"\xff" * 6,
        "transparent": transparent,
    }


@pytest.mark.parametrize("name", spoiled())
def test_a_malformed_message_is_refused_before_anything_is_added(name: str) -> None:
    team, data = committee(), spoiled()[name]
    with pytest.raises(DecodeError, match="client_1: ") as caught:
        check_stream(Dribble(data), team.joint, blocks=BLOCKS, sender="client_1")
    assert caught.value.culprits == ("client_1",)
    with pytest.raises(DecodeError, match="client_1: ") as caught:
        list(add_streams(sources(client_1=data), team.joint, blocks=BLOCKS, most=3))
    assert caught.value.culprits == ("client_1",)


def test_nobody_s_messages_have_no_sum() -> None:
    with pytest.raises(ValueError, match="nothing to add"):
        list(add_streams({}, committee().joint, blocks=1, most=3))


def test_more_messages_than_the_noise_budget_has_room_for_have_no_sum() -> None:
    made = add_streams(sources(), committee().joint, blocks=BLOCKS, most=2)
    with pytest.raises(CapacityError, match="room for 2 summed ciphertexts"):
        next(made)


@pytest.mark.parametrize("change", ["cut", "longer", "header", "residue", "wrong"])
def test_a_bad_answer_is_refused_and_its_sender_named(change: str) -> None:
    team, sums = committee(), list(add_streams(sources(), committee().joint, blocks=BLOCKS, most=3))
    answers = {f"member-{m}": b"".join(answer_stream(team.keys[m], sums, ACTIVE, blocks=BLOCKS)) for m in ACTIVE}
    data = answers["member-3"]
    answers["member-3"] = {
        "cut": data[:-1],
        "longer": data + b"\0",
        "header": b"X" + data[1:],
        "residue": data[:-4] + b"\xff" * 4,
        "wrong": data[:HEADER_BYTES] + data[HEADER_BYTES:][::-1][: 6 * 8192] + data[HEADER_BYTES + 6 * 8192 :],
    }[change]
    given = {name: Dribble(answer) for name, answer in answers.items()}
    with pytest.raises(BadShareError) as caught:
        list(open_streams(sums, given, team.joint, team.budget, team.layout, blocks=BLOCKS))
    assert "member-3" in caught.value.culprits


HUGE = """
import io, os, resource, sys
import numpy as np
from protocols import Grid, GridVector, digit_width, pack, unpack
from protocols.digits import DigitBlocks
from protocols.suites import for_model
from protocols.tckks import *
from protocols.tckks.stream import *

VALUES, CLIENTS = int(sys.argv[1]), 2
sharing, suite = share_among(2, 2), for_model(VALUES)
ceremony = Ceremony(suite, sharing, os.urandom(32))
seeds = [seed for m in (1, 2) for seed in deal(ceremony, m, rand=os.urandom(32))]
made = {seed.piece: derive_piece(ceremony, seed) for seed in seeds}
key = join(ceremony, {piece: part for piece, (_, part) in made.items()})
keys = {m: MemberKey(m, key, {p: made[p][0] for p in sharing.held_by(m)}, sharing=sharing) for m in (1, 2)}
grid, budget = Grid(16, 0), NoiseBudget.of(suite, sharing, CLIENTS)
layout = budget.layout(digit_width(grid, CLIENTS))
blocks, each, encryptor = layout.blocks(VALUES), layout.values_per_block, Encryptor(key, budget, layout)

def chunk(client, block):
    count = min(each, VALUES - block * each)
    return (np.arange(count, dtype=np.int64) * (client + 3) + block) % 65535 - 32767

class Pipe(io.RawIOBase):
    def __init__(self, parts):
        self.parts, self.rest = parts, b""
    def read(self, size=-1):
        if not self.rest:
            self.rest = next(self.parts, b"")
        got, self.rest = self.rest[:size], self.rest[size:]
        return got

def upload(client):
    packed = (pack(GridVector(grid, chunk(client, b)), layout, clients=CLIENTS) for b in range(blocks))
    return Pipe(encrypt_stream(encryptor, packed, blocks=blocks, rand=bytes([client]) * 32))

def total():
    return add_streams({f"client-{c}": upload(c) for c in range(CLIENTS)}, key, blocks=blocks, most=CLIENTS)

done = 0
for block, part in enumerate(total()):  # the members' answers of a block are made as it passes by
    answers = {f"member-{m}": partial_decrypt(keys[m], part, (1, 2)) for m in (1, 2)}
    opened = combine(part, answers, budget, layout)
    values = unpack(opened, min(each, VALUES - block * each))
    if not np.array_equal(values, chunk(0, block) + chunk(1, block)):
        sys.exit(f"block {block} is wrong")
    done += len(values)
assert done == VALUES
print(suite.name, blocks, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.slow
def test_a_hundred_million_values_need_less_than_one_and_a_half_gibibytes() -> None:
    run = subprocess.run(
        [sys.executable, "-c", HUGE, "100000000"], capture_output=True, text=True, timeout=600, check=False
    )
    assert run.returncode == 0, run.stderr
    name, blocks, mebibytes = run.stdout.split()
    assert name == "tckks-32768-v1"
    assert int(blocks) == -(-100_000_000 // (32768 * 44))
    assert int(mebibytes) < 1536
