"""Encryption: fresh randomness every time, repeatable from its seed, the same bytes from every engine."""

import hashlib
import os

import numpy as np
import pytest

from protocols import _seal
from protocols.arrays import Int64Array
from protocols.digits import DigitBlocks, DigitLayout
from protocols.errors import StateError
from protocols.ring import Engine, Ring, ring
from protocols.sampling import Keystream
from protocols.suites import suite
from protocols.tckks import EncryptedVector, Encryptor, NoiseBudget, PieceSeed, deal, derive_piece, join, wire
from protocols.tckks.encrypt import _BlockPlan, message_residues, stream_bytes
from tests.protocols.seal import SealRing
from tests.protocols.tckks.committee import SUITE, committee, rand

ENGINES: tuple[Engine, ...] = ("numba", "seal", "numpy")


def encryptor(compute: Engine) -> Encryptor:
    if compute == "numba":
        pytest.importorskip("numba")
    team = committee()
    return Encryptor(team.joint, team.budget, team.layout, compute=compute)


def test_it_decrypts_to_the_message_and_a_small_error() -> None:
    team = committee()
    digits = team.digits(1, blocks=2, largest=team.layout.largest)
    for block, ciphertext in enumerate(team.encrypt(digits, "message").residues):
        opened = team.data.inverse_ntt(team.data.add(ciphertext[0], team.data.multiply(ciphertext[1], team.secret())))
        message = message_residues(team.data, digits, team.budget.scale, block)
        error = team.data.compose(team.data.subtract(opened, message))
        assert np.abs(error).max() <= team.budget.error_bound
        planes = [digits.digits[block, d].astype(object) << (team.layout.width * d) for d in range(5)]
        assert team.data.compose(message).tolist() == (sum(planes) * team.budget.scale).tolist()


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
    known = team.data.compose(message_residues(team.data, leaked, team.budget.scale, 0))
    assert difference.tolist() == known.tolist()


@pytest.mark.parametrize("compute", ENGINES)
@pytest.mark.parametrize("edge", [-1, 0, 1])
def test_every_engine_writes_the_same_bytes(compute: Engine, edge: int) -> None:
    team = committee()
    digits = team.digits(1, blocks=2, largest=team.layout.largest)
    if edge:
        digits = DigitBlocks(team.layout, np.full_like(digits.digits, edge * team.layout.largest))
    expected = textbook(digits, rand("same"))
    assert encryptor(compute).encrypt(digits, rand=rand("same")).encode() == expected.encode()


def textbook(digits: DigitBlocks, rand32: bytes) -> EncryptedVector:
    """The specification in its own order: products over all primes, then SEAL's rounding division, then the message."""
    team, blocks = committee(), []
    full, data = Ring(8192, SUITE.key_primes, compute="numpy"), team.data
    for block, planes in enumerate(digits.digits):
        label = b"secure-bfl/encrypt/v2" + team.joint.digest + block.to_bytes(4, "little")
        stream = Keystream(hashlib.shake_256(label + rand32).digest(32), purpose=b"encrypt")
        draws = [byte for byte in stream.read(8192 + 1024 + 256) if byte < 255][:8192]
        u = full.ntt(full.reduce(np.array([byte % 3 - 1 for byte in draws])))
        parts = []
        for column in (team.joint.b, team.joint.a):
            coins = [int.from_bytes(stream.read(8), "little") for _ in range(8192)]
            error = [(c % (1 << 21)).bit_count() - (c >> 21).__mod__(1 << 21).bit_count() for c in coins]
            z = full.add(full.inverse_ntt(full.multiply(column, u)), full.reduce(np.array(error)))
            half = SUITE.special_prime // 2
            last = (z[-1] + np.uint64(half)) % np.uint64(SUITE.special_prime)  # SEAL's divide_and_round_q_last
            shifted = data.subtract(data.add(z[:-1], data.constant(half)), data.reduce(last.astype(np.int64)))
            parts.append(data.multiply(shifted, data.constant(pow(SUITE.special_prime, -1, data.modulus))))
        messages = sum(plane.astype(object) << (team.layout.width * d) for d, plane in enumerate(planes))
        scaled = [int(m) * team.budget.scale for m in messages]
        parts[0] = data.add(parts[0], np.array([[m % q for m in scaled] for q in data.primes], dtype=np.uint64))
        blocks.append(np.stack([data.ntt(part) for part in parts]))
    return EncryptedVector(SUITE, team.joint.digest, np.stack(blocks))


