"""``fer-edge report`` on real results: what is joined, what is kept apart, what is written."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from fer_edge.cli import main
from fer_edge.contract.labels import LABELS
from tests.convert.report_results import PI, Document, Results, on_machine, slower


def report(*arguments: object) -> int:
    return main(["report", *map(str, arguments)])


def reported(folder: Path, *paths: object) -> Document:
    """Report and return the JSON document."""
    target = folder / "reported.json"
    assert report(*paths, "--json", target) == 0
    document: Document = json.loads(target.read_text())
    return document


def rows_of(document: Document, table: int = 0) -> dict[str, Document]:
    return {row["model"]: row for row in document["tables"][table]["rows"]}


def test_accuracy_and_latency_are_joined_by_the_checksum(results: Results, tmp_path: Path) -> None:
    document = reported(tmp_path, *results.all)
    (table,) = document["tables"]
    rows = rows_of(document)
    assert set(rows) == {"happy int8", "sad int8", "stranger"}
    happy, measured = rows["happy int8"], json.loads(results.benchmark.read_text())
    threads = {model["name"]: model["threads"] for model in measured["models"]}["happy"]
    assert happy["threads_1_p50_ms"] == threads[0]["latency_ms"]["p50"]
    assert happy["threads_2_p95_ms"] == threads[1]["latency_ms"]["p95"]
    assert happy["peak_rss_mb"] == threads[0]["peak_rss_mb"]
    private = json.loads(results.private.read_text())
    assert happy["PrivateTest_accuracy"] == private["accuracy"] == pytest.approx(1 / 7)
    assert happy["PrivateTest_macro_f1"] == private["macro_f1"]
    assert (happy["PrivateTest_worst_recall"], happy["PrivateTest_n"]) == (0.0, 42)
    assert happy["PrivateTest_accuracy_low"] < 1 / 7 < happy["PrivateTest_accuracy_high"]
    assert happy["PublicTest_n"] == 28
    assert happy["mmac"] == pytest.approx(7 * 48 * 48 / 1e6)
    assert happy["bytes"] == results.happy.stat().st_size
    assert table["machine"].startswith(measured["machine"]["cpu"])


def test_each_number_tells_its_command(results: Results, tmp_path: Path) -> None:
    sources = rows_of(reported(tmp_path, *results.all))["happy int8"]["sources"]
    evaluated = sources["accuracy on PrivateTest"]
    assert evaluated["command"] == "fer-edge evaluate happy.int8.tflite --data fer2013.npz --json"
    assert evaluated["recorded"]
    benchmarked = sources["latency and memory"]
    assert benchmarked["command"].startswith("fer-edge benchmark happy.int8.tflite sad.int8.tflite stranger.tflite")
    assert "--describe strangers.json" in benchmarked["command"]
    assert benchmarked["file"] == "benchmark.json"
    # A published report tells nothing about folders.
    assert str(results.folder) not in (tmp_path / "reported.json").read_text()


def test_paths_within_options_are_shortened_too(results: Results, tmp_path: Path) -> None:
    words = "fer-edge evaluate m.tflite --data=/home/me/fer.csv --labels ferplus=/home/me/votes.csv --json"
    told = results.changed(tmp_path / "told.json", lambda d: d.update(command=words), of=results.private)
    source = rows_of(reported(tmp_path, told))["happy int8"]["sources"]["accuracy on PrivateTest"]
    assert source["command"] == "fer-edge evaluate m.tflite --data=fer.csv --labels ferplus=votes.csv --json"


def test_a_command_that_was_not_recorded_is_put_together(results: Results, tmp_path: Path) -> None:
    old = results.changed(tmp_path / "old.json", lambda document: document.pop("command"))
    sources = rows_of(reported(tmp_path, old))["happy int8"]["sources"]
    assert not sources["latency and memory"]["recorded"]
    assert sources["latency and memory"]["command"] == (
        "fer-edge benchmark happy.int8.tflite sad.int8.tflite stranger.tflite --threads 1,2 --rounds 1 --samples 20 "
        "--frames 2 --json"
    )


def test_the_latency_of_an_evaluation_is_not_shown(results: Results, tmp_path: Path) -> None:
    # It was measured somewhere, but the document does not tell where.
    assert json.loads(results.private.read_text())["latency_ms"]
    document = reported(tmp_path, results.private)
    (row,) = document["tables"][0]["rows"]
    assert document["tables"][0]["machine"] is None
    assert not [name for name in row if name.endswith("_ms")]
    assert row["pareto"] == "left out"


def test_machines_are_never_mixed(results: Results, tmp_path: Path) -> None:
    on_pi = results.changed(tmp_path / "pi.json", on_machine(PI), slower(30.0))
    document = reported(tmp_path, *results.all, on_pi)
    here, there = document["tables"]
    assert "Raspberry Pi 4" in there["machine"]
    assert "Raspberry Pi 4" not in here["machine"]
    slow, fast = rows_of(document, 1)["happy int8"], rows_of(document, 0)["happy int8"]
    assert slow["threads_1_p50_ms"] == pytest.approx(30 * fast["threads_1_p50_ms"])
    # The accuracy from the workstation stands beside the latency from the device.
    assert slow["PrivateTest_accuracy"] == fast["PrivateTest_accuracy"]
    assert {row["machine"] for row in there["rows"]} == {there["machine"]}


def test_another_file_of_the_same_name_is_another_model(results: Results, tmp_path: Path) -> None:
    other = results.changed(tmp_path / "other.json", lambda d: d.update(sha256="ab" * 32), of=results.private)
    document = reported(tmp_path, results.benchmark, other)
    names = {row["model"] for table in document["tables"] for row in table["rows"]}
    (ours,) = (name for name in names if name.startswith("happy int8 (") and "abababab" not in name)
    assert {ours, "happy int8 (abababab)"} <= names
    assert rows_of(document)[ours]["PrivateTest_accuracy"] is None
    assert rows_of(document, 1)["happy int8 (abababab)"]["pareto"] == "left out"


def test_what_is_emulated_or_throttled_is_marked_and_left_out(results: Results, tmp_path: Path) -> None:
    def throttle(document: Document) -> None:
        document.update(valid=False, invalid_because=["the board slowed itself down: throttled"])

    emulated = results.changed(tmp_path / "emulated.json", on_machine(PI | {"emulated": True}))
    throttled = results.changed(tmp_path / "throttled.json", on_machine(PI), throttle)
    document = reported(tmp_path, results.private, results.sad_private, emulated, throttled)
    by_machine = {table["machine"]: table for table in document["tables"]}
    assert [table["rows"][0]["emulated"] for table in document["tables"]] == [False, True]  # real ones first
    for name, table in by_machine.items():
        assert {row["pareto"] for row in table["rows"]} == {"left out"}
        reason = "emulated" if "EMULATED" in name else "INVALID"
        assert {row["left_out_because"] for row in table["rows"]} == {reason}
    assert report(results.private, emulated, throttled, "--markdown", tmp_path / "r.md") == 0
    text = (tmp_path / "r.md").read_text()
    assert "INVALID: the board slowed itself down: throttled." in text
    assert "EMULATED: these figures tell of correctness" in text


def test_a_valid_run_is_preferred_to_a_later_throttled_one(results: Results, tmp_path: Path) -> None:
    def later(document: Document) -> None:
        document.update(started="2999-01-01T00:00:00+00:00", valid=False, invalid_because=["hot"])

    bad = results.changed(tmp_path / "bad.json", slower(3.0), later)
    good, both = reported(tmp_path, *results.all), reported(tmp_path, bad, *results.all)
    assert rows_of(both)["happy int8"]["threads_1_p50_ms"] == rows_of(good)["happy int8"]["threads_1_p50_ms"]
    assert rows_of(both)["happy int8"]["valid"]


def test_figures_of_fewer_images_or_labels_do_not_compete(results: Results, tmp_path: Path) -> None:
    few = results.changed(tmp_path / "few.json", lambda d: d.update(n=7), of=results.sad_private)
    row = rows_of(reported(tmp_path, results.benchmark, results.private, few))["sad int8"]
    assert row["left_out_because"] == "accuracy of 7 images, others of 42"

    def four(document: Document) -> None:
        document["per_class"] = {label: document["per_class"][label] for label in LABELS[:4]}

    fewer = results.changed(tmp_path / "four.json", four, of=results.sad_private)
    row = rows_of(reported(tmp_path, results.benchmark, results.private, fewer))["sad int8"]
    assert row["PrivateTest_accuracy"] is None
    assert row["PrivateTest (4 labels)_accuracy"] == pytest.approx(1 / 7)
    assert row["left_out_because"] == "no PrivateTest accuracy"


def test_a_record_of_a_conversion_is_joined_by_the_file_beside_it(results: Results, tmp_path: Path) -> None:
    record = results.record(tmp_path)

    def add_figures(document: Document) -> None:
        document["sha256"] = json.loads(results.private.read_text())["sha256"]
        document["card"]["figures"] = {"PublicTest": {"n": 3589, "accuracy": 0.6, "recall": {"sad": 0.25}}}

    with_figures = results.changed(tmp_path / "figures.json", add_figures, of=record)
    row = rows_of(reported(tmp_path, results.benchmark, with_figures))["happy int8"]
    assert (row["PublicTest_accuracy"], row["PublicTest_worst_class"]) == (0.6, "sad")
    assert row["sources"]["accuracy on PublicTest"]["command"].startswith("fer-edge convert model.keras")
    assert len(reported(tmp_path, results.benchmark, record)["tables"]) == 1  # found by its checksum, no model more


def test_a_record_without_its_file_is_refused(
    results: Results, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = results.record(tmp_path)
    shutil.copy(results.sad, record.with_suffix(".tflite"))
    assert report(record) == 1
    assert "the record of another file" in capsys.readouterr().err
    record.with_suffix(".tflite").unlink()
    assert report(record) == 1
    assert "keep the two together" in capsys.readouterr().err


def test_out_writes_everything(results: Results, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    out = tmp_path / "new" / "out"
    assert report(*results.all, "--out", out) == 0
    names = {f"report.{suffix}" for suffix in ("html", "md", "csv", "json", "svg", "png")}
    assert {path.name for path in out.iterdir()} == names
    assert capsys.readouterr().out == ""
    with (out / "report.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert {line["model"] for line in lines} == {"happy int8", "sad int8", "stranger"}
    assert all(float(line["threads_1_p50_ms"]) > 0 for line in lines)
    assert ET.parse(out / "report.svg").getroot().tag.endswith("svg")
    assert "![accuracy against latency](report.svg)" in (out / "report.md").read_text()


def test_without_a_target_the_tables_go_to_stdout(results: Results, capsys: pytest.CaptureFixture[str]) -> None:
    assert report(*results.all) == 0
    out = capsys.readouterr().out
    table = [line for line in out.splitlines() if line.startswith("|")]
    assert len(table) == 2 + 3
    assert len({line.count("|") for line in table}) == 1
    assert "fer-edge evaluate happy.int8.tflite" in out


def test_a_report_is_read_again(results: Results, tmp_path: Path) -> None:
    first = reported(tmp_path, *results.all)
    (tmp_path / "reported.json").rename(tmp_path / "first.json")
    assert reported(tmp_path, tmp_path / "first.json") == first
    # And together with the results that it was made of it holds nothing twice.
    assert reported(tmp_path, tmp_path / "first.json", *results.all)["tables"] == first["tables"]


class Page(HTMLParser):
    """What matters of a page: what it refers to, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.references: list[str] = []
        self.tags: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.references += [value or "" for name, value in attrs if name in ("src", "href", "data", "action", "poster")]


