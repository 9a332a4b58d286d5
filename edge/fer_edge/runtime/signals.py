"""Signals and other wake-ups, received by a thread that waits for them."""

from __future__ import annotations

import contextlib
import select
import signal
import socket
import threading
from types import FrameType
from typing import Any, Final

HANDLED: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

_WAKE: Final = b"\0"


class SignalChannel:
    """A context in which signals arrive as numbers in a socket, whatever the main thread is doing.

    A Python handler runs only between two bytecodes of the main thread, and must not touch a lock that this thread may
    hold. So the interpreter's own C handler writes the number into a socket (``signal.set_wakeup_fd``), and the
    supervisor reads it. The Python handler does nothing, but for a second Ctrl-C: it interrupts a stop that hangs.

    Outside the main thread, where no signal can be handled, it is a wake-up call only.
    """

    def __init__(self) -> None:
        self._ends: tuple[socket.socket, socket.socket] | None = None
        self._handlers: dict[signal.Signals, Any] = {}
        self._wakeup_fd = -1
        self._interrupts = 0

    def __enter__(self) -> SignalChannel:
        reader, writer = self._ends = socket.socketpair()
        reader.setblocking(False)
        writer.setblocking(False)
        if threading.current_thread() is threading.main_thread():
            self._wakeup_fd = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
            self._handlers = {number: signal.signal(number, self._note) for number in HANDLED}
        return self

    def __exit__(self, *_: object) -> None:
        if self._handlers:
            signal.set_wakeup_fd(self._wakeup_fd)
            for number, handler in self._handlers.items():
                signal.signal(number, handler)
            self._handlers = {}
        ends, self._ends = self._ends, None
        for end in ends or ():
            end.close()

    def wake(self) -> None:
        """End the wait of the other thread; safe in any thread, never blocks."""
        ends = self._ends
        if ends is not None:
            with contextlib.suppress(OSError):  # full: it is awake already; closed: it has ended
                ends[1].send(_WAKE)

    def wait(self, timeout_s: float) -> set[signal.Signals]:
        """Wait until a signal or a wake-up comes, or the time is up; return the signals that came.

        To be called within the context, by one thread, which ends before the context does.
        """
        assert self._ends is not None, "wait() outside of the context"
        reader, _ = self._ends
        if not select.select([reader], [], [], max(0.0, timeout_s))[0]:
            return set()
        numbers = set(reader.recv(4096))
        return {number for number in HANDLED if number in numbers}

    def _note(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self._interrupts += number == signal.SIGINT
        if self._interrupts > 1:
            raise KeyboardInterrupt
