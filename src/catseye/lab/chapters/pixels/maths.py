"""Chapter 1: an image is a table of numbers.

Enters: pixels (H, W, C) uint8. Leaves: channels, windows of values, and what two first layers would cost.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from catseye.errors import UsageError
from catseye.preprocess import Pixels

EXAMPLE = np.array([[10, 20, 30, 40], [50, 120, 180, 60], [70, 200, 220, 80], [90, 100, 110, 130]], np.uint8)
"""A grey image of 4 x 4 px, small enough to be read."""


@dataclass(frozen=True)
class Cost:
    """The cost of a first layer: its weights and biases, and its output size."""

    num_weights: int
    num_biases: int
    num_outputs: int

    @property
    def num_parameters(self) -> int:
        """Weights and biases."""
        return self.num_weights + self.num_biases


def to_channels_first(pixels: Pixels) -> Pixels:
    """Shape: (H, W, C) -> (C, H, W), as networks expect it.

    >>> to_channels_first(np.zeros((2, 3, 1), np.uint8)).shape
    (1, 2, 3)
    """
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def window(pixels: Pixels, top: int, left: int, side: int) -> tuple[Pixels, int, int]:
    """A square of the image, moved inside if it would overlap the edge.

    Returns the square and its corner.

    Shape: (H, W, C) -> (min(side, H), min(side, W), C).
    """
    height, width = pixels.shape[:2]
    top = max(0, min(top, height - side))
    left = max(0, min(left, width - side))
    return pixels[top : top + side, left : left + side], top, left


def dense_cost(shape: tuple[int, int, int], num_units: int) -> Cost:
    """A dense layer on the flattened image: every unit has a weight for every value.

    >>> dense_cost((3, 224, 224), 1000).num_weights
    150528000

    """
    channels, height, width = _checked(shape)
    return Cost(channels * height * width * num_units, num_units, num_units)


def convolution_cost(shape: tuple[int, int, int], num_filters: int, kernel: int) -> Cost:
    """The cost of a convolution with "same" padding.

    Every filter uses the same few weights at every position.

    >>> convolution_cost((3, 224, 224), 64, 3).num_parameters
    1792

    """
    channels, height, width = _checked(shape)
    return Cost(channels * kernel * kernel * num_filters, num_filters, num_filters * height * width)


def shift(pixels: Pixels, right: int, down: int) -> Pixels:
    """The image shifted cyclically: pixels that leave one side enter at the other.

    Shape: (H, W, C) -> the same.
    """
    return np.roll(pixels, (down, right), (0, 1))


def share_changed(before: Pixels, after: Pixels) -> float:
    """The share of values that differ.

    A dense layer knows values by their position, so it has to learn this share again.

    >>> share_changed(EXAMPLE, EXAMPLE)
    0.0
    """
    return float(np.mean(before != after))


def _checked(shape: tuple[int, int, int]) -> tuple[int, int, int]:
    if min(shape) < 1:
        raise UsageError(f"an image has channels, rows and columns; got {shape}")
    return shape


def luma_of_pixels(pixels: Pixels) -> NDArray[np.float64]:
    """The grey of an image: 0.299 R + 0.587 G + 0.114 B, on the scale 0 to 255.

    Shape: (H, W, C) -> (H, W).
    Source: ITU-R BT.601-7, section 2.5.1.
    """
    values = pixels.astype(np.float64)
    grey: NDArray[np.float64] = values[..., 0] if pixels.shape[2] == 1 else values @ np.array([0.299, 0.587, 0.114])
    return grey
