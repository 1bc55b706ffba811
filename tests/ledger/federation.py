"""A log with five witnesses, made from fixed seeds."""

from dataclasses import dataclass, field

from ledger import (
    Certificate,
    Log,
    MemoryStore,
    MemoryWitnessStore,
    Policy,
    SigningKey,
    Store,
    Witness,
    certify,
    sign_entry,
)

ORIGIN = "example.com/federation"
NAMES = tuple(f"member-{i}" for i in range(1, 6))
CONTEXT = bytes(range(32))


def key_of(name: str) -> SigningKey:
    return SigningKey.from_seed(name.encode().ljust(32, b"\x00"))


def signed(number: int, *, size: int = 20) -> bytes:
    return sign_entry(1, "client-1", {1: number, 2: bytes(size)}, key_of("client-1"), context=CONTEXT)


@dataclass
class Federation:
    """The parts, and the shortest way to have the log certified."""

    store: Store = field(default_factory=MemoryStore)

    def __post_init__(self) -> None:
        self.log = Log(self.store, ORIGIN, key_of("sequencer"))
        self.witnesses = {name: Witness(name, key_of(name), self.log.verifier, MemoryWitnessStore()) for name in NAMES}
        self.policy = Policy(ORIGIN, self.log.verifier, tuple(w.verifier for w in self.witnesses.values()))

    def certify(self, *, now: int = 1_700_000_000) -> Certificate:
        return certify(self.log, self.witnesses, self.policy, now=now)

    def grow(self, count: int) -> Certificate:
        """Append that many entries in one batch, and have the log certified."""
        self.log.append_all([b"entry %d" % i for i in range(self.log.size, self.log.size + count)])
        return self.certify()
