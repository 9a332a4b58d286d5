"""A wake-up call from the output's thread to everyone who waits in the server's event loop."""

from __future__ import annotations

import asyncio
from contextlib import suppress


class Pulse:
    """Wakes all waiters at once; what is new they look up themselves."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._event = asyncio.Event()

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Name the event loop in which :meth:`wait` is called."""
        self._loop = loop

    def beat(self) -> None:
        """Wake all waiters; from any thread, and harmless when the loop is gone."""
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop was closed
                self._loop.call_soon_threadsafe(self.beat_in_loop)

    async def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for the next beat, or for ``timeout_s`` seconds; return whether there was one.

        Whoever looks for news and then waits, without awaiting anything in between, misses none: a beat is only
        delivered while the loop is free.
        """
        try:
            async with asyncio.timeout(timeout_s):
                return await self._event.wait()
        except TimeoutError:
            return False

    def beat_in_loop(self) -> None:
        """Wake all waiters; from the event loop only."""
        event, self._event = self._event, asyncio.Event()
        event.set()
