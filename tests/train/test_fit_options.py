"""Stages, teachers, balance, schedules and the rehearsal, on whatever backend KERAS_BACKEND names."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from fer_edge.contract.preprocess import UInt8Array
from fer_edge.errors import ModelError, UsageError
from tests.train.synthetic_fer2013 import SyntheticFer2013

keras = pytest.importorskip("keras", reason="needs the train extra")

from fer_train.batches import TrainingBatches, predict  # noqa: E402
from fer_train.checkpoint import RunState  # noqa: E402
from fer_train.distillation import DistillationLoss, KerasTeacher, load_teachers, target_accuracy  # noqa: E402
from fer_train.fer2013 import Fer2013, Fer2013Warning  # noqa: E402
from fer_train.fit import LATER_KEYS, fingerprint_of, fit, restore  # noqa: E402
from fer_train.recipe import Recipe, load_recipe  # noqa: E402
from fer_train.run import RunFiles, train  # noqa: E402
from fer_train.training_data import prepare  # noqa: E402

TINY_FILE = Path(__file__).with_name("tiny.toml")
TINY = load_recipe(str(TINY_FILE))


@pytest.fixture(scope="module")
def synthetic() -> SyntheticFer2013:
    return SyntheticFer2013.generate(per_class=(40, 10, 10))


@pytest.fixture(scope="module")
def teacher(synthetic: SyntheticFer2013, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a finished run."""
    folder = tmp_path_factory.mktemp("teacher")
    data = synthetic.write_npz(folder / "fer2013.npz")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Fer2013Warning)  # it is far smaller than FER2013
        assert train(TINY, RunFiles(data, folder / "run")) == folder / "run" / "model.keras"
    return folder / "run"


def changed(**changes: Any) -> Recipe:
    return msgspec.convert({**msgspec.json.decode(msgspec.json.encode(TINY)), **changes}, Recipe)


def public_accuracy(recipe: Recipe, data: Fer2013, state: RunState) -> float:
    prepared = prepare(recipe, data)
    network = restore(recipe, len(recipe.classes), state.best)
    answers = predict(network, prepared.public_pixels, recipe.input).argmax(axis=1)
    return float((answers == prepared.public_labels).mean())


def test_stages_free_layers_one_after_the_other_and_resume(synthetic: SyntheticFer2013, tmp_path: Path) -> None:
    recipe = changed(
        stages=[
            {"learning_rate": 0.05, "epochs": 1, "train_from": "logits"},
            {"learning_rate": 0.05, "epochs": 2, "train_from": "block2"},
            {"learning_rate": 0.02},
        ]
    )
    data = prepare(recipe, synthetic.as_data())
    fingerprint = fingerprint_of(recipe, data)
    seen: list[list[np.ndarray]] = []
    whole = fit(
        recipe, data, tmp_path / "a.npz", fingerprint, on_epoch=lambda s: seen.append([w.copy() for w in s.weights])
    )
    network = restore(recipe, 7, whole.weights)
    first_kernel = next(i for i, w in enumerate(network.weights) if w.path.startswith("block1_conv1"))
    second_kernel = next(i for i, w in enumerate(network.weights) if w.path.startswith("block2_conv1"))
    assert not np.array_equal(seen[0][second_kernel], seen[1][second_kernel])
    assert np.array_equal(seen[0][first_kernel], seen[2][first_kernel])
    assert not np.array_equal(seen[2][first_kernel], seen[3][first_kernel])

    class Stopped(Exception):  # noqa: N818
        pass

    def stop_in_the_second_stage(state: RunState) -> None:
        if state.epoch == 2:
            raise Stopped

    with pytest.raises(Stopped):
        fit(recipe, data, tmp_path / "b.npz", fingerprint, on_epoch=stop_in_the_second_stage)
    resumed = fit(recipe, data, tmp_path / "b.npz", fingerprint)
    tolerance = 1e-4 if keras.backend.backend() == "tensorflow" else 0.0
    for ours, theirs in zip(resumed.weights, whole.weights, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": {"kind": "adam", "learning_rate": 0.01, "schedule": "plateau"}},
        {"optimizer": {"kind": "adamw", "learning_rate": 0.01, "schedule": "constant", "clip_norm": 1.0}},
        {"balance": "sampling"},
        {"balance": "weights"},
        {"balance": "weights", "augmentation": {"mixup": 0.2, "rotate_deg": 4.0, "scale": 0.04, "shift": 0.05}},
        {"classes": ["happy", "sad", "surprise", "neutral"]},
    ],
    ids=lambda changes: "-".join(str(v) for v in changes.values())[:40],
)
def test_it_learns_with(changes: dict[str, Any], synthetic: SyntheticFer2013, tmp_path: Path) -> None:
    recipe = changed(**changes)
    data = prepare(recipe, synthetic.as_data())
    state = fit(recipe, data, tmp_path / "c.npz", "x")
    assert public_accuracy(recipe, synthetic.as_data(), state) > 0.8


