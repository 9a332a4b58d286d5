"""Ways to make integers of one network, held against its float graph image by image: which converter, which ranges.

    python benchmarks/quantization.py RUN/model.keras --data FER2013 [--json FILE] [--split PrivateTest] [--images N]
    python benchmarks/quantization.py RUN/model.keras --data FER2013 --only "int8*" "TFLiteConverter*"

Every way gets the same calibration images: those of the recipe int8. The first is the float graph itself. What tells
the ways apart is the *divergence*, Kullback and Leibler's, of the answers from the float graph's: it moves with every
image, while accuracy moves with the few on which the most probable label changes. ``ms`` is the median of the processor
time that one invocation takes on one thread of this process, which a busy machine hardly moves: enough to tell kernels
apart, and no substitute for ``fer-edge benchmark``.

The JSON is written after each way, so that what is there counts if the rest is cut off. Needs the train extra.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / room) for room in ("edge", "convert", "train")]
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from fer_convert.build import build  # noqa: E402
from fer_convert.calibrate import calibration_rows, calibration_set  # noqa: E402
from fer_convert.delegation import inspect  # noqa: E402
from fer_convert.gates import compare  # noqa: E402
from fer_convert.quantize import float_graph  # noqa: E402
from fer_convert.recipe import ConversionRecipe, load_recipe  # noqa: E402
from fer_convert.sensitivity import divergence  # noqa: E402
from fer_convert.trained import load_trained  # noqa: E402
from fer_edge.contract.interpreter import bare_interpreter, dequantize, quantize, tensor_card  # noqa: E402
from fer_edge.contract.preprocess import UInt8Array, batch_input  # noqa: E402
from fer_edge.errors import FerEdgeError  # noqa: E402
from fer_train.fer2013 import load  # noqa: E402

RECIPES: Final = ("int8", "dynamic_wi8", "int8_equalized", "int8_mixed", "int8_16x8", "float16")
PLAIN: Final = {"preparation": {"bias_correction": False}}
VARIATIONS: Final[dict[str, tuple[str, dict[str, dict[str, Any]], dict[str, str]]]] = {
    "plain int8": ("int8", PLAIN, {}),
    "plain int8, percentile 99.99": (
        "int8",
        PLAIN | {"calibration": {"ranges": "percentile", "percentile": 99.99}},
        {},
    ),
    "plain int8, percentile 99.9": ("int8", PLAIN | {"calibration": {"ranges": "percentile", "percentile": 99.9}}, {}),
    "plain int8, mse": ("int8", PLAIN | {"calibration": {"ranges": "mse"}}, {}),
    "plain int8, activations equalized": (
        "int8",
        {"preparation": {"bias_correction": False, "equalization": "activations"}},
        {},
    ),
    "plain int8, weights equalized": (
        "int8",
        {"preparation": {"bias_correction": False, "equalization": "weights"}},
        {},
    ),
    "int8_equalized, ReLU6 made ReLU": ("int8_equalized", {"preparation": {"relu6": "relu"}}, {}),
    "dynamic_wi4": ("dynamic_wi8", {}, {"weights": "int4"}),
    "int4 weights, int8 activations": ("int8", PLAIN, {"weights": "int4"}),
}
"""Name -> recipe, changes of its tables, changes of itself; ``plain`` is without bias correction."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What a file says of the images."""

    probabilities: NDArray[np.float32]
    """(n, labels)."""
    ms: float
    """Median processor time of an invocation."""


def main() -> None:
    """Convert in each way, measure, and print a table that grows line by line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, metavar="MODEL.keras")
    parser.add_argument("--data", type=Path, required=True, metavar="FER2013")
    parser.add_argument("--split", default="PrivateTest")
    parser.add_argument("--images", type=int, metavar="N", help="only the first N of the split")
    parser.add_argument("--only", nargs="+", default=["*"], metavar="PATTERN", help="names of ways")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    trained, data = load_trained(args.model), load(args.data)
    calibration = load_recipe("int8").calibration
    training = data.split("Training").of_labels(trained.labels)
    rows = calibration_rows(training, calibration.images, calibration.seed)
    images = calibration_set(training, rows, trained.spec)
    split = data.split(args.split).of_labels(trained.labels)
    pixels, truth = batch_input(split.pixels[: args.images], trained.spec), split.labels[: args.images]
    graph = float_graph(trained.model)
    exact = answer(graph, pixels)
    document: dict[str, Any] = {
        "model": trained.model.name,
        "model_sha256": trained.sha256,
        "split": args.split,
        "n": len(truth),
        "machine": {"processor": _processor(), "load": os.getloadavg()[0]},
        "float": {"accuracy": float((exact.probabilities.argmax(axis=1) == truth).mean()), "ms": exact.ms},
        "ways": {},
    }
    print(f"{trained.model.name}: float {document['float']['accuracy']:.2%} of {len(truth)}, {exact.ms:.2f} ms\n")
    print("| way | drop, points (95 %) | same label | divergence, millinats | MB | XNNPACK | ms |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |", flush=True)
    for name, make in ways(trained.model, graph, images):
        if not any(fnmatch.fnmatchcase(name, pattern) for pattern in args.only):
            continue
        begun = time.monotonic()
        document["ways"][name] = found = _measured(make, exact, pixels, truth, trained.labels)
        found["seconds"] = round(time.monotonic() - begun, 1)
        print(_line(name, found), flush=True)
        if args.json:
            args.json.write_text(json.dumps(document, indent=2) + "\n")


def ways(model: Any, graph: bytes, images: UInt8Array) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Yield (name, a call that gives the .tflite file)."""

    def by_recipe(recipe: ConversionRecipe) -> Callable[[], bytes]:
        return lambda: build(graph, recipe, images).data

    def by_tensorflow(activations: str) -> Callable[[], bytes]:
        return lambda: tensorflow_quantizer(model, images, activations)

    yield "int8", by_recipe(load_recipe("int8"))
    yield "TFLiteConverter int8", by_tensorflow("int8")
    for name, (base, tables, fields) in VARIATIONS.items():
        yield name, by_recipe(_varied(load_recipe(base), tables, fields))
    for name in RECIPES[1:]:
        yield name, by_recipe(load_recipe(name))
    yield "TFLiteConverter dynamic", by_tensorflow("dynamic")
    yield "TFLiteConverter 16x8", by_tensorflow("int16")


