"""Chapter 2: convolution, one window at a time.

Enters: maps (H, W) or (C, H, W) and a kernel (k, k). Leaves: the output-size formula, one position with its products,
and the whole map. What networks call convolution is a cross-correlation: the kernel is not flipped. The tests
compare it with SciPy's `correlate2d` and torch's `conv2d`.
"""

from dataclasses import dataclass
from math import floor

import numpy as np
from numpy.typing import NDArray

from catseye.errors import UnknownName, UsageError

Map = NDArray[np.float64]
SIDES = (3, 5, 7)
EXAMPLE: Map = np.array(
    [[1, 2, 3, 0, 1], [0, 1, 2, 3, 1], [1, 0, 1, 2, 0], [2, 1, 0, 1, 3], [0, 1, 2, 1, 0]], np.float64
)
"""Five by five small numbers. With the vertical-edge kernel, position (0, 0) gives 4."""


@dataclass(frozen=True)
class Stepping:
    """How the window moves over a map: stride, padding and dilation.

    It moves by `stride` values, over a map with `padding` zeros on every side. Its weights lie `dilation` values apart.
    """

    stride: int = 1
    padding: int = 0
    dilation: int = 1

    def __post_init__(self) -> None:
        if self.stride < 1 or self.dilation < 1 or self.padding < 0:
            raise UsageError(
                f"stride and dilation are 1 or more and padding is 0 or more; got {self.stride}, {self.dilation} "
                f"and {self.padding}"
            )

    def reach(self, kernel: int) -> int:
        """How many values the window spans: dilation (kernel - 1) + 1."""
        return self.dilation * (kernel - 1) + 1


@dataclass(frozen=True)
class WindowPosition:
    """One position of the window: the values under it, the products, and their sum.

    Shape: values and products (k, k).
    """

    row: int
    column: int
    values: Map
    products: Map

    @property
    def total(self) -> float:
        """The output value at (row, column)."""
        return float(self.products.sum())


def window_count(size: int, kernel: int, step: Stepping) -> int:
    """The number of positions of a window along one side of a map.

    floor((size + 2 padding - dilation (kernel - 1) - 1) / stride) + 1; for dilation 1 that is
    floor((size - kernel + 2 padding) / stride) + 1.

    Source: Dumoulin and Visin 2016, arXiv 1603.07285, relationship 15.

    Raises:
        UsageError: the window does not fit into the map.

    >>> [window_count(32, 3, one) for one in (Stepping(), Stepping(padding=1), Stepping(stride=2, padding=1))]
    [30, 32, 16]

    """
    room = size + 2 * step.padding - step.reach(kernel)
    if room < 0:
        raise UsageError(
            f"the window spans {step.reach(kernel)} values and the map with its padding has {size + 2 * step.padding}; "
            "take a smaller kernel or dilation, or more padding"
        )
    return floor(room / step.stride) + 1


def padded(values: Map, padding: int) -> Map:
    """The map with zeros around it.

    Shape: (H, W) -> (H + 2 padding, W + 2 padding).
    """
    return np.pad(values, padding)


def at(values: Map, kernel: Map, row: int, column: int, step: Stepping) -> WindowPosition:
    """The window at one position of the output, with its products.

    Shape: (H, W), (k, k).

    Raises:
        UsageError: the output has no such position.

    >>> at(EXAMPLE, classic_kernels()["vertical edge"], 0, 0, Stepping()).total
    4.0

    """
    rows = window_count(values.shape[0], kernel.shape[0], step)
    columns = window_count(values.shape[1], kernel.shape[1], step)
    if not (0 <= row < rows and 0 <= column < columns):
        raise UsageError(f"the output has rows 0 to {rows - 1} and columns 0 to {columns - 1}; got ({row}, {column})")
    top, left = row * step.stride, column * step.stride
    bottom, right = top + step.reach(kernel.shape[0]), left + step.reach(kernel.shape[1])
    under = padded(values, step.padding)[top : bottom : step.dilation, left : right : step.dilation]
    return WindowPosition(row, column, under, under * kernel)


