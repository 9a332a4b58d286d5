"""Data-parallel training on PyTorch: ``torch.distributed`` under Keras' own training step.

``DistributedDataParallel`` wraps a module's forward pass, which Keras' step does not go through. What it does is done
here where Keras allows it: the gradients are averaged in one buffer as they reach the optimizer, and batch
normalization takes its statistics from all workers (which PyTorch's own layer for that does on GPUs only).
"""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray

from fer_edge.errors import FerEdgeError, UsageError
from fer_train.workers import OTHERS_GONE, Place, Workers


class TorchWorkers(Workers):
    """Processes of one ``torch.distributed`` group, each on one device."""

    def __init__(self, place: Place) -> None:
        """Meet the others at ``place.address``.

        Raises:
            UsageError: if they do not come.
        """
        self.rank, self.size, self.parts = place.rank, place.size, place.size
        self.seed_stream = place.rank
        cuda = torch.cuda.is_available()
        if cuda:
            torch.cuda.set_device(place.local_rank)
        try:
            dist.init_process_group(
                "nccl" if cuda else "gloo",
                init_method=f"tcp://{place.address}",
                rank=place.rank,
                world_size=place.size,
            )
        except (RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())[:160]
            raise UsageError(f"{place.address}: the {place.size} processes cannot meet there ({reason})") from error

    @contextmanager
    def scope(self) -> Iterator[None]:
        """Say in one line when another process goes meanwhile.

        Raises:
            FerEdgeError: if it does.
        """
        try:
            yield
        except RuntimeError as error:
            # gloo's own errors are plain ones, and may come from any operation of a step, backward as well.
            if isinstance(error, dist.DistError) or "gloo" in str(error):
                raise FerEdgeError(OTHERS_GONE) from error
            raise

    def attach(self, network: keras.Model) -> None:
        """Average gradients and batch statistics over the workers from now on."""
        apply = type(network.optimizer).apply

        def apply_mean(optimizer: Any, gradients: Sequence[Any], variables: Sequence[Any] | None = None) -> None:
            apply(optimizer, _mean_of_all(gradients, self.size), variables)

        network.optimizer.apply = types.MethodType(apply_mean, network.optimizer)
        for layer in network.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.call = types.MethodType(_batch_normalization, layer)

    def share(self, value: bytes) -> bytes:
        """Return the first worker's ``value`` to all."""
        box: list[Any] = [value]
        dist.broadcast_object_list(box, src=0)
        return bytes(box[0])

    def gather(self, part: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return all workers' (n, k) arrays one after the other."""
        return np.concatenate(self._all(part))

    def mean(self, figures: Mapping[str, float]) -> dict[str, float]:
        """Return the mean of each figure over the workers."""
        everyone = self._all(dict(figures))
        return {key: float(np.mean([theirs[key] for theirs in everyone])) for key in figures}

    def close(self) -> None:
        """Part from the others."""
        dist.destroy_process_group()

    def _all(self, value: Any) -> list[Any]:
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values


def _mean_of_all(gradients: Sequence[Any], size: int) -> list[Any]:
    """Average gradients over the workers, as one message."""
    present = [gradient for gradient in gradients if gradient is not None]
    whole = torch.cat([gradient.reshape(-1).float() for gradient in present])
    dist.all_reduce(whole)
    parts = iter((whole / size).split([gradient.numel() for gradient in present]))
    return [None if g is None else next(parts).reshape(g.shape).to(g.dtype) for g in gradients]


def _batch_normalization(layer: Any, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
    """Normalize (n, ..., channels) by the statistics of all workers' parts of the batch.

    As with one process, the moving variance is the unbiased one; see :mod:`fer_train.torch_speed`.
    """
    del mask
    axis = layer.axis % inputs.ndim
    others = [i for i in range(inputs.ndim) if i != axis]
    wide = inputs.float()
    if training and layer.trainable:
        size = dist.get_world_size()
        mean = _sum_of_all(wide.mean(others)) / size
        centred = wide - mean.view(_along(axis, inputs.ndim))
        variance = _sum_of_all((centred * centred).mean(others)) / size
        n = size * inputs.numel() // inputs.shape[axis]
        with torch.no_grad():
            for moving, new in ((layer.moving_mean, mean), (layer.moving_variance, variance * (n / max(n - 1, 1)))):
                moving.value.mul_(layer.momentum).add_(new, alpha=1.0 - layer.momentum)
    else:
        mean, variance = layer.moving_mean.value, layer.moving_variance.value
        centred = wide - mean.view(_along(axis, inputs.ndim))
    scale = torch.rsqrt(variance + layer.epsilon)
    if layer.scale:
        scale = scale * layer.gamma.value
    outputs = centred * scale.view(_along(axis, inputs.ndim))
    if layer.center:
        outputs = outputs + layer.beta.value.view(_along(axis, inputs.ndim))
    return outputs.to(inputs.dtype)


class _SumOfAll(torch.autograd.Function):
    """The sum of a tensor over the workers, each of whose losses depends on it."""

    @staticmethod
    def forward(ctx: Any, part: torch.Tensor) -> torch.Tensor:
        del ctx
        whole = part.detach().clone()
        dist.all_reduce(whole)
        return whole

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        del ctx
        whole = gradient.clone()
        dist.all_reduce(whole)
        return whole


def _sum_of_all(part: Any) -> Any:
    return _SumOfAll.apply(part)


def _along(axis: int, dimensions: int) -> list[int]:
    return [-1 if i == axis else 1 for i in range(dimensions)]
