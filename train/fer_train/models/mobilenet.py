"""MobileNet for small grey faces: depthwise separable convolutions, from ImageNet's weights.

Howard et al. 2017, "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications"
(arXiv:1704.04861). The original halves a 224-pixel image five times; a 48-pixel face would end as one and a half
pixels. Either the face is enlarged (``[input] height = 96``), or the stem keeps the resolution (``stem_stride = 1``):
the same cost and, behind the stem, the same shapes.

At 96x96x1 or, with a stem of stride 1, 48x48x1, and width 1: 3.2 M parameters, 103 million multiply-accumulates.
"""

from __future__ import annotations

import keras
from keras import layers

from fer_edge.contract.preprocess import UInt8Array
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
    backbone = keras.applications.MobileNet(
        include_top=False, weights=None, input_tensor=scaled, alpha=width, dropout=0.0
    )
    backbone = with_stem_stride(backbone, "conv1", stem_stride)
    x = layers.GlobalAveragePooling2D(name="pool")(backbone.outputs[0])
    x = layers.Dropout(dropout, name="dropout")(x)
    logits = layers.Dense(classes, dtype="float32", name="logits")(x)
    return keras.Model(backbone.inputs[0], logits, name="mobilenet")


def with_stem_stride(backbone: keras.Model, stem: str, stride: int) -> keras.Model:
    """Return ``backbone`` rebuilt with its convolution ``stem`` of stride 2 at another stride."""

    def same_but_stem(layer: layers.Layer) -> layers.Layer:
        config = layer.get_config()
        if layer.name == stem:
            config["strides"] = (stride, stride)
        return type(layer).from_config(config)

    return keras.models.clone_model(backbone, clone_function=same_but_stem)


def load_pretrained(network: keras.Model, weights: str, images: UInt8Array) -> None:
    """Fill the backbone from ``imagenet`` or a file (see :func:`load_backbone`); normalizations come with them."""
    del images
    load_backbone(network, keras.applications.MobileNet, weights)
