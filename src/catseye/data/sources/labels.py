"""What is odd about the labels of a list: missing, several in one cell, numbers that are no classes.

Called by `table.py` and `columns.py`.
"""

import re
from collections import Counter
from collections.abc import Sequence

from catseye.data.sources.image_set import a_few, so_many

_MISSING = frozenset({"", "nan", "<na>", "#n/a", "n/a", "null", "nat"})
_CERTAIN = ("|", ";", "\n")  # hardly ever inside the name of a class
_POSSIBLE = (",", "+", "&", "/", " ")
_BOXES = frozenset({"xmin", "ymin", "xmax", "ymax", "bbox", "x1", "y1", "x2", "y2", "bboxx", "bboxy"})
_FEW_FRACTIONS = 8


def is_missing(cell: str) -> bool:
    """Whether a cell holds no value: empty, or what pandas and Excel write for that. `none` may be a class.

    >>> is_missing(" NaN "), is_missing("none")
    (True, False)
    """
    return cell.strip().lower() in _MISSING


def note_on_several_labels(labels: Sequence[str]) -> str:
    """A sentence where cells hold several labels, or nothing.

    >>> note_on_several_labels(["red", "green", "red|green"])[:39]
    '1 image has several labels in one cell,'
    >>> note_on_several_labels(["apple scab", "apple rust", "pear scab"])
    ''
    """
    counts = Counter(labels)
    for sign in (*_CERTAIN, *_POSSIBLE):
        several = [label for label in counts if sign in label.strip(sign)]
        if several and _are_lists(several, counts, sign):
            num = sum(counts[label] for label in several)
            verb = "has" if num == 1 else "have"
            return (
                f"{so_many(num, 'image')} {verb} several labels in one cell, e.g. {several[0]!r}: several labels per "
                "image (multi-label) are not supported yet, so each combination is read as a class of its own"
            )
    return ""


def _are_lists(several: list[str], counts: Counter[str], sign: str) -> bool:
    if sum(label.startswith(("[", "{", "(")) and label.endswith(("]", "}", ")")) for label in several) == len(several):
        return True
    parts = [[part.strip() for part in label.split(sign) if part.strip()] for label in several]
    uses = Counter(part for row in parts for part in set(row))
    alone = [all(part in counts for part in row) for row in parts]
    if sign in _CERTAIN:
        return any(alone) or any(count > 1 for count in uses.values())
    # "New York" beside "New" and "York" is a list; "apple scab" beside "apple rust" is not.
    return 2 * sum(alone) >= len(alone)


def note_on_numbers(labels: Sequence[str]) -> str:
    """A sentence where the labels look like measurements, or nothing.

    >>> note_on_numbers(["1.37", "2.74", "4.11"])[:34]
    'the labels look like measurements '
    >>> note_on_numbers(["1.0", "2.0", "3.0"])
    ''
    """
    values = set(labels)
    fractions = [text for text in values if re.fullmatch(r"[-+]?\d*[.,]\d+(e[-+]?\d+)?", text.strip().lower())]
    fractions = [text for text in fractions if re.split(r"[.,e]", text.lower())[1].strip("0")]
    if 2 * len(fractions) <= len(values) or (len(values) < _FEW_FRACTIONS and len(labels) > 4 * len(values)):
        return ""
    return (
        f"the labels look like measurements ({a_few(sorted(values), 3)}): this looks like regression, which is not "
        "supported; every value is read as a class of its own; write ranges, such as low and high, to have classes"
    )


def note_on_repeated_files(names: Sequence[str], labels: Sequence[str]) -> str:
    """A sentence where one file stands in several rows under different labels, or nothing.

    >>> note_on_repeated_files(["a.png", "b.png", "a.png"], ["red", "red", "green"])[:49]
    '1 image stands in several rows under different la'
    """
    first: dict[str, str] = {}
    torn = {name for name, label in zip(names, labels, strict=True) if first.setdefault(name, label) != label}
    if not torn:
        return ""
    verb = "stands" if len(torn) == 1 else "stand"
    return (
        f"{so_many(len(torn), 'image')} {verb} in several rows under different labels, e.g. {min(torn)!r}: several "
        "labels per image (multi-label) are not supported yet, so each row counts as an image of its own"
    )


def note_on_boxes(columns: Sequence[str]) -> str:
    """A sentence where columns look like the corners of boxes, or nothing.

    >>> note_on_boxes(["Width", "x_min", "ymin"])[:36]
    "the columns 'x_min', 'ymin' look lik"
    """
    boxes = [name for name in columns if re.sub(r"[\W_]+", "", name).lower() in _BOXES]
    if len(boxes) < 2:
        return ""
    return (
        f"the columns {a_few(boxes)} look like boxes: object detection is not supported, each row counts as a whole "
        "image; cut the boxes out and list the pieces"
    )
