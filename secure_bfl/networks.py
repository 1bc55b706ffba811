"""Networks of one's own: what a plan has to say about one, and whether a network is the plan's.

Only parameters that require gradients are the model: they are in the plan, trained, summed and published. What is
frozen (parameters without gradients, and buffers) comes with the code that builds the network, is public, and has to be
the same for all: `base_digest` names it. Spec: round §5 (v1).
"""

import copy
import hashlib
import math
from typing import Final

import numpy as np
import torch
from torch import nn

from .adapters.opacus import GradientEngine
from .adapters.probing import check_gradients, takes_tokens
from .model import GlobalModel, Layout, Tensor, linear_layout
from .plan import FederationPlan

__all__ = [
    "base_digest",
    "check_network",
    "has_base",
    "layout_of",
    "linear_network",
    "network_with",
    "prepared",
    "start_of",
]

_BASE_LABEL: Final = b"secure-bfl/frozen-base/v1"


def layout_of(module: nn.Module) -> Layout:
    """Names and shapes of the trainable parameters, in the order of the flat vector: `Training(tensors=...)`.

    Raises:
        ValueError: there is none.
    """
    layout = tuple(Tensor(name, tuple(p.shape)) for name, p in module.named_parameters() if p.requires_grad)
    if not layout:
        raise ValueError("the network has no trainable parameters")
    return layout


def start_of(module: nn.Module) -> GlobalModel:
    """The module's own trainable values as a model: what a run may start from, its digest `Training(initial=...)`.

    Raises:
        ValueError: there is none, or a value is not finite in float32.
    """
    parts = [p.detach().reshape(-1).to(torch.float64).numpy() for p in module.parameters() if p.requires_grad]
    return GlobalModel(layout_of(module), np.concatenate(parts) if parts else np.zeros(0))


def network_with(module: nn.Module, model: GlobalModel) -> nn.Module:
    """A copy of the module with the model's values, in evaluation mode: to predict with.

    Raises:
        ValueError: the model is not one of this network.
    """
    _check_layout(module, model.layout, "the model")
    filled = copy.deepcopy(module).eval()
    tensors, trainable = model.tensors(), dict(filled.named_parameters())
    with torch.no_grad():
        for name, value in tensors.items():
            trainable[name].copy_(torch.from_numpy(value))
    return filled


def base_digest(module: nn.Module) -> bytes:
    """SHA-256 of what is frozen in the network: names, types, shapes and values. Public; the same for all clients.

    With nothing frozen it is that of an empty list. The code that runs the values is not part of it.
    """
    frozen = [(f"parameter {name}", p) for name, p in module.named_parameters() if not p.requires_grad]
    digest = hashlib.sha256(_BASE_LABEL)
    for name, value in (*frozen, *((f"buffer {name}", b) for name, b in module.named_buffers())):
        head = f"{name} {value.dtype} {tuple(value.shape)}".encode()
        digest.update(len(head).to_bytes(4, "big") + head)
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.digest()


def has_base(module: nn.Module) -> bool:
    """Whether anything in the network is frozen."""
    return any(not p.requires_grad for p in module.parameters()) or any(True for _ in module.buffers())


def linear_network(plan: FederationPlan) -> nn.Module:
    """The softmax layer on the flat record that the plan's tensors describe.

    Raises:
        ValueError: they describe something else.
    """
    features = math.prod(plan.record_shape)
    if plan.tensors != linear_layout(features, plan.classes):
        raise ValueError("the plan is for a network of its own: give the learner the function that builds it")
    with torch.device("meta"):  # nothing random is drawn
        layer = nn.Linear(features, plan.classes)
    layer = layer.to_empty(device="cpu")
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer if len(plan.record_shape) == 1 else _Flat(layer)


class _Flat(nn.Module):
    """A linear layer on flattened records, with the layer's own names of parameters."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = layer.weight, layer.bias

    def forward(self, records: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(records.flatten(1), self.weight, self.bias)


def check_network(plan: FederationPlan, module: nn.Module) -> None:
    """Check that the network is the plan's, and that it can be trained privately. No record is needed.

    Run by: whoever builds the network, before the plan is founded; and by every client, before it reads a record.

    Raises:
        ValueError: the trainable tensors are not the plan's; a layer has no private training (the message names it and
            the fix); the network does not take records of the plan's shape or does not give a score for each class; or
            a record's gradient is not a function of that record alone.
    """
    prepared(plan, module, tokens=None)


def prepared(plan: FederationPlan, module: nn.Module, *, tokens: bool | None) -> GradientEngine:
    """The checked network, ready to give gradients. `tokens`: what records hold; None: whatever the network takes.

    Raises:
        ValueError: see `check_network`.
    """
    _check_layout(module, plan.tensors, "the plan")
    engine = GradientEngine(module)
    if tokens is None:
        tokens = takes_tokens(engine, plan.record_shape)
    check_gradients(engine, plan.record_shape, plan.classes, tokens=tokens)
    return engine


def _check_layout(module: nn.Module, layout: Layout, whose: str) -> None:
    own = layout_of(module)
    if own == layout:
        return
    for mine, theirs in zip(own, layout, strict=False):
        if mine != theirs:
            raise ValueError(
                f"the network is not the one of {whose}: its tensor {mine.name} {mine.shape} stands where {whose} has "
                f"{theirs.name} {theirs.shape}"
            )
    raise ValueError(f"the network is not the one of {whose}: it has {len(own)} trainable tensors, not {len(layout)}")
