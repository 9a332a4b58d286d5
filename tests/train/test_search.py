"""One study, several worker processes: interrupted, killed, and finished all the same."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fer_edge.cli import main
from tests.train.synthetic_fer2013 import SyntheticFer2013

keras = pytest.importorskip("keras", reason="needs the train extra")
optuna = pytest.importorskip("optuna", reason="needs the train extra")

from fer_train.recipe import load_recipe  # noqa: E402
from fer_train.recipe_file import comments  # noqa: E402
from fer_train.search_results import best_first, draw_search, importances, values_of  # noqa: E402
from fer_train.search_space import load_space, with_values  # noqa: E402
from fer_train.studies import open_storage, queue_again  # noqa: E402

TINY_FILE = Path(__file__).with_name("tiny.toml")
SPACE = """
["optimizer.learning_rate"]
low = 0.01
high = 0.1
log = true

["network.widths"]
choices = [[8, 16], [4, 8]]

[batch_size]
low = 8
high = 16
step = 4
"""
TRIALS = 3
STARTED: list[subprocess.Popen[str]] = []


@pytest.fixture(autouse=True)
def no_worker_is_left() -> Iterator[None]:
    yield
    while STARTED:
        STARTED.pop().kill()


def start(folder: Path, *options: str) -> subprocess.Popen[str]:
    command: list[str | Path] = [sys.executable, "-m", "fer_edge", "search", TINY_FILE, "--study", "mine"]
    command += ["--data", folder / "fer2013.npz", "--storage", folder / "study.db", "--space", folder / "space.toml"]
    command += ["--out", folder / "out", "--trials", str(TRIALS), "--pruning", "none", "--heartbeat", "1"]
    command += ["--threads", "1", *options]
    worker = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
        # A shell's background jobs ignore Ctrl-C, and hand that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    STARTED.append(worker)
    return worker


def stop_in_mid_trial(worker: subprocess.Popen[str], number: int, checkpoint: Path, how: signal.Signals) -> str:
    """Wait until the trial ``number`` has finished an epoch more than before; return what the worker said."""
    assert worker.stderr is not None
    line = ""
    while not line.startswith(f"trial {number}"):
        line = worker.stderr.readline()
        assert line, "it ended before it was stopped"
    before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
    deadline = time.monotonic() + 600
    while not checkpoint.exists() or checkpoint.stat().st_mtime_ns == before:
        assert worker.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    worker.send_signal(how)
    return worker.communicate(timeout=300)[1]


@pytest.mark.timeout(1200)
def test_workers_share_a_study_and_take_up_what_others_left(tmp_path: Path) -> None:
    SyntheticFer2013.generate(per_class=(40, 5, 5)).write_npz(tmp_path / "fer2013.npz")
    (tmp_path / "space.toml").write_text(SPACE)
    checkpoint = tmp_path / "out" / "trials" / "0000" / "checkpoint.npz"

    first = start(tmp_path)
    said = stop_in_mid_trial(first, 0, checkpoint, signal.SIGINT)
    assert first.returncode == 130, said
    assert "fer-edge: stopped; the trial under way is in the queue again" in said
    assert "Traceback" not in said
    second = start(tmp_path)
    stop_in_mid_trial(second, 1, checkpoint, signal.SIGKILL)
    assert second.returncode == -signal.SIGKILL

    workers = [start(tmp_path), start(tmp_path)]
    outcomes = [worker.communicate(timeout=600) for worker in workers]
    for worker, (told, complained) in zip(workers, outcomes, strict=True):
        assert worker.returncode == 0, complained
        assert "PublicTest" in told
        assert "best.toml" in told

    study = optuna.load_study(study_name="mine", storage=open_storage(str(tmp_path / "study.db"), 1))
    trials = study.trials
    assert [trial.number for trial in trials] == list(range(len(trials)))
    states = [trial.state.name for trial in trials]
    # Two workers may both begin a last one.
    assert TRIALS <= states.count("COMPLETE") <= TRIALS + 1, states
    assert states.count("FAIL") == 2
    assert states.count("FAIL") + states.count("COMPLETE") == len(states)
    interrupted, killed = trials[:2]
    assert (interrupted.state.name, killed.state.name) == ("FAIL", "FAIL")
    (again,) = [trial for trial in trials if trial.user_attrs.get("retry_of") == [0, 1]]
    assert again.state.name == "COMPLETE"
    assert again.params == killed.params == interrupted.params
    assert sorted(again.intermediate_values) == [1, 2, 3, 4]
    finished = [line for _, said in outcomes for line in said.splitlines() if ": complete PublicTest" in line]
    assert len({line.split(":")[0] for line in finished}) == len(finished) == states.count("COMPLETE")

    best = best_first(study)[0]
    found = load_recipe(str(tmp_path / "out" / "best.toml"))
    assert found == with_values(load_recipe(str(TINY_FILE)), values_of(best, load_space(tmp_path / "space.toml")))
    assert found.network["widths"] in ([8, 16], [4, 8])
    assert comments()["epochs"] in (tmp_path / "out" / "best.toml").read_text()
    ET.parse(tmp_path / "out" / "search.svg")
    record = json.loads((tmp_path / "out" / "trials.json").read_text())
    assert len(record) == len(trials)

    other = start(tmp_path, "--epochs", "3")
    _, complaint = other.communicate(timeout=300)
    assert other.returncode == 2
    assert "was begun with another recipe" in complaint


@pytest.mark.parametrize("name", ["study.db", "study.journal"])
def test_no_trial_is_handed_out_twice(name: str, tmp_path: Path) -> None:
    where, count = str(tmp_path / name), 24
    study = optuna.create_study(study_name="mine", storage=open_storage(where, 60))
    for number in range(count):
        study.enqueue_trial({"a": number})
    claimed: list[int] = []
    together = threading.Barrier(3)

    def work() -> None:
        own = optuna.load_study(study_name="mine", storage=open_storage(where, 60))
        together.wait()
        while (trial := own._pop_waiting_trial_id()) is not None:
            claimed.append(trial)

    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(claimed) == len(set(claimed)) == count


@pytest.mark.filterwarnings("ignore::fer_train.fer2013.Fer2013Warning")
def test_a_trial_that_does_worse_than_those_before_it_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Five trials that learn, and two whose rate is far too small to, in a study in which they wait already."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    data = SyntheticFer2013.generate(per_class=(20, 5, 5)).write_npz(tmp_path / "fer2013.npz")
    (tmp_path / "space.toml").write_text('["optimizer.learning_rate"]\nchoices = [0.05, 0.000001]\n')
    storage = str(tmp_path / "study.journal")
    study = optuna.create_study(storage=open_storage(storage, 30), study_name="mine", direction="maximize")
    for rate in [*["0.05"] * 5, *["1e-6"] * 2]:
        study.enqueue_trial({"optimizer.learning_rate": rate}, skip_if_exists=False)
    command = ["search", str(TINY_FILE), "--study", "mine", "--storage", storage, "--data", str(data)]
    command += ["--space", str(tmp_path / "space.toml"), "--out", str(tmp_path / "out"), "--trials", "7"]
    command += ["--threads", "1"]
    assert main(command) == 0
    assert "5 complete, 2 pruned" in capfd.readouterr().out

    trials = optuna.load_study(storage=open_storage(storage, 30), study_name="mine").trials
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 5 + ["PRUNED"] * 2
    for trial in trials:
        learnt = trial.state.name == "COMPLETE"
        epochs = [1, 2, 3, 4] if learnt else sorted(trial.intermediate_values)
        assert sorted(trial.intermediate_values) == epochs
        assert learnt or len(epochs) < 4
        folder = tmp_path / "out" / "trials" / f"{trial.number:04d}"
        assert {path.name for path in folder.iterdir()} == {"config.json", "history.json"}
    assert load_recipe(str(tmp_path / "out" / "best.toml")).optimizer.learning_rate == 0.05


@pytest.mark.parametrize("name", ["study.db", "study.journal"])
def test_a_storage_gives_the_trials_of_dead_workers_to_others(name: str, tmp_path: Path) -> None:
    storage = open_storage(str(tmp_path / name), heartbeat_s=1)
    study = optuna.create_study(storage=storage, study_name="s", direction="maximize")
    study._thread_local.in_optimize_loop = True  # asked by hand, as a worker that dies at once would
    trial = study.ask()
    study._thread_local.in_optimize_loop = False
    trial.suggest_float("x", 0.0, 1.0)
    storage.record_heartbeat(trial._trial_id)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study.optimize(lambda t: t.suggest_float("x", 0.0, 1.0), n_trials=1)
    assert [t.state.name for t in study.trials] == ["RUNNING", "COMPLETE"]
    time.sleep(6.5)
    study.optimize(lambda t: t.suggest_float("x", 0.0, 1.0), n_trials=1)
    assert [t.state.name for t in study.trials] == ["FAIL", "COMPLETE", "COMPLETE"]
    assert study.trials[2].user_attrs == {"retry_of": [0]}
    assert study.trials[2].params == study.trials[0].params
    queue_again(study, study.trials[2], times=1)
    assert len(study.trials) == 3


@pytest.mark.parametrize(
    ("where", "code", "expected"),
    [
        ("study.txt", 2, "name a file that ends in"),
        ("/proc/none/study.db", 1, "cannot be opened"),
        ("nodatabase://host/name", 1, "cannot be opened"),
    ],
)
def test_a_storage_that_cannot_be_used_is_one_line(where: str, code: int, expected: str) -> None:
    from fer_edge.errors import FerEdgeError

    with pytest.raises(FerEdgeError, match=expected) as raised:
        open_storage(where, 30)
    assert raised.value.exit_code == code
    assert "\n" not in str(raised.value)


def test_the_plot_shows_which_key_decided(tmp_path: Path) -> None:
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=1))
    optuna.logging.set_verbosity(optuna.logging.ERROR)

    def objective(trial: Any) -> float:
        x, y = trial.suggest_float("x", 0, 1), trial.suggest_float("y", 0, 1)
        trial.report(x, 1)
        if trial.number % 5 == 4:
            raise optuna.TrialPruned
        return float(0.6 + 0.1 * x + 0.001 * y)

    assert importances(study) == {}
    study.optimize(objective, n_trials=40)
    found = importances(study)
    assert found["x"] > 3 * found["y"]
    draw_search(study, tmp_path / "search.svg")
    assert ET.parse(tmp_path / "search.svg").getroot().tag.endswith("svg")
