"""Data sets of Hugging Face, saved by `save_to_disk`: Arrow files.

Enters: the folder. Leaves: `ImageSet`. Called by open_data.py. pyarrow maps the files into memory (extra `parquet`);
`datasets` is not needed.
"""

import json
import os
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catseye.data.sources.image_set import ImageSet
from catseye.data.sources.parquet.arrow_columns import need_arrow, read_columns
from catseye.data.sources.split_names import plain_side
from catseye.errors import DataError
from catseye.settings.schema import DataSettings


def is_saved_dataset(folder: Path) -> bool:
    """Whether `save_to_disk` of a Dataset or a DatasetDict wrote this folder."""
    return (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file()


@dataclass
class ArrowFiles:
    """Arrow files, mapped into memory; `order` (N,), if given, reorders the rows."""

    paths: Sequence[Path]
    order: NDArray[np.int64] | None = None
    _tables: dict[int, Any] = field(default_factory=dict, repr=False)

    def table(self) -> Any:
        """All rows, opened once per process."""
        arrow = need_arrow()
        if os.getpid() not in self._tables:
            tables = [arrow.ipc.open_stream(arrow.memory_map(str(path))).read_all() for path in self.paths]
            self._tables[os.getpid()] = arrow.concat_tables(tables)
        return self._tables[os.getpid()]

    @property
    def num_rows(self) -> int:
        """The number of rows."""
        return self.table().num_rows if self.order is None else len(self.order)

    def at(self, row: int) -> int:
        """The row in the files."""
        return row if self.order is None else int(self.order[row])

    def __getstate__(self) -> dict[str, Any]:
        return {"paths": self.paths, "order": self.order, "_tables": {}}


@dataclass(frozen=True)
class ArrowCells:
    """One column of several data sets, cell by cell; `starts` are their first rows."""

    parts: Sequence[ArrowFiles]
    starts: list[int]
    column: str

    def __call__(self, row: int) -> Any:
        """The cell of a row."""
        number = bisect_right(self.starts, row) - 1
        files = self.parts[number]
        return files.table().column(self.column)[files.at(row - self.starts[number])].as_py()


def read_saved_dataset(folder: Path, settings: DataSettings) -> ImageSet:
    """The images that `save_to_disk` wrote, with the splits of a DatasetDict.

    Raises:
        DataError: a file is missing or damaged, or there is no column of images or of labels.

    """
    arrow = need_arrow()
    try:
        names = [""]
        if (folder / "dataset_dict.json").is_file():
            names = json.loads((folder / "dataset_dict.json").read_text(encoding="utf-8"))["splits"]
        parts = [(_saved_split(name), _saved_files(folder / name)) for name in names]
        starts = np.cumsum([0, *(files.num_rows for _, files in parts)])
        schema = parts[0][1].table().schema

        def rows(columns: Sequence[str]) -> Iterator[Sequence[Any]]:
            for _, files in parts:
                table = _selected(arrow, files.table(), columns)
                table = table if files.order is None else table.take(files.order)
                for batch in table.to_batches(8192):
                    yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)

        def cells(column: str) -> ArrowCells:
            return ArrowCells([files for _, files in parts], starts.tolist(), column)

        info = json.loads((folder / names[0] / "dataset_info.json").read_text(encoding="utf-8"))
        schema = schema.with_metadata({b"huggingface": json.dumps({"info": info}).encode()})
        counts = [(split, files.num_rows) for split, files in parts]
        return read_columns(str(folder), schema, rows, counts, cells, settings, folder, None)
    except (arrow.ArrowException, OSError, ValueError, KeyError, IndexError) as error:
        why = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise DataError(f"{folder} cannot be read as a data set of Hugging Face ({why})") from None


def _selected(arrow: Any, table: Any, columns: Sequence[str]) -> Any:
    """Some columns; `image.path` is a field of one."""
    import pyarrow.compute

    parts = [name.partition(".") for name in columns]
    cells = [
        pyarrow.compute.struct_field(table.column(name), part)
        if part and name in table.column_names
        else table.column(whole)
        for whole, (name, _, part) in zip(columns, parts, strict=True)
    ]
    return arrow.table(dict(zip(columns, cells, strict=True)))


def _saved_split(name: str) -> str:
    side = plain_side(name)
    return "" if side is None else ("train", "val", "test")[side]


def _saved_files(folder: Path) -> ArrowFiles:
    state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    files = ArrowFiles([_beside_state(folder, file["filename"]) for file in state["_data_files"]])
    indices = state.get("_indices_data_files") or []
    if not indices:
        return files
    order = ArrowFiles([_beside_state(folder, file["filename"]) for file in indices]).table().column(0).to_numpy()
    return replace(files, order=order.astype(np.int64), _tables={})


def _beside_state(folder: Path, name: str) -> Path:
    if Path(name).name != name:
        raise ValueError(f"state.json names files beside it; got {name!r}")
    return folder / name
