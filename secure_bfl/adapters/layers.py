"""Layers that cannot be trained privately, each with its reason and a fix; and what is frozen."""

from collections.abc import Callable, Iterator
from typing import Final

from torch import nn

__all__ = ["evaluate_frozen_parts", "refused_layers"]

_AUTOMATIC: Final = "build the network with opacus.validators.ModuleValidator.fix(network)"


def evaluate_frozen_parts(model: nn.Module) -> None:
    """Set every part whose parameters are all frozen to evaluation: its statistics stay, its dropout is off."""
    for module in model.modules():
        parameters = list(module.parameters())
        if parameters and not any(p.requires_grad for p in parameters):
            module.eval()


def refused_layers(model: nn.Module, opinion: Callable[[nn.Module], str]) -> Iterator[str]:
    """What is wrong with each layer that is trained, and the fix. `opinion`: the library's own view."""
    for name, module in model.named_modules():
        if not module.training:
            continue
        reason = _refusal(module, opinion)
        if reason:
            yield f"layer {name or 'model'} ({type(module).__name__}) {reason}"


def _refusal(module: nn.Module, opinion: Callable[[nn.Module], str]) -> str:
    if isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0:
        return "draws random numbers, and training must be repeatable; fix: set its rate to 0"
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        return f"normalises a record by its whole batch; fix: use GroupNorm, or {_AUTOMATIC}"
    if isinstance(module, nn.modules.instancenorm._InstanceNorm) and module.track_running_stats:
        return f"keeps running statistics of the records; fix: set track_running_stats=False, or {_AUTOMATIC}"
    if isinstance(module, nn.RNNBase):
        return f"runs as one operation; fix: use opacus.layers.DP{type(module).__name__}, or {_AUTOMATIC}"
    if isinstance(module, nn.EmbeddingBag):
        return "takes records of different lengths as one list; fix: use Embedding, and a sum or mean over its rows"
    if isinstance(module, nn.Embedding) and (module.max_norm is not None or module.scale_grad_by_freq or module.sparse):
        return "changes with the batch; fix: leave max_norm, scale_grad_by_freq and sparse as they are by default"
    complaint = opinion(module)
    return f"is refused by Opacus: {complaint}; fix: {_AUTOMATIC}" if complaint else ""
