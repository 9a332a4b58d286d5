"""``fer-edge demo``: the whole runtime on a bundled scene; needs no camera, display or network."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections import Counter

    from fer_edge.frames import Observation
    from fer_edge.pipeline import Pipeline
    from fer_edge.runtime.summary import RunStatistics

NAME = "demo"
HELP = "recognise expressions in a bundled scene: no camera, display or network needed"

STEADY_FRAMES = 10
"""Frames that the same faces have been there for in the picture; a face that has gone is kept for some six."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``fer-edge demo``."""
    parser.add_argument("--model", default="default", metavar="M", help="name of a bundled model or a .tflite file")
    parser.add_argument(
        "--out", type=Path, default=Path("fer-edge-demo"), metavar="DIR", help="default: ./fer-edge-demo"
    )
    parser.add_argument("--realtime", action="store_true", help="at 25 frames/s instead of as fast as it goes")
    parser.add_argument("--json", action="store_true", help="print the summary as one JSON document")


def run(args: argparse.Namespace) -> int:
    """Run the demo and print its summary.

    Returns:
        0, or 1 if no face was found, which would mean that the installation does not work.
    """
    import json
    import logging
    import time
    from collections import Counter

    from fer_edge.model_store import find_model
    from fer_edge.outputs.base import Output
    from fer_edge.outputs.picture import write_annotated
    from fer_edge.outputs.settings import VideoSettings
    from fer_edge.outputs.video_file import VideoOutput
    from fer_edge.pipeline import build_pipeline
    from fer_edge.runtime.summary import RunStatistics
    from fer_edge.sources.base import SourceSettings
    from fer_edge.sources.scene import FPS, DemoScene

    # The video output warns that people are being recorded; the one in this scene is a portrait of our own.
    logging.getLogger("fer_edge.outputs.video_file").setLevel(logging.ERROR)
    pipeline = build_pipeline(find_model(args.model))
    source = DemoScene(SourceSettings(realtime=args.realtime))
    video = args.out / "annotated.mp4"
    outputs: list[Output] = [VideoOutput(video, VideoSettings(fps=FPS))]
    outputs += [] if args.json else _table()
    statistics, expressions = RunStatistics(), Counter[str]()
    picture: tuple[Any, Observation] | None = None
    best, steady, ids = (False, 0), 0, set[int]()
    source.open()
    for output in outputs:
        output.open()
    try:
        statistics.started = time.monotonic()
        while (frame := source.read()) is not None:
            observation = pipeline.process(frame)
            statistics.add(observation, time.monotonic())
            expressions.update(face.expression for face in observation.faces)
            before, ids = ids, {face.id for face in observation.faces}
            steady = steady + 1 if ids == before else 0
            if (rank := (steady >= STEADY_FRAMES, len(ids))) > best and ids:
                picture, best = (frame.image, observation), rank
            for output in outputs:
                output.write(observation, frame.image if output.wants_image else None)
        statistics.ended = time.monotonic()
    finally:
        source.close()
        for output in outputs:
            output.close()
    files = [str(video)]
    if picture is not None:
        files.insert(0, str(args.out / "annotated.png"))
        write_annotated(args.out / "annotated.png", *picture)
    summary = _summary(pipeline, statistics, expressions, files)
    print(json.dumps(summary)) if args.json else _print(summary)
    return 0 if expressions else 1


def _table() -> list[Any]:
    """Return the live table, on a terminal."""
    import sys

    from fer_edge.commands.live_table import LiveTable

    return [LiveTable()] if sys.stdout.isatty() else []


def _summary(
    pipeline: Pipeline, statistics: RunStatistics, expressions: Counter[str], files: list[str]
) -> dict[str, Any]:
    import platform

    card = pipeline.classifier.card
    measured = card.figures.get("PrivateTest")
    return {
        "frames": statistics.frames,
        "frames_with_face": statistics.frames_with_face,
        "faces": expressions.total(),
        "expressions": dict(expressions.most_common()),
        "fps": round(statistics.frames / max(statistics.seconds, 1e-9), 1),
        "timing_ms": {name: statistics.percentiles(name) for name in ("detect", "classify", "total")},
        "model": card.name,
        "model_sha256": pipeline.classifier.sha256,
        "model_accuracy": None if measured is None else measured.accuracy,
        "machine": platform.machine(),
        "files": files,
    }


def _print(summary: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="fer-edge demo", title_justify="left", show_header=False)
    table.add_column(style="bold")
    table.add_column()
    seen = ", ".join(f"{label} {count}" for label, count in summary["expressions"].items()) or "none"
    accuracy = summary["model_accuracy"]
    model = f"{summary['model']} ({summary['model_sha256'][:12]})"
    table.add_row("frames", f"{summary['frames']}, {summary['frames_with_face']} with a face")
    table.add_row("faces classified", f"{summary['faces']} ({seen})")
    table.add_row("frames/s", f"{summary['fps']} on this machine, drawing and writing the video included")
    for name in ("detect", "classify", "total"):
        figures = {key: value or 0.0 for key, value in summary["timing_ms"][name].items()}
        table.add_row(f"{name}, ms a frame", "   ".join(f"{key} {value:.2f}" for key, value in figures.items()))
    table.add_row("model", model if accuracy is None else f"{model}, {accuracy:.1%} on FER2013's PrivateTest")
    table.add_row("written", "\n".join(summary["files"]))
    Console(highlight=False).print(table)
