"""encryption and aggregation."""

import hashlib
from functools import cache

import numpy as np

from protocols.arrays import UInt64Array
from protocols.digits import DigitBlocks
from protocols.sampling import Keystream
from protocols.tckks import (
    EncryptedVector,
    Encryptor,
    aggregate,
)
from protocols.tckks.aggregate import Adder
from protocols.tckks.encrypt import message_residues
from protocols.tckks.keygen import centred_binomial, ternary
from tests.vectors.generators.example import (
    CLIENTS,
    DATA,
    FULL,
    SUITE,
    WIDTH,
    Json,
    bytes_of,
    failure,
    replicated,
    sha,
    summary,
)

N = SUITE.ring_degree


class Stream:
    """What one block's encryption draws, and the encryption of zero that it makes."""

    def __init__(self, rand: bytes, block: int) -> None:
        key = replicated().joint
        label = b"secure-bfl/encrypt/v2" + key.digest + block.to_bytes(4, "little")
        self.seed = hashlib.shake_256(label + rand).digest(32)
        stream = Keystream(self.seed, purpose=b"encrypt")
        draws = stream.read(N + N // 8 + 256)
        self.first = draws[:32]
        self.u = ternary(draws, N)
        self.e0, self.e1 = centred_binomial(stream.read(8 * N)), centred_binomial(stream.read(8 * N))

    def before_division(self) -> UInt64Array:
        key, masks = replicated().joint, FULL.ntt(FULL.reduce(self.u))
        parts = [
            FULL.add(FULL.inverse_ntt(FULL.multiply(part, masks)), FULL.reduce(error))
            for part, error in ((key.b, self.e0), (key.a, self.e1))
        ]
        return np.stack(parts)

    def zero(self) -> UInt64Array:
        return np.stack([DATA.ntt(FULL.rescale(part, 1)) for part in self.before_division()])

    def to_json(self, block: int) -> Json:
        return {
            "block": block,
            "seed": self.seed.hex(),
            "stream_first": self.first.hex(),
            "u": summary(self.u),
            "e0": summary(self.e0),
            "e1": summary(self.e1),
        }


@cache
def client(number: int) -> DigitBlocks:
    """The digits of one client."""
    layout = replicated().layout
    span = 2 * (layout.largest // CLIENTS) + 1
    raw = np.frombuffer(bytes_of(f"client/{number}/digits", 8 * layout.values_per_block), dtype="<u8")
    values = (raw % np.uint64(span)).astype(np.int64) - span // 2
    return DigitBlocks(layout, values.reshape(1, layout.per_coefficient, N))


@cache
def encrypted(number: int) -> EncryptedVector:
    """The ciphertext of one client."""
    made = replicated()
    return Encryptor(made.joint, made.budget, made.layout).encrypt(
        client(number), rand=bytes_of(f"client/{number}/rand")
    )


def changed_messages(data: bytes) -> dict[str, tuple[bytes, str]]:
    """A ciphertext's message, spoiled in every way that a reader must see, and why it is refused."""
    start, row = 44 + N * 25, N * 6
    transparent, other, large = "it hides nothing", "another header than the plan's", "a residue is not below its prime"
    return {
        "c1_zero_modulo_the_second_prime": (data[: start + row] + bytes(row) + data[start + 2 * row :], transparent),
        "c1_zero": (data[:start] + bytes(len(data) - start), transparent),
        "another_key": (data[:12] + bytes_of("another key") + data[44:], other),
        "another_kind": (data[:5] + b"\3" + data[6:], other),
        "another_ring": (data[:7] + b"\16" + data[8:], other),
        "truncated": (data[:-1], "another length"),
        "residue_equal_to_its_prime": (data[:44] + SUITE.data_primes[0].to_bytes(6, "little") + data[50:], large),
    }


def encryption_json() -> Json:
    made = replicated()
    calls, drawn = [], []
    for number in (1, 2):
        rand, ciphertext = bytes_of(f"client/{number}/rand"), encrypted(number)
        streams = [Stream(rand, block) for block in (0, 1)]
        drawn += [values.tobytes() for stream in streams for values in (stream.u, stream.e0, stream.e1)]
        message, zero = message_residues(DATA, client(number), made.budget.scale, 0), streams[0].zero()
        assert np.array_equal(ciphertext.residues[0, 0], DATA.add(zero[0], DATA.ntt(message)))
        assert np.array_equal(ciphertext.residues[0, 1], zero[1])
        calls.append(
            {
                "client": number,
                "rand": rand.hex(),
                "digits": summary(client(number).digits),
                "streams": [stream.to_json(block) for block, stream in enumerate(streams)],
                "before_division": summary(streams[0].before_division()),
                "zero": summary(zero),
                "message": summary(message),
                "c0": summary(ciphertext.residues[0, 0]),
                "c1": summary(ciphertext.residues[0, 1]),
                "sha256": sha(ciphertext.encode()),
            }
        )

    def decode(bad: bytes) -> EncryptedVector:
        return EncryptedVector.decode(bad, made.joint, blocks=1, sender="client-1")

    encryptor, short = Encryptor(made.joint, made.budget, made.layout), bytes_of("short", 31)
    return {
        "suite": SUITE.name,
        "key": "keygen",
        "key_digest": made.joint.digest.hex(),
        "clients": CLIENTS,
        "width": WIDTH,
        "per_coefficient": made.layout.per_coefficient,
        "scale_shift": made.budget.scale_shift,
        "calls": calls,
        "polynomials_drawn": len(drawn),
        "different_polynomials": len(set(drawn)),
        "failures": [
            {"operation": "encrypt", "rand": short.hex()}
            | failure(lambda: encryptor.encrypt(client(1), rand=short), "not 32 bytes"),
            *(
                {"operation": "decode", "sender": "client-1", "change": name}
                | failure(lambda data=data: decode(data), why)  # type: ignore[misc]
                for name, (data, why) in changed_messages(encrypted(1).encode()).items()
            ),
        ],
    }


@cache
def total() -> EncryptedVector:
    """The sum of both clients' ciphertexts."""
    return aggregate((encrypted(number) for number in (1, 2)), most=CLIENTS)


def aggregation_json() -> Json:
    made, data = replicated(), [encrypted(number).encode() for number in (1, 2)]
    adder = Adder(made.joint, 1, most=CLIENTS)
    for number in (2, 1):
        adder.add(data[number - 1], sender=f"client-{number}")

    def add(bad: bytes) -> None:
        other = Adder(made.joint, 1, most=CLIENTS)
        other.add(data[0], sender="client-1")
        other.add(bad, sender="client-7")

    failures = [
        {"operation": "add", "sender": "client-7", "change": name} | failure(lambda bad=bad: add(bad), why)  # type: ignore[misc]
        for name, (bad, why) in changed_messages(data[0]).items()
    ]
    assert np.array_equal(adder.total().residues, total().residues)
    other = EncryptedVector(SUITE, bytes(32), encrypted(2).residues)
    return {
        "suite": SUITE.name,
        "key": "keygen",
        "ciphertexts": "encryption",
        "messages": [sha(message) for message in data],
        "count": adder.count,
        "sum": summary(adder.total().residues),
        "sha256": sha(adder.total().encode()),
        "failures": [
            *failures,
            {"operation": "add", "sender": "client-7", "added": CLIENTS}
            | failure(
                lambda: adder.add(data[0], sender="client-7"), "one ciphertext more than the budget has room for"
            ),
            {"operation": "total", "added": 0}
            | failure(Adder(made.joint, 1, most=CLIENTS).total, "there is nothing to add"),
            {"operation": "aggregate", "change": "another_key"}
            | failure(lambda: aggregate([encrypted(1), other], most=CLIENTS), "vectors under two keys"),
        ],
    }
