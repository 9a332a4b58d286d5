"""ImageNet weights for networks that see grey faces.

A network from ``keras.applications`` has learnt three colour planes. A grey image repeated three times gives each of
the stem's filters the same plane thrice, so the sum of a filter over its planes does the same work at a third of the
cost, and the network takes one channel.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from fer_edge.errors import DataError


def load_backbone(
    network: keras.Model, original: Callable[..., keras.Model], weights: str, plane_means: tuple[float, ...] = ()
) -> None:
    """Copy the weights of a ``keras.applications`` network into the layers of ``network`` that have the same names.

    Args:
        network: what to fill, in place; layers without a namesake keep their values.
        original: the function of ``keras.applications``.
        weights: ``imagenet``, which Keras downloads, or a file in Keras' own layout without the classifier.
        plane_means: means that the original takes off its planes, where they differ: the common mean is taken off the
            grey plane instead, and the stem's bias makes up for the difference.

    Raises:
        DataError: if the file is not of this network, or cannot be had.
    """
    if weights != "imagenet" and not Path(weights).is_file():
        raise DataError(f"{weights}: there is no such file of pretrained weights; use 'imagenet' to download them")
    name = getattr(original, "__name__", str(original))
    try:
        source = original(include_top=False, weights=weights, input_shape=(96, 96, 3))
    except Exception as error:  # Keras, h5py and the download each raise what they like
        what = "cannot be downloaded" if weights == "imagenet" else f"is not a file of weights for {name}"
        raise DataError(f"{weights}: {what} ({str(error).splitlines()[0][:120]})") from error
    targets = {layer.name: layer for layer in network.layers}
    copied = 0
    for layer in source.layers:
        target = targets.get(layer.name)
        if target is None or not layer.weights:
            continue
        values = layer.get_weights()
        if values[0].shape != target.weights[0].shape:
            values = _for_grey(values, plane_means)
        target.set_weights(values)
        copied += 1
    if copied != sum(bool(layer.weights) for layer in source.layers):
        raise DataError(f"{weights}: only {copied} of the layers of {name} have a place in {network.name}")


def load_finished(path: str) -> keras.Model:
    """Load the ``model.keras`` of a finished run, to go on from it.

    Raises:
        DataError: if the file cannot be read.
    """
    try:
        return keras.saving.load_model(path, compile=False)
    except (OSError, ValueError, TypeError, KeyError) as error:
        reason = str(error).splitlines()[0][:120]
        raise DataError(f"{path}: is not a readable .keras model ({reason})") from error


def load_own(network: keras.Model, path: str) -> None:
    """Copy the weights of a finished run of the same network, but those of a last layer for other labels.

    Raises:
        DataError: if the file cannot be read, or is of another network.
    """
    saved = load_finished(path)
    theirs = {layer.name: layer for layer in saved.layers if layer.weights}
    ours = [layer for layer in network.layers if layer.weights]
    if [layer.name for layer in ours] != list(theirs):
        raise DataError(
            f"{path}: is a {saved.name} of other layers than this {network.name}; train it by its own recipe"
        )
    for layer in ours:
        values = theirs[layer.name].get_weights()
        if [value.shape for value in values] == [tuple(w.shape) for w in layer.weights]:
            layer.set_weights(values)
        elif layer is not ours[-1]:
            raise DataError(f"{path}: its layer {layer.name} has another size than this {network.name}'s")


def _for_grey(values: list[np.ndarray], plane_means: tuple[float, ...]) -> list[np.ndarray]:
    """Sum the stem's filters (rows, columns, 3, filters) over the planes."""
    kernel, *rest = values
    if plane_means and rest:
        difference = np.asarray(plane_means, np.float32) - np.mean(plane_means)
        rest[0] = rest[0] - np.einsum("rcpf,p->f", kernel, difference)
    return [kernel.sum(axis=2, keepdims=True), *rest]
