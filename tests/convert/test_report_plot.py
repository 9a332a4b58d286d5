"""The Pareto front and its plot: who dominates whom, labels that keep clear of one another, ticks, SVG and PNG."""

from __future__ import annotations

import hashlib
import random
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_convert.report.axes import linear_ticks, log_ticks
from fer_convert.report.drawing import Drawing, Words, text_width
from fer_convert.report.evidence import Accuracy, Latency, Machine, Measurement, Model, Source
from fer_convert.report.placement import Box, Point, Wording, place_labels
from fer_convert.report.plot import NARROW, WIDE, pareto_plot
from fer_convert.report.standing import MachineTable, tabulate
from fer_convert.report.svg import svg

HERE = Source("r.json", "fer-edge benchmark", True)
PC = Machine(None, "CPU", "x86_64", 4, 8000, "Debian 13", "6.12", "3.13", "2.2", "LiteRT 2.3", False)
SVG = "{http://www.w3.org/2000/svg}"


def model(
    name: str, p50: float, accuracy: float, *, recipe: str = "int8", size: int = 10**6, machine: Machine = PC
) -> Model:
    latency = Latency(1, 100, p50, p50 * 0.98, p50 * 1.02, p50 * 1.1, p50 * 1.2, p50 * 1.3, p50 * 2, True, 9, 2, 80)
    return Model(
        sha256=hashlib.sha256(f"{name} {recipe}".encode()).hexdigest(),
        name=name,
        recipe=recipe,
        bytes=size,
        accuracies=(Accuracy("PrivateTest", 3589, accuracy, HERE, recall={"happy": accuracy}),),
        measurements=(Measurement(machine, "2026-11-21T12:00:00+00:00", True, (), (latency,), HERE),),
    )


def table_of(models: list[Model]) -> MachineTable:
    (table,) = tabulate(models)
    return table


def plot_of(models: list[Model], width: float = WIDE) -> Drawing:
    drawing = pareto_plot(tabulate(models), width)
    assert drawing is not None
    return drawing


def crowd(count: int, seed: int = 0) -> list[Model]:
    rng = random.Random(seed)
    recipes = ("int8", "float32", "float16", "dynamic_wi8")
    return [
        model(
            f"network_{n}",
            rng.lognormvariate(1.0, 1.2),
            min(0.75, max(0.4, rng.gauss(0.66, 0.04))),
            recipe=recipes[n % 4],
            size=int(rng.lognormvariate(14, 1.5)),
        )
        for n in range(count)
    ]


def test_the_front_and_what_it_dominates() -> None:
    table = table_of(
        [
            model("slow", 9.0, 0.70),
            model("fast", 1.0, 0.60),
            model("worse", 9.5, 0.69),
            model("middle", 3.0, 0.66),
            model("between", 3.0, 0.61),
        ]
    )
    rows = {row.model.name: row for row in table.rows}
    assert [row.model.name for row in table.rows] == ["fast", "middle", "between", "slow", "worse"]
    assert [row.model.name for row in table.front] == ["fast", "middle", "slow"]
    assert rows["worse"].dominated_by == ("slow int8",)
    assert rows["between"].dominated_by == ("middle int8",)


def test_equals_do_not_dominate_each_other() -> None:
    assert len(table_of([model("one", 2.0, 0.6), model("two", 2.0, 0.6)]).front) == 2


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(1, 9), st.integers(40, 75)), min_size=1, max_size=12))
def test_the_front_is_what_nothing_beats(pairs: list[tuple[int, int]]) -> None:
    table = table_of([model(f"m{n}", float(ms), share / 100) for n, (ms, share) in enumerate(pairs)])

    def beaten(ms: int, share: int) -> bool:
        return any(m <= ms and s >= share and (m, s) != (ms, share) for m, s in pairs)

    expected = {f"m{n}" for n, pair in enumerate(pairs) if not beaten(*pair)}
    assert {row.model.name for row in table.front} == expected
    front = {row.name for row in table.front}
    for row in table.rows:
        assert bool(row.dominated_by) == (row.standing == "dominated")
        assert set(row.dominated_by) <= front


@pytest.mark.parametrize("count", [1, 2, 10, 56])
@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_words_of_the_plot_do_not_overlap(count: int, width: float) -> None:
    drawing = plot_of(crowd(count), width)
    boxes = []
    for words in (shape for shape in drawing.shapes if isinstance(shape, Words)):
        wide, high = text_width(words.text, words.size, words.bold), words.size
        if words.upward:
            boxes.append(Box(words.x - high, words.y - wide / 2, words.x, words.y + wide / 2))
            continue
        left = words.x - {"start": 0.0, "middle": wide / 2, "end": wide}[words.anchor]
        boxes.append(Box(left, words.y - 0.75 * high, left + wide, words.y + 0.2 * high))
    paper = Box(0, 0, drawing.width, drawing.height)
    assert all(box.within(paper) for box in boxes)
    assert not [pair for pair in combinations(boxes, 2) if pair[0].overlap(pair[1]) > 0]


@pytest.mark.parametrize("count", [4, 12])
def test_few_models_are_all_called_by_name(count: int) -> None:
    models = crowd(count, seed=3)
    told = {shape.text for shape in plot_of(models).shapes if isinstance(shape, Words)}
    assert {one.title for one in models} <= told


