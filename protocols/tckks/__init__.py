"""Threshold CKKS over SEAL: a key nobody holds, sums anyone can add, exact integers a quorum opens."""

from .aggregate import aggregate
from .decrypt import PartialDecryption, Purpose, combine, partial_decrypt, piece_answer
from .dryrun import answer_test, check_test, test_ciphertext
from .encrypt import EncryptedVector, Encryptor, SealBuild, check_suite, seal_build
from .keygen import Ceremony, PieceSeed, check_piece, commitment, deal, derive_piece, join
from .keys import JointKey, MemberKey, PieceKey
from .noise import NoiseBudget
from .sharing import ReplicatedSharing

__all__ = [
    "Ceremony",
    "EncryptedVector",
    "Encryptor",
    "JointKey",
    "MemberKey",
    "NoiseBudget",
    "PartialDecryption",
    "PieceKey",
    "PieceSeed",
    "Purpose",
    "ReplicatedSharing",
    "SealBuild",
    "aggregate",
    "answer_test",
    "check_piece",
    "check_suite",
    "check_test",
    "combine",
    "commitment",
    "deal",
    "derive_piece",
    "join",
    "partial_decrypt",
    "piece_answer",
    "seal_build",
    "test_ciphertext",
]
