"""Warming up leaves nothing to be made later."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from protocols.ring import engine, ring
from protocols.suites import suite
from protocols.tckks.warmup import CompiledKernels, warmup


def test_tables_and_engine_are_there_afterwards() -> None:
    chosen = suite(8192)
    assert warmup(chosen) == engine()
    before = ring.cache_info()
    for primes in (chosen.data_primes, chosen.answer_primes, chosen.key_primes):
        ring(chosen.ring_degree, primes)
    assert ring.cache_info().misses == before.misses
    assert (engine() != "numba") or {"protocols._wire_numba", "protocols._fused_numba"} <= set(sys.modules)


def test_nothing_is_compiled_where_numba_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "protocols._numba_vectors", None)
    assert CompiledKernels.here() is None


def looked(**environment: str) -> list[str]:
    code = (
        "from protocols.tckks import CompiledKernels as C; k = C.here(); print(k.folder, k.kept, k.processor, sep='|')"
    )
    known = {**os.environ, **environment}
    done = subprocess.run([sys.executable, "-c", code], env=known, check=True, capture_output=True, text=True)
    return done.stdout.strip().split("|")


def test_the_folder_of_kernels_is_told_without_compiling(tmp_path: Path) -> None:
    pytest.importorskip("numba")
    folder, kept, processor = looked(NUMBA_CACHE_DIR=str(tmp_path))
    assert Path(folder).is_relative_to(tmp_path)
    assert kept == "False"
    assert processor
    assert not list(tmp_path.rglob("*.nbc"))


def test_kernels_that_were_kept_are_found() -> None:
    pytest.importorskip("numba")
    warmup(suite(8192))
    here = CompiledKernels.here()
    assert here is not None
    assert here.kept is (here.folder is not None)


def test_no_folder_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba")
    from protocols import _numba_vectors

    def nowhere(_: object) -> None:
        raise RuntimeError("cannot cache")

    monkeypatch.setattr(_numba_vectors, "FunctionCache", nowhere)
    here = CompiledKernels.here()
    assert here is not None
    assert (here.folder, here.kept) == (None, False)
