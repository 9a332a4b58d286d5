"""FER2013 in every form in which people have it, and the cache."""

from __future__ import annotations

import gzip
import io
import lzma
import os
import pty
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_edge.contract.labels import LABELS
from fer_edge.errors import DataError
from fer_train.fer2013 import OFFICIAL_COUNTS, SPLITS, Fer2013, Fer2013Warning, load
from fer_train.fer2013.cache import cache_path
from tests.train.synthetic_fer2013 import SyntheticFer2013

Writer = Callable[[SyntheticFer2013, Path], Path]


def read(path: Path, *, cache: bool = False) -> Fer2013:
    """Load a small data set, which never goes without the warning that it is not the official one."""
    with pytest.warns(Fer2013Warning, match="where FER2013 has"):
        return load(path, cache=cache)


def assert_holds(data: Fer2013, expected: SyntheticFer2013) -> None:
    assert data.pixels.dtype == data.labels.dtype == data.splits.dtype == np.uint8
    assert np.array_equal(data.pixels, expected.pixels)
    assert np.array_equal(data.labels, expected.labels)
    assert np.array_equal(data.splits, expected.splits)
    assert data.rows.dtype == np.int64
    assert np.array_equal(data.rows, np.arange(len(expected)))
    assert len(data.sha256) == 64


def write_csv(synthetic: SyntheticFer2013, folder: Path) -> Path:
    return synthetic.write_csv(folder / "fer2013.csv")


def write_icml_csv(synthetic: SyntheticFer2013, folder: Path) -> Path:
    """Kaggle's icml_face_data.csv: another order of columns, spaces in the header."""
    rows = [line.split(",") for line in synthetic.table().splitlines()[1:]]
    lines = ["emotion, Usage, pixels", *(f"{label},{usage},{pixels}" for label, pixels, usage in rows)]
    path = folder / "icml_face_data.csv"
    path.write_text("\n".join(lines))
    return path


def write_quoted_csv(synthetic: SyntheticFer2013, folder: Path) -> Path:
    """As R and Excel save it: byte order mark, quotes, CR LF, an index column, a blank line at the end."""
    lines = synthetic.table().splitlines()
    quoted = [",".join([f'"{n}"', *(f'"{field}"' for field in line.split(","))]) for n, line in enumerate(lines)]
    path = folder / "excel.csv"
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join([*quoted, "", ""]).encode())
    return path


def write_gzip(synthetic: SyntheticFer2013, folder: Path) -> Path:
    path = folder / "fer2013.csv.gz"
    path.write_bytes(gzip.compress(synthetic.table().encode()))
    return path


def write_misnamed_xz(synthetic: SyntheticFer2013, folder: Path) -> Path:
    path = folder / "fer2013.csv"
    path.write_bytes(lzma.compress(synthetic.table().encode(), preset=0))
    return path


def write_zip(synthetic: SyntheticFer2013, folder: Path) -> Path:
    """As in the challenge's download: the table among others."""
    path = folder / "challenge.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("example_submission.csv", "Id,Prediction\n0,3\n")
        archive.writestr("train.csv", "emotion,pixels\n0,1 2 3\n")
        archive.writestr("fer2013/fer2013.csv", synthetic.table())
    return path


def write_npz(synthetic: SyntheticFer2013, folder: Path) -> Path:
    return synthetic.write_npz(folder / "fer2013.npz")


def write_tree(synthetic: SyntheticFer2013, folder: Path) -> Path:
    tree = synthetic.write_tree(folder / "tree")
    (tree / "train" / "happy" / ".DS_Store").write_bytes(b"litter")
    (tree / "train" / "happy" / "Thumbs.db").write_bytes(b"litter")
    (tree / "README.txt").write_text("not an image")
    return tree


def write_nested_tree(synthetic: SyntheticFer2013, folder: Path) -> Path:
    synthetic.write_tree(folder / "outer" / "archive")
    return folder / "outer"


def write_zipped_tree(synthetic: SyntheticFer2013, folder: Path) -> Path:
    tree = synthetic.write_tree(folder / "tree")
    path = folder / "archive.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(tree.rglob("*.png")):
            inside = file.relative_to(tree).as_posix()
            archive.write(file, f"archive/{inside}")
            archive.writestr(f"__MACOSX/archive/{inside}", b"resource fork")
    return path


