"""The dashboard's addresses; ``static/openapi.json`` describes each of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any
from urllib.parse import parse_qs

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Send

from fer_edge.contract.labels import UNCERTAIN
from fer_edge.errors import FerEdgeError
from fer_edge.outputs.settings import ServingSettings
from fer_edge.outputs.web.access import AccessPolicy
from fer_edge.outputs.web.assets import page, static_files
from fer_edge.outputs.web.events import events
from fer_edge.outputs.web.gate import Gate, refusal
from fer_edge.outputs.web.pictures import MULTIPART, PictureStream
from fer_edge.outputs.web.state import DashboardState

LETS_GO_WITHIN_S = 1.0
"""Most cameras are closed by then, and the answer can say so; else it says that the pause is under way."""

LONGEST_FORM = 4096
"""Bytes that the sign-in form may have."""


class Dashboard:
    """Answers requests; all methods run in the server's event loop."""

    def __init__(
        self, state: DashboardState, policy: AccessPolicy, serving: ServingSettings, *, kiosk: bool = False
    ) -> None:
        """Make the application.

        Args:
            state: what is shown.
            policy: who may look.
            serving: what viewing may cost.
            kiosk: whether ``/`` is the full-screen view.
        """
        self._state = state
        self._policy = policy
        self._serving = serving
        self._streams = 0
        self.pictures = PictureStream(state, serving)
        first, dashboard, kiosk_page = (
            _give(page(name), "text/html")
            for name in ("kiosk.html" if kiosk else "dashboard.html", "dashboard.html", "kiosk.html")
        )
        self.routes = [
            Route("/", first),
            Route("/dashboard", dashboard),
            Route("/kiosk", kiosk_page),
            Route("/static/{name}", self._static),
            Route("/signin", self._sign_in, methods=["POST"]),
            Route("/stream.mjpg", self._stream),
            Route("/api/state", self._get_state),
            Route("/api/events", self._events),
            Route("/api/history", self._history),
            Route("/api/pause", self._pause, methods=["POST"]),
            Route("/api/resume", self._resume, methods=["POST"]),
            Route("/healthz", self._healthz),
            Route("/readyz", self._readyz),
            Route("/openapi.json", _give(page("openapi.json"), "application/json")),
        ]
        app = Starlette(routes=self.routes, exception_handlers={HTTPException: _as_json})
        self.app: ASGIApp = Gate(app, policy)

    async def _static(self, request: Request) -> Response:
        content, media_type = static_files().get(request.path_params["name"], (None, ""))
        if content is None:
            raise HTTPException(404)
        return Response(content, media_type=media_type)

    async def _sign_in(self, request: Request) -> Response:
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > LONGEST_FORM:
                raise HTTPException(413, "the form is too long")
        offered = parse_qs(body.decode("utf-8", "replace")).get("token", [""])[0].strip()
        if self._policy.token is None:
            return RedirectResponse("/", 303)
        if not self._policy.accepts_token(offered):
            return Response(page("signin.html"), 401, media_type="text/html")
        return self._policy.sign_in(RedirectResponse("/", 303))

    async def _stream(self, request: Request) -> Response:  # noqa: ARG002
        return self._live(self.pictures.parts, MULTIPART)

    async def _events(self, request: Request) -> Response:  # noqa: ARG002
        return self._live(lambda: events(self._state, self._serving), "text/event-stream")

    async def _get_state(self, request: Request) -> Response:  # noqa: ARG002
        return self._describe()

    async def _history(self, request: Request) -> Response:  # noqa: ARG002
        described = self._state.describe()
        return _json(
            {
                "time": described["time"],
                "interval_s": 1,
                "span_s": described["history_s"],
                "labels": [*described["labels"], UNCERTAIN],
                "seconds": self._state.history.records(),
            }
        )

    async def _pause(self, request: Request) -> Response:  # noqa: ARG002
        return await self._act(lambda control: control.pause())

    async def _resume(self, request: Request) -> Response:  # noqa: ARG002
        return await self._act(lambda control: control.resume())

    async def _healthz(self, request: Request) -> Response:  # noqa: ARG002
        return self._verdict(self._state.alive())

    async def _readyz(self, request: Request) -> Response:  # noqa: ARG002
        return self._verdict(self._state.ready())

    async def _act(self, action: Callable[[Any], None]) -> Response:
        control = self._state.control
        if control is None:
            return refusal(409, "this run cannot be paused")

        def act() -> None:
            action(control)
            deadline = time.monotonic() + LETS_GO_WITHIN_S
            while (status := control.status()).state != "paused" and control.paused and time.monotonic() < deadline:
                time.sleep(0.02)
            self._state.set_status(status)

        try:
            # Closing a camera takes its time, and this is the thread of all viewers.
            await asyncio.to_thread(act)
        except FerEdgeError as error:
            return refusal(500, str(error))
        return self._describe()

    def _describe(self) -> Response:
        viewers = {"viewers": self.pictures.viewers, "observation": self._state.describe_seen()}
        return _json(self._state.describe() | viewers)

    def _verdict(self, well: bool) -> Response:
        return _json({"ok": well, "state": self._state.state}, 200 if well else 503)

    def _live(self, stream: Callable[[], AsyncGenerator[bytes, None]], media_type: str) -> Response:
        if self._streams >= self._serving.max_clients:
            return refusal(503, f"{self._streams} streams are open, which is the most; close one", {"Retry-After": "5"})
        return _Live(self._counted(stream), media_type=media_type, headers={"X-Accel-Buffering": "no"})

    async def _counted(self, stream: Callable[[], AsyncGenerator[bytes, None]]) -> AsyncGenerator[bytes, None]:
        self._streams += 1
        try:
            async with aclosing(stream()) as parts:
                async for part in parts:
                    yield part
        finally:
            self._streams -= 1


class _Live(StreamingResponse):
    """A stream whose generator is closed at once when the client leaves, not when Python gets around to it."""

    async def stream_response(self, send: Send) -> None:
        parts = self.body_iterator
        assert isinstance(parts, AsyncGenerator)
        async with aclosing(parts):
            await super().stream_response(send)


def _give(content: bytes, media_type: str) -> Callable[[Request], Any]:
    async def give(request: Request) -> Response:  # noqa: ARG001
        return Response(content, media_type=media_type)

    return give


def _json(data: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(data), status, media_type="application/json")


async def _as_json(request: Request, error: Exception) -> Response:  # noqa: ARG001
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    return refusal(error.status_code, error.detail, headers)
