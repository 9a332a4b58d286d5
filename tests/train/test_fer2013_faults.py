"""Each fault in a table or archive of FER2013 is one line that names it; nothing else ever escapes."""

from __future__ import annotations

import gzip
import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fer_edge.errors import DataError
from fer_train.fer2013 import SPLITS, load
from fer_train.fer2013.table import MAX_LINE_BYTES, read_table
from tests.train.synthetic_fer2013 import SyntheticFer2013, fault_in, load_quietly

HEADER = "emotion,pixels,Usage\n"
GOOD_ROW = f"3,{' '.join(['7'] * 2304)},Training\n"
ARABIC_SEVEN = "\N{ARABIC-INDIC DIGIT SEVEN}"
"""A digit, for str.isdigit and int."""

unhurried = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60, derandomize=True
)


def table(tmp_path: Path, *rows: str) -> Path:
    path = tmp_path / "fer2013.csv"
    path.write_text("".join([HEADER, *rows]))
    return path


def pixels(*last: str) -> str:
    return " ".join([*["7"] * (2304 - len(last)), *last])


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (f"3,{' '.join(['7'] * 2303)},Training\n", "2,303 pixels where an image has 2,304"),
        (f"3,{' '.join(['7'] * 2305)},Training\n", "2,305 pixels"),
        ("3,,Training\n", "0 pixels"),
        (f"3,{pixels('300')},Training\n", "pixel 2303 is '300', outside 0 to 255"),
        (f"3,{pixels('256')},Training\n", "'256', outside 0 to 255"),
        (f"3,{pixels('-1', '0')},Training\n", "pixel 2302 is '-1', outside 0 to 255"),
        (f"3,{pixels('9' * 6000)},Training\n", "outside 0 to 255"),
        (f"3,{pixels('7.5')},Training\n", "'7.5', not a whole number"),
        (f"3,{pixels('x')},Training\n", "'x', not a whole number"),
        (f"3,{pixels('1e2')},Training\n", "'1e2', not a whole number"),
        (f"3,{pixels(ARABIC_SEVEN)},Training\n", "not a whole number"),
        (f"7,{pixels()},Training\n", "emotion '7' where FER2013 has 0 to 6"),
        (f"-1,{pixels()},Training\n", "emotion '-1'"),
        (f",{pixels()},Training\n", "emotion ''"),
        (f"happy,{pixels()},Training\n", "emotion 'happy'"),
        (f"3.0,{pixels()},Training\n", "emotion '3.0'"),
        (f"3,{pixels()},Test\n", "Usage 'Test' where FER2013 has Training, PublicTest, PrivateTest"),
        (f"3,{pixels()},\n", "Usage ''"),
        (f"3,{pixels()}\n", "2 columns where the header names 3; the line is cut short"),
        (f"3,{pixels()[:100]}", "2 columns where the header names 3; the line is cut short"),
        (f"3,{pixels()},Train", "Usage 'Train'"),
        (f"3,{pixels()},Training,1\n", "4 columns where the header names 3"),
        ("\0\0\0\0\n", "1 columns"),
        ("7 " * MAX_LINE_BYTES, "longer than"),
    ],
)
def test_a_fault_in_a_table_names_its_line(row: str, said: str, tmp_path: Path) -> None:
    path = table(tmp_path, GOOD_ROW, "\n", row)
    message = fault_in(path)
    assert message.startswith(f"{path}, line 4: ")
    assert said in message


