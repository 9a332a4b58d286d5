"""The keys of ``[outputs]`` and its sub-tables; see :mod:`fer_edge.configuration.schema`."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta, Struct

Text = Annotated[str, Meta(min_length=1)]
Port = Annotated[int, Meta(ge=1, le=65535)]
SECRET: Final = {"secret": True}
Slug = Annotated[str, Meta(pattern="^[A-Za-z0-9_-]+$", extra={"form": "a text of letters, digits, - and _"})]
Topic = Annotated[
    str,
    Meta(pattern="^[^+#/$\\x00]([^+#\\x00]*[^+#/\\x00])?$", extra={"form": "an MQTT topic without wildcards"}),
]


class FilesSection(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How the files of jsonl, csv and aggregate are written."""

    max_bytes: Annotated[
        int,
        Meta(
            ge=0,
            le=2**50,
            description="Size in bytes at which a file is rotated: PATH becomes PATH.1; 0: never. What comes from a "
            "video or a folder is never rotated.",
        ),
    ] = 64 * 1024 * 1024
    keep: Annotated[
        int,
        Meta(ge=0, le=1000, description="Rotated files to keep beside the current one; 0: a full file is deleted."),
    ] = 4
    flush_interval_s: Annotated[
        float,
        Meta(
            ge=0,
            le=3600,
            description="Seconds for which lines are collected, to spare an SD card; 0: each is written at once.",
        ),
    ] = 2.0


