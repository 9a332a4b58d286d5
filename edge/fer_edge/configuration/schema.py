"""Every key of the configuration: its type, range, default and meaning, in one place.

The commented default file (``data/default.toml``), the JSON schema, the error messages and ``fer-edge config show``
are all made from these Structs. A None is a key that is unset; TOML has no null, so the default file shows such a key
in a comment. Paths are texts here and become paths in :mod:`fer_edge.configuration.settings`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from fer_edge.configuration.outputs_schema import OutputsSection

Text = Annotated[str, Meta(min_length=1)]


class SourceSection(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where pictures come from."""

    spec: Annotated[
        Text,
        Meta(
            description="Which source: auto (the first camera that works), picamera2 or picamera2:1, 0 or "
            "v4l2:/dev/v4l/by-id/... for a USB camera, a video, picture or folder, rtsp://... or http://... Only auto "
            "ever takes another one than it was told."
        ),
    ] = "auto"
    width: Annotated[
        Annotated[int, Meta(ge=16, le=16384)] | None,
        Meta(
            description="Pixels before rotation that a camera is asked for. Unset: 640. Files keep their own.",
            examples=[640],
        ),
    ] = None
    height: Annotated[
        Annotated[int, Meta(ge=16, le=16384)] | None,
        Meta(
            description="Pixels before rotation that a camera is asked for. Unset: 480. Files keep their own.",
            examples=[480],
        ),
    ] = None
    fps: Annotated[
        Annotated[float, Meta(ge=0.1, le=1000)] | None,
        Meta(
            description="Frames a second that a camera is asked for, or that a folder of pictures stands for. Unset: "
            "what the camera likes best; 25 for a folder.",
            examples=[30.0],
        ),
    ] = None
    rotation: Annotated[
        Literal[0, 90, 180, 270],
        Meta(description="Degrees clockwise by which a picture is turned to stand upright; applied before flip."),
    ] = 0
    flip: Annotated[
        Literal["none", "horizontal", "vertical", "both"],
        Meta(description="horizontal mirrors left and right, as people expect of a screen they stand in front of."),
    ] = "none"
    pixel_format: Annotated[
        Literal["auto", "MJPG", "YUYV"],
        Meta(
            description="What a USB camera sends. auto takes MJPG where raw frames would not fit USB 2: above 640x480 "
            "or 30 frames a second."
        ),
    ] = "auto"
    exposure_us: Annotated[
        Annotated[int, Meta(ge=1, le=60_000_000)] | None,
        Meta(description="Microseconds that a camera exposes a frame. Unset: automatic.", examples=[10_000]),
    ] = None
    gain: Annotated[
        Annotated[float, Meta(ge=1, le=1000)] | None,
        Meta(description="Analogue gain of a Raspberry Pi camera. Unset: automatic.", examples=[2.0]),
    ] = None
    read_timeout_s: Annotated[
        float,
        Meta(
            ge=0.1,
            le=3600,
            description="Seconds that a camera or stream may take to open or to deliver a frame before it counts as "
            "failed and is opened anew.",
        ),
    ] = 5.0
    stale_after_s: Annotated[
        float,
        Meta(ge=0.1, le=3600, description="Seconds without a new frame after which the last result counts as stale."),
    ] = 2.0
    freeze_after_s: Annotated[
        float,
        Meta(
            ge=0,
            le=86400,
            description="Seconds of identical frames after which a live source counts as frozen and is opened anew; 0 "
            "never. Noise makes every frame of a real camera differ; a stream of a still drawing may need 0.",
        ),
    ] = 10.0


