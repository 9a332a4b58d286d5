"""Files that are converted anew, several formats at once, and training that goes on from what was converted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fer_edge.cli import main
from fer_edge.contract.interpreter import load_model
from fer_edge.contract.preprocess import UInt8Array, batch_input
from fer_edge.contract.tflite_file import read_model_file
from fer_edge.errors import ModelError
from tests.convert.tiny_run import TINY_FILE, converted
from tests.edge.tiny_model import write_tiny_model
from tests.train.synthetic_fer2013 import load_quietly

keras = pytest.importorskip("keras", reason="needs the train extra")
pytest.importorskip("tensorflow", reason="needs the train extra")
if keras.backend.backend() != "tensorflow":
    pytest.skip("conversion needs Keras on TensorFlow", allow_module_level=True)

from fer_convert.trained import TrainedModel  # noqa: E402
from fer_train.metrics import softmax  # noqa: E402
from fer_train.models import build, load_pretrained, with_softmax  # noqa: E402
from fer_train.models.vgg_lite import EXCITE  # noqa: E402
from fer_train.recipe import load_recipe as load_training_recipe  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::fer_train.fer2013.Fer2013Warning")


@pytest.mark.parametrize("recipe", ["float32", "float16", "dynamic_wi8", "int8", "int8_16x8"])
def test_training_goes_on_from_what_a_recipe_made(
    recipe: str, keras_path: Path, data_path: Path, tmp_path: Path
) -> None:
    result = converted(keras_path, data_path, tmp_path, recipe)
    pixels = batch_input(load_quietly(data_path).split("PublicTest").pixels, result.card.input)
    tiny = load_training_recipe(str(TINY_FILE))
    started = build("vgg_lite", tiny.input.shape, 7, tiny.network)
    load_pretrained("vgg_lite", started, str(result.path), pixels[:64])
    theirs = keras.saving.load_model(keras_path, compile=False).predict_on_batch(pixels.astype(np.float32))
    ours = softmax(started.predict_on_batch(pixels.astype(np.float32)))
    assert np.abs(ours - theirs).mean() < (1e-4 if recipe == "float32" else 0.02)


def test_training_goes_on_from_squeeze_and_excitation(data_path: Path, tmp_path: Path) -> None:
    tiny = load_training_recipe(str(TINY_FILE))
    keras.utils.set_random_seed(3)
    network = build("vgg_lite", tiny.input.shape, 7, {**tiny.network, "squeeze": 2})
    for layer in network.layers:
        if layer.name.endswith(EXCITE):  # zeros would be right by chance
            kernel, bias = layer.get_weights()
            layer.set_weights([np.random.default_rng(3).normal(0, 0.3, kernel.shape), bias])
    with_softmax(network, 1.0).save(tmp_path / "model.keras")
    path = converted(tmp_path / "model.keras", data_path, tmp_path, "float32").path
    pixels = batch_input(load_quietly(data_path).split("PublicTest").pixels, tiny.input)
    started = build("vgg_lite", tiny.input.shape, 7, {**tiny.network, "squeeze": 2})
    load_pretrained("vgg_lite", started, str(path), pixels[:64])
    theirs = softmax(network.predict_on_batch(pixels.astype(np.float32)))
    np.testing.assert_allclose(softmax(started.predict_on_batch(pixels.astype(np.float32))), theirs, atol=1e-3)


def test_a_file_that_ships_can_be_had_in_another_format(keras_path: Path, data_path: Path, tmp_path: Path) -> None:
    first = converted(keras_path, data_path, tmp_path, "int8")
    again = converted(first.path, data_path, tmp_path, "float32")
    assert again.path.name == "tiny.float32.tflite"
    shipped = read_model_file(first.path)
    assert again.card.quantization.source_sha256 == shipped.sha256
    assert again.card.training["recovered_from_sha256"] == shipped.sha256
    assert again.card.training["recipe"] == shipped.card.training["recipe"]
    assert again.card.labels == shipped.card.labels
    pixels = batch_input(load_quietly(data_path).split("PublicTest").pixels, shipped.card.input)
    difference = load_model(again.path).invoke(pixels) - load_model(first.path).invoke(pixels)
    assert np.abs(difference).mean() < 0.02
    with pytest.raises(ModelError, match="does not tell by which recipe it was trained"):
        converted(write_tiny_model(tmp_path / "t.int8.tflite", "sad"), data_path, tmp_path, "float16")


def test_one_command_makes_several_formats_and_asks_the_network_once(
    keras_path: Path,
    data_path: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[int] = []
    answer = TrainedModel.probabilities

    def watched(self: TrainedModel, pixels: UInt8Array) -> NDArray[np.float32]:
        asked.append(len(pixels))
        return answer(self, pixels)

    monkeypatch.setattr(TrainedModel, "probabilities", watched)
    call = ["convert", str(keras_path), "--data", str(data_path), "--out", str(tmp_path), "--name", "tiny"]
    assert main([*call, "--recipe", "int8", "--recipe", "float16", "--recipe", "dynamic_wi8"]) == 0
    paths = [tmp_path / f"tiny.{recipe}.tflite" for recipe in ("int8", "float16", "dynamic_wi8")]
    assert capsys.readouterr().out.splitlines() == [str(path) for path in paths]
    assert asked == [210, 70]  # PublicTest and PrivateTest
    alone = converted(keras_path, data_path, tmp_path / "alone", "dynamic_wi8")
    together = read_model_file(paths[2])
    assert together.card.figures == alone.card.figures
    assert load_model(paths[2]).file.card.quantization == alone.card.quantization
    assert main([*call, "--recipe", "float32", "--recipe", "int8"]) == 2  # the second is there already
    assert not (tmp_path / "tiny.float32.tflite").exists()
