"""Seconds a step of training on PyTorch's CPU kernels, with plain convolutions and with Winograd's filtering.

    KERAS_BACKEND=torch python benchmarks/training_step.py NETWORK [NETWORK ...] [--threads N] [--steps N]

Both ways take turns, a step each, on random images of 48x48 in float32; the first two steps of each are not counted.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import keras
import numpy as np
import torch
from machine import machine

from fer_train import winograd
from fer_train.models import build
from fer_train.run import use_threads
from fer_train.torch_speed import use_native_kernels

WARM_UP = 2


def main() -> None:
    """Measure each network and print a line of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="+", metavar="NETWORK")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="default: 1")
    parser.add_argument("--steps", type=int, default=8, metavar="N", help="of each way; default: 8")
    parser.add_argument("--batch-size", type=int, default=96, metavar="N", help="default: 96")
    args = parser.parse_args()
    if keras.backend.backend() != "torch":
        parser.error("the kernels are PyTorch's: set KERAS_BACKEND=torch")
    use_threads(args.threads)
    print(json.dumps({**machine(), "torch": torch.__version__, "threads": args.threads, "steps": args.steps}))
    for name in args.networks:
        plain, filtered = measure(name, args.batch_size, args.steps)
        print(f"{name}: plain {plain:.2f} s, Winograd {filtered:.2f} s a step of {args.batch_size}, medians")


def measure(name: str, batch_size: int, steps: int) -> tuple[float, float]:
    """Return the median seconds a step with plain convolutions and with Winograd's filtering."""
    network = build(name, (48, 48, 1), 7, {})
    use_native_kernels(network)
    network.compile(keras.optimizers.SGD(0.01, 0.9, nesterov=True), keras.losses.CategoricalCrossentropy(True))
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (batch_size, 48, 48, 1)).astype(np.float32)
    targets = np.eye(7, dtype=np.float32)[rng.integers(0, 7, batch_size)]
    choose = winograd.best_outputs
    ways: tuple[Callable[..., Any], ...] = (lambda *_: None, choose)
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(WARM_UP + steps):
        for way, taken in zip(ways, seconds, strict=True):
            winograd.best_outputs = way
            started = time.perf_counter()
            network.train_on_batch(pixels, targets)
            taken.append(time.perf_counter() - started)
    winograd.best_outputs = choose
    plain, filtered = (median(taken[WARM_UP:]) for taken in seconds)
    return plain, filtered


if __name__ == "__main__":
    main()
