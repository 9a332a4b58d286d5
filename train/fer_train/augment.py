"""Random changes to training images, each one that a camera or a face detector really makes.

Done with NumPy and OpenCV on uint8 crops, so that every Keras backend sees the same batches: about 25 microseconds an
image, against some milliseconds for its training step on two cores.
"""

from __future__ import annotations

from typing import Annotated, Final

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from fer_edge.contract.preprocess import UInt8Array

Fraction = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]


class Augmentation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How strong each change is; 0 switches it off. The ``[augmentation]`` table of a recipe."""

    flip: Fraction = 0.5
    """Probability of mirroring left and right."""
    rotate_deg: Annotated[float, msgspec.Meta(ge=0.0, le=180.0)] = 15.0
    """Largest rotation either way, in degrees."""
    scale: Annotated[float, msgspec.Meta(ge=0.0, lt=1.0)] = 0.15
    """Largest relative change of size either way."""
    shift: Annotated[float, msgspec.Meta(ge=0.0, lt=1.0)] = 0.1
    """Largest shift either way and along each axis, as a fraction of the side."""
    contrast: Annotated[float, msgspec.Meta(ge=0.0, lt=1.0)] = 0.4
    """Largest relative change of gain about the image's mean."""
    brightness: Annotated[float, msgspec.Meta(ge=0.0, lt=1.0)] = 0.2
    """Largest change of brightness, as a fraction of the full range."""
    gamma: Annotated[float, msgspec.Meta(ge=0.0, le=3.0)] = 0.4
    """Largest change of the logarithm of gamma either way."""
    exposure: Annotated[float, msgspec.Meta(ge=0.0, le=2.0)] = 0.0
    """Largest change of the binary logarithm of the gain either way; what is brighter than white is white."""
    overexposure: Annotated[float, msgspec.Meta(ge=0.0, le=2.0)] = 0.0
    """The same upwards, where that is more: what has become white is lost, and what has become dark is not."""
    brighter: Fraction = 0.5
    """Probability that the exposure goes up rather than down."""
    blur: Fraction = 0.1
    """Probability of a Gaussian blur."""
    blur_sigma: Annotated[float, msgspec.Meta(ge=0.3, le=3.0)] = 1.0
    """Its largest sigma in pixels; the smallest is 0.3."""
    jpeg: Fraction = 0.0
    """Probability of a pass through JPEG at a quality of 20 to 80, as a cheap camera makes one."""
    erase: Fraction = 0.25
    """Probability of covering a rectangle (Zhong et al. 2017, "Random Erasing")."""
    erase_side: Annotated[float, msgspec.Meta(gt=0.0, lt=1.0)] = 0.35
    """Largest side of that rectangle, as a fraction of the image's side."""
    mixup: Annotated[float, msgspec.Meta(ge=0.0, le=8.0)] = 0.0
    """Both parameters of the beta distribution that an image's share in the mean with another one is drawn from."""

    def crop_alone(self) -> Augmentation:
        """Return flip, rotation, scale and shift alone: another crop, as sharp and well lit as before."""
        crop = {"flip": self.flip, "rotate_deg": self.rotate_deg, "scale": self.scale, "shift": self.shift}
        return Augmentation(**crop, contrast=0, brightness=0, gamma=0, blur=0, erase=0)


DRAWS: Final = 19
"""Random numbers that an image takes, so that a worker can pass over those of the others' images."""


def augment(image: UInt8Array, settings: Augmentation, rng: np.random.Generator) -> UInt8Array:
    """Return a randomly changed copy of a face crop.

    Args:
        image: (H, W) uint8 grey.
        settings: how strong each change is.
        rng: source of all randomness; each call draws ``DRAWS`` values, whatever the settings.

    Returns:
        (H, W) uint8, a new array.
    """
    draws = rng.random(DRAWS)
    flip, blur, erase = draws[:3]
    angle, scale, shift_x, shift_y, contrast, brightness, gamma = 2.0 * draws[3:10] - 1.0
    extra = draws[10:16]
    exposure, jpeg, quality = draws[16:]
    rows, cols = image.shape
    matrix = cv2.getRotationMatrix2D(
        ((cols - 1) / 2, (rows - 1) / 2), settings.rotate_deg * angle, 1.0 + settings.scale * scale
    )
    matrix[:, 2] += settings.shift * cols * shift_x, settings.shift * rows * shift_y
    if flip < settings.flip:
        matrix[:, 2] += matrix[:, 0] * (cols - 1)
        matrix[:, 0] *= -1
    # The runtime repeats the edge of the frame too, where a face sticks out of it.
    out = cv2.warpAffine(image, matrix, (cols, rows), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    out = cv2.LUT(
        out,
        _tone_curve(settings, float(out.mean()), contrast, brightness, gamma, _direction(exposure, settings.brighter)),
    )
    if blur < settings.blur:
        out = cv2.GaussianBlur(out, (0, 0), 0.3 + (settings.blur_sigma - 0.3) * extra[0])
    if jpeg < settings.jpeg:
        _, encoded = cv2.imencode(".jpg", out, (cv2.IMWRITE_JPEG_QUALITY, round(20 + 60 * quality)))
        out = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE), np.uint8)
    if erase < settings.erase:
        height, width = (
            max(1, round(side * settings.erase_side * n)) for side, n in zip((rows, cols), extra[1:3], strict=True)
        )
        top, left = int(extra[3] * (rows - height)), int(extra[4] * (cols - width))
        out[top : top + height, left : left + width] = round(255 * extra[5])
    return np.asarray(out, np.uint8)


def _direction(draw: float, brighter: float) -> float:
    """Return where a draw from 0 to 1 puts the exposure: -1 (darkest) to 1, above 0 with probability ``brighter``."""
    darker = 1.0 - brighter
    return draw / darker - 1.0 if draw < darker else (draw - darker) / brighter


def mixup_shares(alpha: float, n: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw the share (n,), 0.5 to 1, that each image keeps in its mean with another; 1 where ``alpha`` is 0.

    Zhang et al. 2018, "mixup: Beyond Empirical Risk Minimization" (arXiv:1710.09412). Of two images it does not matter
    which is called the first: the larger share is always the image's own.
    """
    if not alpha:
        return np.ones(n, np.float32)
    shares = rng.beta(alpha, alpha, n)
    return np.maximum(shares, 1.0 - shares).astype(np.float32)


def mixed_images(images: UInt8Array, others: UInt8Array, shares: NDArray[np.float32]) -> UInt8Array:
    """Return the means (n, H, W) uint8 of images and others, by the share (n,) of the former."""
    weight = shares[:, None, None]
    return np.asarray(np.rint(weight * images + (1 - weight) * others), np.uint8)


def _tone_curve(
    settings: Augmentation, mean: float, contrast: float, brightness: float, gamma: float, exposure: float
) -> UInt8Array:
    """Look-up table (256,) for gamma, then gain about the mean, then brightness, then exposure, which clips."""
    ramp = np.linspace(0.0, 1.0, 256) ** float(np.exp(settings.gamma * gamma))
    middle = float(ramp[round(mean)])
    curve = (ramp - middle) * (1.0 + settings.contrast * contrast) + middle + settings.brightness * brightness
    largest = max(settings.exposure, settings.overexposure) if exposure > 0.0 else settings.exposure
    curve *= 2.0 ** (largest * exposure)
    return np.asarray(np.clip(np.round(255.0 * curve), 0, 255), np.uint8)
