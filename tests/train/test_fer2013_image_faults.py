"""Each fault in arrays or image files of FER2013 names the row or the image."""

from __future__ import annotations

import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fer_train.fer2013.images import decode_image
from tests.train.synthetic_fer2013 import fault_in, load_quietly

unhurried = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60, derandomize=True
)


def arrays(n: int = 4) -> dict[str, NDArray[Any]]:
    return {
        "pixels": np.zeros((n, 48, 48), np.uint8),
        "emotion": np.zeros(n, np.int64),
        "usage": np.full(n, "Training"),
    }


def with_item(array: NDArray[Any], index: tuple[int, ...], value: object) -> NDArray[Any]:
    array = array.copy()
    array[index] = value
    return array


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {"pixels": with_item(np.zeros((4, 48, 48), np.int64), (2, 5, 6), 300)},
            "row 2: pixels 300 is outside",
        ),
        ({"pixels": with_item(np.zeros((4, 48, 48), np.int16), (1, 0, 0), -1)}, "row 1: pixels -1 is outside"),
        ({"pixels": np.zeros((4, 48, 48), np.float32)}, "holds float32"),
        ({"pixels": np.zeros((4, 47, 48), np.uint8)}, "pixels is (4, 47, 48)"),
        ({"pixels": np.zeros((), np.uint8)}, "pixels is ()"),
        ({"emotion": np.array([0, 1, 2, 7])}, "row 3: emotion 7 is outside 0 to 6"),
        ({"emotion": np.array([0, 1, 2])}, "emotion is (3,)"),
        ({"emotion": np.array(["a", "b", "c", "d"])}, "emotion"),
        ({"usage": np.array(["Training", "Test", "Training", "Training"])}, "row 1: usage 'Test'"),
        ({"usage": np.zeros(4, np.int64)}, "'usage' holds int64"),
        ({"usage": np.array(["Training", None, "x", "y"], dtype=object)}, "holds object"),
        (arrays(0), "holds no image"),
    ],
)
def test_a_fault_in_arrays_names_the_row(changed: dict[str, NDArray[Any]], said: str, tmp_path: Path) -> None:
    path = tmp_path / "fer2013.npz"
    np.savez(path, allow_pickle=True, **{**arrays(), **changed})
    assert said in fault_in(path)


def test_other_shapes_and_types_of_arrays_are_read(tmp_path: Path) -> None:
    values = np.arange(4 * 2304).reshape(4, 2304) % 256
    usage = np.array([b"Training", b"PublicTest", b"PrivateTest", b"Training"])
    np.savez(tmp_path / "a.npz", pixels=values, emotion=np.array([6, 5, 4, 0], np.uint8), usage=usage)
    data = load_quietly(tmp_path / "a.npz")
    assert np.array_equal(data.pixels.reshape(4, 2304), values)
    assert data.labels.tolist() == [6, 5, 4, 0]
    assert data.splits.tolist() == [0, 1, 2, 0]


