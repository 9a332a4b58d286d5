"""VGG16 for 48x48 grey faces: as transfer learning from ImageNet, or from scratch with batch normalization.

Simonyan and Zisserman 2014, "Very Deep Convolutional Networks for Large-Scale Image Recognition" (arXiv:1409.1556),
configuration D: thirteen 3x3 convolutions in five blocks and three dense layers. Five poolings leave one pixel of 512
features of a 48x48 image, so the dense layers have 512 units where the original has 4096.

At 48x48x1: 15.2 M parameters, 702 million multiply-accumulates.
"""

from __future__ import annotations

import keras
from keras import layers

from fer_edge.contract.preprocess import UInt8Array
from fer_train.models.normalized import copy_normalized
from fer_train.models.pretrained import load_backbone

BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""(filters, convolutions) of each block, by the paper's table 1, column D."""

PLANE_MEANS = (103.939, 116.779, 123.68)
"""Means of ImageNet's blue, green and red planes that the original takes off (Caffe's)."""

SPREAD = 64.0
"""Standard deviation of such pixels, roughly. The original keeps their range through all its layers, too wide for new
dense layers to start behind; with pixels and biases divided by this, all activations are, and nothing else changes."""


def build(
    input_shape: tuple[int, int, int],
    classes: int,
    batch_norm: bool = False,
    dense: int = 512,
    dropout: float = 0.5,
    l2: float = 0.0,
) -> keras.Model:
    """Build the network.

    Args:
        input_shape: (height, width, channels) of the raw pixels, 0 to 255; sides of at least 32.
        classes: number of logits.
        batch_norm: normalize after each convolution; training from scratch needs it, fine-tuning is faster with it.
        dense: units of the two hidden dense layers.
        dropout: share of their outputs dropped while training.
        l2: penalty on the squares of all kernels, added to the loss.

    Returns:
        A model from (N, height, width, channels) to logits (N, classes), float32.
    """
    penalty = keras.regularizers.L2(l2) if l2 else None
    inputs = layers.Input(input_shape, name="pixels")
    x = layers.Rescaling(1 / SPREAD, offset=-sum(PLANE_MEANS) / 3 / SPREAD, name="scale")(inputs)
    for block, (filters, convolutions) in enumerate(BLOCKS, start=1):
        for step in range(1, convolutions + 1):
            x = layers.Conv2D(
                filters,
                3,
                padding="same",
                use_bias=not batch_norm,
                kernel_initializer="he_normal",
                kernel_regularizer=penalty,
                name=f"block{block}_conv{step}",
            )(x)
            if batch_norm:
                x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"block{block}_bn{step}")(x)
            x = layers.ReLU(name=f"block{block}_relu{step}")(x)
        x = layers.MaxPooling2D(2, name=f"block{block}_pool")(x)
    x = layers.Flatten(name="flatten")(x)
    for step in (1, 2):
        x = layers.Dense(
            dense, activation="relu", kernel_initializer="he_normal", kernel_regularizer=penalty, name=f"fc{step}"
        )(x)
        x = layers.Dropout(dropout, name=f"fc{step}_dropout")(x)
    logits = layers.Dense(classes, dtype="float32", name="logits")(x)
    return keras.Model(inputs, logits, name="vgg16")


def load_pretrained(network: keras.Model, weights: str, images: UInt8Array) -> None:
    """Fill the convolutions from ``imagenet`` or a file (see :func:`load_backbone`).

    Args:
        network: filled in place; where it normalizes, the normalizations too, by what ``images`` make of the weights.
        weights: ``imagenet`` or a file.
        images: (n, height, width, channels) uint8, some of Training.
    """
    normalizes = any(isinstance(layer, layers.BatchNormalization) for layer in network.layers)
    plain = build(network.input_shape[1:], 1) if normalizes else network
    load_backbone(plain, keras.applications.VGG16, weights, PLANE_MEANS)
    for layer in plain.layers:
        if isinstance(layer, keras.layers.Conv2D):
            kernel, bias = layer.get_weights()
            layer.set_weights([kernel, bias / SPREAD])
    if normalizes:
        copy_normalized(plain, network, images)
