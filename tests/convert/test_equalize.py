"""Equalization and bias correction on networks from keras.applications: the same function, and less lost by int8."""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import msgspec
import numpy as np
import pytest

from fer_edge.contract.interpreter import find_runtime
from fer_edge.contract.native_log import native_messages
from fer_edge.contract.preprocess import UInt8Array

keras = pytest.importorskip("keras", reason="needs the train extra")
pytest.importorskip("tensorflow", reason="needs the train extra")
pytest.importorskip("ai_edge_quantizer", reason="needs the train extra")
if keras.backend.backend() != "tensorflow":
    pytest.skip("conversion needs Keras on TensorFlow", allow_module_level=True)

from fer_convert.activations import choose_ranges, measure  # noqa: E402
from fer_convert.bias_correction import correct_biases, mean_shift  # noqa: E402
from fer_convert.equalize import equalize, find_pairs, without_relu6  # noqa: E402
from fer_convert.graph_edit import EditableGraph, Layer  # noqa: E402
from fer_convert.quantize import float_graph, quantize  # noqa: E402
from fer_convert.recipe import load_recipe  # noqa: E402
from fer_convert.sensitivity import answers  # noqa: E402

INT8 = load_recipe("int8")


@pytest.fixture(scope="module")
def images() -> UInt8Array:
    rng = np.random.default_rng(1)
    coarse = rng.integers(0, 256, (24, 8, 8, 1)).astype(np.uint8)
    return coarse.repeat(4, axis=1).repeat(4, axis=2)


def randomize(model: Any, seed: int, spread: float) -> None:
    """Batch normalization of a trained network: channels whose scales differ by powers of e, and moved means."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            gamma, beta, mean, variance = layer.get_weights()
            gamma *= np.exp(rng.normal(0, spread, gamma.shape))
            beta = rng.normal(0, 0.3, beta.shape) * np.abs(gamma)
            layer.set_weights([gamma, beta, mean, variance * np.exp(rng.normal(0, spread / 2, variance.shape))])


@pytest.fixture(scope="module")
def mobilenet(images: UInt8Array) -> bytes:
    """keras.applications' MobileNet with a softmax; ReLU6, depthwise convolutions and padding."""
    keras.utils.set_random_seed(0)
    pixels = keras.Input((32, 32, 1), name="pixels")
    scaled = keras.layers.Rescaling(1 / 127.5, offset=-1.0)(pixels)
    backbone = keras.applications.MobileNet(include_top=False, weights=None, input_tensor=scaled, alpha=0.25)
    x = keras.layers.GlobalAveragePooling2D()(backbone.outputs[0])
    model = keras.Model(pixels, keras.layers.Dense(7, activation="softmax")(x), name="mobilenet")
    # Each layer's variance as it would be after training, or a random network says the same of every image.
    model_input = images.astype(np.float32)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            before = np.asarray(keras.Model(pixels, layer.input)(model_input))  # eager: nothing to trace
            gamma, beta, _, _ = layer.get_weights()
            layer.set_weights([gamma, beta, before.mean(axis=(0, 1, 2)), before.var(axis=(0, 1, 2)) + 1e-4])
    randomize(model, 2, 0.15)
    return float_graph(model)


@pytest.fixture(scope="module")
def plain() -> bytes:
    """Convolutions, pooling and a flattened image before the dense layer, badly scaled on purpose."""
    keras.utils.set_random_seed(3)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((32, 32, 1)),
            layers.Rescaling(1 / 127.5, offset=-1.0),
            layers.Conv2D(8, 3, padding="same", activation="relu", bias_initializer="random_normal"),
            layers.MaxPooling2D(2),
            layers.Conv2D(12, 3, strides=2, padding="same", activation="relu", bias_initializer="random_normal"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(16, activation="relu", bias_initializer="random_normal"),
            layers.Dense(7, bias_initializer="random_normal"),
        ]
    )
    rng = np.random.default_rng(4)
    for layer in model.layers:
        if layer.weights:
            kernel, bias = layer.get_weights()
            factor = np.exp(rng.normal(0, 1.2, bias.shape)) if bias.shape != (7,) else np.ones(7)
            layer.set_weights([kernel * factor, bias * factor])
    return float_graph(model)


