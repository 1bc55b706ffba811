"""The log: tree, signed checkpoints, and a witness.

Spec: RFC 6962 §2, RFC 8032 §5.1, C2SP signed-note and tlog-witness.
"""

import hashlib
from base64 import b64encode
from dataclasses import dataclass, field
from functools import cache

from .arithmetic import ExpectedFailure, sha

__all__ = ["Signer", "Witness", "checkpoint_text", "consistency_proof", "extends", "root"]

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
Point = tuple[int, int]


def _add(a: Point, b: Point) -> Point:
    (x1, y1), (x2, y2) = a, b
    k = D * x1 * x2 * y1 * y2 % P
    x = (x1 * y2 + x2 * y1) * pow(1 + k, -1, P)
    return x % P, (y1 * y2 + x1 * x2) * pow(1 - k, -1, P) % P


def _base() -> Point:
    y = 4 * pow(5, -1, P) % P
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square:
        x = x * pow(2, (P - 1) // 4, P) % P
    return (P - x if x % 2 else x), y


def _times(scalar: int) -> bytes:
    result, power = (0, 1), _base()
    while scalar:
        if scalar & 1:
            result = _add(result, power)
        power, scalar = _add(power, power), scalar >> 1
    x, y = result
    return (y | (x & 1) << 255).to_bytes(32, "little")


@dataclass(frozen=True)
class Signer:
    """An Ed25519 key with the name under which it signs notes."""

    name: str
    seed: bytes

    @property
    def _expanded(self) -> tuple[int, bytes]:
        h = hashlib.sha512(self.seed).digest()
        return int.from_bytes(h[:32], "little") & (1 << 254) - 8 | 1 << 254, h[32:]

    @property
    def public(self) -> bytes:
        """The public key."""
        return _public(self._expanded[0])

    def sign(self, data: bytes) -> bytes:
        """RFC 8032 §5.1.6."""
        scalar, prefix = self._expanded
        r = int.from_bytes(hashlib.sha512(prefix + data).digest(), "little") % ORDER
        commitment = _times(r)
        k = int.from_bytes(hashlib.sha512(commitment + self.public + data).digest(), "little")
        return commitment + ((r + k * scalar) % ORDER).to_bytes(32, "little")

    def line(self, kind: int, signature: bytes) -> str:
        """A signature line of a note."""
        identity = sha(self.name.encode() + b"\n" + bytes([kind]) + self.public)[:4]
        return f"\u2014 {self.name} {b64encode(identity + signature).decode()}\n"

    def note(self, text: str) -> str:
        """A note with one signature over its text."""
        return f"{text}\n{self.line(1, self.sign(text.encode()))}"

    def cosign(self, text: str, now: int) -> str:
        """A cosignature line of a checkpoint."""
        stamped = f"cosignature/v1\ntime {now}\n{text}".encode()
        return self.line(4, now.to_bytes(8, "big") + self.sign(stamped))


@cache
def _public(scalar: int) -> bytes:
    return _times(scalar)


def _split(n: int) -> int:
    return 1 << ((n - 1).bit_length() - 1)


def root(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962, over leaf hashes."""
    if not leaves:
        return sha(b"")
    if len(leaves) == 1:
        return leaves[0]
    k = _split(len(leaves))
    return sha(b"\1" + root(leaves[:k]) + root(leaves[k:]))


def consistency_proof(leaves: list[bytes], old: int, *, whole: bool = True) -> list[bytes]:
    """SUBPROOF of RFC 6962 §2.1.2."""
    if old == len(leaves):
        return [] if whole else [root(leaves)]
    k = _split(len(leaves))
    if old <= k:
        return [*consistency_proof(leaves[:k], old, whole=whole), root(leaves[k:])]
    return [*consistency_proof(leaves[k:], old - k, whole=False), root(leaves[:k])]


def extends(old: int, new: int, proof: list[bytes], old_root: bytes, new_root: bytes) -> bool:
    """RFC 9162 §2.1.4.2."""
    path = list(proof)
    if old & (old - 1) == 0:
        path.insert(0, old_root)
    if not path:
        return False
    fn, sn = old - 1, new - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = path[0]
    for c in path[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            fr, sr = sha(b"\1" + c + fr), sha(b"\1" + c + sr)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = sha(b"\1" + sr + c)
        fn, sn = fn >> 1, sn >> 1
    return (fr, sr, sn) == (old_root, new_root, 0)


def checkpoint_text(origin: str, size: int, head: bytes) -> str:
    """The text of a checkpoint's note."""
    return f"{origin}\n{size}\n{b64encode(head).decode()}\n"


@dataclass
class Witness:
    """Cosigns only what extends all that it cosigned before."""

    signer: Signer
    log: Signer
    state: tuple[int, bytes] | None = field(default=None)

    def add(self, old: int, proof: list[bytes], size: int, head: bytes, note: str, now: int) -> str:
        """One request, for a checkpoint of this size and root in this note; the cosignature line."""
        text = checkpoint_text(self.log.name, size, head)
        if note != self.log.note(text):
            raise ExpectedFailure("SignatureError", self.log.name)
        known, known_root = (0, root([])) if self.state is None else self.state
        if old != known:
            raise ExpectedFailure("SizeConflictError")
        if self.state is None:
            if proof:
                raise ExpectedFailure("ConsistencyError")
        else:
            if size == known and head != known_root:
                raise ExpectedFailure("EquivocationError", self.log.name)
            if size < known:
                raise ExpectedFailure("ConsistencyError", self.log.name)
            if size > known and not extends(known, size, proof, known_root, head):
                raise ExpectedFailure("ConsistencyError", self.log.name)
        self.state = (size, head)
        return self.signer.cosign(text, now)
