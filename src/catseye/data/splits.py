"""Which image trains, which validates, which tests: seeded, stratified, duplicates kept together.

Enters: labels, groups, fractions. Leaves: one split number per image. Called by `prepare.py`.
"""

from collections import Counter, defaultdict

import numpy as np
from numpy.typing import NDArray

from catseye.data.sources import NOT_SPLIT, TEST, TRAIN, VAL
from catseye.seeds import derive


def split(
    labels: NDArray[np.int64],
    groups: NDArray[np.int64],
    given: NDArray[np.int8],
    *,
    val_fraction: float,
    test_fraction: float,
    seed: int,
) -> NDArray[np.int8]:
    """Complete a split.

    Where none is given, `test_fraction` of each class goes to test and `val_fraction` to
    validation. Where the data brings train and test but no validation, `val_fraction` of train
    becomes validation. Whatever is given stays as it is. Images of one group (equal files) land
    on one side. A class keeps at least one group for training,
    also where its images lie in groups of other classes, and gives one to each wanted side as long as it has
    enough. Classes of two groups are too small for that: together they give each side its share, one group a class,
    so that even images in pairs leave something to be measured on. Data that brings train alone is divided as if it
    brought no split.

    Shape: labels, groups, given: (N,); returns (N,) int8 of TRAIN, VAL, TEST.
    """
    result = given.copy()
    present = set(np.unique(given).tolist())
    if NOT_SPLIT in present or present == {TRAIN}:
        sides = [(TEST, test_fraction), (VAL, val_fraction)]
        pool = given == (NOT_SPLIT if NOT_SPLIT in present else TRAIN)
        result[pool] = TRAIN
    elif VAL not in present and TEST in present:
        sides = [(VAL, val_fraction)]
        # What a given test split has already parted stays where it was put: a leak is told, not moved.
        pool = (given == TRAIN) & ~np.isin(groups, groups[given == TEST])
    else:
        return result
    generator = np.random.default_rng(derive(seed, "split"))
    small: list[list[list[int]]] = []
    for members in _groups_by_class(labels, groups, pool):
        order = generator.permutation(len(members))
        num_images = sum(len(group) for group in members)
        start = 0
        for number, (side, fraction) in enumerate(sides):
            later = sum(f > 0 for _, f in sides[number + 1 :]) if len(members) > len(sides) else 0
            wanted = round(num_images * fraction)
            if fraction > 0 and len(members) > len(sides):
                wanted = max(wanted, 1)
            taken = 0
            while taken < wanted and start < len(members) - 1 - later:
                group = members[order[start]]
                result[group] = side
                taken += len(group)
                start += 1
        if start == 0 and len(members) >= 2:
            small.append(members)
    _hold_out_of_small(result, small, sides, derive(seed, "split", len(labels)))
    keep_in_training(result, labels, groups, pool, derive(seed, "split", len(labels) + 1))
    return result


def _hold_out_of_small(
    result: NDArray[np.int8], classes: list[list[list[int]]], sides: list[tuple[int, float]], seed: int
) -> None:
    """Of classes that gave nothing, as many groups to each side as their images together ask for, one group a class."""
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(classes)).tolist()
    total = sum(len(group) for members in classes for group in members)
    for side, fraction in sides:
        wanted = round(total * fraction)
        if fraction > 0 and not (result > TRAIN).any():  # something has to be held out
            wanted = max(wanted, 1)
        while wanted > 0 and order:
            members = classes[order.pop()]
            group = members[int(generator.integers(len(members)))]
            result[group] = side
            wanted -= len(group)


def keep_in_training(
    result: NDArray[np.int8],
    labels: NDArray[np.int64],
    groups: NDArray[np.int64],
    pool: NDArray[np.bool_],
    seed: int,
) -> None:
    """A class that groups of other classes have taken out of training as a whole gets the group with most of it back.

    A side that is empty then takes another group that no class needs, where there is one.
    """

    def lost() -> NDArray[np.int64]:
        there, left = (np.bincount(labels[each], minlength=num) for each in (pool, result == TRAIN))
        return np.flatnonzero((there > 0) & (left == 0))

    num = int(labels.max()) + 1 if len(labels) else 0
    generator = np.random.default_rng(seed)
    while len(without := lost()):
        own = groups[pool & (labels == without[0])]
        members = pool & (groups == Counter(own.tolist()).most_common(1)[0][0])
        side = result[members][0]
        result[members] = TRAIN
        for group in generator.permutation(np.unique(groups[pool & ~members])).tolist():
            if (result == side).any():
                break
            others = pool & (groups == group)
            before = result[others]
            result[others] = side
            if len(set(lost()) - set(without)) or (before != TRAIN).any():
                result[others] = before


def _groups_by_class(
    labels: NDArray[np.int64], groups: NDArray[np.int64], pool: NDArray[np.bool_]
) -> list[list[list[int]]]:
    """Per class the list of its groups, each the list of its images' numbers.

    A group whose images carry several labels counts for the commonest of them.
    """
    images: dict[int, list[int]] = defaultdict(list)
    for index in np.flatnonzero(pool).tolist():
        images[int(groups[index])].append(index)
    by_class: dict[int, list[list[int]]] = defaultdict(list)
    for members in images.values():
        if len(members) == 1:  # nearly all, as a rule
            by_class[int(labels[members[0]])].append(members)
            continue
        votes = Counter(labels[members].tolist())
        by_class[min(votes, key=lambda label: (-votes[label], label))].append(members)
    return [by_class[label] for label in sorted(by_class)]
