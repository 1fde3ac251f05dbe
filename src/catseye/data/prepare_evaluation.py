"""Held-out images to evaluate a model: listed, with its labels, then loaded.

Enters: a source and a model's preprocessing and classes. Leaves: images and one loader. Called by
`evaluation/measure.py`, `knn_baseline.py` and `strangers.py` there; `prepare.py` does the same for training.
"""

from contextlib import suppress
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from catseye.counting import agree, count
from catseye.data.decode import decode_all
from catseye.data.loaders import MemoryLoader, StreamLoader
from catseye.data.sources import SPLIT_LABELS, TEST, VAL, Images, ImageSet, UnclearLayout, open_source
from catseye.data.storage import EVALUATION_BATCH, evaluation_loader, fits_in_memory, refuse_bad
from catseye.errors import DataError
from catseye.machine.cores import num_cores
from catseye.preprocess import Preprocessing
from catseye.settings.schema import DataSettings

MAX_FOREIGN = 10_000
LAYOUTS: tuple[Literal["splits", "classes"], ...] = ("splits", "classes")


def prepare_evaluation(
    source: Images,
    spec: Preprocessing,
    classes: tuple[str, ...],
    *,
    device: torch.device,
    recorded: dict[str, str] | None = None,
    data_dir: Path | None = None,
    strict: bool = False,
    settings: DataSettings | None = None,
) -> tuple[ImageSet, MemoryLoader | StreamLoader, list[str]]:
    """The held-out images of DATA, labelled in the order of a model's own classes.

    `settings` say how DATA is read, as in train. `recorded` is name -> split from a run's data.json; without it DATA's
    own split counts. The test images are returned, else those of validation, else all. Returns images, one loader and
    the notes for the user.

    Raises:
        DataError: DATA has a class that the model lacks, or an image of the run is missing.

    """
    images = open_for_classes(source, classes, data_dir, settings)
    unknown = sorted(set(images.classes) - set(classes))
    if unknown:
        raise DataError(f"{images.source} has class {unknown[0]!r}, the model has only: {', '.join(classes[:20])}")
    number = np.array([classes.index(name) for name in images.classes], dtype=np.int64)
    splits = images.splits
    if recorded is not None:
        splits = _recorded_splits(images, recorded)
    side = next((side for side in (TEST, VAL) if (splits == side).any()), None)
    indices = np.flatnonzero(splits == side) if side is not None else np.arange(len(images))
    if images.corrected is not None:
        indices = indices[~images.corrected.left_out[indices]]
    notes = [f"evaluating on the {SPLIT_LABELS[side]} split" if side is not None else "evaluating on every image"]
    if side == VAL:
        notes.append("there is no test split; if validation selected the epoch, this score may be too high")
    # Labels and classes are in the model's order, so that a column of the logits means the same class everywhere.
    images = ImageSet(images.source, classes, images.names, number[images.labels], splits, images.read)
    indices = indices.astype(np.int64)
    if fits_in_memory(len(indices), spec, device):
        pixels, usable, bad = decode_all(images, indices, spec)
        refuse_bad(images, bad, strict)
        return images, evaluation_loader(images, pixels, usable, device, bad), notes
    return images, StreamLoader(images, spec, indices, EVALUATION_BATCH, num_cores(), device, strict=strict), notes


def open_for_classes(
    source: Images, classes: tuple[str, ...], data_dir: Path | None, settings: DataSettings | None
) -> ImageSet:
    """List DATA; if its folders can be read in two ways, the way that fits the model.

    Raises:
        DataError: DATA cannot be listed, or both readings fit the model, or neither.

    """
    try:
        return open_source(source, data_dir=data_dir, settings=settings)
    except UnclearLayout:
        fitting = []
        for layout in LAYOUTS:
            with suppress(DataError):  # one of the readings may fail
                images = open_source(source, data_dir=data_dir, settings=DataSettings(layout=layout))
                fitting += [images] * (set(images.classes) <= set(classes))
        if len(fitting) != 1:
            raise
        return fitting[0]


def prepare_foreign(
    source: Images, spec: Preprocessing, *, device: torch.device, data_dir: Path | None = None
) -> MemoryLoader:
    """At most 10,000 images of foreign classes, as a model's input.

    Their labels are not those of the model.

    Raises:
        DataError: none can be read.

    """
    images = open_source(source, data_dir=data_dir)
    sides = [np.flatnonzero(images.splits == side) for side in (TEST, VAL)]
    indices = next((side for side in sides if len(side)), np.arange(len(images)))
    drawn = np.sort(np.random.default_rng(0).permutation(indices)[:MAX_FOREIGN]).astype(np.int64)
    pixels, usable, bad = decode_all(images, drawn, spec)
    return evaluation_loader(images, pixels, usable, device, bad)


def _recorded_splits(images: ImageSet, recorded: dict[str, str]) -> NDArray[np.int8]:
    known = set(images.names)
    gone = [name for name in recorded if name not in known]
    if gone:
        are = agree(len(gone), "is", "are")
        raise DataError(f"{images.source}: {count(len(gone), 'image')} of the run {are} missing, e.g. {gone[0]}")
    number = {name: index for index, name in enumerate(SPLIT_LABELS)}
    return np.array([number.get(recorded.get(name, ""), -1) for name in images.names], dtype=np.int8)
