"""The parties whose work is measured: a committee with a new key, and clients with made-up updates, in one process."""

import os
from dataclasses import dataclass
from typing import Final

import numpy as np

from protocols import DigitBlocks, Grid, GridVector, digit_width, pack
from protocols.arrays import Int64Array
from protocols.suites import RING_DEGREES, Suite, suite
from protocols.tckks import (
    Ceremony,
    EncryptedVector,
    Encryptor,
    JointKey,
    MemberKey,
    NoiseBudget,
    PartialDecryption,
    PieceKey,
    ReplicatedSharing,
    deal,
    derive_piece,
    join,
)

__all__ = ["HEAD_ROOM", "MINIMUM_RUNS", "VALUE_BITS", "CryptoSetting", "Parties", "full_bytes_per_value"]

VALUE_BITS: Final = 16
HEAD_ROOM: Final = 128  # clients that the digits and the noise budget have room for, if fewer take part
MINIMUM_RUNS: Final = 3


@dataclass(frozen=True, slots=True)
class CryptoSetting:
    """One job: so many values of so many clients, under a key of a replicated committee."""

    values: int = 1_000_000
    clients: int = 10
    members: int = 5
    threshold: int = 3
    degree: int = 16384
    runs: int = 7
    head_room: int = HEAD_ROOM

    def __post_init__(self) -> None:
        if self.values < 1 or self.clients < 2:
            raise ValueError("a sum needs at least one value and two clients")
        if self.degree not in RING_DEGREES:
            raise ValueError(f"the ring degree is one of {', '.join(map(str, RING_DEGREES))}, not {self.degree}")
        if self.runs < MINIMUM_RUNS:
            raise ValueError(f"a median needs at least {MINIMUM_RUNS} runs, not {self.runs}")
        if self.clients > self.head_room:
            raise ValueError(f"{self.clients} clients do not fit the head room of {self.head_room}")

    @property
    def suite(self) -> Suite:
        """The preset of the ring degree."""
        return suite(self.degree)

    @property
    def sharing(self) -> ReplicatedSharing:
        """How the key is shared."""
        return ReplicatedSharing(self.members, self.threshold)

    @property
    def grid(self) -> Grid:
        """The grid of the updates: 16 bits, from -1 to 1."""
        return Grid(VALUE_BITS, VALUE_BITS - 1)

    @property
    def active(self) -> tuple[int, ...]:
        """The members that decrypt."""
        return tuple(range(1, self.threshold + 1))


def full_bytes_per_value(setting: CryptoSetting, degree: int) -> tuple[float, float]:
    """Bytes for each value of an upload and of a member's answer, in ciphertexts that are full."""
    chosen = suite(degree)
    layout = NoiseBudget.of(chosen, setting.sharing, setting.head_room).layout(
        digit_width(setting.grid, setting.head_room)
    )
    # The difference of two lengths leaves out the header, which stands there once, however long the vector is.
    upload = EncryptedVector.encoded_size(chosen, 2) - EncryptedVector.encoded_size(chosen, 1)
    answer = PartialDecryption.encoded_size(chosen, 2) - PartialDecryption.encoded_size(chosen, 1)
    return round(upload / layout.values_per_block, 3), round(answer / layout.values_per_block, 3)


class Parties:
    """A key that was generated here and now, its members, and a client's encryptor."""

    def __init__(self, setting: CryptoSetting) -> None:
        self.setting, sharing = setting, setting.sharing
        ceremony = Ceremony(setting.suite, sharing, os.urandom(32))
        pieces: dict[int, PieceKey] = {}
        parts: dict[int, bytes] = {}
        for member in range(1, sharing.members + 1):
            for seed in deal(ceremony, member, rand=os.urandom(32)):
                pieces[seed.piece], parts[seed.piece] = derive_piece(ceremony, seed)
        self.key: JointKey = join(ceremony, parts)
        held = [{p: pieces[p] for p in sharing.held_by(m)} for m in range(1, sharing.members + 1)]
        self.members = tuple(MemberKey(m, self.key, own, sharing=sharing) for m, own in enumerate(held, start=1))
        self.budget = NoiseBudget.of(setting.suite, sharing, setting.head_room)
        self.width = digit_width(setting.grid, setting.head_room)
        self.layout = self.budget.layout(self.width)
        self.blocks = self.layout.blocks(setting.values)
        self.encryptor = Encryptor(self.key, self.budget, self.layout)

    def updates(self, clients: int) -> list[GridVector]:
        """One update a client: uniform on the whole grid, from the operating system."""
        return [GridVector(self.setting.grid, self._uniform()) for _ in range(clients)]

    def _uniform(self) -> Int64Array:
        largest = self.setting.grid.largest
        drawn = np.frombuffer(os.urandom(2 * self.setting.values), dtype="<i2").astype(np.int64)
        values: Int64Array = np.clip(drawn, -largest, largest)
        values.setflags(write=False)
        return values

    def pack(self, update: GridVector) -> DigitBlocks:
        """A client's digits."""
        return pack(update, self.layout, clients=self.setting.head_room)

    def upload(self, update: GridVector) -> bytes:
        """From grid integers to the bytes that travel: all that a client does."""
        return self.encryptor.encrypt(self.pack(update), rand=os.urandom(32)).encode()
