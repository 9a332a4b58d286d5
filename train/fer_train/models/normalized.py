"""Pretrained weights for a network that normalizes after each convolution, from a network that does not.

Without batch normalization VGG16 learns faces slowly: its ImageNet weights carry activations of very different sizes,
and a step that suits one layer is too large for another. So each convolution gets a batch normalization that starts out
as what its activations are on images of the data set, after Krähenbühl et al. 2015, "Data-dependent Initializations of
Convolutional Neural Networks" (arXiv:1511.06856): every channel has unit variance, and the network computes what the
pretrained one does, but for a factor at its end.
"""

from __future__ import annotations

from itertools import pairwise

import keras
import numpy as np
from numpy.typing import NDArray


def copy_normalized(plain: keras.Model, network: keras.Model, images: NDArray[np.generic]) -> None:
    """Fill ``network`` so that it computes the features of ``plain``, each channel divided by its spread.

    Args:
        plain: a chain of convolutions with biases, each followed by a ReLU, and poolings.
        network: the same layers by name, its convolutions without biases and each followed by a batch normalization;
            filled in place as far as the last convolution.
        images: (n, height, width, channels) pixels, what the activations are measured on; some hundred are enough.
    """
    x = keras.ops.convert_to_tensor(np.asarray(images, np.float32))
    spread = np.ones(images.shape[-1])  # what the activations of ``network`` have to be multiplied by to be plain's
    layers = [layer for layer in network.layers if not isinstance(layer, keras.layers.InputLayer)]
    for layer, following in pairwise(layers):
        if not isinstance(following, keras.layers.BatchNormalization):
            if isinstance(layer, keras.layers.Flatten):
                return
            x = layer(x, training=False)
            continue
        kernel, bias = plain.get_layer(layer.name).get_weights()
        kernel = kernel * spread[:, None]
        # The length that He et al. 2015 start filters with. The normalization takes it out again, but steps of
        # training turn a short filter more than a long one.
        length = np.sqrt(np.square(kernel).sum((0, 1, 2)) / 2.0) + 1e-12
        layer.set_weights([kernel / length])
        values = np.asarray(keras.ops.convert_to_numpy(layer(x)), np.float32)
        x = keras.ops.convert_to_tensor(values)  # anew: what led to it need not be kept for a gradient
        mean, variance = values.mean((0, 1, 2), np.float64), values.var((0, 1, 2), np.float64)
        deviation = np.sqrt(variance + following.epsilon)
        following.set_weights([np.ones_like(mean), (mean + bias / length) / deviation, mean, variance])
        spread = length * deviation
