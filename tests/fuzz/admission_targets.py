"""Readers on the way of an entry into the log: entries signed together, and the request and reply of `add-entries`."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from random import Random

from ledger import DecodeError, Log, MemoryStore, SignatureError, parse_entry, verify_entry
from ledger.cose import Inclusion, read_sign1
from ledger.entry import sign_bundle, verify_entries
from ledger.sequencer import Admission, Sequencer
from ledger.verifying import VerifierPool
from ledger.web.entries import decode_admissions, decode_entries, encode_admissions, encode_entries
from tests.fuzz.mutation import altered
from tests.fuzz.target import Target
from tests.ledger.federation import CONTEXT, NAMES, ORIGIN, key_of

KEYS = {name: key_of(name).public for name in NAMES}
COUNT = 3


def together(size: int, sender: str) -> list[bytes]:
    return sign_bundle([(i, {1: i}) for i in range(size)], sender, key_of(sender), context=CONTEXT)


# Entries signed together


def read_together(data: bytes) -> None:
    """What is accepted was signed, in this spelling; judged alone and judged among many, the verdict is the same."""
    [error] = verify_entries([data], KEYS, context=CONTEXT)
    entry = parse_entry(data)
    assert read_sign1(data).encode() == data
    if entry.sender in KEYS:
        try:
            verify_entry(entry, KEYS[entry.sender], context=CONTEXT)
        except SignatureError:
            assert isinstance(error, SignatureError)
            raise
        assert error is None
        assert data in signed_here()
    else:
        assert isinstance(error, SignatureError)
        raise error


@cache
def signed_here() -> frozenset[bytes]:
    return frozenset(together_seeds())


def together_seeds() -> Sequence[bytes]:
    return [
        *together(2, NAMES[0]), *together(3, NAMES[1]), *together(1, NAMES[2]), *together(64, NAMES[3])[::21],
        *together(23, NAMES[4])[20:],
    ]  # fmt: skip


def respelled(rng: Random, data: bytes) -> bytes:
    """Another position, path, header or signature, all well-formed."""
    try:
        parts = read_sign1(data)
        other = read_sign1(rng.choice(together_seeds()))
        match rng.randrange(5):
            case 0:
                size = rng.choice((2, 3, 4, 5, 24, 64))
                path = parts.inclusion.path if parts.inclusion else (bytes(32),)
                return replace(parts, inclusion=Inclusion(size, rng.randrange(size), path)).encode()
            case 1:
                return replace(parts, inclusion=other.inclusion).encode()
            case 2:
                return replace(parts, protected=other.protected).encode()
            case 3:
                return replace(parts, signature=other.signature).encode()
            case _:
                return replace(parts, payload=altered(rng, parts.payload)[:300]).encode()
    except (DecodeError, ValueError):
        return altered(rng, data)


# The request and the reply of add-entries


def add_entries(data: bytes) -> None:
    """A request is decoded to its one spelling; every entry of it gets an index, or a reason, in a reply that reads."""
    entries = decode_entries(data)
    assert encode_entries(entries) == data
    with VerifierPool(KEYS, context=CONTEXT, workers=0) as pool:
        log = Log(MemoryStore(), ORIGIN, key_of("sequencer"))
        admissions = Sequencer(log, pool).admit(entries)
    good = [entry for entry, each in zip(entries, admissions, strict=True) if each.index is not None]
    assert log.entries() == list(dict.fromkeys(good))
    for entry, each in zip(entries, admissions, strict=True):
        assert each.index is None or log.entry(each.index) == entry
    assert decode_admissions(encode_admissions(admissions), len(entries)) == admissions


def request_seeds() -> Sequence[bytes]:
    return [
        encode_entries(together(3, NAMES[0])),
        encode_entries([b"no entry", *together(1, NAMES[1]), b"x"]),
        encode_entries(together(2, "nobody")),
    ]


def reframed(rng: Random, data: bytes) -> bytes:
    """Entries moved, doubled, cut or changed under lengths that fit."""
    try:
        entries = decode_entries(data)
        at = rng.randrange(len(entries))
        match rng.randrange(4):
            case 0:
                entries.insert(rng.randrange(len(entries)), entries[at])
            case 1:
                entries[at] = altered(rng, entries[at])[:65_535]
            case 2:
                entries[at:at] = [b"x"] * rng.choice((1, 100, 3000))
            case _:
                del entries[at]
        return encode_entries(entries)
    except (DecodeError, ValueError):
        return altered(rng, data)


def read_reply(data: bytes) -> None:
    assert encode_admissions(decode_admissions(data, COUNT)) == data


def reply_seeds() -> Sequence[bytes]:
    indices = [Admission(index=i) for i in (0, 10**18, 2**63 - 1)]
    reasons = [Admission(reason=text) for text in ("no key of é is known here", "x" * 200, "…")]
    return [encode_admissions(indices), encode_admissions(reasons), encode_admissions([*indices[:2], reasons[0]])]


ADMISSION_TARGETS = (
    Target(
        "ledger.together", read_together, (DecodeError, SignatureError), together_seeds, respelled, share=2,
        slack=1 << 17, multiple=320,
    ),
    Target(
        "ledger.add-entries", add_entries, (DecodeError,), request_seeds, reframed, share=1, slack=1 << 20,
        multiple=1000,
    ),
    Target("ledger.add-entries-reply", read_reply, (DecodeError,), reply_seeds, share=2, multiple=40),
)  # fmt: skip
