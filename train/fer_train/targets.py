"""What a network is asked to answer for each Training image: FER2013's label, made softer and less noisy.

FER2013's labels came from the search terms of an image search; ten people who looked at the images (FER+) confirm two
thirds of them. A target blends the label with what the votes make one expect of the label, fitted on Training alone:
the same task, with less noise in it.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fer_edge.errors import UsageError
from fer_train.fer2013 import Fer2013
from fer_train.recipe import Recipe

_STEPS: Final = 400
_STEP_SIZE: Final = 1.0
_PENALTY: Final = 1e-4


def training_targets(recipe: Recipe, training: Fer2013, votes: NDArray[np.float32] | None) -> NDArray[np.float32]:
    """Return what ``recipe`` asks a network to answer for each Training image.

    Args:
        recipe: its label smoothing and its share of FER+ votes count.
        training: the Training split.
        votes: (n, 10) FER+ votes on the same images; needed if the recipe uses them.

    Returns:
        (n, classes) float32, each row summing to 1.

    Raises:
        UsageError: if the recipe uses votes and there are none.
    """
    targets = smooth_targets(training.labels, len(recipe.classes), recipe.label_smoothing)
    if not recipe.ferplus:
        return targets
    if votes is None:
        raise UsageError(
            f"recipe {recipe.model} blends in FER+ votes (ferplus = {recipe.ferplus}): name them with "
            "--ferplus fer2013new.csv (github.com/microsoft/FERPlus), or set ferplus = 0 in a copy of the recipe"
        )
    return blend_votes(targets, training.labels, votes, recipe.ferplus)


def smooth_targets(labels: NDArray[Any], classes: int, smoothing: float) -> NDArray[np.float32]:
    """One-hot targets (n, classes) float32 with ``smoothing`` spread evenly (Szegedy et al. 2016)."""
    one_hot = np.eye(classes, dtype=np.float32)[labels]
    return np.asarray(one_hot * (1.0 - smoothing) + smoothing / classes, np.float32)


def blend_votes(
    targets: NDArray[np.float32], labels: NDArray[Any], votes: NDArray[np.float32], weight: float
) -> NDArray[np.float32]:
    """Blend targets with the labels that the votes make one expect.

    Args:
        targets: (n, classes) float32, each row summing to 1.
        labels: (n,) ids of FER2013's own labels.
        votes: (n, columns) counts of votes on the same images.
        weight: share of the votes in the result.

    Returns:
        (n, classes) float32, each row summing to 1.
    """
    expected = expected_labels(labels, votes, targets.shape[1])
    return np.asarray((1.0 - weight) * targets + weight * expected, np.float32)


def expected_labels(labels: NDArray[Any], votes: NDArray[np.float32], classes: int) -> NDArray[np.float32]:
    """Return the probability of each of FER2013's labels given the votes: a multinomial logistic regression.

    FER2013 says "neutral" less often than the voters do, and "fear" more often. Votes used as targets as they are
    would teach that difference; the regression takes it out.

    Args:
        labels: (n,) ids.
        votes: (n, columns) counts.
        classes: number of labels.

    Returns:
        (n, classes) float32 probabilities.
    """
    shares = votes / np.maximum(votes.sum(axis=1, keepdims=True), 1.0)
    # Square roots tell one vote from none better than shares do; both together fit a vote's first and later tenths.
    features = np.concatenate([shares, np.sqrt(shares), np.ones((len(votes), 1))], axis=1)
    truth = np.eye(classes)[labels]
    weights = np.zeros((features.shape[1], classes))
    ahead = weights.copy()
    for step in range(_STEPS):  # Nesterov's accelerated gradient, full batch: a convex problem of 147 unknowns
        gradient = features.T @ (_softmax(features @ ahead) - truth) / len(labels) + _PENALTY * ahead
        updated = ahead - _STEP_SIZE * gradient
        momentum = step / (step + 3)
        ahead, weights = updated + momentum * (updated - weights), updated
    return np.asarray(_softmax(features @ weights), np.float32)


def _softmax(logits: NDArray[Any]) -> NDArray[Any]:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))
