"""PyTorch's own kernels give what Keras composes, forwards and backwards, in the number format that trains fastest."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="needs the train extra")

from fer_train.fit import dtype_policy  # noqa: E402
from fer_train.torch_speed import use_native_kernels  # noqa: E402

pytestmark = pytest.mark.skipif(keras.backend.backend() != "torch", reason="runs under KERAS_BACKEND=torch")


@pytest.mark.parametrize(
    "layer",
    [
        keras.layers.DepthwiseConv2D(3, strides=2, depthwise_initializer="he_normal"),
        keras.layers.DepthwiseConv2D(3, padding="same", depthwise_initializer="he_normal"),
        keras.layers.Conv2D(4, 3, strides=2, use_bias=False),
        keras.layers.MaxPooling2D(2),
        keras.layers.MaxPooling2D(3, strides=2, padding="same"),
        keras.layers.MaxPooling2D((3, 2), strides=(1, 2), padding="same"),
    ],
    ids=["strided depthwise", "depthwise", "strided", "pooled", "padded and pooled", "oblong"],
)
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("side", [10, 11])
def test_a_layer_and_its_gradient(layer: Any, policy: str, side: int) -> None:
    import torch

    keras.utils.set_random_seed(3)
    pixels = np.random.default_rng(3).normal(size=(2, side, side, 5)).astype(np.float32)
    with dtype_policy(policy):
        model = keras.Sequential(
            [keras.Input((side, side, 5)), type(layer).from_config({**layer.get_config(), "dtype": policy})]
        )
    found = []
    for native in (False, True):
        if native:
            use_native_kernels(model)
            assert "call" in vars(model.layers[0]), "no kernel of its own"
        images = torch.tensor(pixels, requires_grad=True)
        outputs = model(images, training=True)
        outputs.float().square().sum().backward()
        found.append((outputs.detach().float().numpy(), images.grad.numpy()))
    tolerance = 1e-4 if policy == "float32" else 0.05
    for composed, own in zip(*found, strict=True):
        np.testing.assert_allclose(own, composed, rtol=tolerance, atol=tolerance * np.abs(composed).max())
