"""The networks, one file each, and the way to build one by name.

A network maps raw pixels (N, height, width, channels), 0 to 255, to logits (N, classes): scaling is its first layer,
so that training, conversion and the runtime feed it the same numbers. :func:`with_softmax` makes the form that is
saved, which returns probabilities.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Final

import keras

from fer_edge.errors import UsageError

NETWORKS: Final[Mapping[str, str]] = {"vgg_lite": "fer_train.models.vgg_lite"}
"""Name of a network -> the module whose ``build`` makes it."""


def build(name: str, input_shape: tuple[int, int, int], classes: int, options: Mapping[str, Any]) -> keras.Model:
    """Build an untrained network under the current dtype policy.

    Args:
        name: a key of :data:`NETWORKS`.
        input_shape: (height, width, channels).
        classes: number of logits.
        options: keyword arguments of the network's own ``build``, from the recipe's ``[network]`` table.

    Raises:
        UsageError: for an unknown name or option.
    """
    if name not in NETWORKS:
        raise UsageError(f"there is no network {name!r}: choose one of {', '.join(sorted(NETWORKS))}")
    make: Callable[..., keras.Model] = import_module(NETWORKS[name]).build
    try:
        return make(input_shape, classes, **options)
    except TypeError as error:
        raise UsageError(f"network {name!r} cannot be built with the options {dict(options)}: {error}") from error


def with_softmax(network: keras.Model, temperature: float) -> keras.Model:
    """Return the model that is saved: ``network`` with its logits divided by ``temperature``, then softmax.

    The temperature (Guo et al. 2017, "On Calibration of Modern Neural Networks") is folded into the last dense layer,
    in place, so that it costs nothing and cannot be lost in conversion; it changes no decision.
    """
    dense = network.layers[-1]
    if not isinstance(dense, keras.layers.Dense):
        raise TypeError(f"the last layer of {network.name} must be Dense, not {type(dense).__name__}")
    dense.set_weights([w / temperature for w in dense.get_weights()])
    probabilities = keras.layers.Softmax(dtype="float32", name="probabilities")(network.outputs[0])
    return keras.Model(network.inputs[0], probabilities, name=network.name)
