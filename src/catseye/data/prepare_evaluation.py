"""Held-out images for a model that is there already: listed, labelled in the model's order, decoded or streamed.

Enters: a source and a model's preprocessing and classes. Leaves: images and one loader. Called by
`evaluation/measure.py` and `evaluation/calibrate.py`; the training half is `prepare.py`.
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
    chosen: dict[str, str] | None = None,
    data_dir: Path | None = None,
    strict: bool = False,
    settings: DataSettings | None = None,
) -> tuple[ImageSet, MemoryLoader | StreamLoader, list[str]]:
    """The held-out images of DATA, labelled in the order of a model's own classes.

    `settings` say how DATA is read, as in train. `chosen` is name -> split from a run's manifest. Without it the test
    split counts, else validation, else everything there is. Returns images, one loader and the sentences to print.

    Raises:
        DataError: a class of DATA is none of the model's, or an image of the run is gone.

    """
    images = open_for_classes(source, classes, data_dir, settings)
    unknown = sorted(set(images.classes) - set(classes))
    if unknown:
        raise DataError(f"{images.source} has class {unknown[0]!r}, the model knows only: {', '.join(classes[:20])}")
    number = np.array([classes.index(name) for name in images.classes], dtype=np.int64)
    splits = images.splits
    if chosen is not None:
        splits = _recorded_splits(images, chosen)
    side = next((side for side in (TEST, VAL) if (splits == side).any()), None)
    indices = np.flatnonzero(splits == side) if side is not None else np.arange(len(images))
    if images.corrected is not None:
        indices = indices[~images.corrected.left_out[indices]]
    notes = [f"evaluating on the {SPLIT_LABELS[side]} split" if side is not None else "evaluating on every image"]
    if side == VAL:
        notes.append("there is no test split; where validation chose the epoch, its score may be too high")
    # Labels and classes are rewritten to the model's order, so that a logit's column means the same class everywhere.
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
    """DATA; of two readings of its folders the one whose classes a model knows.

    Raises:
        DataError: DATA cannot be listed, or neither reading fits the model alone.

    """
    try:
        return open_source(source, data_dir=data_dir, settings=settings)
    except UnclearLayout:
        fitting = []
        for layout in LAYOUTS:
            with suppress(DataError):  # one of the readings may be none
                images = open_source(source, data_dir=data_dir, settings=DataSettings(layout=layout))
                fitting += [images] * (set(images.classes) <= set(classes))
        if len(fitting) != 1:
            raise
        return fitting[0]


def prepare_foreign(
    source: Images, spec: Preprocessing, *, device: torch.device, data_dir: Path | None = None
) -> MemoryLoader:
    """At most 10,000 images of something else, whatever their classes, as a model's input; their labels mean nothing.

    Raises:
        DataError: none can be read.

    """
    images = open_source(source, data_dir=data_dir)
    sides = [np.flatnonzero(images.splits == side) for side in (TEST, VAL)]
    indices = next((found for found in sides if len(found)), np.arange(len(images)))
    chosen = np.sort(np.random.default_rng(0).permutation(indices)[:MAX_FOREIGN]).astype(np.int64)
    pixels, usable, bad = decode_all(images, chosen, spec)
    return evaluation_loader(images, pixels, usable, device, bad)


def _recorded_splits(images: ImageSet, chosen: dict[str, str]) -> NDArray[np.int8]:
    known = set(images.names)
    gone = [name for name in chosen if name not in known]
    if gone:
        are = agree(len(gone), "is", "are")
        raise DataError(f"{images.source}: {count(len(gone), 'image')} of the run {are} gone, e.g. {gone[0]}")
    number = {name: index for index, name in enumerate(SPLIT_LABELS)}
    return np.array([number.get(chosen.get(name, ""), -1) for name in images.names], dtype=np.int8)
