"""What the rules know about the images.

Enters: images, sides, groups and near duplicates. Leaves: `DataFacts`. Made by `check.py` and `data/prepare.py`, read
by the rules.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from catseye.data.check.duplicates import Twins
from catseye.data.groups import Groups
from catseye.data.sources import TEST, VAL, ImageSet

Sides = NDArray[np.int8]  # (N,) TRAIN, VAL, TEST or NOT_SPLIT


@dataclass(frozen=True)
class DataFacts:
    """What is known when the rules are applied.

    Shape: sides, equal and related have N values. `sides` are NOT_SPLIT for unreadable images, and for all before a
    split. `equal` are groups of images of equal content, `related` those that names or a column keep together. `twins`
    are None if near duplicates were not searched. `unreadable` is image number -> reason, unless other rules report it.
    """

    images: ImageSet
    readable: NDArray[np.bool_]
    sides: Sides
    equal: Groups
    related: Groups | None = None
    twins: Twins | None = None
    unreadable: Mapping[int, str] = field(default_factory=dict)
    allow_leaks: bool = False

    @property
    def split(self) -> bool:
        """Whether the images have sides."""
        return bool((self.sides >= 0).any())

    @property
    def scored(self) -> int:
        """The side whose score is reported: test, or validation if there is no test."""
        return TEST if (self.sides == TEST).any() else VAL


def repeated_groups(groups: Groups) -> list[list[int]]:
    """The groups of two or more images, each in ascending order."""
    members: dict[int, list[int]] = defaultdict(list)
    repeated = np.flatnonzero(np.bincount(groups)[groups] > 1) if len(groups) else np.empty(0, np.int64)
    for index in repeated.tolist():
        members[int(groups[index])].append(index)
    return list(members.values())
