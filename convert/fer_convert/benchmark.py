"""The benchmark: each model in fresh processes, in turns, with the state of the machine beside the figures."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from fer_convert.latency import summarize
from fer_convert.latency_machine import BoardState, board_state, reasons_invalid, this_machine
from fer_convert.latency_stages import STAGES
from fer_convert.latency_subject import Preprocessing
from fer_convert.latency_worker import Job, run_job
from fer_edge import __version__

SCHEMA: Final = 1


@dataclass(frozen=True, slots=True)
class BenchmarkSettings:
    """How to measure."""

    threads: tuple[int, ...] = (1,)
    """Threads of the interpreter, one measurement each."""
    rounds: int = 5
    """Times that each model is started anew; models take turns within a round, in an order drawn for each."""
    samples: int = 200
    """Invocations timed in a round."""
    samples_limit_s: float = 15.0
    """Longest time for them."""
    frames: int = 50
    """Frames of the demo scene for the split by stages, in each round; 0 for none."""
    sustained_minutes: float = 0.0
    """How long each model is run without a pause at the end; 0 for not at all."""
    operators: bool = False
    """Time every operator too, with the first number of threads."""
    data: Path | None = None
    """FER2013, for accuracy."""
    split: str = "PrivateTest"
    limit: int | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file to measure."""

    path: Path
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    unverified: bool = False

    def job(self, **more: Any) -> Job:
        """Return a job on it."""
        told = {name: getattr(self.preprocessing, name) for name in ("labels", "input", "scale", "offset", "resize")}
        return Job(model=str(self.path), unverified=self.unverified, **told, **more)


