"""A survey of the images: equal files, typical size, grey or colour.

Enters: `ImageSet`. Leaves: `Sight`, after a sample was decoded, and `Survey`. Called by `prepare.py`. Each file is read
at most once. Only a sample (for size and colour) and files of equal size (they may be equal) are read, unless near
duplicates or the pixels are wanted. The results are kept (cache.py).
"""

import hashlib
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from catseye.counting import count
from catseye.data.cache import KeptEntry, keep_entry, kept_entry, key_of, worth_keeping
from catseye.data.check.copies import Glances, described_twins, find_copies, restored_twins
from catseye.data.check.duplicates import THUMB_PX, Twins
from catseye.data.check.looks import make_thumb
from catseye.data.decode import Decoded, keep_decoded, kept_decoded
from catseye.data.file_facts import FileStamps, file_facts, stamp_files
from catseye.data.groups import Groups
from catseye.data.pool import room_for, shared_out
from catseye.data.reading import Portion, Wanted, is_lossy, read_portion
from catseye.data.sources import ImageSet
from catseye.data.sources.image_set import content_digest
from catseye.errors import DataError, ImageError
from catseye.machine.cores import num_cores
from catseye.machine.waiting import Waiting
from catseye.preprocess import Pixels, Preprocessing, open_image
from catseye.seeds import derive

SAMPLE = 500  # images decoded to determine size and colour


@dataclass(frozen=True)
class Sight:
    """What is known from the file system and a sample, before all images are read.

    Shape: of n images in the sample: digests (n, 16) uint8, glances (n, ...).
    """

    facts: FileStamps
    sample: NDArray[np.int64]
    median_px: float
    greyscale: bool
    unreadable: dict[int, str]
    digests: Pixels
    glances: Glances


@dataclass(frozen=True)
class Survey:
    """What is known after all files were surveyed.

    `groups` (N,): images of equal bytes share a number. `unreadable`: number -> reason. `near`: pairs of near
    duplicates, None if they were not searched for.
    """

    groups: Groups
    unreadable: dict[int, str]
    median_px: float
    greyscale: bool
    sha256: str
    near: Twins | None = None
    digests: list[bytes] | None = None  # of every image's content, if all were read

    @property
    def num_duplicates(self) -> int:
        """Images that repeat an earlier one."""
        return len(self.groups) - len(np.unique(self.groups))


@dataclass(frozen=True)
class _Glance:
    """What is known about an image of the sample; `side_px`: root of its area."""

    digest: bytes
    side_px: float
    grey: bool
    short_px: int
    lossless: bool
    thumb: Pixels | None


def first_sight(images: ImageSet, *, seed: int = 0, near: bool = False) -> Sight:
    """Look up every file and decode a sample, to choose the input of a network.

    Raises:
        DataError: no image of the sample can be read.

    """
    facts = file_facts(images)
    sample = _survey_sample(len(images), facts.unreadable, seed)
    key = key_of("sight", facts.stamp, seed, near, images.value_range, images.channels)
    if (kept := kept_entry(key)) is not None:
        return _restored_sight(facts, sample, kept)
    begun = time.monotonic()
    glances, digests = _no_glances(len(sample)), np.zeros((len(sample), 16), np.uint8)
    sides: list[float] = []
    greyscale, unreadable = True, {}
    with ThreadPoolExecutor(num_cores()) as pool:
        for row, seen in enumerate(pool.map(partial(_glance, images, near=near), sample.tolist())):
            if isinstance(seen, str):
                unreadable[int(sample[row])] = seen
                continue
            sides.append(seen.side_px)
            greyscale &= seen.grey
            digests[row] = np.frombuffer(seen.digest, np.uint8)
            glances.sides_px[row], glances.lossless[row] = seen.short_px, seen.lossless
            if seen.thumb is not None:
                glances.thumbs[row] = seen.thumb
    bad = facts.unreadable | unreadable
    if not sides:
        raise DataError(
            f"{images.source}: none of {count(len(images), 'image')} can be read; first reason: "
            f"{next(iter(bad.values()))}"
        )
    median_px, took_s = float(np.median(sides)), time.monotonic() - begun
    arrays: dict[str, NDArray[Any]] = {
        "digests": digests,
        "thumbs": glances.thumbs,
        "short_px": glances.sides_px,
        "lossless": glances.lossless,
    }
    if worth_keeping(took_s) and facts.stamp == stamp_files(images):
        keep_entry(key, took_s, arrays, {"median_px": median_px, "greyscale": greyscale, "unreadable": unreadable})
    return Sight(facts, sample, median_px, greyscale, bad, digests, glances)


