"""Which images belong together: by their names, a column of a list, or as copies.

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
    r"""Group images whose file names have the same first group of `pattern`.

    A pattern without groups counts as a whole. Folders do not count; names that do not match stay alone.

    Raises:
        UsageError: it is not a regular expression. DataError: it matches no name.

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
            f"group_by is a regular expression on file names; {pattern!r} is not one ({error}); "
            "for example ^(.*)_aug groups names with the same part before _aug"
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
            "the pattern is applied to the name without its folders"
        )
    return groups


def related_groups(images: ImageSet, pattern: str) -> Groups | None:
    """The groups by name pattern, by the list's group column, or both joined.

    None if there is neither.

    Raises:
        UsageError: `pattern` is not a regular expression. DataError: it matches no name.

    """
    if not pattern:
        return images.groups
    by_name = group_by_name(images.names, pattern)
    return by_name if images.groups is None else join_overlapping(by_name, images.groups)


def join_groups(num_images: int, pairs: NDArray[np.int64]) -> Groups:
    """Group images that are connected by pairs, directly or through others.

    The number of a group is that of its first image.

    >>> join_groups(5, np.array([[3, 1], [3, 4]])).tolist()
    [0, 1, 2, 1, 1]
    """
    parent = list(range(num_images))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    for first, second in pairs.tolist():
        low, high = sorted((root(first), root(second)))
        parent[high] = low
    return np.array([root(index) for index in range(num_images)], dtype=np.int64)


def join_overlapping(*groups: Groups) -> Groups:
    """Join groups wherever they share an image.

    >>> join_overlapping(np.array([0, 0, 2, 3]), np.array([0, 1, 1, 3])).tolist()
    [0, 0, 0, 3]
    """
    own = np.arange(len(groups[0]))
    return join_groups(len(own), np.concatenate([np.stack([own, each], axis=1)[own != each] for each in groups]))


def keep_together(equal: Groups, related: Groups | None, near: NDArray[np.int64] | None) -> Groups:
    """Groups that a split must keep together.

    Equal images, images that belong together by name or column, and near duplicates.
    """
    groups = [equal]
    if related is not None:
        groups.append(related)
    if near is not None:
        groups.append(join_groups(len(equal), near))
    return join_overlapping(*groups)
