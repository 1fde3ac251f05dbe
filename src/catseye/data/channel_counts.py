"""How many channels the images have; if not grey or colour, their ranges too.

Enters: `ImageSet` and settings. Leaves: the same with `channels` and `value_range`, or an error that names the counts.
Called by `prepare.py`, check, review and embedding before any image is decoded. Only TIFF and .npy files can have
other numbers of channels than grey and colour; no other file is opened for this.
"""

import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from catseye.counting import count
from catseye.data.sources import ImageSet
from catseye.data.value_range import choose_value_range, draw_training_images, usual_range
from catseye.decoding.channels import PLAIN_CHANNELS, Ranges, decode_values, read_channels
from catseye.decoding.greys import Range, own_range
from catseye.errors import DataError, ImageError
from catseye.preprocess import ARRAY_SUFFIX, FILE_SUFFIXES, MAX_PIXELS
from catseye.seeds import derive
from catseye.settings.schema import DataSettings

SAMPLE = 500  # images whose headers are read
RANGED = 200  # images whose values are read for the range of each channel
PLAIN = 0  # stands for grey and colour, with or without transparency
_MAY_HAVE_MORE = (".tif", ".tiff", ARRAY_SUFFIX)


@dataclass(frozen=True)
class ChannelCounts:
    """Channels per pixel -> (number of sampled images, name of the first one).

    `PLAIN` stands for grey and colour.
    """

    seen: dict[int, tuple[int, str]]
    has_bytes: bool = False  # one byte per value in all of them

    @property
    def only(self) -> int | None:
        """The number of channels that all images have, if they are not grey or colour."""
        return next(iter(self.seen)) if len(self.seen) == 1 and PLAIN not in self.seen else None


def with_channels(images: ImageSet, settings: DataSettings, *, skip: Iterable[int] = (), seed: int = 0) -> ImageSet:
    """The images with their value range and, if not grey or colour, their channels.

    Raises:
        DataError: their numbers of channels differ, or as in `choose_value_range`.

    """
    counts = count_channels(images, seed=seed)
    channels = counts.only if settings.channels == "auto" else settings.channels
    if settings.channels == "auto" and len(counts.seen) > 1:
        raise DataError(_counts_differ(images, counts))
    if channels is None or channels in PLAIN_CHANNELS:
        return replace(images, value_range=choose_value_range(images, settings, skip=skip, seed=seed))
    images = replace(images, channels=channels)
    return replace(images, value_range=None if counts.has_bytes else _learn_ranges(images, settings, skip, seed))


def count_channels(images: ImageSet, *, seed: int = 0, most: int = SAMPLE) -> ChannelCounts:
    """The numbers of channels in a sample; empty if all are grey or colour."""
    may_have = [index for index, name in enumerate(images.names) if _may_have_more(name)]
    num_plain = len(images) - len(may_have)
    if not may_have:
        return ChannelCounts({})
    if len(may_have) > most:
        rng = np.random.default_rng(derive(seed, "channel counts"))
        may_have = sorted(rng.choice(may_have, most, replace=False).tolist())
    names_by_count: dict[int, list[str]] = defaultdict(list)
    widths = set()
    for index in may_have:
        try:
            content = images.read(index)
            facts = read_channels(content) if isinstance(content, bytes) else None
        except ImageError:  # damaged or missing: reported when all images are read
            continue
        names_by_count[PLAIN if facts is None or facts.colour else facts.num].append(images.names[index])
        widths.add(facts.dtype.itemsize if facts and facts.dtype else 0)
    if set(names_by_count) <= {PLAIN}:
        return ChannelCounts({})
    if num_plain:
        name = next(name for name in images.names if not _may_have_more(name))
        names_by_count[PLAIN] = [name] * num_plain + names_by_count[PLAIN]
    return ChannelCounts({num: (len(names), names[0]) for num, names in sorted(names_by_count.items())}, widths == {1})


def describe_channels(channels: int, value_range: Ranges | None) -> str:
    """The note for the user.

    >>> describe_channels(5, ((0.0, 1000.0), (0.0, 900.0)))
    '5 channels per pixel are read (data.channels), each scaled by its own range, 0 to 1000 in the first'
    """
    text = f"{channels} channels per pixel are read (data.channels)"
    if value_range is None:
        return text
    if not isinstance(value_range[0], tuple):
        return f"{text}, {value_range[0]:g} becomes 0 and {value_range[1]:g} 255"
    low, high = value_range[0]
    return f"{text}, each scaled by its own range, {low:g} to {high:g} in the first"


def _may_have_more(name: str) -> bool:
    suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122
    return suffix in _MAY_HAVE_MORE or suffix not in FILE_SUFFIXES  # arrays in memory have no suffix


def _counts_differ(images: ImageSet, counts: ChannelCounts) -> str:
    parts = [
        f"{'1 or 3' if num == PLAIN else num} in {count(times, 'image')} (for example {name})"
        for num, (times, name) in counts.seen.items()
    ]
    most = max((num for num in counts.seen if num != PLAIN), key=lambda num: counts.seen[num][0])
    return (
        f"{images.source}: all images of a data set must have the same number of channels; got {', '.join(parts)}; "
        f"move the others out of DATA, or set data.channels = {most} to leave them out"
    )


def _learn_ranges(images: ImageSet, settings: DataSettings, skip: Iterable[int], seed: int) -> Ranges | None:
    """The range of each channel over the training images."""
    if settings.black != "auto" and settings.white != "auto":
        return settings.black, settings.white
    usable = draw_training_images(images, RANGED, skip, seed)
    per_channel: list[list[Range]] = [[] for _ in range(images.channels or 0)]
    for index in usable:
        for ranges, value_range in zip(per_channel, _ranges_in(images, index), strict=False):
            if value_range is not None:
                ranges.append(value_range)
    if not all(per_channel):
        return None
    result = []
    for ranges in per_channel:
        low, high = usual_range(ranges) or (ranges[0][0], ranges[0][0] + 1)
        if settings.black != "auto":
            low = settings.black
        if settings.white != "auto":
            high = settings.white
        if low >= high:
            raise DataError(f"data.black must be below data.white; got {low:g} and {high:g}; set both")
        result.append((low, high))
    return tuple(result)


def _ranges_in(images: ImageSet, index: int) -> list[Range | None]:
    """The range of each channel of one image; empty if it cannot be read.

    The reason is reported when the image is decoded.
    """
    try:
        content = images.read(index)
        facts = read_channels(content, images.channels) if isinstance(content, bytes) else None
        if facts is None or facts.num != images.channels or facts.width * facts.height > MAX_PIXELS:
            return []
        assert isinstance(content, bytes)
        return [own_range(plane) for plane in decode_values(content, facts)]
    except (ImageError, OSError, ValueError, MemoryError):
        return []