@pytest.mark.parametrize(
    ("compress", "name"), [(gzip.compress, "f.csv.gz"), (lzma.compress, "f.csv.xz"), (bytes, "f.csv")]
)
def test_a_compressed_table_names_its_line_too(compress: Callable[[bytes], bytes], name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(compress((HEADER + GOOD_ROW + "9,1,Training\n").encode()))
    assert fault_in(path).startswith(f"{path}, line 3: emotion '9'")


def test_a_zipped_table_names_its_line_too(tmp_path: Path) -> None:
    path = tmp_path / "f.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("fer2013.csv", HEADER + GOOD_ROW + "9,1,Training\n")
    assert fault_in(path).startswith(f"{path}: fer2013.csv, line 3: emotion '9'")


def test_a_table_of_a_single_endless_line_or_of_endless_lines_is_refused() -> None:
    """What a decompression bomb decompresses to; read from a stream, so that it takes no disk."""
    for unit, said in ((b" ", "line 2: is longer than"), (b"\n", "line 250001: follows 250,000 others")):
        stream = io.BytesIO(HEADER.encode() + unit * 300_000)
        with pytest.raises(DataError, match=said):
            read_table(stream, "bomb.csv", lambda: None)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the file is empty"),
        (HEADER.encode(), "holds no image"),
        (b"emotion,pixels\n0,1 2 3\n", "this is not FER2013"),
        (b"\x00\xff" * 500, "this is not FER2013"),
        (b"PK\x05\x06" + bytes(18), "this is not FER2013"),
        (b"PK\x03\x04 and no more", "the archive is damaged or cut short"),
        (b"\x1f\x8b\x08 and no more", "the archive is damaged or cut short"),
        (b"\xfd7zXZ\x00 and no more", "the archive is damaged or cut short"),
    ],
)
def test_what_is_no_fer2013_is_refused(content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "fer2013.csv"
    path.write_bytes(content)
    assert said in fault_in(path)
    with pytest.raises(DataError) as raised:
        load(tmp_path, cache=False)
    assert said in str(raised.value)


def test_a_missing_path_and_an_empty_folder_are_refused(tmp_path: Path) -> None:
    assert "no such file or folder" in fault_in(tmp_path / "absent")
    assert "this is not FER2013" in fault_in(tmp_path)


@pytest.mark.parametrize("name", ["fer2013.tar", "fer2013.tar.gz"])
def test_the_challenges_tar_archive_is_told_how_to_unpack(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    with tarfile.open(path, "w:gz" if name.endswith("gz") else "w") as archive:
        archive.add(table(tmp_path, GOOD_ROW), "fer2013/fer2013.csv")
    assert f"tar xf {name}" in fault_in(path)


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "locked.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("fer2013.csv", HEADER + GOOD_ROW)
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1
    path.write_bytes(data)
    assert "fer2013.csv is encrypted" in fault_in(path)


@pytest.fixture(scope="module")
def small(synthetic_fer2013: SyntheticFer2013) -> SyntheticFer2013:
    return SyntheticFer2013(
        *(a[:12] for a in (synthetic_fer2013.pixels, synthetic_fer2013.labels, synthetic_fer2013.splits))
    )


def compressed_forms(small: SyntheticFer2013, tmp_path: Path) -> dict[str, bytes]:
    text = small.table().encode()
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("fer2013.csv", text)
    tree = io.BytesIO()
    with zipfile.ZipFile(tree, "w") as archive:
        for file in small.write_tree(tmp_path / "tree").rglob("*.png"):
            archive.write(file, file.relative_to(tmp_path / "tree"))
    npz = small.write_npz(tmp_path / "whole.npz").read_bytes()
    return {
        "gz": gzip.compress(text),
        "xz": lzma.compress(text, preset=0),
        "zip": zipped.getvalue(),
        "npz": npz,
        "tree": tree.getvalue(),
    }


@pytest.mark.parametrize("form", ["gz", "xz", "zip", "npz", "tree"])
def test_an_archive_cut_anywhere_is_refused(form: str, small: SyntheticFer2013, tmp_path: Path) -> None:
    whole = compressed_forms(small, tmp_path)[form]
    path = tmp_path / "cut"
    path.write_bytes(whole)
    assert len(load_quietly(path)) == len(small)
    for kept in {1, 7, 30, 200, len(whole) // 2, len(whole) - 9, len(whole) - 1}:
        path.write_bytes(whole[:kept])
        fault_in(path)


@unhurried
@given(data=st.data(), form=st.sampled_from(["gz", "xz", "zip", "npz", "tree"]))
def test_a_damaged_archive_is_refused_or_read_right(
    data: st.DataObject, form: str, small: SyntheticFer2013, tmp_path: Path
) -> None:
    """A flipped byte lies where it does no harm (a time stamp), or a checksum or check finds it."""
    damaged = bytearray(compressed_forms(small, tmp_path)[form])
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= data.draw(st.integers(1, 255))
    path = tmp_path / "damaged"
    path.write_bytes(damaged)
    try:
        read = load_quietly(path)
    except DataError:
        fault_in(path)
    else:
        assert set(map(bytes, read.pixels)) <= set(map(bytes, small.pixels))


token = st.one_of(
    st.integers(0, 255).map(str), st.sampled_from(["256", "-1", "007", "1.0", "", "x", "+5", "1_0", ARABIC_SEVEN])
)
label = st.sampled_from([*map(str, range(-1, 9)), "", " 3 ", '"4"', "03", "3.5"])
usage = st.sampled_from([*SPLITS, "training", "Test", "", '"PublicTest"', " PrivateTest "])
separator = st.sampled_from([" ", "  ", "\t"])


@unhurried
@given(
    label=label,
    start=st.lists(token, max_size=4),
    values=st.lists(st.integers(0, 255), min_size=16, max_size=16),
    count=st.sampled_from([2304, 2304, 2304, 2303, 2305, 0]),
    separator=separator,
    usage=usage,
)
def test_a_row_is_read_right_or_refused(
    label: str, start: list[str], values: list[int], count: int, separator: str, usage: str
) -> None:
    """Against an independent reading of the same row, token by token."""
    tokens = (start + [str(v) for v in values] * 144)[:count]
    text = HEADER + GOOD_ROW + f"{label},{separator.join(tokens)},{usage}\r\n"
    bare_label, bare_usage, given_tokens = label.strip(' "'), usage.strip(' "'), separator.join(tokens).split()
    right = (
        bare_label in list("0123456")
        and bare_usage in SPLITS
        and len(given_tokens) == 2304
        and all(t.isascii() and t.isdigit() and int(t) <= 255 for t in given_tokens)
    )
    if not right:
        with pytest.raises(DataError, match=r"^name, line 3: [^\n]*$"):
            read_table(io.BytesIO(text.encode()), "name", lambda: None)
        return
    read = read_table(io.BytesIO(text.encode()), "name", lambda: None)
    assert read.labels.tolist() == [3, int(bare_label)]
    assert read.splits.tolist() == [0, SPLITS.index(bare_usage)]
    assert read.pixels[1].ravel().tolist() == [int(t) for t in given_tokens]


@unhurried
@given(
    content=st.binary(max_size=400),
    start=st.sampled_from([b"", b"PK\x03\x04", b"\x1f\x8b\x08\x00", HEADER.encode()]),
)
def test_any_bytes_end_in_a_data_error(content: bytes, start: bytes, tmp_path: Path) -> None:
    path = tmp_path / "anything"
    path.write_bytes(start + content)
    fault_in(path)