@pytest.mark.parametrize("width", [2, 13, 16, 17, 24, 25, 47, 48])
def test_every_width_of_digits_is_joined_alike(width: int) -> None:
    """Digits are joined to integers of at most 48 bits: three at a time, two, or none."""
    pytest.importorskip("numba")
    team = committee()
    layout = team.budget.layout(width)
    edges = np.array([-layout.largest, 0, layout.largest], dtype=np.int64)
    values = np.random.default_rng(width).choice(edges, (1, layout.per_coefficient, 8192))
    values[0, :, 0], values[0, :, 1] = layout.largest, -layout.largest
    digits = DigitBlocks(layout, values)
    one, other = (Encryptor(team.joint, team.budget, layout, compute=c) for c in ("numba", "numpy"))
    assert one.encrypt(digits, rand=rand("w")).encode() == other.encrypt(digits, rand=rand("w")).encode()


@pytest.mark.parametrize("compute", ENGINES)
def test_a_message_block_by_block_is_the_message(compute: Engine) -> None:
    digits = committee().digits(1, blocks=3)
    whole = encryptor(compute).encrypt(digits, rand=rand("stream")).encode()
    parts = [encryptor(compute).encrypt_block(d, i, rand=rand("stream")) for i, d in enumerate(digits.digits)]
    assert whole[wire.HEADER_BYTES :] == b"".join(parts)


@pytest.mark.parametrize("workers", [2, 3, 7])
def test_the_bytes_do_not_depend_on_the_number_of_threads(workers: int) -> None:
    digits = committee().digits(1, blocks=5)
    alone, together = (encryptor("numba").encrypt(digits, rand=rand("w"), workers=w) for w in (1, workers))
    assert alone.encode() == together.encode()


@pytest.mark.slow
@pytest.mark.parametrize("compute", ["seal", "numpy"])
def test_the_bytes_do_not_depend_on_the_number_of_processes(compute: Engine) -> None:
    digits = committee().digits(1, blocks=3)
    alone, together = (encryptor(compute).encrypt(digits, rand=rand("w"), workers=w) for w in (1, 2))
    assert alone.encode() == together.encode()


def test_nothing_to_encrypt_is_an_empty_message() -> None:
    none = DigitBlocks(committee().layout, np.empty((0, committee().layout.per_coefficient, 8192), dtype=np.int64))
    for compute in ENGINES:
        vector = encryptor(compute).encrypt(none, rand=rand("none"), workers=2)
        assert len(vector.encode()) == wire.HEADER_BYTES
        assert vector.residues.shape == (0, 2, 5, 8192)


def test_scratch_memory_of_encryption_is_overwritten() -> None:
    made = encryptor("numba")
    made.encrypt(committee().digits(1), rand=rand("wipe"))
    made.encrypt_block(committee().digits(1).digits[0], 0, rand=rand("wipe"))
    spare = ring(8192, SUITE.key_primes, compute="numba").compiled._spare
    assert spare
    assert not any(memory.any() for memory in spare)


def test_a_stream_with_too_few_ternary_bytes_is_refused() -> None:
    team, fused = committee(), encryptor("numba")._engine
    assert not isinstance(fused, _BlockPlan)
    octets = np.zeros(2 * 8192 * sum(SUITE.residue_bytes), dtype=np.uint8)
    with fused.scratch() as scratch, pytest.raises(StateError, match="the encryption's stream ran out"):
        fused.write(team.digits(1).digits[0], b"\xff" * stream_bytes(8192), octets, 0, scratch)


def test_seals_decryptor_opens_our_ciphertext() -> None:
    """With the secret that only a test may have, SEAL's own Decryptor finds message and error."""
    team = committee()
    full = ring(8192, SUITE.key_primes)
    secret = np.zeros_like(team.joint.b)
    for seed in team.seeds.values():
        secret = full.add(secret, full.ntt(full.reduce(ternary_of(seed))))
    assert np.array_equal(secret[:-1], team.secret())
    digits = team.digits(3, largest=team.layout.largest)
    (ciphertext,) = team.encrypt(digits, "for SEAL").residues
    found = SealRing(SUITE).decrypted(secret, ciphertext)
    message = message_residues(team.data, digits, team.budget.scale, 0)
    error = team.data.compose(team.data.subtract(team.data.inverse_ntt(found), message))
    assert 0 < np.abs(error).max() <= team.budget.error_bound


