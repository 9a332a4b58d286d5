"""Measuring a model on a split of FER2013: a .tflite file with the base install, a .keras file with the train extra."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_edge.contract.labels import LABELS
from fer_edge.contract.preprocess import UInt8Array, batch_input
from fer_edge.errors import DataError, ModelError, UsageError
from fer_train.classifiers import Classifier, load_classifier
from fer_train.fer2013 import SPLITS, Fer2013, load
from fer_train.fer2013.ferplus import load_votes, majority_labels
from fer_train.metrics import (
    Figures,
    average_precision,
    evaluate,
    expected_calibration_error,
    without_temperature,
)
from fer_train.predictions import Predictions
from fer_train.significance import PairedTest, bootstrap_intervals, paired_test


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A model's figures on a split, and the time of each classification."""

    model: str
    sha256: str
    split: str
    truth: str
    """Whose labels: ``FER2013`` or ``FER+ majority``."""
    runtime: str
    threads: int
    labels: tuple[str, ...]
    figures: Figures
    latency_ms: dict[str, float]
    """p50, p90, p95 and p99 of one invocation (quantization of the input included, preprocessing not)."""
    predictions: Predictions
    average_precision: dict[str, float]
    """Area under the precision-recall curve of each label against the others."""
    temperature: float | None = None
    """What the logits were divided by after training; None where it is not known exactly (.tflite)."""
    ece_before_temperature: float | None = None
    flip_average: Figures | None = None
    """Test-time augmentation: figures of the mean of the image's and its mirror image's probabilities, if asked for."""
    ensemble: tuple[str, ...] = ()
    """Paths of the models whose answers were averaged with this one's."""
    ensemble_average: Figures | None = None
    """Figures of the mean of all those models' probabilities; with the mirror images too, if those were asked for."""
    against: str | None = None
    """Path of the model that it was held against."""
    paired: PairedTest | None = None

    def to_builtins(self) -> dict[str, Any]:
        """Plain form for ``--json``."""
        figures = self.figures
        # Figures on other labels or on fewer classes must not be taken for the usual ones of the split.
        special = [*(["FER+ labels"] if self.truth != "FER2013" else [])]
        special += [f"{len(self.labels)} labels"] if len(self.labels) != len(LABELS) else []
        return {
            "model": self.model,
            "sha256": self.sha256,
            "split": self.split + (f" ({', '.join(special)})" if special else ""),
            "truth": self.truth,
            **_plain(figures),
            "intervals_95": bootstrap_intervals(figures.confusion_matrix),
            "average_precision": self.average_precision,
            "temperature": self.temperature,
            "ece_before_temperature": self.ece_before_temperature,
            "labels": list(self.labels),
            "per_class": {label: asdict(one) for label, one in figures.per_class.items()},
            "confusion_matrix": figures.confusion_matrix.tolist(),
            "flip_average": None if self.flip_average is None else _plain(self.flip_average),
            "ensemble": list(self.ensemble),
            "ensemble_average": None if self.ensemble_average is None else _plain(self.ensemble_average),
            "against": self.against,
            "paired": None if self.paired is None else self.paired.to_builtins(),
            "latency_ms": self.latency_ms,
            "threads": self.threads,
            "runtime": self.runtime,
        }


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """Images with the ids that a model is to give them."""

    images: UInt8Array
    """(n, 48, 48) uint8 grey."""
    ids: NDArray[np.int64]
    """(n,) positions in ``labels``."""
    labels: tuple[str, ...]
    """In FER2013's order."""
    rows: NDArray[np.int64]
    """(n,) row numbers in the source."""

    def figures(self, probabilities: NDArray[np.float32]) -> Figures:
        """Return the figures of a model's (n, labels) probabilities."""
        return evaluate(probabilities, self.ids, self.labels)

    def hits(self, probabilities: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Return which images (n,) got their label."""
        return np.asarray(probabilities.argmax(axis=1) == self.ids)


def evaluate_model(
    path: Path,
    data_path: Path,
    split: str,
    limit: int | None = None,
    threads: int = 1,
    *,
    ferplus: Path | None = None,
    flip: bool = False,
    ensemble: Sequence[Path] = (),
    against: Path | None = None,
) -> Evaluation:
    """Classify each image of a split once, one at a time as at run time.

    Args:
        path: a .tflite or .keras file. A model of fewer labels is measured on the images that have one of them.
        data_path: FER2013 in any of its forms; a part of it is enough.
        split: ``Training``, ``PublicTest`` or ``PrivateTest``.
        limit: only the first so many images; None for all.
        threads: of the TFLite runtime; Keras backends take theirs from their own settings.
        ferplus: FER+ votes; their majority is then the truth, on the images where it is one of the labels.
        flip: measure the average with the mirror image as well.
        ensemble: other models of the same labels; measure the average with theirs as well, each with its mirror image
            if ``flip`` asks for it.
        against: another model, to be held against image by image.

    Raises:
        UsageError: for an unknown split, limit or kind of file.
        ModelError: if the model cannot be used, or has labels that FER2013 does not have.
        DataError: if the data set is malformed or the split is empty.
    """
    if split not in SPLITS:
        raise UsageError(f"FER2013 has no split {split!r}: choose one of {', '.join(SPLITS)}")
    if limit is not None and limit < 1:
        raise UsageError(f"--limit must be at least 1, not {limit}")
    classifier = load_classifier(path, threads)
    truth = truth_for(classifier, load(data_path).split(split), ferplus, limit)
    rows, latency_ms = _classify(classifier, truth)
    temperature = _temperature(classifier)
    ours = flip_averaged(classifier, truth, rows) if flip else rows
    members = [_answers(load_classifier(member, threads), truth, flip) for member in ensemble]
    other = None if against is None else truth.hits(_answers(load_classifier(against, threads), truth))
    return Evaluation(
        model=str(path),
        sha256=classifier.sha256,
        split=split,
        truth="FER2013" if ferplus is None else "FER+ majority",
        runtime=classifier.runtime,
        threads=threads,
        labels=truth.labels,
        figures=truth.figures(rows),
        latency_ms=latency_ms,
        predictions=Predictions(truth.labels, truth.rows, truth.ids.astype(np.uint8), rows),
        average_precision=average_precisions(rows, truth),
        temperature=temperature,
        ece_before_temperature=None
        if temperature is None
        else expected_calibration_error(without_temperature(rows, temperature), truth.ids),
        flip_average=truth.figures(ours) if flip else None,
        ensemble=tuple(map(str, ensemble)),
        ensemble_average=truth.figures(np.mean([ours, *members], axis=0)) if members else None,
        against=None if against is None else str(against),
        paired=None if other is None else paired_test(truth.hits(rows), other),
    )


def truth_for(classifier: Classifier, data: Fer2013, ferplus: Path | None = None, limit: int | None = None) -> Truth:
    """Return what a model is to say about a data set: FER2013's labels, or FER+'s majority.

    Args:
        classifier: only images that have one of its labels are kept.
        data: FER2013 or a part of it.
        ferplus: FER+ votes; images without a majority among the seven expressions are left out.
        limit: only the first so many of those images.

    Raises:
        ModelError: if the model has a label that FER2013 does not have.
        DataError: if no image is left, or the votes are on other images.
    """
    if unknown := set(classifier.labels) - set(LABELS):
        raise ModelError(
            f"{classifier.path}: its labels {', '.join(sorted(unknown))} are none of FER2013's ({', '.join(LABELS)}): "
            "evaluate it on data with its own labels"
        )
    labels = tuple(label for label in LABELS if label in classifier.labels)
    position = np.array([labels.index(label) if label in labels else -1 for label in LABELS])
    ids, known = data.labels.astype(np.int64), np.ones(len(data), bool)
    if ferplus is not None:
        ids, known = majority_labels(load_votes(ferplus, data))
    kept = np.flatnonzero(known & (position[ids] >= 0))[:limit]
    if not len(kept):
        raise DataError(f"{data.source}: holds no image labelled {', '.join(labels)}")
    return Truth(data.pixels[kept], position[ids[kept]].astype(np.int64), labels, data.rows[kept])


def probabilities_of(classifier: Classifier, images: UInt8Array, labels: tuple[str, ...]) -> NDArray[np.float32]:
    """Classify (n, H, W) uint8 crops in batches; return (n, labels) float32 in the order of ``labels``."""
    return classifier.probabilities(images)[:, [classifier.labels.index(label) for label in labels]]


def flip_averaged(classifier: Classifier, truth: Truth, rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the mean of ``rows``, the probabilities (n, labels) of the images, and those of the mirror images."""
    mirrored = probabilities_of(classifier, np.ascontiguousarray(truth.images[:, :, ::-1]), truth.labels)
    return (rows + mirrored) / np.float32(2)


def average_precisions(rows: NDArray[np.float32], truth: Truth) -> dict[str, float]:
    """Return the average precision of each label by its probabilities (n, labels)."""
    return {label: average_precision(rows[:, i], truth.ids == i) for i, label in enumerate(truth.labels)}


def _classify(classifier: Classifier, truth: Truth) -> tuple[NDArray[np.float32], dict[str, float]]:
    """Classify one image at a time; return (n, labels) probabilities and percentiles of the time in milliseconds."""
    pixels = batch_input(truth.images, classifier.spec)
    classifier.invoke(pixels[:1])  # the first invocation sets up the delegate
    rows, seconds = np.empty((len(pixels), len(truth.labels)), np.float32), np.empty(len(pixels))
    order = [classifier.labels.index(label) for label in truth.labels]
    for i in range(len(pixels)):
        start = time.perf_counter()
        outputs = classifier.invoke(pixels[i : i + 1])[0]
        seconds[i] = time.perf_counter() - start
        rows[i] = outputs[order]
    return rows, {f"p{p}": round(float(np.percentile(seconds, p)) * 1e3, 4) for p in (50, 90, 95, 99)}


def _answers(classifier: Classifier, truth: Truth, flip: bool = False) -> NDArray[np.float32]:
    """Return another model's probabilities (n, labels) of the same images, averaged with the mirror images' or not."""
    if set(classifier.labels) != set(truth.labels):
        raise UsageError(
            f"{classifier.path}: knows {', '.join(classifier.labels)}, the other model {', '.join(truth.labels)}; "
            "compare models of the same labels"
        )
    rows = probabilities_of(classifier, truth.images, truth.labels)
    return flip_averaged(classifier, truth, rows) if flip else rows


def _temperature(classifier: Classifier) -> float | None:
    """A .keras file's temperature; an int8 file's probabilities are too coarse to undo it."""
    if classifier.keras_model is None or "temperature" not in classifier.training:
        return None
    return float(classifier.training["temperature"])


def _plain(figures: Figures) -> dict[str, Any]:
    names = ("n", "accuracy", "balanced_accuracy", "macro_precision", "macro_f1", "ece", "nll")
    return {name: getattr(figures, name) for name in names}
