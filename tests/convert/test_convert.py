"""From a Keras model to a file that describes itself: parity of preprocessing and of figures, gates, bad input."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fer_edge.contract.interpreter import load_model
from fer_edge.contract.labels import LABELS
from fer_edge.contract.preprocess import FER2013_INPUT, batch_input, face_input
from fer_edge.contract.tflite_file import read_model_file
from fer_edge.errors import ModelError, UsageError
from tests.train.synthetic_fer2013 import SyntheticFer2013, load_quietly

keras = pytest.importorskip("keras", reason="needs the train extra")
pytest.importorskip("tensorflow", reason="needs the train extra")
if keras.backend.backend() != "tensorflow":
    pytest.skip("conversion needs Keras on TensorFlow", allow_module_level=True)

from fer_convert.calibrate import calibration_rows, calibration_set  # noqa: E402
from fer_convert.convert import Converted, convert  # noqa: E402
from fer_convert.embed import is_per_channel, tensor_types  # noqa: E402
from fer_convert.gates import compare, failed_gates, uncertain_below  # noqa: E402
from fer_convert.recipes import RECIPES, find_recipe  # noqa: E402
from fer_train.batches import TrainingBatches, predict  # noqa: E402
from fer_train.evaluation import evaluate_model  # noqa: E402
from fer_train.recipe import load_recipe  # noqa: E402
from fer_train.run import train  # noqa: E402
from tests.train.test_augment import NOTHING  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::fer_train.fer2013.Fer2013Warning")

TINY_FILE = Path(__file__).parents[1] / "train" / "tiny.toml"


@pytest.fixture(scope="module")
def data_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return SyntheticFer2013.generate(per_class=(40, 30, 10)).write_npz(tmp_path_factory.mktemp("data") / "fer.npz")


@pytest.fixture(scope="module")
def keras_path(data_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return train(load_recipe(str(TINY_FILE)), data_path, tmp_path_factory.mktemp("run"))


def converted(keras_path: Path, data_path: Path, out: Path, recipe: str) -> Converted:
    return convert(keras_path, data_path, find_recipe(recipe), out, name="tiny")


def test_int8_is_integer_throughout_and_keeps_its_accuracy(keras_path: Path, data_path: Path, tmp_path: Path) -> None:
    result = converted(keras_path, data_path, tmp_path, "int8")
    assert result.path.name == "tiny.int8.tflite"
    file = read_model_file(result.path)
    assert set(tensor_types(file.data)) == {"int8", "int32"}
    assert is_per_channel(file.data)
    card = file.card
    assert (card.quantization.input.scale, card.quantization.input.zero_point) == (1.0, -128)
    assert card.quantization.calibration is not None
    assert card.quantization.calibration.split == "Training"
    assert card.labels == LABELS
    compared = result.comparisons["PublicTest"]
    assert compared.n == 210
    assert compared.agreement >= 0.97
    assert compared.float_accuracy > 0.8
    assert card.figures["PublicTest"].accuracy == pytest.approx(compared.accuracy, abs=1e-4)
    report = json.loads(result.path.with_suffix(".json").read_text())
    assert report["comparisons"]["PublicTest"]["drop_points"] == pytest.approx(compared.drop_points)


def test_float32_agrees_with_keras_to_four_digits(keras_path: Path, data_path: Path, tmp_path: Path) -> None:
    result = converted(keras_path, data_path, tmp_path, "float32")
    data = load_quietly(data_path).split("PublicTest")
    ours = load_model(result.path).invoke(batch_input(data.pixels, result.card.input))
    theirs = predict(keras.saving.load_model(keras_path, compile=False), data.pixels, result.card.input)
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize("recipe", ["float16", "dynamic_wi8"])
def test_the_other_recipes_pass_their_gates_and_are_smaller(
    keras_path: Path, data_path: Path, tmp_path: Path, recipe: str
) -> None:
    result = converted(keras_path, data_path, tmp_path, recipe)
    assert not result.failures
    assert read_model_file(result.path).card.quantization.recipe == recipe


def test_all_rooms_see_the_same_bytes(data_path: Path) -> None:
    """Training, calibration, evaluation and the runtime make the same tensor of the same crop."""
    data = load_quietly(data_path).split("Training")
    rows = calibration_rows(data, images=70)
    calibration = calibration_set(data, rows, FER2013_INPUT)
    evaluation = batch_input(data.pixels[rows], FER2013_INPUT)
    runtime = np.stack([face_input(image, (0, 0, 48, 48), FER2013_INPUT) for image in data.pixels[rows]])
    order = np.random.default_rng((5, 0)).permutation(len(data.pixels))
    batches = TrainingBatches(
        data.pixels, np.eye(7, dtype=np.float32)[data.labels], FER2013_INPUT, NOTHING, len(data.pixels), seed=5, epoch=0
    )
    shown = batches[0][0]
    training = np.empty_like(shown)
    training[order] = shown
    assert calibration.tobytes() == evaluation.tobytes() == runtime.tobytes()
    assert training[rows].astype(np.uint8).tobytes() == runtime.tobytes()
    assert np.array_equal(training, training.astype(np.uint8))


def test_a_larger_face_is_the_same_in_every_room() -> None:
    rng = np.random.default_rng(3)
    frame = rng.integers(0, 256, (240, 320, 3), dtype=np.uint8)
    crop = np.ascontiguousarray(frame[40:160, 100:220])
    assert (
        face_input(frame, (100, 40, 120, 120), FER2013_INPUT).tobytes()
        == batch_input(crop[None], FER2013_INPUT).tobytes()
    )


def test_calibration_is_balanced_and_repeatable(data_path: Path) -> None:
    training = load_quietly(data_path).split("Training")
    rows = calibration_rows(training, images=70)
    assert np.bincount(training.labels[rows]).tolist() == [10] * 7
    assert np.array_equal(rows, calibration_rows(training, images=70))
    assert len(np.unique(rows)) == 70


def test_evaluate_gives_the_cards_figures(keras_path: Path, data_path: Path, tmp_path: Path) -> None:
    result = converted(keras_path, data_path, tmp_path, "int8")
    evaluation = evaluate_model(result.path, data_path, "PrivateTest")
    assert evaluation.figures.accuracy == pytest.approx(result.card.figures["PrivateTest"].accuracy, abs=1e-4)
    keras_evaluation = evaluate_model(keras_path, data_path, "PrivateTest")
    assert keras_evaluation.figures.accuracy == pytest.approx(result.comparisons["PrivateTest"].float_accuracy)


def test_an_existing_file_is_not_overwritten(keras_path: Path, data_path: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny.int8.tflite").write_bytes(b"mine")
    with pytest.raises(UsageError, match="--overwrite"):
        converted(keras_path, data_path, tmp_path, "int8")
    assert (tmp_path / "tiny.int8.tflite").read_bytes() == b"mine"


def test_a_failed_gate_writes_nothing_unless_forced(keras_path: Path, data_path: Path, tmp_path: Path) -> None:
    import dataclasses

    strict = dataclasses.replace(RECIPES["int8"], min_agreement=1.01)
    with pytest.raises(ModelError, match="int8 fails"):
        convert(keras_path, data_path, strict, tmp_path, name="tiny")
    assert list(tmp_path.iterdir()) == []
    forced = convert(keras_path, data_path, strict, tmp_path, name="tiny", force=True)
    assert "Written by force" in read_model_file(forced.path).card.limits


def test_a_tensor_that_stayed_float_is_refused(keras_path: Path, data_path: Path, tmp_path: Path) -> None:
    import dataclasses

    halfway = dataclasses.replace(RECIPES["dynamic_wi8"], allowed_types=frozenset({"int8", "int32"}))
    with pytest.raises(ModelError, match=r"forbidden type.*float32"):
        convert(keras_path, data_path, halfway, tmp_path, name="tiny")


def test_figures_of_another_model_are_refused(keras_path: Path, data_path: Path, tmp_path: Path) -> None:
    record = json.loads(keras_path.with_name("training.json").read_text())
    (tmp_path / "model.keras").write_bytes(keras_path.read_bytes())
    (tmp_path / "training.json").write_text(json.dumps({**record, "model_sha256": "0" * 64}))
    with pytest.raises(ModelError, match="describes another model"):
        convert(tmp_path / "model.keras", data_path, RECIPES["int8"], tmp_path)


def test_a_damaged_keras_file_is_one_line(data_path: Path, tmp_path: Path) -> None:
    broken = tmp_path / "model.keras"
    broken.write_bytes(b"not a zip")
    with pytest.raises(ModelError, match=r"not a readable \.keras model") as raised:
        convert(broken, data_path, RECIPES["int8"], tmp_path)
    assert "\n" not in str(raised.value)


def test_the_command_says_what_is_missing(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "fer_edge", "convert", tmp_path / "no.keras", "--data", tmp_path, "--out", tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 78
    assert result.stderr.count("\n") == 1
    assert "no such file" in result.stderr


def test_comparison_counts_pairs() -> None:
    truth = np.array([0, 1, 2, 3] * 25)
    float_model = np.eye(4, dtype=np.float32)[truth]
    ours = float_model.copy()
    ours[:2] = ours[:2, ::-1]  # two images lost
    compared = compare(float_model, ours, truth)
    assert compared.drop_points == pytest.approx(2.0)
    assert compared.agreement == pytest.approx(0.98)
    assert compared.drop_low < 2.0 < compared.drop_high
    assert failed_gates(compared, RECIPES["int8"]) != []
    assert failed_gates(compare(float_model, float_model, truth), RECIPES["int8"]) == []


def test_the_uncertain_threshold_is_where_errors_outweigh() -> None:
    score = np.linspace(0.2, 1.0, 81)
    probabilities = np.stack([score, np.zeros(81), np.zeros(81), np.zeros(81)], axis=1).astype(np.float32)
    truth = np.where(score < 0.4, 1, 0)
    assert uncertain_below(probabilities, truth) == pytest.approx(0.39, abs=0.011)
    assert uncertain_below(probabilities, np.zeros(81, np.int64)) == 0.0


def test_an_unknown_recipe_has_a_suggestion() -> None:
    with pytest.raises(UsageError, match="did you mean 'int8'"):
        find_recipe("int88")