def _restored_sight(facts: FileStamps, sample: NDArray[np.int64], kept: KeptEntry) -> Sight:
    arrays, kept_facts = kept.arrays, kept.facts
    bad = facts.unreadable | {int(index): reason for index, reason in kept_facts["unreadable"].items()}
    glances = Glances(arrays["thumbs"], arrays["short_px"], arrays["lossless"])
    return Sight(facts, sample, kept_facts["median_px"], kept_facts["greyscale"], bad, arrays["digests"], glances)


def survey(images: ImageSet, *, seed: int = 0, near: bool = False) -> Survey:
    """Survey all files: their sizes, the bytes of those of equal size, and a sample.

    With `near` all images are decoded, to search for near duplicates.

    Raises:
        DataError: no image of the sample can be read.

    """
    return read_all(images, first_sight(images, seed=seed, near=near), seed=seed, near=near)[0]


def read_all(
    images: ImageSet,
    sight: Sight,
    *,
    seed: int = 0,
    near: bool = False,
    spec: Preprocessing | None = None,
    share: int = 1,
) -> tuple[Survey, Decoded | None]:
    """The survey and, with `spec`, all images as such inputs; reads each file once.

    `share` processes do the same on this machine at the same time.
    """
    stamp = sight.facts.stamp
    key = key_of("survey", stamp, seed, near, images.mirror_safe, images.value_range, images.channels)
    wanted = np.setdiff1d(np.arange(len(images)), list(sight.unreadable)).astype(np.int64)
    decoded = kept_decoded(images, wanted, spec, stamp) if spec is not None else None
    kept = kept_entry(key)
    if kept is not None and (spec is None or decoded is not None):
        return _restored(images, sight, kept), decoded
    begun = time.monotonic()
    into = None
    if spec is not None and decoded is None:
        into = room_for(len(wanted), (spec.height_px, spec.width_px, spec.channels))
    files = _SurveyedFiles(images, sight, near)
    files.read(wanted, spec if into is not None else None, into, share)
    if into is not None and spec is not None:
        bad = {index: reason for index, reason in files.unreadable.items() if index not in sight.unreadable}
        decoded = Decoded.without(bad, into, wanted)
    took_s = time.monotonic() - begun
    surveyed = files.to_survey()
    if stamp and worth_keeping(time.monotonic() - begun) and stamp == stamp_files(images):
        if into is not None and spec is not None and decoded is not None:
            keep_decoded(images, wanted, spec, stamp, took_s, decoded)
        keep_entry(key, time.monotonic() - begun, *_described(surveyed))
    return surveyed, decoded


class _SurveyedFiles:
    """What is known about all images, a row each; the sample is filled in first."""

    def __init__(self, images: ImageSet, sight: Sight, near: bool) -> None:
        self.images, self.sight, self.near = images, sight, near
        self.unreadable = dict(sight.unreadable)
        self.digests = np.zeros((len(images), 16), np.uint8)
        self.digests[sight.sample] = sight.digests
        self.glances = _no_glances(len(images)) if near else None
        if self.glances is not None:
            self.glances.thumbs[sight.sample] = sight.glances.thumbs
            self.glances.sides_px[sight.sample] = sight.glances.sides_px
            self.glances.lossless[sight.sample] = sight.glances.lossless
        times = Counter(sight.facts.sizes)  # only files of equal size can be equal
        self.hashed = np.array([times[size] > 1 for size in sight.facts.sizes], bool)

    def read(self, wanted: NDArray[np.int64], spec: Preprocessing | None, into: Pixels | None, share: int) -> None:
        """Read all `wanted` images for pixels, else only those that need it."""
        known = np.zeros(len(self.images), bool)
        known[self.sight.sample] = True
        indices = wanted if spec is not None else wanted[(self.near | self.hashed[wanted]) & ~known[wanted]]
        parts = Wanted(True, self.near, spec, known)

        def work(rows: range) -> Portion:
            part = slice(rows.start, rows.stop)
            return read_portion(self.images, indices[part].tolist(), parts, into[part] if into is not None else None)

        with Waiting("reading images", len(indices)) as waiting:
            for rows, part in shared_out(work, len(indices), share=share):
                self._take(part, known)
                waiting.step(len(rows))

    def _take(self, part: Portion, known: NDArray[np.bool_]) -> None:
        self.unreadable.update(part.bad)
        at = np.array(part.indices, np.int64)
        # An image of the sample keeps its look: it was decoded at its full size.
        good = ~known[at] & ~np.isin(at, list(part.bad))
        at = at[good]
        self.digests[at] = part.digests[good]
        if self.glances is not None:
            self.glances.thumbs[at] = part.thumbs[good]
            self.glances.sides_px[at], self.glances.lossless[at] = part.short_px[good], part.lossless[good]

    def to_survey(self) -> Survey:
        """Find equal files and, if wanted, near duplicates."""
        images, glances = self.images, self.glances
        readable = np.ones(len(images), bool)
        readable[list(self.unreadable)] = False
        groups = np.arange(len(images), dtype=np.int64)
        first: dict[bytes, int] = {}
        digests = [each.tobytes() if good else b"" for each, good in zip(self.digests, readable, strict=True)]
        for index in np.flatnonzero(self.hashed & readable).tolist():
            groups[index] = first.setdefault(digests[index], index)
        twins = None
        if glances is not None:
            glances.sides_px[~readable] = 0
            twins = find_copies(images, glances, (groups == np.arange(len(images))) & (glances.sides_px > 0))
        sight, sha256 = self.sight, _fingerprint_of(images, self.sight.facts.sizes)
        return Survey(
            groups, self.unreadable, sight.median_px, sight.greyscale, sha256, twins, digests if self.near else None
        )


