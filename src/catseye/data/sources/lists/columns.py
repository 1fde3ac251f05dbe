"""Which column of a list holds the files, which the labels, splits and groups.

Enters: the header, some rows, the user's settings, and a way to count existing files. Leaves: `Columns`. Called by
`table.py`.
"""

import os
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from catseye.counting import agree
from catseye.data.sources.image_set import a_few
from catseye.data.sources.lists.labels import is_missing
from catseye.data.sources.split_names import plain_side
from catseye.errors import DataError, UsageError
from catseye.preprocess import LISTED_SUFFIXES
from catseye.settings.schema import DataSettings

NO_COLUMN = "none"
LEAST_PIXELS = 64  # numbers in a row that are an image of its own: 8 × 8
# In lower case, without punctuation; the likeliest first.
_IMAGE_WORDS = (
    "path imagepath filepath filename file image imagefile imagename imagefilename imgpath imgname imgfile img "
    "relativepath relpath fullpath absolutepath fname photo photoname picture picturename imageid imgid fileid "
    "photoid name id index uid uuid location key frame"
)
_IMAGE = _IMAGE_WORDS.split()
_LABEL_WORDS = (
    "label labels class classname classlabel labelname category categoryname categories target targetname targets "
    "groundtruth truth gt y tag tags species breed diagnosis dx disease diseasetype finding findings type kind "
    "annotation annotations classes classification labelid classid categoryid classidx labelidx"
)
_LABEL = _LABEL_WORDS.split()
_SPLIT_WORDS = "split datasplit splitname subset set partition phase usage dataset mode purpose side"
_SPLIT = _SPLIT_WORDS.split()
_GROUP_WORDS = (
    "group groups patient subject person participant individual animal specimen plant tree case lesion study "
    "video clip movie sequence session series burst scan slide scene site field plot camera device location owner "
    "user photographer author batch"
)
_GROUP = _GROUP_WORDS.split()
_GROUP_ENDINGS = frozenset(("id", "ids", "name", "no", "nr", "num", "number", "key", "uid", "code", "index"))
_ONE = frozenset({"1", "1.0", "true", "yes"})
_ZERO = frozenset({"0", "0.0", "false", "no", ""})


@dataclass(frozen=True)
class Columns:
    """The numbers of the columns.

    `label` is None if there is a column of 0 and 1 for each class (`one_hot`).
    """

    names: list[str]
    image: int
    label: int | None
    split: int | None = None
    group: int | None = None
    one_hot: list[int] = field(default_factory=list)
    other_groups: list[int] = field(default_factory=list)

    @property
    def unused(self) -> list[str]:
        """Names of the columns that are not used."""
        used = {self.image, self.label, self.split, self.group, *self.one_hot}
        return [name for number, name in enumerate(self.names) if number not in used and name]


def choose_columns(
    path: str,
    names: list[str],
    rows: Sequence[Sequence[str]],
    settings: DataSettings,
    count_existing: Callable[[Sequence[str]], int],
) -> Columns:
    """What each column means.

    `rows` are the first ones; `count_existing` takes values and returns how many name existing files.

    Raises:
        UsageError: a column that the user names is not there. DataError: the columns are ambiguous.

    """
    taken: set[int] = set()

    def named(option: str, key: str, choice: str) -> int | None:
        if not choice or (choice.lower() == NO_COLUMN and choice not in names):
            return None
        number = find_column(names, choice)
        if number is None:
            raise UsageError(
                f"{option} is one of the columns of {path}: {a_few(names, 20)}; got {choice!r} "
                f"(in settings: data.{key})"
            )
        taken.add(number)
        return number

    image = named("--image-column", "image_column", settings.image_column)
    label = named("--label-column", "label_column", settings.label_column)
    split = named("--split-column", "split_column", settings.split_column)
    group = named("--group-column", "group_column", settings.group_column)
    if image is None:
        image = _need_image_column(path, names, choose_image_column(path, names, rows, count_existing, taken))
        taken.add(image)
    if split is None and not settings.split_column:
        split = _guess_split(names, rows, taken)
        taken.update(() if split is None else (split,))
    groups = _guess_groups(names, taken) if group is None and not settings.group_column else []
    one_hot: list[int] = []
    if label is None:
        label, one_hot = _guess_label(path, names, rows, taken, groups)
        taken.update(() if label is None else (label,))
    groups = [number for number in groups if number not in taken and number not in one_hot]
    if group is None and groups:
        group = groups[0]
    return Columns(names, image, label, split, group, one_hot, groups[1:])


