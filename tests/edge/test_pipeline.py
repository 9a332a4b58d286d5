from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from fer_edge.configuration import Config, resolve_config
from fer_edge.contract.interpreter import load_model
from fer_edge.contract.labels import LABELS, UNCERTAIN
from fer_edge.contract.preprocess import Box, UInt8Array
from fer_edge.errors import ModelError
from fer_edge.frames import Frame
from fer_edge.pipeline import Pipeline, build_detector, build_pipeline, build_smoother
from fer_edge.vision.base import TrackedBox
from fer_edge.vision.classifier import ExpressionClassifier
from fer_edge.vision.haar import HaarDetector
from fer_edge.vision.schedule import DetectionSchedule
from fer_edge.vision.smoothing import ExpressionSmoother, SmoothingSettings
from tests.edge.scripted_camera import ASTRONAUT
from tests.edge.tiny_model import write_tiny_model

SEEN: Box = (10, 10, 40, 40)


@pytest.fixture(scope="module")
def astronaut() -> UInt8Array:
    return np.asarray(cv2.imread(str(ASTRONAUT)), np.uint8)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("model") / "tiny.tflite")


def frame(image: UInt8Array, index: int = 0, at: float = 0.0, captured_at: float | None = None) -> Frame:
    return Frame(index, image, time.monotonic() if captured_at is None else captured_at, at)


def blank(size: int = 100) -> UInt8Array:
    return np.zeros((size, size), np.uint8)


class ScriptedSchedule(DetectionSchedule):
    """Reports the faces that the test wants, and remembers when it was asked."""

    def __init__(self, *faces: TrackedBox) -> None:
        super().__init__(HaarDetector())
        self.seen = list(faces)
        self.asked: list[float] = []

    def faces(self, grey: UInt8Array, now: float) -> list[TrackedBox]:  # noqa: ARG002
        self.asked.append(now)
        return list(self.seen)

    def faces_still(self, grey: UInt8Array) -> list[TrackedBox]:  # noqa: ARG002
        return list(self.seen)


class CountingClassifier(ExpressionClassifier):
    """A model whose answers the test gives, and which counts the faces that it is shown."""

    def classify(self, grey: UInt8Array, boxes: Sequence[Box]) -> NDArray[np.float32]:
        self.shown = [*getattr(self, "shown", []), len(boxes)]
        self.answer: NDArray[np.float32]
        return np.tile(self.answer, (len(boxes), 1)) if hasattr(self, "answer") else super().classify(grey, boxes)


def seen(box: Box = SEEN, *, number: int = 1, fresh: bool = True) -> TrackedBox:
    return TrackedBox(number, box, fresh, 0.0, 0.0)


def sure_of(label: str) -> NDArray[np.float32]:
    return np.array([0.94 if label == other else 0.01 for other in LABELS], np.float32)


def test_a_face_is_found_classified_and_keeps_its_id(model: Path, astronaut: UInt8Array) -> None:
    pipeline = build_pipeline(model)
    observations = [pipeline.process(frame(astronaut, n, n / 25)) for n in range(5)]
    for number, observation in enumerate(observations):
        assert (observation.frame, observation.time, observation.size) == (number, number / 25, (512, 512))
        (face,) = observation.faces
        assert face.id == 1
        assert face.expression == "happy"
        assert face.score == pytest.approx(max(face.probabilities.values()))
        assert tuple(face.probabilities) == LABELS
        assert sum(face.probabilities.values()) == pytest.approx(1)
        x, y, w, h = face.box
        assert x < 222 < x + w  # the nose of the astronaut
        assert y < 115 < y + h


def test_a_grey_picture_and_a_free_luma_give_the_same_as_colour(model: Path, astronaut: UInt8Array) -> None:
    grey = np.asarray(cv2.cvtColor(astronaut, cv2.COLOR_BGR2GRAY), np.uint8)
    colour = frame(astronaut)
    boxes = [
        build_pipeline(model).process(each).faces[0].box
        for each in (colour, replace(colour, image=grey), replace(colour, image=blank(512), luma=grey))
    ]
    assert boxes[0] == boxes[1] == boxes[2]


def test_timings_and_age_are_measured_on_the_clock_of_the_frame(model: Path) -> None:
    ticks = iter([10.000, 10.004, 10.005])
    classifier = ExpressionClassifier.load(model)
    pipeline = Pipeline(
        ScriptedSchedule(seen()), classifier, ExpressionSmoother(classifier.card.labels), clock=lambda: next(ticks)
    )
    observation = pipeline.process(frame(blank(), captured_at=9.990))
    assert observation.timing.detect == pytest.approx(4)
    assert observation.timing.classify == pytest.approx(1)
    assert observation.timing.total == pytest.approx(5)
    assert observation.age_ms == pytest.approx(15)


@pytest.mark.parametrize(("live", "expected"), [(True, [100.0, 100.5]), (False, [3.0, 4.0])])
def test_a_live_frame_counts_by_its_capture_and_a_files_by_its_position(
    model: Path, live: bool, expected: list[float]
) -> None:
    schedule = ScriptedSchedule()
    classifier = ExpressionClassifier.load(model)
    pipeline = Pipeline(schedule, classifier, ExpressionSmoother(classifier.card.labels), live=live)
    pipeline.process(frame(blank(), 0, at=3.0, captured_at=100.0))
    pipeline.process(frame(blank(), 1, at=4.0, captured_at=100.5))
    assert schedule.asked == expected


def counting_pipeline(model: Path, *faces: TrackedBox) -> tuple[Pipeline, ScriptedSchedule, CountingClassifier]:
    classifier = CountingClassifier(load_model(model))
    schedule = ScriptedSchedule(*faces)
    smoother = ExpressionSmoother(LABELS, SmoothingSettings(time_constant_s=1.0, margin=0.0, uncertain_below=0.0))
    return Pipeline(schedule, classifier, smoother), schedule, classifier


