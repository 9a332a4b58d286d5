"""Starting a shallow network from a deep one: each convolution is fitted to what a whole block of that one computes.

A network of four convolutions learns little from 28,709 faces that one with thirteen, which has seen ImageNet before,
has not learnt better. Where both have features of the same sizes, one convolution can stand for a block of them: what
the block's last convolution gives, before its ReLU, is approximated by ridge regression from the features before it, in
closed form and without a label. That is done from the first layer to the last, each on the features of those already
fitted. Romero et al. 2015, "FitNets: Hints for Thin Deep Nets" (arXiv:1412.6550) train towards such hints by gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import keras
import numpy as np
from numpy.typing import NDArray

from fer_edge.contract.preprocess import UInt8Array

IMAGES: Final = 3000
"""Images that are enough: for the last convolution of ``deep_cnn``, that is :data:`PLACES_AN_UNKNOWN`."""

RIDGE: Final = 1e-3
"""Penalty on the squares of a kernel, as a share of the mean square of what it is applied to."""

PLACES_AN_UNKNOWN: Final = 12
"""Places of the images that are looked at for each weight of a filter, if there are so many."""

FEWEST_PLACES: Final = 16
"""Places of each image that are looked at in any case."""

LENGTH: Final = 2.0
"""Length that a filter starts with: somewhat longer than He et al. 2015 draw one, so that the first steps of training
turn it less."""

_BATCH: Final = 100

Float32Array = NDArray[np.float32]
Float64Array = NDArray[np.float64]


def fit_convolutions(
    network: keras.Model,
    deep: keras.Model,
    targets: Mapping[str, Sequence[str]],
    images: UInt8Array,
    progress: Callable[[int, int, float], None] | None = None,
) -> dict[str, float]:
    """Fill the convolutions of ``network``, and the batch normalizations directly behind them; the rest stays as it is.

    Args:
        network: a chain; its convolutions have stride 1, padding "same" and odd kernels.
        deep: a finished network of the same input.
        targets: name of a convolution, in order -> names of ReLUs of ``deep`` whose inputs, side by side, have its
            height, width and filters.
        images: (n, height, width, channels) uint8, some thousand of Training; :data:`IMAGES` are enough.
        progress: called with (convolutions fitted, all of them, what the last one explains).

    Returns:
        Share of the variance of its targets that each convolution explains, the mean over its filters; on the very
        images that it was fitted to.
    """
    pixels = images.astype(np.float32)
    pixels[1::2] = pixels[1::2, :, ::-1]  # mirror images are as good faces
    explained = {}
    for done, (name, sources) in enumerate(targets.items(), start=1):
        layer = network.get_layer(name)
        features = keras.Model(network.inputs[0], layer.input)
        wanted = keras.Model(deep.inputs[0], [deep.get_layer(source).input for source in sources])
        explained[name] = _fit(network, layer, features, wanted, pixels)
        if progress is not None:
            progress(done, len(targets), explained[name])
    return explained


def _fit(
    network: keras.Model, layer: keras.layers.Conv2D, features: keras.Model, wanted: keras.Model, pixels: Float32Array
) -> float:
    """Fit one convolution; return the share of variance that it explains."""
    side = layer.kernel_size[0]
    unknowns = side * side * layer.input.shape[-1]
    places = int(np.prod(layer.output.shape[1:3]))
    kept = min(places, max(FEWEST_PLACES, -(-PLACES_AN_UNKNOWN * unknowns // len(pixels))))
    rng = np.random.default_rng(0)
    products = np.zeros((unknowns + 1, unknowns + 1))
    moments = np.zeros((unknowns + 1, layer.filters))
    squares = np.zeros(layer.filters)
    count = 0
    for start in range(0, len(pixels), _BATCH):
        some = pixels[start : start + _BATCH]
        chosen = np.argsort(rng.random((len(some), places)), axis=1)[:, :kept]
        x = _patches(_answer(features, some)[0], side, chosen)
        answers = np.concatenate(_answer(wanted, some), axis=-1).reshape(len(some), places, -1)
        y = np.take_along_axis(answers, chosen[:, :, None], axis=1).reshape(len(x), -1)
        products += x.T @ x
        moments += x.T @ y
        squares += np.square(y).sum(axis=0, dtype=np.float64)
        count += len(x)
    products, moments, squares = products / count, moments / count, squares / count
    penalty = np.full(unknowns + 1, RIDGE * np.trace(products[:-1, :-1]) / unknowns)
    penalty[-1] = 0.0  # none on the constant
    solved = np.linalg.solve(products + np.diag(penalty), moments)
    # Each filter's target is taken by its spread, so that all features start with about one size.
    target_mean, spread = moments[-1], np.sqrt(np.maximum(squares - np.square(moments[-1]), 1e-8))
    kernel, bias = solved[:-1] / spread, solved[-1] / spread
    mean = target_mean / spread - bias  # of what the kernel alone gives: there is no penalty on the constant
    variance = np.einsum("if,ij,jf->f", kernel, products[:-1, :-1], kernel, optimize=True) - np.square(mean)
    _assign(network, layer, kernel, mean, variance, target_mean / spread)
    return float(variance.mean())


def _assign(
    network: keras.Model,
    layer: keras.layers.Conv2D,
    kernel: Float64Array,
    mean: Float64Array,
    variance: Float64Array,
    beta: Float64Array,
) -> None:
    """Set a convolution without bias and the normalization behind it, which gives its outputs the mean ``beta``."""
    following = network.layers[network.layers.index(layer) + 1]
    length = np.sqrt(np.square(kernel).sum(axis=0)) / LENGTH + 1e-12
    layer.set_weights([(kernel / length).reshape(layer.kernel.shape).astype(np.float32)])
    mean, variance = mean / length, np.maximum(variance, 0.0) / np.square(length)
    values = {
        "gamma": np.sqrt(variance + following.epsilon) * length,
        "beta": beta,
        "moving_mean": mean,
        "moving_variance": variance,
    }
    following.set_weights([values[weight.name] for weight in following.weights])


def _patches(features: Float32Array, side: int, chosen: NDArray[np.int64]) -> Float32Array:
    """Return (places, unknowns + 1): what a kernel sees at the chosen places, in its weights' order, and a one."""
    around = side // 2
    padded = np.pad(features, ((0, 0), (around, around), (around, around), (0, 0)))
    width = features.shape[2]
    image = np.arange(len(features))[:, None]
    rows, columns = chosen // width, chosen % width
    parts = [padded[image, rows + row, columns + column] for row in range(side) for column in range(side)]
    parts.append(np.ones((*chosen.shape, 1), np.float32))
    return np.concatenate(parts, axis=-1).reshape(chosen.size, -1)


def _answer(model: keras.Model, pixels: Float32Array) -> list[Float32Array]:
    answers = model(pixels, training=False)
    answers = answers if isinstance(answers, list | tuple) else [answers]
    return [np.asarray(keras.ops.convert_to_numpy(answer), np.float32) for answer in answers]
