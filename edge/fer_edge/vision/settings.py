"""What a user may set about the search for faces, and what the search says about itself."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ScheduleSettings:
    """How faces are searched for. The defaults suit a camera of 640x480 and up on a Raspberry Pi."""

    budget_ms: float = 12.0
    """Milliseconds that detection may take in a frame; how often and how finely it searches adapts to it."""
    min_face_px: int = 30
    """Side of the smallest face to report, in pixels of the frame."""
    working_width: int = 480
    """Width in pixels to which a frame is reduced for a full scan, at most. It too limits the smallest new face: with a
    detector window of 24 pixels, to a twentieth of the frame's width."""
    full_scan_every: int = 15
    """Frames between full scans while a face is being followed."""
    hold_s: float = 0.3
    """How long a face that is not found is still reported, in seconds."""
    forget_after_s: float = 1.0
    """How long a lost face keeps its id, in seconds."""
    follow: bool = True
    """Search near the faces that are known; without it every face comes from a full scan."""
    changes_only: bool = True
    """Search only what changed since it was searched last, and all of it now and then."""
    still_frames: int = 5
    """For how many frames a face on which nothing moves is kept without a search."""
    matched_frames: int = 1
    """For how many frames a face is followed by its own picture before it is searched for again."""

    def __post_init__(self) -> None:
        if not self.budget_ms > 0:  # infinite is a budget too: none
            raise ValueError(f"budget_ms must be positive, not {self.budget_ms}")
        for name, value in (("hold_s", self.hold_s), ("forget_after_s", self.forget_after_s)):
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} must be 0 or more seconds, not {value}")
        least = {"min_face_px": 1, "working_width": 24, "full_scan_every": 1, "still_frames": 0, "matched_frames": 0}
        for name, limit in least.items():
            if getattr(self, name) < limit:
                raise ValueError(f"{name} must be at least {limit}, not {getattr(self, name)}")


@dataclass(slots=True)
class Work:
    """Counts of what was done; every figure only grows."""

    frames: int = 0
    full_scans: int = 0
    """Scans of the whole frame."""
    area_scans: int = 0
    """Scans of the part of the frame that changed."""
    slices: int = 0
    """Pieces that these scans were cut into."""
    roi_scans: int = 0
    """Close looks: near a followed face, or at what a scan proposed."""
    kept: int = 0
    """Faces kept without a search because nothing moved on them."""
    matched: int = 0
    """Faces followed by their own picture instead of a search."""
    postponed: int = 0
    """Faces not searched for in a frame because the budget was spent."""
    skipped: int = 0
    """Frames in which the detector was not asked at all."""
    pixels: int = 0
    """Pixels handed to the detector."""


@dataclass(frozen=True, slots=True)
class ScheduleReport:
    """What the schedule has done since its start, and where it stands."""

    frames: int
    full_scans: int
    area_scans: int
    slices: int
    roi_scans: int
    kept: int
    matched: int
    postponed: int
    skipped: int
    pixels: int
    """Up to here as in :class:`Work`."""
    working_width: int
    """Width in pixels to which frames are reduced at present."""
    full_scan_every: int
    """Frames between full scans while faces are followed, at present."""
    cost_ms: float
    """Exponentially weighted mean of what a frame costs, in milliseconds."""
    budget_ms: float
    """What a frame may cost."""
