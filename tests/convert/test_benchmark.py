from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_convert.graph_edit import unpack
from fer_convert.latency_machine import BoardState
from fer_convert.latency_operators import added, cut_graph
from fer_convert.latency_subject import preprocessing_of
from fer_convert.latency_worker import Job, run_job
from fer_edge.cli import main
from fer_edge.contract.interpreter import find_runtime
from fer_edge.contract.labels import LABELS
from fer_edge.contract.native_log import native_messages
from fer_edge.contract.verify import verify_model
from fer_edge.errors import FerEdgeError, UsageError
from tests.contract.small_graph import SmallGraph
from tests.edge.tiny_model import write_tiny_model
from tests.train.synthetic_fer2013 import SyntheticFer2013

QUICK = ("--rounds", "2", "--samples", "20", "--frames", "3", "--threads", "1")


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return write_tiny_model(tmp_path / "tiny.tflite")


@pytest.fixture
def stranger(tmp_path: Path) -> Path:
    """A file of another project: no card, other input, floats."""
    path = tmp_path / "stranger.tflite"
    path.write_bytes(SmallGraph("float32").bytes())
    return path


def document(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    code = main(["benchmark", *map(str, arguments), "--json"])
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert code == (0 if result["valid"] else 1)
    return result


def test_two_models_take_turns_and_leave_their_samples(
    tiny: Path, stranger: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = document(capsys, tiny, stranger, "--scale", "1/127.5,-1", *QUICK)
    assert result["kind"] == "fer-edge benchmark"
    assert [model["name"] for model in result["models"]] == ["tiny", None]
    assert [model["input"] for model in result["models"]] == [[48, 48, 1], [16, 16, 1]]
    for model in result["models"]:
        (one,) = model["threads"]
        assert [len(samples) for samples in one["samples_ms"]] == [20, 20]
        assert one["latency_ms"]["n"] == 40
        assert 0 < one["latency_ms"]["p50"] <= one["latency_ms"]["p99"] <= one["latency_ms"]["max"]
        # Two fresh processes: each has a start, a first inference and a warm-up of its own.
        assert len(one["cold_start_ms"]) == len(one["first_inference_ms"]) == len(one["warm_up"]) == 2
        assert min(one["cold_start_ms"]) > max(one["load_ms"]) > 0
        assert one["peak_rss_mb"] > 10
        stages = model["stages"]
        assert [len(times) for times in stages["samples_ms"]["detect"]] == [3, 3]
        assert stages["faces_a_frame"] >= 0.9
        parts = [stages["mean_ms"][name] for name in ("decode", "detect", "preprocess", "invoke", "post")]
        assert all(part > 0 for part in parts)
    assert result["machine"]["architecture"]
    assert result["machine"]["runtime"]
    assert len(result["board"]["between"]) == 2
    assert {"temperature_c", "clock_mhz", "governor", "throttled"} <= result["board"]["before"].keys()


def test_people_get_tables_and_a_file(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "result.json"
    assert main(["benchmark", str(tiny), *QUICK, "--json", str(target)]) == 0
    out = capsys.readouterr().out
    assert "classifier alone" in out
    assert "demo scene" in out
    assert max(map(len, out.splitlines()[1:])) <= 80
    assert json.loads(target.read_text())["models"][0]["sha256"]


def test_accuracy_stands_beside_the_latency(
    tiny: Path, stranger: Path, tmp_path: Path, synthetic_fer2013: SyntheticFer2013, capsys: pytest.CaptureFixture[str]
) -> None:
    data = synthetic_fer2013.write_npz(tmp_path / "fer2013.npz")
    describe = tmp_path / "strangers.json"
    describe.write_text(json.dumps({"stranger.tflite": {"labels": LABELS[::-1], "scale": "1/255"}}))
    quick = ("--rounds", "1", "--samples", "5", "--frames", "0", "--threads", "1", "--limit", "20")
    result = document(capsys, tiny, stranger, "--describe", describe, "--data", data, *quick)
    ours, theirs = (model["accuracy"] for model in result["models"])
    assert ours["n"] == theirs["n"] == 20
    assert ours["per_class"]["happy"]["recall"] == 1.0  # it answers nothing else
    assert 0.0 <= theirs["accuracy"] <= 1.0
    assert result["models"][1]["labels"] == list(LABELS[::-1])


def test_each_operator_has_its_time(tiny: Path, stranger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    quick = ("--rounds", "1", "--samples", "5", "--frames", "0", "--threads", "1")
    for model in document(capsys, tiny, stranger, "--operators", *quick)["models"]:
        assert [one["operator"] for one in model["operators"]][-1] == "SOFTMAX"
        assert all(one["ms"] >= 0 for one in model["operators"])
        assert sum(one["ms"] for one in model["operators"]) > 0
    assert main(["benchmark", str(tiny), *quick, "--operators"]) == 0
    assert "operators in their order" in capsys.readouterr().out


@pytest.mark.parametrize("dtype", ["int8", "float32"])
def test_a_graph_cut_after_its_last_operator_is_the_whole_one(dtype: str) -> None:
    """Eleven operators, a sum with two branches among them: each cut runs and gives what the whole one has there."""
    data = SmallGraph(dtype).bytes()
    model = unpack(data)
    whole = interpreter_of(data)
    count = len(model.subgraphs[0].operators)
    assert count == 11
    for end in range(1, count + 1):
        cut = interpreter_of(cut_graph(model, end))
        for details in cut.get_output_details():
            given, kept = cut.get_tensor(details["index"]), whole.get_tensor(details["index"])
            assert given.any() or not kept.any()
            np.testing.assert_allclose(given.astype(float), kept.astype(float), rtol=1e-4, atol=1.0 * (dtype == "int8"))
    assert len(cut_graph(model, 1)) < len(cut_graph(model, count))


def interpreter_of(data: bytes) -> Any:
    """One that has seen a picture and keeps every tensor."""
    with native_messages(bool), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "for debugging only", which is what it is for
        interpreter = find_runtime().interpreter(model_content=data, experimental_preserve_all_tensors=True)
        interpreter.allocate_tensors()
    (first,) = interpreter.get_input_details()
    rng = np.random.default_rng(1)
    interpreter.set_tensor(first["index"], rng.integers(-128, 128, first["shape"]).astype(first["dtype"]))
    interpreter.invoke()
    return interpreter


def test_what_operators_add_is_never_negative() -> None:
    assert added([1.0, 3.0, 2.5, 4.0]) == [1.0, 2.0, 0.0, 1.0]


def test_the_arena_holds_what_is_needed_at_once(tiny: Path) -> None:
    described = run_job(Job(model=str(tiny), describe=True))
    graph = verify_model(tiny.read_bytes(), "tiny")
    sizes = [graph.tensors[t].elements for o in graph.operators for t in o.outputs]  # int8: a byte each
    assert max(sizes) < described["arena_bytes"] <= sum(sizes) + 48 * 48


def test_accuracy_of_a_stranger_needs_its_labels(
    stranger: Path, tmp_path: Path, synthetic_fer2013: SyntheticFer2013
) -> None:
    data = synthetic_fer2013.write_npz(tmp_path / "fer2013.npz")
    with pytest.raises(FerEdgeError, match="needs --labels") as raised:
        run_job(Job(model=str(stranger), data=str(data)))
    assert raised.value.exit_code == 2


def test_a_sustained_run_is_told_by_windows(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--rounds", "1", "--samples", "5", "--frames", "0", "--threads", "1", "--sustained", "0.01")
    (model,) = document(capsys, tiny, *arguments)["models"]
    (window,) = model["sustained"]["windows"]
    assert window["n"] > 10
    assert window["board"].keys() >= {"temperature_c", "throttled"}
    assert model["sustained"]["slowdown"] == 1.0  # first and last are the same window


def test_a_run_that_was_throttled_is_marked(
    tiny: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = iter([0x0, 0x4, 0x40000])
    monkeypatch.setattr(
        "fer_convert.benchmark.board_state",
        lambda: BoardState(81.0, 1000.0, "ondemand", next(flags), None, 1.0),
    )
    arguments = [str(tiny), "--rounds", "1", "--samples", "5", "--frames", "0", "--threads", "1"]
    assert main(["benchmark", *arguments]) == 1
    captured = capsys.readouterr()
    assert "INVALID: the board slowed itself down: throttled" in captured.out
    assert "fer-edge: INVALID" in captured.err


def test_operators_are_listed(tiny: Path) -> None:
    operators = run_job(Job(model=str(tiny), describe=True))["operators"]
    assert [one["operator"] for one in operators] == ["FULLY_CONNECTED", "SOFTMAX"]
    assert operators[0]["multiplications"] == 7 * 48 * 48


def test_a_hostile_file_is_refused_before_anything_is_measured(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = SmallGraph()
    small.operators["conv"].builtinOptions.strideH = 0
    hostile = small.write(tmp_path / "hostile.tflite")
    assert main(["benchmark", str(tiny), str(hostile), *QUICK]) == 78
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "stride" in captured.err


def test_an_unverified_graph_runs_only_on_request_and_its_crash_is_survived(tmp_path: Path) -> None:
    small = SmallGraph("float32")
    small.operators["conv"].builtinOptions.strideH = 0
    path = tmp_path / "stranger.tflite"
    path.write_bytes(small.bytes())
    with pytest.raises(FerEdgeError, match="stride"):
        run_job(Job(model=str(path), samples=1))
    with pytest.raises(FerEdgeError, match=r"crashed on it|cannot load it"):
        run_job(Job(model=str(path), samples=1, unverified=True))


def test_the_input_of_a_stranger_can_be_told(stranger: Path) -> None:
    with pytest.raises(FerEdgeError, match="cannot load it"):
        run_job(Job(model=str(stranger), describe=True, input=(20, 20, 1)))
    assert run_job(Job(model=str(stranger), describe=True, input=(16, 16, 1)))["input"] == [16, 16, 1]


def test_words_of_the_command_line() -> None:
    told = preprocessing_of("a, b", "48x64x3", "1/127.5,-1")
    assert told.labels == ("a", "b")
    assert told.input == (48, 64, 3)
    assert told.scale == pytest.approx(1 / 127.5)
    assert told.offset == -1.0
    assert preprocessing_of(None, None, "0.5").offset == 0.0


@pytest.mark.parametrize(
    ("labels", "size", "scale"),
    [
        ("a,a", None, None),
        ("a,,b", None, None),
        (None, "48", None),
        (None, "48x48xgrey", None),
        (None, None, "1/0"),
        (None, None, "1,2,3"),
        (None, None, "nan"),
        (None, None, "0"),
        (None, None, "x"),
    ],
)
def test_words_that_cannot_be_read(labels: str | None, size: str | None, scale: str | None) -> None:
    with pytest.raises(UsageError):
        preprocessing_of(labels, size, scale)


@pytest.mark.parametrize(
    "arguments", [["--threads", "0"], ["--threads", "x"], ["--rounds", "0"], ["--samples", "0"], ["--sustained", "nan"]]
)
def test_impossible_settings(tiny: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert main(["benchmark", str(tiny), *arguments]) == 2
    assert arguments[0] in capsys.readouterr().err


def test_the_base_install_is_enough(tiny: Path) -> None:
    # What only the train extra brings is made impossible to import.
    program = (
        "import sys\n"
        "for name in ('tensorflow', 'keras', 'torch', 'pandas', 'matplotlib', 'flatbuffers', 'sklearn'):\n"
        "    sys.modules[name] = None\n"
        "from fer_convert.latency_worker import _main\n"
        f'_main(\'{{"model": "{tiny}", "describe": true, "samples": 2, "frames": 1}}\', \'0\')\n'
        "import fer_convert.benchmark, fer_convert.benchmark_table, fer_convert.latency_accuracy\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["samples_ms"]
