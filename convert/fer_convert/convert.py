"""The whole way from ``model.keras`` to a file that describes itself and has passed its gates."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from fer_convert.calibrate import CALIBRATION_SEED, calibration_rows, calibration_set
from fer_convert.embed import embed_card, sha256
from fer_convert.gates import Comparison, compare, failed_gates, uncertain_below
from fer_convert.quantize import load_keras, to_tflite
from fer_convert.recipes import ConversionRecipe
from fer_edge import __version__
from fer_edge.contract.card import Calibration, ModelCard, Quantization, SplitFigures, TensorCard
from fer_edge.contract.files import write_bytes
from fer_edge.contract.interpreter import LoadedModel, bare_interpreter, tensor_card
from fer_edge.contract.labels import LABELS
from fer_edge.contract.preprocess import InputSpec, batch_input
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
    console: Console | None = None,
) -> Converted:
    """Convert, measure, and write ``OUT/NAME.RECIPE.tflite`` with its card, beside a report as JSON.

    The threshold for ``uncertain`` and the gates are taken on PublicTest; PrivateTest is measured for the card alone
    and decides nothing.

    Args:
        keras_path: model saved by ``fer-edge train``.
        data_path: FER2013 in any of its forms.
        recipe: how to convert.
        out: folder for the file.
        name: name in the card and of the file; None for the network's.
        version: version of the model in its card.
        overwrite: replace an existing file.
        force: write the file though a gate has failed; the card then says so.
        console: where progress goes.

    Raises:
        ModelError: if the model cannot be read or converted, or fails a gate without ``force``.
        UsageError: if the file exists and ``overwrite`` is not given.
    """
    console = console or Console(stderr=True, highlight=False)
    record = _training_record(keras_path)
    model = load_keras(keras_path)
    name = name or model.name
    path = out / f"{name}.{recipe.name}.tflite"
    if path.exists() and not overwrite:
        raise UsageError(f"{path}: exists already; give --overwrite to replace it, or another --out")
    spec = msgspec.convert(record.get("recipe", {}).get("input", {}), InputSpec)
    if tuple(model.input_shape[1:]) != spec.shape or model.output_shape[-1] != len(LABELS):
        raise ModelError(
            f"{keras_path}: takes {model.input_shape} and gives {model.output_shape}, not {spec.shape} to 7 labels"
        )
    data = load(data_path)
    training = data.split("Training")
    rows = calibration_rows(training)
    console.print(f"converting {keras_path} by {recipe.name}: {recipe.summary}")
    raw = to_tflite(model, recipe, calibration_set(training, rows, spec) if recipe.calibrated else None)
    first, last = _ends(raw)
    card = ModelCard(
        name=name,
        version=version,
        network=model.name,
        labels=LABELS,
        input=spec,
        parameters=model.count_params(),
        quantization=Quantization(
            recipe=recipe.name,
            input=first,
            output=last,
            calibration=Calibration("Training", len(rows), CALIBRATION_SEED, data.sha256)
            if recipe.calibrated
            else None,
            converter=_converter(),
            source_sha256=sha256(keras_path.read_bytes()),
        ),
        training=_provenance(record),
    )
    card, comparisons = _measure(model, raw, card, data, console)
    failures = failed_gates(comparisons["PublicTest"], recipe) if "PublicTest" in comparisons else []
    if failures and not force:
        raise ModelError(
            f"{keras_path}: {recipe.name} fails: {'; '.join(failures)}; give --force to write it all the same"
        )
    if failures:
        card = msgspec.structs.replace(card, limits=f"{card.limits} Written by force: {'; '.join(failures)}.")
    write_bytes(path, embed_card(raw, card))
    report = {
        "comparisons": {k: v.to_builtins() for k, v in comparisons.items()},
        "failed_gates": failures,
        "card": card,
    }
    write_bytes(path.with_suffix(".json"), msgspec.json.format(msgspec.json.encode(report)))
    return Converted(path, card, comparisons, failures)


def _measure(
    model: Any, raw: bytes, card: ModelCard, data: Fer2013, console: Console
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
            split = data.split(name)
        except FerEdgeError:
            continue  # a smaller data set may lack one; its figures are then missing from the card
        pixels = batch_input(split.pixels, card.input)
        ours, theirs = loaded.invoke(pixels), _float_probabilities(model, pixels)
        comparisons[name] = compared = compare(theirs, ours, split.labels)
        result = evaluate(ours, split.labels, card.labels)
        figures[name] = SplitFigures(
            n=result.n,
            accuracy=round(result.accuracy, 5),
            macro_f1=round(result.macro_f1, 5),
            balanced_accuracy=round(result.balanced_accuracy, 5),
            ece=round(result.ece, 5),
            recall={label: round(one.recall, 5) for label, one in result.per_class.items() if one.support},
        )
        if name == "PublicTest":
            card = msgspec.structs.replace(card, uncertain_below=uncertain_below(ours, split.labels))
        console.print(
            f"{name}: float {compared.float_accuracy:.4f}, {card.quantization.recipe} {compared.accuracy:.4f}, "
            f"drop {compared.drop_points:+.2f} points (95 %: {compared.drop_low:+.2f} to {compared.drop_high:+.2f}), "
            f"same label on {compared.agreement:.2%} of {compared.n}"
        )
    return msgspec.structs.replace(card, figures=figures), comparisons


def _float_probabilities(model: Any, pixels: NDArray[np.uint8], batch: int = 256) -> NDArray[np.float32]:
    parts = [model.predict_on_batch(pixels[i : i + batch].astype(np.float32)) for i in range(0, len(pixels), batch)]
    return np.concatenate(parts).astype(np.float32)


def _ends(raw: bytes) -> tuple[TensorCard, TensorCard]:
    interpreter = bare_interpreter(raw)
    return tensor_card(interpreter.get_input_details()[0]), tensor_card(interpreter.get_output_details()[0])


def _training_record(keras_path: Path) -> dict[str, Any]:
    """Read ``training.json`` beside the model, if it belongs to it."""
    path = keras_path.with_name("training.json")
    try:
        record = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.DecodeError) as error:
        raise ModelError(f"{path}: cannot be read ({error}); train the model anew") from error
    if keras_path.is_file() and record.get("model_sha256") != sha256(keras_path.read_bytes()):
        raise ModelError(f"{path}: describes another model than {keras_path}; keep the two of one run together")
    return record


def _provenance(record: dict[str, Any]) -> dict[str, Any]:
    keep = (
        "recipe",
        "data_sha256",
        "epochs",
        "chosen_epoch",
        "chosen_by",
        "temperature",
        "figures",
        "seconds",
        "environment",
    )
    return {key: record[key] for key in keep if key in record}


def _converter() -> str:
    import keras
    import tensorflow as tf

    return f"fer-edge {__version__}, TFLiteConverter of TensorFlow {tf.__version__}, Keras {keras.__version__}"
