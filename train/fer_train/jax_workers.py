"""Data-parallel training on JAX, by Keras' own distribution API over the devices of all processes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import jax
import keras
import numpy as np
from numpy.typing import NDArray

from fer_edge.errors import FerEdgeError, UsageError
from fer_train.workers import OTHERS_GONE, Place, Workers


class JaxWorkers(Workers):
    """Processes of ``jax.distributed``; with one process, its devices alone.

    The compiled step sees the whole batch, divided as it is: batch statistics, dropout and figures are those of a
    single process. What each process computes for itself happens :meth:`outside`.
    """

    evaluates_apart = True

    def __init__(self, place: Place) -> None:
        """Meet the others at ``place.address``.

        Raises:
            UsageError: if they do not come.
        """
        self.rank, self.size = place.rank, place.size
        # Set, because Keras draws one together with the others if there is none.
        keras.utils.set_random_seed(0)
        if place.size > 1:
            try:
                keras.distribution.initialize(place.address, place.size, place.rank)
            except RuntimeError as error:
                reason = " ".join(str(error).split())[:160]
                raise UsageError(f"{place.address}: the {place.size} processes cannot meet there ({reason})") from error
        self._distribution = keras.distribution.DataParallel(auto_shard_dataset=False)
        self.parts = jax.device_count()

    @contextmanager
    def scope(self) -> Iterator[None]:
        """Place variables and batches on all devices meanwhile.

        Raises:
            FerEdgeError: if another process goes meanwhile.
        """
        try:
            with self._distribution.scope():
                yield
        except (RuntimeError, ValueError) as error:  # JAX's own are one or the other, by their status
            if self.size > 1 and any(sign in str(error).lower() for sign in ("gloo", "nccl", "coordination", "peer")):
                raise FerEdgeError(OTHERS_GONE) from error
            raise

    @contextmanager
    def outside(self) -> Iterator[None]:
        """Compute on this process's first device meanwhile."""
        before = keras.distribution.distribution()
        keras.distribution.set_distribution(None)
        try:
            yield
        finally:
            keras.distribution.set_distribution(before)

    def share(self, value: bytes) -> bytes:
        """Return the first worker's ``value`` to all."""
        if self.size == 1:
            return value
        from jax.experimental.multihost_utils import broadcast_one_to_all

        length = int(broadcast_one_to_all(np.array(len(value), np.int32)))
        if not length:
            return b""
        buffer = np.frombuffer(value, np.uint8) if self.rank == 0 else np.zeros(length, np.uint8)
        return np.asarray(broadcast_one_to_all(buffer), np.uint8).tobytes()

    def gather(self, part: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return all workers' (n, k) arrays, of the same shape, one after the other."""
        if self.size == 1:
            return part
        from jax.experimental.multihost_utils import process_allgather

        return np.asarray(process_allgather(part, tiled=True), np.float32)

    def close(self) -> None:
        """Part from the others."""
        if self.size > 1:
            jax.distributed.shutdown()
