"""One page about one or several finished training runs: what they were told, how they went, what came out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from fer_edge.errors import UsageError
from fer_train import run_sections as sections
from fer_train.fer2013 import load
from fer_train.page import write_page
from fer_train.run_measures import RunMeasures, measure_run
from fer_train.run_record import Run, read_runs


def write_report(
    runs: list[Path],
    out: Path,
    data: Path | None = None,
    *,
    private: bool = False,
    ferplus: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Path:
    """Write the page ``out``; return its path.

    Without ``data`` the page holds what the runs have written down. With it, each model is measured on PublicTest, and
    the page holds images of the data set: it is the user's to keep.

    Args:
        runs: folders of finished runs, in the order in which they are shown.
        out: the page, such as ``report.html``; an existing one is replaced.
        data: FER2013 in any of its forms, to measure the models on.
        private: measure on PrivateTest too. It is for the end of the work: whoever chooses by it has no test set left.
        ferplus: FER+ votes, to measure by their majority as well.
        say: takes a line about what is being done.

    Raises:
        UsageError: if there is no run, or something to measure but no data.
        DataError: if a run's records or the data set are malformed, or the model is not the run's.
        MissingExtraError: to measure without Keras.
        OutputError: if the page cannot be written.
    """
    if not runs:
        raise UsageError("name the folder of a training run")
    if data is None and (private or ferplus is not None):
        raise UsageError("PrivateTest and FER+ labels are measured on FER2013: name it with --data")
    found = read_runs(runs)
    measures: list[RunMeasures] = []
    if data is not None:
        images = load(data)
        splits = ("PublicTest", "PrivateTest") if private else ("PublicTest",)
        for run in found:
            say(f"measuring {run.model} on {' and '.join(splits)}, and explaining its surest cases")
            measures.append(measure_run(run, images, splits, ferplus))
    title = f"Training run {found[0].name}" if len(found) == 1 else f"{len(found)} training runs"
    lead = _lead(found)
    return write_page(out, title, lead, _parts(found, measures))


def _parts(runs: Sequence[Run], measures: Sequence[RunMeasures]) -> list[str]:
    parts = [
        sections.leak_warning(runs),
        sections.overview(runs, measures),
        sections.history(runs),
        sections.figures(runs, measures),
    ]
    if measures:
        parts += [
            sections.paired(runs, measures),
            sections.precision_recall(runs, measures),
            sections.calibration(runs, measures),
        ]
        for run, measured in zip(runs, measures, strict=True):
            head = f"{run.name}: " if len(runs) > 1 else ""
            parts += sections.by_class(head, measured)
            parts += sections.cases(head, measured)
    parts.append(sections.recipes(runs))
    return [part for part in parts if part]


def _lead(runs: Sequence[Run]) -> str:
    if len(runs) > 1:
        return ", ".join(run.name for run in runs)
    record = runs[0].record
    return f"{record.recipe.get('model', 'a network')} on FER2013, finished {record.finished}"


__all__ = ["write_report"]
