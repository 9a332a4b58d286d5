"""fer-edge against `fer` 25.10.3 on the same videos: frames a second end to end, faces found, boxes.

    python benchmarks/against_fer.py --fer PATH/TO/PYTHON_WITH_FER [--frames 450] [--rounds 5] [--json FILE]

`fer` needs an environment of its own (it wants TensorFlow, and `pkg_resources` of setuptools < 81):

    python -m venv fer-env
    fer-env/bin/pip install tensorflow "opencv-python-headless<5" pandas requests tqdm pillow matplotlib
    fer-env/bin/pip install "setuptools<81"
    fer-env/bin/pip install --no-deps fer==25.10.3

Each run is a fresh process that decodes a video, finds and classifies the faces of every frame and writes JSON
Lines; the two take turns. A run's rate is frames over seconds from the open source to the last line: imports and the
loading of the model are left out for both. The reference for boxes is a full-scale Haar scan (1.1, minNeighbors 5,
30 px).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import cv2
from machine import machine
from scenes import SCENES, Box, Scene, read, truth, write

FER = r"""
import json, sys, time, cv2
from fer.fer import FER
detector = FER()
capture = cv2.VideoCapture(sys.argv[1])
ok, first = capture.read()
detector.detect_emotions(first)  # warm, as fer-edge is
capture = cv2.VideoCapture(sys.argv[1])
frames, out = 0, open(sys.argv[2], "w")
started = time.perf_counter()
while True:
    ok, image = capture.read()
    if not ok:
        break
    faces = detector.detect_emotions(image)
    found = [{"box": [int(v) for v in face["box"]], "probabilities": face["emotions"]} for face in faces]
    out.write(json.dumps({"frame": frames, "faces": found}) + chr(10))
    frames += 1
out.close()
print(json.dumps({"frames": frames, "seconds": time.perf_counter() - started}))
"""


COMPARED = ("one, 596x336", "one, 640x480", "three, 596x336", "three, come and go")
"""One face and several, in the two sizes of the comparison."""


def main() -> None:
    """Write the videos, take turns, print a table and the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--fer", type=Path, required=True, help="a Python in whose environment fer 25.10.3 is installed"
    )
    parser.add_argument("--frames", type=int, default=450)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for scene, video in _videos(Path(folder), args.frames):
            results.append(compare(scene, video, args.fer, args.rounds, Path(folder)))
            print(_line(results[-1]), flush=True)
    document = {"machine": machine(), "rounds": args.rounds, "videos": results}
    if args.json:
        args.json.write_text(json.dumps(document, indent=2) + "\n")
    print(json.dumps(document["machine"]))


def _videos(folder: Path, frames: int) -> list[tuple[Scene, Path]]:
    videos = []
    for scene in (scene for scene in SCENES if scene.name in COMPARED):
        path = folder / f"{scene.name.replace(', ', '-')}.avi"
        write(scene, frames, path)
        videos.append((scene, path))
    return videos


def compare(scene: Scene, video: Path, fer_python: Path, rounds: int, folder: Path) -> dict[str, Any]:
    """Run both in turn on one video and hold their boxes against a full-scale scan."""
    ours, theirs, out = [], [], folder / "out.jsonl"
    boxes: dict[str, list[list[Box]]] = {}
    for _ in range(rounds):
        theirs.append(_run([fer_python, "-c", FER, video, out]))
        boxes["fer"] = _boxes(out)
        out.unlink()
        summary = folder / "summary.json"
        command = [sys.executable, "-m", "fer_edge", "run", "--source", video, "--output", f"jsonl:{out}"]
        _run([*command, "--summary", summary], parse=False)
        ours.append(json.loads(summary.read_text()))
        boxes["fer-edge"] = _boxes(out)
        out.unlink()
    rates = {"fer": [r["frames"] / r["seconds"] for r in theirs], "fer-edge": [r["fps"] for r in ours]}
    reference = _true(scene, full_scan(video))
    ratios = [a / b for a, b in zip(rates["fer-edge"], rates["fer"], strict=True)]
    return {
        "video": scene.name,
        "frames": len(reference),
        "fps": {who: [round(r, 1) for r in values] for who, values in rates.items()},
        "median_fps": {who: round(statistics.median(values), 1) for who, values in rates.items()},
        "median_ratio": round(statistics.median(ratios), 2),
        "worst_ratio": round(min(ratios), 2),
        "frames_with_face": {who: sum(map(bool, found)) for who, found in boxes.items()},
        "full_scan_frames_with_face": sum(map(bool, reference)),
        "iou_half_frames": _agreeing(reference, boxes["fer-edge"]),
        "iou_half_faces": _agreeing_faces(reference, boxes["fer-edge"]),
        "schedule": ours[-1].get("detection") or ours[-1].get("schedule"),
    }


