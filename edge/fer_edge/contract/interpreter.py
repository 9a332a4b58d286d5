"""Loading a self-describing model into whichever TFLite runtime is installed, and running it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fer_edge.contract.card import ModelCard, TensorCard
from fer_edge.contract.native_log import native_messages
from fer_edge.contract.preprocess import UInt8Array
from fer_edge.contract.tflite_file import ModelFile, read_model_file
from fer_edge.errors import FerEdgeError, ModelError

RUNTIMES: Final = (
    ("ai_edge_litert", "ai_edge_litert.interpreter"),
    ("tflite_runtime", "tflite_runtime.interpreter"),
    ("tensorflow.lite", "tensorflow.lite.python.interpreter"),
)
"""(name, module) in the order in which they are tried: LiteRT is the successor of the other two."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """An installed TFLite runtime."""

    name: str
    version: str
    interpreter: Callable[..., Any]


def find_runtime() -> Runtime:
    """Return the first runtime of :data:`RUNTIMES` that can be imported.

    Raises:
        FerEdgeError: if there is none; the message says why each failed.
    """
    # LiteRT's native code announces itself on stderr, which belongs to our own messages.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    reasons = []
    for name, module_name in RUNTIMES:
        try:
            module = import_module(module_name)
            package = import_module(name.split(".")[0])
        except (ImportError, SystemError, AttributeError) as error:
            reasons.append(f"{name}: {error}")
            continue
        return Runtime(name, str(getattr(package, "__version__", "unknown")), module.Interpreter)
    raise FerEdgeError(
        f"no TFLite runtime can be imported ({'; '.join(reasons)}); run  python -m pip install ai-edge-litert"
    )


class LoadedModel:
    """A model in an interpreter, ready to classify; not safe to share between threads.

    Attributes:
        file: path, checksum and bytes of the model.
        runtime: the TFLite runtime in use.
        threads: threads of the interpreter.
    """

    def __init__(self, file: ModelFile, threads: int = 1) -> None:
        """Build the interpreter and hold the card against the tensors.

        Raises:
            ModelError: if the interpreter refuses the file, or the card and the tensors disagree.
        """
        self.file, self.threads, self.runtime = file, threads, find_runtime()
        try:
            self._interpreter = bare_interpreter(file.data, threads, self.runtime)
            inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        except (ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ModelError(f"{file.path}: {self.runtime.name} cannot load it ({reason}); convert it anew") from error
        if len(inputs) != 1 or len(outputs) != 1:
            raise ModelError(
                f"{file.path}: has {len(inputs)} inputs and {len(outputs)} outputs; a classifier has one of each"
            )
        self._input, self._output = inputs[0], outputs[0]
        _check_tensors(file, tensor_card(self._input), tensor_card(self._output))

    @property
    def card(self) -> ModelCard:
        """What the file says about itself."""
        return self.file.card

    def invoke(self, batch: UInt8Array) -> NDArray[np.float32]:
        """Classify preprocessed crops, one at a time (a batch of one is what the file was made for).

        Args:
            batch: (n, height, width, channels) uint8, from ``fer_edge.contract.preprocess``.

        Returns:
            (n, labels) float32 probabilities that add up to 1 in each row.
        """
        rows = np.empty((len(batch), len(self.card.labels)), np.float32)
        for row, pixels in zip(rows, batch, strict=True):
            self._interpreter.set_tensor(self._input["index"], quantize(pixels[None], self.card.quantization.input))
            self._interpreter.invoke()
            row[:] = dequantize(self._interpreter.get_tensor(self._output["index"])[0], self.card.quantization.output)
        # A quantized softmax adds up to 1 only within the rounding of its 256 steps.
        sums = rows.sum(axis=1, keepdims=True)
        return np.where(sums > 0, rows / np.maximum(sums, 1e-12), np.float32(1 / rows.shape[1]))


def load_model(path: Path, threads: int = 1) -> LoadedModel:
    """Read, verify and load a .tflite file.

    Raises:
        ModelError: if the file, its card, its checksum or its tensors are not in order.
    """
    return LoadedModel(read_model_file(path), threads)


def bare_interpreter(data: bytes, threads: int = 1, runtime: Runtime | None = None) -> Any:
    """Return an interpreter of a .tflite file, tensors allocated; for files without a card too.

    Raises:
        ValueError, RuntimeError: if the runtime refuses the file.
    """
    make = (runtime or find_runtime()).interpreter
    with native_messages(_is_announcement):
        interpreter = make(model_content=data, num_threads=threads)
        interpreter.allocate_tensors()
    return interpreter


def tensor_card(details: dict[str, Any]) -> TensorCard:
    """Describe an interpreter's tensor from its ``get_input_details`` or ``get_output_details`` entry.

    Raises:
        ModelError: for a dtype that no model of this project has at its ends.
    """
    dtype = np.dtype(details["dtype"]).name
    if dtype not in ("int8", "uint8", "float32"):
        raise ModelError(
            f"tensor {details['name']}: {dtype} at an end of the model; int8, uint8 or float32 is accepted"
        )
    scale, zero_point = details["quantization"]
    return TensorCard(dtype, tuple(int(n) for n in details["shape"]), float(scale), int(zero_point))


def quantize(values: UInt8Array | NDArray[np.float32], tensor: TensorCard) -> NDArray[Any]:
    """Turn real values into a tensor's stored ones: round(value / scale) + zero_point, clipped to the dtype."""
    if tensor.dtype == "float32":
        return values.astype(np.float32)
    if values.dtype == np.uint8 and tensor.scale == 1.0:
        # Pixels minus 128, exactly: the case of every full-integer model that scales inside its graph.
        return (values.astype(np.int16) + tensor.zero_point).astype(tensor.dtype)
    limits = np.iinfo(tensor.dtype)
    steps = np.round(values.astype(np.float32) / np.float32(tensor.scale)) + tensor.zero_point
    stored: NDArray[Any] = np.clip(steps, limits.min, limits.max).astype(tensor.dtype)
    return stored


def dequantize(stored: NDArray[Any], tensor: TensorCard) -> NDArray[np.float32]:
    """Turn a tensor's stored values into real ones: scale * (stored - zero_point)."""
    if tensor.dtype == "float32":
        return stored.astype(np.float32)
    return np.float32(tensor.scale) * (stored.astype(np.float32) - tensor.zero_point)


def _is_announcement(line: str) -> bool:
    """The runtime announces its CPU delegate on stderr for each model."""
    return line.startswith("INFO: Created TensorFlow Lite")


def _check_tensors(file: ModelFile, found_input: TensorCard, found_output: TensorCard) -> None:
    card = file.card
    stated = card.quantization
    pairs = (
        ("input", found_input, stated.input, (1, *card.input.shape)),
        ("output", found_output, stated.output, (1, len(card.labels))),
    )
    for end, found, said, shape in pairs:
        if found.shape != shape:
            raise ModelError(
                f"{file.path}: its {end} tensor has the shape {found.shape}, but its card asks for {shape} "
                f"({len(card.labels)} labels); convert the model anew"
            )
        same = (found.dtype, found.shape, found.zero_point) == (said.dtype, said.shape, said.zero_point)
        if not same or not np.isclose(found.scale, said.scale, rtol=1e-6, atol=0.0):
            raise ModelError(f"{file.path}: its {end} tensor is {found}, but its card says {said}; convert it anew")
        if found.dtype != "float32" and found.scale <= 0:
            raise ModelError(f"{file.path}: its {end} tensor is {found.dtype} without a scale; convert it anew")
