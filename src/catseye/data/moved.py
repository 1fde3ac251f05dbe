"""A run's images where they are now: at the place that the run recorded, or moved.

Enters: what data.json says and, perhaps, a new place. Leaves: the place to read from. Called by `evaluation/measure.py`
and by whatever continues or exports a run.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from catseye.data import builtin
from catseye.data.sources import open_source
from catseye.data.survey import fingerprint_images
from catseye.errors import DataError


def locate_data(recorded: Mapping[str, Any], moved: str | Path | None = None, data_dir: Path | None = None) -> str:
    """The source to open for a run's own images; `moved` is accepted where its fingerprint is the run's.

    `recorded` is the content of data.json.

    Raises:
        DataError: the images are not where the run expects them, or those of `moved` are others.

    """
    expected = str(recorded["source"])
    if moved is None:
        if expected not in builtin.NAMES and not Path(expected).exists():
            raise DataError(f"the run expects its images at {expected}, which does not exist; give --data NEW_PLACE")
        return expected
    images = open_source(moved, data_dir=data_dir)
    if fingerprint_images(images) != recorded["sha256"]:
        known = {name for names in recorded["splits"].values() for name in names}
        gone = next((name for name in sorted(known - set(images.names))), None)
        reason = f"{gone} is missing" if gone else "a size, name, class or split is another"
        raise DataError(
            f"--data has to hold the images of the run, which were at {expected}; {moved} holds others ({reason})"
        )
    return str(moved)
