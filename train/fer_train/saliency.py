"""Where in a face a model finds what it says: maps over the crop, by gradients (.keras) or by covering (.tflite)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from fer_edge.contract.preprocess import UInt8Array, batch_input
from fer_train.classifiers import Classifier

if TYPE_CHECKING:
    from fer_train.gradients import Gradient

Maps = NDArray[np.float32]
"""(n, H, W) float32, each 0 to 1 in the geometry of the crop."""

SAMPLES: Final = 40
"""Noisy copies of each image; Smilkov et al. find little gain beyond 50."""
NOISE: Final = 0.15
"""Standard deviation of the noise over the range of the image; 0.1 to 0.2 in the paper."""

PATCH: Final = 0.25
"""Side of the patch that covers the face, over the side of the crop: about an eye, or half a mouth."""
STRIDE: Final = 1 / 12
"""Step of the patch, over the side of the crop."""

_SEED: Final = 2013
_BLUR: Final = 1 / 32
"""Gradients alternate from pixel to pixel; blurred by this share of the side, the map shows places."""


def saliency_maps(
    classifier: Classifier, images: UInt8Array, outputs: NDArray[np.int64], gradient: Gradient | None = None
) -> Maps:
    """Explain an output of a model for each image: SmoothGrad for a .keras model, occlusion for a .tflite one.

    Args:
        classifier: the model.
        images: (n, H, W) uint8 face crops.
        outputs: (n,) positions in the model's labels to explain.
        gradient: from :func:`fer_train.gradients.input_gradient`, to save making it again.
    """
    if classifier.keras_model is None:
        return occlusion(classifier, images, outputs)
    if gradient is None:
        from fer_train.gradients import input_gradient

        gradient = input_gradient(classifier.keras_model)
    return smooth_grad(classifier, images, outputs, gradient)


def smooth_grad(classifier: Classifier, images: UInt8Array, outputs: NDArray[np.int64], gradient: Gradient) -> Maps:
    """Average the input gradient over noisy copies of each image (Smilkov et al. 2017, arXiv:1706.03825).

    The squares are averaged, which Hooker et al. 2019 (arXiv:1806.10758) found to say more about what a network uses
    than the paper's plain mean.
    """
    rng = np.random.default_rng(_SEED)
    maps = []
    for image, output in zip(batch_input(images, classifier.spec).astype(np.float32), outputs, strict=True):
        spread = NOISE * float(image.max() - image.min())
        # The same noise in every channel: three channels of one grey picture.
        noise = rng.normal(0.0, spread, (SAMPLES, *image.shape[:2], 1)).astype(np.float32)
        slopes = gradient(image[None] + noise, np.full(SAMPLES, output, np.int64))
        energy = np.square(slopes.sum(axis=-1)).mean(axis=0)
        maps.append(_finish(np.sqrt(energy), images.shape[1:3], blur=_BLUR))
    return np.stack(maps) if maps else np.empty(images.shape, np.float32)


def occlusion(classifier: Classifier, images: UInt8Array, outputs: NDArray[np.int64]) -> Maps:
    """Cover each place with a grey patch and see how much less sure the model is (Zeiler and Fergus 2014).

    A place's worth is the mean fall of the log-odds over the patches that cover it; where covering makes the model
    surer, it is 0. Needs nothing but the file as it is deployed. The patch has the image's mean grey.
    """
    maps = []
    for image, output in zip(images, outputs, strict=True):
        covered, windows = _covered(image)
        odds = _log_odds(classifier.probabilities(np.concatenate([image[None], covered]))[:, output])
        total, count = np.zeros(image.shape, np.float64), np.zeros(image.shape, np.float64)
        for fall, (rows, columns) in zip(odds[0] - odds[1:], windows, strict=True):
            total[rows, columns] += max(0.0, float(fall))
            count[rows, columns] += 1
        maps.append(_finish((total / np.maximum(count, 1)).astype(np.float32), image.shape, blur=_BLUR))
    return np.stack(maps) if maps else np.empty(images.shape, np.float32)


def overlay(image: UInt8Array, saliency: NDArray[np.float32]) -> UInt8Array:
    """Return a (H, W) grey image as (H, W, 3) BGR with a (H, W) map of 0 to 1 as warm light on it."""
    heat = _HEAT[np.clip(saliency * 255, 0, 255).astype(np.uint8)].astype(np.float32)
    weight = (np.clip(saliency, 0, 1) ** 0.8 * 0.78)[:, :, None]
    grey = np.repeat(image[:, :, None], 3, axis=2).astype(np.float32) * 0.86
    mixed: NDArray[np.float32] = np.clip(grey * (1 - weight) + heat * weight, 0, 255)
    return mixed.astype(np.uint8)


def _covered(image: UInt8Array) -> tuple[UInt8Array, list[tuple[slice, slice]]]:
    """Return the image with each place covered in turn, and the places; patches reach over the edges."""
    height, width = image.shape
    patch, stride = max(2, round(min(height, width) * PATCH)), max(1, round(min(height, width) * STRIDE))
    windows = [
        (slice(max(0, top), min(height, top + patch)), slice(max(0, left), min(width, left + patch)))
        for top in range(-patch // 2, height - patch // 2, stride)
        for left in range(-patch // 2, width - patch // 2, stride)
    ]
    copies = np.repeat(image[None], len(windows), axis=0)
    for copy, (rows, columns) in zip(copies, windows, strict=True):
        copy[rows, columns] = round(float(image.mean()))
    return copies, windows


def _log_odds(probabilities: NDArray[np.float32]) -> NDArray[np.float64]:
    """An int8 model's probabilities are multiples of 1/256: what is less than half of one is taken as that."""
    safe = np.clip(probabilities.astype(np.float64), 1 / 512, 1 - 1 / 512)
    return np.log(safe / (1 - safe))


def _finish(saliency: NDArray[np.float32], shape: tuple[int, ...], blur: float) -> NDArray[np.float32]:
    """Bring a map to the crop's size, blur it, and stretch it from its median to its 99.5th percentile."""
    height, width = shape
    sized = cv2.resize(saliency.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    smooth = cv2.GaussianBlur(sized, (0, 0), blur * width)
    low, high = np.percentile(smooth, (50, 99.5))
    stretched = (smooth - low) / (high - low) if high > low else np.zeros_like(smooth)
    return np.clip(stretched, 0.0, 1.0).astype(np.float32)


def _heat() -> UInt8Array:
    """(256, 3) BGR from dark red over orange to pale yellow."""
    stops = np.array([[20, 10, 90], [30, 60, 210], [30, 150, 250], [120, 225, 255], [215, 250, 255]], np.float64)
    at = np.linspace(0, 1, len(stops))
    levels = [np.interp(np.linspace(0, 1, 256), at, stops[:, channel]) for channel in range(3)]
    return np.stack(levels, axis=1).astype(np.uint8)


_HEAT: Final = _heat()
