"""kiosk-session with the real cage and the real Chromium, on a screen that exists in memory only."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.service.machine import wait_until

KIOSK_SESSION = Path(__file__).parents[2] / "systemd" / "kiosk-session"
NEEDED = ("cage", "chromium", "grim", "Xwayland", "setpriv")
MISSING = [name for name in NEEDED if shutil.which(name) is None]
NOBODY = 65534

pytestmark = pytest.mark.skipif(
    bool(MISSING) or os.geteuid() != 0,
    reason=f"{', '.join(MISSING)} missing (apt-get install cage xwayland grim chromium)"
    if MISSING
    else "only root can become the user without rights that cage and Chromium want",
)


class GreenPage(BaseHTTPRequestHandler):
    """A page that is green from edge to edge."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Answer with it."""
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        # It changes all the time, as the kiosk's does: a screen without news is not drawn, nor captured.
        script = "let n = 0; setInterval(() => document.body.style.background = ++n % 2 ? '#00ff00' : '#00f000', 100)"
        self.wfile.write(f"<!doctype html><title>green</title><body><script>{script}</script>".encode())


@pytest.fixture
def page() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), GreenPage)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/kiosk"
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_page_fills_the_screen(page: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    # Below a folder that another user may enter, which pytest's own are not.
    folder = Path("/tmp") / f"fer-edge-kiosk-{os.getpid()}"
    connector, runtime = folder / "card1-HDMI-A-1", folder / "run"
    try:
        connector.mkdir(parents=True)
        (connector / "status").write_text("connected\n")
        runtime.mkdir(mode=0o700)
        os.chown(runtime, NOBODY, NOBODY)
        script = shutil.copy(KIOSK_SESSION, folder)
        environment = {
            "PATH": "/usr/bin:/bin",
            "XDG_RUNTIME_DIR": str(runtime),
            "RUNTIME_DIRECTORY": str(runtime),
            "WLR_BACKENDS": "headless",
            "WLR_RENDERER": "pixman",
            "WLR_LIBINPUT_NO_DEVICES": "1",
            "FER_EDGE_KIOSK_DRM": str(folder),
            "FER_EDGE_KIOSK_URL": page,
            # A container has no namespaces for Chromium's sandbox, and this screen no graphics processor.
            "FER_EDGE_KIOSK_FLAGS": "--no-sandbox --disable-gpu --ui-disable-partial-swap",
        }
        log = tmp_path_factory.mktemp("kiosk") / "log"
        with log.open("wb") as output:
            session = subprocess.Popen(
                ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", script],
                env=environment,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            assert wait_until(lambda: green_share(runtime, folder) > 0.99, 120, every_s=1), log.read_text()
            assert session.poll() is None
        finally:
            session.terminate()
            session.wait(30)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def green_share(runtime: Path, folder: Path) -> float:
    """The share of the screen's pixels that are green; 0 while there is no screen."""
    environment = {"PATH": "/usr/bin:/bin", "XDG_RUNTIME_DIR": str(runtime), "WAYLAND_DISPLAY": "wayland-0"}
    shot = folder / "screen.png"
    if subprocess.run(["grim", shot], env=environment, check=False, capture_output=True).returncode != 0:
        return 0.0
    screen = np.asarray(cv2.imread(str(shot)), np.uint8)
    blue, green, red = cv2.split(screen)
    return float(((blue == 0) & (green >= 240) & (red == 0)).mean())
