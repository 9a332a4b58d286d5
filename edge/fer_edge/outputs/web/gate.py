"""The gate before every request: wrong host, wrong origin and missing token are turned away here, in this order."""

from __future__ import annotations

from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fer_edge.outputs.web.access import (
    ACTION_HEADER,
    SECURITY_HEADERS,
    AccessPolicy,
    same_origin,
    without_token,
)
from fer_edge.outputs.web.assets import page

OPEN_PATHS: Final = frozenset({"/healthz", "/readyz", "/signin"})
"""Need no token: they tell a monitor whether the run is well, and nothing of what is seen."""

STATIC: Final = "/static/"
"""Style and script are the same for everybody, and the sign-in page needs them."""

PAGES: Final = frozenset({"/", "/dashboard", "/kiosk"})


class Gate:
    """ASGI middleware; written out because Starlette's base class holds back streams."""

    def __init__(self, app: ASGIApp, policy: AccessPolicy) -> None:
        """Guard ``app``."""
        self._app = app
        self._policy = policy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass the request on."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(SECURITY_HEADERS)
            await send(message)

        answer = self._refusal(Request(scope)) if scope["type"] == "http" else None
        await (answer or self._app)(scope, receive, send_with_headers)

    def _refusal(self, request: Request) -> Response | None:
        """Return the answer for a request that goes no further, None for one that does."""
        policy, path = self._policy, request.url.path
        if not policy.knows_host(request.headers.get("host", "")):
            return refusal(421, "this page is only to be called by the name localhost or a loopback address")
        # A page from elsewhere cannot sign anybody in without the token. (The form could not prove where it comes from:
        # with Referrer-Policy: no-referrer a browser sends  Origin: null  for it.)
        if request.method not in {"GET", "HEAD"} and path != "/signin":
            if not same_origin(request.headers):
                return refusal(403, "the request comes from another page")
            if ACTION_HEADER not in request.headers:
                return refusal(403, f"the header {ACTION_HEADER}: 1 is missing")
        if policy.token is None:
            return None
        if request.method == "GET" and "token" in request.query_params:
            return self._trade(request)
        if path in OPEN_PATHS or path.startswith(STATIC) or policy.admits(request):
            return None
        return self._ask(path)

    def _trade(self, request: Request) -> Response:
        """Trade the token in the address for a cookie, so that it is not copied along with the address."""
        if not self._policy.accepts_token(request.query_params["token"]):
            return self._ask(request.url.path)
        return self._policy.sign_in(RedirectResponse(without_token(request.url.path, request.url.query), 303))

    def _ask(self, path: str) -> Response:
        asking = {"WWW-Authenticate": 'Bearer realm="fer-edge"'}
        if path in PAGES:
            return HTMLResponse(page("signin.html"), 401, asking)
        return refusal(401, "a token is needed, as Authorization: Bearer TOKEN or once as ?token=TOKEN", asking)


def refusal(status: int, words: str, headers: dict[str, str] | None = None) -> Response:
    """Return an error as JSON: ``{"error": words}``."""
    return JSONResponse({"error": words}, status, headers)
