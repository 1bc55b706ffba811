"""Threshold CKKS: a key nobody holds, sums anyone can add, exact integers a quorum opens."""

from .aggregate import Adder, aggregate
from .compat import SlotPlan, open_slots, public_context, read_vector
from .crosscheck import challenge_weights, check_answer, fingerprint, fingerprint_bytes
from .dealing import Dealing, join_piece
from .decrypt import Opening, PartialDecryption, Purpose, combine, partial_decrypt, piece_answer
from .degree import DegreeProof, PublishedDealing, check_subshare, convicted, degree_challenge
from .dryrun import Trial, answer_test, check_test, trial_ciphertext, trials
from .encrypt import EncryptedVector, Encryptor, SealBuild, check_suite, seal_build
from .founding import founding_dealing, founding_terms
from .handover import Handover, agree, subdeal
from .keygen import Ceremony, PieceSeed, check_piece, commitment, deal, derive_piece, join, seed_commitment
from .keys import JointKey, MemberKey, PieceKey
from .noise import NoiseBudget, OpeningProfile
from .shamir import lagrange
from .sharing import ReplicatedSharing, ShamirSharing, Sharing, share_among
from .stream import Source, add_streams, answer_stream, check_stream, encrypt_stream, open_streams
from .subshare import DealingTerms, SubShare, masked, unmasked
from .warmup import CompiledKernels, warmup

__all__ = [
    "Adder",
    "Ceremony",
    "CompiledKernels",
    "Dealing",
    "DealingTerms",
    "DegreeProof",
    "EncryptedVector",
    "Encryptor",
    "Handover",
    "JointKey",
    "MemberKey",
    "NoiseBudget",
    "Opening",
    "OpeningProfile",
    "PartialDecryption",
    "PieceKey",
    "PieceSeed",
    "PublishedDealing",
    "Purpose",
    "ReplicatedSharing",
    "SealBuild",
    "ShamirSharing",
    "Sharing",
    "SlotPlan",
    "Source",
    "SubShare",
    "Trial",
    "add_streams",
    "aggregate",
    "agree",
    "answer_stream",
    "answer_test",
    "challenge_weights",
    "check_answer",
    "check_piece",
    "check_stream",
    "check_subshare",
    "check_suite",
    "check_test",
    "combine",
    "commitment",
    "convicted",
    "deal",
    "degree_challenge",
    "derive_piece",
    "encrypt_stream",
    "fingerprint",
    "fingerprint_bytes",
    "founding_dealing",
    "founding_terms",
    "join",
    "join_piece",
    "lagrange",
    "masked",
    "open_slots",
    "open_streams",
    "partial_decrypt",
    "piece_answer",
    "public_context",
    "read_vector",
    "seal_build",
    "seed_commitment",
    "share_among",
    "subdeal",
    "trial_ciphertext",
    "trials",
    "unmasked",
    "warmup",
]
