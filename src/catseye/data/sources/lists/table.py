"""A list of images with their labels, as people and programs write it.

Enters: a .csv, .tsv, .jsonl or .txt. Leaves: `ImageSet`. Called by `open_data.py`; `read_listed` also by frames.py,
remote.py and arrow_columns.py, `columns_of` by lists_beside.py. Columns may have any order and any usual name; guesses
become remarks, an ambiguous list is an error that names the options.
"""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catseye.counting import agree, count
from catseye.data.names import Names
from catseye.data.sources.folder import FolderReader
from catseye.data.sources.image_set import NOT_SPLIT, TRAIN, ImageSet, Unlabelled, a_few
from catseye.data.sources.lists.columns import NO_COLUMN, Columns, choose_columns, names_of_columns, plain_column
from catseye.data.sources.lists.csv_rows import read_csv_rows
from catseye.data.sources.lists.decided_list import is_decided_list, read_decided_list
from catseye.data.sources.lists.json_lines import read_json_rows
from catseye.data.sources.lists.labels import (
    is_missing,
    note_on_boxes,
    note_on_numbers,
    note_on_repeated_files,
    note_on_several_labels,
)
from catseye.data.sources.lists.listed_files import ListedFiles
from catseye.data.sources.lists.listed_rows import ListedRows, ListOfImages, collect_rows, name_lines
from catseye.data.sources.lists.text_rows import read_text_rows
from catseye.errors import DataError
from catseye.settings.schema import DataSettings

LIST_SUFFIXES = (".csv", ".tsv", ".jsonl", ".txt")
SAMPLE_ROWS = 500
ReadRows = Callable[[Callable[[str], Any], str], Iterator[tuple[int, list[str]]]]


def read_table(path: Path, settings: DataSettings) -> ImageSet:
    """The images of a .csv, .tsv, .jsonl or .txt.

    Paths are relative to its folder, or absolute.

    Raises:
        DataError: it cannot be read, a row is incomplete, or its columns are ambiguous.
        UsageError: a column that the user names is not there.

    """
    if is_decided_list(path):
        return read_decided_list(path)
    rows, named = rows_of(path.suffix)
    listed = ListOfImages(
        str(path),
        lambda: rows(path.open, str(path)),
        ListedFiles(path.parent),
        lambda names: FolderReader(path.parent, names),
        named,
    )
    return read_listed(listed, settings)


def rows_of(suffix: str, *, labelled: bool = True) -> tuple[ReadRows, bool | None]:
    """The function that reads such a list, and `ListOfImages.named`.

    The lines of a .txt need a label if they are `labelled`.
    """
    if suffix.lower() == ".jsonl":
        return read_json_rows, True
    return (partial(read_text_rows, labelled=labelled) if suffix.lower() == ".txt" else read_csv_rows), None


def read_listed(listed: ListOfImages, settings: DataSettings) -> ImageSet:
    """The images of a list.

    Raises:
        DataError: it cannot be read, a row is incomplete, or its columns are ambiguous.
        UsageError: a column that the user names is not there.

    """
    path, files = listed.name, listed.files
    columns, remarks = columns_of(listed, settings)
    rows = collect_rows(listed, columns)
    if not rows.paths:
        reason = "" if not rows.unlabelled else f" with a label ({count(len(rows.unlabelled), 'row')} without)"
        raise DataError(
            f"{path} lists no images{reason}; it needs one line per image below the header path,label[,split]"
        )
    splits = _splits_of(path, rows, remarks)
    classes = sorted(set(rows.labels))
    number = {name: index for index, name in enumerate(classes)}
    labels = np.array([number[label] for label in rows.labels], dtype=np.int64)
    files.learn(rows.paths)
    names = Names(map(files.name, rows.paths))
    if files.places:
        remarks.append(f"the files of the list are in {files.places}")
    problems = (
        note_on_several_labels(rows.labels),
        note_on_repeated_files(rows.paths, rows.labels),
        note_on_numbers(rows.labels),
        note_on_boxes(columns.unused),
    )
    groups, group_remarks, group_notes = _groups_of(columns, rows, labels)
    without = _without_label_in(rows, listed)
    if without is not None:
        group_remarks.append("catseye review DATA adds the missing labels")
    return ImageSet(
        source=path,
        classes=tuple(classes),
        names=names,
        labels=labels,
        splits=splits,
        read=listed.reader(names),
        notes=(*_note_unlabelled(rows), *filter(None, problems), *group_notes),
        groups=groups,
        group_name=columns.names[columns.group] if columns.group is not None and groups is not None else "",
        remarks=(*remarks, *group_remarks),
        unlabelled=without,
    )


