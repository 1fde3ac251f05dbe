"""Images of more channels than colour has, as satellites and microscopes write them: TIFF and .npy.

Enters: the bytes of such a file. Leaves: how many channels it has, its planes with 8 bits per value, or a refusal that
names the number. Called by preprocess.py, data/channel_counts.py and failures.py.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from catseye.decoding import tiff_tags as tags
from catseye.decoding.arrays_in_files import NPY, channel_axis, read_npy, read_npy_header
from catseye.decoding.greys import Range, own_range, scale_values
from catseye.decoding.headers import Header
from catseye.decoding.tiff_planes import read_planes, tiff_dtype
from catseye.errors import ImageError, UnsupportedPixels

MAX_CHANNELS = 256  # imaging spectrometers have about 220
PLAIN_CHANNELS = (1, 3)  # greyscale and colour, which all formats have
_COLOUR_KINDS = (2, 3, 5, 6, 8)  # PhotometricInterpretation: RGB, palette, CMYK, YCbCr, Lab
Ranges = Range | tuple[Range, ...]  # black and white, of all channels or of each


@dataclass(frozen=True)
class Channels:
    """What a TIFF or .npy file says of itself: sides in pixels as stored, values per pixel and their type.

    `colour`: it is greyscale or colour, with transparency or without, as other images are.
    """

    format: str
    width: int
    height: int
    num: int
    dtype: np.dtype[np.generic] | None
    colour: bool

    @property
    def header(self) -> Header:
        """The same as the costs of decoding want it: a kind that holds bytes per pixel."""
        return Header(self.format, self.width, self.height, f"{self.num} channels")

    @property
    def bytes_per_pixel(self) -> int:
        """The peak of decoding it: values as the file has them, once more as an array, and with 8 bits."""
        return self.num * (2 * (self.dtype.itemsize if self.dtype else 1) + 2)


def read_channels(content: bytes, channels: int | None = None) -> Channels | None:
    """What the beginning of the file says; None for what is neither a TIFF nor .npy, or a damaged TIFF.

    `channels` tells which axis of a .npy file holds them.

    Raises:
        ImageError: a .npy file that is no image.

    """
    if content.startswith(NPY):
        header = read_npy_header(content)
        if len(header.shape) == 2 and 0 not in header.shape:
            return Channels("NPY", header.shape[1], header.shape[0], 1, header.dtype, True)
        axis = channel_axis(header.shape, channels)
        sides = [side for at, side in enumerate(header.shape) if at != axis]
        num = header.shape[axis]
        return Channels("NPY", sides[1], sides[0], num, header.dtype, num in PLAIN_CHANNELS)
    found = tags.read_tags(content)
    if tags.WIDTH not in found or tags.HEIGHT not in found:
        return None
    num = found.get(tags.SAMPLES, (1,))[0]
    in_colour = found.get(tags.PHOTOMETRIC, (1,))[0] in _COLOUR_KINDS
    transparent = num == 2 and found.get(tags.EXTRA_SAMPLES, (0,))[0] in (1, 2)
    plain = num in PLAIN_CHANNELS or (num == 4 and in_colour) or transparent
    return Channels("TIFF", found[tags.WIDTH][0], found[tags.HEIGHT][0], num, tiff_dtype(found), plain)


def channels_differ(num: int, wanted: int) -> str:
    """The sentence about an image that a model cannot take, without its subject.

    >>> channels_differ(5, 3)
    'has 5 channels per pixel; 3 (colour) are read here; data.channels = 5 trains a model that reads all of them'
    """
    kind = {1: " (greyscale)", 3: " (colour)"}.get(wanted, "")
    advice = f"data.channels = {num} trains a model that reads all of them" if num > 1 else "give images of that kind"
    return f"has {num} channel{'s' * (num > 1)} per pixel; {wanted}{kind} are read here; {advice}"


def require_channels(num: int) -> None:
    """Refuse an absurd number of channels before anything is allocated for them.

    Raises:
        UnsupportedPixels: there are none, or more than `MAX_CHANNELS`.

    """
    if not 0 < num <= MAX_CHANNELS:
        raise UnsupportedPixels(
            f"has {num:,} channels per pixel; at most {MAX_CHANNELS} are read; save those that matter"
        )


def decode_values(content: bytes, facts: Channels) -> NDArray[np.generic]:
    """All values as the file has them.

    Shape: (C, H, W).

    Raises:
        ImageError: it is damaged, or has too many channels.

    """
    require_channels(facts.num)
    if facts.format == "TIFF":
        return read_planes(content)
    values = read_npy(content, read_npy_header(content))
    if values.ndim == 2:
        return values[None]
    return values if channel_axis(values.shape, facts.num) == 0 else values.transpose(2, 0, 1)


def to_planes(values: NDArray[np.generic], ranges: Ranges | str | None) -> list[Image.Image]:
    """Each channel as an image of mode L. `ranges`: black and white of all channels or of each, or "own".

    Raises:
        UnsupportedPixels: floating point without a range; a range for another number of channels.

    """
    if values.dtype == bool:
        values = values.view(np.uint8) * 255
    if values.dtype == np.uint8 and (ranges is None or ranges == "own"):
        return [Image.fromarray(np.ascontiguousarray(plane)) for plane in values]
    each = _range_each(values, ranges)
    return [Image.fromarray(scale_values(plane, value_range)) for plane, value_range in zip(values, each, strict=True)]


def _range_each(values: NDArray[np.generic], ranges: Ranges | str | None) -> Sequence[Range | None]:
    if ranges == "own":
        return [_proper(own_range(plane)) for plane in values]
    if ranges is None:
        if values.dtype.kind == "f":
            raise UnsupportedPixels(
                "has floating-point values, and the model has learnt no range for them; set data.black and data.white"
            )
        return [None] * len(values)
    if isinstance(ranges, str):
        raise AssertionError(ranges)
    if isinstance(ranges[0], tuple):
        if len(ranges) != len(values):
            raise UnsupportedPixels(channels_differ(len(values), len(ranges)))
        return ranges
    return [ranges] * len(values)


def _proper(found: Range | None) -> Range:
    low, high = found or (0.0, 1.0)
    return low, high if high > low else low + 1


def as_colours(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Many channels to look at: the means of the first, second and last third of them as red, green and blue.

    Grey and colour stay as they are.

    Shape: (..., C) uint8 -> (..., 3) uint8, or (..., 1).

    >>> as_colours(np.array([[10, 20, 30, 40, 50]], np.uint8)).tolist()
    [[15, 35, 50]]
    """
    num = pixels.shape[-1]
    if num in PLAIN_CHANNELS:
        return pixels
    thirds = [part if len(part) else [num - 1] for part in np.array_split(np.arange(num), 3)]
    return np.stack([pixels[..., part].mean(-1) for part in thirds], axis=-1).astype(np.uint8)


def planes_of(image: Image.Image, wanted: int) -> list[Image.Image]:
    """The bands of an image that Pillow has decoded, where they are as many as are asked for.

    Raises:
        UnsupportedPixels: they are not.

    """
    bands = image.getbands()
    if len(bands) != wanted or image.mode in ("P", "CMYK", "YCbCr", "LAB", "HSV"):
        raise UnsupportedPixels(channels_differ(len(bands), wanted))
    return list(image.split())


def array_to_file(array: NDArray[np.generic]) -> bytes:
    """An array as the bytes of a .npy file.

    Raises:
        ImageError: its values are no numbers.

    """
    if array.dtype.hasobject:
        raise ImageError("is an array of Python objects; give numbers")
    stream = io.BytesIO()
    np.save(stream, np.ascontiguousarray(array), allow_pickle=False)
    return stream.getvalue()
