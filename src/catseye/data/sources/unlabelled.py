"""A folder whose images have no label yet, or only some of them.

Enters: a folder and the names of classes. Leaves: `ImageSet`; images that are not in a folder named after a class have
the label -1. Called by `catseye label`.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from catseye.data.names import Names
from catseye.data.sources.folder import FolderReader, walk_files
from catseye.data.sources.image_names import image_names
from catseye.data.sources.image_set import NOT_SPLIT, ImageSet
from catseye.errors import DataError


def list_unlabelled(folder: Path, classes: Sequence[str]) -> ImageSet:
    """All images below a folder; one in a folder named after a class has that class.

    Raises:
        DataError: it is not a folder, or holds no image.

    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; label takes a folder of images, labelled or not")
    files, _ = walk_files(folder.resolve())
    names = image_names(files)
    if not names:
        raise DataError(f"{folder} holds no image; label takes a folder of images, labelled or not")
    number = {name: index for index, name in enumerate(classes)}
    labels = [next((number[part] for part in reversed(name.split("/")[:-1]) if part in number), -1) for name in names]
    kept = Names(names)
    return ImageSet(
        source=str(folder.resolve()),
        classes=tuple(classes),
        names=kept,
        labels=np.array(labels, np.int64),
        splits=np.full(len(names), NOT_SPLIT, np.int8),
        read=FolderReader(folder.resolve(), kept),
    )
