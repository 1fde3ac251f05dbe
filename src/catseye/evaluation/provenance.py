"""Whether the images on which a model is measured were used to train it.

Enters: a run's data.json or a file's manifest, and DATA. Leaves: `Overlap`. Called by `measure.py`. Images are compared
by content, so that they are recognised in a new folder or under new names.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from catseye.counting import agree, count
from catseye.data.moved import is_data_of
from catseye.data.prepare_evaluation import open_for_classes
from catseye.data.sources import SPLIT_LABELS, TEST, VAL, Images, ImageSet, is_place, open_source
from catseye.data.sources.image_set import content_digest
from catseye.data.survey import fingerprint_images
from catseye.errors import DataError, ImageError, UsageError
from catseye.files import StrPath
from catseye.manifest import Manifest
from catseye.runs import Run, open_run
from catseye.settings.schema import DataSettings


@dataclass(frozen=True)
class Overlap:
    """The overlap of DATA with the images that trained the model.

    `held_out` is name -> split if DATA holds the run's own held-out images: these alone are scored. Otherwise
    `trained_on` of the `num_images` scored images also trained the model.
    """

    held_out: dict[str, str] | None = None
    trained_on: int = 0
    num_images: int = 0
    note: str = ""
    own: bool = False  # DATA is the run's own, wherever it is now
    reading: DataSettings | None = None  # how DATA was read: with the run's settings, or None: guessed


def compare_with_training(
    path: Path, manifest: Manifest, data: Images, data_dir: StrPath | None = None, *, held_out_only: bool = True
) -> Overlap:
    """Compare DATA with the images that trained a model.

    They are those of the run at `path`; for a file without a run, only the fingerprint in its manifest is compared.
    Without `held_out_only` nothing is chosen: all of DATA is scored, and the images that trained the model are counted.

    Raises:
        DataError: DATA cannot be listed.

    """
    folder = Path(data_dir) if data_dir else None
    if not path.is_dir():
        images = open_for_classes(data, manifest.classes, folder, None)
        same = manifest.provenance.data_sha256 and fingerprint_images(images) == manifest.provenance.data_sha256
        num = len(_scored(images))
        if not same or num < len(images):  # a test split of the data itself did not train
            return Overlap()
        return Overlap(None, num, num, _warning(num, num, "all of these images went into its training and its tests"))
    run = open_run(path)
    recorded = run.data
    images, own, reading = _read_as_the_run(run, manifest, data, folder)
    if own and held_out_only:
        side = "test" if recorded["splits"].get("test") else "val"
        return Overlap(dict.fromkeys(recorded["splits"][side], side), own=True, reading=reading)
    held = _held_out(images, run)
    if held is None:
        note = "it is unknown whether some of these images trained the model: its run recorded no contents"
        return Overlap(note=note, reading=reading)
    trained, held_out = held
    if held_out and trained and held_out_only:
        side = next(iter(held_out.values()))
        are = agree(len(held_out), "is", "are")
        note = (
            f"DATA holds the run's own images: its {count(len(held_out), f'{side} image')} {are} scored, "
            f"not the {count(len(trained), 'image')} that trained the model"
        )
        return Overlap(held_out, 0, len(held_out), note, reading=reading)
    scored = _scored(images)
    both = len(trained & set(scored.tolist()))
    return Overlap(None, both, len(scored), _warning(both, len(scored)) if both else "", reading=reading)


def _read_as_the_run(
    run: Run, manifest: Manifest, data: Images, data_dir: Path | None
) -> tuple[ImageSet, bool, DataSettings | None]:
    """DATA, whether it is the run's own, and the settings it was read with.

    These are the run's settings, or None: guessed.
    """
    recorded, reading = run.data, run.settings.data
    same_place = is_place(data) and Path(recorded["source"]).absolute() == Path(data).absolute()
    try:
        images = open_source(data, data_dir=data_dir, settings=reading)
    except (DataError, UsageError):  # other DATA has other columns and folders
        if same_place:
            raise
    else:
        own = is_data_of(recorded, images)
        if own or same_place:
            return images, own, reading
    return open_for_classes(data, manifest.classes, data_dir, None), False, None


def _warning(both: int, total: int, why: str = "") -> str:
    return (
        f"TRAINED ON: {both:,} of {count(total, 'image')} {agree(both, 'was', 'were')} used to train this model"
        f"{f' ({why})' if why else ''}; the score is too high"
    )


def _scored(images: ImageSet) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The numbers of the images to measure: test, else validation, else all."""
    for side in (TEST, VAL):
        if (images.splits == side).any():
            return np.flatnonzero(images.splits == side)
    return np.arange(len(images))


def _held_out(images: ImageSet, run: Run) -> tuple[set[int], dict[str, str]] | None:
    """The numbers of training images, and name -> split of held-out ones.

    None if nothing identifies them.
    """
    recorded = run.data
    if str(images.source) == str(recorded["source"]):  # the same place: names are enough
        known = {name: side for side in SPLIT_LABELS for name in recorded["splits"].get(side, {})}
        side_of = [known.get(name, "") for name in images.names]
    else:
        content = recorded.get("content") or _read_contents(recorded, run.settings.data)
        if content is None:
            return None
        sides = {digest: side for side in reversed(SPLIT_LABELS) for digest in content.get(side, ())}
        side_of = [sides.get(_digest_of(images, index), "") for index in range(len(images))]
    trained = {index for index, side in enumerate(side_of) if side == "train"}
    for side in ("test", "val"):
        if side in side_of:
            return trained, {images.names[index]: side for index, own in enumerate(side_of) if own == side}
    return trained, {}


def _read_contents(recorded: Mapping[str, Any], reading: DataSettings) -> dict[str, list[str]] | None:
    """The contents of a run's images, read from disk.

    It is for runs that did not record them.
    """
    try:
        folder = Path(recorded["data_dir"]) if recorded["data_dir"] else None
        images = open_source(recorded["source"], data_dir=folder, settings=reading)
    except DataError:
        return None
    number = {name: index for index, name in enumerate(images.names)}
    return {
        side: [_digest_of(images, number[name]) for name in names if name in number]
        for side, names in recorded["splits"].items()
    }


def _digest_of(images: ImageSet, index: int) -> str:
    try:
        return content_digest(images.read(index)).hex()
    except ImageError:
        return ""
