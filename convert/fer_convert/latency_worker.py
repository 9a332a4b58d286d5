"""The process in which one model is measured once: ``python -m fer_convert.latency_worker JOB``.

Nothing of a model measured before is left in it, neither memory nor threads nor a warm cache of the allocator. It
prints one JSON document; a crash of the TFLite runtime is the parent's to report.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import msgspec

from fer_edge.child import run_limited
from fer_edge.errors import FerEdgeError, ModelError, UsageError

START_LIMIT_S: Final = 120.0
"""Until a worker must be through with all but the samples that it was asked for."""
SUSTAINED_WINDOW_S: Final = 10.0


class Job(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a worker is to do."""

    model: str
    threads: int = 1
    labels: tuple[str, ...] = ()
    input: tuple[int, int, int] | None = None
    scale: float = 1.0
    offset: float = 0.0
    resize: str = "area"
    unverified: bool = False
    describe: bool = False
    samples: int = 0
    samples_limit_s: float = 30.0
    frames: int = 0
    sustained_s: float = 0.0
    operators: bool = False
    data: str | None = None
    split: str = "PrivateTest"
    limit: int | None = None

    @property
    def limit_s(self) -> float:
        """When the worker is ended from outside."""
        data = 3600.0 if self.data else 0.0
        data += 600.0 if self.operators else 0.0
        return START_LIMIT_S + 2 * self.samples_limit_s + self.frames + 1.2 * self.sustained_s + data


def run_job(job: Job) -> dict[str, Any]:
    """Do ``job`` in a fresh process and return its report, with ``cold_start_ms`` from the start to the loaded model.

    Raises:
        FerEdgeError: if the worker refuses, crashes or hangs.
    """
    text = msgspec.json.encode(job).decode()
    # perf_counter is CLOCK_MONOTONIC on Linux, the same for all processes.
    command = [sys.executable, "-m", "fer_convert.latency_worker", text, str(time.perf_counter_ns())]
    done = run_limited(command, job.limit_s)
    if done is None:
        raise ModelError(f"{job.model}: its measurement did not end within {job.limit_s:.0f} s")
    if done.status < 0:
        raise ModelError(f"{job.model}: the TFLite runtime crashed on it ({signal.Signals(-done.status).name})")
    try:
        report: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        last = (done.stderr.strip().splitlines() or ["without a word"])[-1][:300]
        raise FerEdgeError(f"{job.model}: its measurement failed ({last})") from None
    if "error" in report:
        raise _error(report)
    return report


def _error(report: dict[str, Any]) -> FerEdgeError:
    """Return the worker's error as one that exits with the same code."""
    error = FerEdgeError(report["error"])
    error.exit_code = report["exit_code"]  # type: ignore[misc]
    return error


def _work(job: Job, started_ns: int) -> dict[str, Any]:
    from fer_convert.latency import sample, warm_up
    from fer_convert.latency_subject import Preprocessing, Subject

    begun = time.perf_counter_ns()
    told = Preprocessing(job.labels, job.input, job.scale, job.offset, job.resize)
    subject = Subject(Path(job.model), told, job.threads, job.unverified)
    loaded = time.perf_counter_ns()
    report: dict[str, Any] = {
        "cold_start_ms": (loaded - started_ns) / 1e6,
        "load_ms": (loaded - begun) / 1e6,
    }
    if job.describe:
        report |= _description(subject)
    if job.samples or job.frames or job.sustained_s:
        from fer_convert.latency_stages import measure_stages, portrait_pixels

        stored = subject.stored(portrait_pixels(subject))
        at = time.perf_counter_ns()
        subject.run(stored)
        report["first_inference_ms"] = (time.perf_counter_ns() - at) / 1e6
        report["warm_up"] = asdict(warm_up(lambda: subject.run(stored)))
        if job.samples:
            report["samples_ms"] = sample(lambda: subject.run(stored), job.samples, job.samples_limit_s)
            report["peak_rss_mb"] = _peak_rss_mb()
        if job.frames:
            report["stages_ms"] = measure_stages(subject, job.frames)
            report["peak_rss_pipeline_mb"] = _peak_rss_mb()
        if job.sustained_s:
            report["windows"] = _sustain(subject, stored, job.sustained_s)
    if job.operators:
        report["operators_ms"] = _operators(subject, job)
    if job.data:
        report["accuracy"] = _accuracy(subject, job)
    return report


def _operators(subject: Any, job: Job) -> list[float]:
    try:
        from fer_convert.latency_operators import operator_times
    except ModuleNotFoundError as error:  # tflite_runtime brings no schema to cut graphs by
        raise UsageError("--operators needs ai-edge-litert: run  python -m pip install ai-edge-litert") from error
    from fer_convert.latency_stages import portrait_pixels
    from fer_edge.contract.tflite_file import read_bounded

    return operator_times(read_bounded(subject.path), subject.stored(portrait_pixels(subject)), job.threads)


def _description(subject: Any) -> dict[str, Any]:
    from fer_convert.latency_profile import arena_bytes, operator_profile
    from fer_edge.contract.interpreter import load_model

    card = subject.card
    if card is not None:
        load_model(subject.path)  # holds the card against the tensors
    return {
        "sha256": subject.sha256,
        "bytes": subject.bytes,
        "labels": list(subject.labels),
        "input": list(subject.spec.shape),
        "input_dtype": subject.input_dtype,
        "name": None if card is None else card.name,
        "version": None if card is None else card.version,
        "network": None if card is None else card.network,
        "recipe": None if card is None else card.quantization.recipe,
        "parameters": None if card is None else card.parameters,
        "operators": operator_profile(subject.path),
        "arena_bytes": arena_bytes(subject.path),
    }


def _sustain(subject: Any, stored: Any, seconds: float) -> list[dict[str, Any]]:
    from fer_convert.latency import PERCENTILES, sample
    from fer_convert.latency_machine import board_state

    windows: list[dict[str, Any]] = []
    began = time.perf_counter()
    while (passed := time.perf_counter() - began) < seconds:
        import numpy as np

        times = sample(lambda: subject.run(stored), sys.maxsize, min(SUSTAINED_WINDOW_S, seconds - passed))
        figures = {f"p{p}": float(np.percentile(times, p)) for p in PERCENTILES}
        windows.append({"at_s": passed, "n": len(times), **figures, "board": asdict(board_state())})
    return windows


def _accuracy(subject: Any, job: Job) -> dict[str, Any]:
    from fer_convert.latency_accuracy import measure_accuracy

    assert job.data is not None
    return measure_accuracy(subject, Path(job.data), job.split, job.limit)


def _peak_rss_mb() -> float:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _main(job: str, started_ns: str) -> None:
    try:
        report = _work(msgspec.json.decode(job, type=Job), int(started_ns))
    except FerEdgeError as error:
        report = {"error": str(error), "exit_code": error.exit_code}
    sys.stdout.write(json.dumps(report))
    sys.stdout.flush()


if __name__ == "__main__":
    os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")
    _main(*sys.argv[1:3])