class AggregateSection(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The output aggregate[:PATH]: counts by expression, and nothing about a single face."""

    interval_s: Annotated[
        float,
        Meta(ge=1, le=86400, description="Length of an interval in seconds; one line is written an interval."),
    ] = 60.0


class MqttSection(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The output mqtt[:HOST[:PORT]], with discovery by Home Assistant."""

    host: Annotated[Text, Meta(description="Name or address of the broker.")] = "localhost"
    port: Annotated[
        Port | None, Meta(description="Port of the broker. Unset: 1883, or 8883 with tls.", examples=[8883])
    ] = None
    tls: Annotated[bool, Meta(description="Encrypt the connection and check the broker's certificate.")] = False
    ca_file: Annotated[
        Text | None,
        Meta(
            description="Certificates (PEM) that the broker's is checked against. Unset: those of the system.",
            examples=["/etc/fer-edge/ca.pem"],
        ),
    ] = None
    certificate_file: Annotated[
        Text | None,
        Meta(
            description="This client's certificate (PEM), for a broker that asks for one.",
            examples=["/etc/fer-edge/client.pem"],
        ),
    ] = None
    key_file: Annotated[
        Text | None,
        Meta(
            description="The private key of certificate_file (PEM). Unset: it is in that file.",
            examples=["/etc/fer-edge/client.key"],
        ),
    ] = None
    username: Annotated[Text | None, Meta(description="Unset: the broker takes anybody.", examples=["fer-edge"])] = None
    password: Annotated[
        Text | None,
        Meta(
            description="Better in password_file, so that this file can be shown to others.",
            examples=["change me"],
            extra=SECRET,
        ),
    ] = None
    password_file: Annotated[
        Text | None,
        Meta(
            description="A file that holds nothing but the password, such as a systemd credential.",
            examples=["/etc/fer-edge/mqtt-password"],
        ),
    ] = None
    topic_prefix: Annotated[Topic, Meta(description="Topics are PREFIX/DEVICE/CAMERA/state and .../availability.")] = (
        "fer-edge"
    )
    device: Annotated[
        Slug | None,
        Meta(
            description="Names this machine in topics and ids; keep it when the host is renamed. Unset: the host's.",
            examples=["lobby-pi"],
        ),
    ] = None
    camera: Annotated[Slug, Meta(description="Names the camera; two runs on one machine need two names.")] = "camera"
    discovery: Annotated[bool, Meta(description="Tell Home Assistant of the sensors.")] = True
    discovery_prefix: Annotated[Topic, Meta(description="Home Assistant's own setting of that name.")] = "homeassistant"
    publish_interval_s: Annotated[
        float,
        Meta(
            ge=0.2,
            le=3600,
            description="Seconds between two states while nothing changes. A change of expression or of the number of "
            "faces is sent at once.",
        ),
    ] = 2.0
    keepalive_s: Annotated[
        int,
        Meta(ge=5, le=65535, description="Seconds after which broker and client make sure that the other is there."),
    ] = 30


class MetricsSection(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The output metrics[:[HOST:]PORT]: a page for Prometheus."""

    host: Annotated[
        Text,
        Meta(
            description="Address to listen on. The page has neither password nor encryption: leave it on loopback, or "
            "put it behind a firewall."
        ),
    ] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="Port to listen on; 0: any free one.")] = 9464


class VideoSection(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The output video:PATH, a recording with boxes and labels drawn in."""

    fps: Annotated[
        float,
        Meta(
            ge=1,
            le=240,
            description="Frames a second of the file, whatever the source's pace: frames are repeated or left out.",
        ),
    ] = 25.0


class WebSection(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The output web: the dashboard."""

    host: Annotated[
        Text,
        Meta(description="Address to listen on. Any but loopback lets others see the camera, and wants a token_file."),
    ] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="Port to listen on; 0: any free one.")] = 8787
    token_file: Annotated[
        Text | None,
        Meta(
            description="A file that holds nothing but the token that a browser has to present.",
            examples=["/etc/fer-edge/web-token"],
        ),
    ] = None
    kiosk: Annotated[bool, Meta(description="Start in the full-screen view: large, and legible from three metres.")] = (
        False
    )
    jpeg_quality: Annotated[
        int,
        Meta(ge=1, le=100, description="Quality of the live view's pictures; at 80 one of 640x480 has 40 to 80 kB."),
    ] = 80
    max_fps: Annotated[
        float,
        Meta(
            ge=0.1,
            le=120,
            description="Pictures a second of the live view, at most. Each is encoded once for all who look, and none "
            "while nobody does.",
        ),
    ] = 12.0
    max_side_px: Annotated[
        int,
        Meta(
            ge=64,
            le=16384,
            description="Pixels on the longer side of the live view's pictures, at most; larger frames are reduced.",
        ),
    ] = 1280
    max_events_hz: Annotated[
        float,
        Meta(ge=0.1, le=1000, description="Results a second that the event stream carries, at most."),
    ] = 10.0
    max_clients: Annotated[
        int,
        Meta(
            ge=1,
            le=1000,
            description="Live views and event streams that may be open at once; a dashboard has one of each.",
        ),
    ] = 16
    history_s: Annotated[int, Meta(ge=10, le=3600, description="Length of the timeline in seconds.")] = 300
    frame_stale_after_s: Annotated[
        float,
        Meta(ge=1, le=3600, description="Seconds after a frame for which /healthz says that all is well."),
    ] = 10.0
    status_stale_after_s: Annotated[
        float,
        Meta(
            ge=2,
            le=3600,
            description="Seconds for which it says so while the run is paused or tries to reach its source, after it "
            "last told its state; it does so each second.",
        ),
    ] = 10.0
    client_timeout_s: Annotated[
        float,
        Meta(ge=1, le=3600, description="Seconds after which a viewer that takes no data is disconnected."),
    ] = 20.0


class OutputsSection(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where results go. Each output runs on its own: a slow or failing one never holds up the others."""

    enabled: Annotated[
        tuple[Text, ...],
        Meta(
            description="Any number of: jsonl[:PATH], csv:PATH, aggregate[:PATH], mqtt[:HOST[:PORT]], "
            "metrics[:[HOST:]PORT], web[:[HOST:]PORT], video:PATH, window."
        ),
    ] = ("jsonl",)
    files: FilesSection = FilesSection()
    aggregate: AggregateSection = AggregateSection()
    mqtt: MqttSection = MqttSection()
    metrics: MetricsSection = MetricsSection()
    video: VideoSection = VideoSection()
    web: WebSection = WebSection()
