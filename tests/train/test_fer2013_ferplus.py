"""FER+'s votes, held together with the images that they are about."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fer_edge.contract.labels import LABELS
from fer_edge.errors import DataError
from fer_train.fer2013 import SPLITS, Fer2013, load
from fer_train.fer2013.ferplus import VOTE_COLUMNS, load_votes, majority_labels
from tests.conftest import SHARED_FER2013
from tests.train.synthetic_fer2013 import SyntheticFer2013

HEADER = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF\n"
COLUMN_OF_LABEL = dict(
    zip(LABELS, ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral"), strict=True)
)


@pytest.fixture(scope="module")
def data() -> Fer2013:
    return SyntheticFer2013.generate(per_class=(40, 4, 4)).as_data()


def rows_of(data: Fer2013) -> list[str]:
    """All ten voters agree with FER2013's label."""
    rows = []
    for label, split in zip(data.labels, data.splits, strict=True):
        column = VOTE_COLUMNS.index(COLUMN_OF_LABEL[LABELS[label]])
        rows.append(",".join([SPLITS[split], "fer.png", *("10" if i == column else "0" for i in range(10))]) + "\n")
    return rows


def write(tmp_path: Path, rows: list[str], header: str = HEADER) -> Path:
    path = tmp_path / "fer2013new.csv"
    path.write_text(header + "".join(rows))
    return path


def test_votes_follow_the_rows_of_a_data_set_and_of_a_split(data: Fer2013, tmp_path: Path) -> None:
    path = write(tmp_path, rows_of(data))
    for part in (data, *(data.split(name) for name in SPLITS)):
        votes = load_votes(path, part)
        assert votes.dtype == np.float32
        assert votes.shape == (len(part), 10)
        assert (votes.sum(axis=1) == 10).all()
        labels, valid = majority_labels(votes)
        assert valid.all()
        assert np.array_equal(labels, part.labels)


def test_a_majority_is_more_than_half_and_one_of_the_seven() -> None:
    #                  ne hap sur sad ang dis fea con unk NF
    votes = np.array([[6, 0, 0, 3, 1, 0, 0, 0, 0, 0],
                      [0, 0, 0, 0, 6, 0, 4, 0, 0, 0],
                      [5, 5, 0, 0, 0, 0, 0, 0, 0, 0],
                      [1, 0, 0, 0, 0, 0, 0, 9, 0, 0],
                      [4, 0, 0, 0, 0, 0, 0, 0, 6, 0],
                      [0, 0, 0, 0, 0, 0, 0, 0, 0, 10],
                      [5, 0, 0, 0, 0, 0, 0, 0, 0, 5],
                      [0, 0, 0, 0, 0, 4, 3, 3, 0, 0],
                      [0, 0, 0, 0, 0, 4, 3, 0, 0, 0]], np.float32)  # fmt: skip
    labels, valid = majority_labels(votes)
    assert valid.tolist() == [True, True, False, False, False, False, False, False, True]
    assert [LABELS[i] for i in labels[valid]] == ["neutral", "angry", "disgust"]
    assert labels.dtype == np.int64


def test_votes_of_another_number_of_rows_are_refused(data: Fer2013, tmp_path: Path) -> None:
    rows = rows_of(data)
    for other in (rows[:-1], [*rows, rows[-1]]):
        with pytest.raises(DataError, match=f"{len(other)} rows of votes do not fit synthetic, which has {len(data)}"):
            load_votes(write(tmp_path, other), data)
    with pytest.raises(DataError, match="rows of votes do not fit"):
        load_votes(write(tmp_path, rows[:-1]), data.split("PrivateTest"))


def test_votes_in_another_order_are_refused(data: Fer2013, tmp_path: Path) -> None:
    rows = rows_of(data)
    with pytest.raises(DataError, match=r"line 2: Usage PrivateTest, but row 0 of synthetic is Training"):
        load_votes(write(tmp_path, rows[::-1]), data)
    shuffled = np.random.default_rng(1).permutation(280)  # within Training, where Usage tells nothing
    with pytest.raises(DataError, match=r"the votes confirm only \d+% of the labels"):
        load_votes(write(tmp_path, [*(rows[i] for i in shuffled), *rows[280:]]), data)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("Training,fer.png,1,2\n", "4 columns where FER\\+ has 12"),
        ("Test,fer.png,10,0,0,0,0,0,0,0,0,0\n", "Usage 'Test'"),
        ("Training,fer.png,11,0,0,0,0,0,0,0,0,0\n", "'11' votes for neutral where FER\\+ has 0 to 10"),
        ("Training,fer.png,-1,0,0,0,0,0,0,0,0,0\n", "'-1' votes for neutral"),
        ("Training,fer.png,0,x,0,0,0,0,0,0,0,0\n", "'x' votes for happiness"),
        ("Training,fer.png,0,0,0,0,0,0,0,0,0,\n", "'' votes for NF"),
        ("\n", "1 columns"),
        ("a" * 5000, "1 columns"),
    ],
)
def test_a_fault_names_its_line(row: str, said: str, data: Fer2013, tmp_path: Path) -> None:
    path = write(tmp_path, [rows_of(data)[0], row])
    with pytest.raises(DataError, match=f"{path}, line 3: {said}"):
        load_votes(path, data)


def test_what_is_no_ferplus_is_refused(data: Fer2013, tmp_path: Path) -> None:
    for path in (write(tmp_path, [], "emotion,pixels,Usage\n"), write(tmp_path, [], "")):
        with pytest.raises(DataError, match="line 1: the columns are not those of FER"):
            load_votes(path, data)
    with pytest.raises(DataError, match="absent: cannot be read"):
        load_votes(tmp_path / "absent", data)


@pytest.mark.fer2013
def test_the_published_votes_fit_the_data_set(fer2013_path: Path) -> None:
    path = SHARED_FER2013 / "fer2013new.csv"
    if not path.exists():
        pytest.skip("FER+'s fer2013new.csv is not here")
    real = load(fer2013_path, cache=False)
    votes = load_votes(path, real)
    labels, valid = majority_labels(votes)
    assert valid.sum() == 27_307
    assert (labels == real.labels)[valid].mean() == pytest.approx(0.718, abs=0.001)
    mixed = replace(real, labels=np.random.default_rng(0).permutation(real.labels))
    with pytest.raises(DataError, match="confirm only"):
        load_votes(path, mixed)


@pytest.mark.fer2013
def test_the_real_data_set_is_the_official_one(fer2013_path: Path) -> None:
    """No warning: all 35,887 images, in the published split and classes."""
    real = load(fer2013_path, cache=False)
    assert list(real.split_counts().values()) == [28_709, 3_589, 3_589]
    assert list(real.class_counts().values()) == [4953, 547, 5121, 8989, 6077, 4002, 6198]
    assert int(real.pixels.sum(dtype=np.int64)) == 10_698_108_204