def convolve(values: Map, kernel: Map, step: Stepping | None = None) -> Map:
    """All positions of the window at once, with the same values as `at` gives.

    Shape: (H, W), (k, k) -> (output_size(H), output_size(W)).

    >>> convolve(EXAMPLE, classic_kernels()["vertical edge"]).tolist()[0]
    [4.0, 2.0, -4.0]
    """
    step = step or Stepping()
    rows = window_count(values.shape[0], kernel.shape[0], step)
    columns = window_count(values.shape[1], kernel.shape[1], step)
    around = padded(values, step.padding)
    total = np.zeros((rows, columns))
    for y in range(kernel.shape[0]):
        for x in range(kernel.shape[1]):
            top, left = y * step.dilation, x * step.dilation
            bottom, right = top + (rows - 1) * step.stride + 1, left + (columns - 1) * step.stride + 1
            total += kernel[y, x] * around[top : bottom : step.stride, left : right : step.stride]
    return total


def convolve_channels(values: Map, kernel: Map, step: Stepping | None = None) -> Map:
    """One filter on an image of several channels: one convolution each, summed.

    Shape: (C, H, W), (C, k, k) -> (h, w). A kernel (k, k) is applied to the mean of the channels.
    """
    if kernel.ndim == 2:
        return convolve(values.mean(0), kernel, step)
    if kernel.shape[0] != values.shape[0]:
        raise UsageError(f"a filter has a kernel for each channel; got {kernel.shape[0]} for {values.shape[0]}")
    total: Map = np.sum([convolve(channel, part, step) for channel, part in zip(values, kernel, strict=True)], axis=0)
    return total


def classic_kernels(side: int = 3, seed: int = 0) -> dict[str, Map]:
    """The classic kernels, by name.

    Vertical and horizontal edge: minus on one side, plus on the other (Prewitt). Sharpen: the image plus its
    Laplacian. Gaussian: binomial weights that sum to 1 (for 3 x 3: 1 2 1 / 2 4 2 / 1 2 1, divided by 16). Emboss: a
    slope along the diagonal. Random: normal numbers with the standard deviation of He's initialisation for one channel.

    Shape: (side, side) each.
    """
    if side not in SIDES:
        raise UsageError(f"a kernel has 3, 5 or 7 values a side; got {side}")
    half = side // 2
    slope = np.sign(np.arange(side) - half).astype(np.float64)
    vertical = np.tile(slope, (side, 1))
    binomial = np.array([1.0])
    for _ in range(side - 1):
        binomial = np.convolve(binomial, [1.0, 1.0])
    gaussian = np.outer(binomial, binomial) / 4.0 ** (side - 1)
    sharpen = np.zeros((side, side))
    sharpen[half, :] = sharpen[:, half] = -1.0
    sharpen[half, half] = 4.0 * half + 1
    diagonal = np.sign(np.add.outer(np.arange(side), np.arange(side)) - (side - 1)).astype(np.float64)
    emboss = diagonal * (1 + (np.abs(np.subtract.outer(np.arange(side), np.arange(side))) == 0))
    emboss[half, half] = 1.0
    random = np.random.default_rng(seed).normal(0, (2 / side**2) ** 0.5, (side, side))
    return {
        "vertical edge": vertical,
        "horizontal edge": vertical.T.copy(),
        "sharpen": sharpen,
        "Gaussian": gaussian,
        "emboss": emboss,
        "random": random,
    }


def divisor(name: str, side: int = 3) -> int:
    """The divisor of a kernel's whole numbers.

    For the Gaussian of 3 x 3 it is 16, so that its weights sum to 1.
    """
    return 4 ** (side - 1) if name == "Gaussian" else 1


def kernel(name: str, side: int = 3, seed: int = 0) -> Map:
    """One of `classic_kernels`.

    Raises:
        UnknownName: no kernel has that name.

    """
    known = classic_kernels(side, seed)
    if name not in known:
        raise UnknownName("kernel", name, known)
    return known[name]
