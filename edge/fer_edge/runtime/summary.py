"""What a run has done: counters, percentiles, and the figures of the last seconds."""

from __future__ import annotations

import statistics
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from fer_edge.contract.memory import peak_rss_mb
from fer_edge.frames import Observation
from fer_edge.outputs import OutputStats
from fer_edge.runtime.histogram import DurationHistogram
from fer_edge.vision.schedule import ScheduleReport

RECENT_S: Final = 3.0
"""Seconds that count as recent for the rate and the age of results."""
_RECENT_MOST: Final = 1000

PERCENTILES: Final = (50, 90, 99)


class RunStatistics:
    """Counts observations in bounded memory; written by one thread, read by any."""

    def __init__(self) -> None:
        self.frames = 0
        self.frames_with_face = 0
        self.started: float | None = None
        """Monotonic seconds at which the source was ready."""
        self.ended: float | None = None
        self.latest: float | None = None
        """Monotonic seconds at which the last result was finished."""
        self._histograms = {name: DurationHistogram() for name in ("detect", "classify", "total", "age")}
        self._recent: deque[tuple[float, float]] = deque(maxlen=_RECENT_MOST)
        self._lock = threading.Lock()

    def add(self, observation: Observation, now: float) -> None:
        """Count a result that was finished at ``now`` (monotonic seconds)."""
        timing = observation.timing
        with self._lock:
            self.frames += 1
            self.latest = now
            self.frames_with_face += bool(observation.faces)
            self._histograms["detect"].add(timing.detect)
            self._histograms["classify"].add(timing.classify)
            self._histograms["total"].add(timing.total)
            self._histograms["age"].add(observation.age_ms)
            self._recent.append((now, observation.age_ms))

    def recent(self, now: float) -> tuple[float, float | None]:
        """Return the frames a second and the median age in milliseconds of the last :data:`RECENT_S`."""
        with self._lock:
            ages = [age for at, age in self._recent if now - at <= RECENT_S]
            first = now - RECENT_S if self.started is None else max(self.started, now - RECENT_S)
            if len(ages) == _RECENT_MOST:  # more than were kept: the rate is that of the ones that were
                first = self._recent[0][0]
        if not ages:
            return 0.0, None
        return len(ages) / max(now - first, 1e-3), statistics.median(ages)

    def percentiles(self, name: str) -> dict[str, float | None]:
        """Return ``{"p50", "p90", "p99"}`` in milliseconds of ``detect``, ``classify``, ``total`` or ``age``."""
        with self._lock:
            return {f"p{percent}": _rounded(self._histograms[name].percentile(percent)) for percent in PERCENTILES}

    @property
    def seconds(self) -> float:
        """From the moment when the source was ready to the end of the run."""
        return 0.0 if self.started is None or self.ended is None else self.ended - self.started


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """A finished run."""

    statistics: RunStatistics
    source: str
    model: str
    model_sha256: str
    runtime: str
    """The TFLite runtime and its version."""
    dropped: int
    failures: int
    """How often a live source failed and was opened again."""
    schedule: ScheduleReport | None
    outputs: tuple[OutputStats, ...]

    @property
    def fps(self) -> float:
        """Processed frames a second, over the whole run."""
        return self.statistics.frames / self.statistics.seconds if self.statistics.seconds > 0 else 0.0

    def document(self) -> dict[str, Any]:
        """Return what ``--summary`` writes, made of JSON's types; see ``fer-edge run --help``."""
        counted = self.statistics
        timing: Mapping[str, Any] = {name: counted.percentiles(name) for name in ("detect", "classify", "total")}
        return {
            "frames": counted.frames,
            "frames_with_face": counted.frames_with_face,
            "seconds": round(counted.seconds, 4),
            "fps": round(self.fps, 2),
            "timing_ms": timing,
            "age_ms": counted.percentiles("age"),
            "peak_rss_mb": round(peak_rss_mb(), 1),
            "runtime": self.runtime,
            "model": self.model,
            "model_sha256": self.model_sha256,
            "source": self.source,
            "dropped": self.dropped,
            "source_failures": self.failures,
            "schedule": None if self.schedule is None else asdict(self.schedule),
            "outputs": [asdict(stats) for stats in self.outputs],
        }

    def sentence(self) -> str:
        """Return the run in one line for people."""
        counted = self.statistics
        dropped = f", {self.dropped} dropped" if self.dropped else ""
        return (
            f"{counted.frames} frames in {counted.seconds:.1f} s ({self.fps:.1f} frames/s{dropped}), "
            f"a face in {counted.frames_with_face}; model {self.model}, {self.runtime}"
        )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