@pytest.fixture(scope="module")
def depthwise() -> bytes:
    """Two depthwise separable convolutions whose channels differ by orders of magnitude."""
    keras.utils.set_random_seed(6)
    rng = np.random.default_rng(7)
    layers = keras.layers
    pixels = keras.Input((32, 32, 1))
    x = layers.Rescaling(1 / 127.5, offset=-1.0)(pixels)
    x = layers.Conv2D(8, 3, strides=2, padding="same", bias_initializer="random_normal", activation="relu")(x)
    for _ in range(2):
        x = layers.DepthwiseConv2D(3, padding="same", bias_initializer="random_normal", activation="relu")(x)
        x = layers.Conv2D(8, 1, bias_initializer="random_normal", activation="relu")(x)
    x = layers.Dense(7)(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(pixels, x)
    weighted = [layer for layer in model.layers if layer.weights]
    for first, second in itertools.pairwise(weighted[:-1]):
        factor = np.exp(rng.normal(0, 1.5, 8)).astype(np.float32)
        kernel, bias = first.get_weights()
        is_depthwise = isinstance(first, layers.DepthwiseConv2D)
        first.set_weights([kernel * (factor[:, None] if is_depthwise else factor), bias * factor])
        kernel, bias = second.get_weights()
        second.set_weights([kernel / factor[:, None], bias])
    return float_graph(model)


def int8_error(graph: bytes, images: UInt8Array, truth: np.ndarray) -> float:
    """Mean squared error of int8's logits; the last layer is left in float, so that nothing rounds them."""
    ranges = choose_ranges(graph, measure(graph, images), INT8.calibration)
    layers = EditableGraph(graph).layers()
    recipe = msgspec.structs.replace(INT8, sensitive=msgspec.structs.replace(INT8.sensitive, layers=1))
    data = quantize(graph, recipe, ranges, sensitive=[layers[-1].name])
    return float(np.square(int8_answers(data, images) - truth).mean())


def int8_answers(data: bytes, images: UInt8Array) -> np.ndarray:
    """(n, 7) float32: what the last layer gives, before the file quantizes its output."""
    with native_messages(bool), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "for debugging only", which is what it is for
        interpreter = find_runtime().interpreter(model_content=data, experimental_preserve_all_tensors=True)
        interpreter.allocate_tensors()
    last = EditableGraph(data).layers()[-1].output
    rows = []
    for image in images:
        stored = (image[None].astype(np.int16) - 128).astype(np.int8)
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], stored)
        interpreter.invoke()
        rows.append(interpreter.get_tensor(last)[0])
    assert rows[0].dtype == np.float32
    return np.array(rows)


@pytest.mark.parametrize("method", ["weights", "activations"])
@pytest.mark.parametrize("network", ["mobilenet", "plain"])
def test_equalization_changes_no_answer(
    network: str, method: Any, images: UInt8Array, request: pytest.FixtureRequest
) -> None:
    graph = request.getfixturevalue(network)
    evened = equalize(graph, method, measure(graph, images))
    truth = answers(graph, images)
    assert truth.std(axis=0).max() > 0.01, "a network that says the same of all images proves nothing"
    np.testing.assert_allclose(answers(evened, images), truth, atol=1e-4 * np.abs(truth).max())
    before, after = EditableGraph(graph), EditableGraph(evened)
    changed = [
        a.label
        for a, b in zip(before.layers(), after.layers(), strict=True)
        if not np.allclose(before.constant(a.weights), after.constant(b.weights), rtol=1e-3)
    ]
    assert len(changed) >= len(before.layers()) // 2


def test_every_layer_of_a_chain_is_paired(mobilenet: bytes, plain: bytes) -> None:
    for graph in (mobilenet, plain):
        editable = EditableGraph(graph)
        pairs = find_pairs(editable)
        assert [(p.first.name, p.second.name) for p in pairs] == [
            (a.name, b.name) for a, b in zip(editable.layers(), editable.layers()[1:], strict=False)
        ]


def test_a_tensor_that_two_layers_read_is_left_alone() -> None:
    inputs = keras.Input((16, 16, 1))
    x = keras.layers.Conv2D(4, 3, padding="same", activation="relu")(inputs)
    y = keras.layers.Conv2D(4, 3, padding="same", activation="relu")(x)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Add()([x, y]))
    graph = EditableGraph(float_graph(keras.Model(inputs, keras.layers.Dense(7)(x))))
    assert find_pairs(graph) == []


