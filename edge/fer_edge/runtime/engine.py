"""The run itself: the only threads are capture, process (the caller's), supervise, and reload when one is asked for.

::

    capture ──► latest frame ──► process: pipeline ──► outputs, each in a thread of its own
       ▲                            ▲
       └────────── supervise ───────┘   status once a second, hangs, signals, new models and settings

What is made ready beside it (a model, a configuration) is taken over by the processing thread between two frames.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from fer_edge import board
from fer_edge.errors import ConfigError, FerEdgeError
from fer_edge.frames import Frame
from fer_edge.notify import ServiceNotifier
from fer_edge.outputs import OutputClosed
from fer_edge.pipeline import build_smoother
from fer_edge.runtime.chore import Chore
from fer_edge.runtime.feed import Feed, FileFeed
from fer_edge.runtime.live_feed import LiveFeed
from fer_edge.runtime.model_watch import ModelWatch
from fer_edge.runtime.output_set import OutputSet
from fer_edge.runtime.parts import Parts
from fer_edge.runtime.signals import SignalChannel
from fer_edge.runtime.summary import RunStatistics, RunSummary
from fer_edge.sources.supervised import Backoff
from fer_edge.status import RuntimeStatus
from fer_edge.vision.classifier import ExpressionClassifier

_log = logging.getLogger(__name__)

TICK_S: Final = 0.25
"""How often the supervisor looks around, and how long the processing thread waits for a frame before it does."""
BOARD_EVERY_S: Final = 5.0
"""Temperature and throttling change slowly, and asking a Raspberry Pi starts a program."""
SUPERVISOR_WITHIN_S: Final = 5.0
"""How long the end waits for a supervisor that is loading a model, and for a reload."""
RELOAD_STEP_WITHIN_S: Final = 30.0
"""A step of a reload (reading the configuration and loading a model; closing or opening one output, which gives up by
itself after 15 s) that takes longer will never be done: no more heartbeats."""


class Runtime:
    """One run, from the opening of the source to the summary.

    :meth:`run` is called once; the other methods may be called from any thread meanwhile.

    Args:
        parts: what the run is made of.
        frames: end after so many processed frames; None: never.
        wait_for_source: a camera that is missing at the start is waited for.
        reload: makes the parts anew when SIGHUP asks for it; raises FerEdgeError to keep the present ones.
        notifier: tells the service manager.
        stuck_after_s: a frame that takes longer than this, outputs included, will never be done: no more heartbeats.
        status_every_s: how often outputs are told the state, and models are looked at.
        reload_step_within_s: see :data:`RELOAD_STEP_WITHIN_S`.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        parts: Parts,
        *,
        frames: int | None = None,
        wait_for_source: bool = False,
        reload: Callable[[], Parts] | None = None,
        notifier: ServiceNotifier | None = None,
        stuck_after_s: float = 10.0,
        status_every_s: float = 1.0,
        reload_step_within_s: float = RELOAD_STEP_WITHIN_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._parts = parts
        self._frames = frames
        self._wait_for_source = wait_for_source
        self._reload = reload
        self._notifier = notifier or ServiceNotifier({})
        self._stuck_after_s = stuck_after_s
        self._status_every_s = status_every_s
        self._clock = clock
        self._created = clock()

        self._pipeline = parts.pipeline
        self._outputs = OutputSet(parts.outputs, finite=not parts.live, control=self)
        self._feed = self._new_feed(parts, wait=wait_for_source, first_index=0)
        self._watch = ModelWatch(parts.model, parts.classifier)
        self._reloading = Chore("reload", reload_step_within_s, clock)
        self._statistics = RunStatistics()
        self._former_drops = self._former_failures = 0
        self._source_name = ""

        self._signals = SignalChannel()
        self._stopping = threading.Event()
        self._finished = threading.Event()
        self._paused = False
        self._interrupted = False
        self._reload_wanted = False
        self._between_frames: deque[Callable[[], None]] = deque()
        self._turned = clock()
        self._supervisor_error: BaseException | None = None
        self._board: tuple[float | None, str | None] = (None, None)
        self._left_hanging = False

    @property
    def left_hanging(self) -> bool:
        """After the run: whether a thread still hangs in a driver, so that the interpreter cannot end in order."""
        return self._left_hanging

    @property
    def paused(self) -> bool:
        """Whether a pause was asked for; :meth:`status` tells when the camera is really closed."""
        return self._paused

    def pause(self) -> None:
        """Close the camera, and give no more results out until :meth:`resume`."""
        self._paused = True
        self._feed.pause()
        self._signals.wake()

    def resume(self) -> None:
        """Open the camera again."""
        self._paused = False
        self._feed.resume()
        self._signals.wake()

    def stop(self) -> None:
        """End the run as after its last frame."""
        self._stopping.set()
        self._signals.wake()

    def reload(self) -> None:
        """Read the configuration again, as on SIGHUP."""
        self._reload_wanted = True
        self._signals.wake()

    def status(self) -> RuntimeStatus:
        """Return the state of the run."""
        now = self._clock()
        feed = self._feed.state()
        fps, age_ms = self._statistics.recent(now)
        card = self._pipeline.classifier.card
        silent_s = now - (self._statistics.latest or now)
        detail = feed.detail
        if feed.state == "running" and not detail and silent_s > self._parts.source_settings.stale_after_s:
            detail = f"no new picture for {silent_s:.0f} s"
        return RuntimeStatus(
            state="stopped" if self._finished.is_set() else feed.state,
            source=feed.source,
            detail=detail,
            model=card.name,
            model_sha256=self._pipeline.classifier.sha256,
            frames=self._statistics.frames,
            dropped=self._former_drops + self._feed.dropped,
            fps=fps,
            age_ms=age_ms,
            temperature_c=self._board[0],
            throttled=self._board[1],
            uptime_s=now - self._created,
        )

    def run(self) -> RunSummary:
        """Process until the source, the number of frames or :meth:`stop` ends it.

        Raises:
            SourceError: if the source cannot be opened, or a finite one fails.
            OutputError: if an output cannot be opened, or one that must not lose anything fails.
        """
        supervisor = threading.Thread(target=self._supervise, name="supervise", daemon=True)
        with self._signals:
            supervisor.start()
            try:
                self._feed.start()
                self._outputs.open()
                self._outputs.status(self.status())
                self._notifier.ready()
                self._statistics.started = self._clock()
                self._process()
            except OutputClosed as closed:
                _log.debug("%s", closed)
            except KeyboardInterrupt:  # the second Ctrl-C: an output does not take what it is given
                self._interrupted = True
                raise
            finally:
                self._shut_down(supervisor)
        if self._supervisor_error is not None:
            raise self._supervisor_error
        return self._summary()

    def _process(self) -> None:
        while not self._stopping.is_set():
            self._turned = self._clock()
            while self._between_frames:
                self._between_frames.popleft()()
            frame = self._feed.get(TICK_S)
            if frame is not None:
                self._process_one(frame)
            if self._feed.ended or (self._frames is not None and self._statistics.frames >= self._frames):
                return

    def _process_one(self, frame: Frame) -> None:
        observation = self._pipeline.process(frame)
        if self._paused and self._parts.live:  # taken before the pause: nobody is to see it
            return
        self._outputs.write(observation, frame.image)
        self._statistics.add(observation, self._clock())

    def _shut_down(self, supervisor: threading.Thread) -> None:
        """Stop in order: the source first, the outputs when nothing more comes, the supervisor last."""
        self._notifier.stopping()
        self._stopping.set()
        self._end_feed()
        if self._parts.live:
            self._statistics.ended = self._clock()
        try:
            self._left_hanging = not self._feed.join()
            self._finished.set()
            self._outputs.status(self.status())
            if not self._interrupted:
                self._reloading.join(SUPERVISOR_WITHIN_S)
                self._outputs.close()
        finally:
            if not self._parts.live:  # a file is done when its last result is written
                self._statistics.ended = self._clock()
            self._finished.set()
            self._signals.wake()
            supervisor.join(SUPERVISOR_WITHIN_S)

    def _end_feed(self) -> None:
        if not self._source_name:  # `auto` forgets which camera it took when it lets go of it
            self._source_name = self._feed.state().source
        self._feed.end()

    def _summary(self) -> RunSummary:
        return RunSummary(
            statistics=self._statistics,
            source=self._source_name,
            model=self._pipeline.classifier.card.name,
            model_sha256=self._pipeline.classifier.sha256,
            runtime=self._parts.runtime,
            dropped=self._former_drops + self._feed.dropped,
            failures=self._former_failures + self._feed.failures,
            schedule=self._pipeline.schedule.report(),
            outputs=self._outputs.stats(),
        )

    # --- the supervisor's thread ---

    def _supervise(self) -> None:
        next_status = next_board = self._clock()
        try:
            while not self._finished.is_set():
                self._handle(self._signals.wait(min(TICK_S, self._status_every_s)))
                now = self._clock()
                if self._stopping.is_set():
                    self._end_feed()
                self._feed.supervise(now)
                if self._healthy(now):
                    self._notifier.heartbeat(now)
                if now >= next_board:
                    next_board = now + BOARD_EVERY_S
                    self._board = board.temperature_c(), board.throttled()
                if now >= next_status:
                    next_status = now + self._status_every_s
                    self._report()
                    self._look_for_model()
        except BaseException as error:
            if not self._finished.is_set():
                self._supervisor_error = error
                self._stopping.set()
                self._end_feed()

    def _handle(self, signals: set[signal.Signals]) -> None:
        if signals & {signal.SIGTERM, signal.SIGINT}:
            self._stopping.set()
        if signal.SIGHUP in signals:
            self._reload_wanted = True
        if self._reload_wanted and not self._reloading.busy and not self._stopping.is_set():
            self._reload_wanted = False
            self._begin_reload()

    def _healthy(self, now: float) -> bool:
        """Whether the run does what it can; a reload that is slow is no fault, one that hangs is."""
        processing = now - self._turned <= self._stuck_after_s
        return processing and self._feed.healthy(now) and not self._reloading.hangs(now)

    def _report(self) -> None:
        status = self.status()
        self._notifier.status(f"{status.state}: {status.source}, {status.fps:.0f} frames/s  {status.detail}")
        self._outputs.status(status)

    def _look_for_model(self) -> None:
        # A file that is processed as fast as it goes keeps the model that it began with.
        if self._parts.live or self._parts.source_settings.realtime:
            classifier = self._watch.poll()
            if classifier is not None:
                self._between_frames.append(lambda: self._take_model(classifier))

    def _begin_reload(self) -> None:
        reload = self._reload
        if reload is None or not self._parts.live:
            _log.warning("not reloaded: a file is processed with the configuration that it began with")
            return
        self._notifier.reloading()
        self._reloading.start(lambda: self._reload_now(reload))

    # --- the thread of a reload ---

    def _reload_now(self, reload: Callable[[], Parts]) -> None:
        try:
            parts = reload()
            if not parts.live:
                raise ConfigError("source.spec names a file; stop fer-edge and start it with that source")
            self._outputs.replace(parts.outputs, self._reloading.step)
        except Exception as error:  # a configuration that cannot be used must never end a run
            if not isinstance(error, FerEdgeError):
                _log.debug("unexpected failure", exc_info=error)
            _log.error("not reloaded, the old configuration stays: %s", " ".join(str(error).split()) or repr(error))
        else:
            self._between_frames.append(lambda: self._take_parts(parts))
        finally:
            if not self._stopping.is_set():
                self._notifier.ready()

    # --- between two frames, in the processing thread ---

    def _take_model(self, classifier: ExpressionClassifier) -> None:
        self._pipeline.swap_model(classifier, build_smoother(classifier, self._parts.config))
        _log.info("model %s (%s), sha256 %s", classifier.card.name, classifier.card.version, classifier.sha256[:12])

    def _take_parts(self, parts: Parts) -> None:
        old, self._parts = self._parts, parts
        new = parts.pipeline
        if parts.config.detection != old.config.detection:
            self._pipeline.swap_schedule(new.schedule)
        if parts.config.smoothing != old.config.smoothing or new.classifier.sha256 != self._pipeline.classifier.sha256:
            self._pipeline.swap_model(new.classifier, new.smoother)
        self._watch = ModelWatch(parts.model, parts.classifier)
        if parts.config.source != old.config.source:
            self._take_source(parts)
        _log.info("the configuration was reloaded")

    def _take_source(self, parts: Parts) -> None:
        former = self._feed
        former.end()
        former.join()
        self._former_drops += former.dropped
        self._former_failures += former.failures
        feed = self._new_feed(parts, wait=True, first_index=former.next_index)
        if self._paused:
            feed.pause()
        feed.start()
        self._feed = feed

    def _new_feed(self, parts: Parts, *, wait: bool, first_index: int) -> Feed:
        if not parts.live:
            return FileFeed(parts.build_source(), clock=self._clock)
        return LiveFeed(
            parts.build_source,
            parts.source_settings,
            wait_for_source=wait,
            first_index=first_index,
            backoff=Backoff(cap_s=parts.longest_wait_s),
            clock=self._clock,
        )
