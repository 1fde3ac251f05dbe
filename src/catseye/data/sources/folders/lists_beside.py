"""Lists in DATA, beside the images: train.csv, metadata.jsonl, val.txt.

Enters: the files of DATA that are not images, then the classes that the folders gave. Leaves: sentences about the
lists, and one about a list that labels the images differently than their folders do. Called by labelled.py.
"""

import io
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from catseye.data.sources.corrections import HEADER
from catseye.data.sources.folder import FolderReader
from catseye.data.sources.image_set import a_few, printable_name
from catseye.data.sources.lists.columns import is_label_name, plain_column
from catseye.data.sources.lists.listed_rows import ListOfImages, collect_rows
from catseye.data.sources.lists.table import LIST_SUFFIXES, columns_of, rows_of
from catseye.data.sources.lists.text_rows import lists_images
from catseye.data.sources.split_names import words_of
from catseye.errors import DataError
from catseye.settings.schema import DataSettings

MOST_TEXTS = 20  # .txt files that are opened to see whether they list images
MOST_COMPARED = 3  # lists whose labels are compared with the folders
COMPARED_BYTES = 1 << 20
LEAST_ROWS = 6  # of a list that are images of DATA; fewer say nothing
AGREEING_SHARE = 0.98
# In the names of lists with the answers of a model.
_RESULT_WORDS = (
    "prediction predictions predicted predict preds pred submission submissions result results output outputs log logs"
)
_RESULTS = frozenset(_RESULT_WORDS.split())
_OF_ANSWERS = frozenset({"probability", "confidence", "score"})  # columns
ReadHead = Callable[[str, int], bytes]  # the first bytes of a file of DATA
_HEAD_BYTES = 1024


def find_lists(others: Iterable[str], read_head: ReadHead) -> list[str]:
    """Which files list images, by their suffix; a .txt also by its first line."""
    lists = [name for name in others if name.lower().endswith(LIST_SUFFIXES)]
    texts = {name for name in lists if name.lower().endswith(".txt")}
    # Beside every image there may be a text; a list is among the first.
    texts -= {name for name in sorted(texts, key=_by_depth)[:MOST_TEXTS] if lists_images(read_head(name, _HEAD_BYTES))}
    return [name for name in lists if name not in texts]


def advise_list(source: str, lists: list[str]) -> str:
    """The list that most likely contains the labels; empty without one."""
    likely = [name for name in lists if not _has_results(name)]
    if not likely:
        return ""
    first = printable_name(min(likely, key=_by_promise))
    return f"; {first} in it may contain the labels: to read them, {_how_to_read(source, first)} as DATA"


def note_lists(source: str, lists: list[str]) -> list[str]:
    """A remark that the lists are not used."""
    if not lists:
        return []
    shown = a_few(sorted(lists, key=_by_depth), 3)
    name = printable_name(lists[0]) if len(lists) == 1 else f"NAME{os.path.splitext(lists[0])[1]}"  # noqa: PTH122
    how = _how_to_read(source, name)
    return [f"labels are read from the folders, not from {shown} in DATA; to read a list, {how} as DATA"]


def find_other_labels(
    source: str, lists: list[str], read_head: ReadHead, names: Iterable[str], class_of: Callable[[str], str | None]
) -> str:
    """A sentence about a list whose labels contradict the folders; empty without one.

    `class_of` returns the class of an image by its folder. A list may have finer or coarser classes than the folders;
    it contradicts them if neither follows from the other.
    """
    for listed in sorted((name for name in lists if not _has_results(name)), key=_by_promise)[:MOST_COMPARED]:
        column, labels = _labels_in(listed, read_head(listed, COMPARED_BYTES))
        rows = list(_rows_in_folders(labels, names, class_of))
        if len(rows) < max(LEAST_ROWS, len(labels) / 2):
            continue
        pairs = Counter((folder, label) for _, folder, label in rows)
        if max(_share_that_follows(pairs, 0), _share_that_follows(pairs, 1)) < AGREEING_SHARE:
            name, folder, label = rows[0]
            return (
                f"{source}: the folders and {printable_name(listed)} label the images differently, e.g. "
                f"{printable_name(name)} is in the folder {folder!r}, and its {column!r} is {label!r}. To use the "
                f"labels of the list, {_how_to_read(source, printable_name(listed))} as DATA"
            )
    return ""


class _NoFiles:
    """The files of a list whose columns are recognised by their names only."""

    places = ""

    def learn(self, values: Sequence[str]) -> int:
        return 0

    def name(self, value: str) -> str:
        return value


def _how_to_read(source: str, name: str) -> str:
    zipped = source.lower().endswith(".zip")
    return f"unpack the zip and use {name}" if zipped else f"use {source}/{name}"


def _labels_in(name: str, head: bytes) -> tuple[str, dict[str, str]]:
    """The name of the label column, and image -> label.

    Nothing if the list has no usual column of labels, or cannot be read.
    """
    content = head if len(head) < COMPARED_BYTES else head[: head.rfind(b"\n") + 1]
    if content.startswith(HEADER):
        return "", {}  # decisions of catseye review
    read, named = rows_of(Path(name).suffix)
    listed = ListOfImages(
        name,
        lambda: read(lambda _: io.BytesIO(content), name),
        _NoFiles(),
        lambda names: FolderReader(Path(), names),  # never called
        named,
    )
    try:
        columns, _ = columns_of(listed, DataSettings())
        rows = collect_rows(listed, columns)
    except DataError:
        return "", {}
    column = "" if columns.label is None else columns.names[columns.label]
    if not is_label_name(column) and columns.names != ["column 1", "column 2"]:
        return "", {}
    if not _OF_ANSWERS.isdisjoint(map(plain_column, columns.names)):
        return "", {}  # the answers of a model, as predict --csv writes them
    return column, dict(zip(rows.paths, rows.labels, strict=True))


def _rows_in_folders(
    labels: dict[str, str], names: Iterable[str], class_of: Callable[[str], str | None]
) -> Iterator[tuple[str, str, str]]:
    """Image, class by its folder and label in the list.

    Only for the listed images of which one file in DATA has the name.
    """
    places = {path: path.replace("\\", "/") for path in labels}
    files: dict[str, list[str]] = {place.rpartition("/")[2]: [] for place in places.values()}
    if not files:
        return
    for name in names:
        last = name.rpartition("/")[2]
        stem = last.rpartition(".")[0]
        if (key := last if last in files else stem) in files:
            files[key].append(name)
    for path, place in places.items():
        found = files[place.rpartition("/")[2]]
        if len(found) > 1:
            found = [name for name in found if f"/{name}".endswith(f"/{place}")]
        if len(found) == 1 and (folder := class_of(found[0])) is not None:
            yield found[0], folder, labels[path]


def _share_that_follows(pairs: Counter[tuple[str, str]], side: int) -> float:
    """The share of images whose folder (0) or label (1) follows from the other."""
    largest: dict[str, int] = {}
    for pair, num in pairs.items():
        largest[pair[1 - side]] = max(largest.get(pair[1 - side], 0), num)
    return sum(largest.values()) / pairs.total()


def _has_results(name: str) -> bool:
    return not _RESULTS.isdisjoint(words_of(name.rpartition("/")[2].rpartition(".")[0]))


def _by_depth(name: str) -> tuple[int, str]:
    return name.count("/"), name


def _by_promise(name: str) -> tuple[int, bool, str]:
    """By depth, and a list with labels before the list of test images beside it.

    train.csv or labels.csv comes before test.csv.
    """
    lower = name.lower()
    return name.count("/"), "train" not in lower and "label" not in lower.rpartition("/")[2], name
