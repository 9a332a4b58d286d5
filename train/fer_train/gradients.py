"""Gradients of a Keras model's logits with respect to its input, on whichever backend Keras runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

Gradient = Callable[[NDArray[np.float32], NDArray[np.int64]], NDArray[np.float32]]
"""(pixels (n, height, width, channels), outputs to explain (n,)) -> gradients of the pixels' shape."""


def input_gradient(model: keras.Model) -> Gradient:
    """Return the function that computes the gradient of a logit by the pixels, for each image its own logit.

    A probability that is all but 1 has no slope; its logit has. So the softmax at the end of a saved model is left
    out; a model that ends otherwise is explained by its output itself.

    Raises:
        NotImplementedError: on a backend without gradients.
    """
    last = model.layers[-1]
    logits = keras.Model(model.inputs, last.input) if isinstance(last, keras.layers.Softmax) else model
    backend = keras.backend.backend()
    if backend == "tensorflow":
        return _tensorflow(logits)
    if backend == "torch":
        return _torch(logits)
    if backend == "jax":
        return _jax(logits)
    raise NotImplementedError(f"Keras on {backend} computes no gradients; set KERAS_BACKEND to another")


def _tensorflow(model: keras.Model) -> Gradient:
    import tensorflow as tf

    def gradient(pixels: NDArray[np.float32], outputs: NDArray[np.int64]) -> NDArray[np.float32]:
        inputs = tf.convert_to_tensor(pixels)
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            total = _sum_of_chosen(model(inputs, training=False), outputs)
        return np.asarray(tape.gradient(total, inputs).numpy(), np.float32)

    return gradient


def _torch(model: keras.Model) -> Gradient:
    import torch

    def gradient(pixels: NDArray[np.float32], outputs: NDArray[np.int64]) -> NDArray[np.float32]:
        inputs = ops.convert_to_tensor(pixels).detach().clone().requires_grad_(True)
        total = _sum_of_chosen(model(inputs, training=False), outputs)
        (found,) = torch.autograd.grad(total, inputs)
        return np.asarray(found.cpu().numpy(), np.float32)

    return gradient


def _jax(model: keras.Model) -> Gradient:
    import jax

    trainable = [variable.value for variable in model.trainable_variables]
    others = [variable.value for variable in model.non_trainable_variables]

    def total(pixels: Any, chosen: Any) -> Any:
        logits, _ = model.stateless_call(trainable, others, pixels, training=False)
        return ops.sum(logits * chosen)

    slope = jax.jit(jax.grad(total))

    def gradient(pixels: NDArray[np.float32], outputs: NDArray[np.int64]) -> NDArray[np.float32]:
        chosen = np.eye(model.output_shape[-1], dtype=np.float32)[outputs]
        return np.asarray(slope(pixels, chosen), np.float32)

    return gradient


def _sum_of_chosen(logits: Any, outputs: NDArray[np.int64]) -> Any:
    """The images of a batch do not touch each other: the gradient of the sum is that of each."""
    return ops.sum(logits * ops.one_hot(outputs, logits.shape[-1], dtype=logits.dtype))
