"""One, two or three VGG blocks from scratch: the small networks of many a tutorial.

Brownlee's recipe for small images (machinelearningmastery.com, "How to Develop a CNN From Scratch for CIFAR-10"):
blocks of two 3x3 convolutions, 2x2 max pooling and dropout of 0.2, 0.3 and 0.4, then a dense layer of 128 units with
dropout of 0.5.

At 48x48x1: ``vgg1`` 2.4 M parameters, 24 million multiply-accumulates; ``vgg2`` 1.2 M and 55; ``vgg3`` 0.9 M and 86.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers


def build(
    input_shape: tuple[int, int, int],
    classes: int,
    blocks: int,
    block_dropouts: Sequence[float] = (0.2, 0.3, 0.4),
    dropout: float = 0.5,
) -> keras.Model:
    """Build the network.

    Args:
        input_shape: (height, width, channels) of the raw pixels, 0 to 255.
        classes: number of logits.
        blocks: blocks of two convolutions, of 32, 64 and 128 filters.
        block_dropouts: share of each block's outputs dropped while training.
        dropout: share of the dense layer's outputs dropped while training.

    Returns:
        A model from (N, height, width, channels) to logits (N, classes), float32.
    """
    if len(block_dropouts) < blocks:
        raise TypeError(f"{blocks} blocks need as many block_dropouts, not {len(block_dropouts)}")
    inputs = layers.Input(input_shape, name="pixels")
    x = layers.Rescaling(1 / 127.5, offset=-1.0, name="scale")(inputs)
    for block in range(1, blocks + 1):
        for step in (1, 2):
            x = layers.Conv2D(
                16 * 2**block, 3, padding="same", kernel_initializer="he_uniform", name=f"block{block}_conv{step}"
            )(x)
            x = layers.ReLU(name=f"block{block}_relu{step}")(x)
        x = layers.MaxPooling2D(2, name=f"block{block}_pool")(x)
        x = layers.Dropout(block_dropouts[block - 1], name=f"block{block}_dropout")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(128, activation="relu", kernel_initializer="he_uniform", name="fc")(x)
    x = layers.Dropout(dropout, name="dropout")(x)
    logits = layers.Dense(classes, dtype="float32", name="logits")(x)
    return keras.Model(inputs, logits, name=f"vgg{blocks}")
