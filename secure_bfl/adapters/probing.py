"""Whether a network's per-record gradients are what differential privacy takes them for, on made-up records.

No list of layers is complete: a network may mix records, draw random numbers or keep state in code of its own. So the
gradients of a small batch are compared with the plain gradient of each record alone, before a real record is read.
"""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from .opacus import GradientEngine

__all__ = ["check_gradients", "takes_tokens"]

_RECORDS: Final = 3
_TOLERANCE: Final = 1e-4  # of the largest value, between two ways to compute the same in float32
_FAILURES: Final = (RuntimeError, TypeError, ValueError, IndexError, KeyError, AttributeError)


def takes_tokens(engine: GradientEngine, record_shape: tuple[int, ...]) -> bool:
    """Whether the network takes int64 tokens; False if it takes float32 values.

    Raises:
        ValueError: it runs on neither.
    """
    reasons = []
    for tokens in (False, True):
        try:
            engine.scores(_made_up_records(record_shape, tokens=tokens))
            return tokens
        except _FAILURES as exc:
            reasons.append(str(exc))
    raise ValueError(
        f"the network runs neither on float32 values nor on int64 tokens of shape {record_shape}: {'; '.join(reasons)}"
    )


def check_gradients(engine: GradientEngine, record_shape: tuple[int, ...], classes: int, *, tokens: bool) -> None:
    """Refuse a network whose per-record gradients are not those of single records. Its parameters stay the same.

    Run by: a client, or whoever builds the network, before a record is read. The values are made up, and the same on
    every machine. Tokens are 0 and 1 only.

    Raises:
        ValueError: the network does not run on such records, does not give one score for each class, has gradients that
            depend on other records or on chance, or changes its own frozen values.
    """
    parameters = engine.flat()
    try:
        engine.load_flat(_made_up_parameters(engine.shapes))
        _check(engine, record_shape, classes, tokens=tokens)
    finally:
        engine.load_flat(parameters)


def _check(engine: GradientEngine, record_shape: tuple[int, ...], classes: int, *, tokens: bool) -> None:
    records, labels = _made_up_records(record_shape, tokens=tokens), torch.arange(_RECORDS) % classes
    frozen = engine.frozen_values()
    kind = "int64 tokens" if tokens else "float32 values"
    try:
        scores = engine.scores(records)
    except _FAILURES as exc:
        raise ValueError(f"the network does not run on {kind} of shape {record_shape}: {exc}") from exc
    if not isinstance(scores, torch.Tensor) or scores.shape != (_RECORDS, classes):
        shown = tuple(scores.shape) if isinstance(scores, torch.Tensor) else type(scores).__name__
        raise ValueError(
            f"the network must give one score for each of {classes} classes, [batch, {classes}]; "
            f"for {_RECORDS} records it gives {shown}"
        )
    whole = (records.numpy(), labels.numpy())
    try:
        alone = np.stack([engine.sum_gradient(*(part[i : i + 1] for part in whole)) for i in range(_RECORDS)])
        together = [engine.sum_gradient(*whole) for _ in range(2)]
    except _FAILURES as exc:
        raise ValueError(
            f"this network cannot be trained privately: a record alone has no gradient: {exc}; "
            "fix: no statistics over the batch"
        ) from exc
    try:
        found = engine.gradients(records, labels)
    except _FAILURES as exc:
        raise ValueError(
            f"this network cannot be trained privately: Opacus finds no per-record gradients: {exc}; "
            "fix: batch_first=True in recurrent layers and attention, and layers of Opacus where it has its own"
        ) from exc
    largest = float(np.abs(alone).max())
    if not np.isfinite(largest):
        raise ValueError("the network's gradients are not finite on made-up records and small parameters")
    near = _TOLERANCE * max(largest, 1e-6)
    if not np.abs(found - alone).max() <= near or any(
        not np.abs(total - alone.sum(axis=0)).max() <= _RECORDS * near for total in together
    ):
        raise ValueError(
            "this network cannot be trained privately: a record's gradient is not a function of that record alone, or "
            "not what Opacus finds; fix: no statistics over the batch, no random numbers, batch_first=True in "
            "recurrent layers and attention, and parameters that are used by their own layer only"
        )
    if any(not torch.equal(old, new) for old, new in zip(frozen, engine.frozen_values(), strict=True)):
        raise ValueError(
            "this network cannot be trained privately: it changes its own buffers when it runs, so they would remember "
            "records; fix: keep them constant"
        )


def _made_up_records(record_shape: tuple[int, ...], *, tokens: bool) -> torch.Tensor:
    """Values between 0 and 1, or tokens 0 and 1, another pattern in each record."""
    place = np.arange(math.prod(record_shape))
    rows = [place % (i + 2) == 0 if tokens else 0.5 + 0.5 * np.cos((i + 1.3) * place + i) for i in range(_RECORDS)]
    dtype = np.int64 if tokens else np.float32
    return torch.from_numpy(np.stack(rows).astype(dtype).reshape(_RECORDS, *record_shape))


def _made_up_parameters(shapes: Sequence[tuple[int, ...]]) -> npt.NDArray[np.float64]:
    """As large as layers usually start with, and none of them zero: zeros would hide what the gradients depend on."""
    parts = []
    for shape in shapes:
        wave = np.sin(1.7 * np.arange(math.prod(shape)) + 0.3)
        parts.append(wave * 2 / math.sqrt(math.prod(shape[1:])) if len(shape) > 1 else 0.5 + 0.3 * wave)
    return np.concatenate(parts)
