"""FER2013 as Kaggle's folder tree: ``train/<label>/*`` and ``test/<label>/*``, or a zip archive of it."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np

from fer_edge.contract.labels import LABELS
from fer_edge.errors import DataError
from fer_train.fer2013.dataset import MAX_IMAGES, SIDE, SPLITS, ImageTable
from fer_train.fer2013.images import decode_image

_SPLITS_OF_FOLDER: Final = {
    "train": ("Training",),
    "training": ("Training",),
    "publictest": ("PublicTest",),
    "privatetest": ("PrivateTest",),
    "test": ("PrivateTest", "PublicTest"),
    "testing": ("PrivateTest", "PublicTest"),
    "val": ("PublicTest", "PrivateTest"),
    "valid": ("PublicTest", "PrivateTest"),
    "validation": ("PublicTest", "PrivateTest"),
}
"""What a folder may hold, by its name in lower case without punctuation. Where it is one of two, the names of the
files tell; a file whose name does not is taken as the first, and the user is told."""

_LITTER: Final = frozenset({"desktop.ini", "thumbs.db"})
"""What desktops leave in folders; hidden files are passed over too."""

_SYNONYMS: Final = {
    "angry": ("anger",),
    "disgust": ("disgusted",),
    "fear": ("fearful", "afraid", "scared"),
    "happy": ("happiness",),
    "sad": ("sadness",),
    "surprise": ("surprised",),
    "neutral": (),
}
_LABEL_OF_FOLDER: Final = {
    name: label_id for label_id, label in enumerate(LABELS) for name in (label, str(label_id), *_SYNONYMS[label])
}

_SPLIT_IN_FILE_NAME: Final = re.compile(rf"({'|'.join(SPLITS)})(?![a-z])", re.IGNORECASE)
_SPLIT_NAMES: Final = {name.lower(): name for name in SPLITS}
_NUMBER_IN_FILE_NAME: Final = re.compile(r"(\d{1,18})\.\w+$", re.ASCII)
_IMAGES_BETWEEN_REPORTS: Final = 64


@dataclass(frozen=True)
class TreeImage:
    """One image of a tree, and what its path says about it."""

    name: str
    """Its path in the tree, with slashes."""
    label: int
    split: int
    assumed: str | None
    """The folder from whose name the split was assumed, if it was."""
    moved: bool
    """Whether the file's name contradicts its folder about the split; the name is the challenge's."""


def find_images(names: Iterable[str], where: str) -> list[TreeImage]:
    """Pick the images of a tree from the paths of the files in a folder or archive.

    Args:
        names: paths with slashes, ``[FOLDER/]train/angry/NAME.png``; others are passed over.
        where: what messages call the folder or archive.

    Returns:
        The images in the order of the number that their names end in (the challenge's row number, in trees made
        from its table), then by split and name. None at all: this is no FER2013 tree.

    Raises:
        DataError: if a folder is named after no expression of FER2013, or there are several trees.
    """
    found = [name for name in names if _is_in_tree(name)]
    if not any(_label(name) is not None for name in found):
        return []
    roots = sorted({str(PurePosixPath(name).parents[2]) for name in found})
    if len(roots) > 1:
        raise DataError(f"{where}: holds several folder trees ({', '.join(roots)}); unpack it and name one")
    return sorted((_describe(name, where) for name in found), key=_order)


def read_images(
    images: Sequence[TreeImage], read: Callable[[str], bytes], where: str, report: Callable[[int], None]
) -> ImageTable:
    """Decode the images of a tree.

    Args:
        images: what :func:`find_images` returned.
        read: returns the bytes of the file with a given name in the tree.
        where: what messages call the folder or archive.
        report: takes the number of images decoded so far.

    Raises:
        DataError: naming the image that is empty, damaged or not 48x48.
    """
    if len(images) > MAX_IMAGES:
        raise DataError(f"{where}: {len(images):,} images where FER2013 has 35,887; name another data set")
    pixels = np.empty((len(images), SIDE, SIDE), np.uint8)
    for index, image in enumerate(images):
        if index % _IMAGES_BETWEEN_REPORTS == 0:
            report(index)
        try:
            pixels[index] = decode_image(read(image.name))
        except ValueError as error:
            raise DataError(f"{where}/{image.name}: the image {error}; replace or delete it") from None
    return ImageTable(
        pixels=pixels,
        labels=np.array([image.label for image in images], np.uint8),
        splits=np.array([image.split for image in images], np.uint8),
        notes=tuple(_notes(images)),
    )


def list_tree(root: Path) -> list[str]:
    """Return the paths ``<split>/<label>/<file>`` under ``root``, looking nowhere else."""
    return [
        f"{split.name}/{label.name}/{file.name}"
        for split in root.iterdir()
        if _fold(split.name) in _SPLITS_OF_FOLDER and split.is_dir()
        for label in split.iterdir()
        if label.is_dir()
        for file in label.iterdir()
    ]


def _is_in_tree(name: str) -> bool:
    """Whether a path has the shape ``[FOLDER/]<split>/<label>/<file>``."""
    parts = name.split("/")
    return (
        len(parts) in (3, 4)
        and _fold(parts[-3]) in _SPLITS_OF_FOLDER
        and parts[0] != "__MACOSX"
        and not parts[-2].startswith(".")
        and not parts[-1].startswith(".")
        and parts[-1].casefold() not in _LITTER
    )


def _label(name: str) -> int | None:
    return _LABEL_OF_FOLDER.get(_fold(PurePosixPath(name).parent.name))


def _describe(name: str, where: str) -> TreeImage:
    path = PurePosixPath(name)
    label = _label(name)
    if label is None:
        raise DataError(
            f"{where}/{path.parent}: {path.parent.name!a} is no expression of FER2013 ({', '.join(LABELS)}); "
            "rename or remove the folder"
        )
    split_folder = path.parents[1].name
    allowed = _SPLITS_OF_FOLDER[_fold(split_folder)]
    if match := _SPLIT_IN_FILE_NAME.match(path.name):
        split = _SPLIT_NAMES[match[1].lower()]
        return TreeImage(name, label, SPLITS.index(split), assumed=None, moved=split not in allowed)
    assumed = split_folder if len(allowed) > 1 else None
    return TreeImage(name, label, SPLITS.index(allowed[0]), assumed, moved=False)


def _notes(images: Sequence[TreeImage]) -> Iterator[str]:
    for folder, count in Counter(image.assumed for image in images if image.assumed).items():
        split = _SPLITS_OF_FOLDER[_fold(folder)][0]
        yield f"the names of {count:,} images in {folder!r} do not tell their split, and are taken as {split}"
    if moved := sum(image.moved for image in images):
        yield f"{moved:,} images lie in another split's folder than their names say; the names are followed"


def _order(image: TreeImage) -> tuple[float, int, str]:
    number = _NUMBER_IN_FILE_NAME.search(image.name)
    return int(number[1]) if number else math.inf, image.split, image.name


def _fold(folder: str) -> str:
    return re.sub(r"[\W_]", "", folder.casefold())
