"""A list of images with their labels, as people and programs write it, becomes an `ImageSet`.

Enters: a .csv, .tsv or .jsonl. Leaves: `ImageSet`. Called by `open_data.py`. Any delimiter, order and usual name of
columns; what is guessed is said, what is unclear is asked.
"""

import csv
import io
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from catseye.data.names import Names
from catseye.data.sources.columns import NO_COLUMN, Columns, choose_columns, has_header, is_one, plain_column
from catseye.data.sources.corrections import HEADER, read_decided_list
from catseye.data.sources.folder import FolderReader
from catseye.data.sources.image_set import NOT_SPLIT, TRAIN, ImageSet, MakeReader, Unlabelled, a_few, so_many
from catseye.data.sources.json_lines import read_json_rows
from catseye.data.sources.labels import (
    is_missing,
    note_on_boxes,
    note_on_numbers,
    note_on_repeated_files,
    note_on_several_labels,
)
from catseye.data.sources.listed_files import ListedFiles
from catseye.data.sources.split_names import side_of
from catseye.errors import DataError
from catseye.settings.schema import DataSettings

SAMPLE_ROWS = 500
ReadRows = Callable[[Callable[[str], Any], str], Iterator[tuple[int, list[str]]]]
_DELIMITERS = (",", ";", "\t", "|")
_LINES_NAMED = 10


class FilesOfList(Protocol):
    """What turns the cells of a list into the names of files."""

    def learn(self, values: Sequence[str]) -> int:
        """Learn from some values; how many of them are there."""
        ...

    def name(self, value: str) -> str:
        """The name that the list's reader knows."""
        ...

    @property
    def base(self) -> str:
        """The folder below which most files were found; "" for the list's own."""
        ...


@dataclass(frozen=True)
class ListOfImages:
    """A list, wherever it comes from: `where` names it, `rows` gives line numbers and cells anew at every call.

    `named`: whether the first row names the columns; None: to be told from what it says.
    """

    where: str
    rows: Callable[[], Iterator[tuple[int, list[str]]]]
    files: FilesOfList
    reader: MakeReader
    named: bool | None = None
    openable: bool = True  # whether `reader` reads images that the list leaves out

    def is_head(self, row: list[str]) -> bool:
        """Whether the first row names the columns."""
        return has_header(row) if self.named is None else self.named


def read_table(path: Path, settings: DataSettings) -> ImageSet:
    """The images of a .csv, .tsv or .jsonl. Paths are relative to its folder, or absolute.

    Raises:
        DataError: it cannot be read, a row is incomplete, or its columns can be read in two ways.
        UsageError: a column that the user names is not there.

    """
    if _is_decided(path):
        return _read_decided(path)
    rows, named = rows_of(path.suffix)
    listed = ListOfImages(
        str(path),
        lambda: rows(path.open, str(path)),
        ListedFiles(path.parent),
        lambda names: FolderReader(path.parent, names),
        named,
    )
    return read_listed(listed, settings)


def rows_of(suffix: str) -> tuple[ReadRows, bool | None]:
    """What reads a list with this suffix, and whether its first row names the columns (None: to be told)."""
    return (read_json_rows, True) if suffix.lower() == ".jsonl" else (read_rows, None)


def read_listed(listed: ListOfImages, settings: DataSettings) -> ImageSet:
    """The images of a list.

    Raises:
        DataError: it cannot be read, a row is incomplete, or its columns can be read in two ways.
        UsageError: a column that the user names is not there.

    """
    path, files = listed.where, listed.files
    columns, remarks = _understand(listed, settings)
    rows = _collect(listed, columns)
    if not rows.paths:
        reason = "" if not rows.unlabelled else f" with a label ({so_many(len(rows.unlabelled), 'row')} without)"
        raise DataError(f"{path} lists no images{reason}; it needs one line per image below path,label[,split]")
    splits = _splits_of(path, rows, remarks)
    classes = sorted(set(rows.labels))
    number = {name: index for index, name in enumerate(classes)}
    labels = np.array([number[label] for label in rows.labels], dtype=np.int64)
    files.learn(rows.paths)
    names = Names(map(files.name, rows.paths))
    if files.base:
        remarks.append(f"the files of the list lie in {files.base}/")
    doubts = (
        note_on_several_labels(rows.labels),
        note_on_repeated_files(rows.paths, rows.labels),
        note_on_numbers(rows.labels),
        note_on_boxes(columns.unused),
    )
    groups, said, ungrouped = _groups_of(columns, rows, labels)
    without = _without_label_in(rows, listed)
    if without is not None:
        said.append("catseye review DATA asks for the labels that are missing")
    return ImageSet(
        source=path,
        classes=tuple(classes),
        names=names,
        labels=labels,
        splits=splits,
        read=listed.reader(names),
        notes=(*_on_unlabelled(rows), *filter(None, doubts), *ungrouped),
        groups=groups,
        group_name=columns.names[columns.group] if columns.group is not None and groups is not None else "",
        remarks=(*remarks, *said),
        unlabelled=without,
    )


