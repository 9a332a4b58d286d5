"""The parts of a training run's page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from itertools import combinations
from typing import Any, Final

import numpy as np

from fer_train.cases import case_gallery
from fer_train.explain import METHODS
from fer_train.metrics import precision_recall_curve, reliability
from fer_train.page import columns, definitions, figure, heat_scale, section, table, tiles
from fer_train.plots import Curve, Mark, bar_plot, confusion_table, legend_of, line_plot
from fer_train.run_measures import Measured, RunMeasures
from fer_train.run_record import Run
from fer_train.significance import paired_test

_NONE: Final = "–"  # noqa: RUF001 - a dash is what tables have


def leak_warning(runs: Sequence[Run]) -> str:
    """Say of which runs the figures are worth nothing."""
    leaking = [run.name for run in runs if not run.official]
    if not leaking:
        return ""
    return section(
        f"No result: {', '.join(leaking)}",
        note="Trained on purpose with copies of test images in Training (oversampled, then split), to show what that "
        "does. High figures of it are what is wrong, not what is good.",
    )


def overview(runs: Sequence[Run], measures: Sequence[RunMeasures]) -> str:
    """The figures that are asked for first: large for one run, a table for several."""
    if len(runs) > 1:
        head = ["run", "network", "PublicTest", "95 %", "balanced", "macro F1", "parameters", "MMACs", "epochs", "time"]
        rows = [_overview_row(run, measures[i].by_split[0] if measures else None) for i, run in enumerate(runs)]
        return section("At a glance", table(head, rows, names=2))
    record = runs[0].record
    values = []
    if measures:
        found = measures[0].by_split[0]
        figures, intervals = found.figures, found.intervals
        values += [
            ("accuracy, PublicTest", f"{figures.accuracy:.1%}", _interval(intervals["accuracy"])),
            ("balanced accuracy", f"{figures.balanced_accuracy:.1%}", _interval(intervals["balanced_accuracy"])),
            ("macro F1", f"{figures.macro_f1:.1%}", _interval(intervals["macro_f1"])),
            ("calibration error", f"{figures.ece:.3f}", f"{found.ece_before:.3f} before temperature"),
        ]
    elif "PublicTest" in record.figures:
        noted = record.figures["PublicTest"]
        values += [
            ("accuracy, PublicTest", f"{noted.accuracy:.1%}", "chose the epoch"),
            ("macro F1", _share(noted.macro_f1), "PublicTest"),
            ("calibration error", _three(noted.ece), "ECE, PublicTest"),
        ]
    values += [
        ("parameters", _millions(record.parameters), _macs(record.multiply_accumulates)),
        ("chosen epoch", str(record.chosen_epoch), f"of {record.epochs}"),
        ("training time", duration(record.seconds), str(record.environment.get("backend", ""))),
    ]
    return section("At a glance", tiles(values))


def history(runs: Sequence[Run]) -> str:
    """Accuracy and loss over the epochs."""
    accuracy, loss, marks = [], [], []
    for colour, run in enumerate(runs):
        name = f"{run.name}: " if len(runs) > 1 else ""
        # One run: a colour a split. Several: a colour a run, Training dashed.
        training = colour if len(runs) > 1 else 6
        epochs = [entry.epoch for entry in run.history]
        seen = _percent([entry.accuracy for entry in run.history])
        public = _percent([entry.public_accuracy for entry in run.history])
        accuracy += [
            Curve(f"{name}PublicTest", epochs, public, colour),
            Curve(f"{name}Training, augmented", epochs, seen, training, dashed=True),
        ]
        loss += [
            Curve(f"{name}PublicTest, log likelihood", epochs, _numbers([e.public_nll for e in run.history]), colour),
            Curve(f"{name}Training, loss", epochs, _numbers([e.loss for e in run.history]), training, dashed=True),
        ]
        at = run.record.chosen_epoch - 1
        if 0 <= at < len(public) and np.isfinite(public[at]):
            marks.append(Mark(epochs[at], float(public[at]), f"{public[at]:.2f} %", colour))
    if not any(run.history for run in runs):
        return ""
    return section(
        "How it went",
        columns(
            figure("Accuracy (%)", line_plot(accuracy, "epoch", "", marks=marks)),
            figure("Loss (nats)", line_plot(loss, "epoch", "")),
        ),
        note="Training is measured on augmented images with the weights of the moment, PublicTest on plain ones with "
        "their running average, which is what is saved: so PublicTest can be the better of the two. The dot is the "
        "epoch that was chosen.",
    )


def figures(runs: Sequence[Run], measures: Sequence[RunMeasures]) -> str:
    """All figures by split; test-time augmentation in a table of its own."""
    head = ["run", "split", "images", "accuracy", "95 %", "balanced", "precision", "F1", "ECE", "before T", "NLL"]
    rows: list[list[str]] = []
    apart: list[list[str]] = []
    for i, run in enumerate(runs):
        found = [*measures[i].by_split, *measures[i].by_votes] if measures else []
        measured = {one.split for one in found}
        for split, noted in run.record.figures.items():
            if split not in measured:
                numbers = [f"{noted.n:,}", f"{noted.accuracy:.2%}", _NONE, _NONE, _NONE, _share(noted.macro_f1)]
                rows.append([run.name, split, *numbers, _three(noted.ece), _NONE, _NONE])
        for one in found:
            rows.append([run.name, *_figures_row(one)])
            apart.append([run.name, *_flip_row(one)])
    caption = (
        "balanced: mean recall of the labels; precision and F1: means over the labels; ECE: expected calibration error "
        "in 15 bins, and before temperature scaling; NLL: negative log likelihood in nats."
    )
    parts = [table(head, rows, caption, names=2)]
    if apart:
        flip_head = ["run", "split", "accuracy", "balanced", "F1", "ECE", "gain (points)", "95 %", "McNemar p"]
        parts.append(
            "<h3>Apart from all else: averaged with the mirror image (test-time augmentation)</h3>"
            + table(flip_head, apart, "The gain is over the plain image, by the same images.", names=2)
        )
    note = "" if measures else "From the runs' own records. Name the data set (--data) to measure everything else."
    return section("Figures", *parts, note=note)


def paired(runs: Sequence[Run], measures: Sequence[RunMeasures]) -> str:
    """Every two models on the same images."""
    rows = []
    for (i, one), (j, other) in combinations(enumerate(runs), 2):
        for ours, theirs in zip(measures[i].by_split, measures[j].by_split, strict=True):
            if ours.cases.truth.labels != theirs.cases.truth.labels:
                continue
            test = paired_test(ours.cases.right(), theirs.cases.right())
            gain = f"{test.gain_points:+.2f}"
            interval = f"{test.gain_low:+.2f} to {test.gain_high:+.2f}"
            counts = (f"{test.only_ours:,}", f"{test.only_other:,}")
            rows.append([f"{one.name} over {other.name}", ours.split, gain, interval, *counts, f"{test.p_value:.2g}"])
    if not rows:
        return ""
    head = ["models", "split", "gain (points)", "95 %", "only first right", "only second right", "McNemar p"]
    return section(
        "Model against model",
        table(head, rows, "Interval by paired bootstrap; p by McNemar's exact two-sided test.", names=2),
        note="The same images decide: a difference whose interval holds 0 is none that these images can show. With "
        "several pairs, one in twenty looks like a difference by chance.",
    )


def precision_recall(runs: Sequence[Run], measures: Sequence[RunMeasures]) -> str:
    """A small plot for each label, a curve for each run."""
    plots = []
    labels = list(dict.fromkeys(label for each in measures for label in each.by_split[-1].cases.truth.labels))
    for label in labels:
        curves, areas = [], []
        for colour, (run, each) in enumerate(zip(runs, measures, strict=True)):
            found = each.by_split[-1]
            known = found.cases.truth.labels
            if label not in known:
                continue
            at = known.index(label)
            recall, precision = precision_recall_curve(found.cases.probabilities[:, at], found.cases.truth.ids == at)
            if len(recall):
                # As far to the right as the same precision goes, and from the left edge on.
                curves.append(Curve(run.name, [0.0, *recall], [precision[0], *precision], colour))
                areas.append(f"{found.average_precision[label]:.2f}")
        if curves:
            plot = line_plot(curves, "recall", "", x_range=(0, 1), y_range=(0, 1), size=(260, 210), legend=False)
            plots.append(figure(f"{label}, AP {' / '.join(areas)}", plot))
    names = [(run.name, colour, False) for colour, run in enumerate(runs)] if len(runs) > 1 else []
    split = measures[0].by_split[-1].split
    return section(
        f"Precision over recall, {split}",
        legend_of(names),
        f'<div class="small-plots">{"".join(plots)}</div>',
        note="Each label against all others, by its probability. AP is the area under the curve.",
    )


def calibration(runs: Sequence[Run], measures: Sequence[RunMeasures]) -> str:
    """Accuracy over confidence, before and after temperature scaling."""
    plots = []
    for colour, (run, each) in enumerate(zip(runs, measures, strict=True)):
        found = each.by_split[-1]
        ids = found.cases.truth.ids
        after = reliability(found.cases.probabilities, ids)
        before = reliability(found.uncooled, ids)
        curves = [
            Curve(f"as saved, ECE {found.figures.ece:.3f}", after[0], after[1], colour),
            Curve(f"before, ECE {found.ece_before:.3f}", before[0], before[1], 6, dashed=True),
        ]
        title = f"{run.name}: temperature {run.record.temperature:.3f}"
        ranges: dict[str, Any] = {"x_range": (0.0, 1.0), "y_range": (0.0, 1.0)}
        plots.append(figure(title, line_plot(curves, "confidence", "accuracy", diagonal=True, **ranges)))
        if len(runs) == 1:
            bins = [f"{confidence:.0%}" for confidence in after[0]]
            plots.append(figure("How sure it is: images by confidence", bar_plot(bins, [("images", after[2])])))
    split = measures[0].by_split[-1].split
    return section(
        f"Is it as often right as it is sure? {split}",
        columns(*plots),
        note="On the dotted line a model that says 80 % is right in 80 % of the cases. The temperature was fitted on "
        "PublicTest, so there it flatters a little.",
    )


def by_class(head: str, measures: RunMeasures) -> Iterator[str]:
    """Figures of each label, and what is taken for what, by split."""
    for found in measures.by_split:
        areas, per_class = found.average_precision, found.figures.per_class
        rows = [
            (
                label,
                *(f"{share:.1%}" for share in (one.precision, one.recall, one.f1)),
                *(f"{areas[label]:.2f}", f"{one.support:,}"),
            )
            for label, one in per_class.items()
        ]
        yield section(
            _title(head, f"by expression, {found.split}"),
            columns(
                table(["expression", "precision", "recall", "F1", "AP", "images"], rows),
                confusion_table(found.figures.confusion_matrix, found.cases.truth.labels),
            ),
        )


def cases(head: str, measures: RunMeasures) -> Iterator[str]:
    """The surest mistakes and hits with their saliency."""
    shown = measures.shown
    labels = shown.cases.truth.labels
    right = [position for label in labels for position in shown.chosen[f"{label} right"]]
    wrong = [position for label in labels for position in shown.chosen[f"{label} wrong"]]
    mistakes = shown.chosen["mistakes"]
    groups = (
        ("surest mistakes", mistakes, "Wrong by the label, which is not always right either."),
        ("right and sure, by expression", right, METHODS[True]),
        ("wrong and sure, by the label it should have given", wrong, METHODS[True]),
    )
    for title, positions, note in groups:
        if positions:
            gallery = case_gallery(shown.cases, positions, shown.maps)
            yield section(_title(head, f"{title}, {shown.split}"), heat_scale(), gallery, note=note)


def recipes(runs: Sequence[Run]) -> str:
    """What each run was told, what differs first."""
    flat = [_flatten(run.record.recipe) for run in runs]
    parts = []
    if len(runs) > 1:
        keys = list(dict.fromkeys(key for one in flat for key in one))
        differing = [key for key in keys if len({one.get(key, _NONE) for one in flat}) > 1]
        rows = [(key, *(one.get(key, _NONE) for one in flat)) for key in differing]
        parts.append(table(["what differs", *(run.name for run in runs)], rows))
    for run, settings in zip(runs, flat, strict=True):
        record = run.record
        about = [
            ("model sha256", record.model_sha256[:16]),
            ("data sha256", record.data_sha256[:16]),
            ("epoch chosen by", record.chosen_by),
            ("finished", record.finished),
            *((key, value) for key, value in _flatten(record.environment).items()),
        ]
        body = definitions(settings.items()) + "<h3>Provenance</h3>" + definitions(about)
        summary = f"<summary>{escape(run.name)}: the whole recipe and provenance</summary>"
        parts.append(body if len(runs) == 1 else f"<details>{summary}{body}</details>")
    return section("Recipe" if len(runs) == 1 else "Recipes", *parts)


def _overview_row(run: Run, found: Measured | None) -> list[str]:
    record = run.record
    noted = record.figures.get("PublicTest")
    if found is not None:
        figures = found.figures
        numbers = [f"{figures.accuracy:.2%}", _interval(found.intervals["accuracy"], short=True)]
        numbers += [f"{figures.balanced_accuracy:.2%}", f"{figures.macro_f1:.2%}"]
    else:
        numbers = [_share(noted.accuracy if noted else None), _NONE, _NONE, _share(noted.macro_f1 if noted else None)]
    macs = record.multiply_accumulates
    return [
        run.name,
        str(record.recipe.get("model", "")),
        *numbers,
        _millions(record.parameters),
        _NONE if macs is None else f"{macs / 1e6:.1f}",
        f"{record.chosen_epoch} of {record.epochs}",
        duration(record.seconds),
    ]


def _figures_row(found: Measured) -> list[str]:
    figures = found.figures
    return [
        _split_name(found),
        f"{figures.n:,}",
        f"{figures.accuracy:.2%}",
        _interval(found.intervals["accuracy"], short=True),
        *(f"{share:.2%}" for share in (figures.balanced_accuracy, figures.macro_precision, figures.macro_f1)),
        *(f"{value:.3f}" for value in (figures.ece, found.ece_before, figures.nll)),
    ]


def _flip_row(found: Measured) -> list[str]:
    figures, gain = found.flipped, found.flip_gain
    return [
        _split_name(found),
        *(f"{share:.2%}" for share in (figures.accuracy, figures.balanced_accuracy, figures.macro_f1)),
        f"{figures.ece:.3f}",
        f"{gain.gain_points:+.2f}",
        f"{gain.gain_low:+.2f} to {gain.gain_high:+.2f}",
        f"{gain.p_value:.2g}",
    ]


def _title(head: str, text: str) -> str:
    """``run: text`` where there are several runs, else ``Text``."""
    return head + text if head else text[0].upper() + text[1:]


def _split_name(found: Measured) -> str:
    return found.split if found.truth_name == "FER2013" else f"{found.split}, FER+ labels"


def _flatten(value: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """``{"a": {"b": [1, 2]}}`` as ``{"a.b": "1, 2"}``."""
    flat: dict[str, str] = {}
    for key, one in value.items():
        if isinstance(one, dict):
            flat |= _flatten(one, f"{prefix}{key}.")
        elif isinstance(one, list) and one and isinstance(one[0], dict):
            for number, each in enumerate(one, start=1):
                flat |= _flatten(each, f"{prefix}{key}.{number}.")
        elif isinstance(one, list):
            flat[prefix + key] = ", ".join(map(str, one)) or _NONE
        else:
            flat[prefix + key] = str(one) if one not in ("", None) else _NONE
    return flat


def _interval(bounds: tuple[float, float], *, short: bool = False) -> str:
    low, high = (f"{100 * bound:.1f}" for bound in bounds)
    return f"{low} to {high}" if short else f"95 %: {low} to {high}"


def _share(value: float | None) -> str:
    return _NONE if value is None else f"{value:.2%}"


def _three(value: float | None) -> str:
    return _NONE if value is None else f"{value:.3f}"


def _millions(count: int) -> str:
    return f"{count / 1e6:.2f} M"


def _macs(count: int | None) -> str:
    return "" if count is None else f"{count / 1e6:.1f} million multiply-accumulates"


def duration(seconds: float) -> str:
    """A time as people say it: minutes, and hours where there are any."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"


def _numbers(values: Sequence[float | None]) -> list[float]:
    return [float("nan") if value is None else value for value in values]


def _percent(values: Sequence[float | None]) -> list[float]:
    return [100.0 * value for value in _numbers(values)]