def test_the_page_holds_all_it_needs(results: Results, tmp_path: Path) -> None:
    assert report(*results.all, "--html", tmp_path / "r.html") == 0
    text = (tmp_path / "r.html").read_text()
    page = Page(text)
    assert page.references == []
    assert not re.search(r"url\(|@import|https?://(?!www\.w3\.org/2000/svg)", text)
    assert "default-src 'none'" in text
    assert page.tags.count("svg") == 2  # the wide one and the telephone's
    assert "prefers-color-scheme:dark" in text


HOSTILE = "<script>alert(1)</script>|`*\n<!-- fer-edge report: end -->"


def test_names_cannot_break_out(results: Results, tmp_path: Path) -> None:
    def rename(document: Document) -> None:
        document["models"][0].update(name=HOSTILE)
        document["models"][1].update(name="=HYPERLINK(1)")
        document["machine"]["os"] = HOSTILE
        document["command"] = f"fer-edge {HOSTILE}\n```\n# Mine"

    hostile = results.changed(tmp_path / "hostile.json", rename)
    readme = tmp_path / "README.md"
    readme.write_text("<!-- fer-edge report: begin -->\n<!-- fer-edge report: end -->\nafter\n")
    targets = ("--html", tmp_path / "r.html", "--csv", tmp_path / "r.csv", "--splice", readme)
    for _ in range(2):  # the second time, the first one's text stands between the markers
        assert report(hostile, results.private, results.sad_private, *targets, "--plot", tmp_path / "r.svg") == 0
    page = Page((tmp_path / "r.html").read_text())
    assert page.tags.count("script") == 1
    text = readme.read_text()
    assert text.endswith("<!-- fer-edge report: end -->\nafter\n")
    assert "<script>" not in re.sub("```sh.*?```", "", text, flags=re.DOTALL)
    assert len(re.findall("^```", text, flags=re.MULTILINE)) == 2
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in text.splitlines() if line.startswith("|")}) == 1
    assert "'=HYPERLINK(1)" in (tmp_path / "r.csv").read_text()
    ET.parse(tmp_path / "r.svg")


