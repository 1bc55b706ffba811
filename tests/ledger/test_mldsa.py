"""ML-DSA-44: the key, its verification, the message it signs, and a checkpoint that another program signed."""

import copy
import pickle
from base64 import b64decode

import pytest
from cryptography.exceptions import UnsupportedAlgorithm

from ledger import EMPTY_ROOT, Checkpoint, DecodeError, LedgerError, Note, NoteSignature, SignatureError, VerifierKey
from ledger.checkpoint import verify_checkpoint, verify_subtree
from ledger.cosign import cosign, cosigner
from ledger.merkle import leaf_hash
from ledger.mldsa import MlDsaKey, subtree_message, verify_mldsa44
from ledger.note import ED25519, MLDSA44, parse_vkey

KEY = MlDsaKey.from_seed(b"mldsa".ljust(32, b"\x00"))

# The key and the checkpoint of cmd/litewitness/testdata/mldsa.txt of FiloSottile/torchwood, which a Go
# program made with another implementation of ML-DSA: a subtree/v1 signature without a time.
SEED = bytes.fromhex("2886adc2b0eabfce67c0472939127998bf886cf256bfee8ba76a253fce1146e0")
ORIGIN = "example.com/mldsa-log"
POINT = Checkpoint(ORIGIN, 1, leaf_hash(b"testonly"))
SIGNATURE = """
td9FxQAAAAAAAAAAkjFvCxC6244QGemHL0hurmk5M3Hj6noQQtBM1TiwnC1lFmT+t+cUG9W0ENlRQtV20lJFLKCzoJ08ulQEkfiVueKHeMyURh
97Iup0R9d41Monv472jkyfDoX3ILyX/kEOuSV4Ed2tU4VmtDSbP0rofMWAbKJRMnzCpNIT5xMe3tRbWLVTvAtnX9OB4UMKL1dvGS/uuhqW9Ddj
ik2D8veitBvk3TbQcT8fanSyZqCbDZ5zzw5JS3Gu5oD1zK7z+KiyqbzKUhglESs7YXFbeU0E03FrXdAPYS6GAuZtBWTJp4DEm4rL+NqU6Xp0n2
ehhqd1rFAJUAcsE5CFakQdlmKkkzVMy3VZYll5ptS0amlYfGqX6/N9bJAYdAoWWpdgCep5eXCutQcTQXc69UocKT99/vholeAP1097GfS+hNL2
ndNS2ieMnj8XLD1LCHVoBjKZUIObB0lx3leGRe9VjYgTRAY2WlE+K32b6Iz1rKzzDD8YBNQdkHgdx44uPOU3I+8szYS6NzQ2Z0QlqAtz0j9vZu
9yEUUxCEORAiMAHLtV5oWZ/RvSE7qq5B0b8WrHGPGoR/qUNK4ECmlIe/SRo6M7yRrPs3das3ox1bkC3f92c98ewHLeQtLwwsqQJny6rlYaiaiP
MxgdT2CVcJEcKOfaK8pdy2fucBDxHrQitpGkeLJLmWk6LLxR/Ut6s6xNyyKSuZlVslS40n9MJ837uMmJFyecKPliwAj8HzTWQywSkMpEQfJyr4
i2Kfa2paOZ4izmotRTfdvbFWlWFwuGLWOQ0X/pKaExpdNDwqahAwbfGkw/iHbsV7ZIlNIuSNs2ccQvnjM8xqkT6sYYVxYiHpmk5sOwGsdeiMdw
Qqn7Q/Lz+uc3F6k/r0Ox7MJTX6fPhFdhe8RJg/77USR/MIGiT4YZHV+XgrtbV0jvMEgB4yEOircsScaBmLv18tTn1GiGlzFjK/s7gOzjk70jf1
qCZ1MNgDAPstd/5sXdwYON0FnA5zPUp9yMkq1/wZq+DuePQDT6nj8zgFrkrvl8s7nibKKaL2bKcje5YP3CFcXLZoESZnC3BJkV85VqXlAKl+dc
tM3vNfMVrqk3/boBARw27mdKLsysIREkWR4caByW0csjL3Js9tn1hB0yf6hIGo8mvPIUjPIXn1rFSSKWkQlq15wu2gwEo9FdVF5beMdF4LVwuO
9PZ1Y4oXuRE2pIzMWq/jEzHAZ7GucP7yzU78X767ucrwO/AXjMlLUsLLFZaQcHHBsrQJLpy5w1Jn/L7XFyR2g0lBOdT+lSOhx7j33oIlzxmqdR
47ovtkg+LJpbAJG7n/JiQ/h/xffe3VdqSsrB8S4ltKz+rq51swoZ59zmRzWaoNkyWX0eu0E7y6EfpfrKEmr0H+fYtVnJvCznWFKzbv7oDXKC0p
OyKZsNctvFwhSGEEURCs1G+4IrAEWG2Y231thQ8HdMvaMcm+ocvBGhZjmE7bXFkdiJ7S09csFjljFDGCiGRiU+flxkyiqpa1DDgeFRWOEyNAdM
eY2iQMTJU9ApqNVrPpjGbg7kL0HrfKCQM236d16DKfXIiUmZw/NONKnrliAIs6/WSzKdW/JUyTLiKfPV1ItODmw5eNz7lV36dR8g3us/bpWp4O
aDIInrLxYZRfkLHLvXGGg5ogY2k/FMno/3UBbS0QfstK+ByB/pFVYCHWgDjctwpOHaqAAXAiWHAUh1KOpXBMv8qndpzhsYhvKbrL371aBST0e3
iPW/K4x+kFfgdeClsftS9RnE8KDCf4Uz+9QMP9sxj4+ZACztE19eBVaSvCqv54wO6n5248UzbqPXzA1dweKQziw/FnPWC7qMrcs3jDi6PBPhpr
uk1xBy08MQg58l4YzuXrPm5gAyiUAyfNszvhTotaU02oljhvg24CycDo/2PvQY7sBmisIsVVeHssiRxg23CMgWHaPMDn6OM+IhF2xaAqJOjfns
FBWlvMg8LxsrBnOQ1YABVLLtMvCSaIvgBjPt8XtLn9gZ0HL9OvGsR3efWHTR5p4nZyuHH2Nm8F3nWKVkEI4p4H6Yo5O0hkzCi1ZB7QT3uEIeR0
Hq3g/bLTzmm6XzsjWSmQ8CtPapmXX476QT44wU0CWJ096SqUGUq2ZCDg3kFkV0BuKPIfLCt4sYK9bjj8UZCqkhyHbVm2x+HQwk8mNnDbUd7PK8
9riPjA33KX0Sw32RE0uKtB0sC8m7t028aEupsRx56/M0jBgeYmEHuRrXpW9nuOkQPTBaHdmYBHNkzTF2arPzZK3diFuhKPvmSQh2CN6g8r0p3E
N+dmps1fIUfHM6emkEuaod+ZG83vyJsyd5B2oPMTVP12z8VJtDRAYfA5bRj+HEw2aD4f23u/Zq3PHk2C9T5LTAu28WCuO/EpXGSIkq1/hRpyE0
qhJSnPN9/iE74PoU1OgjGBv6uSUsNhNZJeMe2W23s8EAyStB5+u83IBgUctrGwXzNdoC9LY1p+kNFSAZXIggNB3alVzoS+D9rcCYTUAafpkdwL
aYq5/w0wRchljkG61rl+gZCiwtqZv3SHVxO7kRTAzfHsGDB1yc/9Sz++IMGyFHYvuqtclhpHPPToFByaVl687b1P4t2i/U4fWPZ4BBhN5Q7HGT
xubspw1GY2MjBYU5OXvEJu9aWeibkM/fg6QrxPRYNsJBNJQRywMjYHj6AefrZeGXGxSNgS50kCNBvV7XTli/17y3MFgR4WfNmBK3BqKb87v3DB
MVnLHcqvw1ZVjFPv91q0XYaDdVFHqOnS4Fh5nfwh1qfuvKrUZlwFPcwW+pG4YDyjx90MTFugpQ6KfEusmUhB5Dqr79nYWbOhW3e0PCEZtxmVrH
9EtCHEgO6wnkWjPke6XULARu0ECF1gZvQczEjKfzxCt6Rknz+27lXyzgzRyHWxr0kB/pFty+8IebrDfIW9757d+1QLonDTmkLQiirF0ygsgQAL
mk1KljcHD/qiAZPHh5YX+Q2VdDfIfGeMXmCg3nX5r5DINcx47fNHtgWeGn8MjF8Hnff6x+ZU/7YqcBrDOvGqn46FBvuRY0+mWkRo576207vQR/
023owl7pXZ5p/75V5yDkTZWDtXsfKjpypcxrWIBsg5GC25nZdjQQGBtFUF1pfn+xvunq9AEIFidYY2Vyc3mYw8TW7PkVKis5PENhdbfJHDtIdI
iQsLe+1Nr+/wAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA4eKDU=
""".replace("\n", "")
NOTE = f"{POINT.text()}\n\u2014 {ORIGIN} {SIGNATURE}\n".encode()
LOG = cosigner(ORIGIN, MlDsaKey.from_seed(SEED))


