"""Parquet files as one list of images.

Enters: files, opened by their number. Leaves: `ImageSet`. Called by open_data.py, remote.py and hub_sets.py. The images
are in a column or beside the list. pyarrow reads the files (extra `parquet`); a few row groups are held in memory.
"""

import os
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from catseye.data.sources.image_set import ImageSet
from catseye.data.sources.lists.listed_rows import ListOfImages
from catseye.data.sources.parquet.arrow_columns import need_arrow, read_columns
from catseye.data.sources.split_names import plain_side
from catseye.errors import DataError
from catseye.settings.schema import DataSettings

HELD_GROUPS = 4  # row groups in memory, per process


@dataclass
class ParquetFiles:
    """Parquet files as one table; `opened` opens a file by its number."""

    opened: Callable[[int], Any]
    num_files: int
    _held: "OrderedDict[tuple[int, int, int, str], Any]" = field(default_factory=OrderedDict, repr=False)
    _files: dict[tuple[int, int], Any] = field(default_factory=dict, repr=False)
    _lock: Any = field(default_factory=threading.RLock, repr=False)

    def file(self, number: int) -> Any:
        """A file, opened once per process."""
        key = (os.getpid(), number)
        if key not in self._files:
            self._files[key] = need_arrow().parquet.ParquetFile(self.opened(number))
        return self._files[key]

    def starts(self) -> list[tuple[int, int, int]]:
        """First row, file and row group, in order."""
        starts, row = [], 0
        for number in range(self.num_files):
            meta = self.file(number).metadata
            for group in range(meta.num_row_groups):
                starts.append((row, number, group))
                row += meta.row_group(group).num_rows
        return starts

    def column_cell(self, column: str) -> "ParquetCells":
        """Reads one cell of a column, by row."""
        return ParquetCells(self, column, self.starts())

    def group(self, number: int, group: int, column: str) -> Any:
        """A column of a row group; the latest few stay in memory."""
        key = (os.getpid(), number, group, column)
        with self._lock:  # several threads take the first look at the images
            if key not in self._held:
                self._held[key] = self.file(number).read_row_group(group, columns=[column], use_threads=False).column(0)
                while len(self._held) > HELD_GROUPS:
                    self._held.popitem(last=False)
            self._held.move_to_end(key)
            return self._held[key]

    def __getstate__(self) -> dict[str, Any]:
        return {"opened": self.opened, "num_files": self.num_files, "_held": OrderedDict(), "_files": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.RLock())


@dataclass(frozen=True)
class ParquetCells:
    """One column, cell by cell; `starts` are (first row, file, row group)."""

    files: ParquetFiles
    column: str
    starts: list[tuple[int, int, int]]

    def __call__(self, row: int) -> Any:
        """The cell of a row."""
        first, number, group = self.starts[bisect_right(self.starts, row, key=lambda start: start[0]) - 1]
        return self.files.group(number, group, self.column)[row - first].as_py()


@dataclass(frozen=True)
class LocalFiles:
    """Opens files by their number."""

    paths: Sequence[Path]

    def __call__(self, number: int) -> str:
        """The path, for pyarrow."""
        return str(self.paths[number])


def read_parquet(
    source: str,
    opened: Callable[[int], Any],
    settings: DataSettings,
    *,
    names: Sequence[str],
    folder: Path | None = None,
    remote: ListOfImages | None = None,
) -> ImageSet:
    """Parquet files as one list of images; a file's name may name its split.

    `opened` opens a file by its number, `names` are their names. Paths in the list are relative to `folder`; `remote`
    finds and reads the files of a list at an address.

    Raises:
        DataError: a file is damaged, or there is no column of images or of labels.

    """
    arrow = need_arrow()
    files = ParquetFiles(opened, len(names))
    try:
        schema = files.file(0).schema_arrow
        for number in range(1, len(names)):
            if files.file(number).schema_arrow.names != schema.names:
                raise DataError(
                    f"{source}: {names[number]} and {names[0]} have different columns; DATA is one data set"
                )
        splits = [_split_of_file(name) for name in names]
        counts = [files.file(number).metadata.num_rows for number in range(len(names))]
        parts = list(zip(splits, counts, strict=True))

        def rows(columns: Sequence[str]) -> Iterator[Sequence[Any]]:
            for number in range(len(names)):
                for batch in files.file(number).iter_batches(batch_size=8192, columns=list(columns)):
                    yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)

        return read_columns(source, schema, rows, parts, files.column_cell, settings, folder, remote)
    except (arrow.ArrowException, OSError) as error:
        raise DataError(f"{source} cannot be read as Parquet ({str(error).splitlines()[0][:200]})") from None


def _split_of_file(name: str) -> str:
    """The split that a file name begins with (train-00000-of-00001.parquet), or ""."""
    side = plain_side(name.rpartition("/")[2].partition(".")[0].partition("-")[0])
    return "" if side is None else ("train", "val", "test")[side]
