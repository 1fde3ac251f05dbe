"""The current place of a run's images: the recorded one, or a new one.

Enters: the content of data.json, how the run reads DATA and, perhaps, a new place. Leaves: the place to read from.
Called by `evaluation/measure.py`, `exporting/export.py` and `training/session.py`, which measure, export or continue a
run.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from catseye.data import builtin
from catseye.data.sources import Images, ImageSet, is_place, open_source
from catseye.data.sources.addresses.remote import is_address
from catseye.data.sources.memory_names import PREFIX, images_in_use
from catseye.data.sources.open_data import is_there
from catseye.data.survey import fingerprint_images
from catseye.errors import DataError
from catseye.settings.schema import DataSettings


def locate_data(
    recorded: Mapping[str, Any],
    moved: Images | None = None,
    data_dir: Path | None = None,
    settings: DataSettings | None = None,
) -> Images:
    """The source of a run's own images.

    `recorded` is the content of data.json, `settings` say how the run read its DATA. `moved` is the new place; it must
    have the fingerprint of the run. If it is an object in memory, its images are returned listed.

    Raises:
        DataError: the images are not where the run expects them, or `moved` holds different ones.

    """
    expected = str(recorded["source"])
    if moved is None:
        if expected.startswith(PREFIX):
            return images_in_use(expected)
        if expected not in builtin.NAMES and not is_address(expected) and not is_there(expected):
            raise DataError(
                f"the run expects its images at {expected}, which does not exist; give --data NEW_PLACE, the folder, "
                "zip or list where they are now"
            )
        return expected
    images = open_source(moved, data_dir=data_dir, settings=settings)
    if not is_data_of(recorded, images):
        known = {name: label for names in recorded["splits"].values() for name, label in names.items()}
        raise DataError(
            f"--data must hold the images of the run, which were at {expected}; {images.source} holds others "
            f"({_difference(known, images)}); give the place to which they were moved or copied"
        )
    return images.source if is_place(moved) else images


def is_data_of(recorded: Mapping[str, Any], images: ImageSet) -> bool:
    """Whether these are a run's images, by names, classes, splits and sizes alone."""
    return fingerprint_images(images) == str(recorded["sha256"])


def _difference(known: Mapping[str, str], images: ImageSet) -> str:
    """The first difference from the images of a run, name -> class."""
    labels = dict(zip(images.names, images.labels.tolist(), strict=True))
    for name in sorted(known):
        if name not in labels:
            return f"{name} is missing"
        if images.classes[labels[name]] != known[name]:
            return f"{name} is of the class {images.classes[labels[name]]!r}, not {known[name]!r}"
    return "an image has another size or split, or there are more images"
