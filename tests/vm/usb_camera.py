"""A USB camera made of software, for the virtual machine: run there as root, it is plugged in; ended, it is unplugged.

    python3 usb_camera.py FRAMES.yuyv [--width 320] [--height 240] [--fps 5]

The kernel's USB/IP host controller (vhci_hcd) takes a socket for a cable, and what speaks at its other end for a
device: here a USB Video Class 1.0 camera with one format (YUYV), one size and a bulk endpoint. Host controller, USB
core, uvcvideo, udev and all above are the real ones. (The kernel's own gadget camera, usb_f_uvc on dummy_hcd, can be
plugged but not watched: it sends isochronously, and dummy_hcd fails every isochronous transfer.)

Formats: Documentation/usb/usbip_protocol.rst of the kernel; USB 2.0, chapter 9; USB Video Class 1.0, 3 and 4.
"""

from __future__ import annotations

import argparse
import os
import select
import signal
import socket
import struct
import time
from collections import deque
from pathlib import Path

VHCI = Path("/sys/devices/platform/vhci_hcd.0")
HIGH_SPEED = 3
STRINGS = ("", "fer-edge", "test camera", "0001")
"""By these udev names it: /dev/v4l/by-id/usb-fer-edge_test_camera_0001-video-index0."""

PAYLOAD = 16_384
"""What uvcvideo asks for at once: 32 packets of 512 bytes."""
BULK_IN = 1
COMMAND, UNLINK, ANSWER, UNLINKED = 1, 2, 3, 4
STALL, WITHDRAWN = -32, -104
HEADER = struct.Struct(">IIIIIIiiii8s")
"""Command, number, device, direction, endpoint; flags, length, start frame, packets, interval; setup packet."""

SET_CUR, GET_INFO = 0x01, 0x86
PROBE = struct.Struct("<HBBIHHHHHII")
"""Hint, format, frame, interval in 100 ns, five that compression would use, bytes of a frame, bytes of a payload."""
CONTROLS = {
    # (entity << 8 | interface, selector): bytes, minimum, maximum, step, default; of the camera terminal
    (0x0100, 0x02): (1, 1, 8, 9, 8),  # exposure mode; the step is a bit map: 1 manual, 8 aperture priority
    (0x0100, 0x04): (4, 1, 10_000, 1, 300),  # exposure in 100 microseconds
}


def block(*fields: int | bytes) -> bytes:
    """Put a descriptor together; its first byte is its length."""
    body = b"".join(field if isinstance(field, bytes) else bytes([field]) for field in fields)
    return bytes([len(body) + 1]) + body


def u16(value: int) -> bytes:
    """Little-endian."""
    return value.to_bytes(2, "little")


def u32(value: int) -> bytes:
    """Little-endian."""
    return value.to_bytes(4, "little")


class Camera:
    """What the device answers, and the pictures that it sends."""

    def __init__(self, frames: list[bytes], width: int, height: int, fps: float) -> None:
        self._frames = frames
        self._interval_s = 1 / fps
        interval = round(1e7 / fps)
        size = width * height * 2
        self._state = {name: default for name, (*_, default) in CONTROLS.items()}
        self._probe = PROBE.pack(1, 1, 1, interval, 0, 0, 0, 0, 0, size, PAYLOAD)
        self._configuration = configuration(width, height, interval, size)
        self._payloads: deque[bytes] = deque()
        self._sent = 0
        self._due = 0.0

    def control(self, setup: bytes, data: bytes) -> bytes | None:
        """Answer a request to endpoint 0; None refuses it."""
        kind, request, value, index, length = struct.unpack("<BBHHH", setup)
        if kind & 0x60 == 0x20:
            answer = self._class_request(request, value >> 8, index, data)
        elif kind & 0x60 == 0:
            answer = self._standard_request(kind, request, value)
        else:
            answer = None
        return None if answer is None else answer[:length]

    def payload(self, now: float) -> bytes | None:
        """Return what the next bulk transfer carries, if it is time for it."""
        if not self._payloads:
            if now < self._due:
                return None
            self._due = max(self._due + self._interval_s, now)
            self._cut()
        return self._payloads.popleft()

    def wait_s(self, now: float) -> float:
        """Seconds until there is something to send."""
        return 0.0 if self._payloads else max(0.0, self._due - now)

    def rest(self) -> None:
        """Forget the rest of a picture that nobody wants."""
        self._payloads.clear()

    def _cut(self) -> None:
        """Cut the next picture into payloads: a header of two bytes, then pixels."""
        frame, toggle = self._frames[self._sent % len(self._frames)], self._sent & 1
        self._sent += 1
        step = PAYLOAD - 2
        for at in range(0, len(frame), step):
            last = 2 if at + step >= len(frame) else 0
            self._payloads.append(bytes([2, 0x80 | last | toggle]) + frame[at : at + step])

    def _standard_request(self, kind: int, request: int, value: int) -> bytes | None:
        if request == 6:  # GET_DESCRIPTOR
            return self._descriptor(value >> 8, value & 0xFF)
        if request == 0:  # GET_STATUS
            return bytes(2)
        if request == 8:  # GET_CONFIGURATION
            return b"\x01"
        return b"" if not kind & 0x80 else None  # SET_CONFIGURATION, SET_INTERFACE, CLEAR_FEATURE, ...

    def _descriptor(self, kind: int, index: int) -> bytes | None:
        if kind == 1:
            # Class 0xEF: functions are grouped by association descriptors. 1209:0001 is pid.codes' id for tests.
            return block(1, u16(0x0200), 0xEF, 2, 1, 64, u16(0x1209), u16(0x0001), u16(0x0100), 1, 2, 3, 1)
        if kind == 2:
            return self._configuration
        if kind == 3 and index < len(STRINGS):
            return block(3, STRINGS[index].encode("utf-16-le") if index else u16(0x0409))
        return None

    def _class_request(self, request: int, selector: int, index: int, data: bytes) -> bytes | None:
        if index == 0x0001 and selector in (1, 2):  # probe and commit, at the streaming interface
            return b"" if request == SET_CUR else bytes([3]) if request == GET_INFO else self._probe
        control = CONTROLS.get((index, selector))
        if control is None:
            return None
        size, low, high, step, default = control
        if request == SET_CUR:
            self._state[index, selector] = int.from_bytes(data[:size], "little")
            print(f"control {selector} = {self._state[index, selector]}", flush=True)
            return b""
        if request == GET_INFO:
            return bytes([3])
        values = {0x81: self._state[index, selector], 0x82: low, 0x83: high, 0x84: step, 0x87: default}
        return values[request].to_bytes(size, "little") if request in values else None


