"""Chapter 3: pooling, which keeps one number of a window.

Enters: a map (H, W). Leaves: a smaller one, and which value each maximum came from. The tests compare it with torch.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from catseye.errors import UsageError

Map = NDArray[np.float64]
EXAMPLE: Map = np.array([[12, 20, 30, 0], [0, 8, 2, 14], [15, 2, 3, 16], [1, 6, 7, 8]], np.float64)
"""Four by four numbers; the largest of each quarter are 20 30 / 15 16."""


@dataclass(frozen=True)
class Pooled:
    """A pooled map, and where each maximum was in the map before pooling.

    The positions are (h, w, 2): row and column. Of equal values the first is taken.
    """

    values: Map
    places: NDArray[np.int64]


def windows(values: Map, window: int, stride: int) -> Map:
    """Every position of the window.

    Shape: (H, W) -> (h, w, window, window) with h = (H - window) // stride + 1.

    Raises:
        UsageError: the window does not fit.

    """
    if not (1 <= window <= min(values.shape) and stride >= 1):
        height, width = values.shape
        raise UsageError(
            f"a window of 1 to {min(height, width)} values and a stride from 1 fit a map of {height} x {width}; "
            f"got {window} and {stride}"
        )
    return np.lib.stride_tricks.sliding_window_view(values, (window, window))[::stride, ::stride]


def max_pool(values: Map, window: int = 2, stride: int = 2) -> Pooled:
    """The largest value of each window.

    Shape: (H, W) -> (h, w).

    >>> max_pool(EXAMPLE).values.tolist()
    [[20.0, 30.0], [15.0, 16.0]]
    """
    parts = windows(values, window, stride)
    flat = parts.reshape(*parts.shape[:2], -1)
    inside = flat.argmax(2)
    rows = np.arange(parts.shape[0])[:, None] * stride + inside // window
    columns = np.arange(parts.shape[1])[None, :] * stride + inside % window
    return Pooled(flat.max(2), np.stack([rows, columns], 2))


def average_pool(values: Map, window: int = 2, stride: int = 2) -> Map:
    """The mean of each window.

    Shape: (H, W) -> (h, w).

    >>> average_pool(EXAMPLE).tolist()
    [[10.0, 11.5], [6.0, 8.5]]
    """
    means: Map = windows(values, window, stride).mean((2, 3))
    return means


def global_average_pool(values: Map) -> float:
    """The mean of the whole map: one number a channel, whatever the image's size.

    >>> global_average_pool(EXAMPLE)
    9.0
    """
    return float(values.mean())
