"""Encryption: fresh randomness every time, repeatable from its seed, the same with and without memory files."""

import dataclasses
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from protocols.digits import DigitBlocks, DigitLayout
from protocols.suites import suite
from protocols.tckks import EncryptedVector, Encryptor, NoiseBudget, _seal, deal, derive_piece, join
from protocols.tckks.encrypt import message_residues
from tests.protocols.tckks.committee import SUITE, committee, rand

ROOT = Path(__file__).resolve().parents[3]

WITHOUT_MEMORY_FILES = """
import hashlib, os
del os.memfd_create
from protocols.tckks import _seal
from tests.protocols.tckks.committee import committee
assert not _seal.HAS_MEMFD
team = committee(3, 2)
print(hashlib.sha256(team.encrypt(team.digits(1, blocks=1), "fallback").encode()).hexdigest())
"""


def test_it_decrypts_to_the_message_and_a_small_error() -> None:
    team = committee()
    digits = team.digits(1, blocks=2, largest=team.layout.largest)
    for block, ciphertext in enumerate(team.encrypt(digits, "message").residues):
        opened = team.data.inverse_ntt(team.data.add(ciphertext[0], team.data.multiply(ciphertext[1], team.secret())))
        message = message_residues(team.data, digits, team.budget.scale_bits, block)
        error = team.data.compose(team.data.subtract(opened, message))
        assert np.abs(error).max() <= team.budget.error_bound
        planes = [digits.digits[block, d].astype(object) << (team.layout.width * d) for d in range(5)]
        assert team.data.compose(message).tolist() == (sum(planes) << team.budget.scale_bits).tolist()


def test_the_same_rand_gives_the_same_bytes_and_another_rand_other_randomness() -> None:
    team = committee()
    digits = team.digits(1)
    first, again, other = (team.encrypt(digits, word) for word in ("a", "a", "b"))
    assert first.encode() == again.encode()
    assert (first.residues[:, 1] != other.residues[:, 1]).mean() > 0.99


def test_every_block_has_randomness_of_its_own() -> None:
    team = committee()
    residues = team.encrypt(team.digits(1, blocks=3), "blocks").residues
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert (residues[i, 1] != residues[j, 1]).mean() > 0.99


def test_the_same_rand_under_another_key_gives_other_randomness() -> None:
    """Even where both keys share `a`: c1 = a*u + e1 would be the same, and c0 would give the difference away."""
    team = committee()
    seeds = [seed for m in range(1, 6) for seed in deal(team.ceremony, m, rand=rand("second", m))]
    other = join(team.ceremony, {seed.piece: derive_piece(team.ceremony, seed)[1] for seed in seeds})
    assert np.array_equal(other.a, team.joint.a)
    digits = team.digits(1)
    second = Encryptor(other, team.budget, team.layout).encrypt(digits, rand=rand("encrypt", "x"))
    assert (team.encrypt(digits, "x").residues[0, 1] != second.residues[0, 1]).mean() > 0.99


def test_two_encryptions_under_one_seed_share_c1_and_give_away_the_difference() -> None:
    """Why `rand` is used once: the danger is real, and the encryptor never makes it happen with different rand."""
    team = committee()
    a, b = team.digits(1), team.digits(2)
    first, second = (team.encrypt(digits, "same").residues[0] for digits in (a, b))
    assert np.array_equal(first[1], second[1])
    difference = team.data.compose(team.data.inverse_ntt(team.data.subtract(first[0], second[0])))
    leaked = DigitBlocks(team.layout, a.digits - b.digits)
    known = team.data.compose(message_residues(team.data, leaked, team.budget.scale_bits, 0))
    assert difference.tolist() == known.tolist()


@pytest.fixture(scope="module")
def seal_key() -> _seal.SealKey:
    joint = committee().joint
    return _seal.SealKey(SUITE, joint.b, joint.a)


