"""The shallow and the deep network of a much copied student project.

Alizadeh and Fazel 2017, "Convolutional Neural Networks for Facial Expression Recognition" (arXiv:1704.06756):
convolutions with batch normalization, ReLU, dropout and 2x2 max pooling each, then dense layers with the same.

At 48x48x1: ``shallow_cnn`` 4.7 M parameters, 16 million multiply-accumulates; ``deep_cnn`` 4.5 M and 290.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import keras
from keras import layers

DEEP_TARGETS: Final[Mapping[str, Mapping[str, Mapping[str, Sequence[str]]]]] = {
    "deep_cnn": {
        "vgg16": {
            "conv1": ("block1_relu2",),
            "conv2": ("block2_relu2",),
            "conv3": ("block3_relu3", "block3_relu2"),
            "conv4": ("block4_relu3",),
        }
    }
}
"""A network of this file -> a deeper one -> what the convolutions can start from: its blocks have the same sizes. See
:mod:`fer_train.models.layerwise`."""


def build_shallow(
    input_shape: tuple[int, int, int], classes: int, convolution_dropout: float = 0.25, dropout: float = 0.5
) -> keras.Model:
    """Build the shallow network: 32 and 64 filters of 3x3, one dense layer of 512 units.

    Args:
        input_shape: (height, width, channels) of the raw pixels, 0 to 255.
        classes: number of logits.
        convolution_dropout: share of each pooled output dropped while training.
        dropout: the same for the dense layer.

    Returns:
        A model from (N, height, width, channels) to logits (N, classes), float32.
    """
    return _build("shallow_cnn", input_shape, classes, ((32, 3), (64, 3)), (512,), convolution_dropout, dropout)


def build_deep(
    input_shape: tuple[int, int, int], classes: int, convolution_dropout: float = 0.25, dropout: float = 0.5
) -> keras.Model:
    """Build the deep network: 64 filters of 3x3, 128 of 5x5, twice 512 of 3x3, dense layers of 256 and 512 units.

    Arguments and result are those of :func:`build_shallow`.
    """
    convolutions = ((64, 3), (128, 5), (512, 3), (512, 3))
    return _build("deep_cnn", input_shape, classes, convolutions, (256, 512), convolution_dropout, dropout)


def _build(
    name: str,
    input_shape: tuple[int, int, int],
    classes: int,
    convolutions: Sequence[tuple[int, int]],
    dense: Sequence[int],
    convolution_dropout: float,
    dropout: float,
) -> keras.Model:
    inputs = layers.Input(input_shape, name="pixels")
    x = layers.Rescaling(1 / 127.5, offset=-1.0, name="scale")(inputs)
    for step, (filters, side) in enumerate(convolutions, start=1):
        x = layers.Conv2D(
            filters, side, padding="same", use_bias=False, kernel_initializer="he_normal", name=f"conv{step}"
        )(x)
        x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"bn{step}")(x)
        x = layers.ReLU(name=f"relu{step}")(x)
        x = layers.MaxPooling2D(2, name=f"pool{step}")(x)
        x = layers.Dropout(convolution_dropout, name=f"dropout{step}")(x)
    x = layers.Flatten(name="flatten")(x)
    for step, units in enumerate(dense, start=1):
        x = layers.Dense(units, use_bias=False, kernel_initializer="he_normal", name=f"fc{step}")(x)
        x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"fc{step}_bn")(x)
        x = layers.ReLU(name=f"fc{step}_relu")(x)
        x = layers.Dropout(dropout, name=f"fc{step}_dropout")(x)
    logits = layers.Dense(classes, dtype="float32", name="logits")(x)
    return keras.Model(inputs, logits, name=name)
