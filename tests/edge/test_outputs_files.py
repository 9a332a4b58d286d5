"""jsonl, csv and aggregate: every line whole, whatever happens to the disk, the power or the reader."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from fer_edge.contract.labels import LABELS
from fer_edge.errors import OutputError
from fer_edge.outputs.aggregate import AggregateOutput
from fer_edge.outputs.base import Output, record
from fer_edge.outputs.csv_file import CsvOutput
from fer_edge.outputs.jsonl import JsonlOutput
from fer_edge.outputs.settings import AggregateSettings, LogSettings
from tests.edge.sample_observations import eventually, face, numpy_observation, observation, run_status

AT_ONCE = LogSettings(flush_interval_s=0)
SEEN = observation(7, face(1, "happy", 0.7), face(2, "sad", 0.5, (200, 40, 60, 62)))


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write_all(output: Output, *frames: int) -> None:
    output.open()
    for frame in frames:
        output.write(observation(frame, face()), None)
    output.close()


def run_python(code: str, stdout: int | None = subprocess.PIPE) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen([sys.executable, "-c", code], stdout=stdout, stderr=subprocess.PIPE, env=environment)


def test_a_record_has_the_documented_keys_and_rounds_to_what_numbers_can_mean() -> None:
    assert record(SEEN) == {
        "frame": 7,
        "time": 0.233,
        "age_ms": 12.35,
        "faces": [
            {
                "id": 1,
                "box": [40, 30, 80, 80],
                "expression": "happy",
                "score": 0.7,
                "probabilities": {label: 0.7 if label == "happy" else 0.05 for label in LABELS},
            },
            {
                "id": 2,
                "box": [200, 40, 60, 62],
                "expression": "sad",
                "score": 0.5,
                "probabilities": {label: 0.5 if label == "sad" else 0.0833 for label in LABELS},
            },
        ],
        "timing_ms": {"detect": 4.568, "classify": 0.4, "total": 5.1},
    }


def test_a_record_is_json_even_if_the_numbers_are_numpys() -> None:
    document = json.loads(json.dumps(record(numpy_observation())))
    assert document["faces"][0]["box"] == [1, 2, 3, 4]
    assert document["faces"][0]["score"] == 0.1429


def test_jsonl_writes_one_line_a_frame_faces_or_not(tmp_path: Path) -> None:
    path = tmp_path / "new" / "faces.jsonl"
    output = JsonlOutput(path, LogSettings())
    output.open()
    output.write(observation(0), None)
    output.write(SEEN, None)
    output.close()
    assert rows(path) == [record(observation(0)), record(SEEN)]


def test_lines_are_collected_and_a_status_writes_those_that_waited_long_enough(tmp_path: Path) -> None:
    path = tmp_path / "faces.jsonl"
    patient = JsonlOutput(path, LogSettings(flush_interval_s=3600))
    patient.open()
    patient.write(SEEN, None)
    patient.status(run_status())
    assert path.stat().st_size == 0
    patient.close()
    assert len(rows(path)) == 1

    hasty = JsonlOutput(path, LogSettings(flush_interval_s=0.05))
    hasty.open()
    hasty.write(SEEN, None)

    def flushed() -> bool:
        hasty.status(run_status())
        return len(rows(path)) == 2

    eventually(flushed, "the line is written though no further frame came")
    hasty.close()


@pytest.mark.parametrize("flush_interval_s", [0, 3600])
def test_rotation_keeps_every_line_whole_and_the_newest_files(tmp_path: Path, flush_interval_s: float) -> None:
    path = tmp_path / "faces.jsonl"
    settings = LogSettings(max_bytes=20_000, keep=2, flush_interval_s=flush_interval_s)
    write_all(JsonlOutput(path, settings), *range(1500))
    files = sorted(tmp_path.iterdir(), key=lambda file: file.suffix)
    assert [file.name for file in files] == ["faces.jsonl.1", "faces.jsonl.2", "faces.jsonl"]
    frames = [line["frame"] for file in (files[1], files[0], files[2]) for line in rows(file)]
    assert frames == list(range(frames[0], 1500))
    if flush_interval_s == 0:
        assert all(file.stat().st_size <= 20_000 for file in files)


def test_rotation_that_keeps_nothing_deletes_the_full_file(tmp_path: Path) -> None:
    path = tmp_path / "faces.jsonl"
    write_all(JsonlOutput(path, LogSettings(max_bytes=2000, keep=0, flush_interval_s=0)), *range(50))
    assert [file.name for file in tmp_path.iterdir()] == ["faces.jsonl"]
    assert rows(path)[-1]["frame"] == 49


@pytest.mark.parametrize("zeros", [0, 1, 5000])
def test_after_a_power_cut_at_any_byte_the_file_holds_whole_lines_only(tmp_path: Path, zeros: int) -> None:
    path = tmp_path / "faces.jsonl"
    write_all(JsonlOutput(path, AT_ONCE), 0, 1)
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    for cut in range(0, len(whole) + 1, 1 if zeros == 0 else 37):
        path.write_bytes(whole[:cut] + bytes(zeros))
        write_all(JsonlOutput(path, AT_ONCE), 2)
        kept = [0] * (cut >= first - 1) + [1] * (cut >= len(whole) - 1)
        if zeros and cut in {first - 1, len(whole) - 1}:
            kept.pop()  # zero bytes instead of the line feed
        assert [line["frame"] for line in rows(path)] == [*kept, 2], cut


@pytest.mark.parametrize("zeros", [0, 4096])
def test_a_csv_file_is_mended_after_a_power_cut_too(tmp_path: Path, zeros: int) -> None:
    path = tmp_path / "faces.csv"
    write_all(CsvOutput(path, LABELS, AT_ONCE), 0, 1)
    whole = path.read_bytes()
    ends = [at + 1 for at, byte in enumerate(whole) if byte == ord("\n")]
    for cut in range(0, len(whole) + 1, 1 if zeros == 0 else 37):
        path.write_bytes(whole[:cut] + bytes(zeros))
        write_all(CsvOutput(path, LABELS, AT_ONCE), 2)
        with path.open(newline="", encoding="utf-8") as file:
            table = list(csv.DictReader(file))
        # A number without the line feed behind it may be cut short: the row does not count.
        expected = [frame for frame, end in zip("01", ends[1:], strict=True) if cut >= end]
        assert [row["frame"] for row in table] == [*expected, "2"], cut
        assert all(row["p_happy"] == "0.7" for row in table), cut


@pytest.mark.parametrize(
    "content",
    [
        b"milk\neggs\n",
        b"milk",
        b'{\n  "key": 1\n}\n',
        b'{\n  "key": 1\n}',
        b'{"frame": 1}\nnotes that somebody wrote here\n',
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    ],
)
@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_a_file_of_another_kind_is_refused_and_left_as_it_is(tmp_path: Path, kind: str, content: bytes) -> None:
    path = tmp_path / "notes"
    path.write_bytes(content)
    output: Output = JsonlOutput(path, AT_ONCE) if kind == "jsonl" else CsvOutput(path, LABELS, AT_ONCE)
    with pytest.raises(OutputError, match=f"{path}: exists and is no .* to append to; move it or name another file"):
        output.open()
    assert path.read_bytes() == content


def test_a_csv_file_of_another_model_is_refused_and_so_is_a_new_model_mid_run(tmp_path: Path) -> None:
    path = tmp_path / "faces.csv"
    write_all(CsvOutput(path, LABELS, AT_ONCE), 0)
    with pytest.raises(OutputError, match="no CSV file with the columns of this model"):
        CsvOutput(path, ("calm", "upset"), AT_ONCE).open()
    other = CsvOutput(tmp_path / "other.csv", ("calm", "upset"), AT_ONCE)
    other.open()
    with pytest.raises(OutputError, match="the model has other labels now"):
        other.write(SEEN, None)
    other.close()


def test_csv_writes_one_row_a_face_and_one_header(tmp_path: Path) -> None:
    path = tmp_path / "faces.csv"
    for _ in range(2):
        output = CsvOutput(path, LABELS, LogSettings())
        output.open()
        output.write(SEEN, None)
        output.write(observation(8), None)
        output.close()
    with path.open(newline="", encoding="utf-8") as file:
        table = list(csv.reader(file))
    assert table[0] == [
        *("frame", "time", "age_ms", "id", "x", "y", "width", "height", "expression", "score"),
        *("p_angry", "p_disgust", "p_fear", "p_happy", "p_sad", "p_surprise", "p_neutral"),
    ]
    assert table[1][:10] == ["7", "0.233", "12.35", "1", "40", "30", "80", "80", "happy", "0.7"]
    assert table[2][3:10] == ["2", "200", "40", "60", "62", "sad", "0.5"]
    assert len(table) == 5


def test_two_writers_of_one_file_are_refused(tmp_path: Path) -> None:
    first = JsonlOutput(tmp_path / "faces.jsonl", AT_ONCE)
    first.open()
    with pytest.raises(OutputError, match="another process is writing it"):
        JsonlOutput(tmp_path / "faces.jsonl", AT_ONCE).open()
    first.close()
    write_all(JsonlOutput(tmp_path / "faces.jsonl", AT_ONCE), 1)


def test_an_impossible_path_fails_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "faces.jsonl", tmp_path):
        with pytest.raises(OutputError, match=r"cannot be written \(.+\); free some space or name another place"):
            JsonlOutput(path, AT_ONCE).open()


def test_a_full_disk_leaves_whole_lines_and_later_ones_are_written_again(tmp_path: Path) -> None:
    """A limit on the file's size stops a write in the middle, as a full disk does."""
    path = tmp_path / "faces.jsonl"
    code = f"""
import resource
from pathlib import Path
from fer_edge.errors import OutputError
from fer_edge.outputs.jsonl import JsonlOutput
from fer_edge.outputs.settings import LogSettings
from tests.edge.sample_observations import observation, face
output = JsonlOutput(Path({str(path)!r}), LogSettings(flush_interval_s=3600))
output.open()
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
for frame in range(20):
    output.write(observation(frame, face()), None)
try:
    output.close()
except OutputError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
output.open()
output.write(observation(99), None)
output.close()
"""
    process = run_python(code)
    stdout, stderr = process.communicate()
    assert stdout.decode() == f"{path}: cannot be written (File too large); free some space or name another place\n"
    assert process.returncode == 0, stderr
    frames = [line["frame"] for line in rows(path)]
    assert frames == [*range(len(frames) - 1), 99]
    assert len(frames) > 3