def test_an_array_that_is_missing_is_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", pixels=np.zeros((1, 48, 48), np.uint8), usage=np.array(["Training"]))
    assert "has no array 'emotion'" in fault_in(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("{'descr': '|u1', 'fortran_order': False, 'shape': (10000000000, 48, 48)}", "more than FER2013 does"),
        ("{'descr': '|u1', 'fortran_order': False, 'shape': (1000, 48, 48)}", "is cut short"),
        ("{'descr': '|u1', 'fortran_order': False, 'shape': (-1, 48, 48)}", "'pixels' cannot be used"),
        ("{'descr': '|u1', 'fortran_order': False, 'shape': (", "'pixels' cannot be used"),
        ("{'descr': '|O', 'fortran_order': False, 'shape': (1, 48, 48)}", "holds object"),
        ("nonsense", "'pixels' cannot be used"),
    ],
)
def test_a_lying_array_header_allocates_nothing(header: str, said: str, tmp_path: Path) -> None:
    text = header.encode().ljust(117) + b"\n"
    np.savez(tmp_path / "a.npz", emotion=np.zeros(1, int), usage=np.array(["Training"]))
    with zipfile.ZipFile(tmp_path / "a.npz", "a") as archive:
        archive.writestr("pixels.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + bytes(2304))
    assert said in fault_in(tmp_path / "a.npz")


def encoded(image: NDArray[Any], suffix: str = ".png") -> bytes:
    done, data = cv2.imencode(suffix, image)
    assert done
    return data.tobytes()


NOISE = np.random.default_rng(5).integers(0, 256, (48, 48), dtype=np.uint8)
GIANT = np.zeros((6000, 6000), np.uint8)


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"not an image", "is neither PNG nor JPEG"),
        (encoded(NOISE)[:-20], "is cut short"),
        (encoded(NOISE)[:300], "is cut short"),
        (encoded(NOISE)[:20], "is cut short"),
        (encoded(NOISE).replace(encoded(NOISE)[200:204], b"\0\0\0\0"), "a checksum is wrong"),
        (encoded(NOISE, ".jpg")[:600], "is cut short"),
        (encoded(NOISE, ".jpg")[:40] + b"\xff\xd9", "is cut short"),
        (b"\xff\xd8\xff\xe0\x00\x04abzz\xff\xd9", "a marker is missing"),
        (encoded(NOISE[:47]), "is 48x47 where FER2013 has 48x48"),
        (encoded(NOISE[:, :40], ".jpg"), "is 40x48 where FER2013 has 48x48"),
        (encoded(NOISE.astype(np.uint16)), "has 16 bits a channel"),
        (encoded(GIANT), "is 6000x6000"),
        (encoded(NOISE) + bytes(1 << 16), "has more than 65,536 bytes"),
    ],
)
def test_a_fault_in_a_tree_names_the_image(content: bytes, said: str, zipped: bool, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "train" / "happy").mkdir(parents=True)
    (tree / "train" / "happy" / "Training_1.png").write_bytes(encoded(NOISE))
    (tree / "train" / "happy" / "Training_2.png").write_bytes(content)
    path = tree
    if zipped:
        path = tmp_path / "tree.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for file in tree.rglob("*.png"):
                archive.write(file, file.relative_to(tree))
    message = fault_in(path)
    assert message.startswith(f"{path}/train/happy/Training_2.png: the image ")
    assert said in message


@pytest.mark.parametrize("name", ["contempt", "7", "happy faces"])
def test_a_folder_of_another_expression_is_refused(name: str, tmp_path: Path) -> None:
    for label in ("happy", name):
        (tmp_path / "train" / label).mkdir(parents=True)
        (tmp_path / "train" / label / "1.png").write_bytes(encoded(NOISE))
    assert fault_in(tmp_path).startswith(f"{tmp_path}/train/{name}: {name!r} is no expression of FER2013")


@unhurried
@given(data=st.data(), suffix=st.sampled_from([".png", ".jpg"]))
def test_a_damaged_image_is_refused_or_an_image(data: st.DataObject, suffix: str) -> None:
    damaged = bytearray(encoded(NOISE, suffix))
    position = data.draw(st.integers(0, len(damaged) - 1))
    damaged[position] ^= data.draw(st.integers(1, 255))
    try:
        image = decode_image(bytes(damaged))
    except ValueError:
        return
    assert suffix == ".jpg"  # a PNG's checksums find every flipped byte
    assert image.shape == (48, 48)
    assert image.dtype == np.uint8


def test_a_png_that_lies_about_its_pixels_is_refused(tmp_path: Path) -> None:
    """All checksums right, and too few pixels inside."""
    whole = encoded(NOISE)
    header = whole[: 8 + 25]
    inside = zlib.compress(bytes(49))
    chunk = struct.pack(">I", len(inside)) + b"IDAT" + inside + struct.pack(">I", zlib.crc32(b"IDAT" + inside))
    (tmp_path / "train" / "sad").mkdir(parents=True)
    (tmp_path / "train" / "sad" / "1.png").write_bytes(header + chunk + whole[-12:])
    assert "train/sad/1.png: the image is damaged" in fault_in(tmp_path)
