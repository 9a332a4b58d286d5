"""Where the time of a frame goes: the product's own parts on the bundled demo scene, one after the other.

The one place where this room uses the runtime's vision: what is measured must be what runs.
"""

from __future__ import annotations

import time
from typing import Final

import cv2
import numpy as np

from fer_convert.latency_subject import Subject
from fer_edge.configuration import Config
from fer_edge.configuration.settings import schedule_settings, smoothing_settings
from fer_edge.contract.preprocess import UInt8Array, face_input, to_grey
from fer_edge.pipeline import build_detector
from fer_edge.sources.base import SourceSettings
from fer_edge.sources.scene import FPS, DemoScene
from fer_edge.vision.schedule import DetectionSchedule
from fer_edge.vision.smoothing import ExpressionSmoother

STAGES: Final = ("decode", "detect", "preprocess", "invoke", "post")
"""``decode``: from the JPEG that a webcam delivers to BGR and grey. ``detect``: finding and following faces, full scans
and cheap frames as the schedule takes them. The rest for all faces of the frame: ``preprocess`` to the input tensor's
values, ``invoke``, and ``post``, from the output tensor to smoothed probabilities and a label."""

JPEG_QUALITY: Final = 90


def measure_stages(subject: Subject, frames: int) -> dict[str, list[float]]:
    """Run the first ``frames`` frames of the demo scene; milliseconds a frame by stage, and ``faces``, their number."""
    times: dict[str, list[float]] = {name: [] for name in (*STAGES, "faces")}
    schedule = DetectionSchedule(build_detector(Config()), schedule_settings(Config()))
    # A stranger's labels may be unknown; what is smoothed is then called by number.
    labels = subject.labels or tuple(f"class-{n}" for n in range(subject.outputs))
    smoother = ExpressionSmoother(labels, smoothing_settings(Config(), 0.0))
    for index, jpeg in enumerate(_jpegs(frames)):
        marks = [time.perf_counter()]
        image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
        assert image is not None
        grey = to_grey(np.asarray(image, np.uint8))
        marks.append(time.perf_counter())
        faces = schedule.faces(grey, index / FPS)
        marks.append(time.perf_counter())
        stored = [subject.stored(face_input(grey, face.box, subject.spec)) for face in faces]
        marks.append(time.perf_counter())
        rows = [subject.run(one) for one in stored]
        marks.append(time.perf_counter())
        for face, row in zip(faces, rows, strict=True):
            smoother.update(face.id, subject.probabilities(row), index / FPS)
        marks.append(time.perf_counter())
        for name, begun, ended in zip(STAGES, marks, marks[1:], strict=False):
            times[name].append((ended - begun) * 1e3)
        times["faces"].append(len(faces))
    return times


def portrait_pixels(subject: Subject) -> UInt8Array:
    """Return the (height, width, channels) face that a classifier alone is timed on: the scene's first frame."""
    scene = DemoScene(SourceSettings())
    scene.open()
    frame = scene.read()
    scene.close()
    assert frame is not None
    height, width = frame.grey.shape
    side = height // 2
    return face_input(frame.grey, ((width - side) // 2, (height - side) // 2, side, side), subject.spec)


def _jpegs(frames: int) -> list[bytes]:
    scene = DemoScene(SourceSettings(loop=True))
    scene.open()
    jpegs: list[bytes] = []
    while len(jpegs) < frames and (frame := scene.read()) is not None:
        _, data = cv2.imencode(".jpg", frame.image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        jpegs.append(data.tobytes())
    scene.close()
    return jpegs