def _described(surveyed: Survey) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """The arrays and facts to keep of a survey.

    The fingerprint is left out: it depends on the labels.
    """
    arrays: dict[str, NDArray[Any]] = {"groups": surveyed.groups}
    if surveyed.digests is not None:
        joined = b"".join(each or bytes(16) for each in surveyed.digests)
        arrays["digests"] = np.frombuffer(joined, np.uint8).reshape(-1, 16)
    twins, facts = described_twins(surveyed.near) if surveyed.near is not None else ({}, {})
    return arrays | twins, {"unreadable": surveyed.unreadable, **facts}


def _restored(images: ImageSet, sight: Sight, kept: KeptEntry) -> Survey:
    arrays = kept.arrays
    unreadable = {int(index): reason for index, reason in kept.facts["unreadable"].items()}
    digests = None
    if "digests" in arrays:
        joined = arrays["digests"].tobytes()
        digests = [joined[start : start + 16] for start in range(0, len(joined), 16)]
        for index in unreadable:
            digests[index] = b""
    twins = restored_twins(kept) if "pairs" in arrays else None
    sha256 = _fingerprint_of(images, sight.facts.sizes)
    return Survey(arrays["groups"], unreadable, sight.median_px, sight.greyscale, sha256, twins, digests)


def _no_glances(num: int) -> Glances:
    thumbs = np.zeros((num, THUMB_PX, THUMB_PX, 3), np.uint8)
    return Glances(thumbs, np.zeros(num, np.int32), np.ones(num, bool))


def _glance(images: ImageSet, index: int, *, near: bool) -> _Glance | str:
    """Read and decode one file; or the reason why it cannot be used."""
    try:
        content = images.read(index)
    except ImageError as error:
        return str(error)
    try:
        image = open_image(content, value_range=images.value_range or "own")
        thumb = make_thumb(image) if near else None
    except ImageError as error:
        return f"{images.names[index]}: {error}"
    side_px, lossless = (image.width * image.height) ** 0.5, not is_lossy(content)
    return _Glance(content_digest(content), side_px, _is_grey(image), min(image.size), lossless, thumb)


def _is_grey(image: Image.Image) -> bool:
    if image.mode == "L":
        return True
    pixels = np.asarray(image)
    return bool((pixels == pixels[..., :1]).all())


def _survey_sample(num_images: int, unreadable: dict[int, str], seed: int) -> NDArray[np.int64]:
    readable = np.array([index for index in range(num_images) if index not in unreadable], np.int64)
    if len(readable) > SAMPLE:
        readable = np.sort(np.random.default_rng(derive(seed, "survey")).choice(readable, SAMPLE, replace=False))
    return readable


def _fingerprint_of(images: ImageSet, sizes: list[int]) -> str:
    """The hash of every image's name, class, split and size."""
    fingerprint = hashlib.sha256()
    for name, label, split, size in zip(images.names, images.labels, images.splits, sizes, strict=True):
        fingerprint.update(f"{name}\0{images.classes[label]}\0{split}\0{size}\n".encode("utf-8", "surrogateescape"))
    return fingerprint.hexdigest()


def fingerprint_images(images: ImageSet) -> str:
    """A hash of all names, classes, splits and sizes, independent of the folder."""
    return _fingerprint_of(images, file_facts(images).sizes)


def choose_input_px(median_px: float) -> int:
    """The side of the network's input for images of this size.

    32 for small ones; else the nearest multiple of 32, up to 224: more pixels are not worth their time on a CPU.

    >>> [choose_input_px(side) for side in (8, 32, 60, 100, 500)]
    [32, 32, 64, 96, 224]
    """
    return int(min(224, max(32, 32 * round(median_px / 32))))
