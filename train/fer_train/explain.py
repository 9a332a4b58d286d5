"""Why a model says what it says: its surest mistakes and its surest hits, with the places that decided."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from fer_edge.contract.files import write_bytes
from fer_edge.errors import DataError, UsageError
from fer_train.cases import Cases, case_gallery
from fer_train.classifiers import Classifier, load_classifier
from fer_train.evaluation import flip_averaged, probabilities_of, truth_for
from fer_train.fer2013 import SPLITS, load
from fer_train.metrics import Figures
from fer_train.page import heat_scale, section, tiles, write_page
from fer_train.saliency import saliency_maps
from fer_train.significance import bootstrap_intervals

METHODS = {
    True: "SmoothGrad (Smilkov et al. 2017): the slope of the answer's logit by each pixel, over noisy copies of the "
    "image. Bright is where a small change would change the answer most.",
    False: "Occlusion (Zeiler and Fergus 2014) on the file as it is deployed: a grey patch covers each place in turn. "
    "Bright is what the answer needs most.",
}
"""By whether the model is Keras's."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which images to show."""

    split: str = "PublicTest"
    limit: int | None = None
    """Only the first so many images of the split; None for all."""
    mistakes: int = 24
    """Surest mistakes over all labels."""
    per_class: int = 4
    """Surest hits, and surest mistakes, of each label."""

    def __post_init__(self) -> None:
        if self.split not in SPLITS:
            raise UsageError(f"FER2013 has no split {self.split!r}: choose one of {', '.join(SPLITS)}")
        if (self.limit is not None and self.limit < 1) or self.mistakes < 0 or self.per_class < 0:
            raise UsageError("--limit must be at least 1, --mistakes and --per-class at least 0")


def explain(
    path: Path,
    data_path: Path,
    out: Path,
    selection: Selection,
    threads: int = 1,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Write ``explain.html`` and ``explain.json`` in a folder.

    The page holds images of the data set: it is the user's to keep.

    Args:
        path: a .keras file (SmoothGrad; any Keras backend) or a .tflite file (occlusion; LiteRT alone).
        data_path: FER2013 in any of its forms.
        out: folder, made if need be.
        selection: what to show.
        threads: of the TFLite runtime.
        say: takes a line about what is being done.

    Returns:
        What ``explain.json`` holds.

    Raises:
        ModelError: if the model cannot be used.
        DataError: if the data set is malformed or has no such image.
        OutputError: if something cannot be written.
    """
    classifier = load_classifier(path, threads, command="explain")
    truth = truth_for(classifier, load(data_path).split(selection.split), limit=selection.limit)
    say(f"classifying {len(truth.ids):,} images of {selection.split}, and their mirror images")
    rows = probabilities_of(classifier, truth.images, truth.labels)
    cases = Cases(truth, rows)
    figures = truth.figures(rows)
    flipped = truth.figures(flip_averaged(classifier, truth, rows))
    chosen = choose(cases, selection)
    wanted = sorted({position for group in chosen.values() for position in group})
    if not wanted:
        raise DataError(f"{data_path}: nothing to show; ask for some --mistakes or --per-class")
    say(f"explaining {len(wanted)} images")
    maps = maps_of(classifier, cases, wanted)
    method = METHODS[classifier.keras_model is not None]
    document = {
        "model": str(path),
        "sha256": classifier.sha256,
        "runtime": classifier.runtime,
        "data": str(data_path),
        "split": selection.split,
        "method": "smooth_grad" if classifier.keras_model is not None else "occlusion",
        "figures": _plain(figures),
        "flip_average": _plain(flipped),
        "selection": asdict(selection),
        "cases": {name: [cases.describe(position) for position in group] for name, group in chosen.items()},
    }
    write_bytes(out / "explain.json", msgspec.json.format(msgspec.json.encode(document)))
    write_page(
        out / "explain.html",
        f"What {path.name} looks at",
        f"{selection.split} of {data_path}, {figures.n:,} images; {classifier.runtime}; "
        f"sha256 {classifier.sha256[:12]}",
        [_head(figures, flipped, method), *_galleries(cases, chosen, maps)],
    )
    return document


def choose(cases: Cases, selection: Selection) -> dict[str, list[int]]:
    """Choose what to show: ``mistakes``, and ``LABEL right`` and ``LABEL wrong`` for each label (by the truth)."""
    right = cases.right()
    chosen = {"mistakes": cases.surest(~right, selection.mistakes)}
    for i, label in enumerate(cases.truth.labels):
        own = cases.truth.ids == i
        chosen[f"{label} right"] = cases.surest(own & right, selection.per_class)
        chosen[f"{label} wrong"] = cases.surest(own & ~right, selection.per_class)
    return chosen


def maps_of(classifier: Classifier, cases: Cases, positions: Sequence[int]) -> dict[int, NDArray[np.float32]]:
    """Return by position the (H, W) map of what made the model say what it said."""
    order = np.array([classifier.labels.index(label) for label in cases.truth.labels], np.int64)
    outputs = order[cases.said()[list(positions)]]
    maps = saliency_maps(classifier, cases.truth.images[list(positions)], outputs)
    return dict(zip(positions, maps, strict=True))


def _head(figures: Figures, flipped: Figures, method: str) -> str:
    low, high = bootstrap_intervals(figures.confusion_matrix)["accuracy"]
    values = [
        ("accuracy", f"{figures.accuracy:.1%}", f"95 %: {low:.1%} to {high:.1%}"),
        ("balanced accuracy", f"{figures.balanced_accuracy:.1%}", "mean recall"),
        ("macro F1", f"{figures.macro_f1:.1%}", ""),
        ("calibration error", f"{figures.ece:.3f}", "ECE, 15 bins"),
        ("with the mirror image", f"{flipped.accuracy:.1%}", "accuracy by TTA, apart from all else"),
    ]
    return section("How good it is, and how to read the maps", tiles(values), heat_scale(), note=method)


def _galleries(cases: Cases, chosen: dict[str, list[int]], maps: dict[int, NDArray[np.float32]]) -> list[str]:
    parts = []
    if chosen["mistakes"]:
        parts.append(
            section(
                "Surest mistakes",
                case_gallery(cases, chosen["mistakes"], maps),
                note="What the model was surest of and wrong by the label, which is not always right either.",
            )
        )
    for label in cases.truth.labels:
        right, wrong = chosen[f"{label} right"], chosen[f"{label} wrong"]
        groups = [("Surest and right", right), ("Surest and wrong", wrong)]
        shown = [f"<h3>{title}</h3>{case_gallery(cases, group, maps)}" for title, group in groups if group]
        if shown:
            parts.append(section(label.capitalize(), *shown))
    return parts


def _plain(figures: Figures) -> dict[str, float]:
    names = ("n", "accuracy", "balanced_accuracy", "macro_f1", "ece", "nll")
    return {name: getattr(figures, name) for name in names}
