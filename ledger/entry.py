"""One signed entry of the log: a COSE_Sign1 over restricted deterministic CBOR.

Spec: RFC 9052 §4.2 and §4.4, untagged. `[protected, {}, payload, signature]` where `protected` is the encoding of
`{1: -8, 4: sender}` (EdDSA, key identifier), `payload` the encoding of `[1, kind, body]` (1 is the version), and
`external_aad` is the context: the 32-byte hash of the genesis entry, empty for the genesis entry itself. An entry
therefore verifies in one federation only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from .cbor import Value, decode, encode
from .errors import DecodeError, SignatureError
from .octets import is_octets
from .signing import SIGNATURE_SIZE, SigningKey, verify_strict

__all__ = [
    "CONTEXT_SIZE",
    "ENTRY_VERSION",
    "MAX_ENTRY",
    "MAX_SENDER",
    "Entry",
    "parse_entry",
    "sign_entry",
    "verify_entry",
]

MAX_ENTRY: Final = 65535
"""Bytes an entry may have (tlog-tiles: the length prefix is a uint16)."""
MAX_SENDER: Final = 255
"""UTF-8 bytes a sender's name may have."""
CONTEXT_SIZE: Final = 32
ENTRY_VERSION: Final = 1
_ALG_EDDSA: Final = -8


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


@dataclass(frozen=True, slots=True)
class _Sign1:
    """The parts of a COSE_Sign1 that vary."""

    protected: bytes
    payload: bytes
    signature: bytes


def sign_entry(kind: int, sender: str, body: Value, key: SigningKey, *, context: bytes) -> bytes:
    """Sign an entry and return its bytes.

    Run by: the sender.  Spec: RFC 9052 §4.4.

    Guarantees: deterministic; `parse_entry` accepts the result.
    Raises:
        TypeError, ValueError: kind, sender, body or context are not allowed, or the entry is over `MAX_ENTRY` bytes.
    """
    _check_kind(kind)
    _check_sender(sender)
    protected = encode({1: _ALG_EDDSA, 4: sender.encode()})
    payload = encode([ENTRY_VERSION, kind, body])
    signature = key.sign(_sig_structure(protected, payload, context))
    encoded = encode([protected, {}, payload, signature])
    if len(encoded) > MAX_ENTRY:
        raise ValueError(
            f"an entry of {len(encoded)} bytes is over {MAX_ENTRY}: put the bulk into a blob, its digest here"
        )
    return encoded


def parse_entry(data: bytes) -> Entry:
    """Read an entry's structure; the signature is not verified here.

    Run by: anyone, on hostile bytes.

    Raises:
        DecodeError: not the one spelling of an entry.
    """
    if len(data) > MAX_ENTRY:
        raise DecodeError(f"an entry of {len(data)} bytes is over {MAX_ENTRY}")
    parts = _split(data)
    header = decode(parts.protected)
    if not (isinstance(header, dict) and header.keys() == {1, 4} and header[1] == _ALG_EDDSA):
        raise DecodeError("the protected header of an entry is {1: -8, 4: sender}")
    name = header[4]
    if not isinstance(name, bytes):
        raise DecodeError("the key identifier of an entry is a byte string")
    payload = decode(parts.payload)
    if not (isinstance(payload, list) and len(payload) == 3 and payload[0] == ENTRY_VERSION):
        raise DecodeError(f"the payload of an entry is [{ENTRY_VERSION}, kind, body]")
    kind = payload[1]
    try:
        if not isinstance(kind, int):
            raise TypeError("an entry's kind is an int")
        return Entry(kind=kind, sender=name.decode("utf-8"), body=payload[2], encoded=bytes(data))
    except (TypeError, ValueError) as exc:
        raise DecodeError(f"not an entry: {exc}") from exc


def verify_entry(entry: Entry, public: bytes, *, context: bytes) -> None:
    """Verify that the holder of `public` signed this entry in this context.

    Run by: anyone.  Spec: RFC 9052 §4.4.

    Raises:
        SignatureError: not signed by that key in that context; `culprits` is the sender.
        ValueError: the entry's fields are not those of its bytes, or the context has a wrong size.
    """
    if parse_entry(entry.encoded) != entry:
        raise ValueError("the entry's fields are not those of its bytes: use parse_entry")
    parts = _split(entry.encoded)
    message = _sig_structure(parts.protected, parts.payload, context)
    try:
        verify_strict(public, parts.signature, message)
    except SignatureError as exc:
        raise SignatureError(
            f"entry of kind {entry.kind} is not signed by {entry.sender} for this federation: {exc}",
            culprits=(entry.sender,),
        ) from exc


def _split(data: bytes) -> _Sign1:
    outer = decode(data, max_size=MAX_ENTRY)
    if not (isinstance(outer, list) and len(outer) == 4 and outer[1] == {}):
        raise DecodeError("an entry is a COSE_Sign1 [protected, {}, payload, signature]")
    protected, _, payload, signature = outer
    if not (isinstance(protected, bytes) and isinstance(payload, bytes) and isinstance(signature, bytes)):
        raise DecodeError("an entry's header, payload and signature are byte strings")
    if len(signature) != SIGNATURE_SIZE:
        raise DecodeError(f"an entry's signature is {SIGNATURE_SIZE} bytes")
    return _Sign1(protected, payload, signature)


def _sig_structure(protected: bytes, payload: bytes, context: bytes) -> bytes:
    if not (is_octets(context, CONTEXT_SIZE) or is_octets(context, 0)):
        raise ValueError(f"the context is the {CONTEXT_SIZE}-byte hash of the genesis entry, or empty for that entry")
    return encode(["Signature1", protected, context, payload])


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
