"""A first inference in a process of its own, which may crash, hang or eat memory without harm.

What :mod:`fer_edge.contract.verify` lets through has not crashed a runtime in any test; here is the second line of
defence, for the moment at which a file from elsewhere is looked at for the first time.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fer_edge.child import run_limited
from fer_edge.contract.memory import peak_rss_mb
from fer_edge.errors import FerEdgeError, ModelError

LIMIT_S: Final = 60.0
"""A Pi Zero 2 takes 5 s to import its libraries."""
CPU_LIMIT_S: Final = 120
MEMORY_LIMIT: Final = 3 * 1024**3
"""Address space in bytes. The libraries map 1 GiB, most of which is never touched."""


@dataclass(frozen=True, slots=True)
class Smoke:
    """What a first inference gave."""

    runtime: str
    """Name and version."""
    load_ms: float
    invoke_ms: float
    peak_rss_mb: float
    """Of the child, Python and libraries included."""
    probabilities: tuple[float, ...]
    """For a picture of medium grey, in the order of the labels."""


def smoke_inference(path: Path, threads: int = 1) -> Smoke:
    """Verify, load and run a model in a child with limits on time and memory.

    Args:
        path: a .tflite file with a card.
        threads: of the interpreter.

    Raises:
        ModelError: if it is refused, or the child does not come to an end by itself.
    """
    done = run_limited([sys.executable, "-m", "fer_edge.contract.smoke", str(path), str(threads)], LIMIT_S)
    if done is None:
        raise ModelError(f"{path}: its first inference did not end within {LIMIT_S:.0f} s; it is not to be used")
    if done.status < 0:
        name = signal.Signals(-done.status).name
        raise ModelError(f"{path}: the TFLite runtime crashed on it ({name}); it is not to be used")
    try:
        report = json.loads(done.stdout)
        if "error" in report:
            raise ModelError(report["error"])
        return Smoke(**{**report, "probabilities": tuple(report["probabilities"])})
    except (ValueError, TypeError) as error:
        last = (done.stderr.strip().splitlines() or ["without a word"])[-1][:200]
        raise ModelError(f"{path}: its first inference failed ({last}); it is not to be used") from error


def _child(path: Path, threads: int) -> None:
    import time

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_LIMIT_S, CPU_LIMIT_S))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    import numpy as np

    from fer_edge.contract.interpreter import load_model

    started = time.perf_counter()
    model = load_model(path, threads)
    loaded = time.perf_counter()
    spec = model.card.input
    grey = np.full((1, *spec.shape), 128, np.uint8)
    first = model.invoke(grey)[0]
    ended = time.perf_counter()
    # Extremes and noise: a kernel that reads past its operands tends to answer the same picture differently.
    noise = np.random.default_rng(0).integers(0, 256, (2, *spec.shape)).astype(np.uint8)
    others = model.invoke(np.concatenate([noise, np.zeros_like(grey), np.full_like(grey, 255)]))
    if not np.isfinite(others).all() or not np.array_equal(model.invoke(grey)[0], first):
        raise ModelError(f"{path}: it answers the same picture differently, or with no numbers; it is not to be used")
    report = Smoke(
        runtime=f"{model.runtime.name} {model.runtime.version}",
        load_ms=(loaded - started) * 1e3,
        invoke_ms=(ended - loaded) * 1e3,
        peak_rss_mb=peak_rss_mb(),
        probabilities=tuple(first.tolist()),
    )
    print(json.dumps({name: getattr(report, name) for name in Smoke.__slots__}))


if __name__ == "__main__":
    try:
        _child(Path(sys.argv[1]), int(sys.argv[2]))
    except FerEdgeError as error:
        print(json.dumps({"error": str(error)}))
