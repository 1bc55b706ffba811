"""encryption and aggregation, computed from the specification."""

from collections.abc import Sequence
from functools import cache

from .arithmetic import (
    ExpectedFailure,
    Json,
    MismatchError,
    Rows,
    bytes_of,
    caught,
    plus,
    residues,
    sha,
    summary,
)
from .committee import Replicated
from .key import Budget, Ceremony, preset
from .key_documents import ceremony
from .keystream import words
from .opening import (
    Digits,
    Encryption,
    Planes,
)
from .wire import message, read

__all__ = [
    "CLIENTS",
    "SUITE",
    "WIDTH",
    "aggregation",
    "client_ciphertext",
    "client_digits",
    "client_sum",
    "encryption",
    "example_digits",
    "example_key",
]

SUITE = preset(8192)
CLIENTS, WIDTH = 2, 20


@cache
def example_key() -> Ceremony:
    """The key of keygen.json."""
    return ceremony(SUITE, Replicated(3, 2), "replicated")


@cache
def example_digits() -> Digits:
    """How digits stand under that key, for two clients."""
    return Digits(Budget(SUITE, 3, 3, CLIENTS), WIDTH)


@cache
def client_digits(client: int) -> Planes:
    """The digits that a client encrypts."""
    count, n, span = example_digits().count, SUITE.n, 2 * (example_digits().largest // CLIENTS) + 1
    line = [w % span - span // 2 for w in words(bytes_of(f"client/{client}/digits", 8 * count * n))]
    return [line[d * n : (d + 1) * n] for d in range(count)]


@cache
def client_encryption(client: int, block: int) -> Encryption:
    return Encryption(example_key(), bytes_of(f"client/{client}/rand"), block)


@cache
def client_ciphertext(client: int) -> list[Rows]:
    """What it sends."""
    return client_encryption(client, 0).of(example_digits(), client_digits(client))


def decoded(data: bytes, key: Ceremony) -> list[Rows]:
    polynomials = read(data, 2, key.suite.data, 2, key.suite.n, key.digest)
    if not all(map(any, polynomials[1])):
        raise ExpectedFailure("DecodeError")
    return polynomials


def received(data: bytes, key: Ceremony, sender: str) -> list[Rows]:
    """The same from a sender, which is named if they are wrong."""
    try:
        return decoded(data, key)
    except ExpectedFailure as failure:
        raise ExpectedFailure(failure.name, sender) from failure


def _stream_json(made: Encryption, block: int) -> Json:
    if (set(made.u), max(map(abs, (*made.e0, *made.e1))) <= 21) != ({-1, 0, 1}, True):
        raise MismatchError("u is not ternary, or an error is out of bounds")
    return {
        "block": block,
        "seed": made.seed.hex(),
        "stream_first": made.stream[:32].hex(),
        "u": summary(made.u, signed=True),
        "e0": summary(made.e0, signed=True),
        "e1": summary(made.e1, signed=True),
    }


def encryption() -> Json:
    """The canonical encryption, with all that happens on the way."""
    key, digits = example_key(), example_digits()
    calls = []
    for client in (1, 2):
        made, polynomials = client_encryption(client, 0), client_ciphertext(client)
        calls.append(
            {
                "client": client,
                "rand": bytes_of(f"client/{client}/rand").hex(),
                "digits": summary([client_digits(client)], signed=True),
                "streams": [_stream_json(client_encryption(client, block), block) for block in (0, 1)],
                "before_division": summary(made.before_division),
                "zero": summary(made.zero),
                "message": summary(residues(digits.message(client_digits(client)), SUITE.data)),
                "c0": summary(polynomials[0]),
                "c1": summary(polynomials[1]),
                "sha256": sha(message(2, polynomials, SUITE.data, key.digest)).hex(),
            }
        )
    streams = [client_encryption(client, block) for client in (1, 2) for block in (0, 1)]
    drawn = [tuple(values) for made in streams for values in (made.u, made.e0, made.e1)]
    good = message(2, client_ciphertext(1), SUITE.data, key.digest)
    if decoded(good, key) != client_ciphertext(1):
        raise MismatchError("a ciphertext does not read back")

    def encrypt(rand: bytes) -> None:
        if len(rand) != 32:
            raise ExpectedFailure("ValueError")

    return {
        "suite": SUITE.name,
        "key": "keygen",
        "key_digest": key.digest.hex(),
        "clients": CLIENTS,
        "width": WIDTH,
        "per_coefficient": digits.count,
        "scale_shift": digits.budget.shift,
        "calls": calls,
        "polynomials_drawn": len(drawn),
        "different_polynomials": len(set(drawn)),
        "failures": [
            {"operation": "encrypt", "rand": bytes_of("short", 31).hex()} | caught(lambda: encrypt(bytes(31))),
            *(
                {"operation": "decode", "sender": "client-1", "change": name}
                | caught(lambda data=data: received(data, key, "client-1"))
                for name, data in changed_messages(good).items()
            ),
        ],
    }


@cache
def client_sum() -> list[Rows]:
    """The sum of both ciphertexts."""
    return [plus(x, y, primes=SUITE.data) for x, y in zip(client_ciphertext(1), client_ciphertext(2), strict=True)]


def changed_messages(data: bytes) -> dict[str, bytes]:
    """A ciphertext's message, spoiled in every way that a reader must see."""
    start, row = 44 + SUITE.n * 25, SUITE.n * 6  # c0 is 25 bytes a coefficient, the first rows 6
    return {
        "c1_zero_modulo_the_second_prime": data[: start + row] + bytes(row) + data[start + 2 * row :],
        "c1_zero": data[:start] + bytes(len(data) - start),
        "another_key": data[:12] + bytes_of("another key") + data[44:],
        "another_kind": data[:5] + b"\3" + data[6:],
        "another_ring": data[:7] + b"\16" + data[8:],
        "truncated": data[:-1],
        "residue_equal_to_its_prime": data[:44] + SUITE.data[0].to_bytes(6, "little") + data[50:],
    }


def aggregation() -> Json:
    """The sum of two ciphertexts, and what is not added."""
    key, digits = example_key(), example_digits()
    messages = [message(2, client_ciphertext(client), SUITE.data, key.digest) for client in (1, 2)]
    parts = [decoded(data, key) for data in messages]
    total = [plus(*(part[i] for part in reversed(parts)), primes=SUITE.data) for i in (0, 1)]
    if total != client_sum():
        raise MismatchError("the sum depends on the order")

    def add(data: bytes, added: int) -> None:
        if added == digits.budget.clients:
            raise ExpectedFailure("CapacityError")
        received(data, key, "client-7")

    def add_vectors(digests: Sequence[bytes]) -> None:
        if len(set(digests)) != 1:
            raise ExpectedFailure("ValueError")

    return {
        "suite": SUITE.name,
        "key": "keygen",
        "ciphertexts": "encryption",
        "messages": [sha(data).hex() for data in messages],
        "count": len(messages),
        "sum": summary([total]),
        "sha256": sha(message(2, total, SUITE.data, key.digest)).hex(),
        "failures": [
            *(
                {"operation": "add", "sender": "client-7", "change": name} | caught(lambda data=data: add(data, 1))
                for name, data in changed_messages(messages[0]).items()
            ),
            {"operation": "add", "sender": "client-7", "added": CLIENTS}
            | caught(lambda: add(messages[0], len(messages))),
            {"operation": "total", "added": 0} | caught(lambda: add_vectors([])),
            {"operation": "aggregate", "change": "another_key"} | caught(lambda: add_vectors([key.digest, bytes(32)])),
        ],
    }
