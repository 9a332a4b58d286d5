"""Who may look: the token, the names under which the page may be called, and the headers that keep others out."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import logging
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from fer_edge.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request
    from starlette.responses import Response

log = logging.getLogger(__name__)

SHORTEST_TOKEN: Final = 16
"""Characters; of ``secrets.token_urlsafe`` they hold 96 bits, which nobody guesses over a network."""

MAKE_TOKEN: Final = "(umask 077; python3 -c 'import secrets; print(secrets.token_urlsafe())' > web-token)"
"""The shell command that error messages give."""

ACTION_HEADER: Final = "X-Fer-Edge"
"""Must come with every POST to the API: a page from elsewhere cannot add it without asking (CORS), and is refused."""

COOKIE_LIFE_S: Final = 30 * 24 * 3600

SECURITY_HEADERS: Final[Mapping[str, str]] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Sent with every answer; after OWASP's "HTTP Headers Cheat Sheet"."""


@dataclass(frozen=True, slots=True)
class AccessPolicy:
    """What a request must bring."""

    token: str | None
    """None: everyone who can reach the page may look."""
    hosts: frozenset[str] | None
    """Names and addresses under which the page may be called, in lower case; None: any."""
    cookie: str
    """Name of the session cookie. Browsers send cookies to every port of a host, so the port is part of it."""

    @property
    def session(self) -> str:
        """The cookie's value: proves the token without holding it, and ends when the token changes."""
        assert self.token is not None
        return hmac.new(self.token.encode(), b"fer-edge web session", hashlib.sha256).hexdigest()

    def knows_host(self, host_header: str) -> bool:
        """Whether the page may be called by this ``Host`` header: a defence against DNS rebinding on loopback."""
        return self.hosts is None or _host_name(host_header) in self.hosts

    def accepts_token(self, offered: str) -> bool:
        """Compare in constant time."""
        return self.token is not None and hmac.compare_digest(offered.encode(), self.token.encode())

    def admits(self, request: Request) -> bool:
        """Whether the request brings the token (``Authorization: Bearer``) or the cookie that it was traded for."""
        if self.token is None:
            return True
        scheme, _, offered = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self.accepts_token(offered.strip()):
            return True
        return hmac.compare_digest(request.cookies.get(self.cookie, "").encode(), self.session.encode())

    def sign_in(self, response: Response) -> Response:
        """Add the session cookie to ``response``."""
        response.set_cookie(self.cookie, self.session, COOKIE_LIFE_S, httponly=True, samesite="strict")
        return response


def access_policy(host: str, address: str, port: int, token_file: Path | None) -> AccessPolicy:
    """Decide what a request must bring.

    Args:
        host: what the settings say.
        address: what it means: the IP address listened on.
        port: the port listened on.
        token_file: holds the token.

    Raises:
        OutputError: if the token cannot be used, or is missing although others can reach the page.
    """
    loopback = is_loopback(address)
    token = None if token_file is None else read_token(token_file)
    if token is None and not loopback:
        raise OutputError(
            f"web: {host} can be reached by others, so a token is needed; make one with  {MAKE_TOKEN}  "
            "and name the file as outputs.web.token_file, or listen on 127.0.0.1"
        )
    hosts = frozenset({"localhost", "127.0.0.1", "[::1]", _host_name(host), _host_name(address)}) if loopback else None
    return AccessPolicy(token, hosts, f"fer_edge_{port}")


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach a server that listens on the IP address ``address``."""
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def read_token(path: Path) -> str:
    """Return the token in ``path``; white space around it does not count.

    Raises:
        OutputError: if it cannot be read, or is too short to be safe.
    """
    try:
        token = path.read_text(encoding="ascii").strip()
        mode = path.stat().st_mode
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not ASCII text"
        raise OutputError(f"{path}: the web token cannot be read ({reason}); make one with  {MAKE_TOKEN}") from error
    if len(token) < SHORTEST_TOKEN or not token.isprintable() or " " in token:
        raise OutputError(
            f"{path}: the web token must be one word of at least {SHORTEST_TOKEN} characters; make one with  "
            f"{MAKE_TOKEN}"
        )
    if mode & stat.S_IROTH:
        log.warning("%s: every user of this machine can read the web token; run  chmod o-r %s", path, path)
    return token


def same_origin(headers: Mapping[str, str]) -> bool:
    """Whether a browser's request comes from the page itself; a client that is no browser says nothing of it."""
    if headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        return False
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc.lower() == headers.get("host", "").lower()


def without_token(path: str, query: str) -> str:
    """Return the address of the same page without the token, for the browser's history and for people who copy it."""
    rest = urlencode([(name, value) for name, value in parse_qsl(query) if name != "token"])
    # "//evil" would be another host.
    path = "/" + path.lstrip("/")
    return f"{path}?{rest}" if rest else path


def _host_name(host: str) -> str:
    """Return the name in ``name:port``, ``[IPv6]:port`` or a bare IPv6 address, in lower case."""
    host = host.strip().lower()
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    if host.count(":") > 1:
        return f"[{host}]"
    return host.partition(":")[0].rstrip(".")
