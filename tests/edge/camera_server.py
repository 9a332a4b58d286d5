"""Real network cameras for tests: MJPEG over HTTP and JPEG over RTSP, on the loopback interface."""

from __future__ import annotations

import os
import socket
import socketserver
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np

from fer_edge.contract.preprocess import UInt8Array

INTERVAL_S = 1 / 50
FAULT_AT = 12
"""The number of the frame at which a fault of the HTTP camera begins."""
RTSP_FAULT_AT = 40
"""The same for RTSP, of which FFmpeg watches nearly half a second before it hands out the first frame."""


def picture(number: int, width: int = 320, height: int = 240) -> UInt8Array:
    """A picture that tells its number by its brightness: 5 levels a frame, the same all over."""
    return np.full((height, width, 3), number * 5 % 250, np.uint8)


def jpeg(image: UInt8Array) -> bytes:
    """Baseline JPEG with the standard Huffman tables and 4:2:0 chroma, as RTP carries it."""
    return cv2.imencode(".jpg", image)[1].tobytes()


class _Mjpeg(BaseHTTPRequestHandler):
    """Serves /ok /stall /vanish /garbage /resize /mute /text, and /private to USER with PASSWORD."""

    def log_message(self, *_: object) -> None:
        """Say nothing on stderr."""

    def do_GET(self) -> None:
        fault = self.path[1:].partition("?")[0]
        if fault == "private" and self.headers.get("Authorization") != "Basic bWU6c2VjcmV0":  # me:secret
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="camera"')
            self.end_headers()
            return
        self.send_response(200)
        content = "text/plain" if fault == "text" else "multipart/x-mixed-replace; boundary=frame"
        self.send_header("Content-Type", content)
        self.end_headers()
        with suppress(OSError):  # the client has gone
            self._stream(fault)

    def _stream(self, fault: str) -> None:
        server = self.server
        assert isinstance(server, _CameraServer)
        if fault == "text":
            self.wfile.write(b"not a video")
            return
        number = 0
        while not server.stopping.is_set():
            faulty = number >= FAULT_AT
            if fault == "mute" or (faulty and fault == "stall"):
                server.stopping.wait()
            elif faulty and fault == "vanish":
                return
            image = picture(number, 160, 120) if faulty and fault == "resize" else picture(number)
            data = os.urandom(2000) if faulty and fault == "garbage" else jpeg(image)
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
            self.wfile.write(head.encode() + data + b"\r\n")
            number += 1
            server.stopping.wait(INTERVAL_S)


class _CameraServer(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Mjpeg)
        self.stopping = threading.Event()


@contextmanager
def mjpeg_server() -> Iterator[str]:
    """Run an HTTP camera; yields ``http://127.0.0.1:PORT``."""
    server = _CameraServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.stopping.set()
        server.shutdown()
        thread.join()
        server.server_close()


class _Rtsp(socketserver.StreamRequestHandler):
    """As much of RTSP 1.0 (RFC 2326) as a client needs to play JPEG (RFC 2435) interleaved in its own connection."""

    def handle(self) -> None:
        with suppress(OSError):  # the client has gone
            while request := self._request():
                method, url, sequence = request
                self._answer(method, url, sequence)
                if method == "PLAY":
                    self._play(url)
                    return

    def _request(self) -> tuple[str, str, str] | None:
        line = self.rfile.readline().decode().split()
        sequence = "0"
        while (header := self.rfile.readline().decode().strip()) != "":
            if header.lower().startswith("cseq:"):
                sequence = header.split(":")[1].strip()
        return (line[0], line[1], sequence) if line else None

    def _answer(self, method: str, url: str, sequence: str) -> None:
        body, extra = "", "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n"
        if method == "DESCRIBE":
            body = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nt=0 0\r\nm=video 0 RTP/AVP 26\r\na=control:video\r\n"
            extra = f"Content-Type: application/sdp\r\nContent-Base: {url}/\r\nContent-Length: {len(body)}\r\n"
        elif method == "SETUP":
            extra = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n"
        elif method == "PLAY":
            extra = "Session: 1\r\n"
        self.wfile.write(f"RTSP/1.0 200 OK\r\nCSeq: {sequence}\r\n{extra}\r\n{body}".encode())

    def _play(self, url: str) -> None:
        server = self.server
        assert isinstance(server, _RtspServer)
        packet_number = 0
        for number in range(10_000):
            if number >= RTSP_FAULT_AT and "stall" in url:
                server.stopping.wait()
            if server.stopping.is_set() or (number >= RTSP_FAULT_AT and "vanish" in url):
                return
            payloads = list(rtp_jpeg(jpeg(picture(number))))
            for place, payload in enumerate(payloads):
                last = 0x80 if place == len(payloads) - 1 else 0
                stamp = int(number * INTERVAL_S * 90_000)
                packet = struct.pack(">BBHII", 0x80, last | 26, packet_number & 0xFFFF, stamp, 1) + payload
                self.wfile.write(struct.pack(">cBH", b"$", 0, len(packet)) + packet)
                packet_number += 1
            server.stopping.wait(INTERVAL_S)


class _RtspServer(socketserver.ThreadingTCPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Rtsp)
        self.stopping = threading.Event()


@contextmanager
def rtsp_server() -> Iterator[str]:
    """Run an RTSP camera; yields ``127.0.0.1:PORT``."""
    server = _RtspServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.stopping.set()
        server.shutdown()
        thread.join()
        server.server_close()


def rtp_jpeg(data: bytes) -> Iterator[bytes]:
    """Cut a JPEG into RTP payloads: RFC 2435, type 1 (4:2:0), its quantization tables sent along (Q = 255)."""
    tables, width, height, at = b"", 0, 0, 2
    while data[at + 1] != 0xDA:
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        segment = data[at + 4 : at + 2 + length]
        if data[at + 1] == 0xDB:
            tables += b"".join(segment[start + 1 : start + 65] for start in range(0, len(segment), 65))
        elif data[at + 1] == 0xC0:
            height, width = struct.unpack(">HH", segment[1:5])
        at += 2 + length
    scan = data[at + 2 + int.from_bytes(data[at + 2 : at + 4], "big") :]
    for offset in range(0, len(scan), 1200):
        header = struct.pack(">I", offset) + bytes([1, 255, width // 8, height // 8])
        if offset == 0:
            header += struct.pack(">BBH", 0, 0, len(tables)) + tables
        yield header + scan[offset : offset + 1200]


def free_port() -> int:
    """A port of the loopback interface on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