def test_memory_file_and_value_by_value_give_the_same(seal_key: _seal.SealKey) -> None:
    seed = bytes(range(64))
    with_file, without = (seal_key.encrypt_zero(seed, memory_file=m) for m in (True, False))
    assert with_file.dtype == without.dtype == np.uint64
    assert np.array_equal(with_file, without)
    assert not np.array_equal(with_file, seal_key.encrypt_zero(bytes(64)))


def test_a_platform_without_memory_files_encrypts_the_same_bytes() -> None:
    assert _seal.HAS_MEMFD is hasattr(os, "memfd_create")
    run = subprocess.run(
        [sys.executable, "-c", WITHOUT_MEMORY_FILES], cwd=ROOT, capture_output=True, text=True, check=True
    )
    team = committee(3, 2)
    here = hashlib.sha256(team.encrypt(team.digits(1, blocks=1), "fallback").encode()).hexdigest()
    assert run.stdout.strip() == here


def test_no_open_file_is_left_behind(seal_key: _seal.SealKey) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        seal_key.encrypt_zero(bytes(64), memory_file=True)
    assert len(os.listdir("/proc/self/fd")) == before


def test_refusals_of_the_binding(seal_key: _seal.SealKey) -> None:
    for size in (0, 63, 65):
        with pytest.raises(ValueError, match="the encryption seed must be 64 bytes"):
            seal_key.encrypt_zero(bytes(size))
    large = dataclasses.replace(suite(8192), data_primes=suite(16384).data_primes)
    with pytest.raises(ValueError, match="SEAL refuses suite"):
        _seal.SealKey(large, committee().joint.b, committee().joint.a)


def test_an_unknown_layout_of_seals_objects_is_refused(
    seal_key: _seal.SealKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seal_key, "_suite", dataclasses.replace(SUITE, name="same"))
    with monkeypatch.context() as patch:
        patch.setattr(_seal, "_COUNT", _seal._HEADER)
        with pytest.raises(RuntimeError, match="unknown layout"):
            seal_key.encrypt_zero(bytes(64), memory_file=True)


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_rand_has_one_length(size: int) -> None:
    team = committee()
    with pytest.raises(ValueError, match="encrypt needs 32 fresh random bytes"):
        team.encryptor.encrypt(team.digits(1), rand=bytes(size))


def test_a_budget_of_another_key_is_refused() -> None:
    team = committee()
    for budget in (NoiseBudget(SUITE, 9, 10), NoiseBudget(suite(16384), 10, 10)):
        with pytest.raises(ValueError, match="the noise budget is for another key"):
            Encryptor(team.joint, budget, team.layout)


@pytest.mark.parametrize("layout", [DigitLayout(20, 6, 8192), DigitLayout(24, 5, 8192), DigitLayout(20, 5, 4096)])
def test_a_layout_that_does_not_fit_is_refused(layout: DigitLayout) -> None:
    team = committee()
    with pytest.raises(ValueError, match="the digit layout does not fit the noise budget"):
        Encryptor(team.joint, team.budget, layout)


def test_digits_of_another_layout_are_refused() -> None:
    team = committee()
    narrow = DigitBlocks(DigitLayout(20, 4, 8192), np.zeros((1, 4, 8192), dtype=np.int64))
    with pytest.raises(ValueError, match="the digits have another layout"):
        team.encryptor.encrypt(narrow, rand=rand())


def test_an_encrypted_vector_has_one_shape_and_cannot_change() -> None:
    team = committee()
    vector = team.encrypt(team.digits(1), "frozen")
    with pytest.raises(ValueError, match="read-only"):
        vector.residues[0, 0, 0, 0] = 0
    with pytest.raises(ValueError, match="expected shape"):
        EncryptedVector(SUITE, team.joint.digest, vector.residues[:, :1])
    with pytest.raises(TypeError, match="uint64"):
        EncryptedVector(SUITE, team.joint.digest, vector.residues.astype(np.int64))
