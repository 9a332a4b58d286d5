"""Measuring a model on a split of FER2013: a .tflite file with the base install, a .keras file with the train extra."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from fer_edge.contract.interpreter import load_model
from fer_edge.contract.labels import LABELS
from fer_edge.contract.preprocess import InputSpec, UInt8Array, batch_input
from fer_edge.errors import DataError, MissingExtraError, ModelError, UsageError
from fer_train.fer2013 import SPLITS, load
from fer_train.metrics import Figures, evaluate


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A model's figures on a split, and the time of each classification."""

    model: str
    sha256: str
    split: str
    runtime: str
    threads: int
    labels: tuple[str, ...]
    figures: Figures
    latency_ms: dict[str, float]
    """p50, p90, p95 and p99 of one invocation (quantization of the input included, preprocessing not)."""

    def to_builtins(self) -> dict[str, Any]:
        """Plain form for ``--json``."""
        figures = self.figures
        return {
            "model": self.model,
            "sha256": self.sha256,
            "split": self.split,
            "n": figures.n,
            "accuracy": figures.accuracy,
            "balanced_accuracy": figures.balanced_accuracy,
            "macro_f1": figures.macro_f1,
            "ece": figures.ece,
            "nll": figures.nll,
            "labels": list(self.labels),
            "per_class": {label: asdict(one) for label, one in figures.per_class.items()},
            "confusion_matrix": figures.confusion_matrix.tolist(),
            "latency_ms": self.latency_ms,
            "threads": self.threads,
            "runtime": self.runtime,
        }


@dataclass(frozen=True, slots=True)
class _Classifier:
    sha256: str
    runtime: str
    labels: tuple[str, ...]
    spec: InputSpec
    invoke: Callable[[UInt8Array], NDArray[np.float32]]
    """(1, height, width, channels) uint8 -> (1, labels) float32."""


def evaluate_model(path: Path, data_path: Path, split: str, limit: int | None = None, threads: int = 1) -> Evaluation:
    """Classify each image of a split once, one at a time as at run time.

    Args:
        path: a .tflite or .keras file.
        data_path: FER2013 in any of its forms; a part of it is enough.
        split: ``Training``, ``PublicTest`` or ``PrivateTest``.
        limit: only the first so many images; None for all.
        threads: of the TFLite runtime; Keras backends take theirs from their own settings.

    Raises:
        UsageError: for an unknown split, limit or kind of file.
        ModelError: if the model cannot be used, or has labels that FER2013 does not have.
        DataError: if the data set is malformed or the split is empty.
    """
    if split not in SPLITS:
        raise UsageError(f"FER2013 has no split {split!r}: choose one of {', '.join(SPLITS)}")
    if limit is not None and limit < 1:
        raise UsageError(f"--limit must be at least 1, not {limit}")
    classifier = _load(path, threads)
    if set(classifier.labels) != set(LABELS):
        raise ModelError(
            f"{path}: its labels are {', '.join(classifier.labels)}; FER2013's are {', '.join(LABELS)}: "
            "evaluate it on data with its own labels"
        )
    data = load(data_path).split(split)
    pixels = batch_input(data.pixels[:limit], classifier.spec)
    if not len(pixels):
        raise DataError(f"{data_path}: {split} holds no image")
    classifier.invoke(pixels[:1])  # the first invocation sets up the delegate
    rows, seconds = np.empty((len(pixels), len(classifier.labels)), np.float32), np.empty(len(pixels))
    for i in range(len(pixels)):
        start = time.perf_counter()
        rows[i] = classifier.invoke(pixels[i : i + 1])[0]
        seconds[i] = time.perf_counter() - start
    order = [classifier.labels.index(label) for label in LABELS]
    figures = evaluate(rows[:, order], data.labels[:limit], LABELS)
    percentiles = {f"p{p}": round(float(np.percentile(seconds, p)) * 1e3, 4) for p in (50, 90, 95, 99)}
    return Evaluation(str(path), classifier.sha256, split, classifier.runtime, threads, LABELS, figures, percentiles)


def _load(path: Path, threads: int) -> _Classifier:
    if path.suffix == ".keras":
        return _load_keras(path)
    model = load_model(path, threads)
    runtime = f"{model.runtime.name} {model.runtime.version}"
    return _Classifier(model.file.sha256, runtime, model.card.labels, model.card.input, model.invoke)


def _load_keras(path: Path) -> _Classifier:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        import keras
    except ModuleNotFoundError as error:
        raise MissingExtraError("evaluate MODEL.keras", "train", error.name or "keras") from error
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
        data = path.read_bytes()
    except (OSError, ValueError, TypeError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{path}: not a readable .keras model ({reason}); train it with `fer-edge train`") from error
    height, width, channels = model.input_shape[1:]
    try:
        spec = msgspec.convert({"height": height, "width": width, "channels": channels}, InputSpec)
    except msgspec.ValidationError as error:
        raise ModelError(f"{path}: takes {model.input_shape}, which is no face crop ({error})") from error
    if model.output_shape[-1] != len(LABELS):
        raise ModelError(f"{path}: gives {model.output_shape[-1]} values; FER2013 has {len(LABELS)} labels")

    def invoke(pixels: UInt8Array) -> NDArray[np.float32]:
        return np.asarray(keras.ops.convert_to_numpy(model(pixels.astype(np.float32), training=False)), np.float32)

    runtime = f"keras {keras.__version__} / {keras.backend.backend()}"
    return _Classifier(sha256(data).hexdigest(), runtime, LABELS, spec, invoke)
