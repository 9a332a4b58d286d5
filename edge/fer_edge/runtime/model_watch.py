"""Noticing that another model is wanted, and making it ready beside the one in use."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from fer_edge.errors import FerEdgeError, ModelError
from fer_edge.model_store import find_model
from fer_edge.runtime.selection import read_selection
from fer_edge.vision.classifier import ExpressionClassifier

_log = logging.getLogger(__name__)

_Stamp: TypeAlias = tuple[int, int, int] | None
"""(inode, size, time of change in ns) of a file; None if it is not there."""


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """Which model is used, and what can change that during a run."""

    configured: Path
    """The one that the configuration or the command line names."""
    selection: Path | None
    """The file in which ``fer-edge model use`` leaves another choice; None if ``configured`` was asked for by name."""

    def resolve(self) -> Path:
        """Return the model to use now.

        Raises:
            ModelError: if the choice cannot be read, or there is no such model.
        """
        chosen = None if self.selection is None else read_selection(self.selection)
        if chosen is None:
            return self.configured
        try:
            return find_model(chosen)
        except FerEdgeError as error:
            raise ModelError(f"{self.selection}: {error}; or withdraw the choice: `fer-edge model unset`") from error


class ModelWatch:
    """Polls the files that decide on the model; belongs to one thread.

    A poll costs two ``stat`` calls. A new file is loaded once it has stood still from one poll to the next, so that one
    that is still being copied is left alone; a file that cannot be used is reported once and looked at again when it
    changes.
    """

    def __init__(self, choice: ModelChoice, current: ExpressionClassifier) -> None:
        """Watch for a successor of ``current``."""
        self._choice = choice
        self._path = current.model.file.path
        self._sha256 = current.sha256
        self._labels = current.card.labels
        self._threads = current.model.threads
        self._known = self._seen = self._stamps()

    def poll(self) -> ExpressionClassifier | None:
        """Return a new model, checked and warm, if there is one."""
        stamps, before = self._stamps(), self._seen
        self._seen = stamps
        if stamps == self._known or stamps != before:
            return None
        self._known = stamps
        try:
            return self._load()
        except Exception as error:  # whatever a broken file does to a native library, the run goes on
            _log.error("the model in use stays: %s", " ".join(str(error).split()) or repr(error))
            return None

    def _load(self) -> ExpressionClassifier | None:
        path = self._choice.resolve()
        if path != self._path:
            self._path = path
            self._known = self._seen = self._stamps()
        classifier = ExpressionClassifier.load(path, self._threads)
        if classifier.sha256 == self._sha256:
            return None
        if classifier.card.labels != self._labels:
            raise ModelError(
                f"{path}: its labels are {', '.join(classifier.card.labels)}, and outputs have begun with "
                f"{', '.join(self._labels)}; reload the configuration (SIGHUP) or restart fer-edge to use it"
            )
        self._sha256 = classifier.sha256
        return classifier

    def _stamps(self) -> tuple[_Stamp, _Stamp]:
        selection = self._choice.selection
        return _stamp(self._path), None if selection is None else _stamp(selection)


def _stamp(path: Path) -> _Stamp:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