def test_a_checkpoint_of_another_implementation_verifies() -> None:
    vkey = LOG.to_vkey()
    assert vkey.startswith("example.com/mldsa-log+b5df45c5+BuhtcL97l3dcitjZ8Y9J54gmQ1TWn")
    assert vkey.endswith("K3lQJnxif/B6p5/tsh4rrcUht4yVIvFAaqsgAAE=")
    assert parse_vkey(vkey) == LOG
    assert verify_checkpoint(NOTE, LOG) == POINT
    assert verify_subtree(POINT, b64decode(SIGNATURE)[4:], LOG) == 0


def test_each_part_of_the_message_is_signed() -> None:
    signature = b64decode(SIGNATURE)[4:]
    for point, name in (
        (Checkpoint(ORIGIN, 2, POINT.root), ORIGIN),
        (Checkpoint(ORIGIN, 1, leaf_hash(b"other")), ORIGIN),
        (Checkpoint("example.com/other-log", 1, POINT.root), ORIGIN),
        (POINT, "example.com/other-log"),
    ):
        with pytest.raises(SignatureError, match="does not verify") as caught:
            verify_subtree(point, signature, VerifierKey(name, MLDSA44, LOG.public))
        assert caught.value.culprits == (name,)
    with pytest.raises(SignatureError, match="does not verify"):
        verify_subtree(POINT, bytes(7) + b"\x01" + signature[8:], LOG)  # another time
    with pytest.raises(SignatureError, match="time over"):
        verify_subtree(POINT, b"\x80" + signature[1:], LOG)
    for wrong in (signature[:-1], signature + b"\x00", b""):
        with pytest.raises(SignatureError, match="wrong length"):
            verify_subtree(POINT, wrong, LOG)


