"""What a search found: the best trials as a table, the best recipe as a file, and how the search went as a plot."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import optuna
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from rich.table import Table

from fer_edge.contract.files import atomic_write, write_bytes
from fer_train.recipe import Recipe
from fer_train.recipe_file import write_recipe
from fer_train.search_space import Space, with_values

SHOWN = 10
BLUE, GREY, RED = "#0072b2", "#999999", "#d55e00"


def best_first(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials that were trained to their end, the best first, ties by number."""
    done = [trial for trial in study.trials if trial.state is TrialState.COMPLETE and trial.value is not None]
    return sorted(done, key=lambda trial: (-(trial.value or 0.0), trial.number))


def values_of(trial: FrozenTrial, space: Space) -> dict[str, Any]:
    """Return what a trial gave each key of the recipe."""
    return {
        key: msgspec.json.decode(trial.params[key]) if dimension.choices else trial.params[key]
        for key, dimension in space.items()
        if key in trial.params
    }


def save_results(study: optuna.Study, recipe: Recipe, space: Space, base: str, out: Path) -> Recipe | None:
    """Write ``best.toml``, ``trials.json`` and ``search.svg`` into the folder ``out``.

    Args:
        study: what was searched.
        recipe: what its trials started from, called ``base``.
        space: which of its keys were varied.
        base: name of that recipe, for the title of the new one.
        out: folder of the search.

    Returns:
        The best recipe; None if no trial was trained to its end.

    Raises:
        OutputError: if something cannot be written.
    """
    record = [
        {
            "number": trial.number,
            "state": trial.state.name.lower(),
            "public_accuracy": trial.value,
            "epochs": len(trial.intermediate_values),
            "values": values_of(trial, space),
            "retry_of": trial.user_attrs.get("retry_of", []),
        }
        for trial in study.trials
    ]
    write_bytes(out / "trials.json", msgspec.json.format(msgspec.json.encode(record)))
    trials = best_first(study)
    if not trials:
        return None
    draw_search(study, out / "search.svg")
    best = trials[0]
    found = with_values(recipe, values_of(best, space))
    title = (
        f"Best of {len(record)} trials of the study {study.study_name}, which varied the recipe {base}.\n"
        f"Trial {best.number}: {100 * (best.value or 0.0):.2f} % on PublicTest, by which it was chosen of all these:\n"
        "its figure is a little too good, and PrivateTest has not been looked at."
    )
    write_recipe(found, out / "best.toml", title)
    return found


def print_results(study: optuna.Study, space: Space, console: Console) -> None:
    """Print the best trials with what they gave each key."""
    trials = best_first(study)
    counts = {state: sum(trial.state is state for trial in study.trials) for state in TrialState}
    told = ", ".join(f"{count} {state.name.lower()}" for state, count in counts.items() if count)
    table = Table(title=f"{study.study_name}: {told}", title_justify="left")
    table.add_column("trial", justify="right")
    table.add_column("PublicTest", justify="right")
    for key in space:
        table.add_column(key.removeprefix("augmentation.").removeprefix("optimizer."), justify="right")
    for trial in trials[:SHOWN]:
        values = values_of(trial, space)
        cells = [_cell(values.get(key, "")) for key in space]
        table.add_row(str(trial.number), f"{100 * (trial.value or 0.0):.2f} %", *cells)
    console.print(table)


def draw_search(study: optuna.Study, path: Path) -> None:
    """Draw how accuracy went from trial to trial, and how much each key mattered, as SVG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    history, bars = figure.subplots(1, 2, width_ratios=(3, 2))
    _draw_history(history, study.trials)
    weights = importances(study)
    if weights:
        names = sorted(weights, key=lambda name: weights[name])
        bars.barh(names, [100 * weights[name] for name in names], color=BLUE)
        bars.set(xlabel="share of what decides (PED-ANOVA, %)", title="Which key matters")
    else:
        bars.set_axis_off()
        bars.text(0.5, 0.5, "too few finished trials\nto tell which key matters", ha="center", va="center")
    with atomic_write(path) as partial:
        figure.savefig(partial, format="svg")


def importances(study: optuna.Study) -> dict[str, float]:
    """Return each varied key's share of importance (Watanabe et al. 2023, arXiv:2304.10255); empty if it is not known.

    It compares the best tenth of the trials with all of them, so a handful of trials tells nothing.
    """
    trials = best_first(study)
    if len(trials) < 4 or len({trial.value for trial in trials}) < 2:
        return {}
    weights = optuna.importance.get_param_importances(
        study, evaluator=optuna.importance.PedAnovaImportanceEvaluator(), params=sorted(trials[0].params)
    )
    return dict(weights) if all(math.isfinite(weight) for weight in weights.values()) else {}


def _draw_history(axes: Any, trials: Sequence[FrozenTrial]) -> None:
    done = [trial for trial in trials if trial.state is TrialState.COMPLETE and trial.value is not None]
    cut = [trial for trial in trials if trial.state is TrialState.PRUNED and trial.value is not None]
    best = 0.0
    line = [best := max(best, 100 * (trial.value or 0.0)) for trial in done]
    for group, style, label in ((cut, {"marker": "x", "color": GREY}, "pruned"), (done, {"color": BLUE}, "finished")):
        if group:
            axes.scatter([t.number for t in group], [100 * (t.value or 0.0) for t in group], label=label, **style)
    axes.step([trial.number for trial in done], line, where="post", color=RED, label="best so far")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set(xlabel="trial", ylabel="accuracy on PublicTest (%)", title="How the search went")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
