"""What people write to name a source, taken apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from fer_edge.errors import UsageError
from fer_edge.sources.files import SOURCE_GRAMMAR

Kind: TypeAlias = Literal["auto", "demo", "picamera2", "v4l2", "network", "file", "image", "folder"]

NETWORK_SCHEMES = frozenset({"http", "https", "rtsp", "rtsps"})

_PATH_KINDS: tuple[Kind, ...] = ("file", "image", "folder")


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """The kind of a source and where it is."""

    kind: Kind
    target: str
    """picamera2: camera number. v4l2: device path. network: address. file, image, folder: path. auto, demo: empty."""


def parse_source(spec: str) -> SourceSpec:
    """Take ``spec`` apart; nothing is opened and nothing looked up.

    ========================================  ==================================================
    ``auto``                                  the first camera that works
    ``0``, ``v4l2:0``, ``/dev/video0``        a V4L2 camera by number or device
    ``v4l2:/dev/v4l/by-id/...``               a USB camera whatever number it gets
    ``picamera2``, ``picamera2:1``            a Raspberry Pi camera through libcamera
    ``rtsp://...``, ``http://...``            a stream (also ``rtsps://`` and ``https://``)
    ``image:PATH``, ``folder:PATH``           one picture; the pictures of a folder
    ``file:PATH`` or just a path              by what is there: folder, picture or video
    ``demo``                                  a scene that needs no camera (see :mod:`fer_edge.sources.scene`)
    ========================================  ==================================================

    Raises:
        UsageError: if ``spec`` is none of these.
    """
    text = spec.strip()
    prefix, colon, rest = text.partition(":")
    if not text or (colon and not rest):
        raise UsageError(f"the source {spec!r} names nothing; a source is {SOURCE_GRAMMAR}")
    if text == "auto":
        return SourceSpec("auto", "")
    if text == "demo":
        return SourceSpec("demo", "")
    if text.isdecimal() or text.startswith("/dev/"):
        return SourceSpec("v4l2", _device(text))
    if rest.startswith("//"):
        return _network(prefix.lower(), text)
    if prefix == "picamera2":
        return SourceSpec("picamera2", _camera_number(text, rest))
    if prefix == "v4l2" and colon:
        return SourceSpec("v4l2", _device(rest))
    for kind in _PATH_KINDS:
        if colon and prefix == kind:
            return SourceSpec(kind, rest)
    return SourceSpec("file", text)


def _network(scheme: str, address: str) -> SourceSpec:
    if scheme not in NETWORK_SCHEMES:
        known = ", ".join(f"{name}://" for name in sorted(NETWORK_SCHEMES))
        raise UsageError(f"a source cannot be read by {scheme}://; give one of {known}")
    return SourceSpec("network", address)


def _device(text: str) -> str:
    return f"/dev/video{int(text)}" if text.isdecimal() else text


def _camera_number(text: str, rest: str) -> str:
    if rest and not rest.isdecimal():
        raise UsageError(f"the source {text!r} needs a camera's number after the colon, such as picamera2:0")
    return str(int(rest or "0"))
