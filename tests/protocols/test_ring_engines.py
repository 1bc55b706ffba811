"""The two engines of the ring give the same residues, and one is always there."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from protocols import _seal
from protocols.arrays import Float64Array, UInt64Array
from protocols.ring import Engine, Ring, engine
from protocols.suites import RING_DEGREES, suite
from tests.protocols.polynomials import adversarial_residues, random_residues

ROOT = Path(__file__).resolve().parents[2]
SMALL = 1024  # the least degree that is compiled
Make = Callable[[int, int, tuple[int, ...]], UInt64Array]


@pytest.fixture
def fresh_choice() -> Iterator[None]:
    """`engine` decides anew in this test, and again after it."""
    engine.cache_clear()
    yield
    engine.cache_clear()


def both(degree: int, primes: tuple[int, ...]) -> tuple[Ring, Ring]:
    """The ring on numpy and on numba; one set of tables, since those are slow to make."""
    pytest.importorskip("numba")
    reference, compiled = Ring(degree, primes, compute="numpy"), Ring.__new__(Ring)
    compiled.__dict__.update(reference.__dict__, _compute="numba")
    assert reference._kernels is None
    assert compiled._kernels is not None
    return reference, compiled


@pytest.fixture(scope="module", params=RING_DEGREES)
def rings(request: pytest.FixtureRequest) -> tuple[Ring, Ring]:
    """Both engines for every prime of a suite."""
    return both(request.param, suite(request.param).key_primes)


def all_highest(_: int, degree: int, primes: tuple[int, ...]) -> UInt64Array:
    """Every residue q - 1: the largest sums."""
    return np.repeat(np.array(primes, np.uint64)[:, None] - np.uint64(1), degree, axis=1)


def halves(seed: int, degree: int, primes: tuple[int, ...]) -> UInt64Array:
    """(q - 1)/2 and (q + 1)/2 in turn by chance: where a centred representative changes its sign."""
    chance = random_residues(seed, degree, primes) & np.uint64(1)
    return np.array(primes, np.uint64)[:, None] // np.uint64(2) + chance


def growing(reference: Ring, step: int) -> UInt64Array:
    """The first coefficient meets about q/2 in every layer, always of the same sign: the longest way from zero.

    Layer l adds to it w times the coefficient N/2^l, which is made (q + step)/2 divided by w; all others are zero.
    """
    x = np.zeros((len(reference.primes), reference.degree), dtype=np.uint64)
    for row, q in enumerate(reference.primes):
        x[row, 0] = q - 1 if step < 0 else 0
        m = 1
        while m < reference.degree:
            x[row, reference.degree // (2 * m)] = (q + step) // 2 * pow(int(reference._forward[row, m]), -1, q) % q
            m *= 2
    return x


@pytest.mark.parametrize("make", [random_residues, adversarial_residues, all_highest, halves])
def test_both_engines_give_the_same_residues(rings: tuple[Ring, Ring], make: Make) -> None:
    reference, compiled = rings
    x, y = (make(seed, reference.degree, reference.primes) for seed in (11, 12))
    before = x.copy()
    for one, other in (
        (reference.ntt(x), compiled.ntt(x)),
        (reference.inverse_ntt(x), compiled.inverse_ntt(x)),
        (reference.multiply(x, y), compiled.multiply(x, y)),
    ):
        assert other.dtype == np.uint64
        assert one.tobytes() == other.tobytes()
    assert np.array_equal(compiled.inverse_ntt(compiled.ntt(x)), x)
    assert np.array_equal(x, before)


@pytest.mark.parametrize("step", [-1, 1])
def test_both_engines_give_the_same_residues_when_every_layer_adds(rings: tuple[Ring, Ring], step: int) -> None:
    reference, compiled = rings
    x = growing(reference, step)
    assert reference.ntt(x).tobytes() == compiled.ntt(x).tobytes()


def test_broadcasting_is_that_of_numpy() -> None:
    reference, compiled = both(SMALL, suite(8192).data_primes)
    k = len(reference.primes)
    x = np.stack([random_residues(seed, SMALL, reference.primes) for seed in range(6)])
    for one, other in (
        (x, x[1]),
        (x[1], x),
        (x[0], reference.constant(12345)),
        (reference.constant(5), reference.constant(-7)),
        (x.reshape(2, 3, k, SMALL), x[:3]),
        (x[:0], x[0]),
        (x[0, 4:] % np.uint64(2), x[0]),
    ):
        got = compiled.multiply(one, other)
        assert got.shape == reference.multiply(one, other).shape
        assert np.array_equal(got, reference.multiply(one, other))


def test_arrays_that_are_read_only_strided_or_unaligned_are_taken() -> None:
    reference, compiled = both(SMALL, suite(8192).data_primes)
    x = random_residues(3, SMALL, reference.primes)
    read_only = x.copy()
    read_only.setflags(write=False)
    strided = np.repeat(x, 2, axis=1)[:, ::2]
    raw = np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:]
    unaligned = raw.view(np.uint64).reshape(x.shape)
    assert not unaligned.flags.aligned
    for y in (read_only, strided, unaligned):
        assert np.array_equal(compiled.ntt(y), reference.ntt(x))
        assert np.array_equal(compiled.inverse_ntt(y), reference.inverse_ntt(x))
        assert np.array_equal(compiled.multiply(y, y), reference.multiply(x, x))


@pytest.mark.parametrize("compute", ["numpy", "numba"])
def test_many_threads_get_what_one_gets(compute: Engine) -> None:
    if compute == "numba":
        pytest.importorskip("numba")
    one_ring = Ring(4096, suite(8192).data_primes, compute=compute)
    inputs = [random_residues(seed, 4096, one_ring.primes) for seed in range(8)]
    expected = [one_ring.multiply(one_ring.ntt(x), one_ring.inverse_ntt(x)) for x in inputs]
    with ThreadPoolExecutor(4) as threads:
        for _ in range(3):
            got = threads.map(lambda x: one_ring.multiply(one_ring.ntt(x), one_ring.inverse_ntt(x)), inputs)
            assert all(np.array_equal(a, b) for a, b in zip(got, expected, strict=True))


@pytest.mark.parametrize("compute", ["numpy", "seal", "numba"])
def test_another_shape_is_refused_by_both(compute: Engine) -> None:
    if compute == "numba":
        pytest.importorskip("numba")
    small = Ring(SMALL, suite(8192).data_primes, compute=compute)
    for act in (small.ntt, small.inverse_ntt):
        for shape in ((len(small.primes), SMALL - 1), (1, SMALL), (SMALL,)):
            with pytest.raises(ValueError, match="polynomials here are"):
                act(np.zeros(shape, dtype=np.uint64))


def test_a_degree_beyond_the_bound_is_computed_by_numpy() -> None:
    primes = (786433,)  # 1 modulo 2^18
    assert Ring(1 << 16, primes, compute="numba")._kernels is None
    small = Ring(SMALL // 2, primes, compute="numba")
    with pytest.raises(ValueError, match="a ring of degree 512 is not compiled here"):
        small.compiled.ntt(random_residues(1, SMALL // 2, primes))


def test_numba_is_chosen_where_it_is_installed(fresh_choice: None) -> None:
    pytest.importorskip("numba")
    assert engine() == "numba"
    assert Ring(SMALL, suite(8192).data_primes)._kernels is not None


@pytest.mark.parametrize("wrong", ["ntt", "inverse_ntt", "multiply"])
def test_seal_is_chosen_where_numba_differs(fresh_choice: None, monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    pytest.importorskip("numba")
    from protocols._ring_numba import Kernels

    right = getattr(Kernels, wrong)

    def off_by_one(self: Kernels, *x: UInt64Array) -> UInt64Array:
        result: UInt64Array = right(self, *x)
        result[-1, -1] ^= np.uint64(1)
        return result

    monkeypatch.setattr(Kernels, wrong, off_by_one)
    assert engine() == "seal"
    assert Ring(SMALL, suite(8192).data_primes)._kernels is None


@pytest.mark.parametrize("error", [ImportError, OSError])
def test_the_next_engine_is_chosen_where_one_does_not_load(
    fresh_choice: None, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def fails(_: Ring) -> None:
        raise error

    monkeypatch.setattr(Ring, "_compiled", fails)
    assert engine() == "seal"
    engine.cache_clear()
    monkeypatch.setattr(Ring, "_sealed", fails)
    assert engine() == "numpy"


@pytest.mark.parametrize("wrong", ["ntt", "inverse_ntt"])
def test_numpy_is_chosen_where_seal_differs_too(
    fresh_choice: None, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    def fails(_: Ring) -> None:
        raise ImportError

    right = getattr(_seal.SealTransforms, wrong)

    def off_by_one(self: _seal.SealTransforms, x: UInt64Array) -> UInt64Array:
        result: UInt64Array = right(self, x)
        result[-1, -1] ^= np.uint64(1)
        return result

    monkeypatch.setattr(Ring, "_compiled", fails)
    monkeypatch.setattr(_seal.SealTransforms, wrong, off_by_one)
    assert engine() == "numpy"


def sealed() -> _seal.SealTransforms:
    return Ring(SMALL, suite(8192).data_primes, compute="numpy")._sealed()


def test_seal_transforms_in_place_what_it_transforms_through_files(monkeypatch: pytest.MonkeyPatch) -> None:
    reference = Ring(SMALL, suite(8192).data_primes, compute="numpy")
    x = np.stack([random_residues(seed, SMALL, reference.primes) for seed in range(3)])
    x[1] = 0
    near = sealed()
    monkeypatch.setattr(_seal, "_words_of", lambda _: None)
    far = sealed()
    assert near.in_place
    assert not far.in_place
    for one in (near, far, near):
        assert np.array_equal(one.ntt(x), reference.ntt(x))
        assert np.array_equal(one.inverse_ntt(x), reference.inverse_ntt(x))
    assert near._place is not None
    assert not near._place.residues.any()


def in_place() -> _seal._InPlace:
    one = sealed()
    return _seal._InPlace(one._context, one._level, one._shape)


def test_an_object_whose_words_are_not_what_seal_says_is_not_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_seal, "_SIZES", slice(4, 7))
    with pytest.raises(OSError, match="a ciphertext of this SEAL lies in memory in an unknown way"):
        in_place()
    assert not sealed().in_place


def test_no_object_is_found_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_seal, "_SIMPLE_INSTANCE", 0)  # the count of references, which is no address
    with pytest.raises(OSError, match="a ciphertext of this SEAL lies in memory in an unknown way"):
        in_place()


def test_residues_that_lie_elsewhere_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere, find = np.zeros(2 * 5 * SMALL, dtype=np.uint64), _seal._words_of

    def moved(ciphertext: Any) -> Any:
        words = find(ciphertext)
        assert words is not None
        copy = type(words)(*words)
        copy[_seal._DATA] = elsewhere.ctypes.data
        return copy

    monkeypatch.setattr(_seal, "_words_of", moved)
    with pytest.raises(OSError, match="the residues of this SEAL lie in memory in an unknown way"):
        in_place()


def test_a_form_that_lies_elsewhere_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_seal, "_NTT", 9)  # the correction factor, of no use here
    with pytest.raises(OSError, match="the form of this SEAL's ciphertexts lies in memory in an unknown way"):
        in_place()


def test_residues_that_seal_does_not_take_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_seal, "residues_of", lambda _, shape: np.zeros(shape, dtype=np.uint64))
    with pytest.raises(OSError, match="does not take residues that were written in place"):
        in_place()


def test_seal_is_chosen_without_numba(fresh_choice: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    for name in [name for name in sys.modules if name.startswith("protocols._") and "numba" in name]:
        monkeypatch.delitem(sys.modules, name)
    assert engine() == "seal"
    small = Ring(SMALL, suite(8192).data_primes)
    x = random_residues(3, SMALL, small.primes)
    assert np.array_equal(small.inverse_ntt(small.ntt(x)), x)
    with pytest.raises(ImportError):
        Ring(SMALL, suite(8192).data_primes, compute="numba").ntt(x)


_COUNT_CACHE_HITS = """
from protocols import _wire_numba
kernels = (_wire_numba.check, _wire_numba.accumulate, _wire_numba.write)
print(len(kernels), sum(sum(made.stats.cache_hits.values()) for made in kernels), _wire_numba.__file__)
"""


@pytest.mark.slow
def test_a_second_process_compiles_only_what_changed(tmp_path: Path) -> None:
    pytest.importorskip("numba")
    shutil.copytree(ROOT / "protocols", tmp_path / "protocols", ignore=shutil.ignore_patterns("__pycache__", "tckks"))

    def hits(**environment: str) -> tuple[int, int]:
        command = [sys.executable, "-c", _COUNT_CACHE_HITS]
        inherited = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
        variables = {**inherited, "PYTHONDONTWRITEBYTECODE": "1", **environment}
        done = subprocess.run(command, cwd=tmp_path, env=variables, check=True, capture_output=True, text=True)
        kernels, found, file = done.stdout.split()
        assert Path(file).is_relative_to(tmp_path)
        return int(kernels), int(found)

    def kept() -> int:
        return len(list(tmp_path.rglob("*.nbc")))

    kernels, found = hits()
    assert found == 0
    assert kept() == kernels
    assert hits() == (kernels, kernels)
    with (tmp_path / "protocols" / "_ntt_numba.py").open("a") as file:  # a part of others, in which it disappears
        file.write("# changed\n")
    assert hits() == (kernels, 0)


@pytest.mark.slow
def test_no_cache_is_needed(tmp_path: Path) -> None:
    pytest.importorskip("numba")
    shutil.copytree(ROOT / "protocols", tmp_path / "protocols", ignore=shutil.ignore_patterns("__pycache__", "tckks"))
    for folder in ("protocols/__pycache__", "home"):  # files in the places of the folders to cache in
        (tmp_path / folder).write_bytes(b"")
    command = [sys.executable, "-c", "from protocols import _wire_numba; print(_wire_numba.check.stats.cache_hits)"]
    inherited = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    places = {"HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": str(tmp_path / "home"), "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run(command, cwd=tmp_path, env={**inherited, **places}, check=True, capture_output=True)
    assert not list(tmp_path.rglob("*.nbc"))


@pytest.mark.parametrize("error", [RuntimeError, OSError])
def test_kernels_compile_where_nothing_can_be_kept(monkeypatch: pytest.MonkeyPatch, error: type[Exception]) -> None:
    numba = pytest.importorskip("numba")
    from protocols import _numba_vectors

    def full(*arguments: object, cache: bool = False, **options: Any) -> Any:
        if cache:
            raise error("no place for a cache")
        return numba.njit(*arguments, **options)

    monkeypatch.setattr(_numba_vectors, "njit", full)

    @_numba_vectors.kernel(numba.float64[::1])
    def doubled(x: Float64Array) -> None:
        for i in range(len(x)):
            x[i] *= 2

    x = np.arange(3.0)
    doubled(x)
    assert x.tolist() == [0, 2, 4]
