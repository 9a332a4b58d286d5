from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_edge.cli import main
from fer_edge.errors import OutputError
from fer_train.contact_sheet import contact_sheet
from fer_train.page import section, table, write_page
from fer_train.plots import ticks
from tests.train.synthetic_fer2013 import SyntheticFer2013
from tests.train.test_fer2013_ferplus import HEADER, rows_of

pytestmark = pytest.mark.filterwarnings("ignore::fer_train.fer2013.Fer2013Warning")


@pytest.fixture
def faulty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SyntheticFer2013:
    """Rows 0 to 69 are Training, 70 to 97 PublicTest."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    data = SyntheticFer2013.generate(per_class=(10, 4, 4))
    pixels = np.random.default_rng(2).integers(0, 256, data.pixels.shape, np.uint8)
    labels = data.labels.copy()
    pixels[5] = 0
    pixels[12] = pixels[11]
    labels[11], labels[12] = 0, 1
    pixels[80] = pixels[20]
    labels[80] = labels[20]
    return dataclasses.replace(data, pixels=pixels, labels=labels)


def test_the_report_names_rows_and_shows_them(
    faulty: SyntheticFer2013, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, votes, out = faulty.write_npz(tmp_path / "fer2013.npz"), tmp_path / "fer2013new.csv", tmp_path / "quality"
    rows = rows_of(faulty.as_data())
    rows[30] = "Training,fer.png,0,0,0,0,0,0,0,0,0,10\n"
    votes.write_text(HEADER + "".join(rows))
    assert main(["data", "report", "--data", str(data), "--ferplus", str(votes), "--out", str(out), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document == json.loads((out / "report.json").read_text())
    assert document["rows"]["constant"] == [5]
    assert document["rows"]["identical"] == [[11, 12], [20, 80]]
    assert document["rows"]["conflicts"] == [[11, 12]]
    assert document["rows"]["not_faces"] == [30]
    assert document["test_images_also_in_training"] == {"PublicTest": 1, "PrivateTest": 0}
    assert document["drops_from_training"] == {
        "constant": 1,
        "duplicates": 1,
        "conflicts": 2,
        "leaks": 1,
        "not_faces": 1,
        "all": 5,
    }
    assert document["images"] == {"Training": 70, "PublicTest": 28, "PrivateTest": 28}
    page = (out / "report.html").read_text()
    assert "row 80, " in page
    assert page.count("<img") == 2 + 2 + 4 + 1 + 1  # leaks, conflicts, duplicates, blank, no face
    assert not re.findall(r"https?://|<script|<link", page)
    for name in ("leaks", "conflicts", "identical", "constant", "not_faces"):
        assert cv2.imread(str(out / f"{name}.png")) is not None
    assert not (out / "near.png").exists()


def test_without_votes_nothing_is_said_of_faces(
    faulty: SyntheticFer2013, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = faulty.write_npz(tmp_path / "fer2013.npz"), tmp_path / "quality"
    assert main(["data", "report", "--data", str(data), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "2 groups of equal images (4 images), 1 of them with different labels" in said
    assert "not known without --ferplus" in said
    document = json.loads((out / "report.json").read_text())
    assert "not_faces" not in document["counts"]
    assert "not_faces" not in document["drops_from_training"]


def test_a_contact_sheet_holds_every_crop() -> None:
    crops = [np.full((48, 48), 10 * i, np.uint8) for i in range(1, 9)]
    sheet = contact_sheet([[(crops[0], "a"), (crops[1], "b")], *[[(crop, "c")] for crop in crops[2:]]], width=3)
    for i in range(1, 9):
        assert (sheet == 10 * i).sum() >= 90 * 90
    assert contact_sheet([]).size > 0


def test_text_cannot_become_markup(tmp_path: Path) -> None:
    nasty = "<script>alert(1)</script>"
    path = write_page(tmp_path / "p.html", nasty, nasty, [section(nasty, table([nasty], [[nasty]], nasty), note=nasty)])
    assert "<script" not in path.read_text()
    assert path.read_text().count("&lt;script&gt;") == 8
    with pytest.raises(OutputError, match="is a folder; name the page"):
        write_page(tmp_path, "", "", [])


@pytest.mark.parametrize(
    ("low", "high", "about", "expected"),
    [(0, 1, 5, [0, 0.2, 0.4, 0.6, 0.8, 1.0]), (1, 24, 5, [5, 10, 15, 20]), (45.1, 66.6, 4, [50, 60]), (3, 3, 4, [3])],
)
def test_ticks_are_round(low: float, high: float, about: int, expected: list[float]) -> None:
    assert ticks(low, high, about) == pytest.approx(expected)
