"""The only importer of `nacl`: Ed25519 verification by libsodium, about twice as fast as by OpenSSL.

libsodium's rule depends on how it was built: source of it has decided with the cofactor, so that a low-order part of R
is ignored, and its compatibility mode takes an S that is not reduced. `agrees` finds such a build, which is then not
used: every party must decide alike.
"""

from __future__ import annotations

from typing import Final

from nacl.bindings import crypto_sign_open
from nacl.exceptions import BadSignatureError

__all__ = ["agrees", "verifies"]

_MESSAGE: Final = b"cofactor"
_PUBLIC: Final = bytes.fromhex("3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29")
# Signatures of the 32 zero bytes as seed, R || S a pair of lines: with r the nonce of RFC 8032 and T of order 8,
# R = rB + tT and S = r + H(R, A, M)a for t = 0 to 7. They differ from valid ones by tT: only t = 0 is a signature.
_SIGNATURES: Final = bytes.fromhex(
    """
    96715e62e276a44cbce9b9459a131b61cbde6fd14d9b32632949f152b735c8d9
    e3b3723983fc9560545a0dcd90cdff0bee3e6bec40cbc1d9d42bb09e7759700f
    544abb40c24bd5a81b114036eb0430c93835b0d6b9e8346756ee56d7105a8b6b
    2ac757454a2823e9de4bf7e2c4aaf1238f89f4278a4e3f3fc171ee46fb1bcc01
    d39a8a38f889b5958cebca61095636df08c3e6020ce424050187ae22ea581572
    a4a483dbc5f4aff7af4ff9bcd4d019c02c74ac3b89e19271636af54f09f8e008
    b73258be8955036ceb07e63dd3fd9d106f030fe3a86c1038029bac39990993d2
    0b88c534d173ba11f26e26caa64ce5726bd1e9c9adf7ecfc6386c15a927b6803
    578ea19d1d895bb3431646ba65ece49e3421902eb264cd9cd6b60ead48ca3726
    054d0d5b3ef96a3de3b109de01e0e87d955fd9af08fa8b1e0b17b52fba6c700b
    99b544bf3db42a57e4eebfc914fbcf36c7ca4f294617cb98a911a928efa57494
    c6946843001b055546358c2c293b119e443f26edb814f026c23ec42f4f096009
    1a6575c707764a6a7314359ef6a9c920f73c19fdf31bdbfafe7851dd15a7ea8d
    64b64d1760163bc5ce7d2144c79a181f15caaf6e9df4433b50becb4f8e155204
    36cda74176aafc9314f819c22c0262ef90fcf01c5793efc7fd6453c666f66c2d
    a8ae23e9660827f673924b8dfc2e7f1386c28e779769d508a2ba3df27ee72f00
    """
)
_GROUP_ORDER: Final = 2**252 + 27742317777372353535851937790883648493


def verifies(public: bytes, signature: bytes, message: bytes) -> bool:
    """libsodium's verdict. Shapes: public 32 bytes, signature 64 bytes."""
    try:
        crypto_sign_open(b"".join((signature, message)), public)
    except BadSignatureError:
        return False
    return True


def agrees() -> bool:
    """Whether this libsodium verifies without the cofactor, and refuses an S that is not reduced."""
    valid, *shifted = (_SIGNATURES[at : at + 64] for at in range(0, len(_SIGNATURES), 64))
    unreduced = int.from_bytes(valid[32:], "little") + _GROUP_ORDER
    refused = [*shifted, valid[:32] + unreduced.to_bytes(32, "little")]
    return verifies(_PUBLIC, valid, _MESSAGE) and not any(verifies(_PUBLIC, each, _MESSAGE) for each in refused)
