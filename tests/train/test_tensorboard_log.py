"""What fer-edge writes for TensorBoard, read by TensorBoard's own reader."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_edge.errors import OutputError
from tests.train.synthetic_fer2013 import SyntheticFer2013

pytest.importorskip("keras", reason="needs the train extra")
pytest.importorskip("tensorboardX", reason="needs the train extra")

from fer_train.checkpoint import RunState
from fer_train.recipe import load_recipe
from fer_train.run import RunFiles, train
from fer_train.tensorboard_log import SCALARS, TensorBoardLog, draw_confusion

TINY_FILE = Path(__file__).with_name("tiny.toml")


def read(folder: Path) -> Any:
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    accumulator = accumulators.EventAccumulator(str(folder), size_guidance={"images": 0})
    accumulator.Reload()
    return accumulator


def state(epoch: int, loss: float) -> RunState:
    entry = {
        "loss": loss,
        "accuracy": 0.5,
        "public_accuracy": 0.6,
        "public_nll": 1.0,
        "learning_rate": 0.1,
        "seconds": 2.0,
    }
    found = RunState("f", epoch=epoch, history=[{"epoch": float(epoch), **entry}])
    found.public_logits = np.eye(2, dtype=np.float32)
    return found


@pytest.mark.filterwarnings("ignore::fer_train.fer2013.Fer2013Warning")
def test_a_run_is_shown_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    data = SyntheticFer2013.generate(per_class=(16, 4, 4)).write_npz(tmp_path / "fer2013.npz")
    logs = tmp_path / "logs"
    train(load_recipe(str(TINY_FILE)), RunFiles(data, tmp_path / "run", tensorboard=logs))
    history = RunState.load(tmp_path / "run" / "checkpoint.npz").history
    shown = read(logs)
    for key, tag in SCALARS.items():
        events = shown.Scalars(tag)
        assert [event.step for event in events] == [1, 2, 3, 4]
        assert [event.value for event in events] == pytest.approx([entry[key] for entry in history], rel=1e-5)
    assert shown.Scalars("learning_rate")[-1].value < shown.Scalars("learning_rate")[0].value
    pictures = shown.Images("confusion/PublicTest")
    assert [picture.step for picture in pictures] == [1, 2, 3, 4]
    assert Image.open(io.BytesIO(pictures[0].encoded_image_string)).size == (600, 540)
    (recipe,) = shown.Tensors("recipe/text_summary")
    assert b'model = "vgg_lite"' in recipe.tensor_proto.string_val[0]


def test_a_run_that_goes_on_replaces_what_was_not_kept(tmp_path: Path) -> None:
    """Epoch 3 was written, but its checkpoint was not: the run goes on from epoch 2."""
    labels = np.array([0, 1])
    with TensorBoardLog(tmp_path, ("happy", "sad"), "recipe") as log:
        for epoch in (1, 2, 3):
            log.write(state(epoch, loss=1.0), labels)
    first = {path.name for path in tmp_path.iterdir()}
    with TensorBoardLog(tmp_path, ("happy", "sad"), "recipe") as log:
        for epoch in (3, 4):
            log.write(state(epoch, loss=0.5), labels)
    assert len({path.name for path in tmp_path.iterdir()} - first) == 1
    events = read(tmp_path).Scalars("loss/Training")
    assert [(event.step, event.value) for event in events] == [(1, 1.0), (2, 1.0), (3, 0.5), (4, 0.5)]


def test_nothing_is_written_before_the_first_epoch(tmp_path: Path) -> None:
    with TensorBoardLog(tmp_path / "logs", ("happy", "sad"), "recipe"):
        pass
    assert not (tmp_path / "logs").exists()


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file")
    with (
        pytest.raises(OutputError, match="TensorBoard's files cannot be written") as raised,
        TensorBoardLog(tmp_path / "logs", ("happy", "sad"), "recipe") as log,
    ):
        log.write(state(1, loss=1.0), np.array([0, 1]))
    assert "\n" not in str(raised.value)


def test_the_confusion_matrix_is_dark_where_the_truth_is(tmp_path: Path) -> None:
    del tmp_path
    right = draw_confusion(np.array([0, 1, 0, 1]), np.array([0, 1, 0, 1]), ("happy", "sad"))
    wrong = draw_confusion(np.array([1, 0, 1, 0]), np.array([0, 1, 0, 1]), ("happy", "sad"))
    assert right.shape == (540, 600, 3)
    height, width = right.shape[:2]
    top_left = (slice(height // 5, height // 3), slice(width // 4, width // 3))
    assert right[top_left].mean() < wrong[top_left].mean() - 50
