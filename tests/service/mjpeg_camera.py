"""A network camera for the tests of the service: the demo scene as Motion JPEG, with ways to misbehave.

Run with the Python of an installed fer-edge: ``python mjpeg_camera.py PORT``. While the file ``/run/camera-silent``
exists, the stream stays open and sends nothing.
"""

from __future__ import annotations

import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2

from fer_edge.sources.base import SourceSettings
from fer_edge.sources.scene import DemoScene

SILENT = Path("/run/camera-silent")


class Camera(BaseHTTPRequestHandler):
    """Answers each request with an endless stream."""

    def do_GET(self) -> None:
        """Send frames, ten a second, until the viewer leaves."""
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        scene = DemoScene(SourceSettings(loop=True))
        scene.open()
        while (frame := scene.read()) is not None:
            jpeg = cv2.imencode(".jpg", frame.image)[1].tobytes()
            while SILENT.exists():
                time.sleep(0.1)
            header = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
            try:
                self.wfile.write(header.encode() + jpeg + b"\r\n")
            except OSError:
                return
            time.sleep(0.1)


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Camera).serve_forever()