def test_a_face_that_is_carried_over_keeps_its_expression_and_is_not_classified(model: Path) -> None:
    pipeline, schedule, classifier = counting_pipeline(model, seen())
    classifier.answer = sure_of("sad")
    first = pipeline.process(frame(blank(), 0, 0.0))
    schedule.seen = [seen(fresh=False)]
    classifier.answer = sure_of("fear")
    second = pipeline.process(frame(blank(), 1, 5.0))
    assert classifier.shown == [1, 0]
    assert second.faces[0].probabilities == first.faces[0].probabilities


def test_a_face_that_was_gone_starts_anew(model: Path) -> None:
    pipeline, schedule, classifier = counting_pipeline(model, seen())
    classifier.answer = sure_of("sad")
    pipeline.process(frame(blank(), 0, 0.0))
    schedule.seen = []
    pipeline.process(frame(blank(), 1, 0.001))
    schedule.seen = [seen()]
    classifier.answer = sure_of("fear")
    assert pipeline.process(frame(blank(), 2, 0.002)).faces[0].expression == "fear"


def test_a_box_outside_of_the_picture_is_no_face(model: Path) -> None:
    pipeline, _, _ = counting_pipeline(model, seen((100, 0, 40, 40)), seen((-40, 5, 40, 40), number=2), seen(number=3))
    assert [face.id for face in pipeline.process(frame(blank())).faces] == [3]


def test_another_model_takes_over_at_once_and_faces_keep_their_ids(model: Path, tmp_path: Path) -> None:
    pipeline, schedule, _ = counting_pipeline(model, seen(number=7))
    assert pipeline.process(frame(blank(), 0, 0.0)).faces[0].expression == "happy"
    other = ExpressionClassifier.load(write_tiny_model(tmp_path / "other.tflite", "sad"))
    pipeline.swap_model(other, ExpressionSmoother(LABELS))
    schedule.seen = [seen(number=7, fresh=False)]  # also one that the detector does not look at just now
    face = pipeline.process(frame(blank(), 1, 0.04)).faces[0]
    assert (face.id, face.expression) == (7, "sad")


def test_no_id_comes_back_when_another_schedule_takes_over(model: Path) -> None:
    pipeline, _, _ = counting_pipeline(model, seen(number=1), seen(number=4))
    pipeline.process(frame(blank(), 0))
    pipeline.swap_schedule(ScriptedSchedule(seen(number=1), seen(number=2)))
    assert [face.id for face in pipeline.process(frame(blank(), 1)).faces] == [5, 6]
    pipeline.swap_schedule(ScriptedSchedule(seen(number=1)))
    assert [face.id for face in pipeline.process(frame(blank(), 2)).faces] == [7]


def test_still_pictures_do_not_colour_each_other(model: Path) -> None:
    pipeline, _, classifier = counting_pipeline(model, seen())
    scores = []
    for label in ("sad", "fear"):
        classifier.answer = sure_of(label)
        (face,) = pipeline.process_still(frame(blank())).faces
        assert face.expression == label
        scores.append(face.score)
    assert scores == pytest.approx([0.94, 0.94])


def test_a_still_picture_is_searched_whole(model: Path, astronaut: UInt8Array) -> None:
    small = np.asarray(cv2.resize(astronaut, (256, 256), interpolation=cv2.INTER_AREA), np.uint8)
    pair = np.hstack([small, small])
    observation = build_pipeline(model).process_still(frame(pair))
    assert [face.id for face in observation.faces] == [1, 2]
    assert {face.box[0] // 256 for face in observation.faces} == {0, 1}


def test_the_models_own_threshold_decides_on_uncertain(tmp_path: Path, astronaut: UInt8Array) -> None:
    unsure = write_tiny_model(tmp_path / "unsure.tflite", logit=1.0, uncertain_below=0.5)
    face = build_pipeline(unsure).process(frame(astronaut)).faces[0]
    assert face.expression == UNCERTAIN
    assert 0.2 < face.score < 0.5
    assert build_pipeline(unsure).process_still(frame(astronaut)).faces[0].expression == UNCERTAIN


def test_the_configuration_goes_before_the_models_threshold(tmp_path: Path, astronaut: UInt8Array) -> None:
    unsure = write_tiny_model(tmp_path / "unsure.tflite", logit=1.0, uncertain_below=0.5)
    config = resolve_config(None, {}, {"smoothing.uncertain_below": 0.0}, system_file=Path("/nowhere")).config
    assert build_pipeline(unsure, config).process(frame(astronaut)).faces[0].expression == "happy"
    assert build_smoother(ExpressionClassifier.load(unsure), config).update(1, sure_of("sad"), 0.0).label == "sad"


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "not.tflite"
    path.write_bytes(b"no model at all")
    with pytest.raises(ModelError, match=r"not\.tflite"):
        build_pipeline(path)


def test_the_detector_that_the_configuration_names_is_built_or_refused(model: Path, tmp_path: Path) -> None:
    def config(**keys: object) -> Config:
        overrides = {f"detection.{key}": value for key, value in keys.items()}
        return resolve_config(None, {}, overrides, system_file=Path("/nowhere")).config

    assert build_detector(config(profile=True)).name == "haar+profile"
    with pytest.raises(ModelError, match=r"nosuch\.xml"):
        build_pipeline(model, config(cascade=str(tmp_path / "nosuch.xml")))
    with pytest.raises(ModelError, match=r"nosuch\.onnx"):
        build_pipeline(model, config(backend="yunet", yunet_model=str(tmp_path / "nosuch.onnx")))
