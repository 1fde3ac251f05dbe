"""A class-activation map as a PNG to lay over its image.

Enters: the map of the model's input and the size of the image. Leaves: PNG bytes, transparent where the map is zero and
outside the model's input. Called by `schemas.py`.
"""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from catseye.preprocess import Preprocessing

LONGEST_PX = 448
# Dark blue, violet, orange, light yellow: brighter is always more, also for colour-blind people and in print.
_STOPS = np.array([[13, 8, 135], [126, 3, 168], [204, 71, 120], [248, 149, 64], [240, 249, 33]], np.float64)
_TABLE = np.stack([np.interp(np.linspace(0, 4, 256), np.arange(5), _STOPS[:, c]) for c in range(3)], 1).astype(np.uint8)


def heat_map_png(cam: NDArray[Any], size_px: tuple[int, int], spec: Preprocessing) -> bytes:
    """The map over the whole image.

    Shape: cam (h, w), any range; `size_px` is (width, height) of the upright image.
    """
    scale = min(1.0, LONGEST_PX / max(size_px))
    width, height = (max(1, round(side * scale)) for side in size_px)
    values = np.maximum(np.asarray(cam, np.float32), 0)
    values /= max(float(values.max()), 1e-12)
    left, top, right, bottom = seen_box(size_px, spec)
    grey = Image.fromarray(values)
    box = (
        max(left, 0) * cam.shape[1],
        max(top, 0) * cam.shape[0],
        min(right, 1) * cam.shape[1],
        min(bottom, 1) * cam.shape[0],
    )
    # Where the input shows only a part of the image, the map is pasted into that part.
    x0, y0, x1, y1 = part_of_image(size_px, spec)
    target = (max(1, round((x1 - x0) * width)), max(1, round((y1 - y0) * height)))
    heat = np.asarray(grey.resize(target, Image.Resampling.BICUBIC, box=box)).clip(0, 1)
    pixels = np.zeros((height, width, 4), np.uint8)
    y, x = min(round(y0 * height), height - target[1]), min(round(x0 * width), width - target[0])
    region = pixels[y : y + target[1], x : x + target[0]]
    region[..., :3] = _TABLE[(heat * 255).astype(np.uint8)]
    region[..., 3] = (heat**0.75 * 235).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", compress_level=3)
    return stream.getvalue()


def seen_box(size_px: tuple[int, int], spec: Preprocessing) -> tuple[float, float, float, float]:
    """Where the image lies in the model's input: left, top, right, bottom.

    The values are shares of the input's width and height.
    """
    if spec.resize != "pad" or size_px == (spec.width_px, spec.height_px):
        return (0.0, 0.0, 1.0, 1.0)
    scale = min(spec.width_px / size_px[0], spec.height_px / size_px[1])
    x, y = size_px[0] * scale / spec.width_px, size_px[1] * scale / spec.height_px
    return ((1 - x) / 2, (1 - y) / 2, (1 + x) / 2, (1 + y) / 2)


def part_of_image(size_px: tuple[int, int], spec: Preprocessing) -> tuple[float, float, float, float]:
    """The part of the image that the model's input shows: left, top, right, bottom.

    The values are shares of the image's width and height.
    """
    if spec.resize != "crop":
        return (0.0, 0.0, 1.0, 1.0)
    ratio = (size_px[0] / size_px[1]) / (spec.width_px / spec.height_px)
    x, y = min(1.0, 1 / ratio), min(1.0, ratio)
    return ((1 - x) / 2, (1 - y) / 2, (1 + x) / 2, (1 + y) / 2)
