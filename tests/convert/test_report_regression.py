"""``fer-edge report --against``: what counts as a regression, and what is not compared at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fer_convert.report.evidence import wilson_interval
from fer_convert.report.regression import Limits
from fer_edge.cli import main
from fer_edge.errors import UsageError
from tests.convert.report_results import PI, Document, Results, on_machine, slower


@pytest.fixture(scope="module")
def steady(results: Results) -> Path:
    """A benchmark whose intervals are narrow, as those of a quiet machine are."""

    def narrow(document: Document) -> None:
        for model in document["models"]:
            for one in model["threads"]:
                latency = one["latency_ms"]
                latency.update(p50_low=latency["p50"] * 0.99, p50_high=latency["p50"] * 1.01)

    return results.changed(results.folder / "steady.json", narrow)


def compare(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    code = main(["report", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out + captured.err


def test_a_result_has_not_regressed_against_itself(
    results: Results, steady: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out = compare(capsys, steady, results.private, "--against", steady, "--against", results.private)
    assert code == 0
    assert "ratio 1.000" in out
    assert "+0.00 points" in out
    assert "0 of 6 figures regressed" in out  # three models with one and two threads
    assert "0 of 1 figures regressed" in out
    assert "REGRESSED" not in out


def test_a_slower_model_is_a_regression(
    results: Results, steady: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slow = results.changed(tmp_path / "slow.json", slower(1.2, "happy"), of=steady)
    code, out = compare(capsys, slow, "--against", steady)
    assert code == 1
    assert "2 of 6 figures regressed" in out
    first = out.splitlines()[1]
    assert first.startswith("  REGRESSED  happy int8: p50, 1 thread, ")
    assert "ratio 1.200 (95 %: 1.18" in first
    assert compare(capsys, slow, "--against", steady, "--max-slowdown", "21%")[0] == 0
    assert compare(capsys, steady, "--against", slow)[0] == 0  # faster is fine


def test_an_earlier_report_serves_as_well(
    results: Results, steady: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slow = results.changed(tmp_path / "slow.json", slower(1.2), of=steady)
    earlier = tmp_path / "earlier.json"
    assert compare(capsys, steady, results.private, "--json", earlier)[0] == 0
    code, out = compare(capsys, slow, results.private, "--against", earlier)
    assert code == 1
    assert "6 of 7 figures regressed" in out


def test_what_lies_within_the_noise_is_told_but_is_none(
    results: Results, steady: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def noisy(document: Document) -> None:
        for model in document["models"]:
            for one in model["threads"]:
                one["latency_ms"]["p50_low"] = one["latency_ms"]["p50"] * 0.7

    slow = results.changed(tmp_path / "slow.json", slower(1.2), noisy, of=steady)
    code, out = compare(capsys, slow, "--against", steady)
    assert code == 0
    assert "ratio 1.200" in out
    assert out.count("within the noise") == 6


def test_a_machine_that_is_slower_as_a_whole_does_not_count_relative_to_a_model(
    results: Results, steady: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = results.changed(tmp_path / "whole.json", slower(1.5), of=steady)
    assert compare(capsys, whole, "--against", steady)[0] == 1
    assert compare(capsys, whole, "--against", steady, "--relative-to", "sad")[0] == 0
    one = results.changed(tmp_path / "one.json", slower(1.5), slower(1.2, "happy"), of=steady)
    code, out = compare(capsys, one, "--against", steady, "--relative-to", "sad int8")
    assert code == 1
    assert "ms, over sad int8, ratio 1.200" in out
    assert "2 of 6 figures regressed" in out
    code, out = compare(capsys, one, "--against", steady, "--relative-to", "angry")
    assert code == 2
    assert "--relative-to angry" in out


def test_latency_is_compared_between_equal_machines_alone(
    results: Results, steady: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    on_pi = results.changed(tmp_path / "pi.json", on_machine(PI), slower(50.0), of=steady)
    code, out = compare(capsys, on_pi, results.private, "--against", steady)
    assert code == 0
    assert "latency was measured on Raspberry Pi 4" in out
    assert "not the same machine" in out
    assert "nothing was compared" in out
    # A new system on the same board is the same machine, and that it is new is told.
    newer = results.changed(
        tmp_path / "newer.json", on_machine({"os": "Debian 14", "kernel": "7.0"}), slower(1.5), of=on_pi
    )
    code, out = compare(capsys, newer, "--against", on_pi)
    assert code == 1
    assert "also changed: os " in out
    assert "-> Debian 14, kernel " in out


@pytest.mark.parametrize("which", ["emulated", "invalid"])
def test_figures_that_do_not_count_are_not_compared(
    results: Results, steady: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], which: str
) -> None:
    def spoil(document: Document) -> None:
        if which == "emulated":
            document["machine"]["emulated"] = True
        else:
            document.update(valid=False, invalid_because=["the board slowed itself down: throttled"])

    before = results.changed(tmp_path / "before.json", spoil, of=steady)
    slow = results.changed(tmp_path / "slow.json", spoil, slower(9.0), of=steady)
    code, out = compare(capsys, slow, "--against", before)
    assert code == 0
    assert ("emulated, which" if which == "emulated" else "INVALID this time") in out
    assert "nothing was compared" in out


def test_accuracy_that_fell_is_a_regression(
    results: Results, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def figure(share: float, n: int = 3589) -> Path:
        path = tmp_path / f"{share}-{n}.json"
        return results.changed(path, lambda d: d.update(accuracy=share, n=n), of=results.private)

    code, out = compare(capsys, figure(0.67), "--against", figure(0.68))
    assert code == 1
    assert "68.00 % -> 67.00 %, -1.00 points (unpaired 95 %: -3.1" in out
    assert compare(capsys, figure(0.67), "--against", figure(0.68), "--max-drop", "1")[0] == 0
    assert compare(capsys, figure(0.678), "--against", figure(0.68))[0] == 0
    code, out = compare(capsys, figure(0.5, 100), "--against", figure(0.68))
    assert code == 0
    assert "is of 100 images, then of 3,589" in out


def test_models_that_came_or_went_are_told(
    results: Results, steady: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fewer = results.changed(tmp_path / "fewer.json", lambda d: d["models"].pop(0), of=steady)
    code, out = compare(capsys, fewer, "--against", steady)
    assert code == 0
    assert "happy int8: was not measured this time" in out
    assert "happy int8: was not measured then" in compare(capsys, steady, "--against", fewer)[1]


def test_a_new_file_of_the_same_name_is_compared(
    results: Results, steady: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def rebuilt(document: Document) -> None:
        document["models"][0]["sha256"] = "ab" * 32

    newer = results.changed(tmp_path / "newer.json", rebuilt, slower(2.0, "happy"), of=steady)
    code, out = compare(capsys, newer, "--against", steady)
    assert code == 1
    assert "2 of 6 figures regressed" in out


def test_nothing_in_common_is_a_mistake(
    results: Results, steady: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def rename(document: Document) -> None:
        for model in document["models"]:
            model.update(name=f"other {model['path'][-15:]}", sha256=model["sha256"][::-1])

    other = results.changed(tmp_path / "other.json", rename, of=steady)
    code, out = compare(capsys, other, "--against", steady)
    assert code == 2
    assert "no model in common" in out
    (tmp_path / "broken.json").write_text("{")
    assert compare(capsys, steady, "--against", tmp_path / "broken.json")[0] == 1
    assert compare(capsys, steady, "--against", tmp_path / "missing.json")[0] == 2


def test_the_comparison_does_not_keep_the_report_from_being_written(
    results: Results, steady: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slow = results.changed(tmp_path / "slow.json", slower(2.0), of=steady)
    assert compare(capsys, slow, "--against", steady, "--json", tmp_path / "now.json")[0] == 1
    assert json.loads((tmp_path / "now.json").read_text())["kind"] == "fer-edge report"


def test_intervals_of_shares() -> None:
    # Newcombe 1998, Statistics in Medicine 17:857, table I, method 3: 81 of 263 gives 0.2553 to 0.3662.
    assert wilson_interval(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(0.0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson_interval(1.0, 29) == pytest.approx((0.8830, 1.0), abs=5e-5)


@pytest.mark.parametrize("word", ["10", "-1%", "x%", "nan%", "inf%", "%"])
def test_limits_that_cannot_be_read(word: str) -> None:
    with pytest.raises(UsageError, match="--max-slowdown"):
        Limits.parse(word, 0.5)


def test_a_benchmark_of_very_many_files_is_read(results: Results, tmp_path: Path) -> None:
    """Its command names each of them."""
    command = "fer-edge benchmark " + " ".join(
        f"a-network-with-a-long-name-{n}.int8_equalized.tflite" for n in range(500)
    )
    many = results.changed(tmp_path / "many.json", lambda document: document.update(command=command))
    assert main(["report", str(many), "--markdown", str(tmp_path / "many.md")]) == 0
    assert command in (tmp_path / "many.md").read_text()


def test_a_command_that_left_several_documents_is_told_once(results: Results, tmp_path: Path) -> None:
    for name, document in (("one.json", results.private), ("two.json", results.public)):
        (tmp_path / name).write_text(json.dumps(json.loads(document.read_text()) | {"command": "fer-edge same"}))
    paths = [str(results.benchmark), str(tmp_path / "one.json"), str(tmp_path / "two.json")]
    assert main(["report", *paths, "--markdown", str(tmp_path / "table.md")]) == 0
    lines = (tmp_path / "table.md").read_text().splitlines()
    assert [sorted(line[17:].split(", ")) for line in lines if line.startswith("fer-edge same  # ")] == [
        ["one.json", "two.json"]
    ]
