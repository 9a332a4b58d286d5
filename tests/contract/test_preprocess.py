from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.contract.preprocess import (
    FER2013_INPUT,
    InputSpec,
    batch_input,
    crop,
    face_input,
    image_input,
    square,
    to_grey,
)

RNG = np.random.default_rng(7)
BGR = RNG.integers(0, 256, (60, 80, 3), dtype=np.uint8)


def test_grey_is_bt601_of_bgr() -> None:
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 2] = 255
    assert np.all(to_grey(red) == round(0.299 * 255))
    assert np.array_equal(to_grey(np.dstack([BGR, BGR[..., :1]])), to_grey(BGR))
    grey = to_grey(BGR)
    assert to_grey(grey) is grey
    assert np.array_equal(to_grey(grey[:, :, None]), grey)


@pytest.mark.parametrize("image", [np.zeros((4, 4), np.float32), np.zeros((4, 4, 2), np.uint8), np.zeros(4, np.uint8)])
def test_other_images_are_refused(image: np.ndarray) -> None:
    with pytest.raises(ValueError, match="must be"):
        to_grey(image)


def test_square_keeps_the_centre_and_widens_by_the_margin() -> None:
    assert square((10, 20, 40, 40), 0.0) == (10, 20, 40, 40)
    assert square((10, 20, 40, 20), 0.0) == (10, 10, 40, 40)
    assert square((10, 20, 40, 40), 0.1) == (8, 18, 44, 44)
    with pytest.raises(ValueError, match="positive"):
        square((0, 0, 0, 5), 0.0)


@given(
    x=st.integers(-70, 79),
    y=st.integers(-50, 59),
    side=st.integers(1, 120),
    margin=st.floats(0.0, 0.5, allow_nan=False),
)
def test_any_box_that_touches_the_image_gives_the_asked_geometry(x: int, y: int, side: int, margin: float) -> None:
    spec = InputSpec(margin=margin)
    if x + side <= 0 or y + side <= 0:
        return
    assert face_input(BGR, (x, y, side, side), spec).shape == (48, 48, 1)


def test_crop_repeats_the_edge_outside_the_image() -> None:
    grey = to_grey(BGR)
    cut = crop(grey, (-5, -3, 20, 10))
    assert cut.shape == (10, 20)
    assert np.array_equal(cut[3:, 5:], grey[:7, :15])
    assert np.all(cut[:, :5] == cut[:, 5:6])
    with pytest.raises(ValueError, match="outside"):
        crop(grey, (100, 0, 10, 10))


def test_a_fer2013_image_passes_unchanged() -> None:
    image = RNG.integers(0, 256, (48, 48), dtype=np.uint8)
    assert np.array_equal(image_input(image, FER2013_INPUT)[..., 0], image)


def test_shrinking_averages() -> None:
    image = np.tile(np.array([[0, 255], [255, 0]], np.uint8), (48, 48))
    assert set(np.unique(image_input(image, FER2013_INPUT))) <= {127, 128}


def test_the_face_of_a_picture_is_the_same_from_colour_and_from_grey() -> None:
    box = (12, 9, 33, 33)
    assert np.array_equal(face_input(BGR, box, FER2013_INPUT), face_input(to_grey(BGR), box, FER2013_INPUT))
    by_hand = cv2.resize(cv2.cvtColor(BGR, cv2.COLOR_BGR2GRAY)[9:42, 12:45], (48, 48), interpolation=cv2.INTER_AREA)
    assert np.array_equal(face_input(BGR, box, FER2013_INPUT)[..., 0], by_hand)


def test_three_channels_repeat_the_grey_one() -> None:
    batch = batch_input(np.stack([to_grey(BGR)] * 2), InputSpec(height=96, width=96, channels=3))
    assert batch.shape == (2, 96, 96, 3)
    assert np.array_equal(batch[..., 0], batch[..., 2])
