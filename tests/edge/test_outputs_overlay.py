"""The overlay: legible, inside the picture, and told apart by people who see fewer colours."""

from __future__ import annotations

from importlib.resources import files
from itertools import combinations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fer_edge.contract.labels import LABELS, UNCERTAIN
from fer_edge.contract.preprocess import Box, UInt8Array
from fer_edge.outputs.lettering import draw_text, text_width
from fer_edge.outputs.overlay import EXPRESSION_COLOURS, Colour, draw_overlay, expression_colour
from tests.edge.sample_observations import face, observation

# Machado, Oliveira & Fernandes (2009), severity 1.0, on linear RGB.
COLOUR_VISION = {
    "usual": np.eye(3),
    "protanopia": np.array([[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]]),
    "deuteranopia": np.array([[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]]),
    "tritanopia": np.array([[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]]),
}


@pytest.fixture(scope="module")
def astronaut() -> UInt8Array:
    data = np.frombuffer((files("fer_edge") / "data" / "astronaut.jpg").read_bytes(), np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert image is not None
    return image.astype(np.uint8)


def blank(width: int, height: int) -> UInt8Array:
    return np.full((height, width, 3), 127, np.uint8)


def linear(colour: Colour) -> NDArray[np.float64]:
    """(red, green, blue) of linear light, 0 to 1."""
    value = np.array(colour[::-1]) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def lab(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    encoded = np.clip(rgb, 0, 1)
    encoded = np.where(encoded <= 0.0031308, 12.92 * encoded, 1.055 * encoded ** (1 / 2.4) - 0.055)
    pixel = encoded.astype(np.float32).reshape(1, 1, 3)
    return np.asarray(cv2.cvtColor(pixel, cv2.COLOR_RGB2LAB), np.float64).reshape(3)


@pytest.mark.parametrize("vision", COLOUR_VISION)
def test_expressions_can_be_told_apart_by_colour(vision: str) -> None:
    seen = {label: lab(COLOUR_VISION[vision] @ linear(expression_colour(label))) for label in (*LABELS, UNCERTAIN)}
    differences = {(a, b): float(np.linalg.norm(seen[a] - seen[b])) for a, b in combinations(seen, 2)}
    # 2.3 is what can just be noticed (Mahy et al. 1994); labels beside the colour carry the rest.
    assert min(differences.values()) > 4 * 2.3, min(differences, key=lambda pair: differences[pair])


@pytest.mark.parametrize("label", [*LABELS, UNCERTAIN, "calm"])
def test_text_on_every_tag_has_the_contrast_that_wcag_asks_for(label: str) -> None:
    image = draw_overlay(blank(640, 480), observation(0, face(1, label, 0.9, (200, 150, 200, 200))))
    tag = image[118:143, 206:230].reshape(-1, 3)
    ground = expression_colour(label)
    assert (tag == ground).all(axis=1).sum() > 50
    luminances = [float(linear((int(b), int(g), int(r))) @ (0.2126, 0.7152, 0.0722)) for b, g, r in tag]
    own = float(linear(ground) @ (0.2126, 0.7152, 0.0722))
    contrast = max((max(own, other) + 0.05) / (min(own, other) + 0.05) for other in luminances)
    assert contrast >= 4.5


def test_every_expression_has_a_colour_of_its_own_and_an_unknown_label_a_lasting_one() -> None:
    assert set(EXPRESSION_COLOURS) == {*LABELS, UNCERTAIN}
    assert len(set(EXPRESSION_COLOURS.values())) == 8
    assert expression_colour("calm") == expression_colour("calm")
    assert expression_colour("calm") in {expression_colour(label) for label in LABELS}
    assert expression_colour("happy") == (0x42, 0xE4, 0xF0)


def test_the_picture_itself_is_left_alone(astronaut: UInt8Array) -> None:
    before = astronaut.copy()
    drawn = draw_overlay(astronaut, observation(0, face(1, "happy", 0.9, (168, 60, 115, 115))))
    np.testing.assert_array_equal(astronaut, before)
    assert drawn.shape == astronaut.shape
    assert drawn.dtype == np.uint8
    assert not np.shares_memory(drawn, astronaut)
    np.testing.assert_array_equal(draw_overlay(astronaut, observation(0)), astronaut)
    # Far from the face nothing is drawn.
    np.testing.assert_array_equal(drawn[250:], astronaut[250:])
    # The face itself stays free, below the box's upper edge.
    np.testing.assert_array_equal(drawn[80:160, 185:265], astronaut[80:160, 185:265])


def test_a_grey_picture_and_one_that_is_a_view_are_drawn_upon_too(astronaut: UInt8Array) -> None:
    seen = observation(0, face(1, "happy", 0.9, (168, 60, 115, 115)))
    grey = astronaut[:, :, 1]
    drawn = draw_overlay(grey, seen)
    assert drawn.shape == (512, 512, 3)
    np.testing.assert_array_equal(drawn[300:], np.repeat(grey[300:, :, None], 3, axis=2))
    flipped = astronaut[:, ::-1]
    assert draw_overlay(flipped, seen).flags.c_contiguous
    np.testing.assert_array_equal(draw_overlay(flipped, seen), draw_overlay(flipped.copy(), seen))


def test_the_tag_grows_with_the_picture() -> None:
    shares = []
    for width in (320, 640, 1280, 3840):
        height = width * 9 // 16
        box = (width // 4, height // 3, width // 4, width // 4)
        drawn = draw_overlay(blank(width, height), observation(0, face(1, "neutral", 0.8, box)))
        shares.append(float((drawn == expression_colour("neutral")).all(axis=2).mean()))
    assert max(shares) < 3 * min(shares), shares


def test_bars_appear_beside_a_large_face_only_and_show_the_probabilities() -> None:
    def amount(box: Box, score: float) -> int:
        """Pixels in the colour of ``happy`` to the right of the box, below its tag."""
        drawn = draw_overlay(blank(640, 480), observation(0, face(1, "happy", score, box)))
        return int((drawn[box[1] :, box[0] + box[2] + 8 :] == expression_colour("happy")).all(axis=2).sum())

    assert amount((100, 100, 60, 60), 0.9) < 20
    little, much = amount((100, 100, 200, 200), 0.45), amount((100, 100, 200, 200), 0.9)
    assert much == pytest.approx(2 * little, rel=0.15)
    # No room on the right: the panel moves to the left; no room at all: there is none.
    drawn = draw_overlay(blank(640, 480), observation(0, face(1, "happy", 0.9, (430, 100, 200, 200))))
    assert (drawn[110:200, 270:415] != 127).any()
    full = draw_overlay(blank(300, 300), observation(0, face(1, "happy", 0.9, (20, 20, 260, 260))))
    assert (full[150, 40:260] == 127).all()


def test_the_bars_of_neighbours_do_not_cover_each_other() -> None:
    """Two large faces share the one gap: it belongs to the larger one's panel."""
    larger, smaller = face(1, "happy", 0.9, (10, 100, 220, 220)), face(2, "happy", 0.9, (410, 110, 210, 210))
    alone = draw_overlay(blank(640, 480), observation(0, larger))
    both = draw_overlay(blank(640, 480), observation(0, larger, smaller))
    gap = np.s_[130:300, 240:395]
    assert (alone[gap] != 127).any()
    assert np.array_equal(both[gap], alone[gap])


def test_tags_of_neighbours_do_not_hide_each_other() -> None:
    near, far = face(1, "happy", 0.9, (200, 200, 120, 120)), face(2, "sad", 0.8, (240, 190, 100, 100))
    alone = (draw_overlay(blank(640, 480), observation(0, far)) == expression_colour("sad")).all(axis=2).sum()
    both = (draw_overlay(blank(640, 480), observation(0, near, far)) == expression_colour("sad")).all(axis=2).sum()
    assert both > 0.8 * alone


@settings(max_examples=150, deadline=None)
@given(
    width=st.integers(16, 400),
    height=st.integers(16, 400),
    boxes=st.lists(
        st.tuples(st.integers(-200, 500), st.integers(-200, 500), st.integers(1, 600), st.integers(1, 600)), max_size=6
    ),
    label=st.sampled_from([*LABELS, UNCERTAIN, "überrascht", "驚き", ""]),
)
def test_any_box_on_any_picture(width: int, height: int, boxes: list[Box], label: str) -> None:
    faces = [face(number, label, 0.5, box) for number, box in enumerate(boxes, 1)]
    assert draw_overlay(blank(width, height), observation(0, *faces)).shape == (height, width, 3)


def test_text_is_as_wide_as_it_says_and_cut_off_at_the_edges() -> None:
    canvas = np.zeros((60, 400, 3), np.uint8)
    draw_text(canvas, "surprise 87%", 20, 20, 16, (255, 255, 255))
    columns = np.flatnonzero(canvas.any(axis=(0, 2)))
    assert 20 <= columns[0] <= 22
    assert abs(int(columns[-1]) - (20 + text_width("surprise 87%", 16))) <= 3
    capitals = np.zeros((60, 400, 3), np.uint8)
    draw_text(capitals, "HEIM", 20, 20, 16, (255, 255, 255))
    inked = np.flatnonzero((capitals > 127).any(axis=(1, 2)))
    assert abs(int(inked[0]) - 20) <= 1
    assert abs(int(inked[-1]) - 35) <= 1
    for x, y in ((-30, 20), (395, 20), (20, -10), (20, 55), (-900, 0), (900, 0), (0, 900)):
        draw_text(canvas, "surprise", x, y, 16, (255, 255, 255))
    unknown, mark = np.zeros((2, 60, 100, 3), np.uint8)
    draw_text(unknown, "驚", 10, 10, 16, (255, 255, 255))
    draw_text(mark, "?", 10, 10, 16, (255, 255, 255))
    np.testing.assert_array_equal(unknown, mark)
