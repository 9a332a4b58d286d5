"""``window``: the annotated picture on the screen, where the installed OpenCV can open a window."""

from __future__ import annotations

import os
import re
import sys

import cv2

from fer_edge.child import run_limited
from fer_edge.contract.preprocess import UInt8Array
from fer_edge.errors import OutputError
from fer_edge.frames import Observation
from fer_edge.outputs.base import OutputClosed
from fer_edge.outputs.overlay import draw_overlay
from fer_edge.status import RuntimeStatus

TITLE = "fer-edge: expressions are being analysed (q quits)"
QUIT_KEYS = frozenset({ord("q"), 27})
"""q and Esc."""
TRIAL_LIMIT_S = 10.0


class WindowOutput:
    """Shows each result until ``q``, Esc or the window's own button."""

    name = "window"
    wants_image = True
    lossless = False

    def open(self) -> None:
        """Open the window.

        Raises:
            OutputError: if this OpenCV was built without windows (opencv-python-headless), or there is no screen.
        """
        if not _has_gui():
            raise OutputError(
                "window: this OpenCV (opencv-python-headless?) cannot open one; use  --output web  and a browser"
            )
        # Without a screen Qt ends the whole process rather than fail, so ask first, and then let another process try.
        if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise OutputError(
                "window: no screen (DISPLAY and WAYLAND_DISPLAY are not set); use  --output web  and a browser"
            )
        if not _a_window_opens():
            screen = os.environ.get("WAYLAND_DISPLAY") or os.environ["DISPLAY"]
            raise OutputError(f"window: the screen {screen} does not take one; use  --output web  and a browser")
        try:
            cv2.namedWindow(TITLE, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)
        except cv2.error as error:
            reason = str(error).strip().splitlines()[0]
            raise OutputError(f"window: cannot be opened ({reason}); use  --output web  and a browser") from error

    def write(self, observation: Observation, image: UInt8Array | None) -> None:
        """Show one result.

        Raises:
            OutputClosed: if the person closed the window.
        """
        assert image is not None
        cv2.imshow(TITLE, draw_overlay(image, observation))
        key = cv2.waitKey(1) & 0xFF
        if key in QUIT_KEYS or cv2.getWindowProperty(TITLE, cv2.WND_PROP_VISIBLE) < 1:
            raise OutputClosed("window: closed")

    def status(self, status: RuntimeStatus) -> None:  # noqa: ARG002
        """Keep the window alive while no frames come."""
        if cv2.waitKey(1) & 0xFF in QUIT_KEYS:
            raise OutputClosed("window: closed")

    def close(self) -> None:
        """Close the window."""
        if _has_gui():
            cv2.destroyAllWindows()


def _a_window_opens() -> bool:
    trial = [sys.executable, "-c", "import cv2; cv2.namedWindow('fer-edge'); cv2.destroyAllWindows()"]
    done = run_limited(trial, TRIAL_LIMIT_S, {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    return done is not None and done.status == 0


def _has_gui() -> bool:
    found = re.search(r"^\s*GUI:\s*(\S+)", cv2.getBuildInformation(), re.MULTILINE)
    return found is not None and found.group(1).upper() != "NONE"
