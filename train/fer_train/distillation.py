"""Learning from teachers: Hinton et al. 2015, "Distilling the Knowledge in a Neural Network" (arXiv:1503.02531)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import keras
import msgspec
import numpy as np
from numpy.typing import NDArray

from fer_edge.contract.preprocess import UInt8Array, batch_input
from fer_edge.errors import FerEdgeError, ModelError, UsageError
from fer_edge.model_store import named_model
from fer_train import torch_speed
from fer_train.classifiers import load_classifier
from fer_train.models import build
from fer_train.recipe import Recipe

LEAST_PROBABILITY: Final = 1 / 512
"""What a probability of 0 is taken for: half a step of the int8 files' output, whose steps are 1/256."""


class Teacher(Protocol):
    """A trained network that answers for others to learn from."""

    name: str
    """For messages."""
    sha256: str
    """Of its file."""
    classes: tuple[str, ...]

    def logits(self, images: UInt8Array) -> NDArray[np.float32]:
        """Return the answers (n, classes) float32 to (n, 48, 48) uint8 face crops, up to a constant of each row."""


class ConvertedTeacher:
    """A .tflite file as a teacher, by LiteRT: an int8 file answers several times faster than Keras on a CPU."""

    def __init__(self, path: Path, threads: int = 1) -> None:
        """Load the file, to answer on so many CPU threads.

        Raises:
            ModelError: if it is no model of this project.
        """
        self._classifier = load_classifier(path, threads)
        self.sha256, self.classes = self._classifier.sha256, self._classifier.labels
        self.name = str(path)

    def logits(self, images: UInt8Array) -> NDArray[np.float32]:
        """Return the answers (n, classes) float32 to (n, 48, 48) uint8 face crops."""
        return np.log(np.maximum(self._classifier.probabilities(images), np.float32(LEAST_PROBABILITY)))


class KerasTeacher:
    """The ``model.keras`` of a finished run as a teacher."""

    def __init__(self, path: Path, precision: str) -> None:
        """Load it.

        Args:
            path: the model or the folder of its run.
            precision: Keras dtype policy to answer in.

        Raises:
            ModelError: if it cannot be read or is no classifier of the same labels.
        """
        path = path / "model.keras" if path.is_dir() else path
        try:
            self.sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
            record = msgspec.json.decode(path.with_name("training.json").read_bytes(), type=dict[str, Any])
            recipe = msgspec.convert(record["recipe"], Recipe)
            saved = keras.saving.load_model(path, compile=False)
        except (OSError, ValueError, KeyError, msgspec.MsgspecError) as error:
            reason = " ".join(str(error).split())[:160]
            raise ModelError(
                f"{path}: cannot teach ({reason}); name the folder of a finished run, a .tflite file or a bundled model"
            ) from error
        self.classes, self._input = recipe.classes, recipe.input
        self._network = _logits_network(recipe, saved, precision)
        self.name = f"{recipe.model} ({path})"

    def logits(self, images: UInt8Array) -> NDArray[np.float32]:
        """Return the answers (n, classes) float32 to (n, 48, 48) uint8 face crops."""
        pixels = batch_input(images, self._input).astype(np.float32)
        return np.asarray(keras.ops.convert_to_numpy(self._network.predict_on_batch(pixels)), np.float32)


class Teachers:
    """One or several teachers, whose softened answers are averaged."""

    def __init__(self, teachers: Sequence[Teacher], recipe: Recipe, originals: UInt8Array) -> None:
        """Take at least one teacher of the recipe's classes, and the (n, 48, 48) uint8 Training images.

        Raises:
            UsageError: if one has other classes.
        """
        for teacher in teachers:
            if teacher.classes != recipe.classes:
                raise UsageError(f"{teacher.name} tells apart {', '.join(teacher.classes)}, which are other classes")
        self._teachers, self._temperature = tuple(teachers), recipe.distillation.temperature
        self._mirror = recipe.distillation.mirror
        self._originals, self._classes = originals, len(recipe.classes)
        self._kept: NDArray[np.float32] | None = None
        self.kept_views: list[NDArray[np.float32]] = []
        """What was answered to views that come again: (n, classes) each, NaN where nobody asked yet. The list may be
        replaced, by one of an earlier session."""

    @property
    def sha256(self) -> list[str]:
        """Digests of the teachers' files."""
        return [teacher.sha256 for teacher in self._teachers]

    def answers(self, rows: NDArray[np.int64], seen: UInt8Array | None) -> NDArray[np.float32]:
        """Return softened probabilities (n, classes) float32.

        Args:
            rows: (n,) positions of the Training images that are asked about.
            seen: (n, 48, 48) uint8, those images as the student sees them; None: the originals, answered once and
                remembered.
        """
        if seen is not None:
            return self._answer(seen)
        if self._kept is None:
            parts = [self._answer(self._originals[i : i + 256]) for i in range(0, len(self._originals), 256)]
            self._kept = np.concatenate(parts)
        return self._kept[rows]

    def answers_to_view(self, view: int, places: slice, seen: UInt8Array) -> NDArray[np.float32]:
        """Return softened probabilities (n, classes) float32 to images that come again, asked for the first time only.

        Args:
            view: which of the epochs whose images come again, from 0.
            places: where in that epoch the images are.
            seen: (n, 48, 48) uint8, the images as the student sees them.
        """
        while len(self.kept_views) <= view:
            self.kept_views.append(np.full((len(self._originals), self._classes), np.nan, np.float32))
        answers = self.kept_views[view][places]
        if np.isnan(answers).any():
            answers[:] = self._answer(seen)
        return answers.copy()

    def _answer(self, images: UInt8Array) -> NDArray[np.float32]:
        shown = [images, np.ascontiguousarray(images[:, :, ::-1])] if self._mirror else [images]
        softened = [_softmax(teacher.logits(s) / self._temperature) for teacher in self._teachers for s in shown]
        return np.asarray(np.mean(softened, axis=0), np.float32)