def full_scan(video: Path) -> list[list[Box]]:
    """Scan every frame as everybody does."""
    cascade = cv2.CascadeClassifier(
        str(Path(__file__).parents[1] / "edge/fer_edge/data/haarcascade_frontalface_default.xml")
    )
    found = []
    for image in read(video):
        grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        rows = cascade.detectMultiScale(grey, scaleFactor=1.1, minNeighbors=5, minSize=(30, 30))
        found.append([(int(x), int(y), int(w), int(h)) for x, y, w, h in rows])
    return found


def _true(scene: Scene, reference: list[list[Box]]) -> list[list[Box]]:
    """Keep what a full-scale scan found rightly: it takes a part of the background for a face in many frames."""
    faces = [[box for box in truth(scene, index) if box] for index in range(len(reference))]
    return [[r for r in rs if any(iou(r, t) >= 0.3 for t in ts)] for rs, ts in zip(reference, faces, strict=True)]


def _agreeing(reference: list[list[Box]], ours: list[list[Box]]) -> float:
    """Share of the frames with a reference face in which the largest one is met with IoU >= 0.5."""
    asked = [(max(r, key=lambda b: b[2]), o) for r, o in zip(reference, ours, strict=True) if r]
    return round(sum(any(iou(r, box) >= 0.5 for box in o) for r, o in asked) / max(1, len(asked)), 4)


def _agreeing_faces(reference: list[list[Box]], ours: list[list[Box]]) -> float:
    """Share of all reference faces that are met with IoU >= 0.5."""
    asked = [any(iou(r, box) >= 0.5 for box in o) for rs, o in zip(reference, ours, strict=True) for r in rs]
    return round(sum(asked) / max(1, len(asked)), 4)


def iou(one: Box, other: Box) -> float:
    """Intersection over union of two boxes."""
    width = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    height = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    common = max(0, width) * max(0, height)
    return common / (one[2] * one[3] + other[2] * other[3] - common)


def _run(command: list[Any], parse: bool = True) -> dict[str, Any]:
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if result.returncode:
        sys.exit(f"{command[0]} failed:\n{result.stderr[-2000:]}")
    parsed: dict[str, Any] = json.loads(result.stdout.splitlines()[-1]) if parse else {}
    return parsed


def _boxes(path: Path) -> list[list[Box]]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [[tuple(face["box"]) for face in line["faces"]] for line in lines]


def _line(result: dict[str, Any]) -> str:
    rates, found = result["median_fps"], result["frames_with_face"]
    return (
        f"{result['video']:20} fer {rates['fer']:6.1f}  fer-edge {rates['fer-edge']:7.1f} frames/s  "
        f"ratio {result['median_ratio']:5.1f} (worst {result['worst_ratio']})  with a face: fer {found['fer']}, "
        f"fer-edge {found['fer-edge']} of {result['frames']}  IoU >= 0.5: {result['iou_half_frames']:.1%} of frames, "
        f"{result['iou_half_faces']:.1%} of faces"
    )


if __name__ == "__main__":
    main()
