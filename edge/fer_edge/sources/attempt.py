"""Opening a camera whose driver may never come back, without waiting for it for ever."""

from __future__ import annotations

import threading
from typing import Final

from fer_edge.errors import SourceError
from fer_edge.frames import Frame
from fer_edge.sources.base import Source

TOO_LATE: Final = "delivers no picture in time"


class Attempt:
    """Opens a source and reads one frame, in a thread of its own.

    One that is given up is left to its thread, which closes the source should the driver ever return: a device must
    not be released while it is being opened or read.
    """

    def __init__(self, source: Source) -> None:
        """Begin."""
        self.source = source
        self.frame: Frame | None = None
        """The frame that proves the source, once :meth:`wait` has returned ""."""
        self._reason = TOO_LATE
        self._given_up = False
        self._changed = threading.Condition()
        self._done = False
        self._thread = threading.Thread(target=self._run, name=f"try {source.name}", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread is still in the source's driver."""
        return self._thread.is_alive()

    def wait(self, timeout_s: float) -> str:
        """Wait for the outcome; give the attempt up after ``timeout_s`` seconds.

        Returns:
            "" if the source is open and has delivered :attr:`frame`; else why not, and it is closed or will be.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._done, max(0.0, timeout_s))
            self._given_up = not self._done
            return self._reason

    def _run(self) -> None:
        frame, reason = None, ""
        try:
            self.source.open()
            frame = self.source.read()
            reason = "" if frame is not None else "delivers no picture"
        except SourceError as error:
            reason = str(error).removeprefix(f"{self.source.name}: ")
        except Exception as error:  # whatever a driver does, the next camera is tried
            reason = " ".join(str(error).split()) or repr(error)
        with self._changed:
            self.frame, self._done = frame, True
            keep = not reason and not self._given_up
            if not self._given_up:
                self._reason = reason
            self._changed.notify_all()
        if not keep:
            self.source.close()
