"""What looks wrong with labels of a list: missing, several in a cell, numbers.

Called by `table.py` and `columns.py`.
"""

import re
from collections import Counter
from collections.abc import Sequence

from catseye.counting import agree, count
from catseye.data.sources.image_set import a_few

_MISSING = frozenset({"", "nan", "<na>", "#n/a", "n/a", "null", "nat"})
_CERTAIN = ("|", ";", "\n")  # hardly ever part of the name of a class
_POSSIBLE = (",", "+", "&", "/", " ")
_BOXES = frozenset({"xmin", "ymin", "xmax", "ymax", "bbox", "x1", "y1", "x2", "y2", "bboxx", "bboxy"})
_FEW_FRACTIONS = 8


def is_missing(cell: str) -> bool:
    """Whether a cell is empty, or holds what pandas and Excel write for empty ones.

    `none` may be a class.

    >>> is_missing(" NaN "), is_missing("none")
    (True, False)
    """
    return cell.strip().lower() in _MISSING


def note_on_several_labels(labels: Sequence[str]) -> str:
    """A sentence if cells hold several labels, otherwise nothing.

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
            return (
                f"{count(num, 'image')} {agree(num, 'has', 'have')} several labels in one cell, e.g. {several[0]!r}: "
                "several labels per image (multi-label) are not supported yet, so each combination is read as a class"
            )
    return ""


def _are_lists(several: list[str], counts: Counter[str], sign: str) -> bool:
    if sum(label.startswith(("[", "{", "(")) and label.endswith(("]", "}", ")")) for label in several) == len(several):
        return True
    parts = [[part.strip() for part in label.split(sign) if part.strip()] for label in several]
    uses = Counter(part for row in parts for part in set(row))
    alone = [all(part in counts for part in row) for row in parts]
    if sign in _CERTAIN:
        return any(alone) or any(num > 1 for num in uses.values())
    # "New York" beside "New" and "York" is a list; "apple scab" beside "apple rust" is not.
    return 2 * sum(alone) >= len(alone)


def note_on_numbers(labels: Sequence[str]) -> str:
    """A sentence if the labels look like measurements, otherwise nothing.

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
        "supported; every value is read as a class; to have classes, replace values by ranges, such as low and high"
    )


def note_on_repeated_files(names: Sequence[str], labels: Sequence[str]) -> str:
    """A sentence if a file is in several rows with different labels, else nothing.

    >>> note_on_repeated_files(["a.png", "b.png", "a.png"], ["red", "red", "green"])[:47]
    '1 image is in several rows with different label'
    """
    first: dict[str, str] = {}
    several = {name for name, label in zip(names, labels, strict=True) if first.setdefault(name, label) != label}
    if not several:
        return ""
    num = len(several)
    return (
        f"{count(num, 'image')} {agree(num, 'is', 'are')} in several rows with different labels, e.g. {min(several)!r}"
        ": several labels per image (multi-label) are not supported yet, so each row counts as an image"
    )


def note_on_boxes(columns: Sequence[str]) -> str:
    """A sentence if columns look like the corners of boxes, otherwise nothing.

    >>> note_on_boxes(["Width", "x_min", "ymin"])[:36]
    "the columns 'x_min', 'ymin' look lik"
    """
    boxes = [name for name in columns if re.sub(r"[\W_]+", "", name).lower() in _BOXES]
    if len(boxes) < 2:
        return ""
    return (
        f"the columns {a_few(boxes)} look like boxes: object detection is not supported, each row counts as a whole "
        "image; crop the boxes and list the crops"
    )