def test_a_killed_process_leaves_a_file_that_the_next_one_continues(tmp_path: Path) -> None:
    path = tmp_path / "faces.jsonl"
    code = f"""
from itertools import count
from pathlib import Path
from fer_edge.outputs.jsonl import JsonlOutput
from fer_edge.outputs.settings import LogSettings
from tests.edge.sample_observations import observation, face
output = JsonlOutput(Path({str(path)!r}), LogSettings(flush_interval_s=0.01))
output.open()
for frame in count():
    output.write(observation(frame, face()), None)
"""
    process = run_python(code)
    eventually(lambda: path.exists() and path.stat().st_size > 100_000, "the process writes")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    write_all(JsonlOutput(path, AT_ONCE), -1)
    frames = [line["frame"] for line in rows(path)]
    assert frames == [*range(len(frames) - 1), -1]


STDOUT_RUN = """
import sys
from itertools import count
from fer_edge.errors import OutputError
from fer_edge.outputs.base import OutputClosed
from fer_edge.outputs.jsonl import JsonlOutput
from fer_edge.outputs.settings import LogSettings
from tests.edge.sample_observations import observation, face
output = JsonlOutput(None, LogSettings())
output.open()
try:
    for frame in count():
        output.write(observation(frame, face()), None)
except OutputClosed as error:
    sys.stderr.write(f"closed: {error}")
except OutputError as error:
    sys.stderr.write(f"failed: {error}")
"""


