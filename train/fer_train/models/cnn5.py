"""Five convolutions and a dense layer: the network behind a published "81.39 %".

Its trained weights reach 89 % on PrivateTest and 88 % on Training, because its authors balanced FER2013 by repeating
images and split the result at random: most test images had been trained on. Trained on the official split it is an
ordinary small network; the recipe ``cnn5_leak`` repeats the mistake on purpose.

3x3 convolutions of 32, 64, 64, 128 and 128 filters with batch normalization before the activation; pooling and
dropout after the second, fourth and fifth.

At 48x48x1: 0.8 M parameters, 109 million multiply-accumulates.
"""

from __future__ import annotations

import keras
from keras import layers

CONVOLUTIONS = (
    (32, "same", False),
    (64, "same", True),
    (64, "valid", False),
    (128, "same", True),
    (128, "valid", True),
)
"""(filters, padding, pooled) of each convolution."""


def build(
    input_shape: tuple[int, int, int], classes: int, convolution_dropout: float = 0.25, dropout: float = 0.5
) -> keras.Model:
    """Build the network.

    Args:
        input_shape: (height, width, channels) of the raw pixels, 0 to 255.
        classes: number of logits.
        convolution_dropout: share of each pooled output dropped while training.
        dropout: the same for the dense layer.

    Returns:
        A model from (N, height, width, channels) to logits (N, classes), float32.
    """
    inputs = layers.Input(input_shape, name="pixels")
    x = layers.Rescaling(1 / 127.5, offset=-1.0, name="scale")(inputs)
    for step, (filters, padding, pooled) in enumerate(CONVOLUTIONS, start=1):
        x = layers.Conv2D(
            filters, 3, padding=padding, use_bias=False, kernel_initializer="he_normal", name=f"conv{step}"
        )(x)
        x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"bn{step}")(x)
        x = layers.ReLU(name=f"relu{step}")(x)
        if pooled:
            x = layers.MaxPooling2D(2, name=f"pool{step}")(x)
            x = layers.Dropout(convolution_dropout, name=f"dropout{step}")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(250, use_bias=False, kernel_initializer="he_normal", name="fc")(x)
    x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name="fc_bn")(x)
    x = layers.ReLU(name="fc_relu")(x)
    x = layers.Dropout(dropout, name="dropout")(x)
    logits = layers.Dense(classes, dtype="float32", name="logits")(x)
    return keras.Model(inputs, logits, name="cnn5")
