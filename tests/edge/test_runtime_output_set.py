"""The set of outputs of a run, exchanged as a whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from fer_edge.errors import OutputError, UsageError
from fer_edge.outputs import OutputSettings
from fer_edge.runtime.output_set import OutputSet, planned
from tests.edge.sample_observations import eventually
from tests.edge.scripted_camera import MemoryOutput


def test_only_outputs_that_changed_are_closed_and_opened() -> None:
    kept, gone, new = MemoryOutput("kept"), MemoryOutput("gone"), MemoryOutput("new")
    outputs = OutputSet([kept.plan(), gone.plan()], finite=False)
    outputs.open()
    outputs.replace([new.plan(), kept.plan()])
    assert [(each.opened, each.closed) for each in (kept, gone, new)] == [(1, 0), (1, 1), (1, 0)]
    assert {stats.name for stats in outputs.stats()} == {"kept", "new"}
    outputs.close()
    assert [(each.opened, each.closed) for each in (kept, gone, new)] == [(1, 1), (1, 1), (1, 1)]


def test_an_output_with_other_settings_is_another_output() -> None:
    output = MemoryOutput()
    outputs = OutputSet([output.plan()], finite=False)
    outputs.open()
    outputs.replace([output.plan(OutputSettings(labels=("a", "b")))])
    assert (output.opened, output.closed) == (2, 1)
    outputs.close()


def test_outputs_are_as_before_when_a_new_one_cannot_be_opened() -> None:
    kept, gone, bad = MemoryOutput("kept"), MemoryOutput("gone"), MemoryOutput("bad")
    bad.refuses_to_open = True
    outputs = OutputSet([kept.plan(), gone.plan()], finite=False)
    outputs.open()
    with pytest.raises(OutputError, match="bad: the port is in use"):
        outputs.replace([kept.plan(), bad.plan()])
    assert {stats.name for stats in outputs.stats()} == {"kept", "gone"}
    assert (kept.opened, kept.closed, gone.opened, gone.closed) == (1, 0, 2, 1)
    outputs.close()


def test_an_old_output_that_cannot_be_opened_again_is_tried_until_it_can(caplog: pytest.LogCaptureFixture) -> None:
    old, bad = MemoryOutput("old"), MemoryOutput("bad")
    outputs = OutputSet([old.plan()], finite=False)
    outputs.open()
    bad.refuses_to_open = old.refuses_to_open = True
    with pytest.raises(OutputError, match="bad: the port is in use"):
        outputs.replace([bad.plan()])
    assert [(stats.name, bool(stats.failing)) for stats in outputs.stats()] == [("old", True)]
    assert "old: the port is in use; name another; the run goes on, and it is tried again" in caplog.text
    old.refuses_to_open = False
    eventually(lambda: old.opened == 2, "the old output again")
    outputs.close()
    assert old.closed >= 2


def test_plans_are_checked_before_anything_is_opened(tmp_path: Path) -> None:
    settings = OutputSettings()
    plans = planned([f"jsonl:{tmp_path / 'a.jsonl'}", "jsonl", "jsonl"], settings)
    assert [plan.spec for plan in plans] == [f"jsonl:{tmp_path / 'a.jsonl'}", "jsonl"]
    assert not list(tmp_path.iterdir())
    assert plans == planned([f"jsonl:{tmp_path / 'a.jsonl'}", "jsonl"], OutputSettings())
    with pytest.raises(UsageError, match="jsno"):
        planned(["jsonl", "jsno"], settings)
