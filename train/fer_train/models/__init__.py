"""The networks, one file each, and the way to build one by name.

A network maps raw pixels (N, height, width, channels), 0 to 255, to logits (N, classes): scaling is its first layer,
so that training, conversion and the runtime feed it the same numbers. :func:`with_softmax` makes the form that is
saved, which returns probabilities.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import keras

from fer_edge.contract.preprocess import UInt8Array
from fer_edge.contract.tflite_file import read_model_file
from fer_edge.errors import UsageError
from fer_train.models.converted import load_converted
from fer_train.models.pretrained import load_finished, load_own

NETWORKS: Final[Mapping[str, tuple[str, str, Mapping[str, Any]]]] = {
    "cnn5": ("cnn5", "build", {}),
    "deep_cnn": ("alizadeh", "build_deep", {}),
    "mini_xception": ("mini_xception", "build", {}),
    "mobilenet": ("mobilenet", "build", {}),
    "mobilenet_v2": ("mobilenet_v2", "build", {}),
    "shallow_cnn": ("alizadeh", "build_shallow", {}),
    "vgg1": ("vgg_blocks", "build", {"blocks": 1}),
    "vgg16": ("vgg16", "build", {}),
    "vgg2": ("vgg_blocks", "build", {"blocks": 2}),
    "vgg3": ("vgg_blocks", "build", {"blocks": 3}),
    "vgg_lite": ("vgg_lite", "build", {}),
}
"""Name of a network -> its module in this package, the function that builds it, and what that is always told."""


def build(name: str, input_shape: tuple[int, int, int], classes: int, options: Mapping[str, Any]) -> keras.Model:
    """Build an untrained network under the current dtype policy.

    Args:
        name: a key of :data:`NETWORKS`.
        input_shape: (height, width, channels).
        classes: number of logits.
        options: keyword arguments of the network's own ``build``, from the recipe's ``[network]`` table.

    Raises:
        UsageError: for an unknown name or option, or a value that no layer can be made of.
    """
    if name not in NETWORKS:
        raise UsageError(f"there is no network {name!r}: choose one of {', '.join(sorted(NETWORKS))}")
    module, function, always = NETWORKS[name]
    make: Callable[..., keras.Model] = getattr(import_module(f"{__name__}.{module}"), function)
    try:
        return make(input_shape, classes, **{**options, **always})
    except (TypeError, ValueError) as error:  # Keras tells of values that make no layer by either, on several lines
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UsageError(f"network {name!r} cannot be built with the options {dict(options)}: {reason}") from error


def load_pretrained(name: str, network: keras.Model, weights: str, images: UInt8Array) -> None:
    """Fill the network called ``name`` with pretrained weights.

    Args:
        name: a key of :data:`NETWORKS`.
        network: what :func:`build` made, filled in place.
        weights: ``imagenet``, a file of a ``keras.applications`` backbone, or the ``.keras`` file of a finished run
            of the same network, or a ``.tflite`` file that was converted from one. The last layer of a finished model
            is taken over only if the labels are as many.
        images: (n, height, width, channels) uint8, some of Training as the network gets them: normalizations that the
            weights do not come with start by them.

    Raises:
        UsageError: if there are none for this network.
        DataError: if the file does not fit, or cannot be had.
        ModelError: if a .tflite file is no model of this project.
    """
    if weights.endswith(".keras"):
        load_own(network, weights)
        return
    if weights.endswith(".tflite"):
        load_converted(network, Path(weights), images)
        return
    load = getattr(import_module(f"{__name__}.{NETWORKS[name][0]}"), "load_pretrained", None)
    if load is None:
        raise UsageError(
            f"there are no ImageNet weights for {name}; name the .keras or .tflite file of a finished model, "
            "or leave them out"
        )
    load(network, weights, images)


def load_network(
    name: str, weights: str, input_shape: tuple[int, int, int], options: Mapping[str, Any], images: UInt8Array
) -> keras.Model:
    """Load a finished model whole, for its own labels.

    Args:
        name: the network that it is of, a key of :data:`NETWORKS`.
        weights: a ``.keras`` file, or a ``.tflite`` file that was converted from one.
        input_shape: (height, width, channels); of a ``.tflite`` file, like the next two.
        options: those that :func:`build` is told.
        images: see :func:`load_pretrained`.

    Returns:
        A model that ends in probabilities (``.keras``) or logits.

    Raises:
        DataError: if the file is of another network, or cannot be read.
        ModelError: if a .tflite file is no model of this project.
    """
    if weights.endswith(".keras"):
        return load_finished(weights)
    network = build(name, input_shape, len(read_model_file(Path(weights)).card.labels), options)
    load_converted(network, Path(weights), images)
    return network


def deeper_start(name: str, weights: str) -> tuple[str, Mapping[str, Sequence[str]]] | None:
    """Say whether ``weights`` is a finished model of a deeper network that the one called ``name`` can start from.

    Returns:
        That network's name and what :func:`fer_train.models.layerwise.fit_convolutions` takes as targets; None if not.

    Raises:
        DataError, ModelError: if the file is none of a finished model.
    """
    by_network: Mapping[str, Mapping[str, Sequence[str]]] = getattr(
        import_module(f"{__name__}.{NETWORKS[name][0]}"), "DEEP_TARGETS", {}
    ).get(name, {})
    if not by_network or not weights.endswith((".keras", ".tflite")):
        return None
    is_keras = weights.endswith(".keras")
    deeper = load_finished(weights).name if is_keras else read_model_file(Path(weights)).card.network
    return (deeper, by_network[deeper]) if deeper in by_network else None


def with_softmax(network: keras.Model, temperature: float) -> keras.Model:
    """Return the model that is saved: ``network`` with its logits divided by ``temperature``, then softmax.

    The temperature (Guo et al. 2017, "On Calibration of Modern Neural Networks") is folded into the last layer with
    weights, in place, so that it costs nothing and cannot be lost in conversion; it changes no decision.
    """
    # What follows the last weights (an average over the image, in mini-Xception) must be linear for this to hold.
    last = next(layer for layer in reversed(network.layers) if layer.weights)
    if not isinstance(last, keras.layers.Dense | keras.layers.Conv2D):
        raise TypeError(f"the last weights of {network.name} must be of a Dense or Conv2D layer, not {last.name}")
    last.set_weights([w / temperature for w in last.get_weights()])
    probabilities = keras.layers.Softmax(dtype="float32", name="probabilities")(network.outputs[0])
    return keras.Model(network.inputs[0], probabilities, name=network.name)