def configuration(width: int, height: int, interval: int, size: int) -> bytes:
    """Return the configuration descriptor: a control and a streaming interface, one format, one frame size."""
    terminals = block(0x24, 2, 1, u16(0x0201), 0, 0, u16(0), u16(0), u16(0), 3, bytes([0b1010, 0, 0]))
    terminals += block(0x24, 3, 2, u16(0x0101), 0, 1, 0)
    control = block(0x24, 1, u16(0x0100), u16(13 + len(terminals)), u32(48_000_000), 1, 1) + terminals
    yuy2 = b"YUY2" + bytes.fromhex("0000100080 0000aa00389b71")
    rate = size * 8 * 10_000_000 // interval
    formats = block(0x24, 4, 1, 1, yuy2, 16, 1, 0, 0, 0, 0)
    formats += block(
        0x24, 5, 1, 0, u16(width), u16(height), u32(rate), u32(rate), u32(size), u32(interval), 1, u32(interval)
    )
    formats += block(0x24, 13, 1, 1, 4)
    streaming = block(0x24, 1, 1, u16(14 + len(formats)), 0x80 | BULK_IN, 0, 2, 0, 0, 0, 1, 0) + formats
    interfaces = block(0x0B, 0, 2, 0x0E, 3, 0, 2)
    interfaces += block(4, 0, 0, 0, 0x0E, 1, 0, 2) + control
    interfaces += block(4, 1, 0, 1, 0x0E, 2, 0, 0) + streaming + block(5, 0x80 | BULK_IN, 2, u16(512), 0)
    return block(2, u16(9 + len(interfaces)), 2, 1, 0, 0x80, 250) + interfaces


class Cable:
    """The device's end of USB/IP."""

    def __init__(self, end: socket.socket, camera: Camera) -> None:
        self._end = end
        self._camera = camera
        self._waiting: deque[int] = deque()

    def serve(self) -> None:
        """Answer until the host lets go."""
        while True:
            now = time.monotonic()
            ready, _, _ = select.select([self._end], [], [], self._camera.wait_s(now) if self._waiting else None)
            if ready and not self._take():
                return
            while self._waiting and (payload := self._camera.payload(time.monotonic())) is not None:
                self._answer(self._waiting.popleft(), 0, payload, len(payload))

    def _take(self) -> bool:
        raw = self._receive(HEADER.size)
        if not raw:
            return False
        command, number, _, inwards, endpoint, first, length, _, _, _, setup = HEADER.unpack(raw)
        if command == UNLINK:
            withdrawn = first in self._waiting
            if withdrawn:
                self._waiting.remove(first)
                self._camera.rest()
            self._end.sendall(HEADER.pack(UNLINKED, number, 0, 0, 0, 0, 0, 0, 0, 0, bytes(8))[:20])
            self._end.sendall(struct.pack(">i24x", WITHDRAWN if withdrawn else 0))
            return True
        data = b"" if inwards else self._receive(length)
        if endpoint == BULK_IN and inwards:
            self._waiting.append(number)
            return True
        answer = self._camera.control(setup, data) if endpoint == 0 else None
        if answer is None:
            self._answer(number, STALL, b"", 0)
        else:
            self._answer(number, 0, answer if inwards else b"", len(answer) if inwards else length)
        return True

    def _answer(self, number: int, status: int, data: bytes, length: int) -> None:
        self._end.sendall(struct.pack(">IIIIIiiiii8x", ANSWER, number, 0, 0, 0, status, length, 0, 0, 0) + data)

    def _receive(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            more = self._end.recv(length - len(data))
            if not more:
                return b""
            data += more
        return data


def plug(camera: Camera) -> None:
    """Plug ``camera`` into the first free port and serve it until this process is ended."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    rows = [line.split() for line in (VHCI / "status").read_text().splitlines()[1:]]
    port = next(int(row[1]) for row in rows if row[0] == "hs" and int(row[2]) == 4)  # 4: nothing is plugged in
    (VHCI / "attach").write_text(f"{port} {theirs.fileno()} 1 {HIGH_SPEED}")
    theirs.close()
    # The end of this process closes the socket, which to the kernel is a cable pulled out.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    Cable(ours, camera).serve()


def main() -> None:
    """Read the arguments and be a camera."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("frames", type=Path, help="pictures one after the other, YUYV")
    parser.add_argument("--width", type=int, default=320)
    parser.add_argument("--height", type=int, default=240)
    parser.add_argument("--fps", type=float, default=5.0)
    arguments = parser.parse_args()
    data, size = arguments.frames.read_bytes(), arguments.width * arguments.height * 2
    frames = [data[at : at + size] for at in range(0, len(data), size)]
    plug(Camera(frames, arguments.width, arguments.height, arguments.fps))


if __name__ == "__main__":
    main()
