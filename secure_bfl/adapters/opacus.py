"""Opacus as a per-record gradient engine, and as a second opinion on epsilon.

Sampling, clipping, noise and accounting are ours (`protocols.dp`): no Opacus optimizer, data loader or engine is used.
"""

import copy
import warnings
from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from protocols.dp import PrivacyEvent

from .layers import evaluate_frozen_parts, refused_layers
from .rows import Destination

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # notices of Opacus to its own users at import
    from opacus.accountants import PRVAccountant, RDPAccountant
    from opacus.grad_sample import GradSampleModule
    from opacus.grad_sample.embedding import compute_embedding_grad_sample
    from opacus.grad_sample.linear import compute_linear_grad_sample
    from opacus.validators import ModuleValidator

__all__ = ["CHUNK_BYTES", "GradientEngine", "per_record_gradients", "prv_epsilon", "rdp_epsilon"]

CHUNK_BYTES: Final = 1 << 28
"""Memory for per-record gradients that are read through `GradientRows`; but never less than one record needs."""

_PLAIN_ROWS: Final = 1024  # records in one pass of `sum_gradient`, which keeps activations only

Gradients = npt.NDArray[np.float32]


def _padded_embedding(layer: nn.Embedding, activations: Any, backprops: torch.Tensor) -> dict[nn.Parameter, Any]:
    """Opacus' rule for an embedding, but the row of the padding token has no gradient, as in torch."""
    if layer.padding_idx is not None:
        backprops = backprops.masked_fill((activations[0] == layer.padding_idx).unsqueeze(-1), 0.0)
    found: dict[nn.Parameter, Any] = compute_embedding_grad_sample(layer, activations, backprops)
    return found


def _linear(layer: nn.Linear, activations: Any, backprops: torch.Tensor) -> dict[nn.Parameter, torch.Tensor]:
    """Opacus' rule for a linear layer; where one row is one record, the outer products go straight to the result."""
    destination: Any = getattr(layer.weight, "_current_grad_sample", None)
    single = backprops.dim() == 2 and isinstance(destination, Destination)
    if single and destination.outer(backprops, activations[0].to(backprops.dtype)):
        return {} if layer.bias is None or not layer.bias.requires_grad else {layer.bias: backprops}
    found: dict[nn.Parameter, torch.Tensor] = compute_linear_grad_sample(layer, activations, backprops)
    return found


class _PerRecord(GradSampleModule):  # type: ignore[misc]  # Opacus has no types
    GRAD_SAMPLERS = {**GradSampleModule.GRAD_SAMPLERS, nn.Embedding: _padded_embedding, nn.Linear: _linear}  # noqa: RUF012


