"""Readers of the package `ledger`: entries, notes, checkpoints, cosignatures, proofs, published files, databases."""

from collections.abc import Sequence
from functools import cache
from random import Random

import pytest

from ledger import (
    COSIGNATURE_V1,
    Certificate,
    Checkpoint,
    ConsistencyError,
    CosigningWitness,
    DecodeError,
    EquivocationError,
    LedgerError,
    Log,
    MemoryStore,
    MemoryWitnessStore,
    NoteSignature,
    ProofError,
    QuorumError,
    SignatureError,
    StateError,
    Value,
    VerifierKey,
    Witness,
    WitnessState,
    certify,
    cosign,
    decode,
    encode,
    leaf_hash,
    parse_checkpoint,
    parse_entry,
    parse_note,
    parse_vkey,
    sign_checkpoint,
    sign_entry,
    verify_checkpoint,
    verify_consistency,
    verify_entry,
    verify_inclusion,
)
from ledger.note import parse_signature_line, sign_note
from tests.fuzz.mutation import altered, altered_value
from tests.fuzz.target import Target
from tests.ledger.federation import CONTEXT, NAMES, ORIGIN, Federation, key_of

NOW = 1_700_000_000
SEQUENCER = VerifierKey(ORIGIN, 1, key_of("sequencer").public)
TREE = 300  # entries: one full tile, one partial tile, one hash above
CBOR_MULTIPLE = 320  # an empty map is one byte, and three objects while it is read


def text_of(data: bytes) -> str:
    """Any bytes as a text; what is not UTF-8 becomes lone surrogates, which a text from elsewhere can hold."""
    return data.decode("utf-8", "surrogateescape")


