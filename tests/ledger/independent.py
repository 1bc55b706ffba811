"""Verifies a published log without a line of the package `ledger`: by the documents alone, on the standard library.

    python -I -S independent.py FOLDER POLICY [KEYS CONTEXT]

FOLDER is a log in the layout of C2SP tlog-tiles, POLICY a file of C2SP tlog-policy with keys of types 0x01 and 0x04.
Checked: the checkpoint's signatures and the quorum, every entry, every tile, the root. With KEYS, lines of a sender's
name and its public key in hexadecimal, and CONTEXT, 32 bytes in hexadecimal or nothing: also that each entry is signed
by its sender (RFC 9052, RFC 9942, RFC 8032), once for itself or once for the 2 to 64 entries that were signed together.
It says what is wrong and exits with 1, or prints what it verified.
"""

import base64
import hashlib
import sys
from pathlib import Path
from typing import Any


class RefusedError(Exception):
    """The log, or what is said about it, does not hold."""


def need(condition: bool, text: str) -> None:
    if not condition:
        raise RefusedError(text)


# --- Ed25519, RFC 8032 §5.1, strict: nothing of small order, one spelling per point -----------------------------------

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
Point = tuple[int, int, int, int]
ZERO: Point = (0, 1, 1, 0)


def add(a: Point, b: Point) -> Point:
    (x1, y1, z1, t1), (x2, y2, z2, t2) = a, b
    m, n, c, d = (y1 - x1) * (y2 - x2) % P, (y1 + x1) * (y2 + x2) % P, 2 * t1 * t2 * D % P, 2 * z1 * z2 % P
    e, f, g, h = n - m, d - c, d + c, n + m
    return e * f % P, g * h % P, f * g % P, e * h % P


def point(data: bytes) -> Point:
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & (2**255 - 1)
    need(len(data) == 32 and y < P, "not the one spelling of a point")
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    need((x * x - square) % P == 0 and not (x == 0 and sign), "not a point of the curve")
    x = P - x if x & 1 != sign else x
    return x, y, 1, x * y % P


def spelled(a: Point) -> bytes:
    inverse = pow(a[2], -1, P)
    x, y = a[0] * inverse % P, a[1] * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def is_small(a: Point) -> bool:
    for _ in range(3):
        a = add(a, a)
    return a[0] == 0 and (a[1] - a[2]) % P == 0


BASE = point((4 * pow(5, -1, P) % P).to_bytes(32, "little"))


def verify_ed25519(public: bytes, signature: bytes, message: bytes, what: str) -> None:
    need(len(signature) == 64 and len(public) == 32, f"{what}: wrong sizes")
    key = point(public)
    s = int.from_bytes(signature[32:], "little")
    need(s < L, f"{what}: S is not below the group order")
    k = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % L
    minus: Point = (P - key[0], key[1], 1, P - key[3])
    sums = (ZERO, BASE, minus, add(BASE, minus))  # [S]B - [k]A, both at once
    r = ZERO
    for bit in reversed(range(253)):
        r = add(r, r)
        which = (s >> bit & 1) | (k >> bit & 1) << 1
        r = add(r, sums[which]) if which else r
    need(spelled(r) == signature[:32], f"{what} does not verify")
    need(not is_small(key) and not is_small(r), f"{what} is of small order")


# --- notes, checkpoints and policies: C2SP signed-note, tlog-checkpoint, tlog-cosignature, tlog-policy ----------------