def write_in_folder(synthetic: SyntheticFer2013, folder: Path) -> Path:
    (folder / "notes.csv").write_text("an,unrelated,table\n")
    (folder / "broken.zip").write_bytes(b"PK\x03\x04 and no more")
    write_csv(synthetic, folder)
    return folder


@pytest.mark.parametrize(
    "write",
    [
        write_csv,
        write_icml_csv,
        write_quoted_csv,
        write_gzip,
        write_misnamed_xz,
        write_zip,
        write_npz,
        write_tree,
        write_nested_tree,
        write_zipped_tree,
        write_in_folder,
    ],
)
def test_every_form_holds_the_same(write: Writer, synthetic_fer2013: SyntheticFer2013, tmp_path: Path) -> None:
    assert_holds(read(write(synthetic_fer2013, tmp_path)), synthetic_fer2013)


def test_the_last_line_needs_no_line_feed(synthetic_fer2013: SyntheticFer2013, tmp_path: Path) -> None:
    path = tmp_path / "fer2013.csv"
    path.write_text(synthetic_fer2013.table().rstrip("\n"))
    assert_holds(read(path), synthetic_fer2013)


def test_label_folders_go_by_many_names(tmp_path: Path) -> None:
    names = ("Anger", "disgusted", "3", "HAPPINESS", "sadness", "surprised", "Neutral")
    labels = (0, 1, 3, 3, 4, 5, 6)
    for number, name in enumerate(names):
        folder = tmp_path / "train" / name
        folder.mkdir(parents=True)
        assert cv2.imwrite(str(folder / f"Training_{number}.png"), np.full((48, 48), number, np.uint8))
    with pytest.warns(Fer2013Warning, match="none is fear"):
        data = load(tmp_path, cache=False)
    assert data.pixels[:, 0, 0].tolist() == list(range(len(names)))
    assert data.labels.tolist() == list(labels)


def test_colour_jpeg_becomes_grey(tmp_path: Path) -> None:
    (tmp_path / "train" / "happy").mkdir(parents=True)
    grey = np.full((48, 48, 3), 90, np.uint8)
    assert cv2.imwrite(str(tmp_path / "train" / "happy" / "Training_1.jpg"), grey)
    assert (read(tmp_path).pixels == 90).all()


def test_a_test_folder_without_names_is_private_test_and_says_so(tmp_path: Path) -> None:
    for split, name in (("train", "a.png"), ("test", "b.png"), ("test", "PublicTest_7.png")):
        folder = tmp_path / split / "sad"
        folder.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(folder / name), np.zeros((48, 48), np.uint8))
    with pytest.warns(Fer2013Warning) as caught:
        data = load(tmp_path, cache=False)
    assert data.split_counts() == {"Training": 1, "PublicTest": 1, "PrivateTest": 1}
    assert any("1 images in 'test'" in str(w.message) and "PrivateTest" in str(w.message) for w in caught)


def test_a_split_made_anew_is_undone(tmp_path: Path) -> None:
    """People oversample and split again; the official split is still in the files' names."""
    folder = tmp_path / "train" / "sad"
    folder.mkdir(parents=True)
    for name in ("Training_1.png", "PrivateTest_2.png"):
        assert cv2.imwrite(str(folder / name), np.zeros((48, 48), np.uint8))
    with pytest.warns(Fer2013Warning) as caught:
        data = load(tmp_path, cache=False)
    assert [SPLITS[i] for i in data.splits] == ["Training", "PrivateTest"]
    assert any("1 images lie in another split's folder" in str(w.message) for w in caught)


