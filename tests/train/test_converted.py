"""Going on from .tflite files, and learning from them: the models that ship are a start and a teacher for others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_edge.contract.interpreter import load_model
from fer_edge.contract.preprocess import UInt8Array, batch_input
from fer_edge.errors import DataError
from fer_edge.model_store import CHECKOUT_FOLDER, find_model
from tests.edge.tiny_model import write_tiny_model
from tests.train.synthetic_fer2013 import SyntheticFer2013

keras = pytest.importorskip("keras", reason="needs the train extra")

from fer_train.distillation import ConvertedTeacher, load_teachers  # noqa: E402
from fer_train.models import build, load_pretrained  # noqa: E402
from fer_train.models.mixing import load_start  # noqa: E402
from fer_train.recipe import load_recipe, with_changes  # noqa: E402

DEFAULT = load_recipe("default")


@pytest.fixture(scope="module")
def images() -> UInt8Array:
    """(70, 48, 48) uint8: gratings, which no model was trained on."""
    return SyntheticFer2013.generate(per_class=(10, 0, 0)).pixels


def network(classes: int = 7, **options: object) -> Any:
    return build("vgg_lite", (48, 48, 1), classes, {**DEFAULT.network, **options})


def answers(model: Any, pixels: UInt8Array) -> np.ndarray:
    logits = np.asarray(keras.ops.convert_to_numpy(model.predict_on_batch(pixels.astype(np.float32))))
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def test_the_bundled_model_becomes_a_network_that_answers_alike(images: UInt8Array) -> None:
    file, started = find_model("default"), network()
    pixels = images[..., None]
    load_pretrained("vgg_lite", started, str(file), pixels[:40])
    unseen = pixels[40:]  # normalizations started by the others
    difference = np.abs(answers(started, unseen) - load_model(file).invoke(unseen))
    assert difference.mean() < 0.02
    # What training adds is left out, so that its first step starts from normalized channels.
    statistics = started.get_layer("block1_bn1")
    inside = keras.Model(started.inputs[0], started.get_layer("block1_conv1").output)
    values = np.asarray(keras.ops.convert_to_numpy(inside.predict_on_batch(pixels[:40].astype(np.float32))))
    np.testing.assert_allclose(statistics.moving_mean, values.mean(axis=(0, 1, 2)), atol=1e-3)


def test_squeeze_and_excitation_joins_a_finished_file_and_changes_nothing(images: UInt8Array) -> None:
    pixels = images[..., None]
    plain, started = network(), network(squeeze=8)
    for each in (plain, started):
        load_pretrained("vgg_lite", each, str(find_model("default")), pixels[:40])
    np.testing.assert_allclose(answers(started, pixels[40:]), answers(plain, pixels[40:]), atol=1e-4)


def test_depthwise_convolutions_find_their_place(images: UInt8Array) -> None:
    file = CHECKOUT_FOLDER / "mobilenet.int8.tflite"
    if not file.is_file():
        pytest.skip("needs models/ of the source tree")
    recipe = load_recipe("mobilenet")
    pixels = batch_input(images[:24], recipe.input)
    started = build("mobilenet", recipe.input.shape, 7, recipe.network)
    load_pretrained("mobilenet", started, str(file), pixels[:16])
    assert np.abs(answers(started, pixels[16:]) - load_model(file).invoke(pixels[16:])).mean() < 0.03


def test_other_labels_get_a_last_layer_of_their_own(images: UInt8Array) -> None:
    two = network(2)
    before = [np.array(w) for w in two.get_layer("logits").get_weights()]
    load_pretrained("vgg_lite", two, str(find_model("default")), images[:8, ..., None])
    for ours, theirs in zip(two.get_layer("logits").get_weights(), before, strict=True):
        assert np.array_equal(ours, theirs)


def test_a_file_of_another_network_is_refused(images: UInt8Array, tmp_path: Path) -> None:
    default, few = str(find_model("default")), images[:8, ..., None]
    with pytest.raises(DataError, match=r"do not fit block1_conv1 .*same \[network\] options"):
        load_pretrained("vgg_lite", network(widths=[16, 64, 128, 256]), default, few)
    with pytest.raises(DataError, match="has 9 layers with weights, this vgg_lite 5"):
        load_pretrained("vgg_lite", network(convolutions=1), default, few)
    with pytest.raises(DataError, match="has 1 layers with weights"):
        load_pretrained("vgg_lite", network(), str(write_tiny_model(tmp_path / "t.int8.tflite", "sad")), few)


def test_weights_that_fit_by_chance_do_not_pass(images: UInt8Array, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file's layers in an order that fits by shape alone: only the answers tell."""
    from fer_train.models import converted

    honest = converted.folded_layers

    def shuffled(graph: object) -> list[converted.FoldedLayer]:
        layers = honest(graph)  # type: ignore[arg-type]
        channels = np.roll(np.arange(256), 1)
        last = layers[-2]
        layers[-2] = converted.FoldedLayer(last.kernel[..., channels], last.bias[channels])
        return layers

    monkeypatch.setattr(converted, "folded_layers", shuffled)
    with pytest.raises(DataError, match="their answers differ by"):
        load_pretrained("vgg_lite", network(), str(find_model("default")), images[:16, ..., None])


def test_a_share_of_a_converted_start_is_what_training_started_from(images: UInt8Array) -> None:
    file, pixels = str(find_model("default")), images[:16, ..., None]
    start = load_start(with_changes(DEFAULT, pretrained=file, start_share=0.5), pixels)
    same = network()
    load_pretrained("vgg_lite", same, file, pixels)
    assert start is not None
    for ours, theirs in zip(start, same.weights, strict=True):
        np.testing.assert_array_equal(ours, keras.ops.convert_to_numpy(theirs.value))


def test_the_bundled_model_teaches_by_its_name(images: UInt8Array) -> None:
    recipe = load_recipe("default_last")
    teachers = load_teachers([Path("default"), find_model("default")], recipe, images)
    assert teachers is not None
    assert len(set(teachers.sha256)) == 1
    teacher = ConvertedTeacher(find_model("default"))
    taught, own = teacher.logits(images[:20]), load_model(find_model("default")).invoke(images[:20, ..., None])
    powers = np.exp(taught)
    np.testing.assert_allclose(powers / powers.sum(axis=1, keepdims=True), own, atol=0.02)
    assert np.isfinite(taught).all()  # int8 answers hold zeros
