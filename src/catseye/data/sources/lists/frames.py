"""A pandas data frame whose rows name images and their labels.

Enters: a data frame. Leaves: `ImageSet`. Called by `open_data.py`. pandas is not imported: a frame is recognised by
its attributes. Columns are chosen as in a .csv; paths are relative to the current folder, or absolute.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from catseye.data.sources.folder import FolderReader
from catseye.data.sources.image_set import ImageSet
from catseye.data.sources.lists.listed_files import ListedFiles
from catseye.data.sources.lists.listed_rows import ListOfImages
from catseye.data.sources.lists.table import read_listed
from catseye.settings.schema import DataSettings


def is_frame(source: Any) -> bool:
    """Whether this is a data frame."""
    return hasattr(source, "itertuples") and hasattr(source, "columns")


def read_frame(frame: Any, settings: DataSettings) -> ImageSet:
    """The images of a data frame.

    Raises:
        DataError: a row is incomplete, or the columns are ambiguous.
        UsageError: a column that the user names is not there.

    """
    head = [str(name) for name in frame.columns]

    def rows() -> Iterator[tuple[int, list[str]]]:
        yield 0, list(head)
        for number, row in enumerate(frame.itertuples(index=False, name=None), 1):
            yield number, [_cell_text(value) for value in row]

    here = Path.cwd()
    listed = ListOfImages(
        "the data frame", rows, ListedFiles(here), lambda names: FolderReader(here, names), named=True
    )
    return replace(read_listed(listed, settings), source="frame")


def _cell_text(value: Any) -> str:
    """A cell as in a .csv: empty for a missing value, whole numbers without a point."""
    if value is None or value != value:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
