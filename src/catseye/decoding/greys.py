"""Greyscale of 16 bits, 32 bits and floating point to 8 bits.

Enters: an image of such a mode and the range of its data set: the values that become black and white. Leaves: mode L.
Microscopes, x-ray and thermal cameras put 8 to 14 bits into 16; read as 16 they are almost black. The range is learnt
from the training images (`data/value_range.py`) and stored in the model's `Preprocessing`. Called by preprocess.py.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from catseye.errors import UnsupportedPixels

Range = tuple[float, float]
STRIP_PIXELS = 200_000  # converted at a time, so that intermediate copies stay small


def is_deep(mode: str) -> bool:
    """Whether the values of this mode need more than 8 bits."""
    return mode in ("I", "F") or mode.startswith("I;16")


def strips(size: tuple[int, int]) -> Iterator[tuple[int, int, int, int]]:
    """Boxes of about `STRIP_PIXELS` each that cover an image from top to bottom."""
    rows = max(1, STRIP_PIXELS // max(1, size[0]))
    for top in range(0, size[1], rows):
        yield 0, top, size[0], min(size[1], top + rows)


def to_grey(image: Image.Image, value_range: Range | None) -> Image.Image:
    """Convert to mode L; without a range 0 is black and 65,535 white.

    Raises:
        UnsupportedPixels: floating-point pixels without a range.

    """
    if image.mode == "F" and value_range is None:
        raise UnsupportedPixels(
            "has floating-point pixels: they have no range of their own, and the model has learnt none; "
            "train with data.black and data.white, or save the image with 8 or 16 bits"
        )
    table = None
    if image.mode.startswith("I;16"):
        table = scale_values(np.arange(65_536), value_range)
    grey = Image.new("L", image.size)
    for box in strips(image.size):
        values = np.asarray(image.crop(box))
        grey.paste(Image.fromarray(table[values] if table is not None else scale_values(values, value_range)), box)
    return grey


def scale_values(values: NDArray[np.generic], value_range: Range | None) -> NDArray[np.uint8]:
    """Scale to 8 bits; without a range 0 is black, 65,535 white. NaN becomes black."""
    if value_range is None:
        return (values.astype(np.int64).clip(0, 65_535) >> 8).astype(np.uint8)
    low, high = value_range
    scaled = (values.astype(np.float64) - low) * (255 / (high - low))
    return np.nan_to_num(scaled, nan=0, posinf=255, neginf=0).clip(0, 255).round().astype(np.uint8)


def range_of(image: Image.Image) -> Range | None:
    """The range that holds almost all pixels of a deep image; None if none is finite.

    One pixel in a thousand may lie outside at either end: sensors have dead and hot pixels.
    """
    return own_range(np.asarray(image))


def own_range(values: NDArray[Any]) -> Range | None:
    """The same for an array."""
    values = values.ravel()
    if values.size > STRIP_PIXELS:
        values = values[:: values.size // STRIP_PIXELS]
    values = values[np.isfinite(values)]
    if not values.size:
        return None
    low, high = np.quantile(values, (0.001, 0.999), method="inverted_cdf")
    return float(low), float(high)
