"""Reading FER2013 from a path: recognise the form, look in the cache, read, check."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from fer_edge.errors import DataError
from fer_train.fer2013.cache import cache_path, read_cache, write_cache
from fer_train.fer2013.dataset import Fer2013, Fer2013Warning, ImageTable, differences
from fer_train.fer2013.forms import Form, recognise


def load(path: Path, *, cache: bool = True) -> Fer2013:
    """Read FER2013 from whatever form of it ``path`` holds; the form is recognised by content.

    Args:
        path: the challenge's table ``emotion,pixels,Usage`` (plain, .gz, .xz or in a .zip), Kaggle's folder tree
            ``train|test/<label>/*`` (or a zip of it), an .npz of ``pixels``, ``emotion`` and ``usage``, or a folder
            that holds exactly one of these.
        cache: keep what was read under the user's cache directory, and look there first.

    Returns:
        All images, in the source's order and with the official split.

    Raises:
        DataError: if the path holds no FER2013, or a damaged one; the message names the file and the line, row or
            image.

    Warns:
        Fer2013Warning: if the images by split or class are not those of the challenge, the split had to be assumed,
            or the cache cannot be used. The data set is usable all the same.
    """
    form = recognise(path)
    sha256 = form.digest()
    table = _read(form, cache_path(sha256) if cache and form.cached else None)
    if not len(table.pixels):
        raise DataError(f"{form.path}: holds no image; fetch it again")
    for note in table.notes:
        warnings.warn(f"{form.path}: {note}", Fer2013Warning, stacklevel=2)
    data = Fer2013(
        pixels=table.pixels,
        labels=table.labels,
        splits=table.splits,
        rows=np.arange(len(table.pixels), dtype=np.int64),
        source=str(form.path),
        sha256=sha256,
    )
    if difference := differences(data):
        warnings.warn(difference, Fer2013Warning, stacklevel=2)
    return data


def _read(form: Form, cached: Path | None) -> ImageTable:
    if cached is None:
        return form.read()
    table = read_cache(cached)
    if table is None:
        table = form.read()
        write_cache(cached, table)
    return table
