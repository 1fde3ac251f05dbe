"""A first look at the images before anything is decided: equal files, typical size, grey or colour.

Enters: `ImageSet`. Leaves: `Survey` and, later, the sentences about classes and splits. Called by `prepare.py`.
"""

from collections import defaultdict
from dataclasses import dataclass
from hashlib import blake2b, sha256

import numpy as np
from numpy.typing import NDArray

from catseye.data.sources import SPLIT_LABELS, TEST, TRAIN, VAL, ImageSet
from catseye.errors import DataError, ImageError
from catseye.preprocess import open_image
from catseye.seeds import derive

SAMPLE = 500  # images decoded to learn size and colour


@dataclass(frozen=True)
class Survey:
    """What a first look found.

    `groups` (N,): images of equal bytes share a number. `unreadable`: number -> reason.
    """

    groups: NDArray[np.int64]
    unreadable: dict[int, str]
    median_px: float
    greyscale: bool
    sha256: str

    @property
    def num_duplicates(self) -> int:
        """Images that repeat an earlier one."""
        return len(self.groups) - len(np.unique(self.groups))


def survey(images: ImageSet, *, seed: int = 0) -> Survey:
    """Look at every file's size, at the bytes of those that share a size, and into a sample of them."""
    sizes, unreadable = _sizes(images)
    median_px, greyscale = _look_into_sample(images, unreadable, seed)
    fingerprint = sha256()
    for name, label, split, size in zip(images.names, images.labels, images.splits, sizes, strict=True):
        fingerprint.update(f"{name}\0{images.classes[label]}\0{split}\0{size}\n".encode("utf-8", "surrogateescape"))
    return Survey(
        groups=_group_equal(images, sizes, unreadable),
        unreadable=unreadable,
        median_px=median_px,
        greyscale=greyscale,
        sha256=fingerprint.hexdigest(),
    )


def _sizes(images: ImageSet) -> tuple[list[int], dict[int, str]]:
    sizes, unreadable = [], {}
    for index in range(len(images)):
        try:
            size = images.read.size_bytes(index)
            if size == 0:
                unreadable[index] = f"{images.names[index]} is empty (0 bytes)"
        except ImageError as error:
            size, unreadable[index] = -1, str(error)
        sizes.append(size)
    return sizes, unreadable


def _group_equal(images: ImageSet, sizes: list[int], unreadable: dict[int, str]) -> NDArray[np.int64]:
    """Only files of equal size can be equal, so only those are read and hashed."""
    groups = np.arange(len(images), dtype=np.int64)
    by_size: dict[int, list[int]] = defaultdict(list)
    for index, size in enumerate(sizes):
        if index not in unreadable:
            by_size[size].append(index)
    for candidates in by_size.values():
        if len(candidates) == 1:
            continue
        first: dict[bytes, int] = {}
        for index in candidates:
            try:
                content = images.read(index)
            except ImageError as error:
                unreadable[index] = str(error)
                continue
            digest = blake2b(content if isinstance(content, bytes) else content.tobytes(), digest_size=16).digest()
            groups[index] = first.setdefault(digest, index)
    return groups


def _look_into_sample(images: ImageSet, unreadable: dict[int, str], seed: int) -> tuple[float, bool]:
    readable = np.array([index for index in range(len(images)) if index not in unreadable])
    if len(readable) > SAMPLE:
        readable = np.random.default_rng(derive(seed, "survey")).choice(readable, SAMPLE, replace=False)
    sides: list[float] = []
    greyscale = True
    for index in readable.tolist():
        try:
            image = open_image(images.read(index))
        except ImageError as error:
            unreadable[index] = f"{images.names[index]}: {error}"
            continue
        sides.append((image.width * image.height) ** 0.5)
        if greyscale and image.mode != "L":
            pixels = np.asarray(image)
            greyscale = bool((pixels == pixels[..., :1]).all())
    if not sides:
        raise DataError(
            f"{images.source}: none of {len(images)} images can be read; first reason: "
            f"{next(iter(unreadable.values()))}"
        )
    return float(np.median(sides)), greyscale


def choose_input_px(median_px: float) -> int:
    """The side of the network's input for images of this size.

    32 for small ones; else the nearest multiple of 32 up to 224, where more pixels stop paying on a CPU.

    >>> [choose_input_px(side) for side in (8, 32, 60, 100, 500)]
    [32, 32, 64, 96, 224]
    """
    return int(min(224, max(32, 32 * round(median_px / 32))))


def check_split(images: ImageSet, splits: NDArray[np.int8], survey: Survey) -> list[str]:
    """The sentences about classes, duplicates and sides that a user should read before training.

    Raises:
        DataError: there is one class only, or a class that has no training image.

    """
    if len(images.classes) < 2:
        raise DataError(f"{images.source} has one class only ({images.classes[0]!r}); a classifier needs two or more")
    counts = np.stack([np.bincount(images.labels[splits == s], minlength=len(images.classes)) for s in range(3)])
    without = np.flatnonzero(counts[TRAIN] == 0)
    if len(without):
        raise DataError(f"class {images.classes[without[0]]!r} has no readable training image; add some or remove it")
    notes = _case_collisions(images)
    for side in (VAL, TEST):
        missing = [images.classes[index] for index in np.flatnonzero(counts[side] == 0)]
        if missing and counts[side].sum():
            notes.append(f"no {SPLIT_LABELS[side]} image of class {', '.join(missing)}: its score there says nothing")
    if survey.num_duplicates:
        notes.append(f"{survey.num_duplicates} images repeat another one byte for byte; they stay on one side")
    leaked = _leaked(survey.groups, splits)
    if leaked:
        notes[-1] = f"{survey.num_duplicates} images repeat another one byte for byte"
        notes.append(f"{leaked} held-out images are also training images: the given split leaks, its score is too good")
    return notes


def _case_collisions(images: ImageSet) -> list[str]:
    """Names that are two here and one where a file system does not tell upper from lower case."""
    notes = []
    first: dict[str, str] = {}
    for name in images.classes:
        other = first.setdefault(name.casefold(), name)
        if other != name:
            notes.append(
                f"classes {other!r} and {name!r} differ by case only: two classes here, one folder on Windows and macOS"
            )
    if notes:  # then the files in them collide too
        return notes
    seen: dict[str, str] = {}
    twins = [name for name in sorted(images.names) if seen.setdefault(name.casefold(), name) != name]
    if twins:
        notes.append(f"{len(twins)} names differ from another one by case only, e.g. {twins[0]}; elsewhere one is lost")
    return notes


def _leaked(groups: NDArray[np.int64], splits: NDArray[np.int8]) -> int:
    return int(np.isin(groups[splits != TRAIN], groups[splits == TRAIN]).sum())
