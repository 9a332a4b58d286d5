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
from fer_train.models.layerwise import fit_convolutions
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

_TO_COMPARE_BY: Final = 256
"""Images on which a converted file is held against the network that its weights are put into."""


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


def load_pretrained(
    name: str,
    network: keras.Model,
    weights: str,
    images: UInt8Array,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Fill the network called ``name`` with pretrained weights.

    Args:
        name: a key of :data:`NETWORKS`.
        network: what :func:`build` made, filled in place.
        weights: ``imagenet``, a file of a ``keras.applications`` backbone, or the ``.keras`` file of a finished run
            of the same network, or a ``.tflite`` file that was converted from one. The last layer of a finished model
            is taken over only if the labels are as many. Where :func:`deeper_of` says so, a finished model of that
            network instead.
        images: (n, height, width, channels) uint8, some of Training as the network gets them: normalizations that the
            weights do not come with start by them; a network that starts from a deeper one is fitted to it on them.
        progress: called with (layers fitted, all of them) where that takes minutes.

    Raises:
        UsageError: if there are none for this network.
        DataError: if the file does not fit, or cannot be had.
        ModelError: if a .tflite file is no model of this project.
    """
    deeper = deeper_of(name, weights)
    if deeper is not None:
        deep = _finished(deeper, weights, network.input_shape[1:], images)
        fit_convolutions(network, deep, _deep_targets(name)[name, deeper], images, progress)
        return
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


def deeper_of(name: str, weights: str) -> str | None:
    """Return which other network the finished model ``weights`` is of, if the one called ``name`` can start from it.

    Raises:
        DataError, ModelError: if the file is none of a finished model.
    """
    targets = _deep_targets(name)
    if not targets or not weights.endswith((".keras", ".tflite")):
        return None
    keras_file = weights.endswith(".keras")
    theirs = load_finished(weights).name if keras_file else read_model_file(Path(weights)).card.network
    return theirs if (name, theirs) in targets else None


def _deep_targets(name: str) -> Mapping[tuple[str, str], Mapping[str, Sequence[str]]]:
    found: Mapping[tuple[str, str], Mapping[str, Sequence[str]]] = getattr(
        import_module(f"{__name__}.{NETWORKS[name][0]}"), "DEEP_TARGETS", {}
    )
    return {pair: targets for pair, targets in found.items() if pair[0] == name}


def _finished(name: str, weights: str, input_shape: tuple[int, int, int], images: UInt8Array) -> keras.Model:
    """Load a finished model; one that was converted has its normalizations folded into its convolutions."""
    if weights.endswith(".keras"):
        return load_finished(weights)
    labels = len(read_model_file(Path(weights)).card.labels)
    network = build(name, input_shape, labels, {})
    load_converted(network, Path(weights), images[:_TO_COMPARE_BY])
    return network


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