def test_the_readme_is_spliced(results: Results, tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_bytes(
        b"before\r\n<!-- fer-edge report: begin -->\r\nold\r\n<!-- fer-edge report: end -->\r\nafter\r\n"
    )
    plot = tmp_path / "docs" / "front.svg"
    assert report(*results.all, "--splice", readme, "--plot", plot) == 0
    first = readme.read_bytes()
    text = first.decode()
    assert text.startswith(
        "before\r\n<!-- fer-edge report: begin -->\r\n![accuracy against latency](docs/front.svg)\r\n"
    )
    assert text.endswith("```\r\n<!-- fer-edge report: end -->\r\nafter\r\n")
    assert "old" not in text
    assert "\n" not in text.replace("\r\n", "")
    assert plot.is_file()
    assert report(*results.all, "--splice", readme, "--plot", plot) == 0
    assert readme.read_bytes() == first


@pytest.mark.parametrize(
    "text",
    [
        "nothing",
        "<!-- fer-edge report: begin -->",
        "<!-- fer-edge report: end --><!-- fer-edge report: begin -->",
        "<!-- fer-edge report: begin -->" * 2 + "<!-- fer-edge report: end -->",
    ],
)
def test_a_file_without_both_markers_is_left_alone(results: Results, tmp_path: Path, text: str) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(text)
    assert report(*results.all, "--splice", readme, "--html", tmp_path / "r.html") == 1
    assert readme.read_text() == text
    assert not (tmp_path / "r.html").exists()


def broken_benchmarks() -> list[tuple[str, object]]:
    def latency(document: Document, **values: object) -> None:
        document["models"][0]["threads"][0]["latency_ms"].update(values)

    return [
        ("nan", lambda d: latency(d, p50=float("nan"))),
        ("negative", lambda d: latency(d, p50=-1.0)),
        ("zero", lambda d: latency(d, p50=0)),
        ("word", lambda d: latency(d, p50="fast")),
        ("huge", lambda d: latency(d, p50=1e300)),
        ("sha", lambda d: d["models"][0].update(sha256="../x")),
        ("schema", lambda d: d.update(schema=2)),
        ("kind", lambda d: d.update(kind="fer-edge dream")),
        ("no models", lambda d: d.update(models=[])),
        ("no threads", lambda d: d["models"][0].update(threads=[])),
        ("no machine", lambda d: d.pop("machine")),
        ("cores", lambda d: d["machine"].update(cores=0)),
    ]


@pytest.mark.parametrize("change", [pytest.param(change, id=name) for name, change in broken_benchmarks()])
def test_a_malformed_benchmark_is_refused(
    results: Results, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: object
) -> None:
    assert callable(change)
    broken = results.changed(tmp_path / "broken.json", change)
    assert report(*results.all, broken, "--out", tmp_path / "out") == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("fer-edge: error: ")
    assert "broken.json" in captured.err
    assert captured.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b"{}", b'{"kind": 3}'])
