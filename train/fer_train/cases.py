"""Single images worth a look: where a model is sure and wrong, and where it is sure and right, with their maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fer_edge.contract.preprocess import UInt8Array
from fer_train.contact_sheet import enlarged
from fer_train.evaluation import Truth
from fer_train.page import gallery, picture
from fer_train.saliency import overlay

_SHOWN_SIDE: Final = 120


@dataclass(frozen=True, slots=True, eq=False)
class Cases:
    """What a model said of a set of images."""

    truth: Truth
    probabilities: NDArray[np.float32]
    """(n, labels) in the order of the truth's labels."""

    def said(self) -> NDArray[np.int64]:
        """Return (n,) what the model said."""
        return np.asarray(self.probabilities.argmax(axis=1), np.int64)

    def right(self) -> NDArray[np.bool_]:
        """Return (n,) whether it was right."""
        return self.truth.hits(self.probabilities)

    def surest(self, among: NDArray[np.bool_], count: int) -> list[int]:
        """Return up to ``count`` positions, the surest answer first; of equal images only one.

        Args:
            among: (n,) which images to choose from.
            count: how many.
        """
        sure = self.probabilities.max(axis=1)
        chosen: list[int] = []
        seen: set[bytes] = set()
        for position in np.flatnonzero(among)[np.argsort(-sure[among], kind="stable")]:
            image = self.truth.images[position].tobytes()
            if image not in seen:
                seen.add(image)
                chosen.append(int(position))
            if len(chosen) == count:
                break
        return chosen

    def describe(self, position: int) -> dict[str, Any]:
        """Return row, truth, answer and probability of one image, for JSON."""
        said = int(self.said()[position])
        return {
            "row": int(self.truth.rows[position]),
            "truth": self.truth.labels[self.truth.ids[position]],
            "said": self.truth.labels[said],
            "probability": round(float(self.probabilities[position, said]), 4),
        }


def case_gallery(cases: Cases, positions: Sequence[int], maps: dict[int, NDArray[np.float32]]) -> str:
    """Return HTML with each image, beside it the same under its map, and what was said of it.

    Args:
        cases: where the positions are in.
        positions: images to show.
        maps: (H, W) saliency by position; an image without one is shown alone.
    """
    pictures = []
    for position in positions:
        case = cases.describe(position)
        verdict = "as labelled" if case["said"] == case["truth"] else f"labelled {case['truth']}"
        text = f"{case['said']} {case['probability']:.0%}, {verdict}\nrow {case['row']}"
        image: UInt8Array = cases.truth.images[position]
        images = [picture(image, f"row {case['row']}: {case['truth']}")]
        if position in maps:
            big = enlarged(overlay(image, maps[position]), _SHOWN_SIDE)
            images.append(picture(big, f"what made it say {case['said']}"))
        pictures.append((images, text))
    return gallery(pictures, wide=bool(maps))