def test_the_message_is_the_structure_of_the_specification() -> None:
    message = subtree_message("example.com/w1", 1_679_315_147, "example.com/log", 20_852_163, bytes(range(32)))
    assert message == (
        bytes([0x73, 0x75, 0x62, 0x74, 0x72, 0x65, 0x65, 0x2F, 0x76, 0x31, 0x0A, 0x00])
        + b"\x0eexample.com/w1"
        + bytes.fromhex("000000006418 50cb")
        + b"\x0fexample.com/log"
        + bytes(8)
        + bytes.fromhex("00000000013e2dc3")
        + bytes(range(32))
    )
    subtree_message("n" * 255, 0, "o" * 255, 0, EMPTY_ROOT)
    for arguments in (
        ("", 0, "o", 0, EMPTY_ROOT),
        ("n", 0, "", 0, EMPTY_ROOT),
        ("n" * 256, 0, "o", 0, EMPTY_ROOT),
        ("n", 0, "\u00f6" * 128, 0, EMPTY_ROOT),
    ):
        with pytest.raises(ValueError, match="1 to 255 bytes"):
            subtree_message(*arguments)
    for time, size, root in ((-1, 0, EMPTY_ROOT), (2**63, 0, EMPTY_ROOT), (0, -1, EMPTY_ROOT), (0, 2**63, EMPTY_ROOT)):
        with pytest.raises(ValueError, match="below 2\\^63"):
            subtree_message("n", time, "o", size, root)
    with pytest.raises(ValueError, match="32 bytes"):
        subtree_message("n", 0, "o", 0, bytes(31))


