"""Images without a label: empty cells of a list, a folder named unlabelled.

Enters: names of files, or an `ImageSet` that has such images. Leaves: which of them have no label, a note, and one set
of all images. Called by labelled.py, by corrections.py and by `catseye review`.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from catseye.counting import agree, count
from catseye.data.sources.image_set import NOT_SPLIT, TRAIN, ImageSet, PartsReader
from catseye.data.sources.split_names import is_filler, words_of

NO_LABEL = -1
_WORDS = {"unlabelled", "unlabeled", "unlabel", "nolabel"}


def names_no_class(folder: str) -> bool:
    """Whether the name of a folder, or of one above, means images without a label.

    >>> names_no_class("train/unlabeled_images"), names_no_class("unlabelled/3"), names_no_class("unlabelled bottles")
    (True, True, False)
    """
    return any(
        _WORDS & set(words) and all(word in _WORDS or is_filler(word) for word in words)
        for words in map(words_of, folder.split("/"))
    )


def part_unlabelled(names: Sequence[str], places: Mapping[str, tuple[str, int]]) -> tuple[list[str], list[str]]:
    """The images that may have a label, and those in folders named unlabelled.

    `places` are the class folders. If there are fewer than two others, a folder named unlabelled is a class too.
    """
    unlabelled = {folder: names_no_class(folder) for folder in {os.path.dirname(name) for name in names}}  # noqa: PTH120
    if len({name for folder, (name, _) in places.items() if not unlabelled.get(folder)}) < 2:
        return list(names), []
    labelled: list[str] = []
    without: list[str] = []
    for name in names:
        (without if unlabelled[os.path.dirname(name)] else labelled).append(name)  # noqa: PTH120  (a Path is slow)
    return labelled, without


def note_on_folders(names: Sequence[str]) -> list[str]:
    """The note on images in such folders."""
    if not names:
        return []
    folder = os.path.dirname(names[0])  # noqa: PTH120
    return [
        f"{count(len(names), 'image')} in {folder}/ {agree(len(names), 'is', 'are')} left out, because the name of the "
        "folder means that there is no label; add labels with catseye review DATA, or use --layout classes if it is a "
        "class"
    ]


def with_unlabelled(images: ImageSet) -> ImageSet:
    """The images, then those without a label, with the label NO_LABEL.

    They are training images unless DATA names their split: so no other image moves, and nothing is measured on them.
    """
    extra = images.unlabelled
    if extra is None or not len(extra.names):
        return images
    num = len(extra.names)
    groups = images.groups
    if groups is not None:
        groups = np.concatenate([groups, int(groups.max(initial=-1)) + 1 + np.arange(num)])
    return replace(
        images,
        names=[*images.names, *extra.names],
        labels=np.concatenate([images.labels, np.full(num, NO_LABEL, np.int64)]),
        splits=np.concatenate(
            [images.splits, np.where(extra.splits == NOT_SPLIT, TRAIN, extra.splits).astype(np.int8)]
        ),
        read=PartsReader([(len(images), images.read), (num, extra.read)]),
        groups=groups,
        unlabelled=None,
    )
