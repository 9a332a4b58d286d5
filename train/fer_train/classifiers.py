"""A trained model as a function from face crops to probabilities: .tflite by LiteRT alone, .keras by Keras."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from fer_edge.contract.interpreter import load_model
from fer_edge.contract.labels import LABELS
from fer_edge.contract.preprocess import InputSpec, UInt8Array, batch_input
from fer_edge.errors import MissingExtraError, ModelError

_BATCH: Final = 128


@dataclass(frozen=True, slots=True, eq=False)
class Classifier:
    """A model, ready to classify."""

    path: Path
    sha256: str
    runtime: str
    labels: tuple[str, ...]
    """In the order of the output."""
    spec: InputSpec
    invoke: Callable[[UInt8Array], NDArray[np.float32]]
    """(n, height, width, channels) uint8 -> (n, labels) float32 probabilities."""
    training: dict[str, Any] = field(default_factory=dict)
    """The ``training.json`` beside a .keras file, if it is the model's; what a .tflite's card says of its training."""
    keras_model: Any = None
    """The Keras model of a .keras file."""

    def probabilities(self, images: UInt8Array) -> NDArray[np.float32]:
        """Classify (n, H, W) uint8 face crops in batches; return (n, labels) float32."""
        parts = [self.invoke(batch_input(images[i : i + _BATCH], self.spec)) for i in range(0, len(images), _BATCH)]
        return np.concatenate(parts) if parts else np.empty((0, len(self.labels)), np.float32)


def load_classifier(path: Path, threads: int = 1, command: str = "evaluate") -> Classifier:
    """Load a .keras or .tflite file.

    Args:
        path: the file.
        threads: of the TFLite runtime; Keras backends take theirs from their own settings.
        command: subcommand to name if Keras is missing.

    Raises:
        ModelError: if the file cannot be used.
        MissingExtraError: for a .keras file without Keras.
    """
    if path.suffix == ".keras":
        return _load_keras(path, command)
    model = load_model(path, threads)
    runtime = f"{model.runtime.name} {model.runtime.version}"
    card = model.card
    return Classifier(path, model.file.sha256, runtime, card.labels, card.input, model.invoke, dict(card.training))


def training_record(path: Path, digest: str) -> dict[str, Any]:
    """Return what ``training.json`` beside the model with the SHA-256 ``digest`` says, or {} if there is none of it."""
    try:
        record = msgspec.json.decode(path.with_name("training.json").read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.DecodeError):
        return {}
    return record if record.get("model_sha256") == digest else {}


def _load_keras(path: Path, command: str) -> Classifier:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        import keras
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"{command} MODEL.keras", "train", error.name or "keras") from error
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
        digest = sha256(path.read_bytes()).hexdigest()
    except (OSError, ValueError, TypeError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{path}: not a readable .keras model ({reason}); train it with `fer-edge train`") from error
    height, width, channels = model.input_shape[1:]
    try:
        spec = msgspec.convert({"height": height, "width": width, "channels": channels}, InputSpec)
    except msgspec.ValidationError as error:
        raise ModelError(f"{path}: takes {model.input_shape}, which is no face crop ({error})") from error
    record = training_record(path, digest)
    labels = tuple(str(label) for label in record.get("labels", LABELS))
    if model.output_shape[-1] != len(labels):
        raise ModelError(
            f"{path}: gives {model.output_shape[-1]} values for {len(labels)} labels ({', '.join(labels)}); "
            "keep the training.json of its run beside it"
        )

    def invoke(pixels: UInt8Array) -> NDArray[np.float32]:
        outputs = model.predict_on_batch(pixels.astype(np.float32))
        return np.asarray(keras.ops.convert_to_numpy(outputs), np.float32)

    runtime = f"keras {keras.__version__} / {keras.backend.backend()}"
    return Classifier(path, digest, runtime, labels, spec, invoke, record, model)
