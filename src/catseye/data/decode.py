"""Many images as inputs of a network, in one array; those that an earlier run decoded are taken from the cache.

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
from catseye.data.reading import Portion, Wish, read_portion
from catseye.data.sources import ImageSet
from catseye.machine.waiting import Waiting
from catseye.preprocess import Pixels, Preprocessing

MOST_OF = 20  # where at least one image in so many is asked for, all files are asked whether they changed
_NOT_PIXELS = {"mean", "std"}  # these are applied later


@dataclass(frozen=True)
class Decoded:
    """Images as inputs.

    Shape: pixels (M, H, W, C) uint8, usable (M,) the numbers that could be read; `bad` number -> reason for the others.
    """

    pixels: Pixels
    usable: NDArray[np.int64]
    bad: dict[int, str]

    @classmethod
    def without(cls, bad: dict[int, str], pixels: Pixels, indices: NDArray[np.int64]) -> Self:
        """Rows of `pixels` are `indices`; the gaps that the bad ones left are closed in place."""
        if not bad:
            return cls(pixels, indices, bad)
        good = np.flatnonzero(~np.isin(indices, list(bad)))
        for row, slot in enumerate(good.tolist()):
            pixels[row] = pixels[slot]
        return cls(pixels[: len(good)], indices[good], bad)


def decode_all(
    images: ImageSet, indices: NDArray[np.int64], spec: Preprocessing, *, share: int = 1
) -> tuple[Pixels, NDArray[np.int64], dict[int, str]]:
    """Decode images once into one array.

    Shape: returns pixels (M, H, W, C) uint8, the M numbers that could be read, and number -> reason for the others.
    """
    few = len(indices) * MOST_OF < len(images)
    stamp = stamp_files(images, indices.tolist() if few else None)
    done = kept_decoded(images, indices, spec, stamp)
    if done is None:
        begun = time.monotonic()
        into = room_for(len(indices), (spec.height_px, spec.width_px, spec.channels))
        wish = Wish(spec=spec)

        def work(rows: range) -> Portion:
            part = slice(rows.start, rows.stop)
            return read_portion(images, indices[part].tolist(), wish, into[part])

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
    """The same images from the cache, as rows of a file that is mapped into memory."""
    if not stamp:
        return None
    for whole in (True, False):
        kept = kept_entry(_key(images, indices, spec, stamp, whole=whole))
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
    whole = len(indices) * 10 > 9 * len(images)
    key = _key(images, indices, spec, stamp, whole=whole)
    keep_entry(key, took_s, {"pixels": done.pixels, "usable": done.usable}, {"bad": done.bad})


def _key(images: ImageSet, indices: NDArray[np.int64], spec: Preprocessing, stamp: bytes, *, whole: bool) -> str:
    """Of all images (or nearly: known bad ones are left out), or of these alone."""
    which = "all" if whole else blake2b(indices.tobytes(), digest_size=16).hexdigest()
    geometry = spec.model_dump_json(exclude=_NOT_PIXELS)
    return key_of("pixels", stamp, len(images), geometry, which)
