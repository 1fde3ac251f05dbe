"""The images that a list names, without labels.

Enters: a .csv, .tsv, .jsonl or .txt. Leaves: paths, in the order of the list. Called by prediction/paths.py. Columns
and files are recognised as in table.py.
"""

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from catseye.data.sources.image_set import a_few
from catseye.data.sources.lists.columns import choose_image_column, has_header, names_of_columns
from catseye.data.sources.lists.listed_files import ListedFiles
from catseye.data.sources.lists.table import SAMPLE_ROWS, rows_of
from catseye.errors import DataError
from catseye.preprocess import FILE_SUFFIXES


def images_of_list(path: Path) -> Iterator[str]:
    """The paths of the images in a list.

    A .txt may have nothing but a path on each line. A file that does not exist is yielded too, as it is written
    in the list.

    Raises:
        DataError: the list cannot be read, is empty, or names no images.

    """
    rows, named = rows_of(path.suffix, labelled=False)
    sample = [row for _, row in islice(rows(path.open, str(path)), SAMPLE_ROWS + 1)]
    if not sample:
        raise DataError(f"{path} lists no images; it needs the name of one in each line")
    head = has_header(sample[0]) if named is None else named
    names = names_of_columns(sample[0], head)
    files = ListedFiles(path.parent)
    column: int | None = 0
    if len(names) > 1:
        column = choose_image_column(str(path), names, sample[1:] if head else sample, files.learn)
    if column is None:
        raise DataError(f"{path} names no images: none of its columns does, {a_few(names)}; call one of them path")
    cells = [row[column].strip() for row in sample if len(row) > column]
    if not files.learn(cells) and not any(cell.lower().endswith(tuple(FILE_SUFFIXES)) for cell in cells):
        raise DataError(f"{path} names no images: it begins with {cells[0][:60]!r}, and there is no such image near it")
    if head and named is None and files.is_there(sample[0][column].strip()):
        head = False  # a name without a suffix, which looks like the name of a column
    linked = path.parent.resolve() != path.parent.absolute()  # then folder/../other is not other
    for number, (_, row) in enumerate(rows(path.open, str(path))):
        if (number or not head) and len(row) > column and row[column].strip():
            place = str(path.parent / files.name(row[column].strip()))
            yield place if linked else os.path.normpath(place)
