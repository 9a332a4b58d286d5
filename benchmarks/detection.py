"""The detection schedule against a full-scale Haar scan of every frame, and what each of its steps buys.

    python benchmarks/detection.py [--frames 240] [--scan-every 1] [--only SCENE ...] [--tables NAME ...] [--json FILE]

Videos are written and read back as Motion JPEG (see scenes.py). Times are processor time of one thread, and the two
take turns frame by frame, so that a busy machine slows both alike. The scan takes nearly all the time: with
``--scan-every 4`` it looks at every fourth frame only, and what is said in comparison with it holds for these. Tables:

scenes      cost, ratio, frames with a face where the full-scale scan has one, boxes with IoU >= 0.5 to its boxes on the
            same face, faces found of those visible and false faces a frame (schedule / scan), id switches
steps       the schedule built up step by step, and with single steps taken away
crowd       1, 2, 5 and 20 faces, without a budget and with the default one
boards      the same on boards that are 1, 4 and 8 times as slow: their milliseconds, working width, cadence
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from machine import machine
from numpy.typing import NDArray
from scenes import FPS, SCENES, Box, Scene, crowd_scene, read, truth, write

from fer_edge.vision.base import TrackedBox
from fer_edge.vision.boxes import iou
from fer_edge.vision.haar import HaarDetector
from fer_edge.vision.schedule import DetectionSchedule, ScheduleReport, ScheduleSettings

DEFAULT = ScheduleSettings()
NO_BUDGET = replace(DEFAULT, budget_ms=math.inf)
STEPS: Mapping[str, ScheduleSettings] = {
    "reduce, and confirm": replace(NO_BUDGET, follow=False, changes_only=False, full_scan_every=1, still_frames=0),
    "+ follow, scan on a cadence": replace(NO_BUDGET, changes_only=False, still_frames=0, matched_frames=0),
    "+ scan what changed": replace(NO_BUDGET, still_frames=0, matched_frames=0),
    "+ keep still faces": replace(NO_BUDGET, matched_frames=0),
    "+ follow by picture": NO_BUDGET,
    "+ budget = the default": DEFAULT,
    "default, not reduced": replace(DEFAULT, working_width=4096),
    "default, not following": replace(DEFAULT, follow=False),
    "default, no cadence": replace(DEFAULT, full_scan_every=1),
    "default, no look at change": replace(DEFAULT, changes_only=False),
    "default, still faces searched": replace(DEFAULT, still_frames=0),
    "default, no pictures": replace(DEFAULT, matched_frames=0),
}
TABLES = ("steps", "crowd", "boards")
STEP_SCENES = ("one, 640x480", "one, still", "three, 596x336")
CROWDS = (1, 2, 5, 20)
BOARDS = (1.0, 4.0, 8.0)
SAME = 0.3
"""IoU from which a box is taken to be on a face."""


@dataclass(frozen=True)
class Clip:
    """A video and what a full-scale scan finds in it."""

    scene: Scene
    frames: list[NDArray[np.uint8]]
    scanned: list[list[Box] | None]
    """None for a frame that was not scanned."""
    scan_ms: float
    """Mean processor time of a full-scale scan."""


@dataclass(frozen=True)
class Run:
    """What a schedule did with a clip."""

    faces: list[list[TrackedBox]]
    ms: NDArray[np.float64]
    """Processor time of each frame."""
    report: ScheduleReport


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=240)
    parser.add_argument("--scan-every", type=int, default=1, metavar="N", help="full-scale scan of every Nth frame")
    parser.add_argument("--only", nargs="*", help="names of scenes; default: all")
    parser.add_argument(
        "--tables", nargs="*", choices=TABLES, default=TABLES, help="printed after the scenes; default: all, bare: none"
    )
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    wanted = [scene for scene in SCENES if not args.only or scene.name in args.only]
    document: dict[str, Any] = {"machine": machine(), "frames": args.frames, "scenes": []}
    clips: dict[str, Clip] = {}
    with tempfile.TemporaryDirectory() as folder:
        print(f"{'scene':22} {'scan ms':>8} {'ms':>6} {'p50':>6} {'p99':>6} {'ratio':>6}  {ACCURACY}")
        for scene in wanted:
            clip, run = together(scene, args.frames, args.scan_every, Path(folder))
            clips[scene.name] = clip
            row = cost(clip, run) | accuracy(clip, run)
            document["scenes"].append({"scene": scene.name} | row | asdict(run.report))
            print(f"{scene.name:22} {clip.scan_ms:8.1f} {show(row)}", flush=True)
        detailed = [clips[name] for name in STEP_SCENES if name in clips]
        if "steps" in args.tables:
            document["steps"] = [row for clip in detailed for row in steps(clip)]
        if "crowd" in args.tables:
            document["crowd"] = crowd(max(60, args.frames // 4), args.scan_every, Path(folder))
        if "boards" in args.tables:
            document["boards"] = [row for clip in detailed for row in boards(clip)]
    if args.json:
        args.json.write_text(json.dumps(document, indent=2) + "\n")


def together(scene: Scene, count: int, scan_every: int, folder: Path) -> tuple[Clip, Run]:
    """Write a scene; let a full-scale scan and the schedule take turns on its frames."""
    path = folder / "scene.avi"
    write(scene, count, path)
    frames = [np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY), np.uint8) for frame in read(path)]
    scan, seconds = full_scan(), 0.0
    scanned: list[list[Box] | None] = []
    schedule = DetectionSchedule(HaarDetector(), DEFAULT, clock=time.process_time)
    faces, ms = [], []
    for index, frame in enumerate(frames):
        started = time.process_time()
        scanned.append(None if index % scan_every else scan(frame))
        between = time.process_time()
        faces.append(schedule.faces(frame, index / FPS))
        ms.append((time.process_time() - between) * 1e3)
        seconds += between - started
    clip = Clip(scene, frames, scanned, seconds / len(range(0, len(frames), scan_every)) * 1e3)
    return clip, Run(faces, np.array(ms), schedule.report())


def full_scan() -> Callable[[NDArray[np.uint8]], list[Box]]:
    """Return the scan that everybody does: scale 1.1, five neighbours, faces from 30 pixels."""
    detector = HaarDetector()

    def scan(frame: NDArray[np.uint8]) -> list[Box]:
        found = detector.detect(frame, min_size=30, max_size=None, scale_factor=1.1)
        return [detection.box for detection in found if detection.score >= 1.0]

    return scan


def play(clip: Clip, settings: ScheduleSettings, slowness: float = 1.0) -> Run:
    """Let a schedule see a clip on a board that is ``slowness`` times as slow as this machine."""

    def clock() -> float:
        return time.process_time() * slowness

    schedule = DetectionSchedule(HaarDetector(), settings, clock=clock)
    faces, ms = [], []
    for index, frame in enumerate(clip.frames):
        started = clock()
        faces.append(schedule.faces(frame, index / FPS))
        ms.append((clock() - started) * 1e3)
    return Run(faces, np.array(ms), schedule.report())


def steps(clip: Clip) -> list[dict[str, Any]]:
    """Print what each step of the schedule buys on a clip."""
    print(f"\nsteps: {clip.scene.name:27} {'ms':>6} {'p50':>6} {'p99':>6} {'ratio':>6}  {ACCURACY}")
    print(f"{'full-scale scan':34} {clip.scan_ms:6.1f}")
    rows = []
    for name, settings in STEPS.items():
        run = play(clip, settings)
        row = cost(clip, run) | accuracy(clip, run)
        print(f"{name:34} {show(row)}", flush=True)
        rows.append({"scene": clip.scene.name, "step": name} | row | asdict(run.report))
    return rows


def crowd(count: int, scan_every: int, folder: Path) -> list[dict[str, Any]]:
    """Print what more faces cost."""
    print(
        f"\n{'crowd':8} {'scan ms':>8} {'no budget: ms':>14} {'p50':>6} {'a face':>7} {'12 ms: p50':>11} {'found':>6}"
    )
    rows, first = [], 0.0
    for people in CROWDS:
        clip, run = together(crowd_scene(people), count, scan_every, folder)
        free = cost(clip, play(clip, NO_BUDGET))
        first = first or free["p50"]
        each = (free["p50"] - first) / (people - 1) if people > 1 else math.nan
        kept = cost(clip, run)
        found = accuracy(clip, run)["found"]
        rows.append({"faces": people, "scan_ms": clip.scan_ms, "no_budget": free, "budget": kept, "found": found})
        free_ms = f"{free['ms']:14.2f} {free['p50']:6.2f}"
        print(f"{people:<8} {clip.scan_ms:8.1f} {free_ms} {each:7.2f} {kept['p50']:11.2f} {found:6.3f}", flush=True)
    return rows


def boards(clip: Clip) -> list[dict[str, Any]]:
    """Print how the budget is kept on slower boards."""
    columns = f"{'scan ms':>8} {'ms':>6} {'p50':>6} {'p99':>6} {'width':>6} {'every':>6} {'found':>6}"
    print(f"\nboards: {clip.scene.name:20} {columns}")
    rows = []
    for slowness in BOARDS:
        run = play(clip, DEFAULT, slowness)
        row = cost(clip, run, slowness) | accuracy(clip, run)
        report = run.report
        print(
            f"{f'{slowness:.0f} times as slow':28} {clip.scan_ms * slowness:8.1f} {row['ms']:6.2f} {row['p50']:6.2f} "
            f"{row['p99']:6.2f} {report.working_width:6} {report.full_scan_every:6} {row['found']:6.3f}",
            flush=True,
        )
        rows.append({"scene": clip.scene.name, "slowness": slowness} | row | asdict(report))
    return rows


def cost(clip: Clip, run: Run, slowness: float = 1.0) -> dict[str, float]:
    """Return the cost of a run; the first frame, which is a full scan, counts in the mean and the ratio only."""
    return {
        "scan_ms": clip.scan_ms * slowness,
        "ms": float(run.ms.mean()),
        "p50": float(np.median(run.ms)),
        "p99": float(np.percentile(run.ms[1:], 99)),
        "ratio": clip.scan_ms * slowness / float(run.ms.mean()),
    }


ACCURACY = f"{'frames':>6} {'boxes':>6} {'found':>13} {'false':>11} {'switches':>9}"


def show(row: Mapping[str, float]) -> str:
    """Return a line of a table."""
    return (
        f"{row['ms']:6.2f} {row['p50']:6.2f} {row['p99']:6.2f} {row['ratio']:6.0f}  {row['frames_found']:6.3f} "
        f"{row['boxes_agree']:6.3f} {row['found']:6.3f}/{row['scan_found']:.3f} "
        f"{row['false']:5.2f}/{row['scan_false']:5.2f} {row['switches_a_minute']:5.1f}/min"
    )


def accuracy(clip: Clip, run: Run) -> dict[str, float]:
    """Hold a run against the truth and against the full-scale scan."""
    with_face = found_there = agree = compared = wrong = scan_wrong = switches = 0
    visible = scannable = found = scan_found = 0
    last: dict[int, int] = {}
    for index, (scanned, faces) in enumerate(zip(clip.scanned, run.faces, strict=True)):
        people = truth(clip.scene, index)
        boxes = [face.box for face in faces]
        everybody = [person for person in people if person]
        right = [box for box in scanned or () if any(iou(box, person) >= SAME for person in everybody)]
        with_face += bool(right)
        found_there += bool(right) and bool(boxes)
        wrong += sum(all(iou(box, person) < 0.2 for person in everybody) for box in boxes)
        scan_wrong += sum(all(iou(box, person) < 0.2 for person in everybody) for box in scanned or ())
        ours = matched(people, boxes, {p: n for p, i in last.items() for n, face in enumerate(faces) if face.id == i})
        theirs = matched(people, scanned or (), {})
        for person, there in enumerate(unhidden(people)):
            if not there:
                continue
            visible += 1
            found += person in ours
            scannable += scanned is not None
            scan_found += person in theirs
            if scanned is not None and person in theirs:
                compared += 1
                agree += any(iou(scanned[theirs[person]], box) >= 0.5 for box in boxes)
            if person in ours:
                number = faces[ours[person]].id
                switches += last.get(person, number) != number
                last[person] = number
    count = len(run.faces)
    return {
        "frames_found": found_there / max(1, with_face),
        "boxes_agree": agree / max(1, compared),
        "found": found / max(1, visible),
        "scan_found": scan_found / max(1, scannable),
        "false": wrong / count,
        "scan_false": scan_wrong / sum(scanned is not None for scanned in clip.scanned),
        "switches": switches,
        "switches_a_minute": switches / (count / FPS / 60),
    }


def matched(people: Sequence[Box | None], boxes: Sequence[Box], before: Mapping[int, int]) -> dict[int, int]:
    """Return which person has which box, best overlap first; with two close ones, the box that the person had stays."""
    pairs = [
        (iou(person, box) + (0.3 if before.get(p) == b else 0.0), p, b)
        for p, person in enumerate(people)
        for b, box in enumerate(boxes)
        if person and iou(person, box) >= SAME
    ]
    match: dict[int, int] = {}
    for _, p, b in sorted(pairs, reverse=True):
        if p not in match and b not in match.values():
            match[p] = b
    return match


def unhidden(people: Sequence[Box | None]) -> list[bool]:
    """Return who is there and not covered to more than a quarter by the head and shoulders of somebody in front."""
    shown = []
    for index, person in enumerate(people):
        covered = 0.0
        for other in people[index + 1 :]:
            if person and other:
                x, y, w, h = other
                head = x - w // 3, y - h // 2, w + 2 * (w // 3), 2 * h
                width = min(person[0] + person[2], head[0] + head[2]) - max(person[0], head[0])
                height = min(person[1] + person[3], head[1] + head[3]) - max(person[1], head[1])
                covered = max(covered, max(0, width) * max(0, height) / (person[2] * person[3]))
        shown.append(person is not None and covered < 0.25)
    return shown


if __name__ == "__main__":
    main()
