"""One signed entry of the log: a COSE_Sign1 over restricted deterministic CBOR.

Spec: RFC 9052 §4.2 and §4.4, untagged. `[protected, {}, payload, signature]` where `protected` is the encoding of
`{1: -8, 4: sender}` (EdDSA, key identifier), `payload` the encoding of `[1, kind, body]` (1 is the version), and
`external_aad` is the context: the 32-byte hash of the genesis entry, empty for the genesis entry itself. An entry
therefore verifies in one federation only.

One signature may cover 2 to 64 entries, each of which still stands alone: `[protected, {396: {-1: [proof]}}, payload,
signature]` where `protected` has `395: 1` besides (RFC 9942 §5.2: the Merkle tree of RFC 9162), `proof` is the encoding
of `[size, index, path]`, and the signature is over the root of the tree whose leaves are the payloads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from .cbor import Value, decode, encode
from .cose import MAX_TOGETHER, Inclusion, Sign1, read_sign1, sig_structure
from .errors import DecodeError, LedgerError, SignatureError
from .merkle import Tree, leaf_hash
from .octets import is_octets
from .signing import SigningKey, verify_strict

__all__ = [
    "CONTEXT_SIZE",
    "ENTRY_VERSION",
    "MAX_ENTRY",
    "MAX_SENDER",
    "MAX_TOGETHER",
    "Entry",
    "check_context",
    "parse_entry",
    "sign_bundle",
    "sign_entry",
    "verify_entries",
    "verify_entry",
]

MAX_ENTRY: Final = 65535
"""Bytes an entry may have (tlog-tiles: the length prefix is a uint16)."""
MAX_SENDER: Final = 255
"""UTF-8 bytes a sender's name may have."""
CONTEXT_SIZE: Final = 32
ENTRY_VERSION: Final = 1
_ALG_EDDSA: Final = -8
_VDS: Final = 395
_RFC9162_SHA256: Final = 1
_MAX_PROTECTED: Final = MAX_SENDER + 16


@dataclass(frozen=True, slots=True)
class Entry:
    """A parsed entry. `encoded` is what was signed and what the log holds; the other fields are read from it.

    Units: kind is a number in [0, 2^64 - 1] whose meaning the layer above defines.
    """

    kind: int
    sender: str
    body: Value
    encoded: bytes

    def __post_init__(self) -> None:
        _check_kind(self.kind)
        _check_sender(self.sender)
        if not is_octets(self.encoded, 1, MAX_ENTRY):
            raise ValueError(f"an entry has 1 to {MAX_ENTRY} bytes")


def sign_entry(kind: int, sender: str, body: Value, key: SigningKey, *, context: bytes) -> bytes:
    """Sign an entry and return its bytes.

    Run by: the sender.  Spec: RFC 9052 §4.4.

    Guarantees: deterministic; `parse_entry` accepts the result.
    Raises:
        TypeError, ValueError: kind, sender, body or context are not allowed, or the entry is over `MAX_ENTRY` bytes.
    """
    check_context(context)
    _check_sender(sender)
    protected, payload = _protected(sender, together=False), _payload(kind, body)
    return _bounded(Sign1(protected, None, payload, key.sign(sig_structure(protected, context, payload))))


def sign_bundle(contents: Sequence[tuple[int, Value]], sender: str, key: SigningKey, *, context: bytes) -> list[bytes]:
    """Sign up to 64 entries, each a kind and a body, with one signature, and return the bytes of each.

    Run by: the sender.  Spec: RFC 9942 §5.2, RFC 6962 §2.1.

    Guarantees: deterministic; each entry verifies without the others; a single one is signed by `sign_entry`.
    Raises:
        TypeError, ValueError: as `sign_entry`; or there are none, or more than `MAX_TOGETHER`.
    """
    if not 1 <= len(contents) <= MAX_TOGETHER:
        raise ValueError(f"1 to {MAX_TOGETHER} entries are signed together, not {len(contents)}")
    if len(contents) == 1:
        return [sign_entry(contents[0][0], sender, contents[0][1], key, context=context)]
    check_context(context)
    _check_sender(sender)
    protected = _protected(sender, together=True)
    payloads = [_payload(kind, body) for kind, body in contents]
    tree, size = Tree(), len(payloads)
    for payload in payloads:
        tree.append(leaf_hash(payload))
    signature = key.sign(sig_structure(protected, context, tree.root(), size))
    return [
        _bounded(Sign1(protected, Inclusion(size, i, tuple(tree.inclusion_proof(i, size))), payload, signature))
        for i, payload in enumerate(payloads)
    ]


