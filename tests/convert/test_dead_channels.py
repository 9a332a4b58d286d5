"""Filters that training has switched off keep their bias as integers, and the file stays one that can be run."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from fer_edge.contract.verify import verify_model
from fer_edge.errors import ModelError

keras = pytest.importorskip("keras", reason="needs the train extra")
pytest.importorskip("tensorflow", reason="needs the train extra")
pytest.importorskip("ai_edge_quantizer", reason="needs the train extra")
if keras.backend.backend() != "tensorflow":
    pytest.skip("conversion needs Keras on TensorFlow", allow_module_level=True)

from fer_convert import quantize as quantizing  # noqa: E402
from fer_convert.build import build  # noqa: E402
from fer_convert.dead_channels import revive  # noqa: E402
from fer_convert.graph_edit import EditableGraph  # noqa: E402
from fer_convert.quantize import float_graph  # noqa: E402
from fer_convert.recipe import load_recipe  # noqa: E402
from fer_convert.sensitivity import answers  # noqa: E402
from fer_edge.contract.interpreter import bare_interpreter  # noqa: E402

INT8 = load_recipe("int8")


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (30, 16, 16, 1)).astype(np.uint8)


@pytest.fixture(scope="module")
def graph() -> bytes:
    """As MobileNet's: channels of 1e-12 in each kind of layer, whose biases the last layer lives on."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((16, 16, 1)),
            layers.Rescaling(1 / 127.5, offset=-1.0),
            layers.Conv2D(8, 3, padding="same", activation="relu"),
            layers.DepthwiseConv2D(3, padding="same", activation="relu"),
            layers.Conv2D(8, 1, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(7, activation="softmax"),
        ]
    )
    for number, layer in enumerate([one for one in model.layers if one.weights][:-1]):
        kernel, bias = layer.get_weights()
        along = kernel.reshape(-1, 8) if kernel.shape[-1] == 8 else kernel.reshape(9, 8)
        along[:, number : number + 3] *= 1e-11
        bias[:] = 0.05
        bias[number : number + 3] = (1.5, 0.5, 1.0)
        layer.set_weights([along.reshape(kernel.shape), bias])
    kernel, bias = model.layers[-1].get_weights()
    model.layers[-1].set_weights([3.0 * kernel, bias])
    return float_graph(model)


def int8_answers(data: bytes, images: np.ndarray) -> np.ndarray:
    interpreter = bare_interpreter(data)
    first, last = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    rows = []
    for image in images:
        interpreter.set_tensor(first["index"], (image[None].astype(np.int16) - 128).astype(np.int8))
        interpreter.invoke()
        rows.append((interpreter.get_tensor(last["index"])[0].astype(np.float32) + 128) / 256)
    return np.array(rows)


@pytest.mark.parametrize("weights", ["int8", "int4"])
def test_what_dead_channels_give_survives_integers(graph: bytes, images: np.ndarray, weights: str) -> None:
    recipe = msgspec.structs.replace(INT8, weights=weights)
    data = build(graph, recipe, images).data
    verify_model(data, "revived")
    allowed = 0.02 if weights == "int8" else 0.1
    np.testing.assert_allclose(int8_answers(data, images), answers(graph, images), atol=allowed)


def test_without_that_no_such_file_could_be_run(
    graph: bytes, images: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantizing, "revive", lambda *_: 0)
    data = build(graph, INT8, images).data
    with pytest.raises(ModelError, match="scales of input, weights and output"):
        verify_model(data, "dead")


def test_the_float_function_stays(graph: bytes, images: np.ndarray) -> None:
    from fer_convert.activations import measure

    editable = EditableGraph(graph)
    ranges = {name: (one.low, one.high) for name, one in measure(graph, images).items()}
    assert revive(editable, ranges, "int8", 127) == 9
    np.testing.assert_allclose(answers(editable.to_bytes(), images), answers(graph, images), atol=1e-4)
    assert revive(EditableGraph(editable.to_bytes()), ranges, "int8", 127) == 0
