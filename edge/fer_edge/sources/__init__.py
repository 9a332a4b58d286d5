"""Where frames come from: cameras, files and streams, each behind the same protocol.

::

    source = open_source("clip.mp4", SourceSettings())
    source.open()
    while (frame := source.read()) is not None:
        ...
    source.close()
"""

from __future__ import annotations

from pathlib import Path

from fer_edge.sources.base import Source, SourceSettings
from fer_edge.sources.spec import SourceSpec, parse_source

__all__ = ["Source", "SourceSettings", "SourceSpec", "open_source", "parse_source"]


def open_source(spec: str, settings: SourceSettings | None = None) -> Source:
    """Build the source that ``spec`` names; call its ``open()`` before the first ``read()``.

    Args:
        spec: see :func:`parse_source`. A name other than ``auto`` is obeyed or fails; nothing takes its place.
        settings: what is asked of the source.

    Raises:
        UsageError: if ``spec`` is not in the grammar.
    """
    settings = settings or SourceSettings()
    parsed = parse_source(spec)
    # Each backend is imported only when it is asked for.
    match parsed.kind:
        case "auto":
            from fer_edge.sources.auto import AutoSource

            return AutoSource(settings)
        case "demo":
            from fer_edge.sources.scene import DemoScene

            return DemoScene(settings)
        case "picamera2":
            from fer_edge.sources.picamera2 import Picamera2Source

            return Picamera2Source(int(parsed.target), settings)
        case "v4l2":
            from fer_edge.sources.v4l2 import V4l2Source

            return V4l2Source(parsed.target, settings)
        case "network":
            from fer_edge.sources.network import NetworkSource

            return NetworkSource(parsed.target, settings)
        case "file" | "image" | "folder":
            return _file_source(parsed, settings)


def _file_source(spec: SourceSpec, settings: SourceSettings) -> Source:
    from fer_edge.sources.folder import FolderSource
    from fer_edge.sources.image import IMAGE_SUFFIXES, ImageSource
    from fer_edge.sources.video import VideoFileSource

    path = Path(spec.target).expanduser()
    if spec.kind == "folder" or (spec.kind == "file" and path.is_dir()):
        return FolderSource(path, settings)
    if spec.kind == "image" or path.suffix.lower() in IMAGE_SUFFIXES:
        return ImageSource(path, settings)
    return VideoFileSource(path, settings)
