"""Splits images into train, validation and test: seeded, stratified, by groups.

Enters: labels, groups, fractions. Leaves: one split number per image. Called by `prepare.py`.
"""

from collections import Counter, defaultdict

import numpy as np
from numpy.typing import NDArray

from catseye.data.sources import NOT_SPLIT, TEST, TRAIN, VAL, ImageSet
from catseye.seeds import derive
from catseye.settings.schema import DataSettings

Sides = list[tuple[int, float]]  # number of a split, and its share of the images


def draw_splits(
    images: ImageSet, usable: NDArray[np.int64], groups: NDArray[np.int64], settings: DataSettings, seed: int
) -> NDArray[np.int8]:
    """The split of every image, (N,), by groups; unusable ones get NOT_SPLIT.

    Corrections move no image: splits are drawn by the labels in DATA. Only a corrected class without training images
    gets one back.
    """
    splits = np.full(len(images), NOT_SPLIT, np.int8)
    corrected = images.corrected
    drawn = split(
        (images.labels if corrected is None else corrected.given_labels)[usable],
        groups[usable],
        images.splits[usable],
        val_fraction=settings.val_fraction,
        test_fraction=settings.test_fraction,
        seed=seed,
    )
    splits[usable] = drawn
    if corrected is not None:
        usable = usable[~corrected.left_out[usable]]
        drawn = splits[usable]
        if (images.splits[usable] == NOT_SPLIT).any():
            keep_in_training(drawn, images.labels[usable], groups[usable], np.ones(len(usable), bool), seed)
        splits[corrected.left_out] = NOT_SPLIT
        splits[usable] = drawn
    return splits


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

    Images without a split: `test_fraction` of each class goes to test and `val_fraction` to validation. DATA with train
    and test but no validation: `val_fraction` of train becomes validation. DATA with train alone is divided as if it
    had no split. Anything else stays as given.

    Images of one group stay in one split. A class keeps at least one group for training, even if its images are in
    groups of other classes, and gives at least one to each other split if it has enough. Classes with two groups do
    not: together they give each split its share, at most one group per class, so that even a set of pairs can be
    evaluated.

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
        # Groups that the given test split divides stay as they are: leaks are reported, not moved.
        pool = (given == TRAIN) & ~np.isin(groups, groups[given == TEST])
    else:
        return result
    generator = np.random.default_rng(derive(seed, "split"))
    small: list[list[list[int]]] = []
    for members in _groups_by_class(labels, groups, pool):
        num_held_out = _hold_out(result, members, sides, generator)
        if num_held_out == 0 and len(members) >= 2:
            small.append(members)
    _hold_out_of_small(result, small, sides, derive(seed, "split", len(labels)))
    keep_in_training(result, labels, groups, pool, derive(seed, "split", len(labels) + 1))
    return result


def _hold_out(result: NDArray[np.int8], members: list[list[int]], sides: Sides, generator: np.random.Generator) -> int:
    """Give each split its share of one class's groups; returns their number."""
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
    return start


def _hold_out_of_small(result: NDArray[np.int8], classes: list[list[list[int]]], sides: Sides, seed: int) -> None:
    """Give each split its share of the small classes, at most one group per class."""
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(classes)).tolist()
    total = sum(len(group) for members in classes for group in members)
    for side, fraction in sides:
        wanted = round(total * fraction)
        if fraction > 0 and not (result > TRAIN).any():  # at least one image must be held out
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
    """Give a class without training images its largest group back.

    Such a class was held out completely, with groups of other classes. A split that is empty afterwards gets another
    group that no class needs, if there is one.
    """

    def lost() -> NDArray[np.int64]:
        before, left = (np.bincount(labels[each], minlength=num) for each in (pool, result == TRAIN))
        return np.flatnonzero((before > 0) & (left == 0))

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
    """The groups of each class, each a list of image numbers.

    A group whose images have several labels counts for the most common one.
    """
    images: dict[int, list[int]] = defaultdict(list)
    for index in np.flatnonzero(pool).tolist():
        images[int(groups[index])].append(index)
    by_class: dict[int, list[list[int]]] = defaultdict(list)
    for members in images.values():
        if len(members) == 1:  # usually nearly all groups
            by_class[int(labels[members[0]])].append(members)
            continue
        votes = Counter(labels[members].tolist())
        by_class[min(votes, key=lambda label: (-votes[label], label))].append(members)
    return [by_class[label] for label in sorted(by_class)]
