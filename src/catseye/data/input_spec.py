"""The input of the network: size, channels, mean and standard deviation.

Enters: settings, a survey and, with published weights, the input that they expect. Leaves: `Preprocessing`. Called by
`prepare.py`; embedding uses `LARGER_THAN_TRAINED`.
"""

import math

import numpy as np
from numpy.typing import NDArray

from catseye.data.loaders import Indices
from catseye.data.sources import ImageSet
from catseye.data.survey import Sight, choose_input_px
from catseye.errors import UsageError
from catseye.preprocess import Expected, Preprocessing
from catseye.seeds import derive
from catseye.settings.schema import DataSettings

LARGER_THAN_TRAINED = 9 / 7  # 224 -> 288: see recipes/transfer.toml
STATISTICS_SAMPLE = 2_000
STATISTICS_BYTES = 4_000_000


def choose_spec(settings: DataSettings, images: ImageSet, sight: Sight, expected: Expected | None) -> Preprocessing:
    """The input for published weights, or one that fits the images.

    Its mean and standard deviation are still missing in the second case.

    Raises:
        UsageError: published weights cannot take the channels of the settings or of the images.

    """
    side = settings.input_px
    if side == "auto":
        side = round(expected.px * LARGER_THAN_TRAINED / 32) * 32 if expected else choose_input_px(sight.median_px)
    if expected is None:
        channels = images.channels or plain_channels(settings, sight.greyscale)
        return own_spec(settings, side, channels)
    if settings.channels == 1:
        raise UsageError("data.channels = 1 does not fit published weights, which take colour; leave it out")
    if images.channels:
        raise UsageError(
            f"published weights take colour, 3 channels per pixel; the images have {images.channels}; leave out "
            "--pretrained: catseye train then trains from fresh weights"
        )
    height, width = (side, side) if isinstance(side, int) else side
    return Preprocessing(
        height_px=height,
        width_px=width,
        resize=settings.resize,
        filter=expected.filter,
        mean=expected.mean,
        std=expected.std,
    )


def own_spec(settings: DataSettings, side: int | tuple[int, int], channels: int) -> Preprocessing:
    """An input of this size and these channels, not yet normalised."""
    height, width = (side, side) if isinstance(side, int) else side
    return Preprocessing(
        height_px=height,
        width_px=width,
        channels=channels,
        resize=settings.resize,
        mean=(0.0,) * channels,
        std=(1.0,) * channels,
    )


def plain_channels(settings: DataSettings, greyscale: bool) -> int:
    """The channels of ordinary images: as set, else 1 for grey and 3 for colour."""
    return (1 if greyscale else 3) if settings.channels == "auto" else settings.channels


def statistics_sample(indices: Indices, seed: int) -> Indices:
    """At most `STATISTICS_SAMPLE` of these images, drawn at random, in order."""
    if len(indices) <= STATISTICS_SAMPLE:
        return indices
    return np.sort(np.random.default_rng(derive(seed, "statistics")).choice(indices, STATISTICS_SAMPLE, replace=False))


def with_statistics(spec: Preprocessing, pixels: NDArray[np.uint8], rows: Indices) -> Preprocessing:
    """The input with mean and standard deviation of these rows, to four digits.

    Shape: pixels (M, H, W, C) uint8.
    """
    # Exact sums of whole numbers; channels are separated at the end, since NumPy reduces short axes slowly.
    shape = (-1, spec.width_px * spec.channels)
    total, squares = (np.zeros(shape[1], np.uint64) for _ in range(2))
    # In portions: the squares take twice the memory, and 32 bits hold the sum of 65,536 squares of 255.
    at_once = max(1, min(STATISTICS_BYTES // math.prod(pixels.shape[1:]), 65_536 // spec.height_px))
    for start in range(0, len(rows), at_once):
        portion = pixels[rows[start : start + at_once]].reshape(shape)
        total += portion.sum(0, dtype=np.uint32)
        squares += np.square(portion, dtype=np.uint16).sum(0, dtype=np.uint32)
    total, squares = (
        each.reshape(-1, spec.channels).sum(0) / scale for each, scale in ((total, 255), (squares, 255**2))
    )
    num_pixels = len(rows) * spec.height_px * spec.width_px
    mean = total / num_pixels
    std = np.sqrt(np.maximum(squares / num_pixels - mean**2, 1e-4))
    return spec.model_copy(update={"mean": tuple(np.round(mean, 4).tolist()), "std": tuple(np.round(std, 4).tolist())})
