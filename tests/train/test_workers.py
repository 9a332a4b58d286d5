"""Two processes that train together, on each engine that can: the same run as one, begun by one if need be."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import psutil
import pytest

from fer_edge.errors import UsageError
from tests.train.synthetic_fer2013 import SyntheticFer2013

keras = pytest.importorskip("keras", reason="needs the train extra")
matplotlib = pytest.importorskip("matplotlib", reason="needs the train extra")

from fer_train.checkpoint import RunState  # noqa: E402
from fer_train.fit import fingerprint_of  # noqa: E402
from fer_train.recipe import load_recipe, with_changes  # noqa: E402
from fer_train.training_data import prepare  # noqa: E402
from fer_train.workers import ALONE, Place, join  # noqa: E402

TINY_FILE = Path(__file__).with_name("tiny.toml")
# As if it were not installed: what only looks for it finds nothing either.
NO_TENSORFLOW = """
from importlib.machinery import PathFinder

find = PathFinder.find_spec
PathFinder.find_spec = lambda name, *rest: None if name.split(".")[0] == "tensorflow" else find(name, *rest)
"""
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(params=["torch", "jax"])
def engine(request: pytest.FixtureRequest) -> str:
    name = str(request.param)
    if find_spec(name) is None:
        pytest.skip(f"{name} is not installed; python3 dev.py backends installs it")
    if os.environ.get("KERAS_BACKEND", name) != name:
        pytest.skip(f"runs under KERAS_BACKEND={name}, or under none")
    return name


class Bench:
    """A folder with data, a recipe without dropout, and an environment in which there is no TensorFlow."""

    def __init__(self, folder: Path, engine: str) -> None:
        self.folder = folder
        self.started: list[subprocess.Popen[str]] = []
        SyntheticFer2013.generate(per_class=(40, 10, 10)).write_npz(folder / "fer2013.npz")
        # Each PyTorch process draws its own dropout; all else is the same whoever does it.
        (folder / "recipe.toml").write_text(TINY_FILE.read_text().replace("dropout = 0.1", "dropout = 0.0"))
        site = folder / "site"
        site.mkdir()
        (site / "sitecustomize.py").write_text(NO_TENSORFLOW)
        paths = [str(site), *filter(None, [os.environ.get("PYTHONPATH")])]
        self.environment = {
            **os.environ,
            "KERAS_BACKEND": engine,
            "PYTHONPATH": os.pathsep.join(paths),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "MPLCONFIGDIR": matplotlib.get_cachedir(),  # whose list of fonts takes seconds to make
            "COLUMNS": "200",
        }

    def start(self, out: str, *options: str) -> subprocess.Popen[str]:
        command: list[str | Path] = [sys.executable, "-m", "fer_edge", "train", "--recipe", self.folder / "recipe.toml"]
        command += ["--data", self.folder / "fer2013.npz", "--out", self.folder / out, "--threads", "1", *options]
        self.started.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=self.environment))
        return self.started[-1]

    def run(self, out: str, *options: str) -> str:
        process = self.start(out, *options)
        _, said = process.communicate(timeout=600)
        assert process.returncode == 0, said
        return said

    def kill_after_an_epoch(self, victim: psutil.Process | None, process: subprocess.Popen[str]) -> str:
        """Kill ``victim`` (default: the process itself) when an epoch is finished; return what was said since."""
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("epoch"):
                break
        else:
            pytest.fail("it ended before it was killed")
        (victim or process).send_signal(signal.SIGKILL)
        _, rest = process.communicate(timeout=300)
        return rest

    def state(self, out: str) -> RunState:
        return RunState.load(self.folder / out / "checkpoint.npz")


@pytest.fixture
def bench(tmp_path: Path, engine: str) -> Iterator[Bench]:
    bench = Bench(tmp_path, engine)
    yield bench
    for process in bench.started:
        process.kill()  # those that it started notice


def test_two_processes_go_on_with_the_run_of_one_to_the_same_end(bench: Bench) -> None:
    bench.run("one")
    bench.kill_after_an_epoch(None, bench.start("two"))
    begun = bench.state("two").epoch
    assert 1 <= begun < 4
    said = bench.run("two", "--processes", "2")
    assert "on 2 devices of 2 processes" in said
    assert f"epoch   {begun + 1}/4" in said
    assert f"epoch   {begun}/4" not in said

    one, two = bench.state("one"), bench.state("two")
    assert one.fingerprint == two.fingerprint
    # Sums over a batch are added up in another order, which a few dozen steps make somewhat larger.
    for ours, theirs in zip(two.weights + two.average, one.weights + one.average, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-3, rtol=2e-3)
    for key, tolerance in (("loss", 1e-3), ("accuracy", 0.01), ("public_nll", 1e-3), ("public_accuracy", 0.03)):
        found = [[entry[key] for entry in state.history] for state in (two, one)]
        assert found[0] == pytest.approx(found[1], abs=tolerance), key
    assert max(entry["public_accuracy"] for entry in two.history) > 0.8
    assert (bench.folder / "two" / "model.keras").exists()


def test_when_a_process_is_killed_the_run_ends_in_one_line_with_its_checkpoint(bench: Bench) -> None:
    process = bench.start("run", "--epochs", "400", "--processes", "2")
    assert process.stderr is not None
    while "training vgg_lite" not in (line := process.stderr.readline()):
        assert line, "it ended before it was killed"
    children = sorted(psutil.Process(process.pid).children(), key=lambda child: int(child.environ()["RANK"]))
    said = bench.kill_after_an_epoch(children[1], process)
    assert process.returncode not in (0, None)
    assert "Traceback" not in said, said
    assert "fer-edge: process 1: ended by SIGKILL" in said
    assert not any(child.is_running() for child in children)
    assert bench.state("run").epoch >= 1


def test_a_batch_that_cannot_be_divided_is_one_line(bench: Bench) -> None:
    process = bench.start("run", "--batch-size", "15", "--processes", "2")
    _, said = process.communicate(timeout=300)
    assert process.returncode == 2
    (line,) = [line for line in said.splitlines() if line.startswith("fer-edge: error")]
    assert "batch_size 15 cannot be divided among 2 devices" in line
    assert "Traceback" not in said
    assert not (bench.folder / "run").exists()


@pytest.mark.parametrize(
    ("parallel", "variables", "expected"),
    [
        ("none", {"WORLD_SIZE": "2", "RANK": "0"}, "started as one of 2 processes"),
        ("data", {"WORLD_SIZE": "2", "RANK": "2"}, "RANK below WORLD_SIZE"),
        ("data", {"WORLD_SIZE": "two"}, "must be whole numbers"),
    ],
)
def test_an_environment_that_does_not_fit_is_one_line(
    parallel: str, variables: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=expected):
        join(with_changes(load_recipe(str(TINY_FILE)), parallel=parallel))


def test_without_variables_a_process_is_the_only_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    assert Place.from_environment() == Place(0, 1, 0, "127.0.0.1:29400")
    assert join(load_recipe(str(TINY_FILE))) is ALONE
    if keras.backend.backend() == "tensorflow":
        with pytest.raises(UsageError, match="runs on JAX and PyTorch, not on tensorflow"):
            join(with_changes(load_recipe(str(TINY_FILE)), parallel="data"))


def test_how_many_train_is_not_part_of_what_a_run_is(synthetic_fer2013: SyntheticFer2013) -> None:
    recipe = load_recipe(str(TINY_FILE))
    data = prepare(recipe, synthetic_fer2013.as_data())
    found = {fingerprint_of(with_changes(recipe, parallel=value), data) for value in ("none", "data")}
    assert len(found) == 1
    assert found != {fingerprint_of(with_changes(recipe, seed=1), data)}
