"""The global model: one vector, one encoding, the same everywhere."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from protocols.errors import DecodeError
from secure_bfl.model import GlobalModel, Tensor, linear_layout, parameters_of

VECTOR = np.linspace(-2, 3, 12)
LAYOUT = linear_layout(3, 3)
MODEL = GlobalModel(LAYOUT, VECTOR)


def test_every_value_is_a_float32() -> None:
    assert np.array_equal(MODEL.vector, VECTOR.astype(np.float32).astype(np.float64))
    assert not MODEL.vector.flags.writeable
    assert GlobalModel.zero(LAYOUT).vector.tolist() == [0.0] * 12
    with pytest.raises(ValueError, match="shape"):
        GlobalModel(LAYOUT, np.zeros(11))
    for value in (np.nan, np.inf):
        with pytest.raises(ValueError, match="finite"):
            GlobalModel(LAYOUT, np.full(12, value))


def test_round_trip() -> None:
    again = GlobalModel.decode(MODEL.encode(), LAYOUT)
    assert np.array_equal(again.vector, MODEL.vector)
    assert again.encode() == MODEL.encode()


def test_the_tensors_are_weight_and_bias() -> None:
    weight, bias = VECTOR[:9].reshape(3, 3).astype(np.float32), VECTOR[9:].astype(np.float32)
    assert MODEL.encode() == save({"weight": weight, "bias": bias})
    rows = np.array([[1.0, 0, 0], [0, 2.0, 0.5]])
    assert MODEL.predict(rows).tolist() == (rows @ weight.T + bias).argmax(axis=1).tolist()
    assert MODEL.accuracy(rows, MODEL.predict(rows)) == 1.0
    assert MODEL.accuracy(rows, (MODEL.predict(rows) + 1) % 3) == 0.0


F32 = np.float32


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00" * 8,
        MODEL.encode()[:-1],
        MODEL.encode() + b"\x00",
        save({"weight": np.zeros((3, 3), F32)}),
        save({"weight": np.zeros((3, 3), F32), "bias": np.zeros(3, F32), "more": np.zeros(1, F32)}),
        save({"weight": np.zeros((3, 3), np.float64), "bias": np.zeros(3, np.float64)}),
        save({"weight": np.zeros((9,), F32), "bias": np.zeros(3, F32)}),
        save({"weight": np.zeros((4, 3), F32), "bias": np.zeros(4, F32)}),
        save({"weight": np.zeros((3, 3), F32), "bias": np.zeros(3, F32)}, metadata={"a": "b"}),
        save({"weight": np.full((3, 3), np.nan, F32), "bias": np.zeros(3, F32)}),
    ],
)
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError, match=r"not a model of the tensors weight|not the one encoding"):
        GlobalModel.decode(data, LAYOUT)


@given(st.data())
@settings(max_examples=150)
def test_spoiled_bytes_raise_one_error_or_decode_to_themselves(data: st.DataObject) -> None:
    spoiled = bytearray(MODEL.encode())
    for _ in range(data.draw(st.integers(1, 4))):
        spoiled[data.draw(st.integers(0, len(spoiled) - 1))] = data.draw(st.integers(0, 255))
    try:
        model = GlobalModel.decode(bytes(spoiled), LAYOUT)
    except DecodeError:
        return
    assert model.encode() == bytes(spoiled)


def test_a_step_makes_another_model() -> None:
    moved = GlobalModel.zero(LAYOUT).moved(VECTOR)
    assert np.array_equal(moved.vector, MODEL.vector)
    assert np.array_equal(GlobalModel.zero(LAYOUT).vector, np.zeros(12)), "the model it starts from is not changed"


LSTM = (Tensor("embed.weight", (5, 2)), Tensor("scale", ()), Tensor("cell.weight", (2, 3, 1)))


def test_any_tensors_make_a_model() -> None:
    model = GlobalModel(LSTM, np.arange(17) / 3)
    assert parameters_of(LSTM) == 17
    assert model.tensors()["scale"] == np.float32(10 / 3)
    assert model.encode() == save(model.tensors())
    assert len(model.encode()) == GlobalModel.encoded_size(LSTM)
    assert np.array_equal(GlobalModel.decode(model.encode(), LSTM).vector, model.vector)
    with pytest.raises(DecodeError):
        GlobalModel.decode(model.encode(), LSTM[:2])
    with pytest.raises(ValueError, match="only a linear model predicts"):
        model.predict(np.zeros((1, 5)))


@pytest.mark.parametrize("name", ["", "caf\u00e9", "a\nb", "__metadata__"])
def test_a_tensor_has_a_printable_name(name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        Tensor(name, (1,))


@pytest.mark.parametrize("shape", [(0,), (2, -1), ((1 << 24) + 1,)])
def test_a_tensor_has_sides(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="a side of a tensor"):
        Tensor("a", shape)


def test_the_mean_of_models() -> None:
    mean = GlobalModel.mean([MODEL, GlobalModel.zero(LAYOUT)])
    assert np.allclose(mean.vector, VECTOR / 2)
    with pytest.raises(ValueError, match="the mean of no models"):
        GlobalModel.mean([])
