"""A trained Keras model with what its run says about it: labels, input, provenance."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from fer_convert.embed import sha256
from fer_convert.quantize import load_keras
from fer_edge.contract.labels import LABELS
from fer_edge.contract.preprocess import InputSpec, UInt8Array
from fer_edge.errors import ModelError

PROVENANCE: Final = (
    "recipe",
    "data_sha256",
    "teachers_sha256",
    "epochs",
    "chosen_epoch",
    "chosen_by",
    "temperature",
    "figures",
    "seconds",
    "environment",
)
"""Keys of ``training.json`` that go into the card."""


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """``model.keras`` with the ``training.json`` beside it."""

    path: Path
    model: Any
    """Keras model, (N, height, width, channels) pixels 0 to 255 -> (N, labels) probabilities."""
    labels: tuple[str, ...]
    """In the order of its output."""
    spec: InputSpec
    provenance: dict[str, Any]
    sha256: str
    remembered: dict[str, NDArray[np.float32]] = field(default_factory=dict, compare=False)
    """Answers to whole splits, by their names."""

    @property
    def data(self) -> str:
        """What it was trained on, for the card; shares and checksums are in the provenance."""
        recipe = self.provenance.get("recipe", {})
        told = "FER2013"
        if recipe.get("ferplus") or "not_faces" in recipe.get("drop", ()):
            told += " with the votes of FER+ (Barsoum et al. 2016, arXiv:1608.01041)"
        weights = str(recipe.get("pretrained", ""))
        if weights == "imagenet":
            told += "; started from ImageNet's weights"
        elif weights:
            told += f"; started from the weights {Path(weights).name}"
        return told

    def probabilities(self, pixels: UInt8Array, batch: int = 256) -> NDArray[np.float32]:
        """Return (n, labels) float32 for (n, height, width, channels) uint8."""
        steps = range(0, len(pixels), batch)
        parts = [self.model.predict_on_batch(pixels[i : i + batch].astype(np.float32)) for i in steps]
        return np.concatenate(parts).astype(np.float32)

    def answers(self, split: str, pixels: UInt8Array) -> NDArray[np.float32]:
        """Return the probabilities of the images of a split, computed once for all conversions of this model."""
        if split not in self.remembered:
            self.remembered[split] = self.probabilities(pixels)
        return self.remembered[split]


def load_trained(path: Path) -> TrainedModel:
    """Load a model that `fer-edge train` saved; without a ``training.json`` it is taken to know FER2013's labels.

    Raises:
        ModelError: if it cannot be read, belongs to another record, or has other labels or another input than that.
    """
    record = _record(path)
    model = load_keras(path)
    labels = tuple(record.get("labels", LABELS))
    if len(set(labels)) != len(labels) or not set(labels) <= set(LABELS):
        raise ModelError(
            f"{path.with_name('training.json')}: labels {', '.join(map(str, labels))}; FER2013's are "
            f"{', '.join(LABELS)}, each once: train the model anew"
        )
    spec = msgspec.convert(record.get("recipe", {}).get("input", {}), InputSpec)
    if tuple(model.input_shape[1:]) != spec.shape or model.output_shape[-1] != len(labels):
        raise ModelError(
            f"{path}: takes {model.input_shape} and gives {model.output_shape}, not {spec.shape} to "
            f"{len(labels)} labels; keep model.keras and training.json of one run together"
        )
    provenance: dict[str, Any] = {key: record[key] for key in PROVENANCE if key in record}
    return TrainedModel(path, model, labels, spec, provenance, sha256(path.read_bytes()))


def _record(keras_path: Path) -> dict[str, Any]:
    """Read ``training.json`` beside the model, if it belongs to it."""
    path = keras_path.with_name("training.json")
    try:
        record = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.DecodeError) as error:
        raise ModelError(f"{path}: cannot be read ({error}); train the model anew") from error
    if keras_path.is_file() and record.get("model_sha256") != sha256(keras_path.read_bytes()):
        raise ModelError(f"{path}: describes another model than {keras_path}; keep the two of one run together")
    return record
