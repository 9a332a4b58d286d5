"""The one place where a live frame waits: the latest wins, and what it overtakes is counted."""

from __future__ import annotations

from threading import Condition

from fer_edge.frames import Frame


class LatestFrameSlot:
    """A slot for one frame between the capturing and the processing thread.

    No queue can grow: a frame that nobody took before the next one came is dropped and counted.
    """

    def __init__(self) -> None:
        self._changed = Condition()
        self._frame: Frame | None = None
        self._dropped = 0
        self._closed = False

    @property
    def dropped(self) -> int:
        """How many frames were overtaken by a newer one since the slot was made."""
        return self._dropped

    @property
    def closed(self) -> bool:
        """Whether no frame will come any more; one may still be waiting."""
        return self._closed

    def put(self, frame: Frame) -> None:
        """Leave ``frame`` for the consumer, in place of an older one; never waits. A closed slot ignores it."""
        with self._changed:
            if self._closed:
                return
            if self._frame is not None:
                self._dropped += 1
            self._frame = frame
            self._changed.notify_all()

    def get(self, timeout: float | None = None) -> Frame | None:
        """Take the waiting frame, or wait for one.

        Args:
            timeout: seconds to wait at most; None waits until a frame comes or the slot is closed.

        Returns:
            None if no frame came in time, or if the slot is closed and empty.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._frame is not None or self._closed, timeout)
            frame, self._frame = self._frame, None
            return frame

    def clear(self) -> None:
        """Forget the waiting frame without counting it, as when capture is paused."""
        with self._changed:
            self._frame = None

    def close(self) -> None:
        """Wake all who wait; the frame that waits can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
