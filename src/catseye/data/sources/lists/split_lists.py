"""A list of labels in each split folder: train/metadata.csv, test/metadata.csv.

Image folders of Hugging Face and exports of Roboflow are like that. Enters: a folder and the files in it. Leaves:
`ImageSet`. Called by open_data.py.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path

from catseye.data.sources.folder import FolderReader
from catseye.data.sources.image_names import image_names
from catseye.data.sources.image_set import TRAIN, ImageSet, a_few
from catseye.data.sources.lists.columns import choose_image_column, find_column, has_header
from catseye.data.sources.lists.listed_files import ListedFiles
from catseye.data.sources.lists.listed_rows import ListOfImages
from catseye.data.sources.lists.table import SAMPLE_ROWS, read_listed, rows_of
from catseye.data.sources.split_names import plain_side
from catseye.errors import DataError
from catseye.settings.schema import DataSettings

SUFFIXES = (".csv", ".tsv", ".jsonl")
SPLIT = "split"  # the column that is added


def find_split_lists(files: list[str]) -> dict[str, str]:
    """Split folder -> the only list in it, "" for none; empty for other layouts.

    All images are directly in split folders beside each other, and that of train has a list.

    >>> find_split_lists(["train/1.png", "train/metadata.csv", "test/2.png", "test/metadata.csv"])
    {'test': 'test/metadata.csv', 'train': 'train/metadata.csv'}
    >>> find_split_lists(["train/cat/1.png", "train/metadata.csv"])
    {}
    """
    lists: dict[str, list[str]] = {}
    for name in files:
        if name.lower().endswith(SUFFIXES) and _side(name.rpartition("/")[0]) is not None:
            lists.setdefault(name.rpartition("/")[0], []).append(name)
    single = {folder: names[0] for folder, names in lists.items() if len(names) == 1}
    if TRAIN not in map(_side, single):
        return {}
    folders = {name.rpartition("/")[0] for name in image_names(files)}
    beside = {folder.rpartition("/")[0] for folder in folders}
    if len(beside) != 1 or None in map(_side, folders) or not single.keys() <= folders:
        return {}
    return {folder: single.get(folder, "") for folder in sorted(folders)}


def read_split_lists(root: Path, lists: Mapping[str, str], settings: DataSettings) -> ImageSet:
    """The images of all lists, each with the split that its folder names.

    Raises:
        DataError: a list cannot be read, or its columns are ambiguous.
        UsageError: a column that the user names is not there.

    """
    named = {folder: name for folder, name in lists.items() if name}
    ordered = sorted(named.items(), key=lambda item: (_side(item[0]), item))
    listed = ListOfImages(
        str(root),
        lambda: _join_rows(root, ordered, settings.image_column),
        ListedFiles(root),
        lambda names: FolderReader(root, names),
        named=True,
    )
    images = read_listed(listed, settings)
    remarks = [f"labels and splits are read from {a_few([name for _, name in ordered])}"]
    remarks += [f"{folder}/ has no list of labels and is left out" for folder in lists if folder not in named]
    return replace(images, remarks=(*remarks, *images.remarks))


def _join_rows(root: Path, lists: list[tuple[str, str]], chosen: str) -> Iterator[tuple[int, list[str]]]:
    """The rows of all lists below the columns of the first.

    Each has the path of its image below DATA and the split of its folder. `chosen` is the user's column of
    images, if any.
    """
    key = ""  # the column of images
    head: list[str] = []
    for folder, name in lists:
        path = root / name
        lines = rows_of(path.suffix)[0](path.open, str(path))
        _, first = next(lines, (0, []))
        columns = [cell.strip() for cell in first]
        if not columns or not has_header(first):
            raise DataError(
                f"{path}: the first line must name the columns, as in file_name,label; got {a_few(columns)}"
            )
        sample = list(islice(lines, SAMPLE_ROWS))
        image = find_column(columns, chosen) if chosen else None
        if image is None:
            image = choose_image_column(str(path), columns, [row for _, row in sample], ListedFiles(path.parent).learn)
        if image is None:
            raise DataError(f"{path}: no column names image files: {a_few(columns)}; call one of them file_name")
        if not head:
            key, head = columns[image], [*columns, *([] if SPLIT in columns else [SPLIT])]
            yield 1, head
        for line, row in chain(sample, lines):
            cells = dict(zip(columns, row, strict=False))
            place = cells.get(columns[image], "").strip()
            cells |= {key: f"{folder}/{place}" if place else "", SPLIT: _last(folder)}
            yield line, [cells.get(each, "") for each in head]


def _last(folder: str) -> str:
    return folder.rpartition("/")[2]


def _side(folder: str) -> int | None:
    return plain_side(_last(folder))