@pytest.mark.parametrize("view", ["augmented", "warped", "original"])
def test_a_student_learns_from_its_teacher_alone(
    view: str, synthetic: SyntheticFer2013, teacher: Path, tmp_path: Path
) -> None:
    """With all labels of Training made wrong, only the teacher can have told."""
    recipe = changed(distillation={"weight": 1.0, "temperature": 2.0, "view": view})
    data = synthetic.as_data()
    lied = data.relabelled(np.where(data.splits == 0, (data.labels + 1) % 7, data.labels).astype(np.uint8))
    prepared = prepare(recipe, lied)
    teachers = load_teachers([teacher], recipe, prepared.pixels)
    state = fit(recipe, prepared, tmp_path / "c.npz", fingerprint_of(recipe, prepared, teachers), teachers)
    assert public_accuracy(recipe, data, state) > 0.8


def test_the_teachers_see_what_the_student_sees(synthetic: SyntheticFer2013, teacher: Path) -> None:
    recipe = changed(distillation={"weight": 0.5, "temperature": 2.0})
    prepared = prepare(recipe, synthetic.as_data())
    teachers = load_teachers([teacher, teacher], recipe, prepared.pixels)
    assert teachers is not None
    assert len(teachers.sha256) == 2
    pixels, targets = TrainingBatches(prepared, recipe, 0, teachers)[0]
    assert targets.shape == (recipe.batch_size, 14)
    model = keras.saving.load_model(teacher / "model.keras", compile=False)
    logits = np.log(np.maximum(keras.ops.convert_to_numpy(model(pixels)), 1e-30)) / 2.0
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    np.testing.assert_allclose(targets[:, 7:], powers / powers.sum(axis=1, keepdims=True), atol=1e-3)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[UInt8Array]:
    """The images that a teacher was shown, call by call."""
    calls: list[UInt8Array] = []
    answer = KerasTeacher.logits

    def watched(self: KerasTeacher, images: UInt8Array) -> NDArray[np.float32]:
        calls.append(images)
        return answer(self, images)

    monkeypatch.setattr(KerasTeacher, "logits", watched)
    return calls


def test_the_teachers_see_the_same_crop_of_the_good_picture(
    synthetic: SyntheticFer2013, teacher: Path, shown: list[UInt8Array]
) -> None:
    """Where the student sees it dark, blurred, compressed and partly covered."""
    crop = {"flip": 0.5, "rotate_deg": 15.0, "scale": 0.1, "shift": 0.1}
    spoilt = crop | {"exposure": 2.0, "gamma": 1.0, "blur": 1.0, "jpeg": 1.0, "erase": 1.0}
    plain = crop | {"contrast": 0.0, "brightness": 0.0, "gamma": 0.0, "blur": 0.0, "erase": 0.0}
    distillation = {"weight": 0.5, "view": "warped"}
    prepared = prepare(changed(), synthetic.as_data())

    def batch(augmentation: dict[str, float]) -> NDArray[np.float32]:
        recipe = changed(distillation=distillation, augmentation=augmentation)
        teachers = load_teachers([teacher], recipe, prepared.pixels)
        return TrainingBatches(prepared, recipe, 0, teachers)[1][0]

    good = batch(plain)[..., 0]
    assert np.array_equal(shown.pop(), good.astype(np.uint8))
    assert not np.array_equal(batch(spoilt)[..., 0], good)
    assert np.array_equal(shown.pop(), good.astype(np.uint8))


def test_views_come_again_and_are_answered_once(
    synthetic: SyntheticFer2013, teacher: Path, tmp_path: Path, shown: list[UInt8Array]
) -> None:
    """Four epochs of two views, whole and interrupted after the third."""
    recipe = changed(epochs=4, distillation={"weight": 0.7, "temperature": 2.0, "views": 2})
    prepared = prepare(recipe, synthetic.as_data())

    def run(checkpoint: Path, until: int) -> RunState:
        class Stopped(Exception):  # noqa: N818
            pass

        def stop(state: RunState) -> None:
            if state.epoch == until:
                raise Stopped

        teachers = load_teachers([teacher], recipe, prepared.pixels)
        with contextlib.suppress(Stopped):
            fit(recipe, prepared, checkpoint, "one run", teachers, stop)
        return RunState.load(checkpoint)

    whole = run(tmp_path / "whole.npz", until=4)
    once = len(prepared.pixels) // recipe.batch_size * recipe.batch_size
    assert sum(map(len, shown)) == 2 * once
    run(tmp_path / "halves.npz", until=3)
    assert sum(map(len, shown)) == 4 * once
    resumed = run(tmp_path / "halves.npz", until=4)
    assert sum(map(len, shown)) == 4 * once, "the answers were lost with the process"
    tolerance = 1e-4 if keras.backend.backend() == "tensorflow" else 0.0
    for ours, theirs in zip(resumed.weights, whole.weights, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=tolerance, rtol=tolerance)


