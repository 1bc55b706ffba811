"""The peers beside which privacy is measured: numpy's and opendp's noise, Opacus' own step of DP-SGD.

It imports them itself, since what it measures is what their users call. Nothing of this is used to protect anybody.
"""

import warnings
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from protocols.arrays import Float64Array, Int64Array

from .clocks import cpu_seconds

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # notices of Opacus to its own users at import
    from opacus import PrivacyEngine

__all__ = ["BATCH", "FEATURES", "network", "numpy_normal", "opacus_step", "opendp_seconds"]

BATCH: Final = 64
FEATURES: Final = 784
_CLASSES: Final = 10
_OPENDP_DRAWS: Final = 2_000


def network(hidden: int) -> nn.Module:
    """A perceptron on rows of 784 values."""
    layers: nn.Module = nn.Sequential(nn.Linear(FEATURES, hidden), nn.ReLU(), nn.Linear(hidden, _CLASSES))
    return layers


def numpy_normal(count: int, std: float) -> Callable[[], object]:
    """Drawing floating-point noise with numpy. Ready to run."""
    generator = np.random.default_rng(0)
    return lambda: generator.normal(0.0, std, count)


def opendp_seconds(std: float, million: int = 1_000_000) -> float:
    """CPU seconds that opendp's exact sampler takes for a million values, estimated from two thousand.

    Raises:
        ImportError: opendp is not installed.
    """
    import opendp.prelude as dp

    dp.enable_features("contrib")
    space = dp.vector_domain(dp.atom_domain(T=int)), dp.l2_distance(T=float)
    measure = dp.m.make_gaussian(*space, scale=std)
    zeros = [0] * _OPENDP_DRAWS
    measure(zeros[:10])
    return cpu_seconds(lambda: measure(zeros)) * million / _OPENDP_DRAWS


def opacus_step(hidden: int, rows: Float64Array, classes: Int64Array) -> Callable[[], object]:
    """One step of DP-SGD with Opacus' own engine and optimizer, on this batch. Ready to run."""
    features, labels = torch.from_numpy(rows.astype(np.float32)), torch.from_numpy(classes.copy())
    model: Any = network(hidden)
    optimizer: Any = torch.optim.SGD(model.parameters(), lr=0.05)
    dataset = torch.utils.data.TensorDataset(features, labels)
    loader: Any = torch.utils.data.DataLoader(dataset, batch_size=len(labels))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that its generator is no cryptographic one
        model, optimizer, _ = PrivacyEngine().make_private(
            module=model,
            optimizer=optimizer,
            data_loader=loader,
            noise_multiplier=1.0,
            max_grad_norm=1.0,
            poisson_sampling=False,
        )

    def step() -> None:
        optimizer.zero_grad()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            nn.functional.cross_entropy(model(features), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step
