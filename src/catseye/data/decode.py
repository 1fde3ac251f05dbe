"""Many images decoded into one array of network inputs, or loaded from the cache.

Enters: `ImageSet`, numbers and a preprocessing. Leaves: `Decoded`. Called by survey.py, `prepare.py` and
`prepare_evaluation.py`.
"""

import time
from dataclasses import dataclass
from hashlib import blake2b
from typing import Self

import numpy as np
from numpy.typing import NDArray

from catseye.data.cache import keep_entry, kept_entry, key_of, worth_keeping
from catseye.data.file_facts import stamp_files
from catseye.data.pool import room_for, shared_out
from catseye.data.reading import Portion, Wanted, read_portion
from catseye.data.sources import ImageSet
from catseye.machine.waiting import Waiting
from catseye.preprocess import Pixels, Preprocessing

MOST_OF = 20  # if at least one image in so many is wanted, the stamp covers all files
_NOT_PIXELS = {"mean", "std"}  # these are applied later


@dataclass(frozen=True)
class Decoded:
    """Images as network inputs; `bad`: number -> reason for unreadable ones.

    Shape: pixels (M, H, W, C) uint8, usable (M,) numbers of the images.
    """

    pixels: Pixels
    usable: NDArray[np.int64]
    bad: dict[int, str]

    @classmethod
    def without(cls, bad: dict[int, str], pixels: Pixels, indices: NDArray[np.int64]) -> Self:
        """Remove the rows of bad images in place; row i of `pixels` is `indices[i]`."""
        if not bad:
            return cls(pixels, indices, bad)
        good = np.flatnonzero(~np.isin(indices, list(bad)))
        for row, slot in enumerate(good.tolist()):
            pixels[row] = pixels[slot]
        return cls(pixels[: len(good)], indices[good], bad)


def decode_all(
    images: ImageSet, indices: NDArray[np.int64], spec: Preprocessing, *, share: int = 1
) -> tuple[Pixels, NDArray[np.int64], dict[int, str]]:
    """Decode images into one array. `share` processes do the same on this machine.

    Shape: returns pixels (M, H, W, C) uint8, the M numbers that could be read, and number -> reason for the others.
    """
    few = len(indices) * MOST_OF < len(images)
    stamp = stamp_files(images, indices.tolist() if few else None)
    done = kept_decoded(images, indices, spec, stamp)
    if done is None:
        begun = time.monotonic()
        into = room_for(len(indices), (spec.height_px, spec.width_px, spec.channels))
        wanted = Wanted(spec=spec)

        def work(rows: range) -> Portion:
            part = slice(rows.start, rows.stop)
            return read_portion(images, indices[part].tolist(), wanted, into[part])

        bad: dict[int, str] = {}
        with Waiting("reading images", len(indices)) as waiting:
            for rows, part in shared_out(work, len(indices), share=share):
                waiting.step(len(rows))
                bad |= part.bad
        done = Decoded.without({index: bad[index] for index in sorted(bad)}, into, indices)
        took_s = time.monotonic() - begun
        if worth_keeping(took_s) and stamp and stamp == stamp_files(images, indices.tolist() if few else None):
            keep_decoded(images, indices, spec, stamp, took_s, done)
    return done.pixels, done.usable, done.bad


def kept_decoded(images: ImageSet, indices: NDArray[np.int64], spec: Preprocessing, stamp: bytes) -> Decoded | None:
    """The same images from the cache, memory-mapped."""
    if not stamp:
        return None
    for complete in (True, False):
        kept = kept_entry(_key(images, indices, spec, stamp, complete=complete))
        if kept is None:
            continue
        bad = {int(index): reason for index, reason in kept.facts["bad"].items()}
        row = np.full(len(images), -1, np.int64)
        row[kept.arrays["usable"]] = np.arange(len(kept.arrays["usable"]))
        usable = indices[row[indices] >= 0]
        mine = {index: bad[index] for index in indices.tolist() if index in bad} if bad else {}
        if len(usable) + len(mine) == len(indices):
            pixels = kept.arrays["pixels"]
            same = len(usable) == len(pixels) and bool((row[usable] == np.arange(len(usable))).all())
            return Decoded(pixels if same else pixels[row[usable]], usable, mine)
    return None


def keep_decoded(
    images: ImageSet, indices: NDArray[np.int64], spec: Preprocessing, stamp: bytes, took_s: float, done: Decoded
) -> None:
    """Keep decoded images for the next run."""
    complete = len(indices) * 10 > 9 * len(images)
    key = _key(images, indices, spec, stamp, complete=complete)
    keep_entry(key, took_s, {"pixels": done.pixels, "usable": done.usable}, {"bad": done.bad})


def _key(images: ImageSet, indices: NDArray[np.int64], spec: Preprocessing, stamp: bytes, *, complete: bool) -> str:
    """The key of all images (without known bad ones), or of `indices` alone."""
    which = "all" if complete else blake2b(indices.tobytes(), digest_size=16).hexdigest()
    geometry = spec.model_dump_json(exclude=_NOT_PIXELS)
    return key_of("pixels", stamp, len(images), geometry, which)