def test_weights_get_equal_ranges(plain: bytes, images: UInt8Array) -> None:
    def imbalance(data: bytes) -> float:
        graph, worst = EditableGraph(data), 0.0
        for pair in find_pairs(graph)[:1]:
            given = np.abs(graph.constant(pair.first.weights)).max(axis=(1, 2, 3))
            taken = np.abs(graph.constant(pair.second.weights)).max(axis=(0, 1, 2))
            worst = max(worst, float(np.abs(np.log(given / taken)).max()))
        return worst

    assert imbalance(plain) > 1.0
    assert imbalance(equalize(plain, "weights", measure(plain, images))) < 0.02


def test_activations_get_equal_ranges_before_depthwise_layers(mobilenet: bytes, images: UInt8Array) -> None:
    relu = without_relu6(mobilenet)
    evened = equalize(relu, "activations", measure(relu, images))
    activations = measure(evened, images)
    pairs = [p for p in find_pairs(EditableGraph(evened)) if p.second.kind == "DEPTHWISE_CONV_2D"]
    assert len(pairs) == 13
    for pair in pairs:
        peaks = activations[pair.first.name].channel_peak
        assert peaks[peaks > 0].min() > 0.5 * peaks.max()


def test_a_kept_relu6_is_still_one_and_a_replaced_one_is_not(mobilenet: bytes, images: UInt8Array) -> None:
    kept = EditableGraph(equalize(mobilenet, "activations", measure(mobilenet, images)))
    replaced = EditableGraph(without_relu6(mobilenet))
    assert {layer.activation for layer in kept.layers()} == {"RELU6", "NONE"}
    assert {layer.activation for layer in replaced.layers()} == {"RELU", "NONE"}


@pytest.mark.parametrize("network", ["depthwise", "plain"])
def test_int8_loses_less_after_equalization(network: str, images: UInt8Array, request: pytest.FixtureRequest) -> None:
    graph = request.getfixturevalue(network)
    truth = answers(graph, images)
    evened = equalize(graph, "activations", measure(graph, images))
    assert int8_error(evened, images, truth) < 0.8 * int8_error(graph, images, truth)


def test_bias_correction_takes_out_the_mean_error(plain: bytes, images: UInt8Array) -> None:
    """The mean of each output of the first layers comes nearer to the float network's."""
    seen = measure(plain, images)
    coarse = msgspec.structs.replace(INT8, weights="int4", activations="dynamic")
    quantized = quantize(plain, coarse)
    corrected = correct_biases(plain, quantized, seen)
    layer = EditableGraph(plain).layers()[1]

    def mean_error(graph: bytes) -> float:
        """Of the float graph with the rounded weights of int4 put into it."""
        editable, rounded = EditableGraph(graph), EditableGraph(quantized)
        one = editable.layers()[1]
        names = rounded.tensor_names()
        editable.replace(one.weights, rounded.constant(names[editable.name(one.weights)]).astype(np.float32))
        means = measure(editable.to_bytes(), images)[one.name].channel_mean
        return float(np.abs(means - seen[layer.name].channel_mean).max())

    # Only the second layer's own rounding is looked at, so the first layer's correction must not be in the way.
    only = EditableGraph(plain)
    bias = EditableGraph(corrected).constant(EditableGraph(corrected).layers()[1].bias or 0)
    assert only.layers()[1].bias is not None
    only.replace(only.layers()[1].bias or 0, bias)
    assert mean_error(only.to_bytes()) < 0.5 * mean_error(plain)


def test_the_shift_of_each_kind_of_layer_is_its_mean_output() -> None:
    rng = np.random.default_rng(5)
    x = rng.normal(size=(1, 6, 6, 4))
    mean = x.mean(axis=(0, 1, 2))
    constant = np.broadcast_to(mean, (3, 3, 4))

    def layer(kind: str) -> Layer:
        return Layer(kind, "x", 0, 1, 2, 3, "NONE")

    conv, depthwise, dense = rng.normal(size=(5, 3, 3, 4)), rng.normal(size=(1, 3, 3, 4)), rng.normal(size=(5, 36))
    np.testing.assert_allclose(mean_shift(conv, layer("CONV_2D"), mean), [(kernel * constant).sum() for kernel in conv])
    np.testing.assert_allclose(
        mean_shift(depthwise, layer("DEPTHWISE_CONV_2D"), mean), (depthwise[0] * constant).sum(axis=(0, 1))
    )
    np.testing.assert_allclose(mean_shift(dense, layer("FULLY_CONNECTED"), mean), dense @ constant.ravel())
