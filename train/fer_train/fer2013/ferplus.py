"""FER+: ten people's votes on each image of FER2013 (Barsoum et al. 2016, arXiv:1608.01041).

Microsoft's ``fer2013new.csv`` has a row for each row of the challenge's table, in the same order. Several of FER2013's
own labels are wrong; the votes tell how much of a network's error is the label's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fer_edge.contract.labels import LABELS
from fer_edge.errors import DataError
from fer_train.fer2013.archives import damage_named
from fer_train.fer2013.dataset import MAX_IMAGES, SPLITS, Fer2013

VOTE_COLUMNS: Final[tuple[str, ...]] = (
    "neutral",
    "happiness",
    "surprise",
    "sadness",
    "anger",
    "disgust",
    "fear",
    "contempt",
    "unknown",
    "NF",
)
"""What the columns of a vote array count; NF is "not a face"."""

VOTERS: Final = 10
"""Each row's votes sum to this (in one row of the published file, to 9)."""

_LABEL_OF_COLUMN: Final = {
    "neutral": "neutral",
    "happiness": "happy",
    "surprise": "surprise",
    "sadness": "sad",
    "anger": "angry",
    "disgust": "disgust",
    "fear": "fear",
}
_HEADER: Final = ("Usage", "Image name", *VOTE_COLUMNS)
_MAX_LINE_CHARACTERS: Final = 1024

_LEAST_AGREEMENT: Final = 0.4
"""Share of FER2013's labels that the votes' majority must confirm. Measured on the rows that have a majority among the
seven classes: 0.72 in the published order (0.70 to 0.72 in each split), 0.19 in a shuffled one."""
_ROWS_TO_JUDGE_AGREEMENT: Final = 200


def load_votes(path: Path, data: Fer2013) -> NDArray[np.float32]:
    """Read the votes on the images of a data set, or of one split of it.

    Args:
        path: ``fer2013new.csv``.
        data: what the votes are about; its rows must be the challenge's, in the challenge's order.

    Returns:
        (N, 10) float32 counts of votes, in the order of :data:`VOTE_COLUMNS`.

    Raises:
        DataError: if the file is damaged (the message names the line), or its rows are not those of ``data``.
    """
    splits, votes = _read_votes(path)
    whole = bool(np.unique(data.splits).size == len(SPLITS))
    if data.rows.max(initial=-1) >= len(votes) or (whole and len(data) != len(votes)):
        raise DataError(
            f"{path}: {len(votes):,} rows of votes do not fit {data.source}, which has {_row_count(data):,} images; "
            "name the FER2013 and FER+ files of the same rows"
        )
    splits, votes = splits[data.rows], votes[data.rows]
    if (differ := splits != data.splits).any():
        index = int(np.argmax(differ))
        row = int(data.rows[index])
        raise DataError(
            f"{path}, line {row + 2}: Usage {SPLITS[splits[index]]}, but row {row} of {data.source} "
            f"is {SPLITS[data.splits[index]]}; the two files are not in the same order"
        )
    labels, valid = majority_labels(votes)
    if valid.sum() >= _ROWS_TO_JUDGE_AGREEMENT:
        agreement = float((labels == data.labels)[valid].mean())
        if agreement < _LEAST_AGREEMENT:
            raise DataError(
                f"{path}: the votes confirm only {agreement:.0%} of the labels of {data.source}; "
                "the two are not in the same order: use the challenge's CSV"
            )
    return votes


def majority_labels(votes: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return what more than half of the voters saw in each image, where that is one of the seven expressions.

    Barsoum et al. 2016, "Training Deep Networks for Facial Expression Recognition with Crowd-Sourced Label
    Distribution" (arXiv:1608.01041), ask for more than half as well; they take away single votes first, which gives
    four thousand more images a label, of which FER2013 has another one more often.

    Args:
        votes: (N, 10) counts in the order of :data:`VOTE_COLUMNS`.

    Returns:
        (N,) int64 ids in the order of LABELS, and (N,) bool: whether the row has a label, which is when one column
        has more than half of the votes and is not contempt, unknown or NF. The id of a row without a label is 0.
    """
    ids = np.array([LABELS.index(_LABEL_OF_COLUMN[c]) if c in _LABEL_OF_COLUMN else -1 for c in VOTE_COLUMNS])
    labels = ids[votes.argmax(axis=1)].astype(np.int64)
    valid = (2 * votes.max(axis=1) > votes.sum(axis=1)) & (labels >= 0)
    return np.where(valid, labels, 0), valid


def _read_votes(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return (splits (R,), votes (R, 10)) of all rows of the file."""
    splits: list[int] = []
    votes: list[list[int]] = []
    with damage_named(str(path)), path.open(encoding="utf-8-sig", errors="replace") as lines:
        if tuple(_fields(lines.readline(_MAX_LINE_CHARACTERS))) != _HEADER:
            raise DataError(f"{path}, line 1: the columns are not those of FER+ ({', '.join(_HEADER)})")
        number = 1
        while line := lines.readline(_MAX_LINE_CHARACTERS):
            number += 1
            try:
                if len(votes) == MAX_IMAGES:
                    raise ValueError(f"follows {MAX_IMAGES:,} others; FER+ has 35,887 rows")
                split, counts = _parse_row(_fields(line))
            except ValueError as error:
                raise DataError(f"{path}, line {number}: {error}; fetch the file again") from None
            splits.append(split)
            votes.append(counts)
    return np.array(splits, np.uint8), np.array(votes, np.float32).reshape(-1, len(VOTE_COLUMNS))


def _parse_row(fields: list[str]) -> tuple[int, list[int]]:
    """Return (split index, votes); raise ValueError saying what is wrong."""
    if len(fields) != len(_HEADER):
        raise ValueError(f"{len(fields)} columns where FER+ has {len(_HEADER)}")
    usage, _, *counts = fields  # the published image names skip and repeat numbers: the order is what counts
    if usage not in SPLITS:
        raise ValueError(f"Usage {ascii(usage)[:40]} where FER+ has {', '.join(SPLITS)}")
    for column, count in zip(VOTE_COLUMNS, counts, strict=True):
        if not (count.isascii() and count.isdigit() and len(count) <= 2 and int(count) <= VOTERS):
            raise ValueError(f"{ascii(count)[:40]} votes for {column} where FER+ has 0 to {VOTERS}")
    return SPLITS.index(usage), [int(count) for count in counts]


def _fields(line: str) -> list[str]:
    return [field.strip() for field in line.split(",")]


def _row_count(data: Fer2013) -> int:
    return max(len(data), int(data.rows.max(initial=-1)) + 1)
