"""Scripted videos of a real face in front of synthetic backgrounds, with the truth about every face in every frame.

The face is the public-domain ``astronaut.jpg`` that fer-edge ships. Backgrounds are "dead leaves" (shapes that cover
each other, with the sizes, edges and flat parts of a cluttered room) or, to make it hard, 1/f noise, which looks like a
face everywhere to the first stages of a cascade. Every frame gets fresh sensor noise, and the whole goes through a
video codec as a webcam's picture would.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

Image: TypeAlias = NDArray[np.uint8]
Box: TypeAlias = tuple[int, int, int, int]

FPS = 30.0
_HEAD = (112, 0, 224, 224)  # head and shoulders in astronaut.jpg
_FACE = (178, 67, 92, 92)  # what a full-scale Haar scan returns there


@dataclass(frozen=True)
class Pose:
    """Where one person is at one moment."""

    x: float
    """Centre of the face in pixels."""
    y: float
    size: float
    """Side of the face in pixels."""
    tilt: float = 0.0
    """Rotation in degrees."""


Path2D: TypeAlias = Callable[[float], Pose | None]
"""Time in seconds to a pose; None while the person is away."""


@dataclass(frozen=True)
class Scene:
    """A script: people later in the list stand in front of earlier ones."""

    name: str
    size: tuple[int, int]
    people: tuple[Path2D, ...]
    pan: float = 0.0
    """Speed of the background in pixels a second: a camera that moves."""
    hard: bool = False
    """1/f noise behind the people instead of dead leaves."""
    noise: float = 3.0
    """Standard deviation of the sensor noise in grey levels."""


def wander(x: float, y: float, reach: tuple[float, float], size: tuple[float, float], period: float) -> Path2D:
    """Return a slow loop around (x, y) during which the face comes nearer and goes away."""

    def path(t: float) -> Pose:
        phase = 2 * math.pi * t / period
        middle, swing = (size[0] + size[1]) / 2, (size[1] - size[0]) / 2
        return Pose(
            x + reach[0] * math.sin(phase),
            y + reach[1] * math.sin(2 * phase + 0.7),
            middle + swing * math.sin(1.3 * phase + 0.4),
            5.0 * math.sin(1.7 * phase),
        )

    return path


def walk(x0: float, x1: float, y: float, size: float, begin: float, end: float) -> Path2D:
    """Return a walk from x0 to x1 between two moments; away before and after."""

    def path(t: float) -> Pose | None:
        if not begin <= t <= end:
            return None
        return Pose(x0 + (x1 - x0) * (t - begin) / (end - begin), y + 4 * math.sin(8 * t), size)

    return path


def pace(x0: float, x1: float, y: float, size: float, period: float) -> Path2D:
    """Return an endless walk to and fro between x0 and x1."""

    def path(t: float) -> Pose:
        return Pose((x0 + x1) / 2 - (x1 - x0) / 2 * math.cos(2 * math.pi * t / period), y + 3 * math.sin(7 * t), size)

    return path


def still(x: float, y: float, size: float) -> Path2D:
    """Return somebody who sits still."""
    return lambda _: Pose(x, y, size)


def crowd(count: int, size: tuple[int, int], face: float) -> tuple[Path2D, ...]:
    """Return ``count`` people on a grid who sway a little."""
    columns = math.ceil(math.sqrt(count * size[0] / size[1]))
    rows = math.ceil(count / columns)
    step_x, step_y = size[0] / columns, size[1] / rows
    return tuple(
        wander((n % columns + 0.5) * step_x, (n // columns + 0.5) * step_y, (6, 4), (face, face * 1.15), 4 + n % 5)
        for n in range(count)
    )


_VGA, _CLIP = (640, 480), (596, 336)

SCENES: tuple[Scene, ...] = (
    Scene("one, 596x336", _CLIP, (wander(298, 170, (170, 40), (48, 120), 9.0),)),
    Scene("one, 640x480", _VGA, (wander(320, 240, (200, 90), (45, 190), 8.0),)),
    Scene("one, small", _VGA, (wander(320, 240, (220, 120), (33, 48), 10.0),)),
    Scene("one, still", _VGA, (still(300, 220, 110),)),
    Scene("one, panning", _VGA, (wander(320, 240, (150, 60), (60, 130), 8.0),), pan=60.0),
    Scene("one, hard background", _VGA, (wander(320, 240, (180, 80), (50, 150), 8.0),), hard=True),
    Scene(
        "three, come and go",
        _VGA,
        (
            walk(-60, 700, 150, 70, 1.0, 6.0),
            walk(690, -60, 330, 90, 3.0, 7.5),
            wander(330, 240, (40, 20), (80, 110), 6.0),
        ),
    ),
    Scene("three, 596x336", _CLIP, crowd(3, _CLIP, 80)),
    Scene("two, crossing", _VGA, (pace(120, 520, 215, 80, 8.0), pace(520, 120, 235, 96, 8.0))),
    Scene("nobody", _VGA, ()),
)


def crowd_scene(count: int) -> Scene:
    """Return a 640x480 scene with ``count`` people at 50 to 58 pixels."""
    return Scene(f"{count} faces", _VGA, crowd(count, _VGA, 50))


def truth(scene: Scene, index: int) -> list[Box | None]:
    """Return each person's face box in frame ``index``; None while away or mostly outside the picture."""
    boxes: list[Box | None] = []
    for path in scene.people:
        pose = path(index / FPS)
        if pose is None or not (0 <= pose.x < scene.size[0] and 0 <= pose.y < scene.size[1]):
            boxes.append(None)
        else:
            boxes.append(
                (round(pose.x - pose.size / 2), round(pose.y - pose.size / 2), round(pose.size), round(pose.size))
            )
    return boxes


