"""From a Keras model to a file that describes itself: parity of preprocessing and of figures, gates, bad input."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from fer_edge.contract.interpreter import load_model
from fer_edge.contract.labels import LABELS
from fer_edge.contract.preprocess import FER2013_INPUT, batch_input, face_input
from fer_edge.contract.tflite_file import read_model_file
from fer_edge.errors import ModelError, UsageError
from tests.convert.tiny_run import TINY_FILE, converted, trained
from tests.train.synthetic_fer2013 import load_quietly

keras = pytest.importorskip("keras", reason="needs the train extra")
pytest.importorskip("tensorflow", reason="needs the train extra")
if keras.backend.backend() != "tensorflow":
    pytest.skip("conversion needs Keras on TensorFlow", allow_module_level=True)

from fer_convert.calibrate import calibration_rows, calibration_set  # noqa: E402
from fer_convert.convert import convert  # noqa: E402
from fer_convert.delegation import FileFacts  # noqa: E402
from fer_convert.embed import is_per_channel, tensor_types  # noqa: E402
from fer_convert.gates import Comparison, compare, failed_gates, uncertain_below  # noqa: E402
from fer_convert.recipe import ConversionRecipe, load_recipe, recipe_names  # noqa: E402
from fer_convert.trained import load_trained  # noqa: E402
from fer_train.batches import TrainingBatches, predict  # noqa: E402
from fer_train.evaluation import evaluate_model  # noqa: E402
from fer_train.recipe import load_recipe as load_training_recipe  # noqa: E402
from fer_train.recipe import with_changes  # noqa: E402
from fer_train.training_data import prepare  # noqa: E402
from tests.train.test_augment import NOTHING  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::fer_train.fer2013.Fer2013Warning")


def with_gates(recipe: ConversionRecipe, **gates: object) -> ConversionRecipe:
    return msgspec.structs.replace(recipe, gates=msgspec.structs.replace(recipe.gates, **gates))


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
    assert card.quantization.failed_gates == ()
    assert card.labels == LABELS
    compared = result.comparisons["PublicTest"]
    assert compared.n == 210
    assert compared.agreement >= 0.97
    assert compared.float_accuracy > 0.8
    assert card.figures["PublicTest"].accuracy == pytest.approx(compared.accuracy, abs=1e-4)
    report = json.loads(result.path.with_suffix(".json").read_text())
    assert report["comparisons"]["PublicTest"]["drop_points"] == pytest.approx(compared.drop_points)
    assert report["file"]["float_operators"] == []
    assert report["file"]["delegated"] == pytest.approx(1.0, abs=0.01)
    assert report["recipe"]["calibration"]["images"] == 700
    assert report["sha256"] == file.sha256


def test_float32_agrees_with_keras_to_four_digits(keras_path: Path, data_path: Path, tmp_path: Path) -> None:
    result = converted(keras_path, data_path, tmp_path, "float32")
    data = load_quietly(data_path).split("PublicTest")
    ours = load_model(result.path).invoke(batch_input(data.pixels, result.card.input))
    theirs = predict(keras.saving.load_model(keras_path, compile=False), data.pixels, result.card.input)
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize("recipe", sorted({*recipe_names()} - {"int8", "float32"}))
def test_the_other_recipes_pass_their_gates_and_say_what_they_are(
    keras_path: Path, data_path: Path, tmp_path: Path, recipe: str
) -> None:
    result = converted(keras_path, data_path, tmp_path, recipe)
    assert not result.failures
    assert result.path.name == f"tiny.{recipe}.tflite"
    assert read_model_file(result.path).card.quantization.recipe == recipe


def test_mixed_precision_leaves_the_worst_layers_in_float(keras_path: Path, data_path: Path, tmp_path: Path) -> None:
    result = converted(keras_path, data_path, tmp_path, "int8_mixed")
    kept = result.card.quantization.sensitive_layers
    assert len(kept) == 2
    sweep = json.loads(result.path.with_suffix(".json").read_text())["sensitivity"]
    assert [one["layer"] for one in sorted(sweep, key=lambda one: -one["divergence"])[:2]] == list(kept)
    assert len(result.facts.float_operators) == 2
    assert result.facts.delegated == pytest.approx(1.0, abs=0.01)


def test_the_sweep_is_a_table_and_a_drawing(
    keras_path: Path, data_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from fer_edge.cli import main

    call = ["convert", str(keras_path), "--data", str(data_path), "--out", str(tmp_path), "--sensitivity"]
    assert main(call) == 0
    printed = capsys.readouterr().out
    drawing = tmp_path / "vgg_lite.int8.sensitivity.svg"
    assert printed.splitlines()[-1] == str(drawing)
    layers = json.loads(drawing.with_suffix(".json").read_text())["layers"]
    assert [one["layer"] for one in layers] == ["block1_conv1", "block2_conv1", "logits"]
    assert all(one["layer"] in printed and one["layer"] in drawing.read_text() for one in layers)
    assert all(0 < one["divergence"] < 0.1 for one in layers)
    assert list(tmp_path.glob("*.tflite")) == []
    assert main(call) == 2
    assert main([*call, "--overwrite", "--recipe", "float16"]) == 2
    assert main([*call, "--overwrite", "--recipe", "int8", "--recipe", "int8_mixed"]) == 2


def test_a_model_of_four_labels_is_converted_and_judged_on_these(data_path: Path, tmp_path: Path) -> None:
    four = ("surprise", "happy", "sad", "neutral")
    result = converted(trained(data_path, tmp_path / "run", classes=four), data_path, tmp_path, "int8")
    card = read_model_file(result.path).card
    assert card.labels == four
    assert card.quantization.output.shape == (1, 4)
    compared = result.comparisons["PublicTest"]
    assert compared.n == 4 * 30
    assert compared.accuracy > 0.8, "labels in another order would be near a quarter"
    assert set(compared.recall_drop) == set(card.figures["PublicTest"].recall) == set(four)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, "FER2013"),
        ({"ferplus": 0.4}, "FER2013 with the votes of FER+ (Barsoum et al. 2016, arXiv:1608.01041)"),
        ({"drop": ["not_faces"]}, "FER2013 with the votes of FER+ (Barsoum et al. 2016, arXiv:1608.01041)"),
        ({"pretrained": "imagenet"}, "FER2013; started from ImageNet's weights"),
        ({"pretrained": "/home/me/vgg16.weights.h5"}, "FER2013; started from the weights vgg16.weights.h5"),
    ],
)
def test_the_card_tells_all_data_that_the_model_has_seen(
    keras_path: Path, tmp_path: Path, changes: dict[str, object], told: str
) -> None:
    assert load_trained(with_record(keras_path, tmp_path, **changes)).data == told


def test_the_votes_stand_in_the_file(keras_path: Path, data_path: Path, tmp_path: Path) -> None:
    voted = with_record(keras_path, tmp_path / "run", ferplus=0.4)
    card = read_model_file(converted(voted, data_path, tmp_path, "float32").path).card
    assert "votes of FER+" in card.data
    assert card.training["recipe"]["ferplus"] == 0.4


def with_record(keras_path: Path, out: Path, **changes: object) -> Path:
    """A copy of a training run whose recipe says something else."""
    out.mkdir(exist_ok=True)
    copy = Path(shutil.copy(keras_path, out))
    record = json.loads(keras_path.with_name("training.json").read_text())
    record["recipe"] |= changes
    copy.with_name("training.json").write_text(json.dumps(record))
    return copy


def test_labels_of_nobody_are_refused(keras_path: Path, data_path: Path, tmp_path: Path) -> None:
    record = json.loads(keras_path.with_name("training.json").read_text())
    (tmp_path / "model.keras").write_bytes(keras_path.read_bytes())
    for labels, message in ((["happy", "bored"], "FER2013's are"), (["happy", "sad"], "2 labels")):
        (tmp_path / "training.json").write_text(json.dumps({**record, "labels": labels}))
        with pytest.raises(ModelError, match=message):
            convert(tmp_path / "model.keras", data_path, load_recipe("int8"), tmp_path)


def test_all_rooms_see_the_same_bytes(data_path: Path) -> None:
    """Training, calibration, evaluation and the runtime make the same tensor of the same crop."""
    data = load_quietly(data_path).split("Training")
    rows = calibration_rows(data, images=70)
    calibration = calibration_set(data, rows, FER2013_INPUT)
    evaluation = batch_input(data.pixels[rows], FER2013_INPUT)
    runtime = np.stack([face_input(image, (0, 0, 48, 48), FER2013_INPUT) for image in data.pixels[rows]])
    order = np.random.default_rng((5, 0)).permutation(len(data.pixels))
    recipe = with_changes(load_training_recipe(str(TINY_FILE)), batch_size=len(data.pixels), seed=5)
    recipe = msgspec.structs.replace(recipe, augmentation=NOTHING)
    batches = TrainingBatches(prepare(recipe, load_quietly(data_path)), recipe, epoch=0)
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
    strict = with_gates(load_recipe("int8"), max_megabytes=0.001, min_agreement=1.0, max_drop_points=0.0)
    with pytest.raises(ModelError, match=r"int8 fails.* MB; .*int8_equalized or int8_mixed.*--force"):
        convert(keras_path, data_path, strict, tmp_path, name="tiny")
    assert list(tmp_path.iterdir()) == []
    forced = convert(keras_path, data_path, strict, tmp_path, name="tiny", force=True)
    card = read_model_file(forced.path).card
    assert "Written by force" in card.limits
    assert list(card.quantization.failed_gates) == forced.failures != []


def test_operators_that_stayed_float_fail_the_gate(keras_path: Path, data_path: Path, tmp_path: Path) -> None:
    halfway = with_gates(load_recipe("int8_mixed"), integer=True)
    with pytest.raises(ModelError, match=r"2 of \d+ operators compute in float \(CONV_2D"):
        convert(keras_path, data_path, halfway, tmp_path, name="tiny")


def test_figures_of_another_model_are_refused(keras_path: Path, data_path: Path, tmp_path: Path) -> None:
    record = json.loads(keras_path.with_name("training.json").read_text())
    (tmp_path / "model.keras").write_bytes(keras_path.read_bytes())
    (tmp_path / "training.json").write_text(json.dumps({**record, "model_sha256": "0" * 64}))
    with pytest.raises(ModelError, match="describes another model"):
        convert(tmp_path / "model.keras", data_path, load_recipe("int8"), tmp_path)


def test_a_damaged_keras_file_is_one_line(data_path: Path, tmp_path: Path) -> None:
    broken = tmp_path / "model.keras"
    broken.write_bytes(b"not a zip")
    with pytest.raises(ModelError, match=r"not a readable \.keras model") as raised:
        convert(broken, data_path, load_recipe("int8"), tmp_path)
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


NAMES = ("a", "b", "c", "d")
GOOD = FileFacts(megabytes=1.0, operators=9, float_operators=(), delegated_operators=(8, 9), delegated=0.999)


def lossy(lost: int) -> Comparison:
    """A hundred images of each of four classes; the first class loses some."""
    truth = np.repeat(np.arange(4), 100)
    float_model = np.eye(4, dtype=np.float32)[truth]
    ours = float_model.copy()
    ours[:lost] = ours[:lost, ::-1]
    return compare(float_model, ours, truth, NAMES)


def test_comparison_counts_pairs() -> None:
    compared = lossy(8)
    assert compared.drop_points == pytest.approx(2.0)
    assert compared.agreement == pytest.approx(0.98)
    assert compared.drop_low < 2.0 < compared.drop_high
    assert compared.recall_drop["a"].points == pytest.approx(8.0)
    assert compared.recall_drop["b"].points == 0.0
    # F1: 0.9583 for the class that lost, 0.9615 for the one that was taken for it, 1 for the two others.
    assert compared.macro_f1_drop_points == pytest.approx(100 * (1 - (2 * 92 / 192 + 200 / 208 + 2) / 4))


def test_each_gate_fails_on_its_own() -> None:
    recipe = load_recipe("int8")
    assert failed_gates(lossy(0), GOOD, recipe) == []
    assert failed_gates(None, GOOD, recipe) == []
    failures = failed_gates(lossy(20), GOOD, recipe)
    said = ("accuracy fell by 5.00", "macro-F1 fell by", "the recall of a fell by 20.00", "agrees with the float model")
    assert len(failures) == len(said)
    assert all(start in line for start, line in zip(said, failures, strict=True))
    slow = dataclasses.replace(GOOD, delegated=0.5)
    assert failed_gates(None, slow, recipe) == ["XNNPACK runs 50.0% of the multiplications; at least 99% asked for"]
    mixed = dataclasses.replace(GOOD, float_operators=("CONV_2D", "ADD"))
    assert failed_gates(None, mixed, recipe) == ["2 of 9 operators compute in float (ADD, CONV_2D)"]
    assert (
        "2.0 MB"
        in failed_gates(None, dataclasses.replace(GOOD, megabytes=2.0), with_gates(recipe, max_megabytes=1.5))[0]
    )


def test_a_class_of_few_images_has_no_gate() -> None:
    truth = np.array([0] * 10 + [1] * 990)
    float_model = np.eye(2, dtype=np.float32)[truth]
    ours = float_model.copy()
    ours[0] = ours[0, ::-1]
    compared = compare(float_model, ours, truth, ("rare", "common"))
    assert compared.recall_drop["rare"].points == pytest.approx(10.0)
    recipe = with_gates(load_recipe("int8"), max_macro_f1_drop_points=100.0)
    assert failed_gates(compared, GOOD, recipe) == []


def test_the_uncertain_threshold_is_where_errors_outweigh() -> None:
    score = np.linspace(0.2, 1.0, 81)
    probabilities = np.stack([score, np.zeros(81), np.zeros(81), np.zeros(81)], axis=1).astype(np.float32)
    truth = np.where(score < 0.4, 1, 0)
    assert uncertain_below(probabilities, truth) == pytest.approx(0.39, abs=0.011)
    assert uncertain_below(probabilities, np.zeros(81, np.int64)) == 0.0
