"""The whole way from ``model.keras`` to a file that describes itself and has passed its gates."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from fer_convert import sensitivity
from fer_convert.build import Built, build, prepare, sweep
from fer_convert.calibrate import calibration_rows, calibration_set
from fer_convert.delegation import FileFacts, inspect
from fer_convert.embed import embed_card, sha256
from fer_convert.gates import Comparison, advice, compare, failed_gates, uncertain_below
from fer_convert.quantize import float_graph
from fer_convert.recipe import ConversionRecipe
from fer_convert.recovered import load_recovered
from fer_convert.trained import TrainedModel, load_trained
from fer_edge import __version__
from fer_edge.contract.card import Calibration, ModelCard, Quantization, SplitFigures, TensorCard
from fer_edge.contract.files import write_bytes
from fer_edge.contract.interpreter import LoadedModel, bare_interpreter, tensor_card
from fer_edge.contract.preprocess import UInt8Array, batch_input
from fer_edge.contract.tflite_file import ModelFile
from fer_edge.errors import FerEdgeError, ModelError, UsageError
from fer_train.fer2013 import Fer2013, load
from fer_train.metrics import evaluate

REPORTED_SPLITS = ("PublicTest", "PrivateTest")


@dataclass(frozen=True, slots=True)
class Converted:
    """What came out of a conversion."""

    path: Path
    card: ModelCard
    comparisons: dict[str, Comparison]
    facts: FileFacts
    failures: list[str]


def convert(
    keras_path: Path,
    data_path: Path,
    recipe: ConversionRecipe,
    out: Path,
    name: str | None = None,
    version: str = "1",
    overwrite: bool = False,
    force: bool = False,
    command: str | None = None,
    console: Console | None = None,
) -> Converted:
    """Convert, measure, and write ``OUT/NAME.RECIPE.tflite`` with its card, beside a report as JSON.

    The threshold for ``uncertain`` and the gates are taken on PublicTest; PrivateTest is measured for the card alone
    and decides nothing.

    Args:
        keras_path: model saved by ``fer-edge train``, or a .tflite file to convert anew.
        data_path: FER2013 in any of its forms.
        recipe: how to convert.
        out: folder for the file.
        name: name in the card and of the file; None for the network's.
        version: version of the model in its card.
        overwrite: replace an existing file.
        force: write the file though a gate has failed; the card then says so.
        command: what was typed, for the record.
        console: where progress goes.

    Raises:
        ModelError: if the model cannot be read or converted, or fails a gate without ``force``.
        UsageError: if the file exists and ``overwrite`` is not given.
    """
    several = convert_by_each(keras_path, data_path, [recipe], out, name, version, overwrite, force, command, console)
    return next(several)


def convert_by_each(
    keras_path: Path,
    data_path: Path,
    recipes: Sequence[ConversionRecipe],
    out: Path,
    name: str | None = None,
    version: str = "1",
    overwrite: bool = False,
    force: bool = False,
    command: str | None = None,
    console: Console | None = None,
) -> Iterator[Converted]:
    """Convert by several recipes, one after the other, reading and asking the float network once.

    Arguments and errors are those of :func:`convert`; a file that exists is refused before the first one is written.
    """
    console = console or Console(stderr=True, highlight=False)
    trained, data = _load(keras_path, data_path)
    name = name or trained.model.name
    paths = [out / f"{name}.{recipe.name}.tflite" for recipe in recipes]
    for path in paths:
        _refuse_existing(path, overwrite)
    for recipe, path in zip(recipes, paths, strict=True):
        console.print(f"converting {keras_path} by {recipe.name}: {recipe.summary}", soft_wrap=True)
        images, count = _calibration(trained, data, recipe) if recipe.needs_images else (None, 0)
        with console.status("") as status:
            built = build(float_graph(trained.model), recipe, images, _updating(status))
        card = _draft(trained, built, recipe, name, version, count, data)
        card, comparisons = _measure(trained, built.data, card, data, console)
        facts = inspect(built.data)
        console.print(_describe(facts, built), soft_wrap=True)
        failures = failed_gates(comparisons.get("PublicTest"), facts, recipe)
        if failures and not force:
            raise ModelError(f"{keras_path}: {recipe.name} fails: {'; '.join(failures)}; {advice(recipe)}")
        yield _write(Converted(path, card, comparisons, facts, failures), built, recipe, command)


def _write(made: Converted, built: Built, recipe: ConversionRecipe, command: str | None) -> Converted:
    """Write the file and its record; return it with the card that is in the file."""
    card = made.card
    if made.failures:
        quantization = msgspec.structs.replace(card.quantization, failed_gates=tuple(made.failures))
        limits = f"{card.limits} Written by force: {'; '.join(made.failures)}."
        card = msgspec.structs.replace(card, quantization=quantization, limits=limits)
    data_with_card = embed_card(built.data, card)
    write_bytes(made.path, data_with_card)
    report = {
        "command": command,
        "sha256": sha256(data_with_card),
        "comparisons": {k: v.to_builtins() for k, v in made.comparisons.items()},
        "file": asdict(made.facts),
        "failed_gates": made.failures,
        "sensitivity": sensitivity.to_builtins(built.sweep),
        "recipe": recipe,
        "card": card,
    }
    write_bytes(made.path.with_suffix(".json"), msgspec.json.format(msgspec.json.encode(report)))
    return replace(made, card=card)


def write_sensitivity(
    keras_path: Path,
    data_path: Path,
    recipe: ConversionRecipe,
    out: Path,
    name: str | None = None,
    overwrite: bool = False,
    console: Console | None = None,
) -> tuple[list[sensitivity.Sensitivity], Path]:
    """Quantize one layer at a time, and write ``OUT/NAME.RECIPE.sensitivity.json`` and ``.svg``.

    Arguments are those of :func:`convert`; the recipe must be a calibrated one.

    Returns:
        The sweep in the order of execution, and where the drawing is.

    Raises:
        ModelError: if the model cannot be read or converted.
        UsageError: if the files exist and ``overwrite`` is not given, or the recipe is not calibrated.
    """
    if not recipe.calibrated:
        raise UsageError(f"--sensitivity is for recipes with integer activations, such as int8; {recipe.name} has none")
    console = console or Console(stderr=True, highlight=False)
    trained, data = _load(keras_path, data_path)
    drawing = out / f"{name or trained.model.name}.{recipe.name}.sensitivity.svg"
    _refuse_existing(drawing, overwrite)
    images, _ = _calibration(trained, data, recipe)
    with console.status("") as status:
        graph = prepare(float_graph(trained.model), recipe, images, _updating(status))
        found = sweep(graph, recipe, images, _updating(status))
    report = {"model": str(keras_path), "sha256": trained.sha256, "recipe": recipe, "images": sensitivity.IMAGES}
    report["layers"] = sensitivity.to_builtins(found)
    write_bytes(drawing.with_suffix(".json"), msgspec.json.format(msgspec.json.encode(report)))
    sensitivity.draw(found, drawing, f"{trained.model.name}, {recipe.name}")
    return found, drawing


def _load(path: Path, data_path: Path) -> tuple[TrainedModel, Fer2013]:
    """Read a ``model.keras`` or a .tflite file, and FER2013."""
    data = load(data_path)
    return load_recovered(path, data) if path.suffix == ".tflite" else load_trained(path), data


def _refuse_existing(path: Path, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise UsageError(f"{path}: exists already; give --overwrite to replace it, or another --out")


def _calibration(trained: TrainedModel, data: Fer2013, recipe: ConversionRecipe) -> tuple[UInt8Array, int]:
    """Return the images of the recipe's calibration set, of the model's own labels, and how many they are."""
    training = data.split("Training").of_labels(trained.labels)
    rows = calibration_rows(training, recipe.calibration.images, recipe.calibration.seed)
    return calibration_set(training, rows, trained.spec), len(rows)


def _updating(status: Any) -> Callable[[str], None]:
    return lambda step: status.update(step)


def _draft(
    trained: TrainedModel, built: Built, recipe: ConversionRecipe, name: str, version: str, images: int, data: Fer2013
) -> ModelCard:
    """Return the card without figures."""
    first, last = _ends(built.data)
    plan, preparation = recipe.calibration, recipe.preparation
    return ModelCard(
        name=name,
        version=version,
        network=trained.model.name,
        labels=trained.labels,
        input=trained.spec,
        parameters=trained.model.count_params(),
        quantization=Quantization(
            recipe=recipe.name,
            input=first,
            output=last,
            calibration=Calibration("Training", images, plan.seed, data.sha256, plan.ranges) if images else None,
            equalization=preparation.equalization,
            bias_correction=preparation.bias_correction,
            sensitive_layers=built.sensitive,
            converter=_converter(),
            source_sha256=trained.sha256,
        ),
        training=trained.provenance,
        data=trained.data,
    )


def _measure(
    trained: TrainedModel, raw: bytes, card: ModelCard, data: Fer2013, console: Console
) -> tuple[ModelCard, dict[str, Comparison]]:
    """Hold the converted graph against the float model; return the card with its figures."""
    draft = embed_card(raw, card)
    loaded = LoadedModel(
        ModelFile(Path(f"{card.name}.{card.quantization.recipe}"), draft, sha256(draft), card), threads=2
    )
    comparisons: dict[str, Comparison] = {}
    figures: dict[str, SplitFigures] = {}
    for name in REPORTED_SPLITS:
        try:
            split = data.split(name).of_labels(card.labels)
        except FerEdgeError:
            continue  # a smaller data set may lack one; its figures are then missing from the card
        pixels = batch_input(split.pixels, card.input)
        ours, theirs = loaded.invoke(pixels), trained.answers(name, pixels)
        comparisons[name] = compared = compare(theirs, ours, split.labels, card.labels)
        result = evaluate(ours, split.labels, card.labels)
        # Six digits: a percentage made of five would round twice.
        figures[name] = SplitFigures(
            n=result.n,
            accuracy=round(result.accuracy, 6),
            macro_f1=round(result.macro_f1, 6),
            balanced_accuracy=round(result.balanced_accuracy, 6),
            ece=round(result.ece, 6),
            recall={label: round(one.recall, 6) for label, one in result.per_class.items() if one.support},
        )
        if name == "PublicTest":
            card = msgspec.structs.replace(card, uncertain_below=uncertain_below(ours, split.labels))
        console.print(
            f"{name}: float {compared.float_accuracy:.4f}, {card.quantization.recipe} {compared.accuracy:.4f}, "
            f"drop {compared.drop_points:+.2f} points (95 %: {compared.drop_low:+.2f} to {compared.drop_high:+.2f}), "
            f"macro-F1 {compared.macro_f1_drop_points:+.2f}, same label on {compared.agreement:.2%} of {compared.n}",
            soft_wrap=True,
        )
    return msgspec.structs.replace(card, figures=figures), comparisons


def _describe(facts: FileFacts, built: Built) -> str:
    delegated = "unknown" if facts.delegated is None else f"{facts.delegated:.1%}"
    kept = f"; in higher precision: {', '.join(built.sensitive)}" if built.sensitive else ""
    return (
        f"{facts.megabytes:.2f} MB, {facts.operators} operators, {len(facts.float_operators)} of them in float; "
        f"XNNPACK runs {delegated} of the multiplications{kept}"
    )


def _ends(raw: bytes) -> tuple[TensorCard, TensorCard]:
    interpreter = bare_interpreter(raw)
    return tensor_card(interpreter.get_input_details()[0]), tensor_card(interpreter.get_output_details()[0])


def _converter() -> str:
    from importlib.metadata import version

    names = ("tensorflow", "keras", "ai-edge-quantizer")
    return ", ".join([f"fer-edge {__version__}", *(f"{name} {version(name)}" for name in names)])
