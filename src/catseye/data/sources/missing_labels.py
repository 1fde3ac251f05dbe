"""Images that DATA lists without a label: a list's empty cells, a folder that is named unlabelled.

Enters: names of files, or an `ImageSet` that has such images. Leaves: which of them have no label, what is said of
them, and one set of both kinds. Called by table.py and labelled.py, by corrections.py and by `catseye review`.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from catseye.data.sources.image_set import NOT_SPLIT, TRAIN, ImageSet, PartsReader, so_many
from catseye.data.sources.split_names import is_filler, words_of

NO_LABEL = -1
_WORDS = {"unlabelled", "unlabeled", "unlabel", "nolabel"}


def names_no_class(folder: str) -> bool:
    """Whether a folder, or one above it, says that its images have no label yet.

    >>> names_no_class("train/unlabeled_images"), names_no_class("unlabelled/3"), names_no_class("unlabelled bottles")
    (True, True, False)
    """
    return any(
        _WORDS & set(words) and all(word in _WORDS or is_filler(word) for word in words)
        for words in map(words_of, folder.split("/"))
    )


def part_unlabelled(names: Sequence[str], places: Mapping[str, tuple[str, int]]) -> tuple[list[str], list[str]]:
    """The names below class folders and elsewhere, and those in folders that say that they have no label.

    `places` are the folders of classes. With fewer than two other classes such a name is that of a class like others.
    """
    verdicts = {folder: names_no_class(folder) for folder in {os.path.dirname(name) for name in names}}  # noqa: PTH120
    if len({name for folder, (name, _) in places.items() if not verdicts.get(folder)}) < 2:
        return list(names), []
    labelled: list[str] = []
    without: list[str] = []
    for name in names:
        (without if verdicts[os.path.dirname(name)] else labelled).append(name)  # noqa: PTH120  (a Path is slow)
    return labelled, without


def note_on_folders(names: Sequence[str]) -> list[str]:
    """What is said of images in such folders."""
    if not names:
        return []
    lie, be = ("lies", "is") if len(names) == 1 else ("lie", "are")
    folder = os.path.dirname(names[0])  # noqa: PTH120
    return [
        f"{so_many(len(names), 'image')} {lie} in {folder}/, which says that there is no label, and {be} left out; "
        "catseye review DATA asks for labels (--layout classes: it is a class)"
    ]


def with_unlabelled(images: ImageSet) -> ImageSet:
    """The images, then those without a label: theirs is NO_LABEL. Where DATA does not give them a side, they train.

    So no image is moved to another side, and nothing is measured on them.
    """
    more = images.unlabelled
    if more is None or not len(more.names):
        return images
    num = len(more.names)
    groups = images.groups
    if groups is not None:
        groups = np.concatenate([groups, int(groups.max(initial=-1)) + 1 + np.arange(num)])
    return replace(
        images,
        names=[*images.names, *more.names],
        labels=np.concatenate([images.labels, np.full(num, NO_LABEL, np.int64)]),
        splits=np.concatenate([images.splits, np.where(more.splits == NOT_SPLIT, TRAIN, more.splits).astype(np.int8)]),
        read=PartsReader([(len(images), images.read), (num, more.read)]),
        groups=groups,
        unlabelled=None,
    )
