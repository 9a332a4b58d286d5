"""One page about one or several finished training runs: what they were told, how they went, what came out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fer_edge.errors import UsageError
from fer_train import run_sections as sections
from fer_train.fer2013 import load
from fer_train.page import write_page
from fer_train.run_measures import RunMeasures, measure_run
from fer_train.run_record import Run, read_runs
from fer_train.run_table import networks_table, read_networks_table


@dataclass(frozen=True, slots=True)
class RunReport:
    """Finished runs, and what was measured of them."""

    runs: list[Run]
    measures: list[RunMeasures]
    """Of each run; empty if nothing was."""

    def write_page(self, out: Path) -> Path:
        """Write the page ``out``, replacing an existing one; return its path.

        Raises:
            OutputError: if it cannot be written.
        """
        title = f"Training run {self.runs[0].name}" if len(self.runs) == 1 else f"{len(self.runs)} training runs"
        return write_page(out, title, _lead(self.runs), _parts(self.runs, self.measures))

    def table(self, earlier: str = "") -> str:
        """Return the runs as a Markdown table, with the rows of other runs that ``earlier``, such a table, holds."""
        return read_networks_table(earlier).updated(networks_table(self.runs, self.measures)).text()


def report_on(
    runs: list[Path],
    data: Path | None = None,
    *,
    private: bool = False,
    ferplus: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> RunReport:
    """Read runs and, if ``data`` is named, measure their models on PublicTest.

    Without ``data``, there is what the runs have written down. With it, the page holds images of the data set: it is
    the user's to keep.

    Args:
        runs: folders of finished runs, in the order in which they are shown.
        data: FER2013 in any of its forms, to measure the models on.
        private: measure on PrivateTest too. It is for the end of the work: whoever chooses by it has no test set left.
        ferplus: FER+ votes, to measure by their majority as well.
        say: takes a line about what is being done.

    Raises:
        UsageError: if there is no run, or something to measure but no data.
        DataError: if a run's records or the data set are malformed, or the model is not the run's.
        MissingExtraError: to measure without Keras.
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
    return RunReport(found, measures)


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


__all__ = ["RunReport", "report_on"]
