"""A run that keeps a share of the finished model that it went on from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fer_edge.errors import DataError, UsageError
from tests.train.synthetic_fer2013 import SyntheticFer2013

keras = pytest.importorskip("keras", reason="needs the train extra")

from fer_train.models.mixing import load_start, mixed  # noqa: E402
from fer_train.recipe import Recipe, load_recipe, with_changes  # noqa: E402
from fer_train.run import RunFiles, train  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::fer_train.fer2013.Fer2013Warning")

NO_IMAGES = np.zeros((0, 48, 48, 1), np.uint8)
TINY = with_changes(load_recipe(str(Path(__file__).with_name("tiny.toml"))), epochs=1, batch_size=4, average_decay=0.0)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, its data set beside it."""
    folder = tmp_path_factory.mktemp("mixing")
    SyntheticFer2013.generate(per_class=(10, 4, 4)).write_csv(folder / "fer2013.csv")
    train(TINY, RunFiles(folder / "fer2013.csv", folder / "first"), threads=1)
    return folder


def going_on(first: Path, share: float) -> Recipe:
    return with_changes(TINY, pretrained=str(first / "first" / "model.keras"), start_share=share)


def kernels(path: Path) -> list[np.ndarray]:
    """All weights but the last layer's, which the temperature is in."""
    return [np.asarray(keras.ops.convert_to_numpy(w.value)) for w in keras.saving.load_model(path).weights[:-2]]


def test_what_is_saved_lies_between_the_start_and_the_end(first: Path) -> None:
    files = RunFiles(first / "fer2013.csv", first / "second")
    saved = {}
    for share in (0.0, 0.25):
        assert train(going_on(first, share), files, threads=1) == files.out / "model.keras"
        saved[share] = kernels(files.out / "model.keras")
        assert json.loads((files.out / "training.json").read_bytes())["recipe"]["start_share"] == share
    start = kernels(first / "first" / "model.keras")
    assert any(np.abs(a - b).max() > 1e-3 for a, b in zip(start, saved[0.0], strict=True))
    for before, after, between in zip(start, saved[0.0], saved[0.25], strict=True):
        np.testing.assert_allclose(between, 0.25 * before + 0.75 * after, atol=1e-6)


def test_another_share_ends_a_finished_run_again_without_a_step(
    first: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = RunFiles(first / "fer2013.csv", tmp_path / "run")
    train(going_on(first, 0.5), files, threads=1)
    history = (files.out / "history.json").read_bytes()
    capsys.readouterr()
    train(going_on(first, 0.5), files, threads=1)
    assert "finished already" in capsys.readouterr().err
    train(going_on(first, 0.0), files, threads=1)
    assert "finished already" not in capsys.readouterr().err
    assert (files.out / "history.json").read_bytes() == history


def test_a_share_of_nothing_is_refused(first: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"name a finished model\.keras or a \.tflite file with --weights"):
        load_start(with_changes(TINY, start_share=0.5), NO_IMAGES)
    with pytest.raises(UsageError, match="tells 7 expressions apart and the recipe 2"):
        load_start(with_changes(going_on(first, 0.5), classes=("happy", "sad")), NO_IMAGES)
    (tmp_path / "not.keras").write_bytes(b"PK\x03\x04")
    with pytest.raises(DataError, match=r"not\.keras: is not a readable"):
        load_start(with_changes(TINY, start_share=0.5, pretrained=str(tmp_path / "not.keras")), NO_IMAGES)
    assert load_start(TINY, NO_IMAGES) is None


def test_without_a_start_the_weights_stay() -> None:
    (same,) = mixed([np.array([1.0, 2.0])], None, 0.5)
    assert same.tolist() == [1.0, 2.0]
