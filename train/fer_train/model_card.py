"""The page about a model that people read before they use it, with every figure measured anew.

The sections are those of Mitchell et al. 2019, "Model Cards for Model Reporting" (arXiv:1810.03993).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fer_edge.contract.card import ModelCard
from fer_edge.contract.tflite_file import read_model_file
from fer_train.classifiers import load_classifier
from fer_train.evaluation import Evaluation, evaluate_model, truth_for
from fer_train.fer2013 import load
from fer_train.robustness import UNITS, Robustness, measure
from fer_train.significance import bootstrap_intervals

SPLIT_NAMES: Final = ("Training", "PublicTest", "PrivateTest")

PEOPLE: Final = (
    "FER2013 was collected by an image search in 2013. Age, gender and origin of the people in it are unknown and "
    "certainly not those of any place where a camera hangs; many are actors who pose. How well the model does for one "
    "group of people against another has not been measured, for there are no labels to measure it with: test it on the "
    "people who will stand in front of it. Masks, sunglasses, hands before the face, children and old people are rare."
)


@dataclass(frozen=True, slots=True)
class Measured:
    """All figures of a card."""

    by_split: dict[str, Evaluation]
    """On FER2013's own labels."""
    by_votes: dict[str, Evaluation]
    """On FER+'s majority; empty without votes."""
    robustness: Robustness
    """On PrivateTest."""


def measure_all(path: Path, data: Path, ferplus: Path | None, step: Callable[[str], None]) -> Measured:
    """Measure a .tflite file for its card.

    Args:
        path: the model.
        data: the whole of FER2013.
        ferplus: FER+ votes, if there are any.
        step: told what comes next.

    Raises:
        ModelError: if the model cannot be used.
        DataError: if the data set is malformed or lacks a split.
    """
    by_split, by_votes = {}, {}
    for split in SPLIT_NAMES:
        step(split)
        by_split[split] = evaluate_model(path, data, split)
        if ferplus is not None and split != "Training":
            step(f"{split} by FER+")
            by_votes[split] = evaluate_model(path, data, split, ferplus=ferplus)
    step("robustness")
    classifier = load_classifier(path)
    private = truth_for(classifier, load(data).split("PrivateTest"))
    return Measured(by_split, by_votes, measure(classifier, private))


def render(path: Path, measured: Measured, command: str) -> str:
    """Return the card as Markdown.

    Args:
        path: the .tflite file.
        measured: what :func:`measure_all` gave.
        command: the command that writes this page.
    """
    file = read_model_file(path)
    card, private = file.card, measured.by_split["PrivateTest"]
    sections = [
        f"# {card.name} ({card.quantization.recipe})\n\n"
        f"{card.network}, input {card.input.height}x{card.input.width}x{card.input.channels} {card.input.colour}; "
        f"labels {', '.join(card.labels)}; {card.parameters:,} parameters, {len(file.data) / 1e6:.2f} MB; "
        f"version {card.version}, licence {card.licence}.\n\nSHA-256 `{file.sha256}`.",
        "## What it is for\n\n" + card.intended_use + "\n\n**Not for:** " + card.prohibited_use,
        "## Accuracy\n\n" + _accuracy_table(measured) + "\n\n"
        "Training beside the test splits shows what was learnt by heart. FER2013's own labels are noisy: ten "
        "people looked at each image (FER+); where more than half of them saw the same, 72 % of the labels do, too. "
        "So both truths are given. 95 % intervals are bootstrapped over the images.",
        "## Expression by expression (PrivateTest, FER2013's labels)\n\n" + _class_table(private),
        "## Other crops, light and focus (PrivateTest)\n\n" + _robustness_table(measured.robustness),
        "## How it was made\n\n" + _training(card) + "\n\n" + _quantization(card),
        "## Limits\n\n" + card.limits + "\n\n" + PEOPLE + f"\n\nFaces whose smoothed score is under "
        f"{card.uncertain_below:.2f} are reported as `uncertain`.",
        f"## These figures again\n\n    {command}\n\n{private.runtime}, one thread.",
    ]
    return "\n\n".join(sections) + "\n"


def _accuracy_table(measured: Measured) -> str:
    lines = [
        "| split, truth | n | accuracy (95 %) | balanced accuracy | macro F1 | ECE |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    rows = [(name, result) for name, result in measured.by_split.items()]
    rows += [(f"{name}, FER+ majority", result) for name, result in measured.by_votes.items()]
    for name, result in rows:
        figures = result.figures
        low, high = bootstrap_intervals(figures.confusion_matrix)["accuracy"]
        lines.append(
            f"| {name} | {figures.n:,} | {figures.accuracy:.2%} ({100 * low:.1f} to {100 * high:.1f}) | "
            f"{figures.balanced_accuracy:.2%} | {figures.macro_f1:.2%} | {figures.ece:.3f} |"
        )
    return "\n".join(lines)


def _class_table(result: Evaluation) -> str:
    lines = ["| expression | images | precision | recall | F1 |", "| --- | ---: | ---: | ---: | ---: |"]
    for label, one in result.figures.per_class.items():
        lines.append(f"| {label} | {one.support} | {one.precision:.1%} | {one.recall:.1%} | {one.f1:.1%} |")
    return "\n".join(lines)


def _robustness_table(result: Robustness) -> str:
    worst = result.worst
    lines = ["| change | accuracy (drop in points) |", "| --- | --- |"]
    for change in dict.fromkeys(cell.change for cell in result.cells):
        cells = [cell for cell in result.cells if cell.change == change and cell.within_limits]
        text = ", ".join(f"{cell.amount:g}: {cell.accuracy:.1%} ({cell.drop_points:+.1f})" for cell in cells)
        lines.append(f"| {change}, {UNITS[change]} | {text} |")
    lines.append("")
    lines.append(
        f"Clean: {result.clean_accuracy:.2%}, n = {result.n:,}. Largest drop: {worst.drop_points:.1f} points, "
        f"{worst.change} {worst.amount:g} {UNITS[worst.change]}."
    )
    return "\n".join(lines)


def _training(card: ModelCard) -> str:
    told = card.training
    recipe: dict[str, Any] = told.get("recipe", {})
    if not recipe:
        return "The file does not say how it was trained."
    extra = [f"FER+ votes make {recipe['ferplus']:.0%} of the targets"] if recipe.get("ferplus") else []
    weight = recipe.get("distillation", {}).get("weight", 0)
    extra += [f"teachers make {weight:.0%} of the loss"] if weight else []
    backend = told.get("environment", {}).get("backend", "?")
    minutes = told.get("seconds", 0) / 60
    return (
        f"Data: {card.data}. `{recipe.get('model')}`, {told.get('epochs')} epochs, of which epoch "
        f"{told.get('chosen_epoch')} was chosen by {told.get('chosen_by')}; seed {recipe.get('seed')}; Keras on "
        f"{backend}; {minutes:.0f} minutes{''.join('; ' + text for text in extra)}. Logits divided by "
        f"{told.get('temperature', 1):.3f}, fitted on PublicTest. The whole recipe is in the file's own card: "
        "`fer-edge models verify FILE --json`."
    )


def _quantization(card: ModelCard) -> str:
    quantization = card.quantization
    if quantization.calibration is None:
        return f"Converted by the recipe `{quantization.recipe}` with {quantization.converter}."
    calibration = quantization.calibration
    return (
        f"Converted by the recipe `{quantization.recipe}` with {quantization.converter}; ranges from "
        f"{calibration.images} {calibration.split} images, seed {calibration.seed}."
    )
