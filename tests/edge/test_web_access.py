"""Who may look at the dashboard, and under which names."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from fer_edge.errors import OutputError
from fer_edge.outputs.settings import WebSettings
from fer_edge.outputs.web import WebOutput
from fer_edge.outputs.web.access import AccessPolicy, access_policy, is_loopback, read_token, without_token
from tests.edge.web_page import ACTION, Answer, Switch, ask, serving

TOKEN = "correct-horse-battery-staple"


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "web-token"
    path.touch(0o600)
    path.write_text(f"{TOKEN}\n")
    return path


@pytest.fixture
def guarded(token_file: Path) -> Iterator[WebOutput]:
    with serving(Switch(), WebSettings(host="0.0.0.0", port=0, token_file=token_file)) as output:
        yield output


def test_only_loopback_needs_no_token() -> None:
    for host in ("0.0.0.0", "::"):
        with pytest.raises(OutputError, match="token_urlsafe") as caught:
            WebOutput(WebSettings(host=host, port=0)).open()
        assert "\n" not in str(caught.value)
        assert "outputs.web.token_file" in str(caught.value)
    for host in ("127.0.0.1", "localhost", "127.0.0.2"):
        with serving(settings=WebSettings(host=host, port=0)):
            pass
    assert is_loopback("::1")
    assert not is_loopback("fe80::1%eth0")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "at least 16"),
        (b"short\n", "at least 16"),
        (b"two words of some length", "one word"),
        (b"\xff" * 20, "ASCII"),
    ],
)
def test_a_token_that_is_not_safe_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "token"
    path.write_bytes(content)
    with pytest.raises(OutputError, match=reason) as caught:
        read_token(path)
    assert str(path) in str(caught.value)
    with pytest.raises(OutputError, match="No such file"):
        read_token(tmp_path / "missing")


def test_a_token_that_everybody_can_read_is_used_with_a_warning(
    token_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert read_token(token_file) == TOKEN
    assert not caplog.records
    token_file.chmod(0o644)
    assert read_token(token_file) == TOKEN
    assert "chmod o-r" in caplog.text


def test_what_it_listens_on_is_logged_without_the_token(token_file: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with serving() as output:
        assert f"http://127.0.0.1:{output.port}/ can be opened on this machine only" in caplog.text
    caplog.clear()
    with serving(settings=WebSettings(host="0.0.0.0", port=0, token_file=token_file)) as output:
        ask(output, f"/?token={TOKEN}")
        assert "others on the network can reach it, unencrypted; the token is needed" in caplog.text
    assert TOKEN not in caplog.text


@pytest.mark.parametrize("path", ["/api/state", "/api/events", "/api/history", "/stream.mjpg", "/openapi.json"])
def test_nothing_is_seen_without_the_token(guarded: WebOutput, path: str) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong-horse-battery-staple"}, {"Authorization": TOKEN}):
        answer = ask(guarded, path, headers=headers)
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert list(answer.json) == ["error"]
    cookie = {"Cookie": f"fer_edge_{guarded.port}={TOKEN}"}
    assert ask(guarded, path, headers=cookie).status == 401, "the cookie is not the token"


def test_the_token_opens_as_a_header(guarded: WebOutput) -> None:
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    assert ask(guarded, "/api/state", headers=bearer).status == 200
    assert ask(guarded, "/api/pause", "POST", bearer).status == 403, "the action's header is still needed"
    assert ask(guarded, "/api/pause", "POST", bearer | ACTION).json["state"] == "paused"
    assert ask(guarded, "/api/pause", "POST", ACTION).status == 401


def test_the_token_in_the_address_is_traded_for_a_cookie(guarded: WebOutput) -> None:
    answer = ask(guarded, f"/kiosk?a=1&token={TOKEN}&b=2")
    assert answer.status == 303
    assert answer.headers["Location"] == "/kiosk?a=1&b=2"
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert TOKEN not in cookie
    session = {"Cookie": cookie.partition(";")[0]}
    assert ask(guarded, "/api/state", headers=session).status == 200
    assert ask(guarded, "/kiosk", headers=session).status == 200

    wrong = ask(guarded, "/kiosk?token=wrong-horse-battery-staple")
    assert (wrong.status, wrong.headers["Set-Cookie"]) == (401, None)


def test_the_redirect_stays_on_this_host() -> None:
    assert without_token("//evil.example/", "token=x") == "/evil.example/"
    assert without_token("/", "token=x") == "/"
    assert without_token("/kiosk", "token=x&q=%20%26") == "/kiosk?q=+%26"


def test_the_sign_in_page_trades_the_token_too(guarded: WebOutput) -> None:
    page = ask(guarded, "/")
    assert page.status == 401
    assert b'action="/signin"' in page.body

    def sign_in(body: str, **headers: str) -> Answer:
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        return ask(guarded, "/signin", "POST", form | headers, body)

    signed = sign_in(f"token={TOKEN}")
    assert (signed.status, signed.headers["Location"]) == (303, "/")
    session = {"Cookie": signed.headers["Set-Cookie"].partition(";")[0]}
    assert b'class="dashboard"' in ask(guarded, "/", headers=session).body
    assert sign_in("token=wrong-horse-battery-staple").status == 401
    assert sign_in("").status == 401
    assert sign_in(f"token={TOKEN}", Origin="null").status == 303, "what browsers send under no-referrer"
    assert sign_in("x" * 100_000).status == 413


def test_a_new_token_ends_old_sessions(token_file: Path) -> None:
    def policy() -> AccessPolicy:
        return access_policy("0.0.0.0", "0.0.0.0", 8787, token_file)

    before = policy().session
    assert policy().session == before, "a restart does not"
    token_file.write_text("another-horse-battery-staple")
    assert policy().session != before


def test_monitors_and_the_sign_in_page_need_no_token(guarded: WebOutput) -> None:
    assert ask(guarded, "/healthz").status == 503
    assert ask(guarded, "/readyz").json == {"ok": False, "state": "starting"}
    assert ask(guarded, "/static/base.css").status == 200


def test_on_loopback_a_token_is_optional_but_then_obeyed(token_file: Path) -> None:
    with serving(settings=WebSettings(port=0, token_file=token_file)) as output:
        assert ask(output, "/api/state").status == 401
        assert ask(output, "/api/state", headers={"Authorization": f"bearer {TOKEN}"}).status == 200


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.0.0.1:9", "LOCALHOST:1234", "[::1]:80", "localhost."])
def test_loopback_is_called_by_its_own_names(host: str) -> None:
    with serving() as output:
        assert ask(output, "/api/state", headers={"Host": host}).status == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8787", "127.0.0.1.evil.example", "192.168.1.5", "", "[::2]"]
)
def test_loopback_refuses_other_names(host: str) -> None:
    with serving() as output:
        for path in ("/", "/api/state", "/stream.mjpg", "/healthz", "/static/base.css"):
            assert ask(output, path, headers={"Host": host}).status == 421


@pytest.mark.parametrize(
    "headers",
    [
        {},
        ACTION | {"Origin": "http://evil.example"},
        ACTION | {"Origin": "null"},
        ACTION | {"Origin": "http://127.0.0.1:1"},
        ACTION | {"Sec-Fetch-Site": "cross-site"},
        ACTION | {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_another_page_cannot_press_the_button(headers: dict[str, str]) -> None:
    control = Switch()
    with serving(control) as output:
        for action in ("pause", "resume"):
            assert ask(output, f"/api/{action}", "POST", headers).status == 403
        assert control.status().state == "running"
        own = ACTION | {"Origin": f"http://127.0.0.1:{output.port}", "Sec-Fetch-Site": "same-origin"}
        assert ask(output, "/api/pause", "POST", own).status == 200
        assert control.status().state == "paused"
        # A browser asks first whether the header may be sent, and gets no permission.
        asked = ask(output, "/api/resume", "OPTIONS", {"Origin": "http://evil.example"})
        assert asked.status == 403
        assert asked.headers["Access-Control-Allow-Origin"] is None


def test_every_answer_carries_the_security_headers(guarded: WebOutput) -> None:
    answers = [ask(guarded, path) for path in ("/", "/healthz", "/static/base.css", "/nothing", "/api/state")]
    with serving() as output:
        answers += [ask(output, path) for path in ("/", "/kiosk", "/api/state", "/nothing", "/openapi.json")]
        answers.append(ask(output, "/", headers={"Host": "evil.example"}))
    assert {answer.status for answer in answers} == {200, 401, 404, 421, 503}
    for answer in answers:
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        policy = answer.headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in policy
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "Server" not in answer.headers