def _is_decided(path: Path) -> bool:
    """Whether `catseye label` or `catseye review` wrote the list."""
    try:
        with path.open("rb") as stream:
            return stream.read(len(HEADER)) == HEADER
    except OSError:
        return False  # told by whoever reads it


def _read_decided(path: Path) -> ImageSet:
    """The images that people gave a label to; what they left out or could not say is not among them."""
    found = read_decided_list(path)
    if not found:
        raise DataError(f"{path} gives no image a label yet; catseye label FOLDER --out {path.name} does")
    classes = sorted({label for _, label in found})
    names = Names(name for name, _ in found)
    number = {name: index for index, name in enumerate(classes)}
    return ImageSet(
        source=str(path),
        classes=tuple(classes),
        names=names,
        labels=np.array([number[label] for _, label in found], np.int64),
        splits=np.full(len(found), NOT_SPLIT, np.int8),
        read=FolderReader(path.parent, names),
        remarks=(f"the list holds what people decided: {so_many(len(found), 'image')} with a label",),
    )


@dataclass
class _ListedRows:
    """The cells that count, row by row."""

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
        """Note an image that has no label; what its split's cell says is no matter of training."""
        self.unlabelled.append(line)
        self.unlabelled_paths.append(name)
        side, rest = side_of(split)
        self.unlabelled_sides.append(NOT_SPLIT if side is None or rest else side)


def _without_label_in(rows: _ListedRows, listed: ListOfImages) -> Unlabelled | None:
    if not rows.unlabelled_paths or not listed.openable:
        return None
    names = Names(map(listed.files.name, rows.unlabelled_paths))
    return Unlabelled(names, np.array(rows.unlabelled_sides, np.int8), listed.reader(names))


def _understand(listed: ListOfImages, settings: DataSettings) -> tuple[Columns, list[str]]:
    """Columns, and what is to be said about them."""
    path, files = listed.where, listed.files
    lines = listed.rows()
    _, first = next(lines, (0, []))
    if not first:
        raise DataError(f"{path}: the first line must name the columns path,label[,split]; it is empty")
    remarks = []
    head = listed.is_head(first)
    names = [cell.strip() for cell in first] if head else [f"column {number}" for number in range(1, len(first) + 1)]
    if not head:
        remarks.append(f"the first line of the list names no columns; {len(names)} columns are told by their content")
    sample = [row for _, row in islice(lines, SAMPLE_ROWS)]
    columns = choose_columns(path, names, sample if head else [first, *sample], settings, files.learn)
    plain = [plain_column(name) for name in names]
    if {"path", "label"} - set(plain) or columns.unused:
        label = "one column per class" if columns.label is None else f"label {names[columns.label]!r}"
        unused = f"; not used: {a_few(columns.unused)}" if columns.unused else ""
        remarks.append(f"columns: image {names[columns.image]!r}, {label}{unused}")
    return columns, remarks


def _collect(listed: ListOfImages, columns: Columns) -> _ListedRows:
    path = listed.where
    rows, width = _ListedRows(), len(columns.names)
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
            raise DataError(f"{path} line {line}: {name!r} is an address; fetch the images first and list their files")
        cell = "" if columns.split is None else row[columns.split].strip()
        if columns.label is not None:
            label = unicodedata.normalize("NFC", row[columns.label].strip())  # macOS writes é as two signs
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
            f"{path}: {so_many(len(rows.several), 'row')} with a 1 in more than one of the columns "
            f"{a_few([columns.names[column] for column in several])} ({_name_lines(rows.several)}): several labels per "
            "image (multi-label) are not supported yet; leave one 1 in each row, or name one column with --label-column"
        )
    return rows


def _side_in_cell(path: str, line: int, text: str) -> int:
    if is_missing(text):
        return NOT_SPLIT
    side, rest = side_of(text)
    if side is None or rest:
        raise DataError(
            f"{path} line {line}: split is train, val or test; got {text!r}; say --split-column {NO_COLUMN} where the "
            "column means something else"
        )
    return side


