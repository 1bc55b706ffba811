"""Networks of one's own: described, checked, pinned, and trained in every mode."""

import hashlib
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import pytest
import torch
from torch import nn

from protocols.dp import Mode
from secure_bfl.local_training import Learner, train_round
from secure_bfl.model import GlobalModel, Tensor
from secure_bfl.networks import base_digest, check_network, has_base, layout_of, network_with, start_of
from secure_bfl.plan import FederationPlan
from secure_bfl.records import Records
from secure_bfl.results import apply_sum
from secure_bfl.training import Training
from tests.secure_bfl.adapters.architectures import (
    CLASSES,
    MAIN,
    TRAINABLE,
    Architecture,
    Around,
    Attention,
    Lora,
    Text,
    mlp,
    records,
    seeded,
)

CLIENTS = 2


def built(name: str) -> nn.Module:
    return seeded(TRAINABLE[name].build())


@lru_cache
def plan_of(name: str, mode: Mode) -> FederationPlan:
    """So little noise that one sees what is learned: this is no budget for real records."""
    training = Training(
        TRAINABLE[name].shape,
        classes=CLASSES,
        records=120,
        mode=mode,
        tensors=layout_of(built(name)),
        initial=hashlib.sha256(start_of(built(name)).encode()).digest(),
        rounds=6,
        local_steps=1 if mode is Mode.DISTRIBUTED else 4,
        clip_norm_micro=1_000_000,
        clip_units=1 << 14,
        momentum_milli=500,
    )
    return FederationPlan.create("own", mode=mode, clients=CLIENTS, training=training, epsilon=90.0, sentinels=8)


def loss(module: nn.Module, model: GlobalModel, data: Sequence[Records]) -> float:
    total, network = 0.0, network_with(module, model)
    with torch.no_grad():
        for part in data:
            features = torch.from_numpy(part.features.astype(np.int64 if part.tokens else np.float32))
            total += float(nn.functional.cross_entropy(network(features), torch.from_numpy(part.labels.copy())))
    return total / len(data)


def shares_of(architecture: Architecture) -> list[Records]:
    features, labels = records(architecture, 120)
    return [Records(features[i::CLIENTS], labels[i::CLIENTS]) for i in range(CLIENTS)]


def run(name: str, mode: Mode, data: Sequence[Records]) -> tuple[GlobalModel, GlobalModel]:
    plan, module = plan_of(name, mode), built(name)
    base = base_digest(module) if has_base(module) else None
    first = model = before = start_of(module)
    for number in range(plan.rounds):
        rands = [hashlib.sha256(bytes([number, client])).digest() for client in range(CLIENTS)]
        vectors = [
            train_round(plan, model, Learner(part, lambda: built(name), base), rand=rand)[0]
            for part, rand in zip(data, rands, strict=True)
        ]
        sums = np.sum([vector.values for vector in vectors], axis=0)
        before, model = model, apply_sum(plan, model, before, sums, CLIENTS)
    return first, model


@pytest.mark.parametrize("mode", Mode, ids=lambda mode: mode.name.lower())
@pytest.mark.parametrize("name", MAIN)
def test_every_architecture_learns_in_every_mode(name: str, mode: Mode) -> None:
    data = shares_of(MAIN[name])
    first, last = run(name, mode, data)
    assert loss(built(name), last, data) < 0.9 * loss(built(name), first, data)


@pytest.mark.parametrize("mode", Mode, ids=lambda mode: mode.name.lower())
@pytest.mark.parametrize("name", MAIN)
def test_no_records_are_records_too(name: str, mode: Mode) -> None:
    plan, module, data = plan_of(name, mode), built(name), shares_of(MAIN[name])[0]
    empty = Records(data.features[:0], data.labels[:0])
    base = base_digest(module) if has_base(module) else None
    vector, record = train_round(plan, start_of(module), Learner(empty, lambda: module, base), rand=bytes(32))
    assert len(vector.values) == plan.values
    assert vector.values.any()
    assert record.event() == plan.round_event


def test_the_layout_is_that_of_what_is_trained() -> None:
    assert layout_of(mlp()) == (
        Tensor("0.weight", (8, 4)),
        Tensor("0.bias", (8,)),
        Tensor("2.weight", (3, 8)),
        Tensor("2.bias", (3,)),
    )
    assert [tensor.name for tensor in layout_of(Lora(4, 6))] == ["down.weight", "up.weight"]
    assert len({tensor.name for tensor in layout_of(Text())}) == 7
    with pytest.raises(ValueError, match="no trainable parameters"):
        layout_of(mlp().requires_grad_(False))


def test_the_start_is_the_modules_own_values_and_comes_back() -> None:
    for name in MAIN:
        module = built(name)
        model = start_of(module)
        assert model.layout == layout_of(module)
        filled = network_with(MAIN[name].build(), model)
        assert not filled.training
        for (_, one), (_, two) in zip(module.named_parameters(), filled.named_parameters(), strict=True):
            assert torch.equal(one, two) or not one.requires_grad
    with pytest.raises(ValueError, match="not the one of the model"):
        network_with(nn.Linear(4, 3), start_of(mlp()))


