"""Data sets as Hugging Face and Parquet have them: a column of images, as bytes or as paths, and one of labels.

Enters: a Parquet file or several, or the folder of `Dataset.save_to_disk`. Leaves: `ImageSet`. Called by open_data.py.
pyarrow reads both (extra `parquet`); `datasets` itself is not needed. Images are fetched row by row when they are asked
for: an Arrow file is mapped into memory, of Parquet a few row groups are held.
"""

import json
import os
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catseye.data.sources.columns import plain_column
from catseye.data.sources.image_set import ImageSet, Reader
from catseye.data.sources.listed_files import ListedFiles
from catseye.data.sources.split_names import side_of
from catseye.data.sources.table import FilesOfList, ListOfImages, read_listed
from catseye.errors import DataError, ImageError, MissingDependency
from catseye.preprocess import FILE_SUFFIXES, read_file
from catseye.settings.schema import DataSettings

HELD_GROUPS = 4  # row groups of Parquet in memory, per process
IMAGE = "image"


@dataclass
class CellReader:
    """Reads images that lie in the cells of a table: bytes, {"bytes", "path"}, or a path."""

    cell: Callable[[int], Any]
    rows: NDArray[np.int64]
    names: Sequence[str]
    folder: Path | None
    _sizes: dict[int, int] = field(default_factory=dict, repr=False)

    def __call__(self, index: int) -> bytes:
        """The bytes of the image."""
        try:
            value = self.cell(int(self.rows[index]))
        except Exception as error:  # noqa: BLE001 - Arrow's errors have no common root
            raise ImageError(f"{self.names[index]} cannot be read ({str(error).splitlines()[0][:200]})") from None
        if isinstance(value, Mapping):
            value = value.get("bytes") if value.get("bytes") is not None else value.get("path")
        if isinstance(value, bytes):
            return value
        if isinstance(value, str) and self.folder is not None:
            return read_file(self.folder / value)
        raise ImageError(f"{self.names[index]} is empty")

    def size_bytes(self, index: int) -> int:
        """The size of those bytes."""
        if index not in self._sizes:
            self._sizes[index] = len(self(index))
        return self._sizes[index]


class NamedCells:
    """The names of images that lie in the list itself: they are all there."""

    base = ""

    def learn(self, values: Sequence[str]) -> int:
        """All of them, where they look like the names of images; the first column that does is taken."""
        return sum(os.path.splitext(value)[1].lower() in FILE_SUFFIXES for value in values)  # noqa: PTH122

    def name(self, value: str) -> str:
        """The same."""
        return value.replace("\\", "/")


def need_arrow() -> Any:
    """Pyarrow.

    Raises:
        MissingDependency: it is not installed.

    """
    try:
        import pyarrow as pa
        import pyarrow.ipc
        import pyarrow.parquet
    except ImportError:
        raise MissingDependency("pyarrow") from None
    return pa


# --- Parquet ----------------------------------------------------------------------------------------------------------


@dataclass
class ParquetFiles:
    """Parquet files as one table. `opened` opens a file by its number, for reading at any place."""

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
        found, row = [], 0
        for number in range(self.num_files):
            meta = self.file(number).metadata
            for group in range(meta.num_row_groups):
                found.append((row, number, group))
                row += meta.row_group(group).num_rows
        return found

    def column_cell(self, column: str) -> "ParquetCells":
        """Reads one cell of a column, by row."""
        return ParquetCells(self, column, self.starts())

    def group(self, number: int, group: int, column: str) -> Any:
        """A column of a row group; the latest few stay in memory."""
        key = (os.getpid(), number, group, column)
        with self._lock:  # the first look at the images is done by several threads
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
    """One column of Parquet files, cell by cell; `starts` are first row, file and row group."""

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
        """What pyarrow opens."""
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
    """Parquet files as one list of images; a file's name may name its side.

    `opened` opens a file by its number, `names` are their names. Paths in the list are relative to `folder`; `remote`
    finds and reads the files of a list that lies elsewhere.

    Raises:
        DataError: a file is damaged, or there is no column of images or of labels.

    """
    arrow = need_arrow()
    files = ParquetFiles(opened, len(names))
    try:
        schema = files.file(0).schema_arrow
        for number in range(1, len(names)):
            if files.file(number).schema_arrow.names != schema.names:
                raise DataError(f"{source}: {names[number]} has other columns than {names[0]}; give one data set")
        sides = [_side_name(name) for name in names]
        counts = [files.file(number).metadata.num_rows for number in range(len(names))]
        parts = list(zip(sides, counts, strict=True))

        def rows(columns: Sequence[str]) -> Iterator[Sequence[Any]]:
            for number in range(len(names)):
                for batch in files.file(number).iter_batches(batch_size=8192, columns=list(columns)):
                    yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)

        return _read_columns(source, schema, rows, parts, files.column_cell, settings, folder, remote)
    except (arrow.ArrowException, OSError) as error:
        raise DataError(f"{source} cannot be read as Parquet ({str(error).splitlines()[0][:200]})") from None


