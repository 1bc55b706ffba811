"""A verifiable log of signed entries, in the C2SP formats, with witnesses instead of trust.

It knows bytes, hashes and signatures only. What the entries mean is the business of the layers above.
"""

from .blobs import Blobs, DirectoryBlobs, MemoryBlobs, blob_digest
from .cbor import Value, decode, encode
from .certifying import CosigningWitness, certify
from .checkpoint import Checkpoint, parse_checkpoint, sign_checkpoint, verify_checkpoint
from .cosign import Cosignature, CosigningKey, cosign, cosigner, verify_cosignature
from .entry import MAX_ENTRY, Entry, parse_entry, sign_bundle, sign_entry, verify_entries, verify_entry
from .errors import (
    BlobError,
    BusyError,
    ConsistencyError,
    DamagedStoreError,
    DecodeError,
    EquivocationError,
    LedgerError,
    ProofError,
    QuorumError,
    SignatureError,
    SizeConflictError,
    StateError,
    StoreError,
    VerifierError,
)
from .evidence import Equivocation, parse_equivocation
from .files import create_durably, read_bounded, write_durably
from .log import Log
from .merkle import EMPTY_ROOT, Tree, leaf_hash, node_hash, verify_consistency, verify_inclusion
from .mldsa import MlDsaKey
from .note import COSIGNATURE_V1, ED25519, MAX_NOTE, MLDSA44, Note, NoteSignature, VerifierKey, parse_note, parse_vkey
from .policy import Certificate, Policy, byzantine_quorum, read_policy, verify_progress
from .policy_file import TrustPolicy, parse_policy_file
from .proof import LogProof, parse_proof, prove
from .published import PublishedLog, read_published
from .publishing import publish
from .sequencer import Admission, Sequencer
from .signing import SigningKey, verify_strict
from .source import DirectorySource, LogSource
from .store import Head, MemoryStore, SqliteStore, Store
from .tile import Tile
from .verify import LogReport, verify_log
from .verifying import VerifierPool
from .witness import MemoryWitnessStore, SqliteWitnessStore, Witness, WitnessState, WitnessStore

__all__ = [
    "COSIGNATURE_V1",
    "ED25519",
    "EMPTY_ROOT",
    "MAX_ENTRY",
    "MAX_NOTE",
    "MLDSA44",
    "Admission",
    "BlobError",
    "Blobs",
    "BusyError",
    "Certificate",
    "Checkpoint",
    "ConsistencyError",
    "Cosignature",
    "CosigningKey",
    "CosigningWitness",
    "DamagedStoreError",
    "DecodeError",
    "DirectoryBlobs",
    "DirectorySource",
    "Entry",
    "Equivocation",
    "EquivocationError",
    "Head",
    "LedgerError",
    "Log",
    "LogProof",
    "LogReport",
    "LogSource",
    "MemoryBlobs",
    "MemoryStore",
    "MemoryWitnessStore",
    "MlDsaKey",
    "Note",
    "NoteSignature",
    "Policy",
    "ProofError",
    "PublishedLog",
    "QuorumError",
    "Sequencer",
    "SignatureError",
    "SigningKey",
    "SizeConflictError",
    "SqliteStore",
    "SqliteWitnessStore",
    "StateError",
    "Store",
    "StoreError",
    "Tile",
    "Tree",
    "TrustPolicy",
    "Value",
    "VerifierError",
    "VerifierKey",
    "VerifierPool",
    "Witness",
    "WitnessState",
    "WitnessStore",
    "blob_digest",
    "byzantine_quorum",
    "certify",
    "cosign",
    "cosigner",
    "create_durably",
    "decode",
    "encode",
    "leaf_hash",
    "node_hash",
    "parse_checkpoint",
    "parse_entry",
    "parse_equivocation",
    "parse_note",
    "parse_policy_file",
    "parse_proof",
    "parse_vkey",
    "prove",
    "publish",
    "read_bounded",
    "read_policy",
    "read_published",
    "sign_bundle",
    "sign_checkpoint",
    "sign_entry",
    "verify_checkpoint",
    "verify_consistency",
    "verify_cosignature",
    "verify_entries",
    "verify_entry",
    "verify_inclusion",
    "verify_log",
    "verify_progress",
    "verify_strict",
    "write_durably",
]
