"""Training code with the privacy taken out of it, one way after the other: an audit finds every one.

Each mutant is the product's own path with one function replaced. The table says by what it must be found; most are
found by more.
"""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from protocols.arrays import Int64Array
from protocols.dp import DiscreteGaussian, Mechanism, Mode, Noise, PoissonSample, release, shares
from protocols.dp.clipping import clipped_sum
from secure_bfl import local_training, networks
from secure_bfl.auditing import privacy_audit
from tests.secure_bfl.auditing.seeded import Seeded, small

Mutant = Callable[[pytest.MonkeyPatch], None]
SAMPLE = DiscreteGaussian.sample


@pytest.fixture(autouse=True)
def _plain_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """That the network is fit for private training is tested elsewhere, and takes half of the time."""
    monkeypatch.setattr(networks, "check_gradients", lambda *_, **__: None)


def noise_over(divisor: int) -> Mutant:
    """Noise of a smaller standard deviation under the same label; none at all for 0."""

    def sample(law: DiscreteGaussian, n: int, rand: bytes) -> Noise:
        values = SAMPLE(law, n, rand).take()
        return Noise(values // divisor if divisor else 0 * values, law.variance_units)

    return lambda patch: patch.setattr(DiscreteGaussian, "sample", sample)


def shares_for_all(patch: pytest.MonkeyPatch) -> None:
    """Each of ten clients adds a tenth of the noise, although seven may be all there are."""
    patch.setattr(Mechanism, "share_variance_units", property(lambda self: self.noise_variance_units / 10))


def same_noise(patch: pytest.MonkeyPatch) -> None:
    """A seed that is not fresh."""
    patch.setattr(DiscreteGaussian, "sample", lambda law, n, rand: SAMPLE(law, n, bytes(32)))


def float_noise(patch: pytest.MonkeyPatch) -> None:
    """A floating-point Gaussian, rounded afterwards: no test of its distribution sees that."""

    def sample(law: DiscreteGaussian, n: int, rand: bytes) -> Noise:
        rng = np.random.default_rng(list(rand))
        return Noise(
            np.rint(rng.normal(scale=float(law.variance_units) ** 0.5, size=n)).astype(np.int64), law.variance_units
        )

    patch.setattr(DiscreteGaussian, "sample", sample)


class FloatLaw:
    """The same, only where clients train: the sampler itself stays as it is."""

    def __init__(self, variance: Fraction) -> None:
        self.variance_units = variance

    def sample(self, n: int, rand: bytes) -> Noise:
        rng = np.random.default_rng(list(rand))
        return Noise(
            np.rint(rng.normal(scale=float(self.variance_units) ** 0.5, size=n)).astype(np.int64), self.variance_units
        )


def float_noise_in_training(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(local_training, "_law", FloatLaw)


def summed_by(function: Callable[[Any, Mechanism], Int64Array]) -> Mutant:
    def patched(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(release, "clipped_sum", function)
        patch.setattr(shares, "clipped_sum", function)

    return patched


def not_clipped(rows: Any, mechanism: Mechanism) -> Int64Array:
    scaled = np.asarray(rows[0 : len(rows)], dtype=np.float64) * (mechanism.clip_units / mechanism.clip_norm)
    result: Int64Array = np.trunc(scaled).astype(np.int64).sum(axis=0)
    return result


def _clipped(rows: Any, mechanism: Mechanism) -> Any:
    wide = np.asarray(rows[0 : len(rows)], dtype=np.float64)
    norms = np.linalg.norm(wide, axis=1, keepdims=True)
    return (
        wide
        * np.minimum(1.0, mechanism.clip_norm / np.maximum(norms, 1e-300))
        * (mechanism.clip_units / mechanism.clip_norm)
    )


def sum_rounded(rows: Any, mechanism: Mechanism) -> Int64Array:
    """The float sum of clipped gradients, rounded: one record changes how the others are rounded."""
    result: Int64Array = np.rint(_clipped(rows, mechanism).sum(axis=0)).astype(np.int64)
    return result


def clipped_then_rounded(rows: Any, mechanism: Mechanism) -> Int64Array:
    """Each record by itself, but to the nearest integers, which may be longer than the bound."""
    result: Int64Array = np.rint(_clipped(rows, mechanism)).astype(np.int64).sum(axis=0)
    return result


def clipped_twice_as_long(rows: Any, mechanism: Mechanism) -> Int64Array:
    return 2 * clipped_sum(rows, mechanism)


def sampled_by(choose: Callable[[int, int, bytes], Int64Array]) -> Mutant:
    """Batches chosen in another way, labelled as Poisson samples of the claimed rate."""

    def sample(n_records: int, mechanism: Mechanism, *, rand: bytes) -> PoissonSample:
        rate = mechanism.sampling_rate_ppm
        return PoissonSample(choose(n_records, rate, rand), n_records, rate, origin=release._SAMPLER)

    return lambda patch: patch.setattr(local_training, "poisson_sample", sample)


def everybody(n_records: int, rate: int, rand: bytes) -> Int64Array:
    return np.arange(n_records, dtype=np.int64)


def shuffled(n_records: int, rate: int, rand: bytes) -> Int64Array:
    """A fixed share of the records, in a random order."""
    order = np.random.default_rng(list(rand)).permutation(n_records)[: n_records * rate // 1_000_000]
    return np.sort(order).astype(np.int64)


def any_batch(patch: pytest.MonkeyPatch) -> None:
    """The releases take a batch of any kind."""
    for module in (release, shares):
        patch.setattr(module, "check_step", lambda gradients, sample, mechanism: int(gradients.shape[1]))


def size_in_a_sentinel(patch: pytest.MonkeyPatch) -> None:
    """Something about the data where only noise should be."""
    share = shares.privatize_share

    def leaky(gradients: Any, sample: PoissonSample, *arguments: Any, **named: Any) -> Any:
        size = sample.size
        released, record = share(gradients, sample, *arguments, **named)
        values = released.take()
        values[-1] += size
        return shares.NoisyShare(values), record

    patch.setattr(local_training, "privatize_share", leaky)


ALL_RATES = 1_000_000
D, L, C = Mode.DISTRIBUTED, Mode.LOCAL, Mode.CLIENT
MUTANTS: dict[str, tuple[Mode, int, Mutant, set[str]]] = {
    "no noise, distributed": (D, ALL_RATES, noise_over(0), {"one-run", "z-test", "sentinels", "noise-repeats"}),
    "no noise, local": (L, ALL_RATES, noise_over(0), {"one-run", "z-test", "sentinels", "noise-repeats"}),
    "no noise, client": (C, ALL_RATES, noise_over(0), {"one-run", "z-test", "sentinels", "noise-repeats"}),
    "noise / 4": (D, ALL_RATES, noise_over(4), {"z-test", "sentinels", "noise-law"}),
    "noise / 2, distributed": (D, ALL_RATES, noise_over(2), {"z-test", "sentinels", "noise-law"}),
    "noise / 2, local": (L, ALL_RATES, noise_over(2), {"z-test", "sentinels", "noise-law"}),
    "noise / 2, client": (C, ALL_RATES, noise_over(2), {"sentinels", "noise-law"}),
    "shares as if nobody dropped out": (D, ALL_RATES, shares_for_all, {"sentinels"}),
    "the same noise in every step, distributed": (D, ALL_RATES, same_noise, {"noise-repeats"}),
    "the same noise in every step, local": (L, ALL_RATES, same_noise, {"noise-repeats", "z-test"}),
    "the same noise, client": (C, ALL_RATES, same_noise, {"noise-repeats"}),
    "floating-point noise": (D, ALL_RATES, float_noise, {"noise-law"}),
    "floating-point noise in training, distributed": (D, ALL_RATES, float_noise_in_training, {"noise-source"}),
    "floating-point noise in training, local": (L, ALL_RATES, float_noise_in_training, {"noise-source"}),
    "no clipping, distributed": (D, ALL_RATES, summed_by(not_clipped), {"one-run", "z-test", "record-norm"}),
    "no clipping, local": (L, ALL_RATES, summed_by(not_clipped), {"one-run", "z-test", "record-norm"}),
    "no clipping, client": (C, ALL_RATES, summed_by(not_clipped), {"one-run", "z-test", "record-norm"}),
    "clipped to twice the bound": (D, ALL_RATES, summed_by(clipped_twice_as_long), {"record-norm"}),
    "the sum rounded, not the records": (D, ALL_RATES, summed_by(sum_rounded), {"record-norm"}),
    "the sum rounded, local": (L, ALL_RATES, summed_by(sum_rounded), {"record-norm"}),
    "records rounded to nearest": (D, ALL_RATES, summed_by(clipped_then_rounded), {"record-norm"}),
    "a full batch where 10 % are claimed": (D, 100_000, sampled_by(everybody), {"z-test", "sampling-rate"}),
    "a full batch in local mode": (L, 100_000, sampled_by(everybody), {"z-test", "sampling-rate"}),
    "shuffled batches": (D, 100_000, sampled_by(shuffled), {"sampling-rate"}),
    "the size of the batch in a sentinel": (D, ALL_RATES, size_in_a_sentinel, {"record-norm"}),
    "any batch is taken": (D, ALL_RATES, any_batch, {"sampler-type"}),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mode, rate, mutate, found_by = MUTANTS[name]
    mutate(monkeypatch)
    result = privacy_audit(small(mode, sampling_rate_ppm=rate), draw=Seeded(1))
    assert not result.passes
    assert found_by <= set(result.violations)


def test_shuffling_and_float_noise_are_seen_by_structure_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No statistic of what is released tells them from the real thing."""
    with monkeypatch.context() as patch:
        sampled_by(shuffled)(patch)
        assert privacy_audit(small(D, sampling_rate_ppm=100_000), draw=Seeded(2)).violations == ("sampling-rate",)
    with monkeypatch.context() as patch:
        float_noise_in_training(patch)
        assert privacy_audit(small(D), draw=Seeded(2)).violations == ("noise-source",)


@pytest.mark.parametrize(
    ("mutate", "violation"),
    [(noise_over(4), "one-run"), (summed_by(clipped_twice_as_long), "z-test"), (shares_for_all, "z-test")],
    ids=["noise / 4", "clipped to twice the bound", "shares as if nobody dropped out"],
)
def test_an_audit_of_full_size_sees_more(mutate: Mutant, violation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mutate(monkeypatch)
    assert violation in privacy_audit(draw=Seeded(3)).violations


CLEAN = [
    *((D, ALL_RATES, seed) for seed in range(6)),
    *((D, 100_000, seed) for seed in range(6)),
    *((L, ALL_RATES, seed) for seed in range(4)),
    *((L, 100_000, seed) for seed in range(4)),
    *((C, ALL_RATES, seed) for seed in range(4)),
]


@pytest.mark.parametrize(("mode", "rate", "seed"), CLEAN)
def test_no_false_alarm(mode: Mode, rate: int, seed: int) -> None:
    """24 runs of the code as it is. Together an honest audit's alarms have a chance of at most 1.1e-4."""
    result = privacy_audit(small(mode, sampling_rate_ppm=rate), draw=Seeded(100 + seed))
    assert result.violations == ()
    assert result.epsilon_lower_milli < result.claimed_epsilon_milli
    assert min(result.one_run_p_e12, result.z_p_e12, result.sentinel_p_e12) > 10**8  # 1e-4
