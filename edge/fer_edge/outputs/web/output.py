"""The output ``web``: the dashboard behind the protocol of all outputs."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from fer_edge.contract.preprocess import UInt8Array
from fer_edge.control import RuntimeControl
from fer_edge.errors import OutputError
from fer_edge.frames import Observation
from fer_edge.outputs.settings import WebSettings, address
from fer_edge.outputs.web.access import access_policy, is_loopback
from fer_edge.outputs.web.state import DashboardState
from fer_edge.status import RuntimeStatus

if TYPE_CHECKING:
    from fer_edge.outputs.web.app import Dashboard
    from fer_edge.outputs.web.server import ServerThread

log = logging.getLogger(__name__)


class WebOutput:
    """Serves a live page of the run, on loopback unless there is a token."""

    wants_image = True
    lossless = False

    def __init__(
        self,
        settings: WebSettings,
        control: RuntimeControl | None = None,
        *,
        recording: bool = False,
    ) -> None:
        """Name the address; nothing is bound before :meth:`open`.

        Args:
            settings: where to listen, who may look, and what viewing may cost.
            control: pauses the run; None: the page has no pause button.
            recording: whether another output of the run stores pictures; the page then says so.
        """
        self._settings = settings
        self._serving = settings.serving
        self._control = control
        self._recording = recording
        self._state = self._new_state()
        self._dashboard: Dashboard | None = None
        self._server: ServerThread | None = None
        self._port = settings.port

    @property
    def name(self) -> str:
        """The page's address without http."""
        return f"web:{address(self._settings.host, self._port)}"

    @property
    def port(self) -> int:
        """The port listened on; the one that was free if the settings say 0."""
        return self._port

    @property
    def url(self) -> str:
        """The page's address; without the token that it may need."""
        return f"http://{address(self._settings.host, self._port)}/"

    @property
    def pictures_encoded(self) -> int:
        """Pictures encoded for viewers since :meth:`open`; stands still while nobody looks."""
        return 0 if self._dashboard is None else self._dashboard.pictures.encoded

    def open(self) -> None:
        """Listen and serve.

        Raises:
            OutputError: if the address or port cannot be had, or others could look without a token.
        """
        try:
            from fer_edge.outputs.web.app import Dashboard
            from fer_edge.outputs.web.server import ServerThread, listen
        except ImportError as error:
            raise OutputError(
                "web: needs the packages starlette and uvicorn: run  python -m pip install starlette uvicorn"
            ) from error
        settings, serving = self._settings, self._serving
        listener = listen(settings.host, settings.port, serving.client_timeout_s)
        where, port = listener.getsockname()[:2]
        try:
            policy = access_policy(settings.host, where, port, settings.token_file)
        except OutputError:
            listener.close()
            raise
        self._port = port
        self._state = self._new_state()
        dashboard = Dashboard(self._state, policy, serving, kiosk=settings.kiosk)
        # A browser opens up to six connections; the streams are counted by themselves.
        server = ServerThread(dashboard.app, listener, 6 * serving.max_clients)
        server.start(self._state.changed.attach)
        self._dashboard, self._server = dashboard, server
        self._announce(where, has_token=policy.token is not None)

    def write(self, observation: Observation, image: UInt8Array | None) -> None:
        """Take the newest result; it is drawn and encoded later, and only if someone looks.

        Raises:
            OutputError: if the server has ended.
        """
        self._check()
        self._state.put(observation, image)

    def status(self, status: RuntimeStatus) -> None:
        """Take the state of the run.

        Raises:
            OutputError: if the server has ended.
        """
        self._check()
        self._state.set_status(status)

    def close(self) -> None:
        """End all streams and stop serving; idempotent. The last picture and the timeline are forgotten."""
        server, self._server = self._server, None
        if server is None:
            return
        self._state.close()
        server.stop()
        self._dashboard = None
        self._state = self._new_state()

    def _check(self) -> None:
        if self._server is None or not self._server.alive:
            raise OutputError(f"{self.name}: the server is not running")

    def _new_state(self) -> DashboardState:
        return DashboardState(self._control, self._serving, recording=self._recording)

    def _announce(self, where: str, *, has_token: bool) -> None:
        needs = "the token is needed" if has_token else "no token is needed"
        if is_loopback(where):
            log.info("web: %s can be opened on this machine only; %s", self.url, needs)
        else:
            log.warning(
                "web: %s listens on %s: others on the network can reach it, unencrypted; %s", self.url, where, needs
            )
