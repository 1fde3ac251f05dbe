"""Which images belong together and have to stay on one side: by a part of their names, or by a column of a list.

Enters: `ImageSet` and data.group_by. Leaves: group numbers. Called by `check.py` and `prepare.py`.
"""

import numpy as np
from numpy.typing import NDArray

from catseye.data.duplicates import join_groups
from catseye.data.side_rules import group_by_name
from catseye.data.sources import ImageSet


def related_images(images: ImageSet, group_by: str) -> NDArray[np.int64]:
    """Images of one group share a number: joined where the pattern or the list's column puts them together.

    Shape: (N,) int64; an image without a group has its own number.

    Raises:
        UsageError: `group_by` is no regular expression. DataError: it matches no name.

    """
    related = group_by_name(images.names, group_by)
    if images.groups is None:
        return related
    own = np.arange(len(images))
    pairs = [np.stack([own, groups], axis=1)[own != groups] for groups in (related, images.groups)]
    return join_groups(len(own), np.concatenate(pairs))


def is_grouped(images: ImageSet, group_by: str) -> bool:
    """Whether anything puts images together."""
    return bool(group_by) or images.groups is not None