def test_signing_and_verifying() -> None:
    one, other = KEY.sign(b"text"), KEY.sign(b"text")
    assert len(one) == 2420
    assert one != other  # hedged
    for signature in (one, other):
        verify_mldsa44(KEY.public, signature, b"text")
    for public, signature, message in (
        (KEY.public, one, b"texu"),
        (KEY.public, one[:-100] + bytes([one[-100] ^ 1]) + one[-99:], b"text"),
        (LOG.public, one, b"text"),
        (bytes(1312), one, b"text"),
    ):
        with pytest.raises(SignatureError, match="does not verify"):
            verify_mldsa44(public, signature, message)
    for public, signature in ((KEY.public[:-1], one), (KEY.public, one[:-1]), (b"", b"")):
        with pytest.raises(SignatureError, match="1312 bytes"):
            verify_mldsa44(public, signature, b"text")


def test_a_build_without_mldsa_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    class Missing:
        @staticmethod
        def from_public_bytes(data: bytes) -> None:
            raise UnsupportedAlgorithm("not in this build")

    monkeypatch.setattr("ledger.mldsa.MLDSA44PublicKey", Missing)
    with pytest.raises(SignatureError, match="cannot verify ML-DSA-44"):
        verify_checkpoint(NOTE, LOG)


@pytest.mark.parametrize("seed", [b"", bytes(31), bytes(33), "x" * 32])
def test_a_seed_is_32_bytes(seed: bytes) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        MlDsaKey.from_seed(seed)


def test_a_key_does_not_print_pickle_or_copy() -> None:
    key = MlDsaKey.from_seed(SEED)
    assert "<secret>" in repr(key)
    assert SEED.hex() not in repr(key)
    for act in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="does not pickle or copy"):
            act(key)


def test_verifier_keys_have_the_size_of_their_type() -> None:
    for public, name in ((KEY.public[:-1], "n"), (KEY.public[:32], "n"), (KEY.public, "n" * 256)):
        with pytest.raises(ValueError, match="not an ML-DSA-44 key"):
            VerifierKey(name, MLDSA44, public)
    with pytest.raises(ValueError, match="Ed25519"):
        VerifierKey("n", ED25519, KEY.public)
    with pytest.raises(DecodeError, match="key ID"):
        parse_vkey(LOG.to_vkey().replace("b5df45c5", "b5df45c6"))


def test_a_log_that_signs_with_mldsa_is_verified_like_any() -> None:
    with pytest.raises(SignatureError, match=f"not signed by {ORIGIN}"):
        verify_checkpoint(NOTE, cosigner(ORIGIN, KEY))
    with pytest.raises(LedgerError):
        verify_checkpoint(NOTE[:-5] + b"A" + NOTE[-4:], LOG)
    other = Checkpoint("example.com/other", 1, POINT.root).text()
    unsigned = Note(other, (NoteSignature("x", bytes(4), b"s"),)).encode()
    misplaced = unsigned.decode() + cosign(unsigned, ORIGIN, MlDsaKey.from_seed(SEED), now=0)
    with pytest.raises(DecodeError, match=r"of example\.com/other, not of"):
        verify_checkpoint(misplaced.encode(), LOG)
    bad = NOTE + NoteSignature(ORIGIN, LOG.key_id, bytes(2428)).line().encode()
    with pytest.raises(SignatureError, match="is bad"):
        verify_checkpoint(bad, LOG)