class ModelSection(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which network names the expressions."""

    name: Annotated[
        Text,
        Meta(
            description="Path of a .tflite file with a model card, or the name of a bundled model (`fer-edge models`)."
        ),
    ] = "default"
    threads: Annotated[
        int,
        Meta(ge=1, le=64, description="Processor threads that one classification may use."),
    ] = 1


class DetectionSection(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How faces are found. The search, not the classification, is what costs time."""

    backend: Annotated[
        Literal["haar", "yunet"],
        Meta(
            description="haar: Viola-Jones cascades, bundled. yunet: a small network, which wants its file in "
            "yunet_model."
        ),
    ] = "haar"
    profile: Annotated[
        bool,
        Meta(description="Haar only: look for faces in profile too, where no frontal one is found. Triples the cost."),
    ] = False
    cascade: Annotated[
        Text | None,
        Meta(
            description="Haar only: path of another frontal cascade (.xml). Unset: the bundled one.",
            examples=["/usr/share/opencv4/haarcascades/haarcascade_frontalface_alt2.xml"],
        ),
    ] = None
    yunet_model: Annotated[
        Text | None,
        Meta(
            description="YuNet only: path of its network (.onnx) from OpenCV's model zoo.",
            examples=["/var/lib/fer-edge/face_detection_yunet_2023mar.onnx"],
        ),
    ] = None
    budget_ms: Annotated[
        float,
        Meta(
            ge=0.5,
            le=10_000,
            description="Milliseconds that detection may take in a frame. How often and how finely it searches adapts.",
        ),
    ] = 12.0
    min_face_px: Annotated[
        int,
        Meta(ge=16, le=4096, description="Side of the smallest face to report, in pixels of the frame."),
    ] = 30
    working_width: Annotated[
        int,
        Meta(
            ge=64,
            le=4096,
            description="Width in pixels to which a frame is reduced before all of it is searched, at most.",
        ),
    ] = 480
    full_scan_every: Annotated[
        int,
        Meta(
            ge=1,
            le=10_000,
            description="Frames between searches of the whole picture while a face is being followed; 1: each.",
        ),
    ] = 15
    hold_s: Annotated[
        float,
        Meta(ge=0, le=60, description="Seconds for which a face that is not found is still reported where it was."),
    ] = 0.3
    forget_after_s: Annotated[
        float,
        Meta(ge=0, le=3600, description="Seconds for which a lost face keeps its id, should it come back."),
    ] = 1.0
    follow: Annotated[
        bool,
        Meta(description="Search near the faces that are known. Without it every face comes from a full search."),
    ] = True
    changes_only: Annotated[
        bool,
        Meta(description="Search only what changed since it was searched last, and all of it now and then."),
    ] = True
    still_frames: Annotated[
        int,
        Meta(ge=0, le=10_000, description="Frames for which a face on which nothing moves is kept without a search."),
    ] = 5
    matched_frames: Annotated[
        int,
        Meta(
            ge=0,
            le=1000,
            description="Frames for which a face that moves is followed by its own picture, which costs a tenth of a "
            "search; then it is searched for again.",
        ),
    ] = 1


class SmoothingSection(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How steady the reported expression of each face is."""

    time_constant_s: Annotated[
        float,
        Meta(
            ge=0,
            le=60,
            description="Seconds after which a lasting change of expression has arrived to 63 %; 0 smooths nothing.",
        ),
    ] = 0.4
    margin: Annotated[
        float,
        Meta(
            ge=0,
            le=0.99,
            description="Probability by which another expression must lead before the reported one changes.",
        ),
    ] = 0.08
    uncertain_below: Annotated[
        Annotated[float, Meta(ge=0, le=0.99)] | None,
        Meta(
            description="A face whose best probability is under this is reported as uncertain; 0: none ever is. Unset: "
            "the threshold that the model's card gives.",
            examples=[0.4],
        ),
    ] = None


class PrivacySection(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What may be known about single people. No picture is stored or sent unless an output asks for it by name."""

    aggregate_only: Annotated[
        bool,
        Meta(
            description="Give out counts of expressions over an interval only: no rows for single faces, no pictures, "
            "whatever the output."
        ),
    ] = False


class LogSection(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Messages about the program itself; they go to stderr, and from a service to the journal."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Meta(description="The least important messages that are still shown."),
    ] = "info"


class Config(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Configuration of fer-edge."""

    source: SourceSection = SourceSection()
    model: ModelSection = ModelSection()
    detection: DetectionSection = DetectionSection()
    smoothing: SmoothingSection = SmoothingSection()
    outputs: OutputsSection = OutputsSection()
    privacy: PrivacySection = PrivacySection()
    log: LogSection = LogSection()
