"""What flows through the runtime: a Frame goes in, an Observation comes out."""

from __future__ import annotations

from dataclasses import dataclass, field

from fer_edge.contract.preprocess import Box, UInt8Array, to_grey


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture from a source."""

    index: int
    """Number of the frame in its source, from 0; a gap means dropped frames."""
    image: UInt8Array
    """(H, W, 3) uint8 BGR, or (H, W) uint8 grey where the source has no colour."""
    captured_at: float
    """``time.monotonic()`` in seconds when the frame was taken; ages are computed from it."""
    time: float
    """What people call the frame's time, in seconds: Unix time for a live source, position in a file."""
    luma: UInt8Array | None = field(default=None)
    """(H, W) uint8 grey where the source delivers it for free (the Y plane of YUV420), else None."""

    @property
    def grey(self) -> UInt8Array:
        """(H, W) uint8 grey; converts if the source did not deliver it, so ask once a frame."""
        return to_grey(self.image) if self.luma is None else self.luma

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.image.shape[1], self.image.shape[0]


@dataclass(frozen=True, slots=True)
class Face:
    """One face in one frame."""

    id: int
    """Number of the track that the face belongs to, from 1; never reused in a run."""
    box: Box
    """(x, y, width, height) in pixels of the frame."""
    expression: str
    """The label reported for the face after smoothing: one of the model's labels, or ``uncertain``."""
    score: float
    """Smoothed probability of the most probable label, 0 to 1."""
    probabilities: dict[str, float]
    """Smoothed probability of each label, in the model's order; they add up to 1."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Where the time of a frame went, in milliseconds."""

    detect: float
    classify: float
    total: float


@dataclass(frozen=True, slots=True)
class Observation:
    """What was seen in one frame."""

    frame: int
    time: float
    """As in :class:`Frame`."""
    age_ms: float
    """From the capture of the frame to the end of its processing, in milliseconds."""
    size: tuple[int, int]
    """(width, height) of the frame in pixels."""
    faces: tuple[Face, ...]
    timing: Timing
