"""SmoothGrad on whatever backend KERAS_BACKEND names; `python3 dev.py backends` runs it on the other two."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_edge.contract.labels import LABELS

keras = pytest.importorskip("keras", reason="needs the train extra")

from fer_train.classifiers import load_classifier  # noqa: E402
from fer_train.gradients import input_gradient  # noqa: E402
from fer_train.models import build, with_softmax  # noqa: E402
from fer_train.saliency import saliency_maps  # noqa: E402


def tiny_network() -> Any:
    keras.utils.set_random_seed(4)
    return build("vgg_lite", (48, 48, 1), 7, {"widths": [4, 8], "convolutions": 1})


def test_the_gradient_is_that_of_the_logit() -> None:
    network = tiny_network()
    gradient = input_gradient(with_softmax(network, 1.0))
    rng = np.random.default_rng(1)
    pixels = rng.uniform(0, 255, (3, 48, 48, 1)).astype(np.float32)
    outputs = np.array([0, 4, 6])
    found = gradient(pixels, outputs)
    assert found.shape == pixels.shape
    assert found.dtype == np.float32
    for i, output in enumerate(outputs):
        direction = np.zeros_like(pixels[:1])
        direction[0] = np.sign(found[i])
        up, down = (
            float(keras.ops.convert_to_numpy(network(pixels[i : i + 1] + step * direction, training=False))[0, output])
            for step in (0.05, -0.05)
        )
        assert (up - down) / 0.1 == pytest.approx(float(np.abs(found[i]).sum()), rel=0.05)


def test_smooth_grad_lies_where_the_answer_is(tmp_path: Path) -> None:
    """A network that sees the mouth alone, saved and loaded as a trained one is."""
    inputs = keras.Input((48, 48, 1))
    mouth = keras.layers.Cropping2D(((32, 6), (14, 14)))(inputs)
    features = keras.layers.Conv2D(4, 3, activation="relu")(keras.layers.Rescaling(1 / 127.5, -1.0)(mouth))
    logits = keras.layers.Dense(len(LABELS))(keras.layers.GlobalAveragePooling2D()(features))
    keras.Model(inputs, keras.layers.Softmax()(logits)).save(tmp_path / "mouth.keras")
    classifier = load_classifier(tmp_path / "mouth.keras")
    images = np.random.default_rng(3).integers(0, 256, (2, 48, 48), np.uint8)
    rows = classifier.probabilities(images)
    assert rows.shape == (2, 7)
    np.testing.assert_allclose(rows.sum(axis=1), 1.0, atol=1e-5)
    for found in saliency_maps(classifier, images, rows.argmax(axis=1)):
        assert found.shape == (48, 48)
        assert float(found[29:45, 11:37].sum() / found.sum()) > 0.95
        assert found.max() == 1.0
