"""Pushing spoiled model files through the whole verification, and telling what became of them.

A worker process spoils, verifies, loads and runs one file after the other, as `fer-edge run` would: verification in
Python, then the native interpreter. It reports each case before it begins and when it ends, so that the one that
crashed or hung it is known; another worker goes on with the next.
"""

from __future__ import annotations

import json
import os
import queue
import resource
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from fer_edge.contract.memory import peak_rss_mb

Kind = Literal["mutate", "sweep"]

ROOT: Final = Path(__file__).parents[2]
CASE_LIMIT_S: Final = 30.0
MEMORY_LIMIT: Final = 4 * 1024**3
"""Address space of the worker in bytes: the interpreter's libraries take 1 GiB of it, most of it never touched."""


@dataclass
class Tally:
    """What became of the cases."""

    cases: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    """``refused`` by the verification, ``card`` (refused by it), ``runtime`` (refused by the native interpreter or
    disagreeing with its card), ``ran``; and the failures ``crashed``, ``hung``, ``raised`` (not a ModelError)."""
    failures: dict[int, str] = field(default_factory=dict)
    """Seed of a case -> what happened; ``mutate(specimens, seed)`` makes it again."""
    peak_mb: float = 0.0
    """Most resident memory of a worker."""
    slowest_s: float = 0.0
    """Longest time of a case, its verification, loading and running together."""


def run_campaign(files: Sequence[Path], first: int, cases: int, kind: Kind = "mutate") -> Tally:
    """Push the cases ``first`` to ``first + cases - 1`` through verification and interpreter.

    Args:
        files: valid ones, to be spoiled.
        first: seed of the first case; its number in a sweep.
        cases: how many.
        kind: ``mutate`` by chance, or ``sweep`` through every word.
    """
    tally = Tally()
    following = first
    while following < first + cases:
        following = _run_worker(files, following, first + cases, tally, kind)
    return tally


def _run_worker(files: Sequence[Path], first: int, end: int, tally: Tally, kind: Kind) -> int:
    """Run a worker until it is through or dies; return the seed with which to go on."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    command = [sys.executable, "-m", "tests.contract.campaign", kind, str(first), str(end), *map(str, files)]
    worker = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment, cwd=ROOT
    )
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    threading.Thread(target=_forward, args=(worker.stdout, lines), daemon=True).start()
    current, begun, hung = first, False, False
    while True:
        try:
            line = lines.get(timeout=CASE_LIMIT_S)
        except queue.Empty:
            hung = True
            worker.kill()
            break
        if line is None:
            break
        report = json.loads(line)
        if "begins" in report:
            current, begun = report["begins"], True
            continue
        current = report["seed"] + 1
        tally.cases += 1
        tally.outcomes[report["outcome"]] += 1
        tally.peak_mb = max(tally.peak_mb, report["peak_mb"])
        tally.slowest_s = max(tally.slowest_s, report["seconds"])
        if report["outcome"] == "raised":
            tally.failures[report["seed"]] = report["detail"]
    status = worker.wait()
    if not begun:  # no finding, but a campaign that cannot be run
        raise RuntimeError(f"the worker ended with {status} before its first case; run it by hand: {command}")
    if current < end:
        tally.cases += 1
        tally.outcomes["hung" if hung else "crashed"] += 1
        tally.failures[current] = f"hung for {CASE_LIMIT_S:.0f} s" if hung else f"the process ended with {status}"
        current += 1
    return current


def _forward(stream: Any, lines: queue.SimpleQueue[str | None]) -> None:
    with stream:
        for line in stream:
            lines.put(line)
    lines.put(None)


def _work(kind: str, first: int, end: int, files: Sequence[Path]) -> None:
    import tempfile

    from tests.contract.mutations import Specimen, mutate, swept

    specimens = [Specimen.of(path.name, path.read_bytes()) for path in files]
    spoil = swept if kind == "sweep" else mutate
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        path = Path(folder) / "mutant.tflite"
        for seed in range(first, end):
            print(json.dumps({"begins": seed}), flush=True)
            path.write_bytes(spoil(specimens, seed))
            if os.environ.get("FER_EDGE_TEST_CRASH_AT") == str(seed):
                os.abort()
            started = time.perf_counter()
            outcome, detail = _outcome(path)
            seconds = time.perf_counter() - started
            report = {"seed": seed, "outcome": outcome, "detail": detail, "seconds": seconds, "peak_mb": peak_rss_mb()}
            print(json.dumps(report), flush=True)


def _outcome(path: Path) -> tuple[str, str]:
    import numpy as np

    from fer_edge.contract.interpreter import LoadedModel
    from fer_edge.contract.tflite_file import read_model_file
    from fer_edge.errors import ModelError

    try:
        try:
            file = read_model_file(path)
        except ModelError as error:
            message = str(error)
            return ("card" if "card" in message or "checksum" in message else "refused"), message
        try:
            model = LoadedModel(file)
        except ModelError as error:
            return "runtime", str(error)
        side = model.card.input
        for value in (0, 128, 255):
            probabilities = model.invoke(np.full((1, *side.shape), value, np.uint8))
            if not np.isclose(probabilities.sum(), 1.0, atol=1e-3):
                return "raised", f"probabilities {probabilities}"
    except Exception as error:  # whatever it is, it is a finding
        return "raised", repr(error)[:500]
    return "ran", ""


if __name__ == "__main__":
    _work(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), [Path(name) for name in sys.argv[4:]])