def parse_entry(data: bytes) -> Entry:
    """Read an entry's structure; the signature is not verified here.

    Run by: anyone, on hostile bytes.

    Raises:
        DecodeError: not the one spelling of an entry.
    """
    parts, sender = _read_envelope(data)
    kind, body = _read_payload(parts.payload)
    return Entry(kind, sender, body, bytes(data))


def verify_entry(entry: Entry, public: bytes, *, context: bytes) -> None:
    """Verify that the holder of `public` signed this entry in this context.

    Run by: anyone.  Spec: RFC 9052 §4.4.

    Raises:
        SignatureError: not signed by that key in that context; `culprits` is the sender.
        ValueError: the entry's fields are not those of its bytes, or the context has a wrong size.
    """
    check_context(context)
    parts = read_sign1(entry.encoded)
    try:
        payload = _payload(entry.kind, entry.body)
    except (TypeError, ValueError) as exc:
        raise ValueError(f"the entry's fields are not those of its bytes: {exc}") from exc
    if parts.payload != payload or parts.protected != _protected(entry.sender, together=parts.inclusion is not None):
        raise ValueError("the entry's fields are not those of its bytes: use parse_entry")
    try:
        verify_strict(public, parts.signature, parts.message(context))
    except SignatureError as exc:
        raise _not_signed(f"entry of kind {entry.kind}", entry.sender, exc) from exc


def verify_entries(entries: Sequence[bytes], keys: Mapping[str, bytes], *, context: bytes) -> list[LedgerError | None]:
    """Judge entries by their bytes alone: for each None if its sender signed it in this context, else why not.

    Run by: the sequencer, on hostile bytes.  Shapes: keys maps senders to public keys of 32 bytes.  A signature that
    covers several of the entries is verified once.  What an entry says is read only after its signature was verified.

    Raises:
        ValueError: the context has a wrong size.
    """
    check_context(context)
    judged: dict[tuple[bytes, bytes], SignatureError | None] = {}
    return [_judge(data, keys, context, judged) for data in entries]


def _judge(
    data: bytes, keys: Mapping[str, bytes], context: bytes, judged: dict[tuple[bytes, bytes], SignatureError | None]
) -> LedgerError | None:
    # Whoever has no key costs an envelope and a signature, not the reading of a payload.
    try:
        parts, sender = _read_envelope(data)
    except DecodeError as exc:
        return exc
    public = keys.get(sender)
    if public is None:
        return SignatureError(f"no key of {sender} is known here", culprits=(sender,))
    message = parts.message(context)
    if parts.inclusion is None:
        found = _verified(public, parts.signature, message)
    else:
        # the message names sender, context, root and size; the key follows from the sender
        statement = (message, parts.signature)
        if statement not in judged:
            judged[statement] = _verified(public, parts.signature, message)
        found = judged[statement]
    if found is not None:
        return _not_signed("the entry", sender, found)
    try:
        _read_payload(parts.payload)
    except DecodeError as exc:
        return DecodeError(str(exc), culprits=(sender,))
    return None


def _verified(public: bytes, signature: bytes, message: bytes) -> SignatureError | None:
    try:
        verify_strict(public, signature, message)
    except SignatureError as exc:
        return exc
    return None


def _not_signed(what: str, sender: str, exc: SignatureError) -> SignatureError:
    return SignatureError(f"{what} is not signed by {sender} for this federation: {exc}", culprits=(sender,))


