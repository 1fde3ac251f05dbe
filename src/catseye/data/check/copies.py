"""The search for near duplicates: candidates by thumbnail, then a closer look.

Enters: images and their thumbnails. Leaves: `Twins`. Called by `check.py` and `data/survey.py` (in `catseye train`).
Only the candidates are read again, each once.
"""

from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catseye.data.cache import KeptEntry
from catseye.data.check.duplicates import THUMB_PX, Pairs, Twins, find_twins
from catseye.data.check.second_look import (
    FINE_PX,
    FIRST_SIEVE,
    MIN_OWN_CORRELATION,
    SetMean,
    own_parts,
    same_in_every_part,
    tolerances,
)
from catseye.data.groups import Groups, keep_together
from catseye.data.sources import ImageSet
from catseye.decoding.channels import as_colours
from catseye.errors import ImageError
from catseye.machine.cores import num_cores
from catseye.preprocess import Pixels, Preprocessing, preprocess

PLAIN_SPREAD = 6.0  # grey levels in a thumbnail; below, images are too plain to be told apart
SMALLEST_PX = 16  # shorter side; smaller images have too little detail to be told apart
FINE = Preprocessing(height_px=FINE_PX, width_px=FINE_PX, resize="squash", mean=(0.0,) * 3, std=(1.0,) * 3)
LOSSY_FORMATS = ("JPEG", "WEBP")
_HELD = 20_000  # images of 64 x 64 in memory at a time: 250 MB
_PORTION = 8_192  # pairs


@dataclass(frozen=True)
class Glances:
    """What the first look records of every image.

    Shape: thumbs (N, 16, 16, 3) uint8; sides_px (N,), the shorter side; lossless (N,), whether its format is lossless.
    """

    thumbs: Pixels
    sides_px: NDArray[np.int32]
    lossless: NDArray[np.bool_]


def fine_spec(images: ImageSet) -> Preprocessing:
    """How an image becomes the pixels of the second look, before `as_colours`."""
    if images.channels:
        update = {"channels": images.channels, "mean": (0.0,) * images.channels, "std": (1.0,) * images.channels}
        return FINE.model_copy(update=update | {"value_range": images.value_range})
    return FINE.model_copy(update={"value_range": images.value_range}) if images.value_range else FINE


def find_copies(images: ImageSet, glances: Glances, selected: NDArray[np.bool_]) -> Twins:
    """The pairs among the `selected` (N,) images that show the same."""
    thumbs = glances.thumbs
    selected = comparable(glances, selected)
    twins = find_twins(thumbs, selected, mirrored=images.mirror_safe)
    mean = SetMean.of(thumbs, selected)
    keep = np.zeros(len(twins.pairs), bool)
    tolerance = np.zeros(len(keep), np.float32)
    for start in range(0, len(keep), _PORTION):
        part = slice(start, start + _PORTION)
        pairs = twins.pairs[part]
        first, second = thumbs[pairs[:, 0]], _mirrored(thumbs[pairs[:, 1]], twins.mirrored[part])
        alike, variances = own_parts(first, second, mean)
        lossless = glances.lossless[pairs[:, 0]] & glances.lossless[pairs[:, 1]]
        tolerance[part] = tolerances(variances, glances.sides_px[pairs].min(1), lossless)
        near = np.flatnonzero(alike >= MIN_OWN_CORRELATION)
        keep[start + near[same_in_every_part(first[near], second[near], FIRST_SIEVE * tolerance[start + near])]] = True
    twins, tolerance = _only(twins, keep), tolerance[keep]
    return _only(twins, _look_again(images, twins, tolerance))


def described_twins(twins: Twins) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """What the cache keeps of a search."""
    arrays: dict[str, NDArray[Any]] = {
        "pairs": twins.pairs,
        "correlations": twins.correlations,
        "mirrored": twins.mirrored,
    }
    return arrays, {"crowded": twins.crowded}


def restored_twins(kept: KeptEntry) -> Twins:
    """The result of a search from the cache."""
    arrays = kept.arrays
    return Twins(arrays["pairs"], arrays["correlations"], arrays["mirrored"], kept.facts["crowded"])


def copy_groups(images: ImageSet, equal: Groups, twins: Twins) -> list[list[str]]:
    """The names of images that show the same, group by group."""
    groups = keep_together(equal, None, twins.pairs)
    members: dict[int, list[str]] = defaultdict(list)
    for index in np.flatnonzero(np.bincount(groups, minlength=1)[groups] > 1).tolist():
        members[int(groups[index])].append(images.names[index])
    return list(members.values())


def comparable(glances: Glances, selected: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which of the selected are neither too plain nor too small to be compared, (N,)."""
    spread = np.empty(len(glances.thumbs))
    for start in range(0, len(spread), _PORTION):
        values = glances.thumbs[start : start + _PORTION].reshape(-1, THUMB_PX * THUMB_PX * 3).astype(np.float32)
        spread[start : start + _PORTION] = values.std(1, dtype=np.float64)
    return selected & (spread >= PLAIN_SPREAD) & (glances.sides_px >= SMALLEST_PX)


def _only(twins: Twins, keep: NDArray[np.bool_]) -> Twins:
    return replace(twins, pairs=twins.pairs[keep], correlations=twins.correlations[keep], mirrored=twins.mirrored[keep])


def _mirrored(pixels: Pixels, mirrored: NDArray[np.bool_]) -> Pixels:
    pixels[mirrored] = pixels[mirrored][:, :, ::-1]
    return pixels


def _look_again(images: ImageSet, twins: Twins, tolerance: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which of the candidates are still the same at 64 x 64."""
    keep = np.zeros(len(twins.pairs), bool)
    order = np.lexsort((twins.pairs[:, 1], twins.pairs[:, 0]))
    held: dict[int, Pixels] = {}
    with ThreadPoolExecutor(num_cores()) as pool:
        for start in range(0, len(order), _PORTION):
            rows = order[start : start + _PORTION]
            pairs: Pairs = twins.pairs[rows]
            wanted = [index for index in np.unique(pairs).tolist() if index not in held]
            if len(held) + len(wanted) > _HELD:
                held = {}
                wanted = np.unique(pairs).tolist()
            held.update(zip(wanted, pool.map(partial(_fine, images), wanted), strict=True))
            first, second = (_stack_held(held, pairs[:, column].tolist()) for column in (0, 1))
            keep[rows] = same_in_every_part(first, _mirrored(second, twins.mirrored[rows]), tolerance[rows])
    return keep


def _stack_held(held: dict[int, Pixels], indices: Iterable[int]) -> Pixels:
    return np.stack([held[index] for index in indices])


def _fine(images: ImageSet, index: int) -> Pixels:
    try:
        return as_colours(preprocess(images.read(index), fine_spec(images)))
    except ImageError:  # gone since the first look: noise is like no other image
        return np.random.default_rng(index).integers(0, 256, (FINE_PX, FINE_PX, 3), np.uint8)
