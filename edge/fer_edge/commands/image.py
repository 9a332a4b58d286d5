"""``fer-edge image``: find and classify the faces of pictures that stand alone."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fer_edge.frames import Observation

NAME = "image"
HELP = "find and classify the faces in pictures"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``fer-edge image``."""
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="a picture, or a folder of pictures")
    parser.epilog = (
        "`fer-edge image bundle` is another command, see `fer-edge bundle --help`; a picture of that name is ./bundle"
    )
    parser.add_argument("--model", default="default", metavar="M", help="name of a bundled model or a .tflite file")
    parser.add_argument("--annotate", type=Path, metavar="DIR", help="write annotated copies of the pictures here")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of lines")


def run(args: argparse.Namespace) -> int:
    """Classify each picture; one that cannot be read is reported, and the others are still done.

    Returns:
        0, or 1 if a picture could not be read.
    """
    import json
    import sys

    from fer_edge.errors import SourceError
    from fer_edge.frames import Frame
    from fer_edge.model_store import find_model
    from fer_edge.outputs.picture import write_annotated
    from fer_edge.pipeline import build_pipeline
    from fer_edge.sources.image import read_image

    pipeline = build_pipeline(find_model(args.model))
    documents: list[dict[str, Any]] = []
    failures = 0
    paths = _pictures(args.paths)
    targets = _targets(paths, args.annotate)
    for index, (path, target) in enumerate(zip(paths, targets, strict=True)):
        try:
            image = read_image(path)
        except SourceError as error:
            failures += 1
            documents.append({"path": str(path), "error": str(error), "faces": []})
            print(f"fer-edge: error: {error}", file=sys.stderr)
            continue
        observation = pipeline.process_still(Frame(index, image, captured_at=0.0, time=0.0))
        if target is not None:
            write_annotated(target, image, observation)
        documents.append(_document(path, target, observation))
        if not args.json:
            _print(path, observation)
    if args.json:
        print(json.dumps({"model_sha256": pipeline.classifier.sha256, "images": documents}))
    return 1 if failures else 0


def _pictures(paths: list[Path]) -> list[Path]:
    """Put each folder's pictures in its place."""
    from fer_edge.errors import SourceError
    from fer_edge.sources.files import natural_order
    from fer_edge.sources.folder import is_picture

    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        inside = sorted((p for p in path.iterdir() if is_picture(p)), key=lambda p: natural_order(p.name))
        if not inside:
            raise SourceError(f"{path}: holds no picture; name a picture or another folder")
        found += inside
    return found


def _targets(paths: list[Path], folder: Path | None) -> list[Path | None]:
    """Name the annotated copies; pictures of the same name from different folders get a number."""
    targets: list[Path | None] = []
    taken: set[str] = set()
    for path in paths:
        if folder is None:
            targets.append(None)
            continue
        name, count = f"{path.stem}.annotated.png", 1
        while name in taken:
            count += 1
            name = f"{path.stem}-{count}.annotated.png"
        taken.add(name)
        targets.append(folder / name)
    return targets


def _document(path: Path, target: Path | None, observation: Observation) -> dict[str, Any]:
    from fer_edge.outputs.base import record

    full = record(observation)
    document = {"path": str(path), "width": observation.size[0], "height": observation.size[1]}
    annotated = {} if target is None else {"annotated": str(target)}
    return {**document, "faces": full["faces"], "timing_ms": full["timing_ms"], **annotated}


def _print(path: Path, observation: Observation) -> None:
    if not observation.faces:
        print(f"{path}: no face found")
    for face in observation.faces:
        x, y, w, h = face.box
        print(f"{path}: {face.expression} {face.score:.0%} at {x},{y} {w}x{h}")