def _read_envelope(data: bytes) -> tuple[Sign1, str]:
    """An entry's parts, and its sender."""
    if len(data) > MAX_ENTRY:
        raise DecodeError(f"an entry of {len(data)} bytes is over {MAX_ENTRY}")
    parts = read_sign1(data)
    sender, together = _read_protected(parts.protected)
    if together != (parts.inclusion is not None):
        raise DecodeError("an entry has an inclusion proof if, and only if, its protected header has 395: 1")
    return parts, sender


def _read_payload(encoded: bytes) -> tuple[int, Value]:
    """Kind and body."""
    payload = decode(encoded)
    if not (isinstance(payload, list) and len(payload) == 3 and payload[0] == ENTRY_VERSION):
        raise DecodeError(f"the payload of an entry is [{ENTRY_VERSION}, kind, body]")
    kind = payload[1]
    if not (isinstance(kind, int) and 0 <= kind < 2**64):
        raise DecodeError("not an entry: an entry's kind is in [0, 2^64 - 1]")
    return kind, payload[2]


def _read_protected(protected: bytes) -> tuple[str, bool]:
    """The sender, and whether the signature is over several entries."""
    if len(protected) > _MAX_PROTECTED:
        raise DecodeError(f"the protected header of an entry is at most {_MAX_PROTECTED} bytes")
    return _read_short_protected(protected)


@lru_cache(maxsize=4096)
def _read_short_protected(protected: bytes) -> tuple[str, bool]:
    header = decode(protected)
    if not (isinstance(header, dict) and {1, 4} <= header.keys() <= {1, 4, _VDS} and header[1] == _ALG_EDDSA):
        raise DecodeError("the protected header of an entry is {1: -8, 4: sender}, or has 395: 1 besides")
    if header.get(_VDS, _RFC9162_SHA256) != _RFC9162_SHA256:
        raise DecodeError("the Merkle tree over several entries is that of RFC 9162 (395: 1)")
    name = header[4]
    if not isinstance(name, bytes):
        raise DecodeError("the key identifier of an entry is a byte string")
    try:
        sender = name.decode("utf-8")
        _check_sender(sender)
    except ValueError as exc:
        raise DecodeError(f"not an entry: {exc}") from exc
    return sender, _VDS in header


@lru_cache(maxsize=4096)
def _protected(sender: str, *, together: bool) -> bytes:
    header: dict[int, Value] = {1: _ALG_EDDSA, 4: sender.encode()}
    return encode({**header, _VDS: _RFC9162_SHA256} if together else header)


def _payload(kind: int, body: Value) -> bytes:
    _check_kind(kind)
    return encode([ENTRY_VERSION, kind, body])


def _bounded(parts: Sign1) -> bytes:
    encoded = parts.encode()
    if len(encoded) > MAX_ENTRY:
        raise ValueError(
            f"an entry of {len(encoded)} bytes is over {MAX_ENTRY}: put the bulk into a blob, its digest here"
        )
    return encoded


def check_context(context: bytes) -> None:
    """Check that a context is `CONTEXT_SIZE` bytes, or empty.

    Raises:
        ValueError: it is not.
    """
    if not (is_octets(context, CONTEXT_SIZE) or is_octets(context, 0)):
        raise ValueError(f"the context is the {CONTEXT_SIZE}-byte hash of the genesis entry, or empty for that entry")


def _check_kind(kind: int) -> None:
    if isinstance(kind, bool) or not isinstance(kind, int):
        raise TypeError("an entry's kind is an int")
    if not 0 <= kind < 2**64:
        raise ValueError("an entry's kind is in [0, 2^64 - 1]")


def _check_sender(sender: str) -> None:
    if not isinstance(sender, str):
        raise TypeError("a sender is a str")
    if not sender or len(sender.encode("utf-8")) > MAX_SENDER or not sender.isprintable():
        raise ValueError(f"a sender has 1 to {MAX_SENDER} UTF-8 bytes, all printable")
