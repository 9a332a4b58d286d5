"""The training loop on whatever backend KERAS_BACKEND names; `python3 dev.py backends` runs it on the other two."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fer_edge.contract.labels import LABELS
from fer_edge.errors import DataError, UsageError
from tests.train.synthetic_fer2013 import SyntheticFer2013

keras = pytest.importorskip("keras", reason="needs the train extra")

from fer_train.batches import predict  # noqa: E402
from fer_train.checkpoint import RunState  # noqa: E402
from fer_train.fer2013 import Fer2013  # noqa: E402
from fer_train.fit import fingerprint_of, fit, restore  # noqa: E402
from fer_train.models import build, with_softmax  # noqa: E402
from fer_train.recipe import load_recipe  # noqa: E402
from fer_train.training_data import prepare  # noqa: E402

TINY_FILE = Path(__file__).with_name("tiny.toml")
TINY = load_recipe(str(TINY_FILE))


@pytest.fixture(scope="module")
def synthetic() -> SyntheticFer2013:
    return SyntheticFer2013.generate(per_class=(40, 10, 10))


def fit_tiny(data: Fer2013, checkpoint: Path, on_epoch: Callable[[RunState], None] | None = None) -> RunState:
    prepared = prepare(TINY, data)
    return fit(TINY, prepared, checkpoint, fingerprint_of(TINY, prepared), on_epoch=on_epoch)


@pytest.fixture(scope="module")
def finished(synthetic: SyntheticFer2013, tmp_path_factory: pytest.TempPathFactory) -> RunState:
    return fit_tiny(synthetic.as_data(), tmp_path_factory.mktemp("run") / "checkpoint.npz")


def test_it_learns(synthetic: SyntheticFer2013, finished: RunState) -> None:
    public = synthetic.as_data().split("PublicTest")
    network = restore(TINY, 7, finished.best)
    accuracy = float((predict(network, public.pixels, TINY.input).argmax(axis=1) == public.labels).mean())
    assert accuracy > 0.8
    assert accuracy == pytest.approx(max(entry["public_accuracy"] for entry in finished.history), abs=1e-6)
    assert finished.history[finished.best_epoch - 1]["public_accuracy"] == pytest.approx(accuracy, abs=1e-6)


def test_private_test_is_never_looked_at(synthetic: SyntheticFer2013, finished: RunState, tmp_path: Path) -> None:
    data = synthetic.as_data()
    rng = np.random.default_rng(1)
    pixels = np.where((data.splits == 2)[:, None, None], rng.integers(0, 256, data.pixels.shape, np.uint8), data.pixels)
    spoiled = SyntheticFer2013(pixels, synthetic.labels, synthetic.splits).as_data()
    again = fit_tiny(spoiled, tmp_path / "c.npz")
    assert [e["public_accuracy"] for e in again.history] == [e["public_accuracy"] for e in finished.history]


def test_a_run_stopped_between_epochs_goes_on_to_the_same_weights(
    synthetic: SyntheticFer2013, finished: RunState, tmp_path: Path
) -> None:
    data, checkpoint = synthetic.as_data(), tmp_path / "checkpoint.npz"

    class Stopped(Exception):  # noqa: N818
        pass

    def stop_after_two(state: RunState) -> None:
        if state.epoch == 2:
            raise Stopped

    with pytest.raises(Stopped):
        fit_tiny(data, checkpoint, on_epoch=stop_after_two)
    assert RunState.load(checkpoint).epoch == 2
    resumed = fit_tiny(data, checkpoint)
    assert resumed.epoch == TINY.epochs
    # TensorFlow's threads add up in an order of their own; PyTorch and JAX on the CPU are exact.
    tolerance = 1e-4 if keras.backend.backend() == "tensorflow" else 0.0
    for ours, theirs in zip(resumed.weights, finished.weights, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=tolerance, rtol=tolerance)


def test_a_checkpoint_of_another_run_is_refused(
    synthetic: SyntheticFer2013, finished: RunState, tmp_path: Path
) -> None:
    other = dataclasses.replace(finished, fingerprint="another")
    other.save(tmp_path / "checkpoint.npz")
    with pytest.raises(UsageError, match="another recipe, data set or backend"):
        fit_tiny(synthetic.as_data(), tmp_path / "checkpoint.npz")


def test_a_damaged_checkpoint_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.npz"
    for damage in (b"", b"PK\x03\x04 not really a zip", b"text"):
        path.write_bytes(damage)
        with pytest.raises(DataError, match="damaged checkpoint") as raised:
            RunState.load(path)
        assert "\n" not in str(raised.value)


def test_the_saved_model_gives_calibrated_probabilities(finished: RunState, tmp_path: Path) -> None:
    network = restore(TINY, 7, finished.best)
    pixels = np.full((2, 48, 48, 1), 99, np.float32)
    logits = keras.ops.convert_to_numpy(network(pixels))
    model = with_softmax(network, temperature=2.0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    expected = keras.ops.convert_to_numpy(keras.ops.softmax(logits / 2.0))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(loaded(pixels)), expected, atol=1e-5)


def test_an_unknown_network_or_option_is_one_line() -> None:
    with pytest.raises(UsageError, match="vgg_lite"):
        build("vgg_huge", (48, 48, 1), 7, {})
    with pytest.raises(UsageError, match="colour"):
        build("vgg_lite", (48, 48, 1), 7, {"colour": "red"})
    for options in ({"squeeze": -1}, {"squeeze": 2.5}, {"widths": [2.5]}, {"dropout": 7.0}):
        with pytest.raises(UsageError, match="cannot be built with the options") as raised:
            build("vgg_lite", (48, 48, 1), 7, options)
        assert "\n" not in str(raised.value)


def test_the_default_network_has_the_size_that_its_docstring_states() -> None:
    assert build("vgg_lite", (48, 48, 1), 7, {}).count_params() == pytest.approx(1.17e6, rel=0.01)


def test_kill_minus_nine_in_the_middle_of_an_epoch(synthetic: SyntheticFer2013, tmp_path: Path) -> None:
    """The command itself: killed hard once its first checkpoint is there, then run again to the end."""
    data = synthetic.write_npz(tmp_path / "fer2013.npz")
    out = tmp_path / "run"
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "fer_edge",
        "train",
        "--recipe",
        TINY_FILE,
        "--data",
        data,
        "--out",
        out,
    ]
    # Many more epochs than it can finish before it is killed.
    process = subprocess.Popen(
        [*command, "--epochs", "400"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=_environment(tmp_path)
    )
    deadline = time.monotonic() + 120
    while not (out / "checkpoint.npz").exists():
        assert process.poll() is None, "it ended before it was killed"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "model.keras").exists()
    before = RunState.load(out / "checkpoint.npz")
    assert 1 <= before.epoch < 400

    other = subprocess.run(
        [*command, "--epochs", "3"], capture_output=True, text=True, check=False, env=_environment(tmp_path)
    )
    assert other.returncode == 2
    assert "another recipe" in other.stderr
    assert "Traceback" not in other.stderr
    assert RunState.load(out / "checkpoint.npz").epoch == before.epoch


def test_the_command_leaves_all_that_is_promised(synthetic: SyntheticFer2013, tmp_path: Path) -> None:
    data, out = synthetic.write_npz(tmp_path / "fer2013.npz"), tmp_path / "run"
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "fer_edge",
        "train",
        "--recipe",
        TINY_FILE,
        "--data",
        data,
        "--out",
        out,
    ]
    first = subprocess.run(
        [*command, "--epochs", "2"], capture_output=True, text=True, check=False, env=_environment(tmp_path)
    )
    assert first.returncode == 0, first.stderr
    assert {"model.keras", "config.json", "history.json", "history.svg", "training.json"} <= {
        p.name for p in out.iterdir()
    }
    record = json.loads((out / "training.json").read_text())
    assert record["command"].startswith("fer-edge train ")
    assert record["labels"] == list(LABELS)
    assert record["environment"]["versions"]["keras"] == keras.__version__
    assert "PrivateTest" not in record["figures"]
    again = subprocess.run(
        [*command, "--epochs", "2"], capture_output=True, text=True, check=False, env=_environment(tmp_path)
    )
    assert again.returncode == 0
    assert "finished already" in again.stderr


def _environment(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"), "COLUMNS": "200"}
