"""Black and white of a data set with more than 8 bits per value.

Enters: `ImageSet` and settings. Leaves: the `Preprocessing` with its `value_range`, or an error if all are blank.
Microscopes, x-ray and thermal cameras put 8 to 14 bits into 16, with or without an offset; a floating-point TIFF has
any range. It is learnt from the training images; `data.black` and `data.white` override it. Called by `prepare.py` and
by the check.
"""

import io
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image

from catseye.counting import count
from catseye.data.sources import NOT_SPLIT, TRAIN, ImageSet
from catseye.decoding.channels import Ranges
from catseye.decoding.greys import Range, is_deep, range_of
from catseye.errors import DataError, ImageError
from catseye.preprocess import FILE_FORMATS, MAX_PIXELS, Preprocessing, open_image, quiet_pillow
from catseye.seeds import derive
from catseye.settings.schema import DataSettings

SAMPLE = 500  # images that are examined
FAR_OUTSIDE = 4  # times the range of nearly all others
EMPTY_SHARE = 0.05  # of the range: a smallest value below it counts as 0


def with_value_range(
    spec: Preprocessing, images: ImageSet, settings: DataSettings, *, skip: Iterable[int] = (), seed: int = 0
) -> Preprocessing:
    """The preprocessing with the range of the training images; unchanged for 8 bits.

    Raises:
        DataError: as in `choose_value_range`.

    """
    value_range = choose_value_range(images, settings, skip=skip, seed=seed)
    return spec if value_range is None else spec.model_copy(update={"value_range": value_range})


def choose_value_range(
    images: ImageSet, settings: DataSettings, *, skip: Iterable[int] = (), seed: int = 0
) -> Range | None:
    """Black and white of these images; None if all have 8 bits per value.

    Raises:
        DataError: all images have the same single colour, or data.black is not below data.white.

    """
    usable = draw_training_images(images, SAMPLE, skip, seed)
    value_range = _overridden(settings, learn_value_range(images, usable))
    if usable and not _is_anything_visible(images, usable, value_range):
        given = settings.black != "auto" or settings.white != "auto"
        advice = "leave out data.black and data.white" if given else "check how they were exported"
        raise DataError(
            f"{images.source}: all of {count(len(usable), 'image')} examined have the same single colour, so there is "
            f"nothing to learn; {advice}"
        )
    return value_range


def draw_training_images(images: ImageSet, most: int, skip: Iterable[int], seed: int) -> list[int]:
    """At most `most` training images, drawn at random, without `skip`, in order."""
    skipped = set(skip)
    training = np.flatnonzero((images.splits == TRAIN) | (images.splits == NOT_SPLIT))
    usable = [index for index in training.tolist() if index not in skipped]
    if len(usable) > most:
        rng = np.random.default_rng(derive(seed, "value range"))
        usable = sorted(rng.choice(usable, most, replace=False).tolist())
    return usable


def learn_value_range(images: ImageSet, indices: Iterable[int]) -> Range | None:
    """The range of values that these images use; None if all have 8 bits.

    Dead and hot pixels are left out. Of 8-bit images only the header is decoded. A smallest value near 0 counts as 0,
    so that black stays black.
    """
    ranges = []
    for index in indices:
        try:
            content = images.read(index)
            if isinstance(content, bytes) and (value_range := _range_in(content)) is not None:
                ranges.append(value_range)
        except ImageError:
            continue
    return usual_range(ranges)


def usual_range(ranges: Sequence[Range]) -> Range | None:
    """A range that covers those of almost all images; None if nothing varies."""
    if not ranges:
        return None
    lows, highs = np.array(ranges).T
    # A rare class may be brighter than all others and keeps its levels; a few images far outside are overexposed.
    low, high = float(lows.min()), float(highs.max())
    usual_low, usual_high = np.quantile(lows, 0.03, method="lower"), np.quantile(highs, 0.97, method="higher")
    if high - low > FAR_OUTSIDE * (usual_high - usual_low):
        low, high = float(usual_low), float(usual_high)
    if 0 < low < EMPTY_SHARE * high:
        low = 0.0
    return (low, high) if high > low else None


def describe_range(value_range: Ranges) -> str:
    """The note for the user.

    >>> describe_range((0.0, 4095.0))
    'values of more than 8 bits: 0 becomes black and 4095 white (data.black, data.white)'
    """
    black, white = value_range
    return f"values of more than 8 bits: {black:g} becomes black and {white:g} white (data.black, data.white)"


def _range_in(content: bytes) -> Range | None:
    try:
        with quiet_pillow(), Image.open(io.BytesIO(content), formats=FILE_FORMATS) as image:
            if not is_deep(image.mode) or image.width * image.height > MAX_PIXELS:
                return None
            image.load()
            return range_of(image)
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError, Image.DecompressionBombError):
        return None  # the reason is reported when the image is decoded


def _overridden(settings: DataSettings, learnt: Range | None) -> Range | None:
    if settings.white != "auto":
        white = settings.white
    elif learnt is not None:
        white = learnt[1]
    else:
        return None
    if settings.black != "auto":
        black = settings.black
    elif settings.white == "auto" and learnt is not None:
        black = learnt[0]
    else:  # data.white alone: values start at 0, or at the smallest value if that is negative
        black = min(0.0, learnt[0]) if learnt else 0.0
    if black >= white:
        raise DataError(f"data.black must be below data.white; got {black:g} and {white:g}; set both")
    return black, white


def _is_anything_visible(images: ImageSet, indices: Iterable[int], value_range: Range | None) -> bool:
    """Whether any two pixels differ, in one image or between images."""
    first: tuple[tuple[int, ...], ...] | None = None
    readable = False
    for index in indices:
        try:
            image = open_image(images.read(index), value_range=value_range or "own").convert("RGB")
        except ImageError:
            continue
        readable = True
        extrema = image.getextrema()
        if any(low != high for low, high in extrema) or (first is not None and extrema != first):  # type: ignore[misc]
            return True
        first = extrema  # type: ignore[assignment]
    return not readable
