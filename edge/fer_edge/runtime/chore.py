"""What may take long, done beside the supervisor so that it goes on looking after the run."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from fer_edge.sources.supervised import StallWatch


class Chore:
    """Work in a thread of its own, one piece at a time; each of its steps is a sign of life.

    Args:
        name: of the thread.
        step_within_s: seconds after which a step hangs.
        clock: monotonic seconds.
    """

    def __init__(self, name: str, step_within_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._clock = clock
        self._steps = StallWatch(step_within_s)
        self._thread: threading.Thread | None = None

    @property
    def busy(self) -> bool:
        """Whether the work is under way."""
        return self._thread is not None and self._thread.is_alive()

    def start(self, work: Callable[[], None]) -> None:
        """Begin; to be called while it is not :attr:`busy`. ``work`` must not raise."""
        self.step()
        self._thread = threading.Thread(target=self._run, args=(work,), name=self._name, daemon=True)
        self._thread.start()

    def step(self) -> None:
        """Note that the next step begins."""
        self._steps.beat(self._clock())

    def hangs(self, now: float) -> bool:
        """Whether the present step takes too long."""
        return self._steps.stalled(now)

    def join(self, timeout_s: float) -> None:
        """Wait for the end of the work, but not for ever."""
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        finally:
            self._steps.rest()
