"""Reading the documents that the other commands write; all of them are untrusted input."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from statistics import median
from typing import Annotated, Any, Final, Literal

import msgspec

from fer_convert.report.evidence import (
    Accuracy,
    Command,
    Count,
    Latency,
    Machine,
    Measurement,
    Milliseconds,
    Model,
    Positive,
    Sha256,
    Share,
    Source,
    Text,
    merge,
)
from fer_edge.contract.card import ModelCard
from fer_edge.contract.command_line import file_name, without_folders
from fer_edge.contract.labels import LABELS
from fer_edge.contract.tflite_file import read_model_file
from fer_edge.errors import DataError, ModelError, UsageError

SCHEMA: Final = 1
KIND: Final = "fer-edge report"
_MULTIPLYING: Final = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "BATCH_MATMUL")
_RECIPE: Final = re.compile(r"(float|int|dynamic|mixed|weight)[a-z0-9_]*")
LARGEST_DOCUMENT: Final = 256 * 2**20
"""Bytes; a benchmark of fifty models with all its samples has a tenth of it."""


class _Class(msgspec.Struct):
    recall: Share
    support: Count


class _Accuracy(msgspec.Struct):
    split: Text
    n: Positive
    accuracy: Share
    macro_f1: Share
    balanced_accuracy: Share
    ece: Share
    per_class: dict[Text, _Class]


class _LatencyMs(msgspec.Struct):
    n: Positive
    p50: Milliseconds
    p50_low: Milliseconds
    p50_high: Milliseconds
    p90: Milliseconds
    p95: Milliseconds
    p99: Milliseconds
    max: Milliseconds


class _Threads(msgspec.Struct):
    threads: Positive
    latency_ms: _LatencyMs
    cold_start_ms: list[Milliseconds]
    first_inference_ms: list[Milliseconds]
    stable: bool
    peak_rss_mb: Milliseconds


class _Stages(msgspec.Struct):
    mean_ms: dict[Text, Annotated[float, msgspec.Meta(ge=0, le=1e9)]]


class _Sustained(msgspec.Struct):
    slowdown: Annotated[float, msgspec.Meta(gt=0, le=1e9)]


class _Operator(msgspec.Struct):
    operator: Text
    multiplications: Count


class _Benchmarked(msgspec.Struct):
    path: Text
    sha256: Sha256
    bytes: Count
    input: tuple[int, ...]
    threads: Annotated[tuple[_Threads, ...], msgspec.Meta(min_length=1)]
    name: Text | None = None
    version: Text | None = None
    network: Text | None = None
    recipe: Text | None = None
    parameters: Count | None = None
    operators: list[_Operator] | None = None
    stages: _Stages | None = None
    sustained: _Sustained | None = None
    accuracy: _Accuracy | None = None


class _Settings(msgspec.Struct):
    threads: tuple[int, ...]
    rounds: int
    samples: int
    frames: int
    sustained_minutes: float = 0.0
    data: Text | None = None
    split: Text = "PrivateTest"
    limit: int | None = None


class _BoardState(msgspec.Struct):
    governor: Text | None = None


class _Board(msgspec.Struct):
    before: _BoardState


class _Benchmark(msgspec.Struct):
    started: Text
    valid: bool
    invalid_because: tuple[Text, ...]
    machine: Machine
    board: _Board
    settings: _Settings
    models: Annotated[list[_Benchmarked], msgspec.Meta(min_length=1)]
    command: Command | None = None


class _Evaluation(_Accuracy):
    model: Text
    sha256: Sha256
    threads: Positive
    command: Command | None = None


class _Conversion(msgspec.Struct):
    card: ModelCard
    sha256: Sha256 | None = None
    command: Command | None = None


class ReportDocument(msgspec.Struct, kw_only=True):
    """What ``--json`` writes, and what a later report or ``--against`` reads; ``tables`` is for other readers."""

    kind: Literal["fer-edge report"] = KIND
    schema: Literal[1] = SCHEMA
    fer_edge: Text
    models: Annotated[tuple[Model, ...], msgspec.Meta(min_length=1)]
    tables: list[dict[str, Any]] = []


class _Head(msgspec.Struct):
    """As much of a document as tells what it is."""

    kind: str | None = None
    schema: int | None = None
    confusion_matrix: Any = None
    comparisons: Any = None


def read_models(paths: list[Path]) -> tuple[Model, ...]:
    """Read documents of any kind and join what they tell of the same files.

    Args:
        paths: results of ``fer-edge benchmark --json``, ``evaluate --json`` or ``report --json``, and the records that
            ``fer-edge convert`` leaves beside its files.

    Raises:
        UsageError: if there is no such file.
        DataError: if one is malformed or of another kind.
    """
    return merge([model for path in paths for model in _read(path)])


def _read(path: Path) -> list[Model]:
    try:
        size = path.stat().st_size
        if size > LARGEST_DOCUMENT:
            raise DataError(f"{path}: holds {size // 2**20} MB, more than any result; name a result of fer-edge")
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); name a result of fer-edge") from error
    try:
        head = msgspec.json.decode(data, type=_Head)
        kind = head.kind or (_kind(head))
        if kind is not None and head.schema not in (None, SCHEMA):
            raise DataError(
                f"{path}: has schema {head.schema}, this fer-edge reads {SCHEMA}; use the fer-edge it is of"
            )
        if kind == "fer-edge benchmark":
            return _benchmarked(msgspec.json.decode(data, type=_Benchmark), path)
        if kind in ("evaluation", "fer-edge evaluate"):
            return [_evaluated(msgspec.json.decode(data, type=_Evaluation), path)]
        if kind == "conversion":
            return [_converted(msgspec.json.decode(data, type=_Conversion), path)]
        if kind == KIND:
            return list(msgspec.json.decode(data, type=ReportDocument).models)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{path}: is no readable result of fer-edge ({error}); measure anew") from error
    raise DataError(
        f"{path}: is neither a result of `fer-edge benchmark --json`, `evaluate --json` or `report --json`, nor a "
        "record of `fer-edge convert`"
    )


def _kind(head: _Head) -> str | None:
    """Tell documents that do not name their kind by what they alone hold."""
    if head.confusion_matrix is not None:
        return "evaluation"
    return None if head.comparisons is None else "conversion"


def _benchmarked(document: _Benchmark, path: Path) -> list[Model]:
    source = _source(path, document.command, _benchmark_command(document))
    return [_benchmarked_model(model, document, source) for model in document.models]


def _benchmarked_model(model: _Benchmarked, document: _Benchmark, source: Source) -> Model:
    measurement = Measurement(
        machine=document.machine,
        started=document.started,
        valid=document.valid,
        invalid_because=document.invalid_because,
        latencies=tuple(_latency(one) for one in model.threads),
        source=source,
        governor=document.board.before.governor,
        stages_ms={} if model.stages is None else model.stages.mean_ms,
        sustained_slowdown=None if model.sustained is None else model.sustained.slowdown,
    )
    return Model(
        sha256=model.sha256,
        name=model.name or _stem(model.path),
        recipe=model.recipe,
        network=model.network,
        version=model.version,
        parameters=model.parameters,
        multiplications=None if model.operators is None else _multiply_accumulates(model.operators),
        bytes=model.bytes,
        input=model.input,
        accuracies=()
        if model.accuracy is None
        else (_accuracy(model.accuracy, source, len(model.accuracy.per_class)),),
        measurements=(measurement,),
    )


def _multiply_accumulates(operators: list[_Operator]) -> int:
    # As papers count them: what scales or widens single values, such as float16's DEQUANTIZE, is left out.
    return sum(one.multiplications for one in operators if one.operator in _MULTIPLYING)


def _latency(one: _Threads) -> Latency:
    return Latency(
        threads=one.threads,
        **msgspec.structs.asdict(one.latency_ms),
        stable=one.stable,
        cold_start_ms=median(one.cold_start_ms) if one.cold_start_ms else None,
        first_inference_ms=median(one.first_inference_ms) if one.first_inference_ms else None,
        peak_rss_mb=one.peak_rss_mb,
    )


def _accuracy(figures: _Accuracy, source: Source, labels: int) -> Accuracy:
    return Accuracy(
        split=_split(figures.split, labels),
        n=figures.n,
        accuracy=figures.accuracy,
        source=source,
        macro_f1=figures.macro_f1,
        balanced_accuracy=figures.balanced_accuracy,
        ece=figures.ece,
        recall={label: one.recall for label, one in figures.per_class.items() if one.support},
    )


def _split(name: str, labels: int) -> str:
    """Keep figures on fewer classes apart from the usual ones, in the words of ``fer-edge evaluate``."""
    return name if labels == len(LABELS) or "(" in name else f"{name} ({labels} labels)"


def _evaluated(document: _Evaluation, path: Path) -> Model:
    # Its latency is left where it is: the document does not tell which machine it was measured on.
    name = file_name(document.model)
    command = f"fer-edge evaluate {name} --data FER2013 --split {document.split} --threads {document.threads} --json"
    source = _source(path, document.command, command)
    title, recipe = _named_by_file(_stem(document.model))
    accuracy = _accuracy(document, source, len(document.per_class))
    return Model(document.sha256, title, recipe, accuracies=(accuracy,))


def _converted(document: _Conversion, path: Path) -> Model:
    """Take the figures on the card; the checksum comes from the record or from the file that lies beside it."""
    card, checksum = document.card, document.sha256
    if checksum is None:
        checksum = _checksum_beside(path, card)
    recipe = card.quantization.recipe
    command = f"fer-edge convert model.keras --data FER2013 --recipe {recipe} --out DIR --name {shlex.quote(card.name)}"
    source = _source(path, document.command, command)
    return Model(
        sha256=checksum,
        name=card.name,
        recipe=recipe,
        network=card.network,
        version=card.version,
        parameters=card.parameters,
        input=card.input.shape,
        accuracies=tuple(
            Accuracy(
                split=_split(split, len(card.labels)),
                n=one.n,
                accuracy=one.accuracy,
                source=source,
                macro_f1=one.macro_f1,
                balanced_accuracy=one.balanced_accuracy,
                ece=one.ece,
                recall=dict(one.recall),
            )
            for split, one in card.figures.items()
        ),
    )


def _checksum_beside(path: Path, card: ModelCard) -> str:
    model = path.with_suffix(".tflite")
    try:
        file = read_model_file(model)
    except (OSError, ModelError) as error:
        raise DataError(
            f"{path}: this record of a conversion holds no checksum of its file, and {model.name} cannot be read "
            "beside it; keep the two together"
        ) from error
    if msgspec.structs.replace(file.card, checksum=card.checksum) != card:
        raise DataError(f"{path}: is the record of another file than {model.name} beside it; convert anew")
    return file.sha256


def _benchmark_command(document: _Benchmark) -> str:
    settings = document.settings
    words = ["fer-edge", "benchmark", *(file_name(model.path) for model in document.models)]
    words += ["--threads", ",".join(map(str, settings.threads)), "--rounds", str(settings.rounds)]
    words += ["--samples", str(settings.samples), "--frames", str(settings.frames)]
    if settings.sustained_minutes:
        words += ["--sustained", f"{settings.sustained_minutes:g}"]
    if settings.data is not None:
        words += ["--data", "FER2013", "--split", settings.split]
        words += [] if settings.limit is None else ["--limit", str(settings.limit)]
    return shlex.join([*words, "--json"])


def _source(path: Path, recorded: str | None, rebuilt: str) -> Source:
    if recorded is None:
        return Source(path.name, rebuilt, recorded=False)
    return Source(path.name, without_folders(recorded), recorded=True)


def _named_by_file(stem: str) -> tuple[str, str | None]:
    """Split ``NAME.RECIPE``, as ``fer-edge convert`` names its files."""
    name, _, recipe = stem.rpartition(".")
    return (name, recipe) if name and _RECIPE.fullmatch(recipe) else (stem, None)


def _stem(path: str) -> str:
    """Name of a file without its suffix; a training run's ``model.keras`` is known by its folder."""
    parts = [part for part in path.replace("\\", "/").split("/") if part]
    name = parts[-1] if parts else path
    if name == "model.keras" and len(parts) > 1:
        return f"{parts[-2]} (Keras)"
    return name.removesuffix(".tflite").removesuffix(".keras")
