"""Opacus as a per-record gradient engine, and as a second opinion on epsilon.

Sampling, clipping, noise and accounting are ours (`protocols.dp`): no Opacus optimizer, data loader or engine is used.
"""

import copy
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from protocols.dp import PrivacyEvent

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # notices of Opacus to its own users at import
    from opacus.accountants import PRVAccountant, RDPAccountant
    from opacus.grad_sample import GradSampleModule

__all__ = ["GradientEngine", "per_record_gradients", "prv_epsilon", "rdp_epsilon"]


class GradientEngine:
    """Gradients of the cross-entropy loss, one for each record.

    Run by: a client, on its own records. Works on a copy: the model passed in is never hooked or changed.
    Parameters are flattened in the order of `named_parameters()`, each in row-major order.

    Raises:
        ValueError: the model has a layer that mixes records (batch normalisation), a layer that draws random
            numbers (dropout), a layer unknown to Opacus, or a parameter that is frozen or not float32.
    """

    def __init__(self, model: nn.Module) -> None:
        parameters = dict(model.named_parameters())
        if not parameters:
            raise ValueError("the model has no parameters")
        for name, parameter in parameters.items():
            if not parameter.requires_grad or parameter.dtype != torch.float32:
                raise ValueError(f"parameter {name} must be trainable and float32")
        for name, module in model.named_modules():
            if isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0:
                raise ValueError(f"layer {name} draws random numbers: training must be repeatable, set its rate to 0")
        self._pristine = copy.deepcopy(model).train()
        self._pristine.zero_grad(set_to_none=True)
        self._wrap()
        self.dim = sum(p.numel() for p in self._parameters)

    def _wrap(self) -> None:
        own = copy.deepcopy(self._pristine)
        try:
            self._module: Any = GradSampleModule(own, batch_first=True, loss_reduction="sum", strict=True)
        except NotImplementedError as exc:
            raise ValueError(f"no per-record gradients for this model: {exc}") from exc
        self._parameters: list[Any] = [p for _, p in own.named_parameters()]  # Any: Opacus adds `grad_sample`

    def load_flat(self, vector: npt.NDArray[np.float32] | npt.NDArray[np.float64]) -> None:
        """Set all parameters. Shapes: vector [dim].

        Raises:
            ValueError: a wrong shape, or a value that is not finite in float32.
        """
        if vector.shape != (self.dim,):
            raise ValueError(f"the vector must have shape ({self.dim},), got {vector.shape}")
        with np.errstate(over="ignore"):
            flat = torch.from_numpy(vector.astype(np.float32))
        if not bool(torch.isfinite(flat).all()):
            raise ValueError("the vector must be finite in float32")
        start = 0
        with torch.no_grad():
            for parameter in self._parameters:
                stop = start + parameter.numel()
                parameter.copy_(flat[start:stop].view_as(parameter))
                start = stop

    def flat(self) -> npt.NDArray[np.float32]:
        """The parameters as one vector. Shapes: float32[dim], a copy."""
        vector: npt.NDArray[np.float32] = torch.cat([p.detach().reshape(-1) for p in self._parameters]).numpy()
        return vector

    def gradients(self, features: torch.Tensor, labels: torch.Tensor) -> npt.NDArray[np.float32]:
        """The gradient of each record's own loss, not averaged. Shapes: float32[batch, dim]; [0, dim] if empty.

        Raises:
            ValueError: features and labels differ in number.
        """
        batch = len(features)
        if len(labels) != batch:
            raise ValueError("features and labels must have the same number of rows")
        result = np.empty((batch, self.dim), dtype=np.float32)
        if batch == 0:
            return result
        try:
            with torch.enable_grad(), warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="Full backward hook is firing")
                loss = nn.functional.cross_entropy(self._module(features), labels, reduction="sum")
                loss.backward()  # type: ignore[no-untyped-call]
        except BaseException:
            # Opacus keeps what an unfinished pass left behind and would pair it with the next batch: start afresh.
            parameters = self.flat()
            self._wrap()
            self.load_flat(parameters)
            raise
        start = 0
        for parameter in self._parameters:
            stop = start + parameter.numel()
            result[:, start:stop] = parameter.grad_sample.reshape(batch, -1).numpy()
            start = stop
        self._module.zero_grad(set_to_none=True)
        return result


def per_record_gradients(model: nn.Module, features: torch.Tensor, labels: torch.Tensor) -> npt.NDArray[np.float32]:
    """`GradientEngine(model).gradients(features, labels)`, for one use. Shapes: float32[batch, dim]."""
    return GradientEngine(model).gradients(features, labels)


def prv_epsilon(events: Iterable[PrivacyEvent], delta: float) -> float:
    """Opacus' PRV accountant (Gopi, Lee, Wutschitz 2021). A cross-check: our noise multiplier, no distance term."""
    return _epsilon(PRVAccountant(), events, delta)


def rdp_epsilon(events: Iterable[PrivacyEvent], delta: float) -> float:
    """Opacus' Renyi accountant. A cross-check: our noise multiplier, no distance term."""
    return _epsilon(RDPAccountant(), events, delta)


def _epsilon(accountant: Any, events: Iterable[PrivacyEvent], delta: float) -> float:
    accountant.history = [(e.noise_multiplier_milli / 1000, e.sampling_rate, e.steps) for e in events]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Optimal order is the")  # the bound is valid, if not the best
        return float(accountant.get_epsilon(delta))