def test_a_network_with_is_a_copy() -> None:
    module = built("mlp")
    before = start_of(module).vector
    network_with(module, GlobalModel.zero(layout_of(module)))
    assert np.array_equal(start_of(module).vector, before)
    assert module.training


def test_the_base_is_everything_frozen() -> None:
    assert not has_base(mlp())
    assert base_digest(mlp()) == base_digest(Text()), "nothing is frozen in either"
    body, digests = TRAINABLE["frozen body"].build(), list[bytes]()
    assert has_base(body)
    digests.append(base_digest(body))
    assert base_digest(TRAINABLE["frozen body"].build()) == digests[0]
    with torch.no_grad():
        body.get_parameter("1.weight").add_(1)
    assert base_digest(body) == digests[0], "what is trained is not part of it"
    body.get_buffer("0.1.running_mean").add_(1)
    digests.append(base_digest(body))
    with torch.no_grad():
        body.get_parameter("0.0.weight")[0] += 1
    digests.append(base_digest(body))
    digests.append(base_digest(nn.ModuleDict({"other": body})))
    digests.append(base_digest(body.double()))
    assert len(set(digests)) == 5


def test_a_base_that_is_not_agreed() -> None:
    plan, data, module = plan_of("lora", Mode.DISTRIBUTED), shares_of(MAIN["lora"])[0], built("lora")
    with pytest.raises(ValueError, match="agree on their digest"):
        train_round(plan, start_of(module), Learner(data, lambda: module), rand=bytes(32))
    other = built("lora")
    with torch.no_grad():
        other.get_parameter("0.base.bias")[0] += 1e-6
    with pytest.raises(ValueError, match=f"digest {base_digest(other).hex()}, the agreed base"):
        train_round(plan, start_of(module), Learner(data, lambda: other, base_digest(module)), rand=bytes(32))
    nothing = nn.Linear(4, CLASSES)
    with pytest.raises(ValueError, match="the agreed base"):
        Learner(data, lambda: nothing, base_digest(module)).build(plan)


def test_what_a_learner_is_made_of() -> None:
    data = shares_of(MAIN["mlp"])[0]
    with pytest.raises(TypeError, match="not the network itself"):
        Learner(data, mlp())
    with pytest.raises(TypeError, match="the function that builds"):
        Learner(data, "mlp")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="has Records"):
        Learner(data.features)  # type: ignore[arg-type]
    for base in (bytes(31), "00" * 32):
        with pytest.raises(TypeError, match="32 bytes"):
            Learner(data, mlp, base)  # type: ignore[arg-type]


def test_check_network_needs_no_records() -> None:
    for name in MAIN:
        check_network(plan_of(name, Mode.DISTRIBUTED), built(name))
    plan = plan_of("mlp", Mode.LOCAL)
    with pytest.raises(ValueError, match="not the one of the plan"):
        check_network(plan, nn.Linear(4, 3))
    mixing = nn.Sequential(nn.Linear(4, 8), Mixing(), nn.Linear(8, CLASSES))
    with pytest.raises(ValueError, match="not a function of that record alone"):
        check_network(plan, mixing)
    with pytest.raises(ValueError, match=r"layer 1 \(Dropout\)"):
        check_network(plan, nn.Sequential(nn.Linear(4, 8), nn.Dropout(), nn.Linear(8, CLASSES)))


class Mixing(nn.Module):
    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return rows - rows.mean(dim=0)


def test_records_of_the_kind_the_network_takes() -> None:
    plan, module = plan_of("text", Mode.DISTRIBUTED), built("text")
    labels = np.zeros(2, dtype=np.int64)
    with pytest.raises(ValueError, match="does not run on float32 values"):
        train_round(plan, start_of(module), Learner(Records(np.zeros((2, 5)), labels), Text), rand=bytes(32))
    negative = Records(np.full((2, 5), -1, dtype=np.int64), labels)
    with pytest.raises(ValueError, match="a token is negative"):
        train_round(plan, start_of(module), Learner(negative, Text), rand=bytes(32))


@pytest.mark.parametrize("mode", Mode, ids=lambda mode: mode.name.lower())
def test_a_token_beyond_the_vocabulary(mode: Mode) -> None:
    plan, module = plan_of("text", mode), built("text")
    beyond = Records(np.full((2, 5), 12, dtype=np.int64), np.zeros(2, dtype=np.int64))
    with pytest.raises(ValueError, match="a token beyond its vocabulary"):
        train_round(plan, start_of(module), Learner(beyond, Text), rand=bytes(32))


def test_a_layer_that_mixes_up_time_and_batch() -> None:
    module = Attention(batch_first=False)
    training = Training((5, 4), CLASSES, records=10, mode=Mode.LOCAL, tensors=layout_of(module), initial=bytes(32))
    plan = FederationPlan.create("own", mode=Mode.LOCAL, clients=2, training=training, epsilon=90.0)
    with pytest.raises(ValueError, match="batch_first=True"):
        check_network(plan, module)
    check_network(plan, Attention(batch_first=True))


def test_state_of_its_own() -> None:
    module = Around(lambda network, rows: rows + network.get_buffer("state.seen"))
    assert has_base(module), "a buffer is frozen too"
