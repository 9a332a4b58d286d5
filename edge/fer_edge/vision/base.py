"""What the parts of the vision room agree on: the detector protocol and the boxes that travel between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from fer_edge.contract.preprocess import Box, UInt8Array


class Detection(NamedTuple):
    """One face found in one image, before it belongs to anybody."""

    box: Box
    """(x, y, width, height) in pixels of the image searched."""
    score: float
    """The evidence, as a multiple of what the detector itself asks of a trustworthy face: 1.0 is its own threshold,
    0.3 a hint that is worth a closer look, 4.0 beyond doubt."""


class Detector(Protocol):
    """A backend that finds faces in one grey image and remembers nothing; one file a backend.

    An instance belongs to one thread: OpenCV's detectors keep scratch buffers and are not thread safe.
    """

    @property
    def name(self) -> str:
        """Short name for logs and reports, such as ``haar``."""
        ...

    @property
    def window(self) -> int:
        """Side in pixels of the smallest face that the detector can see, whatever the size of the image."""
        ...

    def detect(self, grey: UInt8Array, *, min_size: int, max_size: int | None, scale_factor: float) -> list[Detection]:
        """Find faces.

        Args:
            grey: (H, W) uint8.
            min_size: shortest side of a face to look for, in pixels of ``grey``.
            max_size: longest side, or None for no limit but the image.
            scale_factor: ratio of neighbouring sizes to try, over 1; a detector without a pyramid may ignore it.

        Returns:
            Distinct faces with their evidence, weak ones (score under 1) included; boxes in pixels of ``grey``.
        """
        ...


@dataclass(frozen=True, slots=True)
class TrackedBox:
    """One face that is followed from frame to frame."""

    id: int
    """Number of the track, from 1; never reused by the same schedule."""
    box: Box
    """(x, y, width, height), smoothed, in pixels of the full frame."""
    fresh: bool
    """True if the detector saw the face in this very frame; False if the box is carried over or predicted."""
    first_seen: float
    """The ``now`` of the frame in which the track began, in seconds."""
    last_seen: float
    """The ``now`` of the last frame in which the detector saw the face, in seconds."""
