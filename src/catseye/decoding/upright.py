"""Turning an image upright by its EXIF tag, and reading a file.

Enters: an image of Pillow, or a path. Leaves: the image upright, or bytes. Called by preprocess.py, planes.py and data.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from catseye.decoding.failures import BROKEN
from catseye.errors import ImageError

ORIENTATION = 0x0112  # the EXIF tag
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Silence Pillow's warnings about size and odd EXIF: our limits come first."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def turned(image: Image.Image, orientation: int) -> Image.Image:
    """The image upright, by its EXIF orientation.

    Pillow's own exif_transpose also rewrites all other tags and fails on odd ones.
    """
    turn = _TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)


def orientation_of(image: Image.Image) -> int:
    """The value of the EXIF tag; 1 (upright) if it is missing or invalid."""
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except BROKEN:
        return 1


def read_file(path: Path) -> bytes:
    """The bytes of a file.

    Raises:
        ImageError: it does not exist or cannot be read.

    """
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise ImageError(f"{path} cannot be read ({getattr(error, 'strerror', error)})") from None
