"""What a model says of each image: the rows behind the figures, for a closer look or for comparing two machines."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fer_edge.contract.files import write_text


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """Probabilities image by image."""

    labels: tuple[str, ...]
    rows: NDArray[np.int64]
    """(n,) row numbers in the data set, from 0."""
    truth: NDArray[np.uint8]
    """(n,) ids in ``labels``."""
    probabilities: NDArray[np.float32]
    """(n, labels) float32."""

    def write_csv(self, path: Path) -> None:
        """Write ``row, truth, predicted`` and a column ``p_LABEL`` for each label, with digits enough for a float32.

        Raises:
            OutputError: if the file cannot be written; what was there before stays.
        """
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["row", "truth", "predicted", *(f"p_{label}" for label in self.labels)])
        for row, truth, probabilities in zip(self.rows, self.truth, self.probabilities, strict=True):
            predicted = self.labels[int(probabilities.argmax())]
            writer.writerow([int(row), self.labels[int(truth)], predicted, *(f"{p:.9g}" for p in probabilities)])
        write_text(path, text.getvalue())
