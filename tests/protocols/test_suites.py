"""The presets: SEAL accepts them, and every number follows from the table."""

import dataclasses

import pytest
import tenseal.sealapi as seal

from protocols import suites
from protocols.errors import CapacityError
from protocols.ring import MAX_PRIME_BITS, is_prime
from protocols.suites import MAX_MODULUS_BITS, RING_DEGREES, for_model, suite
from protocols.tckks import check_suite


@pytest.mark.parametrize("degree", RING_DEGREES)
def test_seal_accepts_the_suite_and_its_table_is_ours(degree: int) -> None:
    check_suite(suite(degree))
    assert seal.CoeffModulus.MaxBitCount(degree, seal.SEC_LEVEL_TYPE.TC128) == MAX_MODULUS_BITS[degree]


@pytest.mark.parametrize("degree", RING_DEGREES)
def test_the_primes(degree: int) -> None:
    preset = suite(degree)
    assert len(set(preset.key_primes)) == len(preset.key_primes)
    for q in preset.key_primes:
        assert is_prime(q)
        assert q % (2 * degree) == 1
        assert q.bit_length() <= MAX_PRIME_BITS
    assert preset.key_primes == (*preset.data_primes, preset.special_prime)
    assert preset.special_prime.bit_length() == 17
    assert [8 * size for size in preset.residue_bytes] == [q.bit_length() for q in preset.data_primes]
    assert sum(q.bit_length() for q in preset.key_primes) <= MAX_MODULUS_BITS[degree]
    product = 1
    for q in preset.data_primes:
        product *= q
    assert preset.data_modulus == product


@pytest.mark.parametrize(
    ("degree", "bits", "smudging"),
    [
        (8192, [48, 48, 32, 48, 24], 75),
        (16384, [48] * 6 + [40, 48, 40], 90),
        (32768, [48] * 16 + [48, 40], 90),
    ],
)
def test_sizes_are_what_the_specification_prints(degree: int, bits: list[int], smudging: int) -> None:
    preset = suite(degree)
    assert [q.bit_length() for q in preset.data_primes] == bits
    assert preset.smudging_bits == smudging
    assert preset.name == f"tckks-{degree}-v1"


@pytest.mark.parametrize("degree", RING_DEGREES)
def test_each_prime_is_the_largest_left_of_its_size(degree: int) -> None:
    seen: list[int] = []
    for q in suite(degree).key_primes:
        larger = range(q + 2 * degree, 1 << q.bit_length(), 2 * degree)
        assert all(c in seen or not is_prime(c) for c in larger)
        seen.append(q)


def test_seal_refuses_a_modulus_above_the_table() -> None:
    large = dataclasses.replace(suite(8192), data_primes=suite(16384).data_primes)
    with pytest.raises(ValueError, match="SEAL refuses suite"):
        check_suite(large)


@pytest.mark.parametrize("degree", [0, 4096, 8191, 65536])
def test_no_other_degree(degree: int) -> None:
    with pytest.raises(ValueError, match=f"no suite has ring degree {degree}; choose one of 8192, 16384, 32768"):
        suite(degree)


@pytest.mark.parametrize("degree", RING_DEGREES)
def test_what_an_answer_drops_is_noise(degree: int) -> None:
    """Two bits of the smudging stay above what is dropped, so rounding costs nothing that counts."""
    preset = suite(degree)
    assert preset.answer_primes == preset.data_primes[:-2]
    assert preset.answer_modulus * preset.dropped_modulus == preset.data_modulus
    assert 2**2 <= 2**preset.smudging_bits / preset.dropped_modulus < 2**4


def test_the_ring_grows_with_the_model() -> None:
    sizes = (1, 650, 40960, 40961, 4_000_000, 4_000_001, 10**9)
    degrees = [8192, 8192, 8192, 16384, 16384, 32768, 32768]
    assert [for_model(n).ring_degree for n in sizes] == degrees
    with pytest.raises(ValueError, match="at least one parameter"):
        for_model(0)


def test_a_table_that_is_too_small_for_the_primes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(suites._DATA_BITS, 8192, (48, 48, 48, 48, 48))
    with pytest.raises(CapacityError, match="257 modulus bits exceed the table's 218"):
        suites.suite.__wrapped__(8192)


def test_a_size_without_primes_is_refused() -> None:
    with pytest.raises(CapacityError, match="no further 17-bit prime is 1 modulo 65536"):
        suites._largest_prime(17, 32768, [65537])


def test_a_suite_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        suite(8192).smudging_bits = 0  # type: ignore[misc]
