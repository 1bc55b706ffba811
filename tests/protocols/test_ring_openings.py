"""Rescaling, small noise, fingerprints and openings: against Python's integers, and one engine against the other."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from protocols.arrays import Int64Array, UInt64Array
from protocols.ring import MAX_UNIFORM_BITS, WEIGHT_BITS, Engine, Ring
from protocols.suites import RING_DEGREES, suite
from tests.protocols.polynomials import adversarial_residues, random_residues

DEGREE = 1024
ENGINES: tuple[Engine, ...] = ("numpy", "numba")
SUITES = [(degree, compute) for degree in RING_DEGREES for compute in ENGINES]
Make = Callable[[int, int, tuple[int, ...]], UInt64Array]


def made(degree: int, compute: Engine, *, kept: bool = False) -> Ring:
    """A small ring over the primes of a suite."""
    if compute == "numba":
        pytest.importorskip("numba")
    primes = suite(degree).answer_primes if kept else suite(degree).data_primes
    return Ring(DEGREE, primes, compute=compute)


def residues_of(values: Sequence[int], primes: tuple[int, ...]) -> UInt64Array:
    return np.array([[v % q for v in values] for q in primes], dtype=np.uint64)


def halves(seed: int, degree: int, primes: tuple[int, ...]) -> UInt64Array:
    """(q - 1)/2 and (q + 1)/2 by chance: where a representative changes its sign."""
    return np.array(primes, np.uint64)[:, None] // np.uint64(2) + (random_residues(seed, degree, primes) & np.uint64(1))


def rounded_quotient(value: int, p: int) -> int:
    r = value % p
    return (value - (r - p if r > p // 2 else r)) // p


@pytest.mark.parametrize(("degree", "compute"), SUITES)
@pytest.mark.parametrize("make", [random_residues, adversarial_residues, halves])
@pytest.mark.parametrize("drop", [0, 1, 2, 3])
def test_rescale_divides_and_rounds(degree: int, compute: Engine, make: Make, drop: int) -> None:
    here = made(degree, compute)
    x = np.stack([make(1, DEGREE, here.primes), make(2, DEGREE, here.primes)])
    before, got = x.copy(), here.rescale(x, drop)
    assert np.array_equal(x, before)
    assert got.shape == (2, len(here.primes) - drop, DEGREE)
    for block, result in zip(x, got, strict=True):
        values = here.compose(block).tolist()
        for p in here.primes[::-1][:drop]:
            values = [rounded_quotient(value, p) for value in values]
        assert np.array_equal(result, residues_of(values, here.primes[: len(here.primes) - drop]))


@pytest.mark.parametrize(("degree", "compute"), SUITES)
@pytest.mark.parametrize("bits", [1, 2, 8, 17, 47, 48, 49, 64, 76, 91, 95, 96])
def test_small_uniform_reads_little_endian_fields(degree: int, compute: Engine, bits: int) -> None:
    here, width = made(degree, compute), (bits + 7) // 8
    stream = np.random.default_rng(bits).bytes(width * (DEGREE - 2)) + b"\xff" * width + b"\0" * width
    fields = [int.from_bytes(stream[width * i : width * (i + 1)], "little") % (1 << bits) for i in range(DEGREE)]
    expected = residues_of([field - (1 << (bits - 1)) for field in fields], here.primes)
    assert np.array_equal(here.small_uniform(stream, bits), expected)


@pytest.mark.parametrize(("degree", "compute"), SUITES)
def test_fingerprint_is_the_weighted_sum(degree: int, compute: Engine) -> None:
    here = made(degree, compute)
    highest = residues_of([-1] * DEGREE, here.primes)
    x = np.stack([highest, random_residues(1, DEGREE, here.primes)])
    weights = np.random.default_rng(2).integers(0, 1 << WEIGHT_BITS, (3, 2, DEGREE), dtype=np.uint64)
    weights[0] = (1 << WEIGHT_BITS) - 1
    got = here.fingerprint(x, weights)
    for row, weight in zip(got, weights.reshape(3, -1).tolist(), strict=True):
        for j, q in enumerate(here.primes):
            terms = zip(weight, x[:, j].reshape(-1).tolist(), strict=True)
            assert int(row[j]) == sum(w * v for w, v in terms) % q


@pytest.mark.parametrize(("degree", "compute"), SUITES)
def test_answer_is_its_three_steps(degree: int, compute: Engine) -> None:
    here, reference = made(degree, compute), made(degree, "numpy")
    for bits, drop, make in ((91, 2, random_residues), (76, 2, adversarial_residues), (96, 0, halves), (17, 1, halves)):
        x, secret = (make(seed, DEGREE, here.primes) for seed in (3, 4))
        stream = np.random.default_rng(5).bytes((bits + 7) // 8 * DEGREE)
        product = reference.inverse_ntt(reference.multiply(x, secret))
        expected = reference.rescale(reference.add(product, reference.small_uniform(stream, bits)), drop)
        for _ in range(2):  # scratch memory is used again
            got = np.zeros_like(expected)
            here.answer(x, secret, stream, bits=bits, drop=drop, out=got)
            assert np.array_equal(got, expected)


@pytest.mark.parametrize("compute", ["numpy", "numba"])
def test_an_answer_has_a_place_of_its_shape(compute: Engine) -> None:
    if compute == "numba":
        pytest.importorskip("numba")
    here = made(8192, compute)
    x, stream = random_residues(3, DEGREE, here.primes), bytes(12 * DEGREE)
    rows = len(here.primes) - 2
    for out in (np.zeros((rows + 1, DEGREE), np.uint64), np.zeros((DEGREE, rows), np.uint64).T):
        with pytest.raises(ValueError, match=r"the answer is .* and contiguous"):
            here.answer(x, x, stream, bits=91, drop=2, out=out)
    for wrong in ((x[:1], x), (x, x[:1])):
        with pytest.raises(ValueError, match="polynomials here are"):
            here.answer(*wrong, stream, bits=91, drop=2, out=np.zeros((rows, DEGREE), np.uint64))


SHIFT, BOUND = 62, 1 << 60


def message(width: int, count: int, seed: int = 1) -> Int64Array:
    """Digits over the whole range, its edges among them."""
    edge = (1 << (width - 1)) - 1
    digits = np.random.default_rng(seed).integers(-edge, edge + 1, (count, DEGREE), dtype=np.int64)
    digits[:, 0], digits[:, 1], digits[:, 2] = edge, -edge, 0
    return digits


def values_of(digits: Int64Array, width: int, shift: int) -> list[int]:
    planes = [[int(d) << (width * i) for d in plane] for i, plane in enumerate(digits)]
    return [sum(column) << shift for column in zip(*planes, strict=True)]


@pytest.mark.parametrize(("degree", "compute"), SUITES)
def test_digits_open_exactly_with_noise_up_to_the_bound(degree: int, compute: Engine) -> None:
    here = made(degree, compute, kept=True)
    room = here.modulus.bit_length() - 2
    for width, shift, bound in ((20, 7, 60), (23, 7, 63), (2, 1, 0), (48, 3, 1), (31, 32, 1 << 31), (16, 40, 3)):
        count = (room - shift) // width
        digits = message(width, count)
        noise = np.random.default_rng(2).integers(-bound, bound + 1, DEGREE).tolist()
        noise[0], noise[1] = min(bound, (1 << (shift - 1)) - 1), -bound
        x = residues_of([v + e for v, e in zip(values_of(digits, width, shift), noise, strict=True)], here.primes)
        before = x.copy()
        found = here.open_digits(x, shift=shift, noise_bound=bound, width=width, count=count)
        if found is None:  # only noise of exactly one half, which rounds up to the next message, may be misread
            assert bound == 1 << (shift - 1)
            continue
        assert found.dtype == np.int64
        assert np.array_equal(found, digits)
        assert np.array_equal(x, before)


@pytest.mark.parametrize(("degree", "compute"), SUITES)
def test_what_exceeds_a_bound_does_not_open(degree: int, compute: Engine) -> None:
    here = made(degree, compute, kept=True)
    width, count = (20, 2) if degree == 8192 else (23, 9)
    digits = message(width, count)
    top, edge = width * count - 1, (1 << (width - 1)) - 1

    def opened(values: list[int]) -> Int64Array | None:
        x = residues_of(values, here.primes)
        return here.open_digits(x, shift=SHIFT, noise_bound=BOUND, width=width, count=count)

    honest = values_of(digits, width, SHIFT)
    assert opened(honest) is not None
    half = here.modulus // 2
    for at, wrong in (
        (5, honest[5] + BOUND + 1),
        (5, honest[5] - BOUND - 1),
        (6, 1 << (SHIFT + top)),
        (6, -(1 << (SHIFT + top))),
        (7, (1 << (SHIFT + top)) - (1 << SHIFT)),  # in range, but its top digit is not
        (8, (edge + 1) << SHIFT if count == 1 else (-edge - 1) << SHIFT),
        (9, half),
        (9, half - 1),
        (9, -half),
        (1023, half // 3),
    ):
        values = list(honest)
        values[at] = wrong
        assert opened(values) is None, (at, wrong)


@pytest.mark.parametrize("degree", RING_DEGREES)
def test_both_engines_open_the_same_at_the_edges_of_the_modulus(degree: int) -> None:
    """There the sign of a value is a matter of its last bit, and the compiled engine leaves it to the reference."""
    compiled, reference = made(degree, "numba", kept=True), made(degree, "numpy", kept=True)
    half, width = reference.modulus // 2, 40
    count = reference.modulus.bit_length() // width
    seen = set()
    for value in (half, half + 1, half - 1, -half, half // 2, 0, 1, -1, half - (1 << 80), (1 << 70) - half):
        x = residues_of([value] * DEGREE, reference.primes)
        for shift in (1, 2, 31, 32, 33):
            given = {"shift": shift, "noise_bound": 1 << shift, "width": width, "count": count}
            one, other = reference.open_digits(x, **given), compiled.open_digits(x, **given)
            seen.add(one is None)
            assert (one is None) == (other is None), (value, shift)
            assert one is None or other is None or np.array_equal(one, other)
    assert seen == {True, False}


def test_random_residues_open_the_same_in_both_engines() -> None:
    compiled, reference = made(8192, "numba", kept=True), made(8192, "numpy", kept=True)
    for seed in range(5):
        x = random_residues(seed, DEGREE, reference.primes)
        given = {"shift": 40, "noise_bound": 1 << 39, "width": 11, "count": 8}
        assert reference.open_digits(x, **given) is None
        assert compiled.open_digits(x, **given) is None


@pytest.mark.parametrize("compute", ENGINES)
def test_refusals(compute: Engine) -> None:
    here = made(8192, compute)
    x = random_residues(1, DEGREE, here.primes)
    for drop in (-1, len(here.primes)):
        with pytest.raises(ValueError, match=f"cannot drop {drop} of 5 primes"):
            here.rescale(x, drop)
        with pytest.raises(ValueError, match=f"cannot drop {drop} of 5 primes"):
            here.answer(x, x, bytes(DEGREE), bits=8, drop=drop, out=x)
    for bits in (0, MAX_UNIFORM_BITS + 1):
        with pytest.raises(ValueError, match=f"1 to 96 bits, not {bits}"):
            here.small_uniform(bytes(DEGREE), bits)
    for size in (0, DEGREE - 1, DEGREE + 1):
        with pytest.raises(ValueError, match=f"the stream must be {DEGREE} bytes, got {size}"):
            here.small_uniform(bytes(size), 8)
    with pytest.raises(ValueError, match="cannot weigh"):
        here.fingerprint(x[None], np.zeros((1, 2, DEGREE), dtype=np.uint64))
    with pytest.raises(ValueError, match="a weight must be below 2"):
        here.fingerprint(x[None], np.full((1, 1, DEGREE), 1 << WEIGHT_BITS, dtype=np.uint64))
    for shift, width, count in ((0, 20, 1), (1, 1, 1), (1, 49, 1), (1, 20, 0)):
        with pytest.raises(ValueError, match="no digits"):
            here.open_digits(x, shift=shift, noise_bound=1, width=width, count=count)


@pytest.mark.parametrize("degree", [1024, 2048, 4096, 8192, 16384, 32768])
def test_every_number_of_layers_transforms_alike(degree: int) -> None:
    """The layers between rows are grouped by two and four: each degree takes another path."""
    pytest.importorskip("numba")
    primes = (suite(32768).data_primes[0], suite(32768).special_prime)
    compiled, reference = Ring(degree, primes, compute="numba"), Ring(degree, primes, compute="numpy")
    for make in (random_residues, adversarial_residues):
        x = np.stack([make(seed, degree, primes) for seed in (1, 2, 3)])
        assert np.array_equal(compiled.ntt(x), reference.ntt(x))
        assert np.array_equal(compiled.inverse_ntt(x), reference.inverse_ntt(x))


@pytest.mark.parametrize("compute", ["numpy", "seal", "numba"])
def test_batches_are_transformed_one_by_one(compute: Engine) -> None:
    here = made(8192, compute)
    x = np.stack([random_residues(seed, DEGREE, here.primes) for seed in range(6)]).reshape(2, 3, -1, DEGREE)
    x[1, 1] = 0
    for act in (here.ntt, here.inverse_ntt):
        whole = act(x)
        assert whole.shape == x.shape
        assert all(np.array_equal(whole[i, j], act(x[i, j])) for i in range(2) for j in range(3))
        assert act(x[:0]).shape == x[:0].shape


def test_scratch_memory_is_overwritten() -> None:
    here = made(8192, "numba")
    x = random_residues(1, DEGREE, here.primes)
    here.answer(x, x, bytes(12 * DEGREE), bits=96, drop=2, out=np.zeros_like(x[:-2]))
    here.ntt(x)
    spare = here.compiled._spare
    assert spare
    assert not any(memory.any() for memory in spare)
