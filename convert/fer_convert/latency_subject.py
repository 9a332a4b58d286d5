"""A .tflite file to be measured: one with a card, or a stranger's whose preprocessing is told on the command line."""

from __future__ import annotations

import math
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from fer_edge.contract.card import CARD_NAME, ModelCard
from fer_edge.contract.interpreter import bare_interpreter, dequantize, find_runtime, quantize, tensor_card
from fer_edge.contract.preprocess import InputSpec, UInt8Array
from fer_edge.contract.tflite_file import find_metadata, read_bounded, read_model_file
from fer_edge.contract.verify import verify_model
from fer_edge.errors import ModelError, UsageError

INTERPOLATIONS: Final = {"area": cv2.INTER_AREA, "linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC}


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """What a file without a card does not say of itself."""

    labels: tuple[str, ...] = ()
    """In the order of the output; empty if they are not known: accuracy can then not be measured."""
    input: tuple[int, int, int] | None = None
    """(height, width, channels); None for what the input tensor says."""
    scale: float = 1.0
    """The network takes pixel * scale + offset, pixels being 0 to 255."""
    offset: float = 0.0
    resize: str = "area"
    """One of :data:`INTERPOLATIONS`: how it was shown images of another size. It counts for accuracy alone."""


class Description(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file of ``--describe``, in the words of the command line."""

    labels: tuple[str, ...] = ()
    input: str | None = None
    scale: str | None = None
    resize: str = "area"


def preprocessing_of(
    labels: str | None, geometry: str | None, scale: str | None, resize: str = "area"
) -> Preprocessing:
    """Parse the words of the command line.

    Args:
        labels: ``a,b,c``.
        geometry: ``48x48x1``.
        scale: ``1/255`` or ``1/127.5,-1``: factor and offset of a pixel.
        resize: a name of :data:`INTERPOLATIONS`.

    Raises:
        UsageError: if one of them cannot be read.
    """
    names = tuple(name.strip() for name in labels.split(",")) if labels else ()
    if len(set(names)) != len(names) or not all(names):
        raise UsageError(f"--labels must be different names, such as angry,happy, not {labels!r}")
    size = None
    if geometry is not None:
        try:
            height, width, channels = (int(part) for part in geometry.split("x"))
        except ValueError:
            raise UsageError(f"--input must be HEIGHTxWIDTHxCHANNELS, such as 48x48x1, not {geometry!r}") from None
        size = height, width, channels
    numbers = [1.0, 0.0]
    if scale is not None:
        try:
            parts = [_quotient(part) for part in scale.split(",")]
            numbers[: len(parts)] = parts
        except (ValueError, ZeroDivisionError):
            numbers = []
        if len(numbers) != 2 or numbers[0] == 0:
            raise UsageError(
                f"--scale must be a factor and at most an offset, such as 1/255 or 1/127.5,-1, not {scale!r}"
            )
    if resize not in INTERPOLATIONS:
        raise UsageError(f"--resize must be one of {', '.join(INTERPOLATIONS)}, not {resize!r}")
    return Preprocessing(names, size, numbers[0], numbers[1], resize)


def _quotient(text: str) -> float:
    above, _, below = text.partition("/")
    value = float(above) / (float(below) if below else 1.0)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


class Subject:
    """A model, loaded, with its way from pixels to probabilities in separate steps.

    Attributes:
        sha256: of the file.
        card: None for a stranger's file.
        labels: in the order of the output; empty if unknown.
        spec: geometry of the input.
        threads: of the interpreter.
    """

    def __init__(self, path: Path, preprocessing: Preprocessing, threads: int = 1, unverified: bool = False) -> None:
        """Load the model.

        Args:
            path: a .tflite file.
            preprocessing: for a file without a card.
            threads: of the interpreter.
            unverified: run a stranger's graph though :mod:`fer_edge.contract.verify` refuses it.

        Raises:
            ModelError: if it cannot be used.
        """
        data = read_bounded(path)
        self.path, self.threads, self.bytes = path, threads, len(data)
        self.sha256 = sha256(data).hexdigest()
        self.card: ModelCard | None = None
        self._scale, self._offset = preprocessing.scale, preprocessing.offset
        self._interpolation = INTERPOLATIONS[preprocessing.resize]
        if find_metadata(data, CARD_NAME, str(path)) is not None:
            self.card = read_model_file(path).card
            self.labels, self.spec = self.card.labels, self.card.input
            self._scale, self._offset = 1.0, 0.0
            self._interpreter = self._load(data)
        else:
            if not unverified:
                verify_model(data, str(path))
            self.labels = preprocessing.labels
            self._interpreter = self._load(data, preprocessing.input)
        first, last = self._interpreter.get_input_details()[0], self._interpreter.get_output_details()[0]
        self._input, self._output = int(first["index"]), int(last["index"])
        self._input_card, self._output_card = tensor_card(first), tensor_card(last)
        if self.card is None:
            self._check_stranger()

    @property
    def outputs(self) -> int:
        """Number of values in an output row."""
        return self._output_card.shape[-1]

    @property
    def input_dtype(self) -> str:
        """Type of the input tensor."""
        return self._input_card.dtype

    def crop_pixels(self, crop: UInt8Array) -> UInt8Array:
        """Turn a stranger's face crop, (H, W) uint8 grey, into (height, width, channels) in the way it is used to."""
        height, width, channels = self.spec.shape
        if crop.shape != (height, width):
            crop = np.asarray(cv2.resize(crop, (width, height), interpolation=self._interpolation), np.uint8)
        return np.repeat(crop[:, :, None], channels, axis=2)

    def stored(self, pixels: UInt8Array) -> NDArray[Any]:
        """Turn (height, width, channels) uint8 into what the input tensor holds."""
        if self._scale == 1.0 and self._offset == 0.0:
            return quantize(pixels[None], self._input_card)
        real = pixels[None].astype(np.float32) * np.float32(self._scale) + np.float32(self._offset)
        return quantize(real, self._input_card)

    def run(self, stored: NDArray[Any]) -> NDArray[Any]:
        """Set the input tensor, invoke, and return the output tensor's one row: what is timed as ``invoke``."""
        self._interpreter.set_tensor(self._input, stored)
        self._interpreter.invoke()
        row: NDArray[Any] = self._interpreter.get_tensor(self._output)[0]
        return row

    def probabilities(self, row: NDArray[Any]) -> NDArray[np.float32]:
        """Turn an output row into (labels,) float32 that add up to 1; logits go through a softmax."""
        real = dequantize(row, self._output_card)
        total = float(real.sum())
        if real.min() < 0 or not 0.9 < total < 1.1:
            real = np.exp(real - real.max())
            total = float(real.sum())
        return np.asarray(real / np.float32(total), np.float32)

    def _load(self, data: bytes, wanted: tuple[int, int, int] | None = None) -> Any:
        try:
            interpreter = bare_interpreter(data, self.threads)
            details = interpreter.get_input_details()
            if wanted is not None and len(details) == 1 and tuple(details[0]["shape"]) != (1, *wanted):
                interpreter.resize_tensor_input(details[0]["index"], (1, *wanted), strict=True)
                interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ModelError(f"{self.path}: {find_runtime().name} cannot load it ({reason})") from error
        return interpreter

    def _check_stranger(self) -> None:
        shape, values = self._input_card.shape, self._output_card.shape
        inputs = len(self._interpreter.get_input_details())
        if inputs != 1 or len(shape) != 4 or shape[0] != 1 or len(values) != 2 or values[0] != 1:
            raise ModelError(f"{self.path}: takes {shape} and gives {values}; one picture in, one row out is measured")
        if self.labels and len(self.labels) != values[1]:
            raise UsageError(f"{self.path}: gives {values[1]} values, but --labels names {len(self.labels)}")
        try:
            self.spec = msgspec.convert(
                {"height": shape[1], "width": shape[2], "channels": shape[3]}, InputSpec, strict=True
            )
        except msgspec.ValidationError as error:
            raise ModelError(f"{self.path}: takes {shape}, which is no face crop ({error})") from error
