"""An ASGI server in a thread of its own, with its own event loop."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Callable
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from fer_edge.errors import OutputError
from fer_edge.outputs.settings import address

log = logging.getLogger(__name__)

SEND_BUFFER_BYTES: Final = 128 * 1024
"""The kernel's buffer for each client: about two pictures. A larger one would show a slow client old pictures."""

START_WITHIN_S: Final = 10.0
STOP_WITHIN_S: Final = 5.0


def listen(host: str, port: int, client_timeout_s: float) -> socket.socket:
    """Return a socket that listens.

    Args:
        host: name or address; of a name's addresses the first is taken.
        port: 0: any free one.
        client_timeout_s: after which a client that takes no data is disconnected, by the kernel.

    Raises:
        OutputError: if the address or the port cannot be had.
    """
    listener: socket.socket | None = None
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, where = found[0]
        listener = socket.socket(family, kind, protocol)
        # A server that was just stopped leaves connections behind that would block its port for a minute.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Accepted connections inherit these (tcp(7)).
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(client_timeout_s * 1000))
        listener.bind(where)
        listener.listen(64)
    except (OSError, UnicodeError) as error:
        if listener is not None:
            listener.close()
        reason = getattr(error, "strerror", None) or "not a host name"
        raise OutputError(
            f"web: cannot listen on {address(host, port)} ({reason}); choose another port or address"
        ) from error
    return listener


class ServerThread:
    """Serves an application on a socket until it is stopped."""

    def __init__(self, app: ASGIApp, listener: socket.socket, max_connections: int) -> None:
        """Serve nothing yet.

        Args:
            app: the application.
            listener: closed at the end.
            max_connections: further ones are answered with 503.
        """
        config = uvicorn.Config(
            app,
            http="h11",
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            log_level=logging.WARNING,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=max_connections,
            timeout_graceful_shutdown=2,
        )
        self._listener = listener
        self._server = _Server(config)
        self._thread = threading.Thread(target=self._run, name="web server", daemon=True)
        self._on_loop: Callable[[asyncio.AbstractEventLoop], None] = lambda loop: None  # noqa: ARG005

    @property
    def alive(self) -> bool:
        """Whether it still serves."""
        return self._thread.is_alive()

    def start(self, on_loop: Callable[[asyncio.AbstractEventLoop], None]) -> None:
        """Begin, and wait until requests are answered.

        Args:
            on_loop: called in the event loop before the first request.

        Raises:
            OutputError: if the server does not start.
        """
        self._on_loop = on_loop
        self._thread.start()
        if not self._server.ready.wait(START_WITHIN_S) or not self._server.started:
            self.stop()
            raise OutputError("web: the server did not start; see the log for its reason")

    def stop(self) -> None:
        """Let the requests end, and stop."""
        self._server.should_exit = True
        self._thread.join(STOP_WITHIN_S)
        if self._thread.is_alive():
            log.warning("web: the server did not stop within %.0f s", STOP_WITHIN_S)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        finally:
            self._listener.close()
            self._server.ready.set()

    async def _serve(self) -> None:
        self._on_loop(asyncio.get_running_loop())
        await self._server.serve(sockets=[self._listener])


class _Server(uvicorn.Server):
    """Says when it is ready."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()
