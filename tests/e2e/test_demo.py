from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from fer_edge.sources.base import SourceSettings
from fer_edge.sources.image import read_image
from fer_edge.sources.scene import FRAMES, DemoScene, draw
from fer_edge.sources.video import VideoFileSource
from tests.e2e.command import document, fer_edge

DATA = Path(__file__).parents[2] / "edge" / "fer_edge" / "data"


def test_the_demo_finds_the_face_and_writes_what_it_says(tmp_path: Path) -> None:
    summary = document(fer_edge("demo", "--json", "--out", tmp_path / "out", cwd=tmp_path))
    assert summary["frames"] == FRAMES
    assert summary["frames_with_face"] >= 0.95 * FRAMES
    assert summary["faces"] >= summary["frames_with_face"]
    assert max(summary["expressions"], key=summary["expressions"].get) == "happy"  # she smiles
    picture, video = summary["files"]
    assert read_image(Path(picture)).shape == (480, 640, 3)
    source = VideoFileSource(Path(video), SourceSettings())
    source.open()
    frames = 0
    while source.read() is not None:
        frames += 1
    source.close()
    assert abs(frames - FRAMES) <= 1
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["annotated.mp4", "annotated.png"]


def test_the_demo_tells_people(tmp_path: Path) -> None:
    result = fer_edge("demo", cwd=tmp_path, COLUMNS="120")
    assert result.returncode == 0, result.stderr
    for word in ("faces classified", "happy", "frames/s", "p50", "fer-edge-demo/annotated.png"):
        assert word in result.stdout
    assert (tmp_path / "fer-edge-demo" / "annotated.png").stat().st_size > 100_000


def test_the_scene_is_the_same_every_time_and_loops_without_a_jump() -> None:
    portrait = read_image(DATA / "astronaut.jpg")
    assert np.array_equal(draw(portrait, 10), draw(portrait, 10 + FRAMES))
    step = np.abs(draw(portrait, 1).astype(int) - draw(portrait, 0)).mean()
    assert np.abs(draw(portrait, FRAMES).astype(int) - draw(portrait, FRAMES - 1)).mean() < 2 * step


def test_the_scene_loops_as_a_source() -> None:
    source = DemoScene(SourceSettings(loop=True))
    source.open()
    frames = [source.read() for _ in range(FRAMES + 2)]
    source.close()
    assert source.read() is None
    assert [frame.index for frame in frames if frame is not None] == list(range(FRAMES + 2))


def test_one_json_document_and_nothing_else_on_stdout(tmp_path: Path) -> None:
    result = fer_edge("demo", "--json", "--out", tmp_path)
    assert isinstance(json.loads(result.stdout), dict)