def bytes_of(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


# Restricted CBOR


def read_cbor(data: bytes) -> None:
    value = decode(data)
    assert encode(value) == data


def cbor_seeds() -> Sequence[bytes]:
    nested: Value = []
    for _ in range(7):
        nested = [nested]
    values: tuple[Value, ...] = (
        0, 23, 24, 2**64 - 1, -1, -(2**64), b"", bytes(300), "", "a longer text, é", [], {}, nested,
        [1, [2, b"three", "four", {0: [], 1: {}, -1: 5}], -6], {i: bytes([i]) for i in range(30)},
    )  # fmt: skip
    return [encode(value) for value in values]


def other_cbor(rng: Random, data: bytes) -> bytes:
    try:
        return encode(altered_value(rng, decode(data)))
    except (DecodeError, ValueError):
        return altered(rng, data)


# Entries


def read_entry(data: bytes) -> None:
    entry = parse_entry(data)
    assert entry.encoded == data
    verify_entry(entry, key_of(entry.sender).public if entry.sender in NAMES else key_of("x").public, context=CONTEXT)
    again = sign_entry(entry.kind, entry.sender, entry.body, key_of(entry.sender), context=CONTEXT)
    assert again == data


def entry_seeds() -> Sequence[bytes]:
    bodies: tuple[Value, ...] = ([], {1: 2}, b"body", "text", [1, [2, {3: b"4"}]], 7)
    return [sign_entry(i, NAMES[i % 5], body, key_of(NAMES[i % 5]), context=CONTEXT) for i, body in enumerate(bodies)]


def resigned_entry(rng: Random, data: bytes) -> bytes:
    """An entry with another content under a good signature; or one whose inner encodings are changed."""
    try:
        entry, parts = parse_entry(data), decode(data)
    except DecodeError:
        return altered(rng, data)
    assert isinstance(parts, list)
    try:
        if rng.random() < 0.5:
            body = altered_value(rng, entry.body)
            return sign_entry(entry.kind, entry.sender, body, key_of(entry.sender), context=CONTEXT)
        at = rng.choice((0, 2))
        inner = parts[at]
        assert isinstance(inner, bytes)
        parts[at] = encode(altered_value(rng, decode(inner)))
        return encode(parts)
    except (TypeError, ValueError):
        return altered(rng, data)


# Notes, keys and checkpoints


@cache
def certified() -> tuple[Federation, Certificate]:
    """A log of `TREE` entries and its certificate. Not to be changed."""
    federation = Federation()
    return federation, federation.grow(TREE)


def read_note(data: bytes) -> None:
    assert parse_note(data).encode() == data


def read_vkey(data: bytes) -> None:
    assert bytes_of(parse_vkey(text_of(data)).to_vkey()) == data


def read_signature_line(data: bytes) -> None:
    assert bytes_of(parse_signature_line(text_of(data)).line()) == data


def read_checkpoint_text(data: bytes) -> None:
    assert bytes_of(parse_checkpoint(text_of(data)).text()) == data


def checkpoint_of(size: int) -> bytes:
    """What the log signed when it had this size."""
    return sign_checkpoint(Checkpoint(ORIGIN, size, certified()[0].log.root(size)), key_of("sequencer"))


def certificate_seeds() -> Sequence[bytes]:
    return [certified()[1].note]


def signed_seeds() -> Sequence[bytes]:
    return [certified()[1].note, checkpoint_of(7)]


def note_seeds() -> Sequence[bytes]:
    federation, certificate = certified()
    plain = sign_note("a text\n\nof lines\n", "a-name", key_of("a-name")).encode()
    return [certificate.note, federation.log.checkpoint(), plain]


def vkey_seeds() -> Sequence[bytes]:
    federation, _ = certified()
    return [bytes_of(key.to_vkey()) for key in (SEQUENCER, *(w.verifier for w in federation.witnesses.values()))]


def line_seeds() -> Sequence[bytes]:
    note = parse_note(certified()[1].note)
    return [bytes_of(signature.line()) for signature in note.signatures]


def checkpoint_seeds() -> Sequence[bytes]:
    empty = Log(MemoryStore(), ORIGIN, key_of("sequencer")).checkpoint()
    return [bytes_of(parse_note(note).text) for note in (certified()[1].note, empty)]


def other_lines(rng: Random, data: bytes) -> bytes:
    """Lines doubled, dropped or moved: what stays is well-formed."""
    lines = data.split(b"\n")
    at, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    match rng.randrange(5):
        case 0:
            del lines[at]
        case 1:
            lines.insert(other, lines[at])
        case 2:
            lines[at], lines[other] = lines[other], lines[at]
        case 3:
            lines[at:at] = [lines[-2 if len(lines) > 1 else 0]] * rng.choice((1, 62, 65, 1000))
        case _:
            lines[at] = altered(rng, lines[at])
    return b"\n".join(lines)


def certified_by_log(data: bytes) -> None:
    checkpoint = verify_checkpoint(data, SEQUENCER)
    assert parse_note(data).text == checkpoint.text()


def certified_by_quorum(data: bytes) -> None:
    certificate = certified()[0].policy.verify(data)
    assert certificate.note == data
    assert len(certificate.cosigners) >= 4


def resigned_note(rng: Random, data: bytes) -> bytes:
    """Another text, signed by the log and by some witnesses, so that only what it says can be refused."""
    head, _, _ = data.partition(b"\n\n")
    text = head + b"\n" if rng.random() < 0.3 else other_lines(rng, head + b"\n")
    try:
        note = sign_note(text.decode(), ORIGIN, key_of("sequencer"))
    except ValueError:
        return altered(rng, data)
    lines = note.encode()
    for name in rng.sample(NAMES, rng.randrange(6)):
        stamp = rng.choice((0, NOW, 2**63 - 1, 2**63, 2**64 - 1))
        body = b"cosignature/v1\ntime %d\n" % stamp + text
        signature = stamp.to_bytes(8, "big") + key_of(name).sign(body)
        key_id = VerifierKey(name, COSIGNATURE_V1, key_of(name).public).key_id
        lines += bytes_of(NoteSignature(name, key_id, signature).line())
    return lines if rng.random() < 0.7 else other_lines(rng, lines)


# Proofs and the witness


def read_proof(data: bytes) -> None:
    """The first byte says which proof; then come two sizes of 8 bytes; then hashes."""
    log = certified()[0].log
    one, two = int.from_bytes(data[1:9], "big"), int.from_bytes(data[9:17], "big")
    hashes = [data[i : i + 32] for i in range(17, len(data), 32)]
    if data[:1] == b"\x01":
        stated = log.root(two) if two <= TREE else bytes(32)
        leaf = leaf_hash(log.entry(one)) if one < TREE else bytes(32)
        verify_inclusion(leaf, one, two, hashes, stated)
        assert log.inclusion_proof(one, two) == hashes
    else:
        roots = [log.root(size) if size <= TREE else bytes(32) for size in (one, two)]
        verify_consistency(one, two, hashes, *roots)
        assert (one == two and not hashes) or log.consistency_proof(one, two) == hashes


def proof_seeds() -> Sequence[bytes]:
    log = certified()[0].log
    seeds = []
    for one, two in ((0, 1), (5, 7), (7, 256), (255, 300), (256, 300), (299, 300)):
        sizes = one.to_bytes(8, "big") + two.to_bytes(8, "big")
        seeds.append(b"\x01" + sizes + b"".join(log.inclusion_proof(one, two)))
        if one:
            seeds.append(b"\x00" + sizes + b"".join(log.consistency_proof(one, two)))
    return seeds


def add_checkpoint(data: bytes) -> None:
    """One byte: the size cosigned before. Two: the size stated. Then a byte of hashes, these, and the note."""
    federation = certified()[0]
    before, stated, count = data[0:1], int.from_bytes(data[1:3], "big"), int.from_bytes(data[3:4], "big")
    store = MemoryWitnessStore()
    witness = Witness(NAMES[0], key_of(NAMES[0]), SEQUENCER, store)
    size = int.from_bytes(before, "big")
    if size:
        witness.add_checkpoint(0, [], checkpoint_of(size), now=NOW)
    state = store.load()
    proof, note = [data[4 + 32 * i : 36 + 32 * i] for i in range(count)], data[4 + 32 * count :]
    try:
        witness.add_checkpoint(stated, proof, note, now=NOW)
    except LedgerError:
        assert store.load() == state  # what is refused is not recorded
        raise
    recorded = store.load()
    assert isinstance(recorded, WitnessState)
    assert recorded.size >= size
    assert recorded.root == federation.log.root(recorded.size)


def request_seeds() -> Sequence[bytes]:
    log = certified()[0].log
    seeds = []
    for old, new in ((0, 300), (7, 300), (128, 256), (255, 255)):
        proof = log.consistency_proof(old, new) if 0 < old < new else []
        stated = bytes([old]) + old.to_bytes(2, "big") + bytes([len(proof)])
        seeds.append(stated + b"".join(proof) + checkpoint_of(new))
    return seeds


class Answering:
    """A witness far away that answers with a text of its choice."""

    size = 0

    def __init__(self, answer: str) -> None:
        self._answer = answer

    def add_checkpoint(self, old_size: int, proof: Sequence[bytes], note: bytes, *, now: int) -> str:
        return self._answer


def certify_with(data: bytes) -> None:
    """What one witness answers must never keep the others from certifying."""
    federation = Federation()
    federation.log.append(b"entry")
    witnesses: dict[str, CosigningWitness | None] = {**federation.witnesses, NAMES[0]: Answering(text_of(data))}
    certificate = certify(federation.log, witnesses, federation.policy, now=NOW)
    assert set(certificate.cosigners) >= set(NAMES[1:])
    if NAMES[0] in certificate.cosigners:
        assert data.startswith(bytes_of(f"\u2014 {NAMES[0]} "))
        return
    with pytest.raises(QuorumError) as caught:  # without another one it is one too few, and blamed
        certify(federation.log, {**witnesses, NAMES[1]: None}, federation.policy, now=NOW)
    assert NAMES[0] in caught.value.missing
    raise caught.value


def reply_seeds() -> Sequence[bytes]:
    federation = Federation()
    federation.log.append(b"entry")
    stamps = (0, NOW, 2**63 - 1)
    return [bytes_of(cosign(federation.log.checkpoint(), NAMES[0], key_of(NAMES[0]), now=at)) for at in stamps]


def other_reply(rng: Random, data: bytes) -> bytes:
    """A well-formed line of another name, key or signature, as long as a line may be, or longer."""
    name = rng.choice((NAMES[0], NAMES[2], "x", "n" * rng.choice((1000, 65_000, 65_430))))
    key_id = VerifierKey(NAMES[0], COSIGNATURE_V1, key_of(NAMES[0]).public).key_id
    signature = rng.randbytes(rng.choice((1, 71, 72, 73, 40_000, 49_000)))
    return bytes_of(NoteSignature(name, rng.choice((key_id, bytes(4))), signature).line())


REFUSED_REQUESTS = (DecodeError, SignatureError, ConsistencyError, EquivocationError, StateError)
LEDGER_TARGETS = (
    Target(
        "ledger.cbor", read_cbor, (DecodeError,), cbor_seeds, other_cbor, share=4, slack=1 << 17,
        multiple=CBOR_MULTIPLE,
    ),
    Target(
        "ledger.entry", read_entry, (DecodeError, SignatureError), entry_seeds, resigned_entry, share=3, slack=1 << 17,
        multiple=CBOR_MULTIPLE,
    ),
    Target("ledger.note", read_note, (DecodeError,), note_seeds, other_lines, share=3),
    Target("ledger.vkey", read_vkey, (DecodeError,), vkey_seeds, share=2),
    Target("ledger.signature-line", read_signature_line, (DecodeError,), line_seeds, share=2),
    Target("ledger.checkpoint", read_checkpoint_text, (DecodeError,), checkpoint_seeds, other_lines, share=2),
    Target("ledger.signed-checkpoint", certified_by_log, (DecodeError, SignatureError), signed_seeds, resigned_note),
    Target(
        "ledger.certificate", certified_by_quorum, (DecodeError, SignatureError, QuorumError), certificate_seeds,
        resigned_note,
    ),
    Target("ledger.proof", read_proof, (ProofError, ConsistencyError), proof_seeds, share=2),
    Target("ledger.add-checkpoint", add_checkpoint, REFUSED_REQUESTS, request_seeds, share=0.5),
    Target(
        "ledger.witness-reply", certify_with, (QuorumError,), reply_seeds, other_reply, share=0.3, slack=1 << 18,
        multiple=40,
    ),
)  # fmt: skip
