"""Measuring the model of a finished run: every figure, curve and case of its report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fer_edge.errors import DataError
from fer_train.cases import Cases
from fer_train.classifiers import Classifier, load_classifier
from fer_train.evaluation import Truth, average_precisions, probabilities_of, truth_for
from fer_train.explain import Selection, choose, maps_of
from fer_train.fer2013 import Fer2013
from fer_train.metrics import Figures, expected_calibration_error, without_temperature
from fer_train.run_record import Run
from fer_train.significance import PairedTest, bootstrap_intervals, paired_test


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """A model on one split, by one set of labels."""

    split: str
    truth_name: str
    """``FER2013`` or ``FER+ majority``."""
    cases: Cases
    uncooled: NDArray[np.float32]
    """(n, labels) probabilities as they were before temperature scaling."""
    flipped: Figures
    """Of the mean with the mirror image."""
    flip_gain: PairedTest

    @property
    def figures(self) -> Figures:
        """Of the plain image."""
        return self.cases.truth.figures(self.cases.probabilities)

    @property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """95 % bootstrap intervals of accuracy, balanced accuracy and macro F1."""
        return bootstrap_intervals(self.figures.confusion_matrix)

    @property
    def average_precision(self) -> dict[str, float]:
        """By label."""
        return average_precisions(self.cases.probabilities, self.cases.truth)

    @property
    def ece_before(self) -> float:
        """Calibration error before temperature scaling."""
        return expected_calibration_error(self.uncooled, self.cases.truth.ids)


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """Images of a run's report."""

    cases: Cases
    split: str
    chosen: dict[str, list[int]]
    maps: dict[int, NDArray[np.float32]]


@dataclass(frozen=True, slots=True, eq=False)
class RunMeasures:
    """All that was measured of one run."""

    by_split: list[Measured]
    """Of FER2013's own labels."""
    by_votes: list[Measured]
    """Of FER+'s majority labels; empty without votes."""
    shown: Shown


def measure_run(run: Run, data: Fer2013, splits: tuple[str, ...], ferplus: Path | None) -> RunMeasures:
    """Classify the splits and their mirror images, and explain the surest cases of the first split.

    Raises:
        DataError: if the folder's model is not the run's, or a split is empty.
        ModelError: if the model cannot be used.
        MissingExtraError: without Keras.
    """
    classifier = load_classifier(run.model, command="report")
    if classifier.sha256 != run.record.model_sha256:
        raise DataError(f"{run.model}: is not the model that training.json beside it describes; train it anew")
    by_split: list[Measured] = []
    by_votes: list[Measured] = []
    for name in splits:
        part = data.split(name)
        # Once for all sets of labels, which differ in the images that have one.
        labels = truth_for(classifier, part).labels
        rows = probabilities_of(classifier, part.pixels, labels)
        mirrored = probabilities_of(classifier, np.ascontiguousarray(part.pixels[:, :, ::-1]), labels)
        for votes, found in ((None, by_split), (ferplus, by_votes)):
            if found is by_votes and votes is None:
                continue
            truth = truth_for(classifier, part, votes)
            at = np.searchsorted(part.rows, truth.rows)
            found.append(_measured(run, name, truth, rows[at], mirrored[at], votes is not None))
    return RunMeasures(by_split, by_votes, _shown(classifier, by_split[0]))


def _measured(
    run: Run, split: str, truth: Truth, rows: NDArray[np.float32], mirrored: NDArray[np.float32], votes: bool
) -> Measured:
    averaged = (rows + mirrored) / np.float32(2)
    return Measured(
        split=split,
        truth_name="FER+ majority" if votes else "FER2013",
        cases=Cases(truth, rows),
        uncooled=without_temperature(rows, run.record.temperature),
        flipped=truth.figures(averaged),
        flip_gain=paired_test(Cases(truth, averaged).right(), Cases(truth, rows).right()),
    )


def _shown(classifier: Classifier, measured: Measured) -> Shown:
    selection = Selection(mistakes=16, per_class=2)
    chosen = choose(measured.cases, selection)
    positions = sorted({position for group in chosen.values() for position in group})
    return Shown(measured.cases, measured.split, chosen, maps_of(classifier, measured.cases, positions))
