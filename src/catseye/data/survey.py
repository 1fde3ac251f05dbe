"""A first look at the images before anything is decided: equal files, typical size, grey or colour.

Enters: `ImageSet`. Leaves: `Survey`. Called by `prepare.py`. A file is read at most once: only those that share their
size with another one (they may be equal) and a sample (for size and colour) are read at all.
"""

from collections import Counter
from dataclasses import dataclass
from hashlib import blake2b, sha256

import numpy as np

from catseye.data.groups import Groups
from catseye.data.sources import ImageSet
from catseye.errors import DataError, ImageError
from catseye.preprocess import Pixels, open_image
from catseye.seeds import derive

SAMPLE = 500  # images decoded to learn size and colour


@dataclass(frozen=True)
class Survey:
    """What a first look found.

    `groups` (N,): images of equal bytes share a number. `unreadable`: number -> reason.
    """

    groups: Groups
    unreadable: dict[int, str]
    median_px: float
    greyscale: bool
    sha256: str

    @property
    def num_duplicates(self) -> int:
        """Images that repeat an earlier one."""
        return len(self.groups) - len(np.unique(self.groups))


def survey(images: ImageSet, *, seed: int = 0) -> Survey:
    """Look at every file's size, at the bytes of those that share a size, and into a sample of them.

    Raises:
        DataError: no image of the sample can be read.

    """
    sizes, unreadable = _sizes(images)
    sample = _survey_sample(len(images), unreadable, seed)
    times = Counter(sizes)  # only files of equal size can be equal
    groups = np.arange(len(images), dtype=np.int64)
    first: dict[bytes, int] = {}
    sides: list[float] = []
    greyscale = True
    for index, size in enumerate(sizes):
        if index in unreadable or (times[size] == 1 and index not in sample):
            continue
        try:
            content = images.read(index)
        except ImageError as error:
            unreadable[index] = str(error)
            continue
        if times[size] > 1:
            groups[index] = first.setdefault(_content_digest(content), index)
        if index in sample:
            try:
                side_px, grey = _look_into(content, look_for_colour=greyscale)
            except ImageError as error:
                unreadable[index] = f"{images.names[index]}: {error}"
                continue
            sides.append(side_px)
            greyscale &= grey
    if not sides:
        raise DataError(
            f"{images.source}: none of {len(images):,} images can be read; first reason: "
            f"{next(iter(unreadable.values()))}"
        )
    return Survey(groups, unreadable, float(np.median(sides)), greyscale, _fingerprint_images(images, sizes))


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


def _survey_sample(num_images: int, unreadable: dict[int, str], seed: int) -> frozenset[int]:
    readable = np.array([index for index in range(num_images) if index not in unreadable], np.int64)
    if len(readable) > SAMPLE:
        readable = np.random.default_rng(derive(seed, "survey")).choice(readable, SAMPLE, replace=False)
    return frozenset(readable.tolist())


def _content_digest(content: bytes | Pixels) -> bytes:
    return blake2b(content if isinstance(content, bytes) else content.tobytes(), digest_size=16).digest()


def _look_into(content: bytes | Pixels, *, look_for_colour: bool) -> tuple[float, bool]:
    """The geometric mean of the sides, and whether it is grey as far as was looked."""
    image = open_image(content)
    grey = True
    if look_for_colour and image.mode != "L":
        pixels = np.asarray(image)
        grey = bool((pixels == pixels[..., :1]).all())
    return (image.width * image.height) ** 0.5, grey


def _fingerprint_images(images: ImageSet, sizes: list[int]) -> str:
    """Over name, class, split and size of every image."""
    fingerprint = sha256()
    for name, label, split, size in zip(images.names, images.labels, images.splits, sizes, strict=True):
        fingerprint.update(f"{name}\0{images.classes[label]}\0{split}\0{size}\n".encode("utf-8", "surrogateescape"))
    return fingerprint.hexdigest()


def choose_input_px(median_px: float) -> int:
    """The side of the network's input for images of this size.

    32 for small ones; else the nearest multiple of 32 up to 224, where more pixels stop paying on a CPU.

    >>> [choose_input_px(side) for side in (8, 32, 60, 100, 500)]
    [32, 32, 64, 96, 224]
    """
    return int(min(224, max(32, 32 * round(median_px / 32))))
