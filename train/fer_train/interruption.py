"""Ending a long command from outside: Ctrl-C and SIGTERM alike, in one line, with nothing half written."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

_came: Final[list[KeyboardInterrupt]] = []
"""What was raised since :func:`terminable` began."""


class Terminated(KeyboardInterrupt):
    """SIGTERM came: unwinds like Ctrl-C, so that whoever writes a file cleans up after itself."""


@contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM raise :class:`Terminated` meanwhile; does nothing outside the main thread, which gets the signals.

    What is swallowed on its way, see :func:`check`, is not reported as an exception that was ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _came.clear()
    before = {signal.SIGTERM: signal.signal(signal.SIGTERM, _terminate)}
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        before[signal.SIGINT] = signal.signal(signal.SIGINT, _interrupt)
    tell = sys.unraisablehook

    def tell_others(swallowed: sys.UnraisableHookArgs) -> None:
        # Where Python itself swallows it, such as in JAX's callback of the garbage collector, it prints a traceback.
        if swallowed.exc_value not in _came:
            tell(swallowed)

    sys.unraisablehook = tell_others
    try:
        yield
    finally:
        sys.unraisablehook = tell
        for number, handler in before.items():
            signal.signal(number, handler)


def check() -> None:
    """Raise again what was raised in a place that swallows exceptions: callbacks from C++, of the garbage collector."""
    if _came:
        raise _came[-1]


def end(stop: KeyboardInterrupt, message: str | None) -> int:
    """Say on stderr that the command was stopped, and return its exit status.

    Args:
        stop: what :func:`terminable` let through.
        message: what was kept and how to go on; None: another process says it.

    Returns:
        What a shell gives for a program ended by that signal: 130 for Ctrl-C, 143 for SIGTERM. On TensorFlow the
        process ends here instead, with that status: its threads still ask for the next batch, and complain on stderr
        when the interpreter goes before them.
    """
    if message is not None:
        print(f"fer-edge: stopped; {message}", file=sys.stderr, flush=True)
    code = 128 + (signal.SIGTERM if isinstance(stop, Terminated) else signal.SIGINT)
    keras = sys.modules.get("keras")
    if keras is not None and keras.backend.backend() == "tensorflow":
        os._exit(code)
    return code


def _terminate(number: int, frame: FrameType | None) -> None:
    del number, frame
    _came.append(Terminated())
    raise _came[-1]


def _interrupt(number: int, frame: FrameType | None) -> None:
    del number, frame
    _came.append(KeyboardInterrupt())
    raise _came[-1]
