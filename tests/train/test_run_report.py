"""The page of training runs: from their records alone, and with their models measured."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_edge.cli import main
from fer_edge.contract.labels import LABELS
from fer_edge.errors import DataError, UsageError
from fer_train.run_record import read_runs
from fer_train.run_report import report_on
from tests.train.synthetic_fer2013 import SyntheticFer2013
from tests.train.test_fer2013_ferplus import HEADER, rows_of

pytestmark = pytest.mark.filterwarnings("ignore::fer_train.fer2013.Fer2013Warning")


def write_records(folder: Path, model_sha256: str = "0" * 64, **changes: Any) -> Path:
    """What a run leaves, but for its model and checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    history = [
        {
            "epoch": float(i),
            "loss": 2.0 / i,
            "accuracy": 0.3 + 0.05 * i,
            "public_accuracy": 0.4 + 0.03 * i,
            "public_nll": 1.5 / i if i != 2 else None,
            "seconds": 30.0,
        }
        for i in range(1, 5)
    ]
    record: dict[str, Any] = {
        "model_sha256": model_sha256,
        "recipe": {"model": "vgg_lite", "epochs": 4, "optimizer": {"learning_rate": 0.06}, "stages": []},
        "labels": list(LABELS),
        "parameters": 1_176_359,
        "multiply_accumulates": 117_000_000,
        "epochs": 4,
        "chosen_epoch": 4,
        "chosen_by": "accuracy on PublicTest",
        "temperature": 0.98,
        "data_sha256": "1" * 64,
        "figures": {
            "Training": {"n": 280, "accuracy": 0.7195, "macro_f1": 0.69, "ece": 0.04},
            "PublicTest": {"n": 28, "accuracy": 0.52, "macro_f1": 0.5, "ece": 0.02},
        },
        "seconds": 3725.0,
        "finished": "2026-11-21T11:31:13Z",
        "environment": {"backend": "torch", "versions": {"keras": "3.15.1"}},
    }
    (folder / "history.json").write_text(json.dumps(history))
    (folder / "training.json").write_text(json.dumps({**record, **changes}))
    return folder


def write_run(folder: Path, seed: int, **changes: Any) -> Path:
    """A finished run with a network that was never trained, saved as trained ones are."""
    import keras

    from fer_train.models import build, with_softmax

    keras.utils.set_random_seed(seed)
    network = build("vgg_lite", (48, 48, 1), 7, {"widths": [4, 8], "convolutions": 1})
    # Random logits are near 0: spread them, so that there is something to be sure of.
    network.layers[-1].set_weights([40 * w for w in network.layers[-1].get_weights()])
    folder.mkdir()
    with_softmax(network, 0.5).save(folder / "model.keras")
    digest = hashlib.sha256((folder / "model.keras").read_bytes()).hexdigest()
    return write_records(folder, digest, temperature=0.5, **changes)


@pytest.fixture
def synthetic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SyntheticFer2013:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return SyntheticFer2013.generate(per_class=(4, 8, 8))


def text_of(page: Path) -> str:
    return re.sub(r"<[^>]+>", " ", page.read_text())