def test_what_is_no_result_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], data: bytes) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(data)
    assert report(path) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_words_that_do_not_fit_together(results: Results, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    run.mkdir()
    empty = tmp_path / "empty"
    empty.mkdir()
    (run / "training.json").write_text("{}")
    same = tmp_path / "same.md"
    for arguments in (
        [tmp_path / "missing.json"],
        [*results.all, "--plot", tmp_path / "plot.gif"],
        [*results.all, "--threads", "0"],
        [*results.all, "--threads", "7"],
        [*results.all, "--split", "Training"],
        [*results.all, "--json", results.benchmark],
        [*results.all, "--markdown", same, "--html", same],
        [*results.all, "--max-slowdown", "fast"],
        [*results.all, "--max-slowdown", "0.1"],
        [*results.all, "--max-drop", "nan"],
        [*results.all, "--splice", tmp_path / "missing.md"],
        [empty],
        [run, *results.all],
        [run, "--csv", tmp_path / "r.csv"],
        [*results.all, "--data", results.data],
    ):
        before = results.benchmark.read_bytes()
        assert report(*arguments) == 2, arguments
        assert capsys.readouterr().err.count("\n") == 1
        assert results.benchmark.read_bytes() == before


def test_the_base_install_is_enough_for_all_but_png(results: Results, tmp_path: Path) -> None:
    blocked = (
        "import sys\n"
        "from importlib.abc import MetaPathFinder\n"
        "class Blocked(MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name.split('.')[0] in ('matplotlib', 'tensorflow', 'keras', 'torch', 'pandas', 'flatbuffers'):\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Blocked())\n"
        "from fer_edge.cli import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", blocked, "report", *map(str, (*results.all, *arguments))]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = run("--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".html", ".md", ".csv", ".json", ".svg"}
    assert done.stderr == (
        "fer-edge: no report.png: it needs the train extra (matplotlib); report.svg shows the same\n"
    )
    done = run("--plot", tmp_path / "plot.png")
    assert done.returncode == 2
    assert "fer-edge[train]" in done.stderr
    assert done.stderr.count("\n") == 1
