"""MobileNetV2 for small grey faces: inverted residuals with linear bottlenecks, from ImageNet's weights.

Sandler et al. 2018, "MobileNetV2: Inverted Residuals and Linear Bottlenecks" (arXiv:1801.04381). As for MobileNet,
either the face is enlarged or the stem keeps the resolution.

At 48x48x1 with a stem of stride 1, and width 1: 2.3 M parameters, 55 million multiply-accumulates.
"""

from __future__ import annotations

import keras
from keras import layers

from fer_edge.contract.preprocess import UInt8Array
from fer_train.models.mobilenet import with_stem_stride
from fer_train.models.pretrained import load_backbone


def build(
    input_shape: tuple[int, int, int], classes: int, width: float = 1.0, stem_stride: int = 1, dropout: float = 0.3
) -> keras.Model:
    """Build the network.

    Args:
        input_shape: (height, width, channels) of the raw pixels, 0 to 255; sides of at least 32.
        classes: number of logits.
        width: multiplier of all filters (the paper's alpha); 1 for ImageNet's weights.
        stem_stride: stride of the first convolution: 2 as in the paper, or 1 for small faces.
        dropout: share of the pooled features dropped before the dense layer while training.

    Returns:
        A model from (N, height, width, channels) to logits (N, classes), float32.
    """
    inputs = layers.Input(input_shape, name="pixels")
    scaled = layers.Rescaling(1 / 127.5, offset=-1.0, name="scale")(inputs)
    backbone = keras.applications.MobileNetV2(include_top=False, weights=None, input_tensor=scaled, alpha=width)
    backbone = with_stem_stride(backbone, "Conv1", stem_stride)
    x = layers.GlobalAveragePooling2D(name="pool")(backbone.outputs[0])
    x = layers.Dropout(dropout, name="dropout")(x)
    logits = layers.Dense(classes, dtype="float32", name="logits")(x)
    return keras.Model(backbone.inputs[0], logits, name="mobilenet_v2")


def load_pretrained(network: keras.Model, weights: str, images: UInt8Array) -> None:
    """Fill the backbone from ``imagenet`` or a file (see :func:`load_backbone`); normalizations come with them."""
    del images
    load_backbone(network, keras.applications.MobileNetV2, weights)