class GradientEngine:
    """Gradients of the cross-entropy loss with respect to the trainable parameters, one for each record.

    Run by: a client, on its own records. Works on a copy: the model passed in is never hooked or changed.
    Trainable parameters are flattened in the order of `named_parameters()`, each in row-major order. Frozen parameters
    stay as they are, and a part of the model whose parameters are all frozen is evaluated, not trained: its batch
    normalisation uses the statistics it came with, its dropout is off.

    Raises:
        ValueError: a layer mixes records (batch normalisation), draws random numbers (dropout) or has no per-record
            gradients; a trainable parameter is not float32; or there is none. The message names each layer and the fix.
    """

    def __init__(self, model: nn.Module) -> None:
        self._pristine = copy.deepcopy(model).train()
        evaluate_frozen_parts(self._pristine)
        if refused := list(refused_layers(self._pristine, _opinion)):
            raise ValueError("this model cannot be trained privately: " + "; ".join(refused))
        trainable = [(name, p) for name, p in self._pristine.named_parameters() if p.requires_grad]
        if not trainable:
            raise ValueError("the model has no trainable parameters")
        for name, parameter in trainable:
            if parameter.dtype != torch.float32:
                raise ValueError(f"parameter {name} must be float32, not {parameter.dtype}")
        self._pristine.zero_grad(set_to_none=True)
        self._wrap()
        self.dim = sum(p.numel() for p in self._parameters)
        self.rows = max(1, CHUNK_BYTES // (4 * (self.dim + _largest_gradient(self._pristine))))
        self._buffer = torch.empty(0, self.dim)

    def _wrap(self) -> None:
        own = copy.deepcopy(self._pristine)
        try:
            self._module: Any = _PerRecord(own, batch_first=True, loss_reduction="sum", strict=True)
        except NotImplementedError as exc:
            raise ValueError(
                f"this model cannot be trained privately: Opacus finds no per-record gradients: {exc}; "
                "fix: keep buffers in layers without trainable parameters"
            ) from exc
        # Any: Opacus adds `grad_sample`.
        self._parameters: list[Any] = [p for _, p in own.named_parameters() if p.requires_grad]

    def load_flat(self, vector: npt.NDArray[np.float32] | npt.NDArray[np.float64]) -> None:
        """Set all trainable parameters. Shapes: vector [dim].

        Raises:
            ValueError: a wrong shape, or a value that is not finite in float32.
        """
        if vector.shape != (self.dim,):
            raise ValueError(f"the vector must have shape ({self.dim},), got {vector.shape}")
        with np.errstate(over="ignore"):
            flat = torch.from_numpy(vector.astype(np.float32))
        if not bool(torch.isfinite(flat).all()):
            raise ValueError("the vector must be finite in float32")
        with torch.no_grad():
            for parameter, part in zip(self._parameters, self._parts(flat[None]), strict=True):
                parameter.copy_(part[0])

    def flat(self) -> Gradients:
        """The trainable parameters as one vector. Shapes: float32[dim], a copy."""
        vector: Gradients = torch.cat([p.detach().reshape(-1) for p in self._parameters]).numpy()
        return vector

    def frozen_values(self) -> tuple[torch.Tensor, ...]:
        """Copies of everything in the model that training must not change: frozen parameters, and all buffers."""
        inner = self._module._module
        frozen = [p for p in inner.parameters() if not p.requires_grad]
        return tuple(value.detach().clone() for value in (*frozen, *inner.buffers()))

    def _parts(self, rows: torch.Tensor) -> list[torch.Tensor]:
        """Each parameter's part of [n, dim], as a view [n, *its shape]."""
        parts, start = [], 0
        for parameter in self._parameters:
            stop = start + parameter.numel()
            parts.append(rows[:, start:stop].view(len(rows), *parameter.shape))
            start = stop
        return parts

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the trainable parameters, in order."""
        return tuple(tuple(p.shape) for p in self._parameters)

    def scores(self, features: torch.Tensor) -> Any:
        """What the model gives for these records."""
        with torch.no_grad():
            return self._module(features)

    def gradients(self, features: torch.Tensor, labels: torch.Tensor) -> Gradients:
        """The gradient of each record's own loss, not averaged. Shapes: float32[batch, dim]; [0, dim] if empty.

        All of them are held at once: for a batch of any size, see `compute`.

        Raises:
            ValueError: features and labels differ in number.
        """
        if len(labels) != len(features):
            raise ValueError("features and labels must have the same number of rows")
        result = torch.empty(len(features), self.dim)
        self._fill(result, features, labels)
        rows: Gradients = result.numpy()
        return rows

    def compute(
        self, features: npt.NDArray[Any], labels: npt.NDArray[np.int64], chosen: npt.NDArray[np.int64]
    ) -> Gradients:
        """The same for the chosen rows of arrays, in memory that the next call overwrites: see `GradientRows`.

        Shapes: features [n, ...], float64 (computed on as float32) or int64; labels [n]; chosen int64[batch]; result
        float32[batch, dim].
        """
        if len(self._buffer) < len(chosen):
            self._buffer = torch.empty(len(chosen), self.dim)
        result = self._buffer[: len(chosen)]
        self._fill(result, _tensor(features[chosen]), torch.from_numpy(labels[chosen]))
        rows: Gradients = result.numpy()
        return rows

    def _fill(self, result: torch.Tensor, features: torch.Tensor, labels: torch.Tensor) -> None:
        if len(features) == 0:  # Opacus cannot take an empty batch
            return
        views = self._parts(result)
        for parameter, view in zip(self._parameters, views, strict=True):
            parameter._current_grad_sample = Destination(view)
        try:
            with torch.enable_grad(), warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="Full backward hook is firing")
                self._loss(features, labels).backward()  # type: ignore[no-untyped-call]
            for parameter, view in zip(self._parameters, views, strict=True):
                if parameter.grad_sample is None:  # the model does not use it
                    del parameter._current_grad_sample
                    view.zero_()
                elif not isinstance(parameter.grad_sample, Destination):
                    view.copy_(parameter.grad_sample)
        except BaseException:
            # Opacus keeps what an unfinished pass left behind and would pair it with the next batch: start afresh.
            parameters = self.flat()
            self._wrap()
            self.load_flat(parameters)
            raise
        self._module.zero_grad(set_to_none=True)

    def _loss(self, features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(self._module(features), labels, reduction="sum")

    def sum_gradient(self, features: npt.NDArray[Any], labels: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """The gradient of the sum of all losses, without Opacus. No record has a bound in it.

        Shapes: features [n, ...], float64 or int64; labels [n]; result float64[dim], zeros if there are no rows.
        """
        total = np.zeros(self.dim)
        self._module.disable_hooks()
        try:
            for start in range(0, len(labels), _PLAIN_ROWS):
                part = slice(start, start + _PLAIN_ROWS)
                with torch.enable_grad(), warnings.catch_warnings():
                    warnings.filterwarnings("ignore", message="Full backward hook is firing")
                    loss = self._loss(_tensor(features[part]), torch.from_numpy(labels[part].copy()))
                    found = torch.autograd.grad(loss, self._parameters, allow_unused=True)
                parts = (
                    torch.zeros_like(p) if gradient is None else gradient
                    for p, gradient in zip(self._parameters, found, strict=True)
                )
                total += torch.cat([gradient.reshape(-1) for gradient in parts]).numpy()
        finally:
            self._module.enable_hooks()
        return total


def _tensor(features: npt.NDArray[Any]) -> torch.Tensor:
    """Tokens as they are, everything else as float32."""
    if features.dtype == np.int64:
        return torch.from_numpy(np.array(features))
    with np.errstate(over="ignore"):  # infinite: the record's gradient is not finite either, and counts as zero
        return torch.from_numpy(features.astype(np.float32))


def _largest_gradient(model: nn.Module) -> int:
    """Values of the largest per-record gradient of one layer, which exists beside the result for a moment.

    For a layer without a rule of its own, Opacus computes those of the frozen parameters too.
    """
    largest = 0
    for module in model.modules():
        own = list(module.parameters(recurse=False))
        if any(p.requires_grad for p in own):
            known = type(module) in _PerRecord.GRAD_SAMPLERS
            largest = max(largest, sum(p.numel() for p in module.parameters() if p.requires_grad or not known))
    return largest


def _opinion(module: nn.Module) -> str:
    """What Opacus itself has against a layer."""
    complaints: Sequence[Exception] = ModuleValidator.VALIDATORS.get(type(module), lambda _: ())(module)
    return " ".join(map(str, complaints))


def per_record_gradients(model: nn.Module, features: torch.Tensor, labels: torch.Tensor) -> Gradients:
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
