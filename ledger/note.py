"""Signed notes: a text with signature lines under it, and the keys that verify them.

Spec: C2SP signed-note v1. Three signature types are supported: 0x01 (Ed25519 over the text), 0x04 (timestamped Ed25519
cosignature) and 0x06 (timestamped ML-DSA-44 cosignature; see `ledger.cosign` for both).
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from .errors import DecodeError, SignatureError
from .mldsa import MAX_NAME, MLDSA44_PUBLIC_SIZE
from .octets import is_octets
from .signing import PUBLIC_SIZE, SigningKey, verify_strict, weak

__all__ = [
    "COSIGNATURE_V1",
    "ED25519",
    "MAX_NOTE",
    "MAX_SIGNATURES",
    "MLDSA44",
    "Note",
    "NoteSignature",
    "VerifierKey",
    "parse_note",
    "parse_signature_line",
    "parse_vkey",
    "sign_note",
    "verify_note",
]

ED25519: Final = 0x01
COSIGNATURE_V1: Final = 0x04
MLDSA44: Final = 0x06
MAX_NOTE: Final = 64 * 1024
"""Bytes a note may have."""
MAX_SIGNATURES: Final = 64
_KEY_ID_SIZE: Final = 4
_EM_DASH: Final = "\u2014 "


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """One signature line. Shapes: key_id 4 bytes, signature 1 byte or more."""

    name: str
    key_id: bytes
    signature: bytes

    def __post_init__(self) -> None:
        _check_name(self.name)
        if not is_octets(self.key_id, _KEY_ID_SIZE) or not is_octets(self.signature, 1, MAX_NOTE):
            raise ValueError("a note signature is a key ID of 4 bytes and at least one byte more")

    def line(self) -> str:
        """The line as it stands in a note, with its newline."""
        return f"{_EM_DASH}{self.name} {b64encode(self.key_id + self.signature).decode()}\n"


@dataclass(frozen=True, slots=True)
class Note:
    """A text ending in a newline, and 1 to `MAX_SIGNATURES` signatures, not verified yet."""

    text: str
    signatures: tuple[NoteSignature, ...]

    def __post_init__(self) -> None:
        if not self.text.endswith("\n") or any(c < " " and c != "\n" for c in self.text):
            raise ValueError("a note's text ends in a newline and has no other control characters")
        if not 1 <= len(self.signatures) <= MAX_SIGNATURES:
            raise ValueError(f"a note has 1 to {MAX_SIGNATURES} signatures")
        if len(self.encode()) > MAX_NOTE:
            raise ValueError(f"a note is at most {MAX_NOTE} bytes")

    def encode(self) -> bytes:
        """The note's bytes."""
        return (self.text + "\n" + "".join(s.line() for s in self.signatures)).encode("utf-8")

    def signatures_by(self, key: VerifierKey) -> tuple[bytes, ...]:
        """The signatures whose name and key ID are this key's. They still have to be verified."""
        key_id = key.key_id
        return tuple(s.signature for s in self.signatures if s.name == key.name and s.key_id == key_id)


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A named public key for one signature type. Shapes: public 32 bytes (Ed25519) or 1312 bytes (ML-DSA-44).

    The name of an ML-DSA-44 key has at most 255 bytes, because the message it signs holds no longer one.
    """

    name: str
    kind: int
    public: bytes

    def __post_init__(self) -> None:
        _check_name(self.name)
        if self.kind not in (ED25519, COSIGNATURE_V1, MLDSA44):
            raise ValueError(f"signature type {self.kind:#04x} is not supported")
        if self.kind == MLDSA44:
            if not is_octets(self.public, MLDSA44_PUBLIC_SIZE) or len(self.name.encode("utf-8")) > MAX_NAME:
                raise ValueError(
                    f"not an ML-DSA-44 key of {MLDSA44_PUBLIC_SIZE} bytes under a name of at most {MAX_NAME}"
                )
        elif not is_octets(self.public, PUBLIC_SIZE) or weak(self.public):
            raise ValueError(f"{self.name}: not a canonical Ed25519 public key of {PUBLIC_SIZE} bytes")

    @property
    def key_id(self) -> bytes:
        """First 4 bytes of SHA-256(name, newline, type, public key)."""
        return sha256(self.name.encode("utf-8") + b"\n" + bytes([self.kind]) + self.public).digest()[:_KEY_ID_SIZE]

    def to_vkey(self) -> str:
        """Write as `name+keyid+base64(type || public key)`."""
        return f"{self.name}+{self.key_id.hex()}+{b64encode(bytes([self.kind]) + self.public).decode()}"


def parse_vkey(text: str) -> VerifierKey:
    """Read a verifier key.

    Raises:
        DecodeError: not a verifier key of a supported type, or its key ID is another key's.
    """
    if len(text) > MAX_NOTE:
        raise DecodeError("a verifier key is longer than a note may be")
    parts = text.split("+", 2)
    if len(parts) != 3:
        raise DecodeError("a verifier key is name+keyid+base64")
    material = _base64(parts[2])
    try:
        key = VerifierKey(parts[0], material[0] if material else 0, material[1:])
    except ValueError as exc:
        raise DecodeError(f"not a verifier key: {exc}") from exc
    if key.to_vkey() != text:
        raise DecodeError(f"the key ID in the verifier key of {key.name} is not that key's")
    return key


def parse_note(data: bytes) -> Note:
    """Read a note; nothing is verified.

    Run by: anyone, on hostile bytes.

    Raises:
        DecodeError: not the one spelling of a note, over `MAX_NOTE` bytes, or over `MAX_SIGNATURES` signatures.
    """
    if len(data) > MAX_NOTE:
        raise DecodeError(f"a note of {len(data)} bytes is over {MAX_NOTE}")
    end = data.rfind(b"\n\n")
    if end < 0 or not data.endswith(b"\n"):
        raise DecodeError("a note is a text, an empty line and signature lines, each ending in a newline")
    lines = data[end + 2 :].split(b"\n")[:-1]
    if len(lines) > MAX_SIGNATURES:
        raise DecodeError(f"a note has at most {MAX_SIGNATURES} signatures")
    try:
        note = Note(
            data[: end + 1].decode("utf-8"), tuple(parse_signature_line(n.decode("utf-8") + "\n") for n in lines)
        )
    except ValueError as exc:
        raise DecodeError(f"not a note: {exc}") from exc
    if note.encode() != data:
        raise DecodeError("the note is not in its one spelling")
    return note


def parse_signature_line(line: str) -> NoteSignature:
    """Read one signature line, newline included.

    Raises:
        DecodeError: not the one spelling of a signature line.
    """
    if len(line) > MAX_NOTE:
        raise DecodeError("a signature line is longer than a note may be")
    parts = line[:-1].split(" ")
    if len(parts) != 3 or parts[0] != _EM_DASH[0]:
        raise DecodeError("a signature line is an em dash, a key name and base64")
    material = _base64(parts[2])
    try:
        parsed = NoteSignature(parts[1], material[:_KEY_ID_SIZE], material[_KEY_ID_SIZE:])
    except ValueError as exc:
        raise DecodeError(f"not a signature line: {exc}") from exc
    if parsed.line() != line:
        raise DecodeError("the signature line is not in its one spelling")
    return parsed


def sign_note(text: str, name: str, key: SigningKey) -> Note:
    """Make a note with one Ed25519 signature (type 0x01) over its text.

    Raises:
        ValueError: the text or the name is not allowed in a note.
    """
    key_id = VerifierKey(name, ED25519, key.public).key_id
    return Note(text, (NoteSignature(name, key_id, key.sign(text.encode("utf-8"))),))


def verify_note(note: Note, key: VerifierKey) -> None:
    """Verify that a key of type 0x01 signed the note's text; every signature under that key must verify.

    Raises:
        SignatureError: no signature by the key, or one that does not verify; `culprits` is the key's name.
        ValueError: the key is not of type 0x01.
    """
    if key.kind != ED25519:
        raise ValueError(f"{key.name}: not a key of signature type 0x01")
    found = note.signatures_by(key)
    if not found:
        raise SignatureError(f"the note is not signed by {key.name}", culprits=(key.name,))
    for signature in found:
        try:
            verify_strict(key.public, signature, note.text.encode("utf-8"))
        except SignatureError as exc:
            raise SignatureError(f"the note's signature by {key.name} is bad: {exc}", culprits=(key.name,)) from exc


def _check_name(name: str) -> None:
    if not name or "+" in name or any(c.isspace() or c < " " for c in name):
        raise ValueError("a key name is not empty and has no spaces, control characters or plus")
    name.encode("utf-8")


def _base64(text: str) -> bytes:
    try:
        return b64decode(text.encode("ascii"), validate=True)
    except ValueError as exc:
        raise DecodeError("not base64") from exc
