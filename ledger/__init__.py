"""A verifiable log of signed entries, in the C2SP formats, with witnesses instead of trust.

It knows bytes, hashes and signatures only. What the entries mean is the business of the layers above.
"""

from .blobs import Blobs, DirectoryBlobs, MemoryBlobs, blob_digest
from .cbor import Value, decode, encode
from .checkpoint import Checkpoint, parse_checkpoint, sign_checkpoint, verify_checkpoint
from .cosign import Cosignature, cosign, verify_cosignature
from .entry import MAX_ENTRY, Entry, parse_entry, sign_entry, verify_entry
from .errors import (
    BlobError,
    ConsistencyError,
    DamagedStoreError,
    DecodeError,
    EquivocationError,
    LedgerError,
    ProofError,
    QuorumError,
    SignatureError,
    StateError,
    StoreError,
)
from .files import create_durably, read_bounded, write_durably
from .log import CosigningWitness, Log, certify
from .merkle import EMPTY_ROOT, Tree, leaf_hash, node_hash, verify_consistency, verify_inclusion
from .note import COSIGNATURE_V1, ED25519, Note, NoteSignature, VerifierKey, parse_note, parse_vkey
from .policy import Certificate, Policy, byzantine_quorum
from .publish import publish
from .published import PublishedLog, read_published
from .signing import SigningKey, verify_strict
from .store import Head, MemoryStore, SqliteStore, Store
from .witness import MemoryWitnessStore, SqliteWitnessStore, Witness, WitnessState, WitnessStore

__all__ = [
    "COSIGNATURE_V1",
    "ED25519",
    "EMPTY_ROOT",
    "MAX_ENTRY",
    "BlobError",
    "Blobs",
    "Certificate",
    "Checkpoint",
    "ConsistencyError",
    "Cosignature",
    "CosigningWitness",
    "DamagedStoreError",
    "DecodeError",
    "DirectoryBlobs",
    "Entry",
    "EquivocationError",
    "Head",
    "LedgerError",
    "Log",
    "MemoryBlobs",
    "MemoryStore",
    "MemoryWitnessStore",
    "Note",
    "NoteSignature",
    "Policy",
    "ProofError",
    "PublishedLog",
    "QuorumError",
    "SignatureError",
    "SigningKey",
    "SqliteStore",
    "SqliteWitnessStore",
    "StateError",
    "Store",
    "StoreError",
    "Tree",
    "Value",
    "VerifierKey",
    "Witness",
    "WitnessState",
    "WitnessStore",
    "blob_digest",
    "byzantine_quorum",
    "certify",
    "cosign",
    "create_durably",
    "decode",
    "encode",
    "leaf_hash",
    "node_hash",
    "parse_checkpoint",
    "parse_entry",
    "parse_note",
    "parse_vkey",
    "publish",
    "read_bounded",
    "read_published",
    "sign_checkpoint",
    "sign_entry",
    "verify_checkpoint",
    "verify_consistency",
    "verify_cosignature",
    "verify_entry",
    "verify_inclusion",
    "verify_strict",
    "write_durably",
]
