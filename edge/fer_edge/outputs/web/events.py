"""Server-sent events: what the page needs to follow a run, in the form of the HTML standard, section 9.2."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Final

import msgspec

from fer_edge.outputs.base import Record
from fer_edge.outputs.settings import ServingSettings
from fer_edge.outputs.web.state import DashboardState

RETRY_MS: Final = 1000
"""After which a browser connects again when the server went away."""

PING_AFTER_S: Final = 5.0
"""A quiet stream sends a ping, so that both ends notice when the other is gone."""


async def events(state: DashboardState, serving: ServingSettings) -> AsyncGenerator[bytes, None]:
    """Yield the events for one client until the output is closed.

    =============== ===================================================== =========================
    event           data                                                  when
    =============== ===================================================== =========================
    ``status``      as ``/api/state``, without observation and viewers    at first, and at news
    ``observation`` the newest result; ``null`` when there is none        at most ``max_events_hz``
    ``second``      one more of the seconds of ``/api/history``           once a second
    ``ping``        ``null``                                              after 5 s without the above
    =============== ===================================================== =========================
    """
    status_number, result_number, second = -1, -1, state.history.newest()
    yield f"retry: {RETRY_MS}\n\n".encode()
    while not state.closing:
        parts: list[bytes] = []
        if (number := state.status_number) != status_number:
            status_number = number
            parts.append(event("status", state.describe()))
        seen = state.seen
        if (number := 0 if seen is None else seen.number) != result_number:
            result_number = number
            parts.append(event("observation", state.describe_seen()))
        if seconds := state.history.since(second):
            second = seconds[-1][0]
            parts.extend(event("second", entry) for _, entry in seconds)
        if parts:
            yield b"".join(parts)
            await asyncio.sleep(1 / serving.max_events_hz)
            continue
        # Seconds end without a beat when frames stop, so look again after one.
        for _ in range(round(PING_AFTER_S)):
            if await state.changed.wait(1.0) or state.history.since(second):
                break
        else:
            yield event("ping", None)


def event(name: str, data: Record | None) -> bytes:
    """Return one event with its data as JSON, which has no line feed that would end it early."""
    return f"event: {name}\ndata: ".encode() + msgspec.json.encode(data) + b"\n\n"
