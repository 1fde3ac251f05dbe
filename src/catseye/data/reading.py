"""Reads each file once for all that is wanted: digest, look, pixels as an input.

Enters: `ImageSet` and a portion of numbers. Leaves: `Portion`, one row per image, small enough to be sent between
processes; the pixels are written directly to a shared array. Called by survey.py and decode.py.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from catseye.data.check.copies import fine_spec
from catseye.data.check.duplicates import THUMB_PX
from catseye.data.check.second_look import FINE_PX
from catseye.data.sources import ImageSet
from catseye.data.sources.image_set import content_digest
from catseye.decoding.channels import as_colours
from catseye.errors import ImageError
from catseye.preprocess import Pixels, Preprocessing, preprocess, preprocess_sized, preprocess_twice

_LOSSY_HEADS = (b"\xff\xd8\xff", b"RIFF")  # JPEG, WebP
_PER_THUMB_PX = FINE_PX // THUMB_PX


@dataclass(frozen=True)
class Wanted:
    """What to read of every image.

    `digest`: that of its content; `thumb`: a small copy to compare; `spec`: its pixels as such an input; `seen` (N,):
    the images whose look is known already.
    """

    digest: bool = False
    thumb: bool = False
    spec: Preprocessing | None = None
    seen: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Portion:
    """What was read, in the order of `indices`; `bad`: number -> reason, zero row.

    Shape: digests (n, 16) uint8, thumbs (n, 16, 16, 3) uint8 (no rows if not wanted), short_px (n,), lossless (n,).
    """

    indices: list[int]
    digests: Pixels
    thumbs: Pixels
    short_px: NDArray[np.int32]
    lossless: NDArray[np.bool_]
    bad: dict[int, str]


def read_portion(images: ImageSet, indices: list[int], wanted: Wanted, into: Pixels | None = None) -> Portion:
    """Read each image once; unusable images are reported in `bad`.

    Shape: into (n, H, W, C), the destination of the pixels.
    """
    num = len(indices)
    digests, short_px, lossless = np.zeros((num, 16), np.uint8), np.zeros(num, np.int32), np.ones(num, bool)
    fine = np.zeros((num if wanted.thumb else 0, FINE_PX, FINE_PX, 3), np.uint8)
    bad: dict[int, str] = {}
    look = fine_spec(images)
    for row, index in enumerate(indices):
        try:
            content = images.read(index)
        except ImageError as error:
            bad[index] = str(error)
            continue
        try:
            if wanted.thumb and (wanted.seen is None or not wanted.seen[index]):
                lossless[row] = not is_lossy(content)
                fine[row], short_px[row], pixels = _look_and_decode(content, look, wanted.spec)
            else:
                pixels = preprocess(content, wanted.spec) if wanted.spec is not None else None
            if into is not None and pixels is not None:
                into[row] = pixels
        except ImageError as error:
            bad[index] = f"{images.names[index]}: {error}"
            continue
        if wanted.digest:
            digests[row] = np.frombuffer(content_digest(content), np.uint8)
    return Portion(indices, digests, thumbs_of(fine), short_px, lossless, bad)


def _look_and_decode(
    content: bytes | Pixels, look: Preprocessing, spec: Preprocessing | None
) -> tuple[Pixels, int, Pixels | None]:
    """The image at 64 px, its shorter side and, with `spec`, its pixels as an input.

    For the 64 px a JPEG is decoded at a fraction of its size.
    """
    if spec is None:
        fine, size = preprocess_sized(content, look)
        return as_colours(fine), min(size), None
    pixels, fine, size = preprocess_twice(content, spec, look)
    return as_colours(fine), min(size), pixels


def thumbs_of(fine: Pixels) -> Pixels:
    """The means of 4 x 4 pixels, rounded half to even; integers are faster here.

    Shape: (N, 64, 64, 3) uint8 -> (N, 16, 16, 3) uint8.

    >>> int(thumbs_of(np.full((1, 64, 64, 3), 7, np.uint8))[0, 0, 0, 0])
    7
    """
    rows = sum((fine[:, start::_PER_THUMB_PX].astype(np.uint16) for start in range(1, _PER_THUMB_PX)),
               fine[:, ::_PER_THUMB_PX].astype(np.uint16))  # fmt: skip
    total = sum((rows[:, :, start::_PER_THUMB_PX] for start in range(1, _PER_THUMB_PX)), rows[:, :, ::_PER_THUMB_PX])
    num = _PER_THUMB_PX**2
    mean = (total + num // 2) // num
    mean -= (total % num == num // 2) & (mean % 2 == 1)
    return np.asarray(mean, np.uint8)


def is_lossy(content: bytes | Pixels) -> bool:
    """Whether its format loses detail."""
    return isinstance(content, bytes) and content.startswith(_LOSSY_HEADS)
