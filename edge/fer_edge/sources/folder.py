"""The pictures of a folder as a source, in natural order of their names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fer_edge.errors import SourceError
from fer_edge.sources.base import SourceSettings
from fer_edge.sources.files import cannot_open, natural_order
from fer_edge.sources.image import IMAGE_SUFFIXES, StillsSource


class FolderSource(StillsSource):
    """The pictures that lie directly in a folder; other files and hidden ones are left out."""

    def __init__(self, path: Path, settings: SourceSettings) -> None:
        super().__init__(f"folder:{path}", settings)
        self._path = path

    def _list(self) -> Sequence[Path]:
        try:
            pictures = [path for path in self._path.iterdir() if is_picture(path)]
        except OSError as error:
            raise cannot_open(self._path, error) from error
        if not pictures:
            raise SourceError(
                f"{self._path}: holds no picture; put some there ({', '.join(sorted(IMAGE_SUFFIXES))}) or name another"
            )
        return sorted(pictures, key=lambda path: natural_order(path.name))


def is_picture(path: Path) -> bool:
    """Whether ``path`` is named like a picture and not hidden."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
