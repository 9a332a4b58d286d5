"""What makes Keras train faster on PyTorch's CPU kernels, without changing what is saved.

Keras composes its layers of transposes and elementwise passes that PyTorch has as one kernel over the same memory.
Here the instances of a model get a ``call`` that goes straight to that kernel; configuration and weights stay those of
the plain Keras layers. Measured for vgg_lite on one Zen 4 core, batches of 96, bfloat16, images a second: 152 with the
fused batch normalization alone, 180 with pooling, 189 with convolution. Pooling that pads, as mini_xception's does, is
seven times faster so: 6 ms instead of 42 for 96 images of 44x44x16, forwards and backwards. In float32, wide
convolutions take fewer multiplications (:mod:`fer_train.winograd`): a step of 96 images on one Zen 3 core, which has no
bfloat16, 1.36 s instead of 3.09 for deep_cnn, 2.93 instead of 6.87 for vgg16, 0.92 instead of 1.17 for vgg_lite, as
``KERAS_BACKEND=torch python benchmarks/training_step.py deep_cnn vgg_lite vgg16`` prints.
"""

from __future__ import annotations

import ctypes
import types
from pathlib import Path
from typing import Any

import keras

from fer_train import winograd

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
"""Numbers of malloc.h of glibc."""


def use_native_kernels(model: keras.Model) -> None:
    """Give the layers of ``model`` that have one a direct path to PyTorch; does nothing on other backends.

    Each gives the same result as Keras' own path but for rounding, save that the moving variance of batch normalization
    is the unbiased one, larger by a factor of n / (n - 1) with n the pixels of a batch.
    """
    if keras.backend.backend() != "torch":
        return
    for layer in model.layers:
        match layer:
            case keras.layers.BatchNormalization() if layer.axis in (-1, 3) and layer.scale and layer.center:
                layer.call = types.MethodType(_batch_normalization, layer)
            case keras.layers.MaxPooling2D() if layer.data_format == "channels_last":
                layer.call = types.MethodType(_max_pooling, layer)
            case keras.layers.DepthwiseConv2D() if _is_symmetric(layer) and layer.depth_multiplier == 1:
                layer.call = types.MethodType(_depthwise_convolution, layer)
            case keras.layers.Conv2D() if _is_symmetric(layer) and layer.groups == 1:
                layer.call = types.MethodType(_convolution, layer)


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


def keep_freed_memory() -> None:
    """Let this process keep the memory that it frees, where the C library is glibc; does nothing elsewhere.

    Each step needs tensors of the same sizes again. By default glibc takes the large ones from the system and gives
    them back each time, and the system clears every page of them: 9.9 of the 66.6 s that two epochs of deep_cnn with
    2,000 images cost one Zen 4 core, start and end included, and 2.5 of 57.8 s with this (``man 3 mallopt``).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return
    for option, value in ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, 2**28)):
        mallopt(option, value)


def _is_symmetric(layer: Any) -> bool:
    """Whether PyTorch's padding, the same on all sides, is what Keras' padding means for this convolution."""
    return (
        type(layer) in (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)
        and layer.data_format == "channels_last"
        and set(layer.dilation_rate) == {1}
        and layer.activation is keras.activations.linear
        and (
            layer.padding == "valid"
            or (layer.padding == "same" and set(layer.strides) == {1} and all(side % 2 for side in layer.kernel_size))
        )
    )


def _batch_normalization(layer: Any, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
    del mask
    import torch

    outputs = torch.nn.functional.batch_norm(
        inputs.movedim(-1, 1),
        layer.moving_mean.value.data,
        layer.moving_variance.value.data,
        layer.gamma.value,
        layer.beta.value,
        training=bool(training) and layer.trainable,
        momentum=1.0 - layer.momentum,
        eps=layer.epsilon,
    )
    return outputs.movedim(1, -1)


def _max_pooling(layer: Any, inputs: Any) -> Any:
    import torch

    images = inputs.movedim(-1, 1)
    if layer.padding == "same":
        rows, columns = (
            _padding(*sizes) for sizes in zip(images.shape[2:], layer.pool_size, layer.strides, strict=True)
        )
        images = torch.nn.functional.pad(images, (*columns, *rows), value=-torch.inf)
    return torch.nn.functional.max_pool2d(images, layer.pool_size, layer.strides).movedim(1, -1)


def _padding(side: int, window: int, stride: int) -> tuple[int, int]:
    """Return what TensorFlow's "same" puts before and after ``side`` pixels: the odd one after them."""
    missing = max((-(-side // stride) - 1) * stride + window - side, 0)
    return missing // 2, missing - missing // 2


def _convolution(layer: Any, inputs: Any) -> Any:
    import torch

    kernel = layer.kernel.value
    # Answers are those of the plain convolution, to the last digit; a few thousand of them cost no time to speak of.
    in_tiles = layer.padding == "same" and len(set(layer.kernel_size)) == 1
    if in_tiles and inputs.dtype == torch.float32 and not inputs.is_cuda and torch.is_grad_enabled():
        outputs = winograd.best_outputs(*inputs.shape[1:3], *kernel.shape[1:])
        if outputs is not None:
            found = winograd.convolve(inputs, kernel, outputs)
            return found + layer.bias.value if layer.use_bias else found
    return _convolve(layer, inputs, kernel.permute(3, 2, 0, 1), groups=1)


def _depthwise_convolution(layer: Any, inputs: Any) -> Any:
    return _convolve(layer, inputs, layer.kernel.value.permute(2, 3, 0, 1), groups=inputs.shape[-1])


def _convolve(layer: Any, inputs: Any, kernel: Any, groups: int) -> Any:
    import torch

    kernel = kernel.to(dtype=inputs.dtype, memory_format=torch.channels_last)
    bias = layer.bias.value.to(inputs.dtype) if layer.use_bias else None
    padding = [side // 2 for side in layer.kernel_size] if layer.padding == "same" else 0
    images = inputs.movedim(-1, 1)
    # Backwards, a strided depthwise convolution in bfloat16 takes the CPU four times as long as one of all places.
    thinned = groups > 1 and max(layer.strides) > 1 and inputs.dtype == torch.bfloat16 and not inputs.is_cuda
    strides = 1 if thinned else layer.strides
    outputs = torch.nn.functional.conv2d(images, kernel, bias, strides, padding, groups=groups)
    if thinned:
        outputs = outputs[:, :, :: layer.strides[0], :: layer.strides[1]].contiguous(memory_format=torch.channels_last)
    return outputs.movedim(1, -1)