def test_a_view_that_comes_again_is_the_same_to_the_bit(synthetic: SyntheticFer2013, teacher: Path) -> None:
    recipe = changed(distillation={"weight": 0.7, "views": 2})
    prepared = prepare(recipe, synthetic.as_data())
    teachers = load_teachers([teacher], recipe, prepared.pixels)
    first, other, again = (TrainingBatches(prepared, recipe, epoch, teachers)[1] for epoch in (0, 1, 2))
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert np.abs(first[0] - other[0]).max() > 1
    never = changed(distillation={"weight": 0.7})
    np.testing.assert_array_equal(TrainingBatches(prepared, never, 0, teachers)[1][1], first[1])


def test_a_teacher_may_see_the_mirror_image_as_well(synthetic: SyntheticFer2013, teacher: Path) -> None:
    """The mean is the same for an image and its mirror image, and it is the mean of the two plain answers."""
    images = prepare(TINY, synthetic.as_data()).pixels[:8]
    flipped, rows = np.ascontiguousarray(images[:, :, ::-1]), np.arange(8)
    plain, both = (
        load_teachers([teacher], changed(distillation={"weight": 0.5, "temperature": 20.0, "mirror": mirror}), images)
        for mirror in (False, True)
    )
    assert plain is not None
    assert both is not None
    one, other = plain.answers(rows, images), plain.answers(rows, flipped)
    assert np.abs(one - other).max() > 1e-4
    np.testing.assert_allclose(both.answers(rows, images), (one + other) / 2, atol=1e-6)
    np.testing.assert_allclose(both.answers(rows, flipped), (one + other) / 2, atol=1e-6)


def test_the_loss_of_distillation_is_the_papers() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(5, 3)).astype(np.float32)
    targets = rng.dirichlet(np.ones(3), 5).astype(np.float32)
    taught = rng.dirichlet(np.ones(3), 5).astype(np.float32)

    def log_softmax(x: np.ndarray) -> np.ndarray:
        return np.asarray(x - np.log(np.exp(x).sum(axis=1, keepdims=True)))

    own = -(targets * log_softmax(logits)).sum(axis=1)
    soft = -(taught * log_softmax(logits / 3.0)).sum(axis=1)
    both = np.concatenate([targets, taught], axis=1)
    found = DistillationLoss(0.7, 3.0)(keras.ops.convert_to_tensor(both), keras.ops.convert_to_tensor(logits))
    assert float(keras.ops.convert_to_numpy(found)) == pytest.approx(
        float((0.3 * own + 0.7 * 9 * soft).mean()), rel=1e-5
    )
    right = keras.ops.convert_to_numpy(
        target_accuracy(keras.ops.convert_to_tensor(both), keras.ops.convert_to_tensor(logits))
    )
    assert np.array_equal(right, targets.argmax(axis=1) == logits.argmax(axis=1))


def test_teachers_and_recipe_must_agree(synthetic: SyntheticFer2013, teacher: Path, tmp_path: Path) -> None:
    images = synthetic.as_data().pixels
    with pytest.raises(UsageError, match="no \\[distillation\\] weight"):
        load_teachers([teacher], TINY, images)
    taught = changed(distillation={"weight": 0.5})
    with pytest.raises(UsageError, match="--teacher"):
        load_teachers([], taught, images)
    with pytest.raises(UsageError, match="other classes"):
        load_teachers([teacher], changed(distillation={"weight": 0.5}, classes=["happy", "sad"]), images)
    with pytest.raises(ModelError, match="cannot teach"):
        load_teachers([tmp_path], taught, images)


def test_a_rehearsal_goes_through_everything_and_leaves_nothing(synthetic: SyntheticFer2013, tmp_path: Path) -> None:
    data = synthetic.write_npz(tmp_path / "fer2013.npz")
    recipe = tmp_path / "staged.toml"
    recipe.write_text(
        TINY_FILE.read_text()
        + '\n[[stages]]\nlearning_rate = 0.05\nepochs = 3\ntrain_from = "block2"\n\n[[stages]]\nlearning_rate = 0.01\n'
    )
    before = sorted(tmp_path.iterdir())
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "fer_edge",
        "train",
        "--recipe",
        recipe,
        "--data",
        data,
        "--dry-run",
    ]
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path.parent / "cache")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert "step 2" in done.stderr
    assert "multiply-accumulates" in done.stderr
    assert sorted(tmp_path.iterdir()) == before
    wrong = subprocess.run([*command, "--classes", "happy,joy"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert "must be some of" in wrong.stderr
    assert "Traceback" not in wrong.stderr


def test_keys_that_came_later_leave_earlier_runs_what_they_are(synthetic: SyntheticFer2013) -> None:
    plain = prepare(TINY, synthetic.as_data())
    now = msgspec.to_builtins(TINY)
    before = {**now, "augmentation": {k: v for k, v in now["augmentation"].items() if k not in LATER_KEYS}}
    assert fingerprint_of(msgspec.convert(before, Recipe), plain) == fingerprint_of(TINY, plain)
    for key, value in (("mixup", 0.2), ("brighter", 0.75)):
        other = changed(augmentation={**now["augmentation"], key: value})
        assert fingerprint_of(other, plain) != fingerprint_of(TINY, plain)