def test_the_records_alone_make_a_page_without_keras(tmp_path: Path) -> None:
    run = write_records(tmp_path / "runs" / "one")
    program = (
        "import sys; from pathlib import Path\n"
        "[sys.modules.__setitem__(name, None) for name in ('keras', 'tensorflow', 'torch', 'matplotlib')]\n"
        "from fer_train.run_report import report_on\n"
        f"print(report_on([Path({str(run)!r})]).write_page(Path({str(tmp_path / 'report.html')!r})))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    page = tmp_path / "report.html"
    assert done.stdout.strip() == str(page)
    text = text_of(page)
    for said in ("Training run one", "1.18 M", "117.0 million", "1 h 02 min", "of 4", "71.95%", "52.00%", "0.06"):
        assert said in text, said
    assert "PrivateTest" not in text
    assert not re.search(r"\bnan\b", page.read_text(), re.IGNORECASE)  # the loss of one epoch is unknown
    assert not re.findall(r"://|<script|<link|@import", page.read_text())
    assert page.read_text().count("<svg") == 2


def test_several_runs_are_told_apart(tmp_path: Path) -> None:
    recipe = {"model": "mobilenet", "epochs": 4, "optimizer": {"learning_rate": 0.01}}
    runs = [write_records(tmp_path / "a" / "run"), write_records(tmp_path / "b" / "run", recipe=recipe)]
    assert [run.name for run in read_runs(runs)] == ["a/run", "b/run"]
    assert [run.name for run in read_runs([runs[0], runs[0]])] == ["run (1)", "run (2)"]
    text = text_of(report_on(runs).write_page(tmp_path / "report.html"))
    assert "2 training runs" in text
    differing = text[text.index("what differs") : text.index("the whole recipe")]
    assert "mobilenet" in differing
    assert "0.01" in differing
    assert "epochs" not in differing


def test_a_run_with_the_leak_is_no_result(tmp_path: Path) -> None:
    run = write_records(tmp_path / "leak", recipe={"model": "cnn5", "protocol": "oversampled_then_split"})
    assert "No result: leak" in text_of(report_on([run]).write_page(tmp_path / "report.html"))


def test_the_networks_are_one_table(tmp_path: Path) -> None:
    four = ["happy", "sad", "surprise", "neutral"]
    runs = [
        write_records(tmp_path / "vgg16", recipe={"model": "vgg16"}),
        write_records(tmp_path / "mobilenet_four", recipe={"model": "mobilenet"}, labels=four),
        write_records(tmp_path / "leak", recipe={"model": "cnn5", "protocol": "oversampled_then_split"}, seconds=40),
        write_records(tmp_path / "own", multiply_accumulates=5_500_000, command="fer-edge train --data /my/fer.csv"),
    ]
    lines = report_on(runs).table().splitlines()
    assert lines[2] == "| `vgg16` | 72.7 % | 52.00 % | – | 71.95 % | 1.18 M | 117 | 4 of 4 | 1 h 02 min |"  # noqa: RUF001
    assert lines[3].startswith("| `mobilenet_four`, 4 labels | 67.4 % |")
    assert lines[4].startswith("| `leak`, leak | 81.4 % |")
    assert lines[5].startswith("| `own` | – | 52.00 % |")  # noqa: RUF001
    assert " | 5.5 | " in lines[5]
    assert lines[7].startswith("- `vgg16`: 72.7 % is reported by Pramerdorfer")
    assert lines[9].startswith("- `leak`: 81.4 %")
    assert lines[9].endswith("Trained on copies of test images on purpose; its figures are no result.")
    assert lines[11:] == ["```sh", "fer-edge train --data fer.csv", "```"]


def test_rows_of_other_runs_stay(tmp_path: Path) -> None:
    """Networks are trained one after the other, and the folders of the first ones may be gone."""
    readme = tmp_path / "README.md"
    readme.write_text("<!-- fer-edge networks: begin -->\n<!-- fer-edge networks: end -->\n")

    def say(name: str, model: str, **records: Any) -> str:
        command = f"fer-edge train --recipe {model} --out /my/runs/{name}"
        run = write_records(tmp_path / name, recipe={"model": model}, command=command, **records)
        assert main(["report", str(run), "--splice", str(readme), "--keep-rows"]) == 0
        return readme.read_text()

    first = say("a", "vgg16", seconds=60)
    second = say("b", "mobilenet")
    for line in first.splitlines()[1:-1]:
        assert line in second
    lines = second.splitlines()
    assert [line[:6] for line in lines if line.startswith("| `")] == ["| `a` ", "| `b` "]
    assert lines[-4:-2] == ["fer-edge train --recipe vgg16 --out a", "fer-edge train --recipe mobilenet --out b"]
    third = say("a", "vgg_lite", seconds=7200)
    rows = [line for line in third.splitlines() if line.startswith("| `")]
    assert [row[:6] for row in rows] == ["| `a` ", "| `b` "]
    assert "2 h 00 min" in rows[0]
    assert "Pramerdorfer" not in third  # a note on what it was before
    assert main(["report", str(tmp_path / "b"), "--splice", str(readme)]) == 0
    assert "| `a`" not in readme.read_text()
    assert main(["report", str(tmp_path / "b"), "--keep-rows"]) == 2


def test_the_table_is_put_into_a_markdown_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, readme = write_records(tmp_path / "vgg16"), tmp_path / "README.md"
    readme.write_text("above\n")
    assert main(["report", str(run), "--splice", str(readme)]) == 1
    assert "<!-- fer-edge networks: begin -->" in capsys.readouterr().err
    readme.write_text("above\n<!-- fer-edge networks: begin -->\nold\n<!-- fer-edge networks: end -->\nbelow\n")
    table = tmp_path / "table.md"
    assert main(["report", str(run), "--splice", str(readme), "--markdown", str(table)]) == 0
    text = readme.read_text()
    assert text.startswith("above\n<!-- fer-edge networks: begin -->\n| run | published |")
    assert text.endswith("<!-- fer-edge networks: end -->\nbelow\n")
    assert "old" not in text
    assert table.read_text().strip() in text
    assert not (tmp_path / "report.html").exists()


def test_what_is_missing_or_damaged_is_one_line(tmp_path: Path) -> None:
    run, page = write_records(tmp_path / "run"), tmp_path / "report.html"
    with pytest.raises(UsageError, match="name the folder of a training run"):
        report_on([])
    with pytest.raises(UsageError, match="name it with --data"):
        report_on([run], private=True)
    with pytest.raises(DataError, match=r"absent/training.json: there is no such file"):
        report_on([tmp_path / "absent"])
    for name, content in (("history.json", "[{]"), ("training.json", "{}"), ("training.json", '{"labels": 3}')):
        other = write_records(tmp_path / "other")
        (other / name).write_text(content)
        with pytest.raises(DataError, match=f"{name}: not what a training run leaves") as raised:
            report_on([other])
        assert "\n" not in str(raised.value)
    assert not page.exists()


def test_measured_runs_show_everything(synthetic: SyntheticFer2013, tmp_path: Path) -> None:
    pytest.importorskip("keras", reason="needs the train extra")
    runs = [write_run(tmp_path / "one", seed=1), write_run(tmp_path / "two", seed=2)]
    data, votes = synthetic.write_npz(tmp_path / "fer2013.npz"), tmp_path / "fer2013new.csv"
    votes.write_text(HEADER + "".join(rows_of(synthetic.as_data())))
    page = report_on(runs, data, private=True, ferplus=votes).write_page(tmp_path / "report.html")
    text = text_of(page)
    for said in (
        "Model against model",
        "one over two",
        "Precision over recall, PrivateTest",
        "Is it as often right as it is sure? PrivateTest",
        "one: by expression, PublicTest",
        "two: by expression, PrivateTest",
        "one: surest mistakes, PublicTest",
        "PrivateTest, FER+ labels",
        "averaged with the mirror image",
        "temperature 0.500",
    ):
        assert said in text, said
    # Precision-recall of seven labels, calibration of two runs, two of the history.
    assert page.read_text().count("<svg") == 7 + 2 + 2
    assert page.read_text().count('alt="what made it say') >= 2 * 16
    assert not re.findall(r"://|<script|<link", page.read_text())

    public_only = text_of(report_on(runs[:1], data).write_page(page))
    assert "PrivateTest" not in public_only
    assert "Model against model" not in public_only


def test_a_model_of_another_run_is_refused(synthetic: SyntheticFer2013, tmp_path: Path) -> None:
    pytest.importorskip("keras", reason="needs the train extra")
    run = write_run(tmp_path / "one", seed=1)
    write_records(run, "f" * 64)
    with pytest.raises(DataError, match=r"is not the model that training\.json beside it describes"):
        report_on([run], synthetic.write_npz(tmp_path / "fer2013.npz"))


def test_figures_are_those_of_evaluate(synthetic: SyntheticFer2013, tmp_path: Path) -> None:
    pytest.importorskip("keras", reason="needs the train extra")
    from fer_train.evaluation import evaluate_model
    from fer_train.fer2013 import load
    from fer_train.run_measures import measure_run

    folder, data = write_run(tmp_path / "one", seed=3), synthetic.write_npz(tmp_path / "fer2013.npz")
    (run,) = read_runs([folder])
    measured = measure_run(run, load(data), ("PublicTest",), None).by_split[0]
    evaluated = evaluate_model(folder / "model.keras", data, "PublicTest", flip=True)
    assert evaluated.flip_average is not None
    assert np.array_equal(measured.figures.confusion_matrix, evaluated.figures.confusion_matrix)
    assert measured.ece_before == pytest.approx(evaluated.ece_before_temperature, abs=1e-5)
    assert measured.flipped.nll == pytest.approx(evaluated.flip_average.nll, abs=1e-4)
    assert measured.average_precision == pytest.approx(evaluated.average_precision, abs=1e-4)
    assert evaluated.temperature == 0.5
    assert measured.ece_before != pytest.approx(measured.figures.ece, abs=1e-3)