def has_header(first: Sequence[str]) -> bool:
    """Whether the first line names columns.

    It does not if a cell names an image file, or if numbers follow something that is no usual name of a column.

    >>> has_header(["id", "0", "1"]), has_header(["Bengal_7", "3", "1"]), has_header(["cats/1.jpg", "cat"])
    (True, False, False)
    """
    if any(_cell_suffix(cell) in LISTED_SUFFIXES for cell in first):
        return False
    numbers = len(first) > 1 and all(re.fullmatch(r"-?\d+", cell.strip()) for cell in first[1:])
    return not numbers or plain_column(first[0]) in _IMAGE


def is_label_name(name: str) -> bool:
    """Whether the name of a column is usual for labels."""
    return plain_column(name) in _LABEL


def plain_column(name: str) -> str:
    """A name in lower case, without punctuation: `Image_Path` -> `imagepath`."""
    return re.sub(r"[\W_]+", "", name).casefold()


def _cell_suffix(value: str) -> str:
    return os.path.splitext(value.strip())[1].lower()  # noqa: PTH122


def names_of_columns(first: Sequence[str], head: bool) -> list[str]:
    """The names in the first row if it is the head, else `column 1` and so on."""
    return [cell.strip() if head else f"column {number}" for number, cell in enumerate(first, start=1)]


def find_column(names: list[str], choice: str) -> int | None:
    """The number of the column that a user names, in any case, or numbers."""
    for simplify in (lambda name: name, str.casefold, plain_column):
        matches = [number for number, name in enumerate(names) if simplify(name) == simplify(choice.strip())]
        if matches:
            return matches[0]
    if choice.isdecimal() and 1 <= int(choice) <= len(names):
        return int(choice) - 1
    return None


def _filled_cells(rows: Sequence[Sequence[str]], column: int) -> list[str]:
    return [row[column].strip() for row in rows if column < len(row) and not is_missing(row[column])]


def _name_rank(name: str, words: Sequence[str]) -> int:
    """The position of a name among the words; their number if it is not there."""
    plain = plain_column(name)
    return words.index(plain) if plain in words else len(words)


def choose_image_column(
    path: str,
    names: list[str],
    rows: Sequence[Sequence[str]],
    count_existing: Callable[[Sequence[str]], int],
    taken: Collection[int] = (),
) -> int | None:
    """The number of the column that names image files, by its cells or its name.

    Columns that are `taken` are others. None if there is no such column.

    Raises:
        DataError: the list holds pixels.

    """
    free = [number for number in range(len(names)) if number not in taken]
    values = {number: _filled_cells(rows, number) for number in free}
    by_suffix = [
        number
        for number in free
        if values[number]
        and 2 * sum(_cell_suffix(value) in LISTED_SUFFIXES for value in values[number]) >= len(values[number])
    ]
    if len(by_suffix) == 1:
        return by_suffix[0]
    known = by_suffix or [number for number in free if _name_rank(names[number], _IMAGE) < len(_IMAGE)]
    known = sorted(known, key=lambda number: (_name_rank(names[number], _IMAGE), number))
    pixels = _pixel_columns(names, rows)
    if len(known) == 1 and not pixels:
        return known[0]
    for candidates in (known, [number for number in free if number not in known] if not by_suffix else []):
        existing = {number: count_existing(values[number]) for number in candidates}
        if existing and max(existing.values()):
            return max(candidates, key=lambda number: existing[number])
    if pixels:
        raise DataError(
            f"{path}: {agree(len(pixels), 'the column', 'the columns')} {a_few(pixels, 3)} "
            f"{agree(len(pixels), 'holds', 'hold')} pixels and not the names of image files; load the list in Python "
            "and use an array of shape (N, height, width), as in catseye.train(images, labels)"
        )
    return known[0] if known else None


