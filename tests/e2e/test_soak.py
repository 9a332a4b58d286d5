"""Long runs, and the statistics by which they are judged.

Limits of time and memory are kept by a quiet machine only: FER_EDGE_SOAK=1 tests them, in about 6 minutes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
SOAK = os.environ.get("FER_EDGE_SOAK") == "1"
needs_quiet = pytest.mark.skipif(
    not SOAK, reason="FER_EDGE_SOAK is not 1: minutes of a machine with nothing else to do"
)


@pytest.fixture
def trend(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return import_module("trend").trend


def soak(tmp_path: Path, *arguments: str) -> tuple[int, dict[str, Any], str]:
    """Run the benchmark; returns its exit code, its document and its table."""
    file = tmp_path / "soak.json"
    command = [sys.executable, str(ROOT / "benchmarks/soak.py"), "--json", str(file), *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert file.exists(), result.stderr
    return result.returncode, json.loads(file.read_text()), result.stdout


# --- statistics ---


def test_a_curve_that_stands_still_has_no_trend(trend: Any) -> None:
    found = trend(range(100), [50.0] * 100)
    assert (found.slope, found.low, found.high, found.p) == (0, 0, 0, 1)
    assert found.none


def test_a_leak_is_found_in_noise_and_in_stairs(trend: Any) -> None:
    rng = np.random.default_rng(1)
    x = np.arange(1000)
    noisy = trend(x, 0.001 * x + rng.normal(0, 0.3, 1000))
    assert not noisy.none
    assert noisy.p < 0.001
    assert noisy.slope == pytest.approx(0.001, rel=0.2)
    stairs = trend(x, x // 90 * 4.0)
    assert stairs.low > 0


def test_what_is_no_trend_is_called_one_seldom(trend: Any) -> None:
    rng = np.random.default_rng(2)
    x = np.arange(400)
    wrong = sum(not trend(x, rng.normal(0, 1, 400)).none for _ in range(200))
    assert wrong <= 22  # 10 are expected; more than 22 come by chance once in 10,000


def test_outliers_do_not_make_a_trend(trend: Any) -> None:
    y = np.random.default_rng(3).normal(0, 1, 400)
    y[390:] += 1000
    assert trend(np.arange(400), y).none


@pytest.mark.parametrize(("n", "blocks"), [(10, 20), (100, 3)])
def test_too_little_is_refused(trend: Any, n: int, blocks: int) -> None:
    with pytest.raises(ValueError, match="are no"):
        trend(range(n), range(n), blocks)


# --- runs ---


def test_memory_is_watched_from_outside(tmp_path: Path) -> None:
    _, document, table = soak(tmp_path, "memory", "--frames", "5000")
    assert document["summary"]["frames"] == 5000
    assert document["summary"]["frames_with_face"] > 3000
    samples = document["samples"]
    assert len(samples) >= 20
    assert all(0 < row["RssAnon"] < row["VmRSS"] <= row["VmHWM"] for row in samples)
    assert [row["frames"] for row in samples] == sorted(row["frames"] for row in samples)
    assert all(row["heap"] > 1_000_000 and row["blocks"] > 10_000 for row in document["heap"])
    assert "| slope of memory in use (malloc)" in table


def test_each_result_is_held_against_the_moment_when_its_picture_was_sent(tmp_path: Path) -> None:
    _, document, table = soak(tmp_path, "realtime", "--seconds", "3", "--output", "metrics:0")
    results = len(document["ages_ms"])
    assert results >= 30
    assert document["viewers"] == 1
    assert document["summary"]["source_failures"] == 0
    assert document["summary"]["frames"] >= results
    assert len(document["queue"]) == results
    assert max(document["ages_ms"]) > 0
    assert "| median age, camera to line" in table


@needs_quiet
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    "arguments", [("start",), ("realtime", "--seconds", "60"), ("memory", "--frames", "20000")], ids=lambda a: a[0]
)
def test_every_limit_is_kept(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    code, _, table = soak(tmp_path, *arguments)
    print(table)
    assert code == 0, table
