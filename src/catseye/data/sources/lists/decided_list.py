"""A file of corrections as a list: the images that people gave a label to.

Enters: the .csv that `catseye label` or `catseye review` wrote. Leaves: `ImageSet`. Called by `table.py`.
"""

from pathlib import Path

import numpy as np

from catseye.counting import count
from catseye.data.names import Names
from catseye.data.sources.corrections import HEADER, read_corrections, standing
from catseye.data.sources.folder import FolderReader
from catseye.data.sources.image_set import NOT_SPLIT, ImageSet
from catseye.errors import DataError


def is_decided_list(path: Path) -> bool:
    """Whether `catseye label` or `catseye review` wrote the list."""
    try:
        with path.open("rb") as stream:
            return stream.read(len(HEADER)) == HEADER
    except OSError:
        return False  # reported when the list is read


def read_decided_list(path: Path) -> ImageSet:
    """The images that people labelled, without dropped and unsure ones.

    Raises:
        DataError: the file cannot be read, or gives no image a label.

    """
    decided = _label_by_image(path)
    if not decided:
        raise DataError(f"{path} gives no image a label yet; label some with catseye label FOLDER --out {path.name}")
    classes = sorted(set(decided.values()))
    names = Names(decided)
    number = {name: index for index, name in enumerate(classes)}
    return ImageSet(
        source=str(path),
        classes=tuple(classes),
        names=names,
        labels=np.array([number[label] for label in decided.values()], np.int64),
        splits=np.full(len(decided), NOT_SPLIT, np.int8),
        read=FolderReader(path.parent, names),
        remarks=(f"the list holds what people decided: {count(len(decided), 'image')} with a label",),
    )


def _label_by_image(path: Path) -> dict[str, str]:
    """File name -> class."""
    rows, _ = read_corrections(path)
    decided = standing(rows)
    labels: dict[str, str] = {}
    for row in rows:
        if row.image and row.digest in decided.by_digest:
            kind = decided.by_digest[row.digest][1].kind
            label = decided.label_of(row.digest, row.old)
            if kind != "unsure" and label:
                labels[row.image] = label
            else:
                labels.pop(row.image, None)
    return labels
