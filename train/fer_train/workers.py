"""Data-parallel training: several processes or devices divide each batch, and all end up with the same weights.

Each worker takes its part of a batch in the order of the recipe, so that the batch as a whole is the one that a single
process would see. Batch normalization uses the statistics of the whole batch, gradients are averaged over it. On JAX
this is Keras' own ``keras.distribution.DataParallel`` over all devices of all processes; on PyTorch it is
``torch.distributed`` (gloo between CPUs, NCCL between GPUs). TensorFlow's strategies do not take this loop's way of
feeding data and of writing variables under Keras 3.

How many there are and where they meet is told by the environment variables that ``torchrun`` sets, whatever the
backend: RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Final

import keras
import numpy as np
from numpy.typing import NDArray

from fer_edge.errors import UsageError
from fer_train.recipe import Recipe

OTHERS_GONE: Final = "another process of this run has gone; start all of them again to go on from the checkpoint"


@dataclass(frozen=True, slots=True)
class Place:
    """One process among those that train together."""

    rank: int
    size: int
    local_rank: int
    address: str
    """``host:port`` where the first one waits for the others."""

    @classmethod
    def from_environment(cls) -> Place:
        """Read what torchrun, or ``fer-edge train --processes``, has set; without it, the only one.

        Raises:
            UsageError: if the variables do not fit together.
        """
        size, rank = os.environ.get("WORLD_SIZE", "1"), os.environ.get("RANK", "0")
        local = os.environ.get("LOCAL_RANK", "0")
        host, port = os.environ.get("MASTER_ADDR", "127.0.0.1"), os.environ.get("MASTER_PORT", "29400")
        if not (size.isdigit() and rank.isdigit() and local.isdigit() and port.isdigit() and int(rank) < int(size)):
            raise UsageError(
                f"RANK={rank} LOCAL_RANK={local} WORLD_SIZE={size} MASTER_PORT={port}: these variables must be whole "
                "numbers, and RANK below WORLD_SIZE"
            )
        return cls(int(rank), int(size), int(local), f"{host}:{port}")


class Workers:
    """All who train together, seen from one of them. This class is the case of a single process on a single device."""

    rank = 0
    size = 1
    """Processes."""
    parts = 1
    """Devices of all of them, among which a batch is divided."""
    seed_stream = 0
    """Tells apart the chance of workers whose engine draws for each of them alone."""
    evaluates_apart = False
    """Whether answers come from a network of this process alone, instead of the one that trains."""

    def scope(self) -> AbstractContextManager[None]:
        """Make the variables that are created, and the batches that are fed, those of all workers meanwhile."""
        return nullcontext()

    def outside(self) -> AbstractContextManager[None]:
        """Compute for this process alone meanwhile, within :meth:`scope`."""
        return nullcontext()

    def attach(self, network: keras.Model) -> None:
        """Make a compiled network learn from all workers' parts of a batch."""

    def share(self, value: bytes) -> bytes:
        """Return the first worker's ``value`` to all."""
        return value

    def gather(self, part: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return all workers' (n, k) arrays, of the same shape, one after the other."""
        return part

    def mean(self, figures: Mapping[str, float]) -> dict[str, float]:
        """Return the mean of each figure over the workers."""
        return dict(figures)

    def close(self) -> None:
        """Part from the others; this process goes on alone."""

    def part_of(self, batch_size: int) -> slice:
        """Return this worker's rows of a batch."""
        each = batch_size // self.size
        return slice(self.rank * each, (self.rank + 1) * each)


ALONE = Workers()


def join(recipe: Recipe) -> Workers:
    """Meet the other processes of this run, as the recipe's ``parallel`` says.

    To be called before anything is computed. Blocks until all are there.

    Raises:
        UsageError: if recipe, backend and environment do not fit together.
    """
    place = Place.from_environment()
    if recipe.parallel == "none":
        if place.size > 1:
            raise UsageError(
                f'started as one of {place.size} processes (WORLD_SIZE), but the recipe says parallel = "none"; '
                "give --parallel data as well"
            )
        return ALONE
    backend = keras.backend.backend()
    if backend not in ("jax", "torch"):
        raise UsageError(
            f"parallel training runs on JAX and PyTorch, not on {backend}; set KERAS_BACKEND=torch or jax, "
            "or give --parallel none"
        )
    from fer_train.jax_workers import JaxWorkers
    from fer_train.torch_workers import TorchWorkers

    workers: Workers = JaxWorkers(place) if backend == "jax" else TorchWorkers(place)
    if recipe.batch_size % workers.parts:
        workers.close()
        raise UsageError(
            f"batch_size {recipe.batch_size} cannot be divided among {workers.parts} devices; "
            "choose a multiple with --batch-size"
        )
    return workers


__all__ = ["ALONE", "OTHERS_GONE", "Place", "Workers", "join"]
