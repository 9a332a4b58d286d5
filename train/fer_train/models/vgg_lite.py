"""A plain VGG with batch normalization at half width: small, fast in int8, and easy to train.

Eight 3x3 convolutions in four blocks, after Simonyan and Zisserman 2014, "Very Deep Convolutional Networks", with the
fully connected layers replaced by global average pooling (Lin et al. 2013, "Network In Network"). Plain convolutions
are what int8 kernels run fastest for each multiply.

At widths 32, 64, 128, 256 and 48x48x1: 1.17 M parameters, 117 million multiply-accumulates. With ``squeeze`` every
block ends in squeeze and excitation (Hu et al. 2018, "Squeeze-and-Excitation Networks", arXiv:1709.01507): what a whole
block saw on average says how much each of its filters counts. One network can so read an overexposed face by other
filters than a well lit one. At a ratio of 8 that is 22 thousand parameters more and as many multiplications.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import keras
from keras import layers

SQUEEZE: Final = "_squeeze"
"""How the names of the layers end that sum up what a block saw; networks without squeeze and excitation lack them."""
EXCITE: Final = "_excite"
"""The same for those that say from it how much each filter counts."""


def build(
    input_shape: tuple[int, int, int],
    classes: int,
    widths: Sequence[int] = (32, 64, 128, 256),
    convolutions: int | Sequence[int] = 2,
    dropout: float = 0.3,
    squeeze: int = 0,
) -> keras.Model:
    """Build the network.

    Args:
        input_shape: (height, width, channels) of the raw pixels, 0 to 255.
        classes: number of logits.
        widths: filters of each block; all blocks but the last end in 2x2 max pooling.
        convolutions: 3x3 convolutions in each block; one number for all blocks or one for each.
        dropout: share of the pooled features dropped before the dense layer while training.
        squeeze: how many times fewer units than filters the middle of squeeze and excitation has; 0 for none. It
            starts as one for every filter, so that weights of the network without it can be gone on from.

    Returns:
        A model from (N, height, width, channels) to logits (N, classes), float32.
    """
    inputs = layers.Input(input_shape, name="pixels")
    x = layers.Rescaling(1 / 127.5, offset=-1.0, name="scale")(inputs)
    depths = [convolutions] * len(widths) if isinstance(convolutions, int) else list(convolutions)
    if len(depths) != len(widths):
        raise TypeError(f"{len(widths)} widths need as many convolutions, not {len(depths)}")
    if squeeze < 0:
        raise TypeError(f"squeeze is a ratio, from 1, or 0 for none, not {squeeze}")
    for block, (filters, depth) in enumerate(zip(widths, depths, strict=True), start=1):
        for step in range(1, depth + 1):
            x = layers.Conv2D(
                filters,
                3,
                padding="same",
                use_bias=False,
                kernel_initializer="he_normal",
                name=f"block{block}_conv{step}",
            )(x)
            x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"block{block}_bn{step}")(x)
            x = layers.ReLU(name=f"block{block}_relu{step}")(x)
        if block < len(widths):
            x = layers.MaxPooling2D(2, name=f"block{block}_pool")(x)
        if squeeze:
            x = _excite(x, squeeze, f"block{block}")
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    if dropout:
        x = layers.Dropout(dropout, name="dropout")(x)
    # float32 logits: in mixed precision the loss would otherwise be computed on three digits.
    logits = layers.Dense(classes, dtype="float32", name="logits")(x)
    return keras.Model(inputs, logits, name="vgg_lite")


def _excite(x: keras.KerasTensor, squeeze: int, name: str) -> keras.KerasTensor:
    """Weigh the filters of ``x`` (N, rows, columns, filters) by what their means say."""
    filters = int(x.shape[-1])
    gate = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_mean")(x)
    gate = layers.Conv2D(max(filters // squeeze, 1), 1, kernel_initializer="he_normal", name=f"{name}{SQUEEZE}")(gate)
    gate = layers.ReLU(name=f"{name}_squeeze_relu")(gate)
    # Zeros, and twice their sigmoid, make one: random gates, as in the paper, would spoil a finished file's weights.
    gate = layers.Conv2D(filters, 1, kernel_initializer="zeros", name=f"{name}{EXCITE}")(gate)
    gate = layers.Activation("sigmoid", name=f"{name}_gate")(gate)
    gate = layers.Rescaling(2.0, name=f"{name}_gain")(gate)
    return layers.Multiply(name=f"{name}_weighed")([x, gate])
