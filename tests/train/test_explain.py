"""Maps that must lie where the answer was put, and the command on a .tflite file without Keras."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fer_edge.contract.labels import LABELS
from fer_edge.contract.preprocess import FER2013_INPUT, UInt8Array
from fer_edge.errors import UsageError
from fer_train.cases import Cases
from fer_train.classifiers import Classifier
from fer_train.evaluation import Truth
from fer_train.explain import Selection, choose
from fer_train.saliency import occlusion, overlay
from tests.edge.tiny_model import write_tiny_model
from tests.train.synthetic_fer2013 import SyntheticFer2013

MOUTH = (slice(32, 42), slice(14, 34))


def looks_at_the_mouth(batch: UInt8Array) -> NDArray[np.float32]:
    """The brighter the mouth, the happier; nothing else counts."""
    happy = batch[:, *MOUTH, 0].mean(axis=(1, 2)) / 255.0
    rows = np.zeros((len(batch), len(LABELS)), np.float32)
    rows[:, LABELS.index("happy")], rows[:, LABELS.index("sad")] = happy, 1 - happy
    return rows


def share_in_mouth(saliency: NDArray[np.float32]) -> float:
    return float(saliency[28:46, 10:38].sum() / saliency.sum())


def test_covering_finds_what_the_answer_needs() -> None:
    classifier = Classifier(Path("m.tflite"), "", "", LABELS, FER2013_INPUT, looks_at_the_mouth)
    image = np.full((48, 48), 40, np.uint8)
    image[MOUTH] = 240
    happy = np.array([LABELS.index("happy")])
    (found,) = occlusion(classifier, image[None], happy)
    assert found.shape == (48, 48)
    assert found.dtype == np.float32
    assert (found.min(), found.max()) == (0.0, 1.0)
    assert share_in_mouth(found) > 0.75  # of a quarter of the picture; a patch smears
    row, column = np.unravel_index(found.argmax(), found.shape)
    assert 32 <= row < 42
    assert 14 <= column < 34
    # What speaks against an answer is not what it needs.
    (against,) = occlusion(classifier, image[None], np.array([LABELS.index("sad")]))
    assert not against.any()
    assert occlusion(classifier, image[:0].reshape(0, 48, 48), happy[:0]).shape == (0, 48, 48)


def test_a_map_is_light_on_the_picture() -> None:
    image = np.full((48, 48), 100, np.uint8)
    saliency = np.zeros((48, 48), np.float32)
    saliency[MOUTH] = 1.0
    shown = overlay(image, saliency)
    assert shown.shape == (48, 48, 3)
    outside, inside = shown[:20], shown[MOUTH].astype(int)
    assert (outside == outside[0, 0, 0]).all()  # grey
    assert (inside[..., 2] > inside[..., 0]).all()  # BGR: warm
    assert inside.mean() > outside.mean() + 50


def test_the_surest_are_shown_once() -> None:
    rng = np.random.default_rng(2)
    images = rng.integers(0, 256, (6, 48, 48), np.uint8)
    images[4] = images[0]
    truth = Truth(images, np.array([0, 0, 1, 1, 0, 1]), ("happy", "sad"), np.arange(100, 106))
    sure = np.array([0.99, 0.7, 0.8, 0.95, 0.98, 0.6], np.float32)
    said = np.array([0, 1, 1, 0, 0, 1])
    probabilities = np.where(said[:, None] == np.arange(2), sure[:, None], 1 - sure[:, None]).astype(np.float32)
    cases = Cases(truth, probabilities)
    chosen = choose(cases, Selection(mistakes=5, per_class=2))
    assert chosen["mistakes"] == [3, 1]
    assert chosen["happy right"] == [0]  # 4 is the same picture
    assert chosen["happy wrong"] == [1]
    assert chosen["sad right"] == [2, 5]
    assert cases.describe(3) == {"row": 103, "truth": "sad", "said": "happy", "probability": pytest.approx(0.95)}


@pytest.mark.parametrize("changes", [{"split": "Test"}, {"limit": 0}, {"mistakes": -1}, {"per_class": -1}])
def test_a_selection_that_cannot_be_is_one_line(changes: dict[str, object]) -> None:
    with pytest.raises(UsageError) as raised:
        dataclasses.replace(Selection(), **changes)  # type: ignore[arg-type]
    assert "\n" not in str(raised.value)


def test_the_deployed_file_is_explained_without_keras(tmp_path: Path) -> None:
    data = SyntheticFer2013.generate(per_class=(1, 4, 1)).write_npz(tmp_path / "fer2013.npz")
    model = write_tiny_model(tmp_path / "happy.tflite")
    blocked = ("keras", "tensorflow", "torch", "jax", "matplotlib")
    program = (
        f"import sys; [sys.modules.__setitem__(name, None) for name in {blocked!r}]\n"
        "from fer_edge.cli import main\n"
        f"sys.exit(main(['explain', {str(model)!r}, '--data', {str(data)!r}, '--out', {str(tmp_path / 'out')!r}, "
        "'--mistakes', '6', '--per-class', '2', '--json']))"
    )
    environment = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "PYTHONPATH": ":".join(sys.path), "PATH": ""}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["method"] == "occlusion"
    assert document["figures"]["accuracy"] == pytest.approx(1 / 7)
    assert document["flip_average"]["accuracy"] == pytest.approx(1 / 7)
    assert len(document["cases"]["mistakes"]) == 6
    assert len(document["cases"]["happy right"]) == 2
    assert document["cases"]["happy wrong"] == []
    assert all(case["said"] == "happy" for group in document["cases"].values() for case in group)
    page = (tmp_path / "out" / "explain.html").read_text()
    assert page.count("<img") == 2 * (6 + 2 + 6 * 2)
    assert "://" not in page
    assert json.loads((tmp_path / "out" / "explain.json").read_text()) == document
