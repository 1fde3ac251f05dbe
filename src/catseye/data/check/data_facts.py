"""What the rules of check know of the images, and where each of them stands.

Enters: images, sides, groups and near duplicates. Leaves: `DataFacts`. Called by `check.py` and `data/prepare.py`,
which gather it, and by the rules.
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
    """What is known when the rules are asked.

    Shape: sides, equal and related have N values. `sides` of unreadable images are NOT_SPLIT; before a split all are.
    `equal` are groups of images of equal content, `related` those that a name rule keeps together. `twins` are None
    where no near duplicates were looked for. `unreadable` is number -> reason, where no rule of its own tells them.
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
        """The side that a training reports: test, or validation where there is no test."""
        return TEST if (self.sides == TEST).any() else VAL


def gather(groups: Groups) -> list[list[int]]:
    """The groups of two and more, each in ascending order."""
    found: dict[int, list[int]] = defaultdict(list)
    repeated = np.flatnonzero(np.bincount(groups)[groups] > 1) if len(groups) else np.empty(0, np.int64)
    for index in repeated.tolist():
        found[int(groups[index])].append(index)
    return list(found.values())
