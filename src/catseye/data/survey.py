"""A first look at the images before anything is decided: equal files, typical size, grey or colour.

Enters: `ImageSet`. Leaves: `Survey`. Called by `prepare.py`. A file is read at most once: only those that share their
size with another one (they may be equal) and a sample (for size and colour) are read at all, unless
near duplicates are looked for.
"""

import hashlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from PIL import Image

from catseye.counting import count
from catseye.data.check.copies import Glances, find_copies, fine_spec
from catseye.data.check.duplicates import THUMB_PX, Twins
from catseye.data.check.looks import make_thumb
from catseye.data.groups import Groups
from catseye.data.sources import ImageSet
from catseye.data.sources.image_set import content_digest as content_digest
from catseye.errors import DataError, ImageError
from catseye.machine.cores import num_cores
from catseye.preprocess import Pixels, open_image, preprocess_sized
from catseye.seeds import derive

SAMPLE = 500  # images decoded to learn size and colour
_PORTION = 4096
_LOSSY_HEADS = (b"\xff\xd8\xff", b"RIFF")  # JPEG, WebP


@dataclass(frozen=True)
class Survey:
    """What a first look found.

    `groups` (N,): images of equal bytes share a number. `unreadable`: number -> reason. `near`: pairs of near
    duplicates, None where they were not looked for.
    """

    groups: Groups
    unreadable: dict[int, str]
    median_px: float
    greyscale: bool
    sha256: str
    near: Twins | None = None
    digests: list[bytes] | None = None  # of every image's content, where all were read

    @property
    def num_duplicates(self) -> int:
        """Images that repeat an earlier one."""
        return len(self.groups) - len(np.unique(self.groups))


@dataclass(frozen=True)
class _Glance:
    """What one reading of a file told. `digest`, sizes and `thumb` are empty where they were not asked for."""

    digest: bytes = b""
    side_px: float = 0.0  # geometric mean of the sides
    grey: bool = True
    short_px: int = 0
    lossless: bool = True
    thumb: Pixels | None = None


def survey(images: ImageSet, *, seed: int = 0, near: bool = False) -> Survey:
    """Look at every file's size, at the bytes of those that share a size, and into a sample of them.

    With `near`, into all of them: near duplicates are looked for too.

    Raises:
        DataError: no image of the sample can be read.

    """
    sizes, unreadable = _sizes(images)
    sample = _survey_sample(len(images), unreadable, seed)
    times = Counter(sizes)  # only files of equal size can be equal
    hashed = {index for index, size in enumerate(sizes) if times[size] > 1}
    wanted = [i for i in range(len(images)) if i not in unreadable and (near or i in hashed or i in sample)]
    groups = np.arange(len(images), dtype=np.int64)
    first: dict[bytes, int] = {}
    sides: list[float] = []
    greyscale = True
    glances = _no_glances(len(images)) if near else None
    digests = [b""] * len(images)

    def look(index: int) -> _Glance | str:
        return _glance(images, index, hashed=near or index in hashed, sampled=index in sample, near=near)

    with ThreadPoolExecutor(num_cores()) as pool:
        for start in range(0, len(wanted), _PORTION):  # in portions, so that the queue of results stays short
            portion = wanted[start : start + _PORTION]
            for index, found in zip(portion, pool.map(look, portion), strict=True):
                if isinstance(found, str):
                    unreadable[index] = found
                    continue
                digests[index] = found.digest
                if index in hashed:
                    groups[index] = first.setdefault(found.digest, index)
                if index in sample:
                    sides.append(found.side_px)
                    greyscale &= found.grey
                if glances is not None and found.thumb is not None:
                    glances.thumbs[index] = found.thumb
                    glances.sides_px[index], glances.lossless[index] = found.short_px, found.lossless
    if not sides:
        raise DataError(
            f"{images.source}: none of {count(len(images), 'image')} can be read; first reason: "
            f"{next(iter(unreadable.values()))}"
        )
    twins = None
    if glances is not None:
        twins = find_copies(images, glances, (groups == np.arange(len(images))) & (glances.sides_px > 0))
    sha256 = _fingerprint_of(images, sizes)
    return Survey(groups, unreadable, float(np.median(sides)), greyscale, sha256, twins, digests if near else None)


def _no_glances(num: int) -> Glances:
    thumbs = np.zeros((num, THUMB_PX, THUMB_PX, 3), np.uint8)
    return Glances(thumbs, np.zeros(num, np.int32), np.ones(num, bool))


def _glance(images: ImageSet, index: int, *, hashed: bool, sampled: bool, near: bool) -> _Glance | str:
    """One reading of one file, or the reason why it cannot be used."""
    try:
        content = images.read(index)
    except ImageError as error:
        return str(error)
    digest = content_digest(content) if hashed else b""
    if not (sampled or near):
        return _Glance(digest)
    lossless = not (isinstance(content, bytes) and content.startswith(_LOSSY_HEADS))
    try:
        if not sampled:  # a JPEG is decoded at a part of its size, which is enough to be compared
            pixels, (width, height) = preprocess_sized(content, fine_spec(images))
            small = pixels.reshape(THUMB_PX, 4, THUMB_PX, 4, 3).mean((1, 3)).round().astype(np.uint8)
            return _Glance(digest, short_px=min(width, height), lossless=lossless, thumb=small)
        image = open_image(content, value_range=images.value_range or "own")
        thumb = make_thumb(image) if near else None
    except ImageError as error:
        return f"{images.names[index]}: {error}"
    side_px = (image.width * image.height) ** 0.5
    return _Glance(digest, side_px, _is_grey(image), min(image.size), lossless, thumb)


def _is_grey(image: Image.Image) -> bool:
    if image.mode == "L":
        return True
    pixels = np.asarray(image)
    return bool((pixels == pixels[..., :1]).all())


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


def _fingerprint_of(images: ImageSet, sizes: list[int]) -> str:
    """Over name, class, split and size of every image."""
    fingerprint = hashlib.sha256()
    for name, label, split, size in zip(images.names, images.labels, images.splits, sizes, strict=True):
        fingerprint.update(f"{name}\0{images.classes[label]}\0{split}\0{size}\n".encode("utf-8", "surrogateescape"))
    return fingerprint.hexdigest()


def fingerprint_images(images: ImageSet) -> str:
    """What tells whether listed images are the same as before, wherever they lie: names, classes, splits, sizes."""
    return _fingerprint_of(images, _sizes(images)[0])


def choose_input_px(median_px: float) -> int:
    """The side of the network's input for images of this size.

    32 for small ones; else the nearest multiple of 32 up to 224, where more pixels stop paying on a CPU.

    >>> [choose_input_px(side) for side in (8, 32, 60, 100, 500)]
    [32, 32, 64, 96, 224]
    """
    return int(min(224, max(32, 32 * round(median_px / 32))))