def _splits_of(path: str, rows: _ListedRows, remarks: list[str]) -> NDArray[np.int8]:
    sides = set(rows.sides)
    if NOT_SPLIT in sides and len(sides) > 1:
        line = rows.lines[rows.sides.index(NOT_SPLIT)]
        raise DataError(f"{path} line {line}: a split for some images but not for this one; fill in all or none")
    if sides == {TRAIN}:
        remarks.append("every image of the list is in train: what is held out is drawn from it")
        return np.full(len(rows.sides), NOT_SPLIT, np.int8)
    return np.array(rows.sides, dtype=np.int8)


def _groups_of(
    columns: Columns, rows: _ListedRows, labels: NDArray[np.int64]
) -> tuple[NDArray[np.int64] | None, list[str], list[str]]:
    """(N,) group numbers, remarks and notes. A cell without a value stands alone."""
    if columns.group is None:
        return None, [], []
    name = columns.names[columns.group]
    first: dict[str, int] = {}
    groups = np.array(
        [index if is_missing(cell) else first.setdefault(cell, index) for index, cell in enumerate(rows.groups)],
        np.int64,
    )
    num = len(np.unique(groups))
    if num == 1:
        return None, [], [f"column {name!r} has one value only: it groups nothing and is not used"]
    if num == len(groups):
        return None, [f"column {name!r} has another value in every row: it groups nothing and is not used"], []
    pairs = np.unique(np.stack([groups, labels], axis=1), axis=0)
    if len(pairs) == num and len(np.unique(labels)) == num:
        reason = f"column {name!r} has one value per class: images that it groups cannot be parted, so it is not used"
        return None, [], [reason]
    others = [columns.names[each] for each in columns.other_groups]
    more = f"; {a_few(others)} could be groups too: say --group-column NAME" if others else ""
    said = (
        f"column {name!r} names {so_many(num, 'group')}: images of one group stay on one side "
        f"(--group-column {NO_COLUMN} to do without){more}"
    )
    return groups, [said], []


def _on_unlabelled(rows: _ListedRows) -> list[str]:
    if not rows.unlabelled:
        return []
    num = len(rows.unlabelled)
    have, be = ("has", "is") if num == 1 else ("have", "are")
    return [f"{so_many(num, 'row')} {have} no label (empty or nan) and {be} left out: {_name_lines(rows.unlabelled)}"]


def _name_lines(lines: list[int]) -> str:
    shown = ", ".join(map(str, lines[:_LINES_NAMED]))
    many = f" … ({len(lines):,} in all)" if len(lines) > _LINES_NAMED else ""
    return f"{'line' if len(lines) == 1 else 'lines'} {shown}{many}"


# --- the file itself --------------------------------------------------------------------------------------------------


def read_rows(opened: Callable[[str], Any], path: str) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of every row of a CSV that is not empty, the first one included.

    `opened("rb")` gives its bytes; `path` is what it is called.

    Raises:
        DataError: it is no CSV in UTF-8 or UTF-16.

    """
    try:
        with opened("rb") as raw:
            encoding = _encoding_of_list(raw.read(4096))
        with opened("rb") as whole, io.TextIOWrapper(whole, encoding=encoding, newline="") as stream:
            head = stream.readline()
            given = re.fullmatch(r"sep=(.)\s*", head.lstrip("\ufeff"))  # Excel's own line
            delimiter = given.group(1) if given else _delimiter_of_list(head, path)
            skipped = int(bool(given))
            if not given:
                stream.seek(0)
            reader = csv.reader(stream, delimiter=delimiter, strict=True, skipinitialspace=delimiter != "\t")
            for row in reader:
                if any(cell.strip() for cell in row):
                    yield reader.line_num + skipped, row
    except (OSError, UnicodeError, csv.Error) as error:
        raise DataError(
            f"{path} cannot be read as UTF-8 CSV ({error}); in Excel, save it as 'CSV UTF-8'; quotes come in pairs"
        ) from None


def _encoding_of_list(head: bytes) -> str:
    """UTF-8 with or without its mark; UTF-16, which Windows' tools write, by its mark or its zeros."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    if 3 * head[1::2].count(0) > len(head[1::2]):
        return "utf-16-le"
    if 3 * head[::2].count(0) > len(head[::2]):
        return "utf-16-be"
    return "utf-8-sig"


def _delimiter_of_list(head: str, path: str) -> str:
    """The sign that parts the first line into most cells; a tab for .tsv, else a comma where none does."""
    bare = re.sub(r'"[^"]*"', "", head)
    counts = {sign: bare.count(sign) for sign in _DELIMITERS}
    best = max(_DELIMITERS, key=lambda sign: counts[sign])
    if counts[best]:
        return best
    return "\t" if path.lower().endswith(".tsv") else ","