def _need_image_column(path: str, names: list[str], number: int | None) -> int:
    if number is None:
        raise DataError(
            f"{path}: no column names image files: {a_few(names, 20)}; name the columns path,label[,split] in the "
            "first line, or choose the column with --image-column NAME (in settings: data.image_column)"
        )
    return number


def _pixel_columns(names: list[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The columns of pixels: one for each, or a cell with all of an image."""
    columns = {name: [row[number] for row in rows if number < len(row)] for number, name in enumerate(names)}
    numbers = [name for name, cells in columns.items() if cells and all(cell.strip().isdecimal() for cell in cells)]
    numbers = [name for name in numbers if not is_label_name(name)]
    if len(numbers) >= LEAST_PIXELS and any(not {*columns[name]} <= _ONE | _ZERO for name in numbers):
        return numbers
    first = {name: cells[0].split() for name, cells in columns.items() if cells}
    return [name for name, parts in first.items() if len(parts) >= LEAST_PIXELS and all(map(str.isdecimal, parts))]


def _guess_split(names: list[str], rows: Sequence[Sequence[str]], taken: set[int]) -> int | None:
    """A column called split; another name counts only if its values are splits."""
    for known in _SPLIT:
        for number, name in enumerate(names):
            if number in taken or plain_column(name) != known:
                continue
            sides = [plain_side(value) for value in _filled_cells(rows, number)]
            if known == "split" or (sides and None not in sides):
                return number
    return None


def _guess_groups(names: list[str], taken: set[int]) -> list[int]:
    """All columns whose names are usual for groups, the likeliest first."""
    ranked = []
    for number, name in enumerate(names):
        spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
        words = re.findall(r"[^\W\d_]+", spaced.casefold())
        inside = [word.removesuffix("id") if word.removesuffix("id") in _GROUP else word for word in words]
        first = next((_GROUP.index(word) for word in inside if word in _GROUP), None)
        whole = all(word in _GROUP or word in _GROUP_ENDINGS for word in inside)
        if first is not None and whole and number not in taken:
            ranked.append((first, number))
    return [number for _, number in sorted(ranked)]


def _guess_label(
    path: str, names: list[str], rows: Sequence[Sequence[str]], taken: set[int], groups: list[int]
) -> tuple[int | None, list[int]]:
    free = [number for number in range(len(names)) if number not in taken and names[number]]
    known = [number for number in free if _name_rank(names[number], _LABEL) < len(_LABEL)]
    if known:
        return min(known, key=lambda number: (_name_rank(names[number], _LABEL), number)), []
    one_hot = _one_hot(rows, free)
    if one_hot:
        return None, one_hot
    partly = [number for number in free if re.search(r"(label|class|category|diagnosis)", plain_column(names[number]))]
    others = [number for number in free if number not in groups]
    for candidates in (partly, others, free):
        if len(candidates) == 1:
            return candidates[0], []
    if not free:
        raise DataError(
            f"{path}: the first line must name the columns path,label[,split]; got {a_few(names, 20)}; without a label "
            "there is nothing to learn"
        )
    raise DataError(
        f"{path}: which column is the label? {a_few([names[number] for number in others or free], 20)}; "
        "use --label-column NAME (in settings: data.label_column)"
    )


def _one_hot(rows: Sequence[Sequence[str]], free: list[int]) -> list[int]:
    """Two or more columns of 0 and 1 that have a 1 in at least half of the rows."""
    binary = [
        number
        for number in free
        if rows and all(len(row) > number and row[number].strip().lower() in _ONE | _ZERO for row in rows)
    ]
    if len(binary) < 2:
        return []
    ones = [sum(is_one(row[number]) for number in binary) for row in rows]
    return binary if 2 * sum(num > 0 for num in ones) >= len(ones) and max(ones) > 0 else []


def is_one(cell: str) -> bool:
    """Whether a cell of a one-hot column marks the class."""
    return cell.strip().lower() in _ONE