def test_split_keeps_order_and_rows(synthetic_fer2013: SyntheticFer2013) -> None:
    data = synthetic_fer2013.as_data()
    parts = [data.split(name) for name in SPLITS]
    assert [len(part) for part in parts] == list(data.split_counts().values())
    for part in parts:
        assert np.array_equal(part.pixels, data.pixels[part.rows])
        assert np.array_equal(part.labels, data.labels[part.rows])
    assert np.concatenate([part.rows for part in parts]).tolist() == list(range(len(data)))
    assert data.class_counts() == dict.fromkeys(LABELS, len(data) // len(LABELS))
    with pytest.raises(DataError, match="no split 'test'"):
        data.split("test")
    with pytest.raises(DataError, match="holds no PublicTest image"):
        parts[0].split("PublicTest")


def test_the_official_counts_go_without_a_warning(tmp_path: Path) -> None:
    n = sum(OFFICIAL_COUNTS)
    labels = np.arange(n) % len(LABELS)
    usage = np.repeat(SPLITS, OFFICIAL_COUNTS)
    np.savez_compressed(tmp_path / "a.npz", pixels=np.zeros((n, 48, 48), np.uint8), emotion=labels, usage=usage)
    assert len(load(tmp_path / "a.npz")) == n


def test_one_warning_tells_all_that_is_missing(synthetic_fer2013: SyntheticFer2013, tmp_path: Path) -> None:
    chosen = (synthetic_fer2013.splits == 0) & (synthetic_fer2013.labels != LABELS.index("disgust"))
    part = SyntheticFer2013(
        *(a[chosen] for a in (synthetic_fer2013.pixels, synthetic_fer2013.labels, synthetic_fer2013.splits))
    )
    with pytest.warns(Fer2013Warning) as caught:
        load(part.write_npz(tmp_path / "part.npz"))
    (message,) = (str(w.message) for w in caught)
    assert f"Training {len(part)}, PublicTest 0, PrivateTest 0, and none is disgust" in message
    assert "Training 28,709, PublicTest 3,589, PrivateTest 3,589" in message


@pytest.fixture
def cache_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "fer-edge"


@pytest.mark.parametrize("write", [write_csv, write_tree, write_zipped_tree])
def test_a_second_load_reads_the_cache(
    write: Writer, synthetic_fer2013: SyntheticFer2013, tmp_path: Path, cache_home: Path
) -> None:
    path = write(synthetic_fer2013, tmp_path)
    first = read(path, cache=True)
    (kept,) = cache_home.iterdir()
    assert first.sha256 in kept.name
    # What the cache holds is made to differ, so that it shows where the second load comes from.
    reversed_pixels = SyntheticFer2013(255 - first.pixels, first.labels, first.splits)
    reversed_pixels.write_npz(kept)
    assert_holds(read(path, cache=True), reversed_pixels)
    assert_holds(read(path, cache=False), synthetic_fer2013)


@pytest.mark.parametrize("write", [write_csv, write_tree])
def test_a_changed_source_is_read_again(
    write: Writer, synthetic_fer2013: SyntheticFer2013, tmp_path: Path, cache_home: Path
) -> None:
    path = write(synthetic_fer2013, tmp_path)
    before = read(path, cache=True)
    other = SyntheticFer2013(255 - before.pixels, before.labels, before.splits)
    write(other, tmp_path)
    after = read(path, cache=True)
    assert_holds(after, other)
    assert after.sha256 != before.sha256
    assert len(list(cache_home.iterdir())) == 2


def test_a_folders_digest_follows_its_names(
    synthetic_fer2013: SyntheticFer2013, tmp_path: Path, cache_home: Path
) -> None:
    tree = write_tree(synthetic_fer2013, tmp_path)
    before = read(tree)
    moved = tree / "train" / "happy" / "Training_99999.png"
    next((tree / "train" / "sad").iterdir()).rename(moved)
    after = read(tree)
    assert after.sha256 != before.sha256
    assert after.class_counts()["happy"] == before.class_counts()["happy"] + 1
    assert not cache_home.exists()


@pytest.mark.parametrize("damage", ["truncated", "emptied", "replaced"])
def test_a_damaged_cache_is_made_again(
    damage: str, synthetic_fer2013: SyntheticFer2013, tmp_path: Path, cache_home: Path
) -> None:
    path = write_csv(synthetic_fer2013, tmp_path)
    read(path, cache=True)
    (kept,) = cache_home.iterdir()
    whole = kept.read_bytes()
    kept.write_bytes({"truncated": whole[: len(whole) // 2], "emptied": b"", "replaced": b"nonsense"}[damage])
    with pytest.warns(Fer2013Warning, match="cannot be used and is made again"):
        assert_holds(read(path, cache=True), synthetic_fer2013)
    assert_holds(read(path, cache=True), synthetic_fer2013)


def test_a_cache_that_cannot_be_written_is_a_warning(
    synthetic_fer2013: SyntheticFer2013, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.warns(Fer2013Warning, match="FER2013 is not cached"):
        assert_holds(read(write_csv(synthetic_fer2013, tmp_path), cache=True), synthetic_fer2013)


def test_the_cache_keeps_what_was_assumed(tmp_path: Path, cache_home: Path) -> None:
    (tmp_path / "tree" / "test" / "sad").mkdir(parents=True)
    assert cv2.imwrite(str(tmp_path / "tree" / "test" / "sad" / "1.png"), np.zeros((48, 48), np.uint8))
    messages = []
    for _ in range(2):
        with pytest.warns(Fer2013Warning) as caught:
            load(tmp_path / "tree")
        messages.append([str(w.message) for w in caught])
    assert len(messages[0]) == 2
    assert messages[0] == messages[1]
    assert len(list(cache_home.iterdir())) == 1


def test_a_relative_cache_home_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    path = cache_path("0" * 64)
    assert path is not None
    assert path.is_relative_to(tmp_path / ".cache" / "fer-edge")


def run_python(code: str, *arguments: str | Path, stderr: int) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=stderr, check=False, timeout=120)


LOAD = "import sys, pathlib, fer_train.fer2013 as f; f.load(pathlib.Path(sys.argv[1]), cache=False)"


def test_it_needs_no_training_library(synthetic_fer2013: SyntheticFer2013, tmp_path: Path) -> None:
    blocked = "import sys; sys.modules.update(dict.fromkeys(['keras', 'tensorflow', 'torch', 'pandas', 'matplotlib']));"
    done = run_python(blocked + LOAD, write_csv(synthetic_fer2013, tmp_path), stderr=subprocess.PIPE)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("write", [write_csv, write_tree, write_zipped_tree])
def test_a_bar_is_shown_on_a_terminal_and_nowhere_else(
    write: Writer, synthetic_fer2013: SyntheticFer2013, tmp_path: Path
) -> None:
    path = write(synthetic_fer2013, tmp_path)
    piped = run_python(LOAD, path, stderr=subprocess.PIPE)
    assert b"Reading" not in piped.stderr
    reader, terminal = pty.openpty()
    try:
        done = run_python(LOAD, path, stderr=terminal)
        os.close(terminal)
        shown = io.BytesIO()
        try:
            while chunk := os.read(reader, 1 << 16):
                shown.write(chunk)
        except OSError:  # how Linux tells that the terminal's other end is closed
            pass
    finally:
        os.close(reader)
    assert done.returncode == 0
    assert b"Reading" in shown.getvalue()
    assert done.stdout == piped.stdout == b""


def test_a_folder_with_two_data_sets_is_refused(synthetic_fer2013: SyntheticFer2013, tmp_path: Path) -> None:
    write_npz(synthetic_fer2013, tmp_path)
    write_csv(synthetic_fer2013, tmp_path)
    with pytest.raises(DataError, match=r"several data sets \(.*fer2013\.csv, .*fer2013\.npz\); name one"):
        load(tmp_path)


def test_a_zip_with_two_data_sets_is_refused(synthetic_fer2013: SyntheticFer2013, tmp_path: Path) -> None:
    path = write_zipped_tree(synthetic_fer2013, tmp_path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("fer2013.csv", synthetic_fer2013.table())
    with pytest.raises(DataError, match=r"several data sets \(fer2013\.csv, a folder tree\)"):
        load(path)


def test_two_trees_side_by_side_are_refused(synthetic_fer2013: SyntheticFer2013, tmp_path: Path) -> None:
    tree = write_tree(synthetic_fer2013, tmp_path)
    shutil.copytree(tree, tmp_path / "copy")
    with pytest.raises(DataError, match="several data sets"):
        load(tmp_path)
