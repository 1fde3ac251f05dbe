"""A run's images where they are now: at the place that the run recorded, or moved.

Enters: what data.json says, how the run reads DATA and, perhaps, a new place. Leaves: the place to read from. Called by
`evaluation/measure.py`, `exporting/export.py` and `training/session.py`: by whatever measures, exports or continues a
run.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from catseye.data import builtin
from catseye.data.sources import Images, ImageSet, is_place, open_source
from catseye.data.sources.memory_names import PREFIX, images_in_use
from catseye.data.sources.open_data import is_there
from catseye.data.sources.remote import is_address
from catseye.data.survey import fingerprint_images
from catseye.errors import DataError
from catseye.settings.schema import DataSettings


def locate_data(
    recorded: Mapping[str, Any],
    moved: Images | None = None,
    data_dir: Path | None = None,
    settings: DataSettings | None = None,
) -> Images:
    """The source to open for a run's own images; `moved` is accepted where its fingerprint is the run's.

    Images that are given as an object come back listed.

    `recorded` is the content of data.json, `settings` say how the run read its DATA.

    Raises:
        DataError: the images are not where the run expects them, or those of `moved` are others.

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
            f"--data has to hold the images of the run, which were at {expected}; {images.source} holds others "
            f"({_difference(known, images)}); give the place to which they were moved or copied"
        )
    return images.source if is_place(moved) else images


def is_data_of(recorded: Mapping[str, Any], images: ImageSet) -> bool:
    """Whether these are the images of a run, by names, classes, splits and sizes, wherever they lie."""
    return fingerprint_images(images) == str(recorded["sha256"])


def _difference(known: Mapping[str, str], images: ImageSet) -> str:
    """The first thing that tells the images of a run, name -> class, from others."""
    there = dict(zip(images.names, images.labels.tolist(), strict=True))
    for name in sorted(known):
        if name not in there:
            return f"{name} is missing"
        if images.classes[there[name]] != known[name]:
            return f"{name} is of the class {images.classes[there[name]]!r}, not {known[name]!r}"
    return "one has another size or split, or there are more of them"
