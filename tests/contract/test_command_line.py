"""Command lines as they may be published."""

from __future__ import annotations

import pytest

from fer_edge.contract.command_line import without_folders


@pytest.mark.parametrize(
    ("typed", "published"),
    [
        (
            "fer-edge convert /home/me/runs/a.keras --data=/mnt/d/fer2013.csv",
            "fer-edge convert a.keras --data=fer2013.csv",
        ),
        ("evaluate x.tflite --labels ferplus=/home/me/votes.csv", "evaluate x.tflite --labels ferplus=votes.csv"),
        ("train --weights /home/me/runs/tiny/model.keras", "train --weights tiny/model.keras"),
        ("train --weights /model.keras --out runs/x", "train --weights /model.keras --out runs/x"),
    ],
)
def test_folders_are_left_out(typed: str, published: str) -> None:
    assert without_folders(typed) == published