def _side_name(name: str) -> str:
    """The side that a file's name begins with, as in train-00000-of-00001.parquet; else nothing."""
    side, rest = side_of(name.rpartition("/")[2].partition(".")[0].partition("-")[0])
    return "" if side is None or rest else ("train", "val", "test")[side]


# --- Hugging Face's own files -----------------------------------------------------------------------------------------


def is_saved_dataset(folder: Path) -> bool:
    """Whether this is what `Dataset.save_to_disk` or `DatasetDict.save_to_disk` wrote."""
    return (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file()


@dataclass
class ArrowFiles:
    """Arrow files in their order, mapped into memory; `order` (N,) is the rows' order, None: as they are."""

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
        """Rows."""
        return self.table().num_rows if self.order is None else len(self.order)

    def at(self, row: int) -> int:
        """The row in the files."""
        return row if self.order is None else int(self.order[row])

    def __getstate__(self) -> dict[str, Any]:
        return {"paths": self.paths, "order": self.order, "_tables": {}}


@dataclass(frozen=True)
class ArrowCells:
    """One column of several data sets one after the other, cell by cell; `starts` are their first rows."""

    parts: Sequence[ArrowFiles]
    starts: list[int]
    column: str

    def __call__(self, row: int) -> Any:
        """The cell of a row."""
        number = bisect_right(self.starts, row) - 1
        files = self.parts[number]
        return files.table().column(self.column)[files.at(row - self.starts[number])].as_py()


def read_saved_dataset(folder: Path, settings: DataSettings) -> ImageSet:
    """The folder of `save_to_disk`; of a DatasetDict each split is a side.

    Raises:
        DataError: a file is missing or damaged, or there is no column of images or of labels.

    """
    arrow = need_arrow()
    try:
        names = [""]
        if (folder / "dataset_dict.json").is_file():
            names = json.loads((folder / "dataset_dict.json").read_text(encoding="utf-8"))["splits"]
        parts = [(_saved_side(name), _saved_files(folder / name)) for name in names]
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
        counts = [(side, files.num_rows) for side, files in parts]
        return _read_columns(str(folder), schema, rows, counts, cells, settings, folder, None)
    except (arrow.ArrowException, OSError, ValueError, KeyError, IndexError) as error:
        why = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise DataError(f"{folder} cannot be read as a data set of Hugging Face ({why})") from None


def _selected(arrow: Any, table: Any, columns: Sequence[str]) -> Any:
    """Some columns; `image.path` is a part of one."""
    import pyarrow.compute

    parts = [name.partition(".") for name in columns]
    found = [
        pyarrow.compute.struct_field(table.column(name), part)
        if part and name in table.column_names
        else table.column(whole)
        for whole, (name, _, part) in zip(columns, parts, strict=True)
    ]
    return arrow.table(dict(zip(columns, found, strict=True)))


def _saved_side(name: str) -> str:
    side, rest = side_of(name)
    return "" if side is None or rest else ("train", "val", "test")[side]


def _saved_files(folder: Path) -> ArrowFiles:
    state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    files = ArrowFiles([_beside_state(folder, one["filename"]) for one in state["_data_files"]])
    indices = state.get("_indices_data_files") or []
    if not indices:
        return files
    order = ArrowFiles([_beside_state(folder, one["filename"]) for one in indices]).table().column(0).to_numpy()
    return replace(files, order=order.astype(np.int64), _tables={})


def _beside_state(folder: Path, name: str) -> Path:
    if Path(name).name != name:
        raise ValueError(f"a file beside state.json; got {name!r}")
    return folder / name


# --- the columns ------------------------------------------------------------------------------------------------------


def _read_columns(
    source: str,
    schema: Any,
    rows: Callable[[Sequence[str]], Iterator[Sequence[Any]]],
    parts: Sequence[tuple[str, int]],
    cells: Callable[[str], Callable[[int], Any]],
    settings: DataSettings,
    folder: Path | None,
    remote: ListOfImages | None,
) -> ImageSet:
    """A list whose image column may hold the images themselves."""
    arrow = need_arrow()
    holding = [one.name for one in schema if _holds_bytes(arrow, one.type)]
    image = _image_column(source, holding, settings)
    plain = [one.name for one in schema if _is_plain(arrow, one.type)]
    names_of = _names_of_numbers(schema)
    sided = any(side for side, _ in parts)
    extra = [*["split"] * sided, *[IMAGE] * bool(image)]
    if sided and "split" in map(plain_column, plain):
        extra, sided = [name for name in extra if name != "split"], False
    head = [*(name if name != IMAGE else "image text" for name in plain), *extra]

    def lines() -> Iterator[tuple[int, list[str]]]:
        yield 1, head
        texts = _image_names(image, rows, schema) if image else iter(())
        side_of_row = (side for side, count in parts for _ in range(count))
        listed = rows(plain) if plain else (() for _, count in parts for _ in range(count))
        for number, values in enumerate(listed, 2):
            row = [_as_cell(value, names_of.get(name)) for name, value in zip(plain, values, strict=True)]
            side = next(side_of_row)
            yield number, [*row, *[side] * sided, *([next(texts)] if image else [])]

    if not image:
        files: FilesOfList = remote.files if remote else ListedFiles(folder or Path())
        reader = remote.reader if remote else _no_reader(source) if folder is None else _folder_reader(folder)
        return read_listed(ListOfImages(source, lines, files, reader, named=True), settings)
    own = settings.model_copy(update={"image_column": IMAGE})
    listed = ListOfImages(source, lines, NamedCells(), _not_yet, named=True, openable=False)
    found = read_listed(listed, own)
    kept = _kept_rows(found, lines, head)
    return replace(found, read=CellReader(cells(image), kept, found.names, folder))


def _kept_rows(
    found: ImageSet, lines: Callable[[], Iterator[tuple[int, list[str]]]], head: list[str]
) -> NDArray[np.int64]:
    """The row of every image that the list kept: rows without a label were left out, the order was not changed."""
    everything = sum(1 for _ in lines()) - 1
    if everything == len(found):
        return np.arange(everything, dtype=np.int64)
    names, rows = iter(found.names), []
    wanted = next(names, None)
    for number, (_, row) in enumerate(lines()):
        if number and wanted is not None and row[head.index(IMAGE)] == wanted:
            rows.append(number - 1)
            wanted = next(names, None)
    return np.array(rows, np.int64)


def _image_column(source: str, holding: Sequence[str], settings: DataSettings) -> str:
    """The column that holds images, "" where none does."""
    if settings.image_column:
        return settings.image_column if settings.image_column in holding else ""
    if len(holding) > 1 and IMAGE in holding:
        return IMAGE
    if len(holding) > 1:
        raise DataError(f"{source}: which column holds the images? {', '.join(holding)}; say --image-column NAME")
    return holding[0] if holding else ""


def _holds_bytes(arrow: Any, kind: Any) -> bool:
    types = arrow.types
    if types.is_struct(kind):
        return any(part.name == "bytes" and _holds_bytes(arrow, part.type) for part in kind)
    return bool(types.is_binary(kind) or types.is_large_binary(kind))


def _is_plain(arrow: Any, kind: Any) -> bool:
    types = arrow.types
    nested = types.is_nested(kind) or types.is_binary(kind) or types.is_large_binary(kind)
    return not (nested or types.is_fixed_size_binary(kind))


def _names_of_numbers(schema: Any) -> dict[str, list[str]]:
    """Column -> the names of its numbers, where Hugging Face wrote them into the schema."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {
            name: [str(each) for each in kind["names"]]
            for name, kind in features.items()
            if isinstance(kind, dict) and kind.get("_type") == "ClassLabel" and kind.get("names")
        }
    except (KeyError, ValueError, TypeError, AttributeError):
        return {}


def _as_cell(value: Any, names: Sequence[str] | None) -> str:
    if value is None:
        return ""
    if names is not None and isinstance(value, int):
        return names[value] if 0 <= value < len(names) else ""  # -1: no label
    return str(value)


def _image_names(image: str, rows: Callable[[Sequence[str]], Iterator[Sequence[Any]]], schema: Any) -> Iterator[str]:
    """The path beside the bytes, where every image has one of its own; else numbers."""
    kind = schema.field(image).type
    if need_arrow().types.is_struct(kind) and any(part.name == "path" for part in kind):
        paths = [value["path"] if isinstance(value, dict) else value for (value,) in rows([f"{image}.path"])]
        if len(set(paths)) == len(paths) and None not in paths:
            yield from (path.replace("\\", "/") for path in paths)
            return
    yield from (f"{number:06d}" for number in range(10**12))


def _not_yet(names: Sequence[str]) -> Reader:
    return CellReader(lambda row: None, np.arange(len(names)), names, None)


def _folder_reader(folder: Path) -> Callable[[Sequence[str]], Reader]:
    from catseye.data.sources.folder import FolderReader

    return lambda names: FolderReader(folder, names)


def _no_reader(source: str) -> Callable[[Sequence[str]], Reader]:
    raise DataError(f"{source}: there is no column that holds images, and no folder that their paths could mean")