def run_benchmark(
    candidates: Sequence[Candidate], settings: BenchmarkSettings, progress: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """Measure all candidates and return the result's document, raw samples included.

    Args:
        candidates: the files.
        settings: how.
        progress: gets a line now and then.

    Raises:
        FerEdgeError: if a file cannot be used; nothing is measured then, because the files are all looked at first.
    """
    started = datetime.now(UTC)
    models: list[dict[str, Any]] = []
    for candidate in candidates:
        described = run_job(candidate.job(describe=True))
        described = {key: value for key, value in described.items() if not key.endswith("_ms")}
        models.append({"path": str(candidate.path), **described, "threads": [], "stages": None})
    states = [board_state()]
    rounds = _rounds(candidates, settings, states, progress)
    for number, model in enumerate(models):
        model["threads"] = [_figures(threads, rounds[number, threads]) for threads in settings.threads]
        if settings.frames:
            model["stages"] = _stages(settings.threads[0], rounds[number, settings.threads[0]])
    for candidate, model in zip(candidates, models, strict=True):
        if settings.sustained_minutes:
            progress(f"{candidate.path.name}: {settings.sustained_minutes:g} minutes without a pause")
            model["sustained"] = _sustained(candidate, settings, states)
        if settings.operators and model["operators"] is not None:
            progress(f"{candidate.path.name}: {len(model['operators'])} operators")
            times = run_job(candidate.job(operators=True, threads=settings.threads[0]))["operators_ms"]
            for operator, ms in zip(model["operators"], times, strict=True):
                operator["ms"] = ms
        if settings.data is not None:
            progress(f"{candidate.path.name}: accuracy on {settings.split}")
            job = candidate.job(data=str(settings.data), split=settings.split, limit=settings.limit)
            model["accuracy"] = run_job(job)["accuracy"]
    states.append(board_state())
    reasons = reasons_invalid(states)
    return {
        "kind": "fer-edge benchmark",
        "schema": SCHEMA,
        "fer_edge": __version__,
        "started": started.isoformat(timespec="seconds"),
        "seconds": round((datetime.now(UTC) - started).total_seconds(), 1),
        "valid": not reasons,
        "invalid_because": reasons,
        "machine": asdict(this_machine()),
        "board": {
            "before": asdict(states[0]),
            "between": [asdict(s) for s in states[1:-1]],
            "after": asdict(states[-1]),
        },
        "settings": msgspec.to_builtins(asdict(settings), enc_hook=str),
        "models": models,
    }


def _rounds(
    candidates: Sequence[Candidate],
    settings: BenchmarkSettings,
    states: list[BoardState],
    progress: Callable[[str], None],
) -> dict[tuple[int, int], list[dict[str, Any]]]:
    """Return the workers' reports by (number of the candidate, threads)."""
    turns = [(number, threads) for number in range(len(candidates)) for threads in settings.threads]
    reports: dict[tuple[int, int], list[dict[str, Any]]] = {turn: [] for turn in turns}
    rng = random.Random(settings.seed)
    for round_number in range(settings.rounds):
        # A machine that grows hot slows whatever runs last: so nothing always does.
        order = rng.sample(turns, len(turns))
        for number, threads in order:
            candidate = candidates[number]
            name = f"{candidate.path.name}, {threads} thread{'s' * (threads != 1)}"
            progress(f"round {round_number + 1} of {settings.rounds}: {name}")
            frames = settings.frames if threads == settings.threads[0] else 0
            report = run_job(
                candidate.job(
                    threads=threads, samples=settings.samples, samples_limit_s=settings.samples_limit_s, frames=frames
                )
            )
            reports[number, threads].append({"round": round_number, **report})
        states.append(board_state())
    return reports


def _figures(threads: int, reports: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Summarize the rounds of a model with a number of threads; the raw samples stay."""
    samples = [report["samples_ms"] for report in reports]
    return {
        "threads": threads,
        "latency_ms": asdict(summarize(samples)),
        "first_inference_ms": [report["first_inference_ms"] for report in reports],
        "cold_start_ms": [report["cold_start_ms"] for report in reports],
        "load_ms": [report["load_ms"] for report in reports],
        "warm_up": [report["warm_up"] for report in reports],
        "stable": all(report["warm_up"]["stable"] for report in reports),
        "peak_rss_mb": max(report["peak_rss_mb"] for report in reports),
        "samples_ms": samples,
    }


def _stages(threads: int, reports: Sequence[dict[str, Any]]) -> dict[str, Any]:
    raw = {name: [report["stages_ms"][name] for report in reports] for name in (*STAGES, "faces")}
    totals = [
        [sum(stages) for stages in zip(*(raw[name][n] for name in STAGES), strict=True)] for n in range(len(reports))
    ]
    return {
        "threads": threads,
        "scene": "demo",
        "ms_a_frame": {name: asdict(summarize(raw[name])) for name in STAGES} | {"total": asdict(summarize(totals))},
        "mean_ms": {name: sum(map(sum, raw[name])) / sum(map(len, raw[name])) for name in STAGES},
        "faces_a_frame": sum(map(sum, raw["faces"])) / sum(map(len, raw["faces"])),
        "peak_rss_mb": max(report["peak_rss_pipeline_mb"] for report in reports),
        "samples_ms": raw,
    }


def _sustained(candidate: Candidate, settings: BenchmarkSettings, states: list[BoardState]) -> dict[str, Any]:
    """Run without a pause; figures by windows of 10 s, and how much slower the last ones are than the first."""
    threads = settings.threads[-1]  # the most heat that was asked for
    begun = time.monotonic()
    report = run_job(candidate.job(threads=threads, sustained_s=settings.sustained_minutes * 60.0))
    windows = report["windows"]
    states += [BoardState(**window["board"]) for window in windows]
    tenth = max(1, len(windows) // 10)
    first, last = ([w["p50"] for w in part] for part in (windows[:tenth], windows[-tenth:]))
    return {
        "threads": threads,
        "seconds": time.monotonic() - begun,
        "slowdown": (sum(last) / len(last)) / (sum(first) / len(first)),
        "windows": windows,
    }
