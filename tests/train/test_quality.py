"""Faults put into a data set by hand, each found where it was put."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from fer_edge.errors import DataError, UsageError
from fer_train.fer2013 import Fer2013
from fer_train.fer2013.ferplus import VOTE_COLUMNS
from fer_train.quality import KINDS, constant, identical, inspect, near_duplicates, pairs_by_split, rows_to_drop
from tests.train.synthetic_fer2013 import SyntheticFer2013


@pytest.fixture
def clean() -> Fer2013:
    """Of noise: gratings of one class are like each other by design."""
    data = SyntheticFer2013.generate(per_class=(10, 4, 4)).as_data()
    return dataclasses.replace(data, pixels=np.random.default_rng(1).integers(0, 256, data.pixels.shape, np.uint8))


def with_faults(clean: Fer2013) -> Fer2013:
    """Rows 0 to 69 are Training, 70 to 97 PublicTest, 98 to 125 PrivateTest."""
    pixels, labels = clean.pixels.copy(), clean.labels.copy()
    pixels[3] = 0
    pixels[4] = 0
    pixels[5] = 200
    pixels[5, 10:14, 10:14] = 210  # nearly constant
    pixels[11] = pixels[10]  # equal, same label
    labels[11] = labels[10]
    pixels[21] = pixels[22] = pixels[20]  # three times, one of them labelled otherwise
    labels[20] = labels[21] = 3
    labels[22] = 4
    pixels[31] = pixels[75]  # leaks
    pixels[32] = pixels[100]
    pixels[76] = pixels[101]  # between the two test splits: nothing of Training
    return dataclasses.replace(clean, pixels=pixels, labels=labels)


def votes_for(data: Fer2013, **columns: list[int]) -> NDArray[np.float32]:
    votes = np.zeros((len(data), 10), np.float32)
    votes[:, VOTE_COLUMNS.index("neutral")] = 10
    for column, rows in columns.items():
        votes[rows] = 0
        votes[rows, VOTE_COLUMNS.index(column)] = 10
    return votes


def test_a_clean_data_set_is_left_alone(clean: Fer2013) -> None:
    found = inspect(clean, votes_for(clean))
    assert not found.constant.size
    assert not found.identical
    assert not found.conflicts
    assert len(found.near) == 0
    assert found.not_faces is not None
    assert not found.not_faces.size
    assert not rows_to_drop(clean, KINDS, votes_for(clean)).size


def test_every_fault_is_found_where_it_is(clean: Fer2013) -> None:
    data = with_faults(clean)
    found = inspect(data)
    assert found.constant.tolist() == [3, 4, 5]
    assert [group.tolist() for group in found.identical] == [[10, 11], [20, 21, 22], [31, 75], [32, 100], [76, 101]]
    assert [20, 21, 22] in [group.tolist() for group in found.conflicts]
    assert [10, 11] not in [group.tolist() for group in found.conflicts]
    assert found.not_faces is None
    assert pairs_by_split(found.identical, data.splits) == {
        "Training/Training": 4,
        "Training/PublicTest": 1,
        "Training/PrivateTest": 1,
        "PublicTest/PublicTest": 0,
        "PublicTest/PrivateTest": 1,
        "PrivateTest/PrivateTest": 0,
    }


@pytest.mark.parametrize(
    ("kinds", "rows"),
    [
        (["constant"], [3, 4, 5]),
        (["duplicates"], [4, 11, 21, 22]),
        (["conflicts"], [20, 21, 22]),
        (["leaks"], [31, 32]),
        (["not_faces"], [7]),
        (["duplicates", "conflicts"], [4, 11, 20, 21, 22]),
        (KINDS, [3, 4, 5, 7, 11, 20, 21, 22, 31, 32]),
        ([], []),
    ],
)
def test_what_is_dropped_is_of_training_alone(clean: Fer2013, kinds: list[str], rows: list[int]) -> None:
    data = with_faults(clean)
    votes = votes_for(data, NF=[7, 80], unknown=[8])
    assert rows_to_drop(data, kinds, votes).tolist() == rows
    assert rows_to_drop(data, kinds, votes[data.splits == 0]).tolist() == rows


def test_positions_are_those_within_training_wherever_it_stands(clean: Fer2013) -> None:
    data = with_faults(clean)
    order = np.random.default_rng(4).permutation(len(data))
    mixed = dataclasses.replace(
        data, pixels=data.pixels[order], labels=data.labels[order], splits=data.splits[order], rows=data.rows[order]
    )
    dropped = rows_to_drop(mixed, ["constant", "leaks", "conflicts"])
    assert sorted(mixed.split("Training").rows[dropped].tolist()) == [3, 4, 5, 20, 21, 22, 31, 32]


def test_labels_of_the_test_splits_decide_nothing(clean: Fer2013) -> None:
    data = with_faults(clean)
    labels = data.labels.copy()
    labels[data.splits != 0] = (labels[data.splits != 0] + 3) % 7
    other = dataclasses.replace(data, labels=labels)
    kinds = ["constant", "duplicates", "conflicts", "leaks"]
    assert rows_to_drop(other, kinds).tolist() == rows_to_drop(data, kinds).tolist()


def test_another_crop_of_the_same_photograph_is_near(clean: Fer2013) -> None:
    rng = np.random.default_rng(9)
    scenes = [cv2.GaussianBlur(rng.integers(0, 256, (60, 60), dtype=np.uint8), (0, 0), 4) for _ in range(20)]
    stretched = [cv2.equalizeHist(scene).astype(np.uint8) for scene in scenes]
    pixels: NDArray[np.uint8] = np.stack([scene[6:54, 6:54] for scene in stretched])
    shifted = stretched[2][6:54, 7:55]
    darker = (stretched[5][6:54, 6:54] * 0.6 + 20).astype(np.uint8)
    found = near_duplicates(
        np.concatenate([pixels, shifted[None], darker[None], pixels[:1], np.zeros_like(pixels[:2])])
    )
    assert found.pairs.tolist() == [[2, 20], [5, 21]]
    assert (found.correlation >= 0.92).all()
    assert (found.correlation <= 1.0 + 1e-5).all()
    assert identical(pixels) == []
    assert constant(pixels).size == 0
    assert len(near_duplicates(clean.pixels[:0])) == 0


def test_what_cannot_be_dropped_is_one_line(clean: Fer2013) -> None:
    with pytest.raises(UsageError, match=r"cannot drop 'ugly': choose from constant, duplicates"):
        rows_to_drop(clean, ["ugly"])
    with pytest.raises(UsageError, match="--ferplus"):
        rows_to_drop(clean, ["not_faces"])
    with pytest.raises(DataError, match="3 rows of votes do not fit 70 Training images"):
        rows_to_drop(clean, ["not_faces"], np.zeros((3, 10), np.float32))
