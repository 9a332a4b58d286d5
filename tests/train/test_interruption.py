"""A run that is stopped in the middle of an epoch, by Ctrl-C, by SIGTERM and by SIGKILL, and goes on each time."""

from __future__ import annotations

import gc
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.train.synthetic_fer2013 import SyntheticFer2013

keras = pytest.importorskip("keras", reason="needs the train extra")

from fer_train import interruption  # noqa: E402
from fer_train.checkpoint import RunState  # noqa: E402
from fer_train.recipe import load_recipe  # noqa: E402
from fer_train.run import RunFiles, train  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::fer_train.fer2013.Fer2013Warning")

TINY_FILE = Path(__file__).with_name("tiny.toml")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return SyntheticFer2013.generate(per_class=(100, 5, 5)).write_npz(tmp_path_factory.mktemp("data") / "fer2013.npz")


# Run by each process. A shell's background jobs ignore Ctrl-C, and hand that on. From the middle of each epoch on, by
# steps, the process says so and takes its time: on a fast machine a whole epoch is over in less than a fixed delay.
PROGRAM = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from fer_train.fit import WeightAverage
finish_step = WeightAverage.on_train_batch_end
def finish_step_slowly(self, batch, logs=None):
    finish_step(self, batch, logs)
    middle = self.params["steps"] // 2
    if batch == middle:
        print("in the middle of an epoch", file=sys.stderr, flush=True)
    if batch >= middle:
        time.sleep(0.2)
WeightAverage.on_train_batch_end = finish_step_slowly
from fer_edge.cli import main
sys.exit(main())
"""


def start(data: Path, out: Path, *options: str, program: str = PROGRAM) -> subprocess.Popen[str]:
    command: list[str | Path] = [sys.executable, "-c", program, "train", "--recipe", TINY_FILE, "--data", data]
    return subprocess.Popen(
        [*command, "--out", out, *options], stderr=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "200"}
    )


def stop_in_the_middle_of_an_epoch(process: subprocess.Popen[str], how: signal.Signals) -> str:
    """Wait for one more finished epoch and half of the next; return what was said after the signal."""
    assert process.stderr is not None
    finished = False
    for line in process.stderr:
        finished = finished or line.startswith("epoch")
        if finished and "in the middle of an epoch" in line:
            break
    else:
        pytest.fail("it ended before it was stopped")
    process.send_signal(how)
    rest = process.stderr.read()
    process.wait(60)
    process.stderr.close()
    assert "epoch " not in rest, "it finished another epoch first"
    return rest


def test_each_signal_in_mid_epoch_costs_no_more_than_that_epoch(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    for finished, (how, code) in enumerate(
        [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)], start=1
    ):
        process = start(data, out)
        said = stop_in_the_middle_of_an_epoch(process, how)
        assert process.returncode == code, said
        assert RunState.load(out / "checkpoint.npz").epoch == finished
        if how is signal.SIGKILL:
            continue
        assert re.fullmatch(rf"fer-edge: stopped; .*checkpoint\.npz holds {finished} epochs?; .* go on\n", said)
        assert not list(out.glob(".*partial*"))
    last = start(data, out, program=PROGRAM.replace("time.sleep(0.2)", "pass"))
    _, said = last.communicate(timeout=120)
    assert last.returncode == 0, said
    assert "epoch   4/4" in said

    assert train(load_recipe(str(TINY_FILE)), RunFiles(data, tmp_path / "whole")) is not None
    ours, theirs = (RunState.load(folder / "checkpoint.npz") for folder in (out, tmp_path / "whole"))
    # TensorFlow's threads add up in an order of their own; PyTorch and JAX on the CPU are exact.
    tolerance = 1e-3 if keras.backend.backend() == "tensorflow" else 0.0
    for a, b in zip(ours.weights + ours.best, theirs.weights + theirs.best, strict=True):
        np.testing.assert_allclose(a, b, atol=tolerance, rtol=tolerance)
    figures = [[entry["public_accuracy"] for entry in state.history] for state in (ours, theirs)]
    assert figures[0] == pytest.approx(figures[1], abs=0.03 if tolerance else 1e-9)


def test_stopped_before_the_first_epoch_it_says_that_nothing_was_kept(data: Path, tmp_path: Path) -> None:
    process = start(data, tmp_path / "run", "--batch-size", "1")
    try:
        assert process.stderr is not None
        while "training vgg_lite" not in (line := process.stderr.readline()):
            assert line, "it ended before it was stopped"
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "no epoch was finished" in said
    assert len(said.splitlines()) == 1


@pytest.fixture
def ignored(monkeypatch: pytest.MonkeyPatch) -> list[BaseException | None]:
    """What Python reports as ignored, in place of pytest, which would let the test fail by it."""
    told: list[BaseException | None] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda swallowed: told.append(swallowed.exc_value))
    return told


def test_a_signal_that_the_garbage_collector_swallows_comes_again_and_is_no_ignored_exception(
    ignored: list[BaseException | None],
) -> None:
    swallowing = []

    def stop(phase: str, info: dict[str, int]) -> None:
        del info
        gc.callbacks.remove(stop)
        swallowing.append(phase)
        signal.raise_signal(signal.SIGTERM)

    with interruption.terminable():
        gc.callbacks.append(stop)
        gc.collect()
        assert swallowing
        with pytest.raises(interruption.Terminated):
            interruption.check()
    assert not ignored


def test_other_ignored_exceptions_are_reported_as_ever(ignored: list[BaseException | None]) -> None:
    class Fails:
        def __del__(self) -> None:
            raise RuntimeError("as ever")

    before = sys.unraisablehook
    with interruption.terminable():
        Fails()
    assert [str(exception) for exception in ignored] == ["as ever"]
    assert sys.unraisablehook is before