def render(scene: Scene, frames: int, seed: int = 0) -> Iterator[Image]:
    """Yield (H, W, 3) uint8 BGR frames."""
    rng = np.random.default_rng(seed)
    width, height = scene.size
    head, alpha = _head()
    backdrop = (_noise if scene.hard else _leaves)((height, width * 2), rng)
    grain = rng.normal(0.0, scene.noise, (height + 64, width + 64, 3)).astype(np.float32)
    for index in range(frames):
        shift = round(scene.pan * index / FPS) % (2 * width)
        picture = (np.roll(backdrop, -shift, axis=1) if shift else backdrop)[:, :width].copy()
        for person, path in enumerate(scene.people):
            pose = path(index / FPS)
            if pose is not None:
                _paste(picture, head, alpha, pose, person)
        dy, dx = rng.integers(0, 64, 2)
        picture += grain[dy : dy + height, dx : dx + width]
        yield np.clip(picture, 0, 255).astype(np.uint8)


def write(scene: Scene, frames: int, path: Path, seed: int = 0) -> None:
    """Render a scene into a Motion-JPEG file, as a webcam delivers it."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), FPS, scene.size)
    if not writer.isOpened():
        raise SystemExit(f"{path}: this OpenCV cannot write Motion JPEG")
    for frame in render(scene, frames, seed):
        writer.write(frame)
    writer.release()


def read(path: Path) -> Iterator[Image]:
    """Yield the frames of a video file."""
    video = cv2.VideoCapture(str(path))
    while True:
        ok, frame = video.read()
        if not ok:
            break
        yield np.asarray(frame, dtype=np.uint8)
    video.release()


def _head() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    with resources.as_file(resources.files("fer_edge") / "data" / "astronaut.jpg") as path:
        picture = cv2.imread(str(path))
    assert picture is not None
    x, y, w, h = _HEAD
    rows, columns = np.mgrid[0:h, 0:w].astype(np.float32)
    # An ellipse around head and hair, faded over its outer fifth.
    radius = np.hypot((columns - w / 2) / (0.46 * w), (rows - h / 2) / (0.5 * h))
    alpha = np.clip((1.0 - radius) / 0.2, 0.0, 1.0).astype(np.float32)
    return picture[y : y + h, x : x + w].astype(np.float32), alpha


def _paste(
    picture: NDArray[np.float32], head: NDArray[np.float32], alpha: NDArray[np.float32], pose: Pose, person: int
) -> None:
    scale = pose.size / _FACE[2]
    centre = (_FACE[0] + _FACE[2] / 2 - _HEAD[0], _FACE[1] + _FACE[3] / 2 - _HEAD[1])
    matrix = cv2.getRotationMatrix2D(centre, pose.tilt, scale)
    matrix[:, 2] += np.array([pose.x - centre[0], pose.y - centre[1]])
    gain, offset = (1.0, 0.9, 1.1, 0.8)[person % 4], (0.0, 14.0, -8.0, 22.0)[person % 4]
    source = cv2.GaussianBlur(head, (0, 0), 0.45 / scale) if scale < 0.8 else head  # no aliasing when it shrinks
    size = (picture.shape[1], picture.shape[0])
    mask = cv2.warpAffine(alpha, matrix, size)[:, :, None]
    picture += mask * (cv2.warpAffine(source, matrix, size) * gain + offset - picture)


def _leaves(shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float32]:
    """Paint discs and rectangles over each other, their sizes distributed as r^-3 (Lee, Mumford and Huang 2001)."""
    plane = np.full((*shape, 3), 120.0, dtype=np.float32)
    for _ in range(2500):
        radius = min(5.0 / math.sqrt(1.0 - rng.random()), 160.0)
        grey = rng.uniform(15, 240)
        colour = tuple(float(c) for c in np.clip(grey + rng.normal(0, 18, 3), 0, 255))
        x, y = int(rng.integers(0, shape[1])), int(rng.integers(0, shape[0]))
        if rng.random() < 0.5:
            cv2.circle(plane, (x, y), round(radius), colour, -1, cv2.LINE_AA)
        else:
            corners = cv2.boxPoints(((x, y), (2 * radius, 2 * radius * rng.uniform(0.3, 1.0)), rng.uniform(0, 90)))
            cv2.fillConvexPoly(plane, corners.astype(np.int32), colour, cv2.LINE_AA)
    return np.asarray(cv2.GaussianBlur(plane, (0, 0), 0.7), dtype=np.float32)


def _noise(shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float32]:
    """Return noise whose amplitude falls as 1/f (Field 1987)."""
    frequency = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None, :])
    frequency[0, 0] = 1.0
    spectrum = rng.normal(size=frequency.shape) + 1j * rng.normal(size=frequency.shape)
    plane = np.fft.irfft2(spectrum / frequency, s=shape)
    plane = (plane - plane.mean()) / plane.std()
    return np.repeat(np.clip(118 + 42 * plane[:, :, None], 0, 255), 3, axis=2).astype(np.float32)