def tensorflow_quantizer(model: Any, images: UInt8Array, activations: str) -> bytes:
    """Quantize by TensorFlow's own converter, as its documentation says.

    Args:
        model: the Keras model.
        images: (n, height, width, channels) uint8 for calibration.
        activations: ``int8``, ``int16`` or ``dynamic``.
    """
    import keras
    import tensorflow as tf

    pixels = keras.Input(batch_shape=(1, *model.input_shape[1:]), name="pixels")
    converter = tf.lite.TFLiteConverter.from_keras_model(keras.Model(pixels, model(pixels), name=model.name))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if activations != "dynamic":
        converter.representative_dataset = lambda: ([image[None].astype(np.float32)] for image in images)
    sets = tf.lite.OpsSet
    if activations == "int8":
        converter.target_spec.supported_ops = [sets.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    elif activations == "int16":
        converter.target_spec.supported_ops = [sets.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8]
    data: bytes = converter.convert()
    return data


def answer(data: bytes, pixels: UInt8Array) -> Answers:
    """Run a file, whatever its ends are, over (n, height, width, channels) uint8."""
    interpreter = bare_interpreter(data)
    first, last = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    taken, given = tensor_card(first), tensor_card(last)
    rows, times = [], []
    for image in pixels:
        stored = quantize(image[None], taken)
        begun = time.thread_time()
        interpreter.set_tensor(first["index"], stored)
        interpreter.invoke()
        row = interpreter.get_tensor(last["index"])
        times.append(time.thread_time() - begun)
        rows.append(dequantize(row, given)[0])
    return Answers(np.asarray(rows, np.float32), 1e3 * float(np.median(times)))


def _varied(recipe: ConversionRecipe, tables: dict[str, dict[str, Any]], fields: dict[str, str]) -> ConversionRecipe:
    changed = {name: msgspec.structs.replace(getattr(recipe, name), **table) for name, table in tables.items()}
    return msgspec.structs.replace(recipe, **changed, **fields)


def _measured(
    make: Callable[[], bytes], exact: Answers, pixels: UInt8Array, truth: NDArray[Any], labels: tuple[str, ...]
) -> dict[str, Any]:
    try:
        data = make()
        ours = answer(data, pixels)
    except (FerEdgeError, RuntimeError, ValueError) as error:
        return {"error": " ".join(str(error).split())[:300]}
    found: dict[str, Any] = compare(exact.probabilities, ours.probabilities, truth, labels).to_builtins()
    found |= {"divergence": divergence(exact.probabilities, ours.probabilities), "ms": ours.ms}
    found |= {"megabytes": round(len(data) / 1e6, 3), "delegated": None}
    try:
        found["delegated"] = inspect(data).delegated
    except FerEdgeError as error:  # no such file would be run on a device
        found["refused"] = str(error)
    return found


def _line(name: str, found: dict[str, Any]) -> str:
    if "error" in found:
        return f"| {name} | failed: {found['error'][:120]} |"
    delegated = "refused" if "refused" in found else "?" if found["delegated"] is None else f"{found['delegated']:.0%}"
    return (
        f"| {name} | {found['drop_points']:+.2f} ({found['drop_low']:+.2f} to {found['drop_high']:+.2f}) | "
        f"{found['agreement']:.2%} | {1e3 * found['divergence']:.3f} | {found['megabytes']:.2f} | {delegated} | "
        f"{found['ms']:.2f} |"
    )


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":")[1].strip() for line in lines if "model name" in line), platform.machine())


if __name__ == "__main__":
    main()