def ternary_of(seed: PieceSeed) -> Int64Array:
    """A piece's coefficients, from its seed."""
    team = committee()
    (row,) = Ring(8192, SUITE.data_primes[:1]).inverse_ntt(team.pieces[seed.piece].secret_ntt[:1]).astype(np.int64)
    return np.where(row > 1, -1, row)


def test_our_arithmetic_opens_seals_own_encryption_under_our_key() -> None:
    team = committee()
    zero = SealRing(SUITE).encrypted_zero(team.joint.b, team.joint.a)
    opened = team.data.inverse_ntt(team.data.add(zero[0], team.data.multiply(zero[1], team.secret())))
    error = team.data.compose(opened).astype(np.float64)
    assert np.abs(error).max() <= team.budget.error_bound
    assert np.std(error) == pytest.approx(team.budget.error_std, rel=0.05)


def test_our_error_has_seals_law() -> None:
    team = committee()
    none = DigitBlocks(team.layout, np.zeros((2, team.layout.per_coefficient, 8192), dtype=np.int64))
    for ciphertext in team.encrypt(none, "law").residues:
        opened = team.data.add(ciphertext[0], team.data.multiply(ciphertext[1], team.secret()))
        error = team.data.compose(team.data.inverse_ntt(opened)).astype(np.float64)
        assert np.std(error) == pytest.approx(team.budget.error_std, rel=0.05)


def test_an_unknown_layout_of_seals_objects_is_refused() -> None:
    made = ring(8192, SUITE.data_primes, compute="seal")._transforms
    assert made is not None
    x = np.stack([committee().joint.b[:-1], committee().joint.a[:-1]])
    ciphertext = _seal.load_ciphertext(made._context, made._level, x, ntt=True)
    assert np.array_equal(_seal.residues_of(ciphertext, (2, 5, 8192)), x)
    with pytest.raises(RuntimeError, match="unknown layout"):
        _seal.residues_of(ciphertext, (3, 5, 8192))


def test_no_open_file_is_left_behind() -> None:
    here, x = ring(8192, SUITE.data_primes, compute="seal"), committee().joint.b[:-1]
    here.ntt(x)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        here.ntt(x)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_ring_that_seal_refuses_and_a_platform_without_memory_files(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OSError, match="SEAL refuses the ring"):
        _seal.SealTransforms(8192, (65537 * 3,), SUITE.special_prime)
    monkeypatch.setattr(_seal, "HAS_MEMFD", False)
    with pytest.raises(OSError, match="no anonymous memory files"):
        _seal.SealTransforms(8192, SUITE.data_primes, SUITE.special_prime)


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_rand_has_one_length(size: int) -> None:
    team = committee()
    with pytest.raises(ValueError, match="encrypt needs 32 fresh random bytes"):
        team.encryptor.encrypt(team.digits(1), rand=bytes(size))
    with pytest.raises(ValueError, match="encrypt needs 32 fresh random bytes"):
        team.encryptor.encrypt_block(team.digits(1).digits[0], 0, rand=bytes(size))


def test_a_block_has_a_number_a_shape_and_bounds() -> None:
    team = committee()
    planes = team.digits(1).digits[0]
    for block in (-1, 1 << 32):
        with pytest.raises(ValueError, match="a block has a 32-bit number"):
            team.encryptor.encrypt_block(planes, block, rand=rand())
    with pytest.raises(ValueError, match="expected shape"):
        team.encryptor.encrypt_block(planes[1:], 0, rand=rand())
    with pytest.raises(ValueError, match="a digit does not fit"):
        team.encryptor.encrypt_block(planes + (1 << 30), 0, rand=rand())


def test_a_budget_of_another_key_is_refused() -> None:
    team = committee()
    for budget in (NoiseBudget(SUITE, 9, 10, 10), NoiseBudget(suite(16384), 10, 10, 10)):
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