class DistillationLoss(keras.losses.Loss):
    """Cross entropy with the targets and, on softened answers, with the teachers, by weight.

    ``y_true`` is (n, 2 * classes): the targets, then the teachers' answers. The second term is multiplied by the
    square of the temperature, which keeps its gradients as large as the first one's (section 2 of the paper).
    """

    def __init__(self, weight: float, temperature: float) -> None:
        super().__init__(name="distillation")
        self._weight, self._temperature = weight, temperature

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss (n,) of logits (n, classes)."""
        classes = y_pred.shape[-1]
        y_true = keras.ops.cast(y_true, y_pred.dtype)
        own = keras.ops.categorical_crossentropy(y_true[:, :classes], y_pred, from_logits=True)
        taught = keras.ops.categorical_crossentropy(y_true[:, classes:], y_pred / self._temperature, from_logits=True)
        return (1.0 - self._weight) * own + self._weight * self._temperature**2 * taught


def target_accuracy(y_true: Any, y_pred: Any) -> Any:
    """Accuracy (n,) of logits (n, classes) by the targets alone, whether teachers' answers follow them or not."""
    return keras.metrics.categorical_accuracy(y_true[:, : y_pred.shape[-1]], y_pred)


def load_teachers(
    paths: Sequence[Path], recipe: Recipe, originals: UInt8Array, threads: int | None = 1
) -> Teachers | None:
    """Return the teachers that ``recipe`` learns from, if it does.

    Args:
        paths: what ``--teacher`` names.
        recipe: whose labels, temperature and precision count.
        originals: (n, 48, 48) uint8, the Training images.
        threads: CPU threads that .tflite files answer on; None for all cores.

    Raises:
        UsageError: if the recipe wants teachers and there are none, or there are and it does not.
        ModelError: if one cannot be loaded.
    """
    if not recipe.distillation.weight:
        if paths:
            raise UsageError("--teacher is given, but the recipe has no [distillation] weight; set one in a copy of it")
        return None
    if not paths:
        raise UsageError(
            f"the recipe learns from teachers (distillation weight {recipe.distillation.weight}): "
            "name the folders of their runs, .tflite files or bundled models, each with --teacher"
        )
    threads = threads or len(os.sched_getaffinity(0))
    return Teachers([_load_teacher(path, recipe.precision, threads) for path in paths], recipe, originals)


def _load_teacher(path: Path, precision: str, threads: int) -> Teacher:
    """Load the teacher that ``--teacher`` names: a run's folder or .keras, a .tflite file, or a bundled model."""
    if not path.exists():
        path = named_model(str(path)) or path
    return ConvertedTeacher(path, threads) if path.suffix == ".tflite" else KerasTeacher(path, precision)


def _logits_network(recipe: Recipe, saved: keras.Model, precision: str) -> keras.Model:
    """Build the network under another precision, without the softmax; the temperature in its weights stays."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        network = build(recipe.model, recipe.input.shape, len(recipe.classes), recipe.network)
        for variable, value in zip(network.weights, saved.weights, strict=True):
            variable.assign(value)
    except (ValueError, FerEdgeError) as error:
        raise ModelError(f"{recipe.model}: its weights do not fit the network of its recipe ({error})") from error
    finally:
        keras.config.set_dtype_policy(before)
    network.trainable = False
    torch_speed.use_native_kernels(network)
    return network


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)
