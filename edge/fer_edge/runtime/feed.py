"""How frames reach the pipeline: what a feed is, and the one that reads files."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Protocol

import numpy as np

from fer_edge.errors import SourceError
from fer_edge.frames import Frame
from fer_edge.sources.base import Paced, Source
from fer_edge.sources.supervised import StallWatch
from fer_edge.status import State

_log = logging.getLogger(__name__)

READ_AHEAD: Final = 4
"""Frames of a file that are decoded while an earlier one is processed; more would only hold memory."""

LEAST_SIDE_PX: Final = 16
"""Nothing smaller is a picture from a camera."""

FILE_HANGS_AFTER_S: Final = 10.0
"""A read of a file that takes longer hangs: its disk, its server or the other end of its pipe is gone."""

STOP_WITHIN_S: Final = 1.0
"""How long the end of a run waits for a source to let go of its device."""


@dataclass(frozen=True, slots=True)
class FeedState:
    """Where a feed stands."""

    state: State
    source: str
    """Name of the source in use."""
    detail: str
    """Why it is not running, or what else a person should know; "" if nothing."""


class Feed(Protocol):
    """Delivers frames from a source of one kind; the pipeline's thread takes them, the supervisor looks after it."""

    @property
    def ended(self) -> bool:
        """Whether no frame will come any more."""
        ...

    @property
    def dropped(self) -> int:
        """Frames that were overtaken by a newer one."""
        ...

    @property
    def failures(self) -> int:
        """How often the source failed."""
        ...

    @property
    def next_index(self) -> int:
        """The index that the next frame has at least."""
        ...

    def state(self) -> FeedState:
        """Return a snapshot."""
        ...

    def start(self) -> None:
        """Open the source and begin.

        Raises:
            SourceError: if it cannot be opened and is not to be waited for.
        """
        ...

    def get(self, timeout_s: float) -> Frame | None:
        """Take the next frame; None if there is none within ``timeout_s``.

        Raises:
            SourceError: if a finite source failed.
        """
        ...

    def pause(self) -> None:
        """Deliver nothing until :meth:`resume`; a camera is closed."""
        ...

    def resume(self) -> None:
        """Go on."""
        ...

    def supervise(self, now: float) -> None:
        """Look for what the source's own thread cannot notice; called a few times a second."""
        ...

    def healthy(self, now: float) -> bool:
        """Whether the feed does what it can: delivers, or tries to reach its source."""
        ...

    def end(self) -> None:
        """Deliver nothing more and let go of the source as soon as possible; any thread may call it, none waits."""
        ...

    def join(self) -> bool:
        """After :meth:`end`: wait a moment; False if a thread still hangs in a call of a driver or a library."""
        ...


class FileFeed:
    """Every frame of a finite source, decoded a little ahead in a thread of its own.

    Args:
        source: what is read.
        hangs_after_s: seconds that a read may take, waits for a frame's own pace aside.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        source: Source,
        hangs_after_s: float = FILE_HANGS_AFTER_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._clock = clock
        self._stall = StallWatch(hangs_after_s)
        self._changed = threading.Condition()
        self._frames: deque[Frame] = deque()
        self._finished = False
        self._error: Exception | None = None
        self._paused = False
        self._stopped = False
        self._delivered = 0
        self._thread = threading.Thread(target=self._read_all, name="capture", daemon=True)

    @property
    def ended(self) -> bool:
        """Whether the last frame was taken."""
        with self._changed:
            return self._stopped or (self._finished and self._error is None and not self._frames)

    @property
    def dropped(self) -> int:
        """None is, ever."""
        return 0

    @property
    def failures(self) -> int:
        """A file that fails ends the run."""
        return 0

    @property
    def next_index(self) -> int:
        """See :class:`Feed`."""
        return self._delivered

    def state(self) -> FeedState:
        """Return a snapshot."""
        state: State = "paused" if self._paused else "running" if self._delivered else "starting"
        return FeedState("stopped" if self._stopped else state, self._source.name, "")

    def start(self) -> None:
        """Open the file in the calling thread, so that its faults are raised, and begin to decode."""
        self._source.open()
        self._thread.start()

    def get(self, timeout_s: float) -> Frame | None:
        """Take the next frame; see :class:`Feed`."""
        with self._changed:
            if not self._changed.wait_for(self._has_news, timeout_s) or self._stopped:
                return None
            if self._frames:
                frame = self._frames.popleft()
                self._delivered = frame.index + 1
                self._changed.notify_all()
                return frame
            error, self._error = self._error, None
        if error is not None:
            raise error
        return None

    def pause(self) -> None:
        """Stand still at the present frame; the file stays open, because its place would be lost."""
        with self._changed:
            self._paused = True

    def resume(self) -> None:
        """Go on from there."""
        with self._changed:
            self._paused = False
            self._changed.notify_all()

    def supervise(self, now: float) -> None:
        """Do nothing: a file cannot be given up and opened again without losing its place."""

    def healthy(self, now: float) -> bool:
        """Whether no read hangs; one that waits until its frame is due does not."""
        return not self._stall.stalled(now) or (isinstance(self._source, Paced) and self._source.waiting)

    def end(self) -> None:
        """See :class:`Feed`."""
        with self._changed:
            self._stopped = True
            self._frames.clear()
            self._changed.notify_all()

    def join(self) -> bool:
        """See :class:`Feed`."""
        if self._thread.ident is None:
            self._source.close()
            return True
        self._thread.join(STOP_WITHIN_S)
        return not self._thread.is_alive()

    def _has_news(self) -> bool:
        waiting = self._error is not None or self._finished or bool(self._frames)
        return self._stopped or (waiting and not self._paused)

    def _read_all(self) -> None:
        try:
            while (frame := self._read()) is not None and self._put(check_frame(frame, self._source.name)):
                pass
        except Exception as error:
            with self._changed:
                self._error = error
        finally:
            # Here, not in stop(): a decoder must not be released while it decodes.
            self._source.close()
            with self._changed:
                self._finished = True
                self._changed.notify_all()

    def _read(self) -> Frame | None:
        self._stall.beat(self._clock())
        try:
            return self._source.read()
        finally:
            # Between reads nothing is expected: the run may be paused, or its outputs slow.
            self._stall.rest()

    def _put(self, frame: Frame) -> bool:
        """Queue a frame as soon as there is room; False if nobody wants it any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or len(self._frames) < READ_AHEAD)
            if self._stopped:
                return False
            self._frames.append(frame)
            self._changed.notify_all()
            return True


def check_frame(frame: Frame, where: str) -> Frame:
    """Return ``frame`` if it holds what a source has to deliver.

    Raises:
        SourceError: if the picture is not (H, W, 3) BGR or (H, W) grey uint8 of a usable size, or its luma does not
            fit it.
    """
    image, luma = frame.image, frame.luma
    good = image.dtype == np.uint8 and (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3))
    if not good or min(image.shape[:2]) < LEAST_SIDE_PX:
        raise SourceError(
            f"{where}: delivers pictures of the shape {image.shape} and type {image.dtype}; a picture is (H, W, 3) BGR "
            f"or (H, W) grey, uint8, at least {LEAST_SIDE_PX} pixels wide and high; check the source"
        )
    if luma is not None and (luma.dtype != np.uint8 or luma.shape != image.shape[:2]):
        _log.debug("%s: its luma %s does not fit its picture %s", where, luma.shape, image.shape)
        return replace(frame, luma=None)
    return frame