def test_of_many_models_those_on_the_front_are_called_by_name() -> None:
    models = crowd(56)
    told = {shape.text for shape in plot_of(models).shapes if isinstance(shape, Words)}
    assert {row.name for row in table_of(models).front} <= told
    assert any(text.startswith("#") for text in told)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.tuples(st.floats(0, 400), st.floats(0, 300), st.floats(2, 25), st.text("abcW_8", min_size=1, max_size=20)),
        max_size=15,
    )
)
def test_labels_never_lie_on_one_another_or_outside(given_points: list[tuple[float, float, float, str]]) -> None:
    points = [Point(x, y, radius, (Wording(text), Wording("#1")), 12) for x, y, radius, text in given_points]
    frame = Box(-20, -20, 420, 320)
    labels = [label for label in place_labels(points, [], frame) if label is not None]
    assert all(label.box.within(frame) for label in labels)
    assert not [pair for pair in combinations(labels, 2) if pair[0].box.overlap(pair[1].box) > 0]


@settings(deadline=None)
@given(st.floats(1e-3, 1e4), st.floats(1.1, 1e6), st.integers(4, 10))
def test_ticks_of_a_logarithmic_axis(low: float, ratio: float, most: int) -> None:
    high = low * ratio
    ticks = log_ticks(low, high, most)
    assert 2 <= len(ticks) <= most
    assert ticks == sorted(set(ticks))
    assert low * (1 - 1e-6) <= ticks[0]
    assert ticks[-1] <= high * (1 + 1e-6)


@settings(deadline=None)
@given(st.floats(0, 100), st.floats(0.5, 100), st.integers(4, 10))
def test_ticks_of_a_linear_axis(low: float, span: float, most: int) -> None:
    ticks = linear_ticks(low, low + span, most)
    assert 2 <= len(ticks) <= most
    assert low - 1e-6 <= ticks[0]
    assert ticks[-1] <= low + span + 1e-6


def test_the_svg_stands_alone_in_light_and_dark() -> None:
    hostile = model("<b>&\"'", 2.0, 0.6)
    text = svg(plot_of([hostile, model("two", 3.0, 0.7, recipe="float32")]))
    root = ET.fromstring(text)
    style = root.findtext(f"{SVG}style") or ""
    assert "prefers-color-scheme:dark" in style
    classes = {name for element in root.iter() for name in element.get("class", "").split() if name[1] == "-"}
    assert classes
    assert all(f".{name}{{" in style for name in classes)
    titles = [element.text or "" for element in root.iter(f"{SVG}title")]
    assert any(
        title.startswith("<b>&\"' int8: 60.00 % (58.4 to 61.6), 2.00 ms (1.96 to 2.04), 1.00 MB") for title in titles
    )
    # A web server's or a forge's policy for pictures forbids scripts and anything from elsewhere.
    assert not {element.tag for element in root.iter()} & {f"{SVG}script", f"{SVG}image", f"{SVG}foreignObject"}
    assert "href" not in text


def test_bubbles_have_the_area_of_the_file() -> None:
    root = ET.fromstring(svg(plot_of([model("big", 2.0, 0.6, size=4_000_000), model("small", 1.0, 0.5)])))
    radius = {
        (circle.findtext(f"{SVG}title") or "").split(" ")[0]: float(circle.get("r", 0))
        for circle in root.iter(f"{SVG}circle")
        if circle.find(f"{SVG}title") is not None
    }
    assert radius["big"] == pytest.approx(2 * radius["small"], rel=0.02)


def test_each_machine_has_its_panel_and_an_emulated_one_none() -> None:
    pi = Machine("Raspberry Pi 5", "Cortex-A76", "aarch64", 4, 8000, "Debian 13", "6", "3", "2", "LiteRT", False)
    qemu = Machine(None, "CPU", "aarch64", 4, 8000, "Debian 13", "6", "3", "2", "LiteRT", True)
    drawing = plot_of([model("a", 1.0, 0.6), model("b", 9.0, 0.6, machine=pi), model("c", 99.0, 0.6, machine=qemu)])
    told = [shape.text for shape in drawing.shapes if isinstance(shape, Words)]
    assert "CPU, x86_64, 4 cores" in told
    assert "Raspberry Pi 5, Cortex-A76, aarch64, 4 cores" in told
    assert not any("EMULATED" in text or text.startswith("c ") for text in told)


def test_without_a_front_there_is_no_plot(capsys: pytest.CaptureFixture[str]) -> None:
    qemu = Machine(None, "CPU", "aarch64", 4, 8000, "Debian 13", "6", "3", "2", "LiteRT", True)
    assert pareto_plot(tabulate([model("c", 99.0, 0.6, machine=qemu)])) is None
    assert capsys.readouterr().err == ""


def test_the_png_shows_the_bubbles_in_their_colours(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    import cv2
    import numpy as np

    from fer_convert.report.png import write_png

    drawing = plot_of([model("big $x$", 2.0, 0.6, size=9_000_000), model("other", 8.0, 0.7, recipe="float32")])
    write_png(drawing, tmp_path / "plot.png")
    image = cv2.imread(str(tmp_path / "plot.png"))
    assert image is not None
    assert image.shape[1] == 2 * WIDE
    for red, green, blue in ((0xD5, 0x5E, 0x00), (0x00, 0x72, 0xB2)):  # on white, 90 % opaque
        wanted = np.array([0.9 * part + 25.5 for part in (blue, green, red)])
        assert (np.abs(image - wanted).max(axis=2) < 4).sum() > 100
    write_png(drawing, tmp_path / "again.png")
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "plot.png").read_bytes()
