"""The proof that whoever announces a new signing key holds it.

Spec: round §3.4 (v1). The new key signs, in Ed25519,

    "secure-bfl/key-possession/v1" ‖ genesis hash ‖ number of the key that it replaces, 8 bytes, big-endian ‖ name

so nobody can take over the key of somebody else, here or from another federation.
"""

from typing import Final

from ledger import SigningKey, verify_strict

from .messages import KeyClaim

__all__ = ["claim_key", "verify_claim"]

_LABEL: Final = b"secure-bfl/key-possession/v1"


def _message(context: bytes, party: str, number: int) -> bytes:
    return _LABEL + context + number.to_bytes(8, "big", signed=True) + party.encode()


def claim_key(context: bytes, party: str, number: int, key: SigningKey) -> KeyClaim:
    """Claim a new key in place of the party's key of this number. Run by: the party. `context` is the genesis hash."""
    return KeyClaim(party, number, key.public, key.sign(_message(context, party, number)))


def verify_claim(context: bytes, claim: KeyClaim) -> None:
    """Check that the claimed key's holder made this claim. Run by: anyone.

    Raises:
        SignatureError: it did not, or not for this party, key number and federation.
    """
    verify_strict(claim.key, claim.proof, _message(context, claim.party, claim.number))