def unbase64(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError as exc:
        raise RefusedError("not base64") from exc
    need(base64.b64encode(data).decode() == text, "base64 in another spelling")
    return data


def read_vkey(text: str) -> tuple[str, bytes, int, bytes]:
    """Name, key ID, type and public key."""
    name, key_id, rest = text.split("+", 2)
    key = unbase64(rest)
    digest = hashlib.sha256(name.encode() + b"\n" + key).digest()[:4]
    need(digest.hex() == key_id, f"the key ID of {name} is another key's")
    need(key[0] in (1, 4) and len(key) == 33, f"{name}: only keys of types 0x01 and 0x04 are verified here")
    return name, digest, key[0], key[1:]


def read_note(data: bytes) -> tuple[str, list[tuple[str, bytes, bytes]]]:
    """The text, and each signature's name, key ID and bytes."""
    text, _, lines = data.decode().rpartition("\n\n")
    need(bool(text) and lines.endswith("\n"), "not a note")
    signatures = []
    for line in lines[:-1].split("\n"):
        need(line.startswith("— ") and line.count(" ") == 2, "not a signature line")
        _, name, material = line.split(" ")
        raw = unbase64(material)
        signatures.append((name, raw[:4], raw[4:]))
    return text + "\n", signatures


def verify_checkpoint(note: bytes, policy: str) -> tuple[int, bytes, list[str]]:
    """Size, root, and the names of the witnesses that cosigned."""
    text, signatures = read_note(note)
    lines = text.split("\n")
    need(len(lines) == 4, "a checkpoint of this log has three lines")
    origin, size, root = lines[0], int(lines[1]), unbase64(lines[2])
    need(str(size) == lines[1] and size >= 0 and len(root) == 32, "the checkpoint is in another spelling")
    logged, witnessed, quorum = False, {"none"}, None
    cosigners = []
    for line in policy.splitlines():
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if words[0] == "log":
            name, key_id, kind, public = read_vkey(words[1])
            found = [s for n, i, s in signatures if (n, i) == (name, key_id) and name == origin and kind == 1]
            for signature in found:
                verify_ed25519(public, signature, text.encode(), f"the signature of {name}")
            logged = logged or bool(found)
        elif words[0] == "witness":
            name, key_id, kind, public = read_vkey(words[2])
            for signature in (s for n, i, s in signatures if (n, i) == (name, key_id) and kind == 4):
                time = int.from_bytes(signature[:8], "big")
                message = f"cosignature/v1\ntime {time}\n{text}".encode()
                verify_ed25519(public, signature[8:], message, f"the cosignature of {name}")
                if words[1] not in witnessed:
                    cosigners.append(name)
                witnessed.add(words[1])
        elif words[0] == "group":
            least = {"any": 1, "all": len(words) - 3}.get(words[2]) or int(words[2])
            if len(witnessed.intersection(words[3:])) >= least:
                witnessed.add(words[1])
        else:
            need(words[0] == "quorum" and quorum is None, f"a policy has no line {words[0]}")
            quorum = words[1]
    need(logged, "the checkpoint is not signed by the log")
    need(quorum in witnessed, f"the quorum is not reached: cosigned by {', '.join(cosigners) or 'nobody'}")
    return size, root, cosigners


# --- the tree and its tiles: RFC 6962 §2.1, C2SP tlog-tiles -----------------------------------------------------------


def leaf(data: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + data).digest()


def node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def tree_root(hashes: list[bytes]) -> bytes:
    if len(hashes) < 2:
        return hashes[0] if hashes else hashlib.sha256().digest()
    half = 1 << (len(hashes) - 1).bit_length() - 1
    return node(tree_root(hashes[:half]), tree_root(hashes[half:]))


def read_tile(folder: Path, kind: str, number: int, width: int, most: int) -> bytes:
    digits = f"{number:03d}"
    digits = digits.zfill((len(digits) + 2) // 3 * 3)
    parts = [digits[i : i + 3] for i in range(0, len(digits), 3)]
    name = f"tile/{kind}/" + "".join(f"x{part}/" for part in parts[:-1]) + parts[-1]
    for path in ([folder / f"{name}.p/{width}"] if width < 256 else []) + [folder / name]:
        if path.is_file():
            need(path.stat().st_size <= most, f"{name} is too large")
            return path.read_bytes()
    raise RefusedError(f"{name} of width {width} is missing")


def widths(count: int) -> list[int]:
    return [min(256, count - start) for start in range(0, count, 256)]


def read_entries(folder: Path, size: int) -> list[bytes]:
    entries = []
    for number, width in enumerate(widths(size)):
        data = read_tile(folder, "entries", number, width, 256 * 65537)
        for i in range(width):
            end = 2 + int.from_bytes(data[:2], "big")
            need(2 <= end <= len(data), f"entry {256 * number + i} is missing or cut off")
            entries.append(data[2:end])
            data = data[end:]
        need(not data or width < 256, f"bundle {number} holds more than {width} entries")
    return entries


def verify_tiles(folder: Path, entries: list[bytes], root: bytes) -> None:
    hashes, level = [leaf(entry) for entry in entries], 0
    need(tree_root(hashes) == root, "the entries do not have the checkpoint's root")
    while hashes:
        for number, width in enumerate(widths(len(hashes))):
            stated = read_tile(folder, str(level), number, width, 8192)
            need(
                stated[: 32 * width] == b"".join(hashes[256 * number : 256 * number + width]),
                f"tile {number} of level {level} has other hashes",
            )
        hashes = [tree_root(hashes[i : i + 256]) for i in range(0, len(hashes) - 255, 256)]
        level += 1


# --- entries: RFC 8949 §4.2.1, RFC 9052 §4, RFC 9942 §5.2 -------------------------------------------------------------


def head(major: int, value: int) -> bytes:
    for tag, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if value < 24:
            return bytes([major << 5 | value])
        if value < 256**size:
            return bytes([major << 5 | tag]) + value.to_bytes(size, "big")
    raise RefusedError("a number over 64 bits")


def cbor(value: Any) -> bytes:
    if isinstance(value, int):
        return head(0, value) if value >= 0 else head(1, -1 - value)
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, str):
        return head(3, len(value.encode())) + value.encode()
    if isinstance(value, list):
        return head(4, len(value)) + b"".join(cbor(item) for item in value)
    items = sorted((cbor(key), cbor(item)) for key, item in value.items())
    return head(5, len(items)) + b"".join(key + item for key, item in items)


def uncbor(data: bytes) -> Any:
    value, rest = read_item(data, 0)
    need(not rest and cbor(value) == data, "CBOR in another spelling")
    need(count(value) <= 8192, "CBOR of more than 8192 values")
    return value


def count(value: Any) -> int:
    if isinstance(value, list):
        return 1 + sum(map(count, value))
    return 1 + len(value) + sum(map(count, value.values())) if isinstance(value, dict) else 1


def read_item(data: bytes, depth: int) -> tuple[Any, bytes]:
    need(bool(data) and depth < 20, "CBOR that ends early, or is too deep")
    major, low = data[0] >> 5, data[0] & 31
    need(low < 28, "CBOR of a kind that is not used")
    extra = 0 if low < 24 else 1 << low - 24
    value, data = (low if low < 24 else int.from_bytes(data[1 : 1 + extra], "big")), data[1 + extra :]
    if major < 2:
        return (value if major == 0 else -1 - value), data
    if major < 4:
        need(len(data) >= value, "CBOR that ends early")
        text = data[:value]
        return (text if major == 2 else text.decode()), data[value:]
    need(major < 6 and value <= len(data), "CBOR of a kind that is not used")
    items = []
    for _ in range(value * (major - 3)):
        item, data = read_item(data, depth + 1)
        items.append(item)
    return (items if major == 4 else dict(zip(items[::2], items[1::2], strict=True))), data


def climb(found: bytes, index: int, size: int, path: list[bytes]) -> bytes:
    """The root over `size` leaves in which `found` is number `index` (RFC 6962 §2.1.1)."""
    if size == 1:
        need(not path, "an inclusion proof is too long")
        return found
    need(bool(path), "an inclusion proof is too short")
    half = 1 << (size - 1).bit_length() - 1
    if index < half:
        return node(climb(found, index, half, path[:-1]), path[-1])
    return node(path[-1], climb(found, index - half, size - half, path[:-1]))


def verify_entry(data: bytes, keys: dict[str, bytes], context: bytes, seen: set[tuple[bytes, ...]]) -> None:
    protected, unprotected, payload, signature = uncbor(data)
    header = uncbor(protected)
    sender = header[4].decode()
    need(sender in keys, f"no key of {sender} is given")
    need(header in ({1: -8, 4: header[4]}, {1: -8, 4: header[4], 395: 1}), "not the header of an entry")
    version, kind, _ = uncbor(payload)
    need(version == 1 and 0 <= kind < 2**64, "not the payload of an entry")
    if 395 in header:
        size, index, path = uncbor(unprotected[396][-1][0])
        need(unprotected == {396: {-1: [cbor([size, index, path])]}}, "not an inclusion proof")
        need(2 <= size <= 64 and 0 <= index < size, "not one of 2 to 64 entries signed together")
        payload, context = climb(leaf(payload), index, size, path), context + bytes([size])
    else:
        need(unprotected == {}, "not an entry signed for itself")
    message = cbor(["Signature1", protected, context, payload])
    if (message, signature) not in seen:
        verify_ed25519(keys[sender], signature, message, f"the signature of {sender}")
    seen.add((message, signature))


def main(arguments: list[str]) -> str:
    folder = Path(arguments[0])
    note, policy = (folder / "checkpoint").read_bytes(), Path(arguments[1]).read_text()
    size, root, cosigners = verify_checkpoint(note, policy)
    entries = read_entries(folder, size)
    verify_tiles(folder, entries, root)
    told = f"{size} entries, root {root.hex()}, cosigned by {', '.join(cosigners)}"
    if len(arguments) == 2:
        return told
    lines = [line.split() for line in Path(arguments[2]).read_text().splitlines()]
    keys = {name: bytes.fromhex(key) for name, key in lines}
    seen: set[tuple[bytes, ...]] = set()
    for index, entry in enumerate(entries):
        try:
            verify_entry(entry, keys, bytes.fromhex(arguments[3]), seen)
        except (RefusedError, ValueError, TypeError, KeyError, AttributeError, IndexError) as exc:
            raise RefusedError(f"entry {index}: {exc}") from exc
    return f"{told}, {len(seen)} signatures of entries"


if __name__ == "__main__":
    try:
        print("verified:", main(sys.argv[1:]))
    except (RefusedError, OSError, ValueError, IndexError) as error:
        sys.exit(f"refused: {error}")
