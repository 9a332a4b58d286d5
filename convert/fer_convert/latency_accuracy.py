"""Accuracy beside the latency, for a stranger's file too: a fast model that is wrong is no bargain."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from fer_convert.latency_subject import Subject
from fer_edge.contract.labels import LABELS
from fer_edge.contract.preprocess import to_grey
from fer_edge.errors import DataError, UsageError
from fer_train.evaluation import evaluate_model
from fer_train.fer2013 import SPLITS, load
from fer_train.metrics import Figures, evaluate


def measure_accuracy(subject: Subject, data: Path, split: str, limit: int | None) -> dict[str, Any]:
    """Classify a split of FER2013; return accuracy, balanced accuracy, macro F1, ECE and recall by class.

    Args:
        subject: the model; its labels must be FER2013's, in any order.
        data: FER2013 in any of its forms.
        split: ``Training``, ``PublicTest`` or ``PrivateTest``.
        limit: only the first so many images; None for all.

    Raises:
        UsageError: if the labels are unknown or others, or for an unknown split.
        DataError: if the data set is malformed or the split is empty.
    """
    if subject.card is not None:
        figures = evaluate_model(subject.path, data, split, limit, subject.threads).figures
    else:
        figures = _strangers_figures(subject, data, split, limit)
    return {
        "split": split,
        "n": figures.n,
        "accuracy": figures.accuracy,
        "balanced_accuracy": figures.balanced_accuracy,
        "macro_f1": figures.macro_f1,
        "ece": figures.ece,
        "nll": figures.nll,
        "per_class": {label: asdict(one) for label, one in figures.per_class.items()},
    }


def _strangers_figures(subject: Subject, data: Path, split: str, limit: int | None) -> Figures:
    if set(subject.labels) != set(LABELS):
        raise UsageError(
            f"{subject.path}: its labels are {', '.join(subject.labels) or 'unknown'}; accuracy on FER2013 needs "
            f"--labels with {', '.join(LABELS)} in the order of its output"
        )
    if split not in SPLITS:
        raise UsageError(f"FER2013 has no split {split!r}: choose one of {', '.join(SPLITS)}")
    chosen = load(data).split(split)
    pixels = chosen.pixels[:limit]
    if not len(pixels):
        raise DataError(f"{data}: {split} holds no image")
    rows = np.stack(
        [subject.probabilities(subject.run(subject.stored(subject.crop_pixels(to_grey(p))))) for p in pixels]
    )
    order = [subject.labels.index(label) for label in LABELS]
    return evaluate(rows[:, order], chosen.labels[:limit], LABELS)
