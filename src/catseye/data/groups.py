"""Which images belong together: by a rule on their names, or because one is a copy of the other.

Enters: names, or pairs. Leaves: a group number per image. Called by `check/` and `prepare.py`.
"""

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from catseye.data.sources import ImageSet
from catseye.errors import DataError, UsageError

Groups = NDArray[np.int64]  # (N,) images of one group share a number


def group_by_name(names: Sequence[str], pattern: str) -> Groups:
    r"""Images whose file names give the same first group of `pattern` (or the same match) share a number.

    Folders do not count; names that do not match stand alone.

    Raises:
        UsageError: it is no regular expression. DataError: it matches no name.

    >>> group_by_name(["a/7_left.png", "b/7_right.png", "b/8.png"], r"^(\d+)_").tolist()
    [0, 0, 2]

    """
    groups = np.arange(len(names), dtype=np.int64)
    if not pattern:
        return groups
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UsageError(
            f"group_by is a regular expression on file names; {pattern!r} is none ({error}); "
            "for example ^(.*)_aug keeps what stands before _aug together"
        ) from None
    first: dict[str, int] = {}
    matched = 0
    for index, name in enumerate(names):
        if match := compiled.search(PurePosixPath(name).name):
            key = match.group(1) if compiled.groups else match.group()
            if key is not None:
                groups[index] = first.setdefault(key, index)
                matched += 1
    if not matched:
        raise DataError(
            f"group_by {pattern!r} matches none of {len(names):,} file names, e.g. {PurePosixPath(names[0]).name!r}; "
            "it is searched for in the name without its folders"
        )
    return groups


def related_groups(images: ImageSet, pattern: str) -> Groups | None:
    """What the pattern on names, the group column of a list, or both put together; None where there is neither.

    Raises:
        UsageError: `pattern` is no regular expression. DataError: it matches no name.

    """
    if not pattern:
        return images.groups
    by_name = group_by_name(images.names, pattern)
    return by_name if images.groups is None else join_where_they_meet(by_name, images.groups)


def join_groups(num_images: int, pairs: NDArray[np.int64]) -> Groups:
    """Images that are connected by pairs, directly or through others, share a number: the smallest of theirs.

    >>> join_groups(5, np.array([[3, 1], [3, 4]])).tolist()
    [0, 1, 2, 1, 1]
    """
    parent = list(range(num_images))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    for one, other in pairs.tolist():
        low, high = sorted((root(one), root(other)))
        parent[high] = low
    return np.array([root(index) for index in range(num_images)], dtype=np.int64)


def join_where_they_meet(*groups: Groups) -> Groups:
    """Groups that are joined wherever they share an image.

    >>> join_where_they_meet(np.array([0, 0, 2, 3]), np.array([0, 1, 1, 3])).tolist()
    [0, 0, 0, 3]
    """
    own = np.arange(len(groups[0]))
    return join_groups(len(own), np.concatenate([np.stack([own, each], axis=1)[own != each] for each in groups]))


def keep_together(equal: Groups, related: Groups | None, near: NDArray[np.int64] | None) -> Groups:
    """The groups that a split must not part: equal images, what a name rule joins, and pairs that are nearly equal."""
    groups = [equal]
    if related is not None:
        groups.append(related)
    if near is not None:
        groups.append(join_groups(len(equal), near))
    return join_where_they_meet(*groups)
