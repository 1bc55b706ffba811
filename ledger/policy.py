"""Who has to sign a checkpoint before anybody acts on it.

Spec: C2SP tlog-policy, restricted to one log and one flat group of witnesses, and with one rule more, that of Byzantine
agreement: with n witnesses, of which f = floor((n - 1) / 3) may be dishonest, n - f cosignatures are needed. Any two
such sets share an honest witness, which never signs two inconsistent checkpoints; so no two inconsistent checkpoints
can both be certified.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from .checkpoint import MAX_SIZE, TIME_SIZE, Checkpoint, verify_checkpoint_note
from .cosign import COSIGNER_KINDS, verify_cosignature
from .errors import ConsistencyError, DecodeError, EquivocationError, QuorumError
from .merkle import HASH_SIZE, verify_consistency
from .mldsa import MAX_NAME, MLDSA44_SIGNATURE_SIZE
from .note import ED25519, MAX_NOTE, MAX_SIGNATURES, MLDSA44, Note, NoteSignature, VerifierKey, parse_note
from .octets import is_octets
from .policy_file import TrustedLog, TrustedWitness, TrustPolicy, WitnessGroup, parse_policy_file
from .signing import SIGNATURE_SIZE

__all__ = ["Certificate", "Policy", "byzantine_quorum", "read_policy", "verify_progress"]

_SIGNATURE_SIZES: Final = {MLDSA44: MLDSA44_SIGNATURE_SIZE}
_GROUP: Final = "members+quorum"  # a key name has no plus, so that no witness can be called so


def byzantine_quorum(n: int) -> int:
    """The cosignatures a certificate needs among `n` witnesses: n - floor((n - 1) / 3)."""
    if n < 1:
        raise ValueError("a policy has at least one witness")
    return n - (n - 1) // 3


@dataclass(frozen=True, slots=True)
class Certificate:
    """A checkpoint with enough cosignatures. Made by `Policy.verify`; `note` is what was verified."""

    checkpoint: Checkpoint
    cosigners: tuple[str, ...]
    note: bytes

    def __post_init__(self) -> None:
        if not self.cosigners or len(set(self.cosigners)) != len(self.cosigners):
            raise ValueError("a certificate names its cosigners, each once")
        if not is_octets(self.note, 1, MAX_NOTE) or not self.note.startswith(f"{self.checkpoint.text()}\n".encode()):
            raise ValueError("a certificate's note holds its checkpoint")


@dataclass(frozen=True, slots=True)
class Policy:
    """The log's key, the witnesses' keys and the quorum.

    `log_key` is of type 0x01 and named as the origin. `witnesses` are each of type 0x04 (Ed25519) or 0x06 (ML-DSA-44),
    with distinct names and distinct public keys, and so many that a note holds the cosignatures of all: 63 of the one,
    19 of the other under names of up to 150 bytes. `quorum` defaults to `byzantine_quorum`; less is refused: with
    n = 3f + 1 witnesses it admits conflicting certificates.
    """

    origin: str
    log_key: VerifierKey
    witnesses: tuple[VerifierKey, ...]
    quorum: int | None = None

    def __post_init__(self) -> None:
        if self.log_key.kind != ED25519 or self.log_key.name != self.origin:
            raise ValueError("the log's key is of signature type 0x01 and named as the origin")
        if len(self.witnesses) >= MAX_SIGNATURES:
            raise ValueError(f"a note holds the signatures of at most {MAX_SIGNATURES - 1} witnesses")
        if any(witness.kind not in COSIGNER_KINDS for witness in self.witnesses):
            raise ValueError("a witness's key is of signature type 0x04 or 0x06")
        if len({witness.name for witness in self.witnesses}) != len(self.witnesses):
            raise ValueError("two witnesses have one name")
        if len({witness.public for witness in self.witnesses}) != len(self.witnesses):
            raise ValueError("one public key is registered for two witnesses")
        if self.log_key.public in {witness.public for witness in self.witnesses}:
            raise ValueError("the log's key is registered as a witness")
        if any(w.kind == MLDSA44 for w in self.witnesses) and len(self.origin.encode("utf-8")) > MAX_NAME:
            raise ValueError(f"an origin that ML-DSA-44 witnesses cosign has at most {MAX_NAME} bytes")
        least = byzantine_quorum(len(self.witnesses))
        if self.quorum is not None and not least <= self.quorum <= len(self.witnesses):
            raise ValueError(f"the quorum of {len(self.witnesses)} witnesses is {least} to {len(self.witnesses)}")
        try:
            self._largest_note()
        except ValueError as exc:
            raise ValueError(f"the cosignatures of {len(self.witnesses)} witnesses may not fit a note: {exc}") from exc

    def _largest_note(self) -> Note:
        """A note as large as a certificate of this policy can be. Raises ValueError if that is too large."""
        keys = (self.log_key, *self.witnesses)
        sizes = (SIGNATURE_SIZE, *(TIME_SIZE + _SIGNATURE_SIZES.get(w.kind, SIGNATURE_SIZE) for w in self.witnesses))
        text = Checkpoint(self.origin, MAX_SIZE, bytes(HASH_SIZE)).text()
        lines = (NoteSignature(key.name, key.key_id, bytes(size)) for key, size in zip(keys, sizes, strict=True))
        return Note(text, tuple(lines))

    @property
    def needed(self) -> int:
        """How many cosignatures a certificate takes."""
        return byzantine_quorum(len(self.witnesses)) if self.quorum is None else self.quorum

    def verify(self, note: bytes) -> Certificate:
        """Verify the log's signature and a quorum of cosignatures.

        Run by: anyone, on hostile bytes.  Signatures by unknown keys are ignored.

        Raises:
            DecodeError: not a note with a checkpoint of this origin.
            SignatureError: the log did not sign, or a signature under a known key is bad.
            QuorumError: too few witnesses cosigned.
        """
        parsed = parse_note(note)
        checkpoint = verify_checkpoint_note(parsed, self.log_key)
        signed = {witness.name: verify_cosignature(parsed, witness) is not None for witness in self.witnesses}
        have = tuple(name for name, present in signed.items() if present)
        if len(have) < self.needed:
            missing = tuple(name for name, present in signed.items() if not present)
            raise QuorumError(needed=self.needed, have=have, missing=missing)
        return Certificate(checkpoint, have, bytes(note))

    def to_file(self, urls: Mapping[str, str] | None = None) -> bytes:
        """Write as a policy file (C2SP tlog-policy) that `read_policy` and other programs read.

        `urls` maps the names of the log and of witnesses to where they are reached; for a witness, the prefix of
        `add-checkpoint`.

        Raises:
            ValueError: a URL of an unknown name, or a name or URL that such a file cannot hold.
        """
        at = {} if urls is None else dict(urls)
        names = tuple(witness.name for witness in self.witnesses)
        unknown = at.keys() - {self.origin, *names}
        if unknown:
            raise ValueError(f"neither the log nor a witness of this policy: {', '.join(sorted(unknown))}")
        return TrustPolicy(
            (TrustedLog(self.log_key, at.get(self.origin)),),
            tuple(TrustedWitness(witness.name, witness, at.get(witness.name)) for witness in self.witnesses),
            (WitnessGroup(_GROUP, self.needed, names),),
            _GROUP,
        ).encode()


def read_policy(data: bytes) -> Policy:
    """Read a policy file whose quorum is that of Byzantine agreement.

    Run by: members, on a file that may be hostile. For the policies of other people's logs, see
    `ledger.policy_file.parse_policy_file`.

    Raises:
        DecodeError: no policy file; or not one log, or a nested quorum, or witnesses outside it, or a quorum below
            n - floor((n - 1) / 3), each of which could certify two conflicting checkpoints.
    """
    read = parse_policy_file(data)
    if len(read.logs) != 1:
        raise DecodeError(f"the policy lists {len(read.logs)} logs: a federation has one")
    names = tuple(witness.name for witness in read.witnesses)
    quorum = next((group for group in read.groups if group.name == read.quorum), None)
    if quorum is None and (read.quorum,) == names:
        quorum = WitnessGroup(_GROUP, 1, names)
    if quorum is None or len(read.groups) > 1 or set(quorum.members) != set(names):
        raise DecodeError(
            "the quorum is not one group of all witnesses: a quorum of groups, or of some of the witnesses, does not "
            "ensure that two of them share an honest one"
        )
    least = byzantine_quorum(len(names))
    if quorum.threshold < least:
        raise DecodeError(
            f"the quorum of {quorum.threshold} of {len(names)} is too weak: fewer than {least} could certify two "
            "conflicting checkpoints"
        )
    keys = tuple(witness.key for witness in read.witnesses)
    log_key = read.logs[0].key
    try:
        return Policy(log_key.name, log_key, keys, None if quorum.threshold == least else quorum.threshold)
    except ValueError as exc:
        raise DecodeError(f"not the policy of a federation: {exc}") from exc


def verify_progress(seen: Certificate, shown: Certificate, proof: Sequence[bytes]) -> None:
    """Verify that what is shown now extends what this client saw last; the client then remembers `shown` instead.

    Run by: a client with a memory. A certificate alone does not tell that it is old: only what was seen before does.
    `proof` is the consistency proof from the one size to the other (RFC 6962 §2.1.2), empty from size 0 or if the sizes
    are equal.

    Raises:
        EquivocationError: the log signed two roots for one size; `evidence` proves it.
        ConsistencyError: of another log, smaller than what was seen (a stale view), or the proof does not hold.
    """
    old, new = seen.checkpoint, shown.checkpoint
    if old.origin != new.origin:
        raise ConsistencyError(f"the certificate shown is of {new.origin}, the one seen of {old.origin}")
    culprits = (new.origin,)
    if new.size < old.size:
        raise ConsistencyError(f"a stale view: size {new.size} is shown, {old.size} was seen", culprits=culprits)
    if new.size == old.size and new.root != old.root:
        raise EquivocationError(
            f"{new.origin} signed two roots for size {new.size}", evidence=(seen.note, shown.note), culprits=culprits
        )
    if old.size in (0, new.size):
        if proof:
            raise ConsistencyError(f"no proof is due from size {old.size} to size {new.size}")
        return
    verify_consistency(old.size, new.size, proof, old.root, new.root)
