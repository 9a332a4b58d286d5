"""mini-Xception: the smallest network that many demonstrations use.

Arriaga et al. 2017, "Real-time Convolutional Neural Networks for Emotion and Gender Classification"
(arXiv:1710.07557): two 3x3 convolutions, four residual modules of depthwise separable convolutions (Chollet 2017), and
a last convolution with one filter a label, averaged over the image. The authors report 66 %.

At 48x48x1: 58 thousand parameters, 5.5 million multiply-accumulates.
"""

from __future__ import annotations

import keras
from keras import layers


def build(input_shape: tuple[int, int, int], classes: int, filters: int = 8) -> keras.Model:
    """Build the network.

    Args:
        input_shape: (height, width, channels) of the raw pixels, 0 to 255.
        classes: number of logits.
        filters: of the two first convolutions; the modules have 2, 4, 8 and 16 times as many.

    Returns:
        A model from (N, height, width, channels) to logits (N, classes), float32.
    """
    inputs = layers.Input(input_shape, name="pixels")
    x = layers.Rescaling(1 / 127.5, offset=-1.0, name="scale")(inputs)
    for step in (1, 2):
        x = layers.Conv2D(filters, 3, use_bias=False, kernel_initializer="he_normal", name=f"conv{step}")(x)
        x = layers.BatchNormalization(momentum=0.9, name=f"bn{step}")(x)
        x = layers.ReLU(name=f"relu{step}")(x)
    for module in range(1, 5):
        wide = filters * 2**module
        short = layers.Conv2D(wide, 1, strides=2, padding="same", use_bias=False, name=f"module{module}_short")(x)
        short = layers.BatchNormalization(momentum=0.9, name=f"module{module}_short_bn")(short)
        for step in (1, 2):
            # Depthwise and pointwise apart are what a separable convolution is, and what int8 kernels know.
            x = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name=f"module{module}_depthwise{step}")(x)
            x = layers.Conv2D(wide, 1, use_bias=False, name=f"module{module}_pointwise{step}")(x)
            x = layers.BatchNormalization(momentum=0.9, name=f"module{module}_bn{step}")(x)
            if step == 1:
                x = layers.ReLU(name=f"module{module}_relu{step}")(x)
        x = layers.MaxPooling2D(3, strides=2, padding="same", name=f"module{module}_pool")(x)
        x = layers.Add(name=f"module{module}_add")([x, short])
    x = layers.Conv2D(classes, 3, padding="same", dtype="float32", name="logits")(x)
    x = layers.GlobalAveragePooling2D(dtype="float32", name="pool")(x)
    return keras.Model(inputs, x, name="mini_xception")
