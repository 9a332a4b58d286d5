"""A plain VGG with batch normalization at half width: small, fast in int8, and easy to train.

Eight 3x3 convolutions in four blocks, after Simonyan and Zisserman 2014, "Very Deep Convolutional Networks", with the
fully connected layers replaced by global average pooling (Lin et al. 2013, "Network In Network"). Plain convolutions
are what int8 kernels run fastest for each multiply.

At widths 32, 64, 128, 256 and 48x48x1: 1.17 M parameters, 117 million multiply-accumulates.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers


def build(
    input_shape: tuple[int, int, int],
    classes: int,
    widths: Sequence[int] = (32, 64, 128, 256),
    convolutions: int | Sequence[int] = 2,
    dropout: float = 0.3,
) -> keras.Model:
    """Build the network.

    Args:
        input_shape: (height, width, channels) of the raw pixels, 0 to 255.
        classes: number of logits.
        widths: filters of each block; all blocks but the last end in 2x2 max pooling.
        convolutions: 3x3 convolutions in each block; one number for all blocks or one for each.
        dropout: share of the pooled features dropped before the dense layer while training.

    Returns:
        A model from (N, height, width, channels) to logits (N, classes), float32.
    """
    inputs = layers.Input(input_shape, name="pixels")
    x = layers.Rescaling(1 / 127.5, offset=-1.0, name="scale")(inputs)
    depths = [convolutions] * len(widths) if isinstance(convolutions, int) else list(convolutions)
    if len(depths) != len(widths):
        raise TypeError(f"{len(widths)} widths need as many convolutions, not {len(depths)}")
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
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    if dropout:
        x = layers.Dropout(dropout, name="dropout")(x)
    # float32 logits: in mixed precision the loss would otherwise be computed on three digits.
    logits = layers.Dense(classes, dtype="float32", name="logits")(x)
    return keras.Model(inputs, logits, name="vgg_lite")