def test_stdout_gives_each_line_at_once_and_notices_that_its_reader_has_gone() -> None:
    process = run_python(STDOUT_RUN)
    assert process.stdout is not None
    assert process.stderr is not None
    assert [json.loads(process.stdout.readline())["frame"] for _ in range(3)] == [0, 1, 2]
    process.stdout.close()
    assert process.stderr.read() == b"closed: stdout: the reader has gone"
    assert process.wait() == 0
    process.stderr.close()


def test_stdout_on_a_full_disk_is_one_line() -> None:
    with Path("/dev/full").open("wb") as full:
        process = run_python(STDOUT_RUN, stdout=full.fileno())
        assert (
            process.communicate()[1] == b"failed: stdout: cannot be written (No space left on device); free some space"
        )
        assert process.returncode == 0


def test_stdout_works_where_another_program_made_the_pipe_non_blocking() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    process = run_python(STDOUT_RUN, stdout=writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        # Far more than a pipe holds, read slowly.
        assert [json.loads(pipe.readline())["frame"] for _ in range(2000)] == list(range(2000))
    assert process.communicate()[1].startswith(b"closed")


def test_a_fifo_without_a_reader_fails_at_once_and_with_one_gets_lines(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    with pytest.raises(OutputError, match="nobody reads this FIFO"):
        JsonlOutput(path, AT_ONCE).open()
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(path.read_text(encoding="utf-8")))
    reader.start()

    def opened() -> bool:
        try:
            write_all(JsonlOutput(path, AT_ONCE), 3)
        except OutputError:
            return False
        return True

    eventually(opened, "the reader is there")
    reader.join()
    assert json.loads(read[0])["frame"] == 3


def test_aggregate_counts_by_interval_and_keeps_nothing_of_a_face(tmp_path: Path) -> None:
    path = tmp_path / "counts.jsonl"
    output = AggregateOutput(path, AggregateSettings(interval_s=60), LogSettings())
    output.open()
    for second in range(0, 90, 10):
        faces = (face(1, "happy"), face(2, "uncertain", 0.3)) if second % 20 == 0 else ()
        output.write(observation(second, *faces, time_s=600.0 + second), None)
    output.close()
    assert rows(path) == [
        {
            "time": 600.0,
            "interval_s": 60.0,
            "frames": 6,
            "frames_with_face": 3,
            "faces_at_once": 2,
            "expressions": {"happy": 3, "uncertain": 3},
        },
        {
            "time": 660.0,
            "interval_s": 60.0,
            "frames": 3,
            "frames_with_face": 2,
            "faces_at_once": 2,
            "expressions": {"happy": 2, "uncertain": 2},
        },
    ]
