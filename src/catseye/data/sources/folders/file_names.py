"""Classes in the names of files: cat.0.jpg, dog.17.jpg, Abyssinian_100.jpg.

Enters: the names of all images of DATA. Leaves: `ImageSet`, or a sentence that suggests --layout names if the folders
name no classes. Called by `labelled.py`.
"""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from catseye.counting import agree, count
from catseye.data.names import Names
from catseye.data.sources.image_set import NOT_SPLIT, TEST, VAL, ImageSet, MakeReader, a_few, printable_name
from catseye.data.sources.split_names import plain_side, side_of
from catseye.errors import DataError

LEAST_SHARE = 0.9  # of the images must have a class in their names, or --layout names is not suggested
MOST_CLASSES = 1_000
_NUMBERED = re.compile(r"(.*?)[\s._-]*[(\[]?\d+[)\]]?")


def class_in_name(name: str) -> str:
    """The class before the number in a file name; empty if there is none.

    >>> class_in_name("train/cat.0.jpg"), class_in_name("great_pyrenees_12.jpg"), class_in_name("n01440764_10026.JPEG")
    ('cat', 'great_pyrenees', 'n01440764')
    >>> class_in_name("test/17.jpg"), class_in_name("holiday.jpg")
    ('', '')
    """
    stem = name.rpartition("/")[2].rpartition(".")[0]
    match = _NUMBERED.fullmatch(stem)
    return match.group(1) if match else ""


def suggest_names(names: Sequence[str]) -> str:
    """A suggestion to read classes from file names; empty if they name none."""
    counts = Counter(map(class_in_name, names))
    missing = counts.pop("", 0)
    repeated = [name for name, num in counts.items() if num > 1]
    labelled = len(names) - missing
    if sum(side_of(name)[0] is None for name in repeated) < 2 or len(repeated) > MOST_CLASSES:
        return ""  # train_0.jpg and test_0.jpg name splits
    if sum(counts[name] for name in repeated) < LEAST_SHARE * labelled or labelled < len(names) / 10:
        return ""
    shown = a_few(sorted(repeated), 3)
    return f"; the file names begin with {shown}: if these are the classes, use --layout names"


def label_by_name(source: str, names: list[str], reader: MakeReader, notes: Sequence[str] = ()) -> ImageSet:
    """Every image gets the class in its name and the split that its folder names.

    Raises:
        DataError: no name begins with a class.

    """
    classed = [(name, label) for name in names if (label := class_in_name(name))]
    if not classed:
        raise DataError(
            f"{source}: --layout names reads cat.0.jpg as an image of class cat; got {printable_name(names[0])}; "
            "put each class into a folder of its own, or use a .csv with path,label"
        )
    classes = tuple(sorted({label for _, label in classed}))
    number = {label: index for index, label in enumerate(classes)}
    kept = Names([name for name, _ in classed])
    sides = np.fromiter((_side_of_folder(name) for name, _ in classed), np.int8, len(classed))
    if not np.isin(sides, (VAL, TEST)).any():
        sides[:] = NOT_SPLIT  # the held-out images are drawn later
    notes = [*notes]
    if num := len(names) - len(classed):
        notes.append(f"{count(num, 'image')} with no class in the name {agree(num, 'is', 'are')} left out")
    return ImageSet(
        source=source,
        classes=classes,
        names=kept,
        labels=np.fromiter((number[label] for _, label in classed), np.int64, len(classed)),
        splits=sides,
        read=reader(kept),
        notes=tuple(notes),
        remarks=("classes are read from the file names (--layout names)",),
    )


def _side_of_folder(name: str) -> int:
    side = plain_side(name.rpartition("/")[0].rpartition("/")[2])
    return NOT_SPLIT if side is None else side
