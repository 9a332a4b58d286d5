"""From a Keras model to the bytes of a TFLite file."""

from __future__ import annotations

import contextlib
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from fer_convert.embed import is_per_channel, tensor_types
from fer_convert.recipes import ConversionRecipe
from fer_edge.contract.native_log import native_messages
from fer_edge.contract.preprocess import UInt8Array
from fer_edge.errors import FerEdgeError, ModelError


def load_keras(path: Path) -> Any:
    """Load a ``.keras`` file, whatever backend saved it, on TensorFlow, which conversion needs.

    Raises:
        ModelError: if it cannot be read.
    """
    import keras

    if keras.backend.backend() != "tensorflow":
        raise FerEdgeError("conversion needs Keras on TensorFlow: unset KERAS_BACKEND, or set it to tensorflow")
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except (OSError, ValueError, TypeError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{path}: not a readable .keras model ({reason}); train it with `fer-edge train`") from error


def to_tflite(model: Any, recipe: ConversionRecipe, calibration: UInt8Array | None) -> bytes:
    """Convert a Keras model by a recipe.

    Args:
        model: Keras model on the TensorFlow backend, (N, height, width, channels) pixels -> (N, labels) probabilities.
        recipe: how.
        calibration: (n, height, width, channels) uint8 for a recipe that is calibrated.

    Returns:
        The file, without a card. Its batch is fixed at one, which lets the delegate plan its memory once.

    Raises:
        ModelError: if a tensor has a type that the recipe forbids, or kernels are not quantized by channel.
    """
    import keras
    import tensorflow as tf

    pixels = keras.Input(batch_shape=(1, *model.input_shape[1:]), name="pixels")
    converter = tf.lite.TFLiteConverter.from_keras_model(keras.Model(pixels, model(pixels), name=model.name))
    if recipe.quantized_weights:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if recipe.float16:
        converter.target_spec.supported_types = [tf.float16]
    if recipe.calibrated:
        if calibration is None:
            raise FerEdgeError(f"the recipe {recipe.name} needs calibration images: give --data FER2013")
        samples = np.concatenate([calibration, _with_full_range(calibration[:1])])
        converter.representative_dataset = lambda: ([image[None].astype(np.float32)] for image in samples)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    with native_messages(_is_anything), contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
        # TensorFlow 2.21 asks for statistics of the old quantizer, which the new one takes from the calibration.
        warnings.filterwarnings("ignore", "Statistics for quantized inputs were expected", UserWarning)
        data: bytes = converter.convert()
    _check(data, recipe)
    return data


def _with_full_range(images: UInt8Array) -> UInt8Array:
    """Return a copy with a black and a white corner pixel in each (n, height, width, channels) image.

    The input's range is then that of a pixel, whatever the calibration images hold: scale 1, zero point -128, and
    quantizing a pixel loses nothing.
    """
    full = images.copy()
    full[:, 0, 0], full[:, -1, -1] = 0, 255
    return full


def _is_anything(line: str) -> bool:
    """What the converter prints is kept back whole: its errors come as exceptions."""
    return bool(line)


def _check(data: bytes, recipe: ConversionRecipe) -> None:
    if recipe.allowed_types is not None:
        found = tensor_types(data)
        stray = {name: count for name, count in found.items() if name not in recipe.allowed_types}
        if stray:
            raise ModelError(
                f"recipe {recipe.name}: the converted graph keeps tensors of a forbidden type: {stray}; "
                "a layer of this network has no integer kernel"
            )
    if recipe.calibrated and not is_per_channel(data):
        raise ModelError(f"recipe {recipe.name}: a convolution kernel has one scale for all its channels")
