"""What TensorBoard shows of a run, written without TensorFlow and on every backend."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fer_edge.contract.preprocess import UInt8Array
from fer_edge.errors import MissingExtraError, OutputError
from fer_train.checkpoint import RunState

SCALARS: Final = {
    "loss": "loss/Training",
    "public_nll": "loss/PublicTest",
    "accuracy": "accuracy/Training_augmented",
    "public_accuracy": "accuracy/PublicTest",
    "learning_rate": "learning_rate",
    "seconds": "seconds_per_epoch",
}
"""Key of a run's history -> tag, of letters, digits, ``_`` and ``/``: tensorboardX replaces what else there is."""

_NUMBERS: Final = itertools.count()


class TensorBoardLog:
    """Event files of one run; a step is an epoch.

    A run that goes on after a stop begins another file in the same folder, which tells TensorBoard to forget what the
    first one says of the epochs to come.
    """

    def __init__(self, folder: Path, labels: Sequence[str], recipe: str) -> None:
        """Prepare to write into ``folder``.

        Args:
            folder: where TensorBoard looks (``tensorboard --logdir``).
            labels: of the confusion matrix.
            recipe: its text, shown beside the curves.

        Raises:
            MissingExtraError: if tensorboardX is not installed.
        """
        try:
            import tensorboardX  # noqa: F401
        except ModuleNotFoundError as error:
            raise MissingExtraError("train --tensorboard", "train", "tensorboardX") from error
        self._folder, self._labels, self._recipe = folder, tuple(labels), recipe
        self._writer: Any = None

    def __enter__(self) -> TensorBoardLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.close()

    def write(self, state: RunState, public_labels: NDArray[np.int64]) -> None:
        """Write down the epoch that ``state`` ends with.

        Args:
            state: its ``public_logits`` are what the averaged weights answered.
            public_labels: (m,) the truth.

        Raises:
            OutputError: if it cannot be written.
        """
        last = state.history[-1]
        try:
            writer = self._open(state.epoch)
            for key, tag in SCALARS.items():
                if key in last:
                    writer.add_scalar(tag, last[key], state.epoch)
            if len(state.public_logits):
                picture = draw_confusion(state.public_logits.argmax(axis=1), public_labels, self._labels)
                writer.add_image("confusion/PublicTest", picture, state.epoch, dataformats="HWC")
            writer.flush()
        except OSError as error:
            raise OutputError(
                f"{self._folder}: TensorBoard's files cannot be written ({error.strerror}); name another folder"
            ) from error

    def _open(self, epoch: int) -> Any:
        if self._writer is None:
            from tensorboardX import SummaryWriter

            # Two files of one second would be one.
            suffix = f".{os.getpid()}.{next(_NUMBERS)}"
            self._writer = SummaryWriter(str(self._folder), purge_step=epoch, filename_suffix=suffix)
            self._writer.add_text("recipe", "\n".join(f"    {line}" for line in self._recipe.splitlines()), epoch)
        return self._writer


def draw_confusion(predicted: NDArray[np.int64], truth: NDArray[np.int64], labels: Sequence[str]) -> UInt8Array:
    """Draw a confusion matrix, rows of truth adding up to 100 %, as (height, width, 3) uint8 RGB."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    n = len(labels)
    counts = np.bincount(truth * n + predicted, minlength=n * n).reshape(n, n)
    share = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(6, 5.4), dpi=100, layout="constrained")
    axes = figure.subplots()
    axes.imshow(share, cmap="Blues", vmin=0, vmax=100)
    for row, column in np.ndindex(n, n):
        colour = "white" if share[row, column] > 50 else "black"
        axes.text(column, row, f"{share[row, column]:.0f}", ha="center", va="center", color=colour)
    axes.set_xticks(range(n), labels, rotation=45)
    axes.set_yticks(range(n), labels)
    axes.set(xlabel="predicted", ylabel="truth", title="PublicTest, % of each row")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba(), np.uint8)[..., :3].copy()
