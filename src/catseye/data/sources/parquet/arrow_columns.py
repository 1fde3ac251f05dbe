"""The columns of an Arrow table as a list of images.

Enters: an Arrow schema and a way to read rows. Leaves: `ImageSet`. Called by parquet_files.py and saved_datasets.py.
A column holds images, as bytes or as paths; they are read cell by cell when they are needed.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catseye.data.sources.image_set import ImageSet, Reader
from catseye.data.sources.lists.columns import plain_column
from catseye.data.sources.lists.listed_files import ListedFiles
from catseye.data.sources.lists.listed_rows import FilesOfList, ListOfImages
from catseye.data.sources.lists.table import read_listed
from catseye.errors import DataError, ImageError, MissingDependency
from catseye.preprocess import FILE_SUFFIXES, read_file
from catseye.settings.schema import DataSettings

IMAGE = "image"


@dataclass
class CellReader:
    """Reads images from the cells of a table: bytes, {"bytes", "path"} or a path."""

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
    """Names of images that are stored in the list itself: none is missing."""

    places = ""

    def learn(self, values: Sequence[str]) -> int:
        """How many values look like names of images."""
        return sum(os.path.splitext(value)[1].lower() in FILE_SUFFIXES for value in values)  # noqa: PTH122

    def name(self, value: str) -> str:
        """The value with forward slashes."""
        return value.replace("\\", "/")


def need_arrow() -> Any:
    """The module pyarrow.

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


def read_columns(
    source: str,
    schema: Any,
    rows: Callable[[Sequence[str]], Iterator[Sequence[Any]]],
    parts: Sequence[tuple[str, int]],
    cells: Callable[[str], Callable[[int], Any]],
    settings: DataSettings,
    folder: Path | None,
    remote: ListOfImages | None,
) -> ImageSet:
    """A list whose image column may hold the images themselves.

    `rows` yields the cells of some columns, `cells` reads one cell of a column; `parts` are splits and numbers of rows.

    Raises:
        DataError: there is no column of images or of labels, or there are several.

    """
    arrow = need_arrow()
    image = _image_column(source, [column.name for column in schema if _holds_bytes(arrow, column.type)], settings)
    plain = [column.name for column in schema if _is_plain(arrow, column.type)]
    classes = _class_names_in(schema)
    add_split = any(side for side, _ in parts) and "split" not in map(plain_column, plain)
    extra = [*["split"] * add_split, *[IMAGE] * bool(image)]
    head = [*(name if name != IMAGE else "image text" for name in plain), *extra]

    def lines() -> Iterator[tuple[int, list[str]]]:
        yield 1, head
        texts = _image_names(image, rows, schema) if image else iter(())
        side_of_row = (side for side, count in parts for _ in range(count))
        listed = rows(plain) if plain else (() for _, count in parts for _ in range(count))
        for number, values in enumerate(listed, 2):
            row = [_as_cell(value, classes.get(name)) for name, value in zip(plain, values, strict=True)]
            side = next(side_of_row)
            yield number, [*row, *[side] * add_split, *([next(texts)] if image else [])]

    if not image:
        files: FilesOfList = remote.files if remote else ListedFiles(folder or Path())
        reader = remote.reader if remote else _no_reader(source) if folder is None else _folder_reader(folder)
        return read_listed(ListOfImages(source, lines, files, reader, named=True), settings)
    listed = ListOfImages(source, lines, NamedCells(), _empty_reader, named=True, openable=False)
    images = read_listed(listed, settings.model_copy(update={"image_column": IMAGE}))
    return replace(images, read=CellReader(cells(image), _rows_of_images(images, lines, head), images.names, folder))


def _rows_of_images(
    images: ImageSet, lines: Callable[[], Iterator[tuple[int, list[str]]]], head: list[str]
) -> NDArray[np.int64]:
    """The row of every image; rows without a label are not among them."""
    num_rows = sum(1 for _ in lines()) - 1
    if num_rows == len(images):
        return np.arange(num_rows, dtype=np.int64)
    names, rows = iter(images.names), []
    next_name = next(names, None)
    for number, (_, row) in enumerate(lines()):
        if number and next_name is not None and row[head.index(IMAGE)] == next_name:
            rows.append(number - 1)
            next_name = next(names, None)
    return np.array(rows, np.int64)


def _image_column(source: str, columns: Sequence[str], settings: DataSettings) -> str:
    """The one of the `columns` of bytes that holds the images, or ""."""
    if settings.image_column:
        return settings.image_column if settings.image_column in columns else ""
    if len(columns) > 1 and IMAGE in columns:
        return IMAGE
    if len(columns) > 1:
        raise DataError(f"{source}: which column holds the images? {', '.join(columns)}; use --image-column NAME")
    return columns[0] if columns else ""


def _holds_bytes(arrow: Any, kind: Any) -> bool:
    types = arrow.types
    if types.is_struct(kind):
        return any(part.name == "bytes" and _holds_bytes(arrow, part.type) for part in kind)
    return bool(types.is_binary(kind) or types.is_large_binary(kind))


def _is_plain(arrow: Any, kind: Any) -> bool:
    types = arrow.types
    nested = types.is_nested(kind) or types.is_binary(kind) or types.is_large_binary(kind)
    return not (nested or types.is_fixed_size_binary(kind))


def _class_names_in(schema: Any) -> dict[str, list[str]]:
    """Column -> class names, if Hugging Face wrote them to the schema."""
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
    """The paths beside the bytes if they are unique, otherwise numbers."""
    kind = schema.field(image).type
    if need_arrow().types.is_struct(kind) and any(part.name == "path" for part in kind):
        paths = [value["path"] if isinstance(value, dict) else value for (value,) in rows([f"{image}.path"])]
        if len(set(paths)) == len(paths) and None not in paths:
            yield from (path.replace("\\", "/") for path in paths)
            return
    yield from (f"{number:06d}" for number in range(10**12))


def _empty_reader(names: Sequence[str]) -> Reader:
    return CellReader(lambda row: None, np.arange(len(names)), names, None)


def _folder_reader(folder: Path) -> Callable[[Sequence[str]], Reader]:
    from catseye.data.sources.folder import FolderReader

    return lambda names: FolderReader(folder, names)


def _no_reader(source: str) -> Callable[[Sequence[str]], Reader]:
    raise DataError(f"{source}: no column holds images, and there is no folder that paths could refer to")