def _without_label_in(rows: ListedRows, listed: ListOfImages) -> Unlabelled | None:
    if not rows.unlabelled_paths or not listed.openable:
        return None
    names = Names(map(listed.files.name, rows.unlabelled_paths))
    return Unlabelled(names, np.array(rows.unlabelled_sides, np.int8), listed.reader(names))


def columns_of(listed: ListOfImages, settings: DataSettings) -> tuple[Columns, list[str]]:
    """The columns of a list, and remarks on them.

    Raises:
        DataError: the columns are ambiguous. UsageError: a column that the user names is not there.

    """
    path, files = listed.name, listed.files
    lines = listed.rows()
    _, first = next(lines, (0, []))
    if not first:
        raise DataError(f"{path}: the first line must name the columns path,label[,split]; it is empty")
    remarks = []
    head = listed.is_head(first)
    names = names_of_columns(first, head)
    if not head:
        remarks.append(
            f"the first line of the list names no columns; {len(names)} columns are recognised by their content"
        )
    sample = [row for _, row in islice(lines, SAMPLE_ROWS)]
    columns = choose_columns(path, names, sample if head else [first, *sample], settings, files.learn)
    plain = [plain_column(name) for name in names]
    if {"path", "label"} - set(plain) or columns.unused:
        label = "one column per class" if columns.label is None else f"label {names[columns.label]!r}"
        unused = f"; not used: {a_few(columns.unused)}" if columns.unused else ""
        remarks.append(f"columns: image {names[columns.image]!r}, {label}{unused}")
    return columns, remarks


def _splits_of(path: str, rows: ListedRows, remarks: list[str]) -> NDArray[np.int8]:
    sides = set(rows.sides)
    if NOT_SPLIT in sides and len(sides) > 1:
        line = rows.lines[rows.sides.index(NOT_SPLIT)]
        raise DataError(
            f"{path} line {line}: every image has a split, or none has; this one has none; fill in all or none"
        )
    if sides == {TRAIN}:
        remarks.append("every image of the list is in train: the held-out images are drawn from it")
        return np.full(len(rows.sides), NOT_SPLIT, np.int8)
    return np.array(rows.sides, dtype=np.int8)


def _groups_of(
    columns: Columns, rows: ListedRows, labels: NDArray[np.int64]
) -> tuple[NDArray[np.int64] | None, list[str], list[str]]:
    """(N,) group numbers, remarks and notes. An empty cell is a group of its own."""
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
        return None, [], [f"column {name!r} has only one value: it does not define groups and is not used"]
    if num == len(groups):
        remark = f"column {name!r} has a different value in every row: it does not define groups and is not used"
        return None, [remark], []
    pairs = np.unique(np.stack([groups, labels], axis=1), axis=0)
    if len(pairs) == num and len(np.unique(labels)) == num:
        reason = f"column {name!r} has one value per class: such groups cannot be split, so it is not used"
        return None, [], [reason]
    others = [columns.names[each] for each in columns.other_groups]
    more = f"; {a_few(others)} may be groups too: use --group-column NAME" if others else ""
    remark = (
        f"column {name!r} names {count(num, 'group')}: the images of a group stay in one split "
        f"(--group-column {NO_COLUMN} ignores it){more}"
    )
    return groups, [remark], []


def _note_unlabelled(rows: ListedRows) -> list[str]:
    if not rows.unlabelled:
        return []
    num = len(rows.unlabelled)
    verb = agree(num, "has no label (empty or nan) and is", "have no label (empty or nan) and are")
    return [f"{count(num, 'row')} {verb} left out: {name_lines(rows.unlabelled)}"]
