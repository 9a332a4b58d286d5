"""A shallow network that starts from a deep one's features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from fer_edge.errors import UsageError
from fer_edge.model_store import find_model

keras = pytest.importorskip("keras", reason="needs the train extra")

from fer_train.fit import fit  # noqa: E402
from fer_train.models import build, deeper_start, load_network  # noqa: E402
from fer_train.models.alizadeh import DEEP_TARGETS  # noqa: E402
from fer_train.models.layerwise import fit_convolutions  # noqa: E402
from fer_train.models.mixing import load_start  # noqa: E402
from fer_train.recipe import load_recipe, with_changes  # noqa: E402
from fer_train.training_data import TrainingData  # noqa: E402

VGG16 = Path(__file__).resolve().parents[2] / "models" / "vgg16.int8.tflite"


def answers(model: Any, images: np.ndarray) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(model(images.astype(np.float32), training=False)))


def images(n: int, side: int) -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256, (n, side, side, 1), dtype=np.uint8)


def chain(widths: tuple[int, ...], side: int, normalizes: bool) -> Any:
    """Return one convolution after another, each followed by pooling, and 3 logits."""
    inputs = keras.Input((12, 12, 1))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1.0)(inputs)
    for step, filters in enumerate(widths, start=1):
        x = keras.layers.Conv2D(filters, side, padding="same", use_bias=not normalizes, name=f"conv{step}")(x)
        if normalizes:
            x = keras.layers.BatchNormalization(name=f"bn{step}")(x)
        x = keras.layers.ReLU(name=f"relu{step}")(x)
        x = keras.layers.MaxPooling2D(2, name=f"pool{step}")(x)
    return keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(x)))


def test_what_one_convolution_can_compute_it_computes() -> None:
    keras.utils.set_random_seed(8)
    deep, network = chain((4, 6), 3, normalizes=False), chain((4, 6), 5, normalizes=True)
    for step in (1, 2):
        kernel, bias = deep.get_layer(f"conv{step}").get_weights()
        deep.get_layer(f"conv{step}").set_weights([kernel, bias + 0.5])  # no filter without an answer
    steps: list[tuple[int, int, float]] = []
    targets = {"conv1": ("relu1",), "conv2": ("relu2",)}
    faces = images(200, 12)
    explained = fit_convolutions(network, deep, targets, faces, lambda *step: steps.append(step))
    assert steps == [(1, 2, explained["conv1"]), (2, 2, explained["conv2"])]
    assert explained["conv1"] == pytest.approx(1.0, abs=0.01)
    assert explained["conv2"] == pytest.approx(1.0, abs=0.02)
    ours, theirs = (
        answers(keras.Model(model.inputs[0], model.get_layer("relu2").output), images(210, 12)[200:])
        for model in (network, deep)
    )
    # Each feature is the deep one's by a factor of its own.
    for own, other in zip(np.moveaxis(ours, -1, 0), np.moveaxis(theirs, -1, 0), strict=True):
        assert np.corrcoef(own.ravel(), other.ravel())[0, 1] > 0.99
    for step in (1, 2):
        before = answers(keras.Model(network.inputs[0], network.get_layer(f"conv{step}").output), faces)
        _, _, mean, variance = network.get_layer(f"bn{step}").get_weights()
        np.testing.assert_allclose(before.mean((0, 1, 2)), mean, atol=0.1 * np.sqrt(variance.max()))
        np.testing.assert_allclose(before.var((0, 1, 2)), variance, rtol=0.1)


def test_blocks_of_vgg16_are_of_the_sizes_of_deep_cnn() -> None:
    pairs = [(name, deeper) for name, by_network in DEEP_TARGETS.items() for deeper in by_network]
    for name, deeper in pairs:
        network, deep = (build(each, (48, 48, 1), 7, {}) for each in (name, deeper))
        for convolution, sources in DEEP_TARGETS[name][deeper].items():
            shapes = [tuple(deep.get_layer(source).input.shape) for source in sources]
            filters = sum(shape[-1] for shape in shapes)
            assert {(*shape[:-1], filters) for shape in shapes} == {tuple(network.get_layer(convolution).output.shape)}


@pytest.mark.skipif(not VGG16.exists(), reason="models/vgg16.int8.tflite is not in this checkout")
def test_deep_cnn_starts_from_the_vgg16_that_ships(tmp_path: Path) -> None:
    assert deeper_start("deep_cnn", str(VGG16)) == ("vgg16", DEEP_TARGETS["deep_cnn"]["vgg16"])
    assert deeper_start("shallow_cnn", str(VGG16)) is None
    assert deeper_start("vgg_lite", str(find_model("default"))) is None
    network = build("deep_cnn", (48, 48, 1), 7, {})
    dense = [weight.copy() for weight in network.get_layer("fc1").get_weights()]
    faces = images(12, 48)
    deep = load_network("vgg16", str(VGG16), (48, 48, 1), {}, faces)
    fit_convolutions(network, deep, DEEP_TARGETS["deep_cnn"]["vgg16"], faces)
    for before, after in zip(dense, network.get_layer("fc1").get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    deep.save(tmp_path / "model.keras")
    start = deeper_start("deep_cnn", str(tmp_path / "model.keras"))
    assert start is not None
    assert start[0] == "vgg16"
    ours = answers(keras.Model(network.inputs[0], network.get_layer("relu2").output), faces)
    theirs = answers(keras.Model(deep.inputs[0], deep.get_layer("block2_relu2").output), faces)
    correlations = [
        np.corrcoef(ours[..., channel].ravel(), theirs[..., channel].ravel())[0, 1]
        for channel in range(ours.shape[-1])
        if min(ours[..., channel].std(), theirs[..., channel].std()) > 0
    ]
    assert np.median(correlations) > 0.5


@pytest.mark.skipif(not VGG16.exists(), reason="models/vgg16.int8.tflite is not in this checkout")
def test_training_starts_by_it_and_tells_how_well_it_fits(tmp_path: Path) -> None:
    recipe = with_changes(load_recipe("deep_cnn"), pretrained=str(VGG16), precision="float32", epochs=1, batch_size=8)
    recipe = msgspec.structs.replace(recipe, distillation=msgspec.structs.replace(recipe.distillation, weight=0.0))
    faces = images(8, 48)[..., 0]
    labels = np.arange(8) % 7
    data = TrainingData(faces, np.eye(7, dtype=np.float32)[labels], None, None, faces, labels)
    told: list[tuple[int, int, dict[str, float]]] = []
    state = fit(recipe, data, tmp_path / "checkpoint.npz", "x", progress=lambda *step: told.append(step))
    assert state.epoch == 1
    assert [step[:2] for step in told] == [(1, 4), (2, 4), (3, 4), (4, 4), (1, 1)]
    assert [list(step[2]) for step in told[:4]] == [["explained"]] * 4
    assert all(0.0 < step[2]["explained"] <= 1.0 for step in told[:4])


@pytest.mark.skipif(not VGG16.exists(), reason="models/vgg16.int8.tflite is not in this checkout")
def test_another_network_has_no_mean_with_its_start() -> None:
    recipe = with_changes(load_recipe("deep_cnn"), pretrained=str(VGG16), start_share=0.5)
    with pytest.raises(UsageError, match="is a vgg16, which deep_cnn can start from but has no mean with"):
        load_start(recipe, images(4, 48))
