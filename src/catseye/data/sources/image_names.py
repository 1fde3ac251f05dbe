"""Which of many files are images, by their suffixes.

Called by labelled.py, unlabelled.py, archive.py and prediction/paths.py.
"""

import os
from collections.abc import Iterable

from catseye.preprocess import ARRAY_SUFFIX, FILE_SUFFIXES


def image_names(files: Iterable[str]) -> list[str]:
    """The names of images, sorted.

    .npy files count only if there are no others: beside images, arrays are features.

    >>> image_names(["b.png", "a.jpg", "a.npy"]), image_names(["b.npy", "notes.txt"])
    (['a.jpg', 'b.png'], ['b.npy'])
    """
    images, arrays = [], []
    for name in files:
        suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122  (a Path is slow)
        if suffix in FILE_SUFFIXES:
            images.append(name)
        elif suffix == ARRAY_SUFFIX:
            arrays.append(name)
    return sorted(images or arrays)


def is_array(name: str) -> bool:
    """Whether the suffix of a file is that of an array."""
    return name.lower().endswith(ARRAY_SUFFIX)
