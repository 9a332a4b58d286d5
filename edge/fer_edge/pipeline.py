"""From a frame to an observation: find the faces, name each one's expression, steady it. No I/O and no threads.

::

    pipeline = build_pipeline(find_model("default"))
    observation = pipeline.process(frame)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fer_edge.configuration import Config
from fer_edge.configuration.settings import as_path, schedule_settings, smoothing_settings
from fer_edge.contract.card import ModelCard
from fer_edge.contract.preprocess import Box, UInt8Array
from fer_edge.errors import ConfigError
from fer_edge.frames import Face, Frame, Observation, Timing
from fer_edge.vision.base import Detector, TrackedBox
from fer_edge.vision.classifier import ExpressionClassifier
from fer_edge.vision.schedule import DetectionSchedule, ScheduleReport
from fer_edge.vision.smoothing import Expression, ExpressionSmoother


class Schedule(Protocol):
    """What finds and follows faces; :class:`~fer_edge.vision.schedule.DetectionSchedule` in a product."""

    def faces(self, grey: UInt8Array, now: float) -> list[TrackedBox]:
        """Return the faces of the next frame of a stream, with the ids of their tracks."""
        ...

    def faces_still(self, grey: UInt8Array) -> list[TrackedBox]:
        """Return the faces of a picture that stands alone."""
        ...

    def report(self) -> ScheduleReport:
        """Return what was done so far."""
        ...


class Classifier(Protocol):
    """What names expressions; :class:`~fer_edge.vision.classifier.ExpressionClassifier` in a product."""

    @property
    def card(self) -> ModelCard:
        """What the model says about itself."""
        ...

    @property
    def sha256(self) -> str:
        """Of the model file."""
        ...

    def classify(self, grey: UInt8Array, boxes: Sequence[Box]) -> NDArray[np.float32]:
        """Return (len(boxes), labels) probabilities."""
        ...


class Pipeline:
    """Frames in, observations out; belongs to one thread.

    Args:
        schedule: finds and follows faces.
        classifier: names expressions.
        smoother: steadies them; must have been made with the labels of ``classifier``.
        live: whether the frames come as they are taken. Then a frame's moment is ``captured_at``; in a file it is
            ``time``, so that a file gives the same results however fast it is processed.
        clock: monotonic seconds, the clock of ``Frame.captured_at``; times what the pipeline does.
    """

    def __init__(
        self,
        schedule: Schedule,
        classifier: Classifier,
        smoother: ExpressionSmoother,
        *,
        live: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._schedule = schedule
        self._classifier = classifier
        self._smoother = smoother
        self._live = live
        self._clock = clock
        self._last_id = 0
        self._former_ids = 0

    @property
    def schedule(self) -> Schedule:
        """What finds the faces."""
        return self._schedule

    @property
    def smoother(self) -> ExpressionSmoother:
        """What steadies the expressions."""
        return self._smoother

    @property
    def classifier(self) -> Classifier:
        """The model in use."""
        return self._classifier

    def swap_model(self, classifier: Classifier, smoother: ExpressionSmoother) -> None:
        """Go on with another model from the next frame on: faces keep their ids, what they looked like is forgotten."""
        self._classifier, self._smoother = classifier, smoother

    def swap_schedule(self, schedule: Schedule) -> None:
        """Go on with another schedule from the next frame on: its faces get ids that no face had before."""
        self._schedule, self._former_ids = schedule, self._last_id

    def process(self, frame: Frame) -> Observation:
        """Observe the next frame of a stream."""
        started = self._clock()
        grey = frame.grey
        now = frame.captured_at if self._live else frame.time
        tracked = self._tracked(grey, now)
        found = self._clock()
        expressions = self._expressions(grey, tracked, now)
        self._smoother.forget([face.id for face in tracked])
        return self._observation(frame, zip(tracked, expressions, strict=True), started, found)

    def process_still(self, frame: Frame) -> Observation:
        """Observe a picture that stands alone, at full quality; faces of earlier frames are forgotten."""
        started = self._clock()
        grey = frame.grey
        faces = self._schedule.faces_still(grey)
        found = self._clock()
        self._smoother.forget(())
        expressions = self._expressions(grey, faces, 0.0)
        self._smoother.forget(())
        return self._observation(frame, zip(faces, expressions, strict=True), started, found)

    def _tracked(self, grey: UInt8Array, now: float) -> list[TrackedBox]:
        faces = [face for face in self._schedule.faces(grey, now) if _touches(face.box, grey)]
        if self._former_ids:
            faces = [replace(face, id=face.id + self._former_ids) for face in faces]
        self._last_id = max([self._last_id, *(face.id for face in faces)])
        return faces

    def _expressions(self, grey: UInt8Array, faces: Sequence[TrackedBox], now: float) -> list[Expression]:
        """Classify what was seen in this very frame; the others keep the expression that they had."""
        kept = {face.id: None if face.fresh else self._smoother.current(face.id) for face in faces}
        # A box that was carried over may already show the wall behind a face that has gone: it is looked at only if
        # there is nothing else to tell, as after a change of model.
        looked_at = [face for face in faces if kept[face.id] is None]
        probabilities = self._classifier.classify(grey, [face.box for face in looked_at])
        for face, row in zip(looked_at, probabilities, strict=True):
            kept[face.id] = self._smoother.update(face.id, row, now)
        return [expression for face in faces if (expression := kept[face.id]) is not None]

    def _observation(
        self, frame: Frame, faces: Iterable[tuple[TrackedBox, Expression]], started: float, found: float
    ) -> Observation:
        labels = self._classifier.card.labels
        named = tuple(
            Face(
                id=face.id,
                box=face.box,
                expression=expression.label,
                score=expression.score,
                probabilities=dict(zip(labels, expression.probabilities.tolist(), strict=True)),
            )
            for face, expression in faces
        )
        ended = self._clock()
        return Observation(
            frame=frame.index,
            time=frame.time,
            age_ms=(ended - frame.captured_at) * 1e3,
            size=frame.size,
            faces=named,
            timing=Timing(
                detect=(found - started) * 1e3, classify=(ended - found) * 1e3, total=(ended - started) * 1e3
            ),
        )


def build_pipeline(model: Path, config: Config | None = None, *, live: bool = False) -> Pipeline:
    """Return a pipeline with the model at ``model``, warm and ready.

    Args:
        model: a .tflite file with a card; ``fer_edge.model_store.find_model`` gives the path of a bundled one.
        config: settings of detection, smoothing and threads; None: the defaults.
        live: see :class:`Pipeline`.

    Raises:
        ModelError: if the model or the detector's file cannot be used.
        ConfigError: if the configuration asks for a detector and does not name its file.
    """
    config = config or Config()
    classifier = ExpressionClassifier.load(model, config.model.threads)
    schedule = DetectionSchedule(build_detector(config), schedule_settings(config))
    return Pipeline(schedule, classifier, build_smoother(classifier, config), live=live)


def build_detector(config: Config) -> Detector:
    """Return the detector that ``config`` names.

    Raises:
        ModelError: if its file cannot be used.
        ConfigError: if it is not named.
    """
    detection = config.detection
    if detection.backend == "haar":
        from fer_edge.vision.haar import HaarDetector

        return HaarDetector(profile=detection.profile, cascade=as_path(detection.cascade))
    from fer_edge.vision.yunet import YuNetDetector

    file = as_path(detection.yunet_model)
    if file is None:
        raise ConfigError("detection.yunet_model is unset: name YuNet's .onnx file there, or take the backend haar")
    return YuNetDetector(file)


def build_smoother(classifier: Classifier, config: Config) -> ExpressionSmoother:
    """Return a smoother for the labels of ``classifier``; its card's threshold holds where ``config`` sets none."""
    card = classifier.card
    return ExpressionSmoother(card.labels, smoothing_settings(config, card.uncertain_below))


def _touches(box: Box, grey: UInt8Array) -> bool:
    """Whether any pixel of ``box`` lies in the picture: one that is predicted may have left it."""
    x, y, w, h = box
    return x < grey.shape[1] and y < grey.shape[0] and x + w > 0 and y + h > 0
