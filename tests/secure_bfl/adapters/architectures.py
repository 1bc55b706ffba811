"""Small networks of every kind that can be trained, and of the kinds that cannot."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from opacus.layers import DPGRU, DPLSTM, DPMultiheadAttention
from torch import nn

from protocols.arrays import Float64Array, Int64Array

M = TypeVar("M", bound=nn.Module)
CLASSES = 3
VOCABULARY = 12


class Text(nn.Module):
    """Embedding, recurrent layer, linear layer."""

    def __init__(
        self,
        recurrent: type[nn.Module] = DPLSTM,
        *,
        layers: int = 1,
        bidirectional: bool = False,
        padding: int | None = 0,
        batch_first: bool = True,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, 5, padding_idx=padding)
        self.recurrent = recurrent(5, 6, num_layers=layers, bidirectional=bidirectional, batch_first=batch_first)
        self.scores = nn.Linear(12 if bidirectional else 6, CLASSES)
        self.batch_first = batch_first

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        rows = self.embedding(tokens)
        if self.batch_first:
            return self.scores(self.recurrent(rows)[0].mean(dim=1))  # type: ignore[no-any-return]
        return self.scores(self.recurrent(rows.transpose(0, 1))[0].mean(dim=0))  # type: ignore[no-any-return]


class Attention(nn.Module):
    def __init__(self, *, batch_first: bool) -> None:
        super().__init__()
        self.inner, self.scores, self.batch_first = nn.Linear(4, 8), nn.Linear(8, CLASSES), batch_first
        self.attention = DPMultiheadAttention(8, 2, batch_first=batch_first)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        inner = self.inner(rows) if self.batch_first else self.inner(rows).transpose(0, 1)
        seen = self.attention(inner, inner, inner)[0]
        return self.scores(seen.mean(dim=1 if self.batch_first else 0))  # type: ignore[no-any-return]


class Lora(nn.Module):
    """A frozen linear layer, and the trainable difference of a low rank beside it."""

    def __init__(self, inputs: int, outputs: int, rank: int = 2) -> None:
        super().__init__()
        self.base = seeded(nn.Linear(inputs, outputs)).requires_grad_(False)
        self.down, self.up = nn.Linear(inputs, rank, bias=False), nn.Linear(rank, outputs, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return self.base(rows) + self.up(self.down(rows))  # type: ignore[no-any-return]


class Direct(nn.Module):
    """Trainable tensors used by the network itself, beside a frozen layer."""

    def __init__(self) -> None:
        super().__init__()
        self.base = seeded(nn.Linear(4, 6)).requires_grad_(False)
        self.down, self.up = nn.Parameter(torch.ones(2, 4)), nn.Parameter(torch.zeros(6, 2))
        self.scores = nn.Linear(6, CLASSES)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return self.scores(torch.tanh(self.base(rows) + rows @ self.down.T @ self.up.T))  # type: ignore[no-any-return]


class Tied(nn.Module):
    """The embedding is the output layer too, padding row included."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.inner = nn.Embedding(CLASSES, 5, padding_idx=0), nn.Linear(5, 5)
        self.scores = nn.Linear(5, CLASSES, bias=False)
        self.scores.weight = self.embedding.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.scores(torch.tanh(self.inner(self.embedding(tokens).mean(dim=1))))  # type: ignore[no-any-return]


class Unused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scores, self.spare = nn.Linear(4, CLASSES), nn.Linear(2, 2)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return self.scores(rows)  # type: ignore[no-any-return]


class Around(nn.Module):
    """A linear layer after something of the network's own."""

    def __init__(self, before: Callable[[nn.Module, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.scores, self.before = nn.Linear(4, CLASSES), before
        self.state = nn.Module()
        self.state.register_buffer("seen", torch.zeros(()))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return self.scores(self.before(self, rows))  # type: ignore[no-any-return]


def remembering(network: nn.Module, rows: torch.Tensor) -> torch.Tensor:
    network.get_buffer("state.seen").add_(1)
    return rows


def seeded(module: M) -> M:
    """The module with the same values every time."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(0.4 * torch.randn(parameter.shape, generator=generator))
    return module


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, CLASSES))


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.GroupNorm(4, 8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32, CLASSES)
    )


def lora() -> nn.Module:
    return nn.Sequential(Lora(4, 6), nn.Tanh(), nn.Linear(6, CLASSES))


def on_a_frozen_body() -> nn.Module:
    body = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.ReLU(), nn.Flatten())
    return nn.Sequential(seeded(body).requires_grad_(False), nn.Linear(64, CLASSES))


@dataclass(frozen=True)
class Architecture:
    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    tokens: bool = False


MAIN = {
    "mlp": Architecture(mlp, (4,)),
    "cnn": Architecture(cnn, (1, 6, 6)),
    "text": Architecture(Text, (5,), tokens=True),
    "lora": Architecture(lora, (4,)),
}
TRAINABLE = {
    **MAIN,
    "two layers, both ways": Architecture(lambda: Text(layers=2, bidirectional=True), (5,), tokens=True),
    "time first": Architecture(lambda: Text(batch_first=False), (5,), tokens=True),
    "gated, no padding": Architecture(lambda: Text(DPGRU, padding=None), (5,), tokens=True),
    "attention": Architecture(lambda: Attention(batch_first=True), (5, 4)),
    "tensors of its own": Architecture(Direct, (4,)),
    "tied": Architecture(Tied, (5,), tokens=True),
    "unused layer": Architecture(Unused, (4,)),
    "frozen body": Architecture(on_a_frozen_body, (1, 6, 6)),
    "layer norm": Architecture(
        lambda: nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, CLASSES)), (4,)
    ),
    "sequence": Architecture(
        lambda: nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 8), nn.Flatten(), nn.Linear(40, CLASSES)), (5, 4)
    ),
}


def records(architecture: Architecture, count: int) -> tuple[Float64Array | Int64Array, Int64Array]:
    """Records whose class can be learned."""
    generator = np.random.default_rng(3)
    labels = (np.arange(count) % CLASSES).astype(np.int64)
    if architecture.tokens:
        high = CLASSES if architecture.build is TRAINABLE["tied"].build else VOCABULARY
        tokens = generator.integers(0, high, (count, *architecture.shape))
        tokens[:, ::2] = labels[:, None] % high
        return tokens.astype(np.int64), labels
    centres = generator.normal(size=(CLASSES, *architecture.shape))
    return centres[labels] + 0.3 * generator.normal(size=(count, *architecture.shape)), labels
