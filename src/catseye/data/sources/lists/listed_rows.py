"""A list of images, wherever it comes from, and the cells of it that are used.

Enters: `ListOfImages` and its `Columns`. Leaves: `ListedRows`. Called by `table.py`; what reads other kinds of lists
makes a `ListOfImages`.
"""

import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from catseye.counting import agree, count
from catseye.data.sources.image_set import NOT_SPLIT, MakeReader, a_few
from catseye.data.sources.lists.columns import NO_COLUMN, Columns, has_header, is_one
from catseye.data.sources.lists.labels import is_missing
from catseye.data.sources.split_names import plain_side
from catseye.errors import DataError

_MAX_LINES = 10  # line numbers in a message


class FilesOfList(Protocol):
    """Turns the cells of a list into the names of files."""

    def learn(self, values: Sequence[str]) -> int:
        """Learn from values; how many of their files exist."""
        ...

    def name(self, value: str) -> str:
        """The name that the list's reader knows."""
        ...

    @property
    def places(self) -> str:
        """The folders of the files, for a remark; "" for the list's own."""
        ...


@dataclass(frozen=True)
class ListOfImages:
    """A list, wherever it comes from.

    `name` is for messages; every call of `rows` yields line numbers and cells from the start. `named`: whether the
    first row names the columns; if None, its content decides.
    """

    name: str
    rows: Callable[[], Iterator[tuple[int, list[str]]]]
    files: FilesOfList
    reader: MakeReader
    named: bool | None = None
    openable: bool = True  # whether `reader` can read images without a label

    def is_head(self, row: list[str]) -> bool:
        """Whether the first row names the columns."""
        return has_header(row) if self.named is None else self.named


@dataclass
class ListedRows:
    """The cells that are used, row by row."""

    paths: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    sides: list[int] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    unlabelled: list[int] = field(default_factory=list)  # lines
    unlabelled_paths: list[str] = field(default_factory=list)
    unlabelled_sides: list[int] = field(default_factory=list)
    several: list[int] = field(default_factory=list)  # lines with more than one 1

    def leave_out(self, line: int, name: str, split: str) -> None:
        """Note an image without a label; any value is allowed as its split."""
        self.unlabelled.append(line)
        self.unlabelled_paths.append(name)
        side = plain_side(split)
        self.unlabelled_sides.append(NOT_SPLIT if side is None else side)


def collect_rows(listed: ListOfImages, columns: Columns) -> ListedRows:
    """The rows of a list.

    Raises:
        DataError: a row is incomplete, or has several labels.

    """
    path = listed.name
    rows, width = ListedRows(), len(columns.names)
    several = columns.one_hot
    for number, (line, row) in enumerate(listed.rows()):
        if number == 0 and listed.is_head(row):
            continue
        if any(cell.strip() for cell in row[width:]):
            raise DataError(f"{path} line {line}: more cells than columns; a path with a comma needs quotes")
        row += [""] * (width - len(row))
        name = row[columns.image].strip()
        if is_missing(name):
            raise DataError(f"{path} line {line}: the name of the image must not be empty; got {name!r}; fill it in")
        if name.lower().startswith(("http://", "https://", "s3://", "gs://")):
            raise DataError(
                f"{path} line {line}: {name!r} is an address; download the images first and list their files"
            )
        cell = "" if columns.split is None else row[columns.split].strip()
        if columns.label is not None:
            label = unicodedata.normalize("NFC", row[columns.label].strip())  # macOS writes é as two characters
            if is_missing(label):
                rows.leave_out(line, name, cell)
                continue
        else:
            marked = [column for column in several if is_one(row[column])]
            if len(marked) != 1:
                rows.several.append(line) if marked else rows.leave_out(line, name, cell)
                continue
            label = columns.names[marked[0]]
        rows.paths.append(name)
        rows.labels.append(label)
        rows.lines.append(line)
        rows.sides.append(_side_in_cell(path, line, cell))
        if columns.group is not None:
            rows.groups.append(row[columns.group].strip())
    if rows.several:
        raise DataError(
            f"{path}: {count(len(rows.several), 'row')} with a 1 in more than one of the columns "
            f"{a_few([columns.names[column] for column in several])} ({name_lines(rows.several)}): several labels per "
            "image (multi-label) are not supported yet; keep one 1 in each row, or name one column with --label-column"
        )
    return rows


def _side_in_cell(path: str, line: int, text: str) -> int:
    if is_missing(text):
        return NOT_SPLIT
    side = plain_side(text)
    if side is None:
        raise DataError(
            f"{path} line {line}: a split is train, val or test; got {text!r}; use --split-column {NO_COLUMN} if the "
            "column means something else"
        )
    return side


def name_lines(lines: list[int]) -> str:
    """The numbers of lines, for a message."""
    shown = ", ".join(map(str, lines[:_MAX_LINES]))
    total = f" … ({len(lines):,} in all)" if len(lines) > _MAX_LINES else ""
    return f"{agree(len(lines), 'line', 'lines')} {shown}{total}"
