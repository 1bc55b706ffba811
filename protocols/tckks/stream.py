"""Messages too long for memory: encrypted, checked, added, answered and opened one block at a time.

Spec: tckks §5.5 (v1). The bytes are those of the functions that take a whole message at once (`Encryptor.encrypt`,
`aggregate`, `partial_decrypt`, `combine`), so either side may stream or not. A message is `check`ed to its end before
any of it is added.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from ..arrays import Int64Array
from ..digits import DigitBlocks, DigitLayout
from ..errors import BadShareError, DecodeError
from . import wire
from .aggregate import Adder
from .decrypt import PartialDecryption, combine, partial_decrypt
from .encrypt import Encryptor
from .keys import JointKey, MemberKey
from .noise import NoiseBudget
from .vector import EncryptedVector

__all__ = ["Source", "add_streams", "answer_stream", "check_stream", "encrypt_stream", "open_streams"]


class Source(Protocol):
    """Bytes to be read in order: an open file, a socket, a pipe."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end."""
        ...


def encrypt_stream(encryptor: Encryptor, packed: Iterable[DigitBlocks], *, blocks: int, rand: bytes) -> Iterator[bytes]:
    """The encoding of an encrypted vector of so many blocks, part by part: a header, then a ciphertext for each block.

    Run by: a client. `rand` is 32 fresh bytes, for this vector only.

    Raises:
        ValueError: there are more or fewer blocks, or `Encryptor.encrypt_block` refuses one.
    """
    yield wire.header(wire.WireKind.CIPHERTEXT, 2 * blocks, encryptor.suite.ring_degree, encryptor.key_digest)
    done = 0
    for part in packed:
        for digits in part.digits:
            if done == blocks:
                raise ValueError(f"there are more than {blocks} blocks")
            yield encryptor.encrypt_block(digits, done, rand=rand)
            done += 1
    if done < blocks:
        raise ValueError(f"there are {done} blocks, not {blocks}")


def _exactly(source: Source, size: int, sender: str) -> bytes:
    parts, missing = [], size
    while missing:
        part = source.read(missing)
        if not part:
            raise DecodeError(f"{sender}: the message ends {missing} bytes too early", culprits=(sender,))
        parts.append(part)
        missing -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


class _Message:
    """A message of one sender, block by block, each with the header of a message of one block."""

    def __init__(self, source: Source, kind: wire.WireKind, key: JointKey, *, blocks: int, sender: str) -> None:
        suite, polynomials = key.suite, 2 if kind is wire.WireKind.CIPHERTEXT else 1
        primes = suite.data_primes if kind is wire.WireKind.CIPHERTEXT else suite.answer_primes
        self._source, self._sender, self._left = source, sender, blocks
        self._size = wire.encoded_size(polynomials, suite.ring_degree, primes) - wire.HEADER_BYTES
        self._single = wire.header(kind, polynomials, suite.ring_degree, key.digest)
        self.head = _exactly(source, wire.HEADER_BYTES, sender)
        if self.head != wire.header(kind, polynomials * blocks, suite.ring_degree, key.digest):
            message = f"{sender}: {kind.name}: the header is for another key, ring, version, kind or length"
            raise DecodeError(message, culprits=(sender,))

    def block(self) -> bytes:
        """The next block, as a message of its own; after the last one the source must end."""
        data = self._single + _exactly(self._source, self._size, self._sender)
        self._left -= 1
        if not self._left and self._source.read(1):
            raise DecodeError(f"{self._sender}: bytes follow the last block", culprits=(self._sender,))
        return data


def check_stream(source: Source, key: JointKey, *, blocks: int, sender: str) -> bytes:
    """Check a client's whole message as `EncryptedVector.decode` does. Run by: anyone, before it is added.

    Returns: its SHA-256, to be compared with the commitment.

    Raises:
        DecodeError: it is not the one encoding of so many ciphertexts under `key`; `culprits` names the sender.
    """
    message = _Message(source, wire.WireKind.CIPHERTEXT, key, blocks=blocks, sender=sender)
    hashed = hashlib.sha256(message.head)
    for _ in range(blocks):
        data = message.block()
        Adder(key, 1, most=1).add(data, sender=sender)
        hashed.update(memoryview(data)[wire.HEADER_BYTES :])
    return hashed.digest()


def add_streams(sources: Mapping[str, Source], key: JointKey, *, blocks: int, most: int) -> Iterator[EncryptedVector]:
    """The sum of the senders' messages, which `check_stream` has accepted, as one vector of one block after the other.

    Run by: anyone. `most` is how many ciphertexts may be summed, `NoiseBudget.clients`.

    Raises:
        ValueError: there is no sender.
        CapacityError: there are more than `most`; nothing was yielded.
        DecodeError: a message is malformed after all; `culprits` names the sender, and what was yielded before is void.
    """
    messages = {
        sender: _Message(source, wire.WireKind.CIPHERTEXT, key, blocks=blocks, sender=sender)
        for sender, source in sources.items()
    }
    for _ in range(blocks):
        adder = Adder(key, 1, most=most)
        for sender, message in messages.items():
            adder.add(message.block(), sender=sender)
        yield adder.total()


def answer_stream(
    key: MemberKey, total: Iterable[EncryptedVector], active: Sequence[int], *, blocks: int
) -> Iterator[bytes]:
    """A member's encoded answer to a sum of so many blocks, part by part: a header, then a part for each block.

    Run by: an active member, which has claimed this sum first.

    Raises:
        ValueError, QuorumError: see `partial_decrypt`; ValueError too if there are more or fewer blocks.
    """
    suite, done = key.joint.suite, 0
    yield wire.header(wire.WireKind.PARTIAL_DECRYPTION, blocks, suite.ring_degree, key.joint.digest)
    for part in total:
        yield partial_decrypt(key, part, active).encode()[wire.HEADER_BYTES :]
        done += part.blocks
    if done != blocks:
        raise ValueError(f"there are {done} blocks, not {blocks}")


def open_streams(
    total: Iterable[EncryptedVector],
    answers: Mapping[str, Source],
    key: JointKey,
    budget: NoiseBudget,
    layout: DigitLayout,
    *,
    blocks: int,
) -> Iterator[Int64Array]:
    """The exact sums of one block after the other, int64[1, k, N]: see `combine`. Run by: anyone.

    Raises:
        BadShareError: an answer is malformed (`culprits` names the sender) or a block does not open.
    """
    try:
        messages = {
            sender: _Message(source, wire.WireKind.PARTIAL_DECRYPTION, key, blocks=blocks, sender=sender)
            for sender, source in answers.items()
        }
        for part in total:
            given = {
                sender: PartialDecryption.decode(message.block(), key, sender=sender, blocks=1)
                for sender, message in messages.items()
            }
            yield combine(part, given, budget, layout).digits
    except DecodeError as exc:
        raise BadShareError(str(exc), culprits=exc.culprits) from exc
