"""Images with more channels than colour, as from satellites: TIFF and .npy.

Enters: the bytes of such a file. Leaves: how many channels it has, its planes with 8 bits per value, or an error that
names the number. Called by preprocess.py, data/channel_counts.py and planes.py.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from catseye.counting import count
from catseye.decoding import tiff_tags as tags
from catseye.decoding.arrays_in_files import NPY, channel_axis, read_npy, read_npy_header
from catseye.decoding.greys import Range, own_range, scale_values
from catseye.decoding.headers import Header
from catseye.decoding.tiff_planes import read_planes, tiff_dtype
from catseye.errors import ImageError, UnsupportedPixels

MAX_CHANNELS = 256  # imaging spectrometers have about 220
PLAIN_CHANNELS = (1, 3)  # greyscale and colour, which all formats support
_COLOUR_KINDS = (2, 3, 5, 6, 8)  # PhotometricInterpretation: RGB, palette, CMYK, YCbCr, Lab
Ranges = Range | tuple[Range, ...]  # black and white: one pair for all channels, or one for each


@dataclass(frozen=True)
class Channels:
    """The header of a TIFF or .npy file: sides in pixels as stored, channels, type.

    `colour`: it is an ordinary greyscale or colour image, with or without transparency.
    """

    format: str
    width: int
    height: int
    num: int
    dtype: np.dtype[np.generic] | None
    colour: bool

    @property
    def header(self) -> Header:
        """The same for costs.py, with the number of channels as its kind."""
        return Header(self.format, self.width, self.height, f"{self.num} channels")

    @property
    def bytes_per_pixel(self) -> int:
        """Peak of decoding: the file's values, a copy of them as an array, and 8 bits."""
        return self.num * (2 * (self.dtype.itemsize if self.dtype else 1) + 2)


def read_channels(content: bytes, channels: int | None = None) -> Channels | None:
    """Read the header; None if it is neither TIFF nor .npy, or a damaged TIFF.

    The number of `channels` tells which axis of a .npy file holds them.

    Raises:
        ImageError: a .npy file that holds no image.

    """
    if content.startswith(NPY):
        header = read_npy_header(content)
        if len(header.shape) == 2 and 0 not in header.shape:
            return Channels("NPY", header.shape[1], header.shape[0], 1, header.dtype, True)
        axis = channel_axis(header.shape, channels)
        sides = [side for at, side in enumerate(header.shape) if at != axis]
        num = header.shape[axis]
        return Channels("NPY", sides[1], sides[0], num, header.dtype, num in PLAIN_CHANNELS)
    values = tags.read_tags(content)
    if tags.WIDTH not in values or tags.HEIGHT not in values:
        return None
    num = values.get(tags.SAMPLES, (1,))[0]
    in_colour = values.get(tags.PHOTOMETRIC, (1,))[0] in _COLOUR_KINDS
    transparent = num == 2 and values.get(tags.EXTRA_SAMPLES, (0,))[0] in (1, 2)
    plain = num in PLAIN_CHANNELS or (num == 4 and in_colour) or transparent
    return Channels("TIFF", values[tags.WIDTH][0], values[tags.HEIGHT][0], num, tiff_dtype(values), plain)


def channels_differ(num: int, wanted: int) -> str:
    """The message for an image that a model cannot take, without its subject.

    >>> channels_differ(5, 3)
    'has 5 channels per pixel; 3 (colour) are read here; data.channels = 5 trains a model that reads all of them'
    """
    kind = {1: " (greyscale)", 3: " (colour)"}.get(wanted, "")
    advice = f"data.channels = {num} trains a model that reads all of them" if num > 1 else "use images of that kind"
    return f"has {count(num, 'channel')} per pixel; {wanted}{kind} are read here; {advice}"


def require_channels(num: int) -> None:
    """Refuse an absurd number of channels before memory is allocated for them.

    Raises:
        UnsupportedPixels: there are none, or more than `MAX_CHANNELS`.

    """
    if not 0 < num <= MAX_CHANNELS:
        raise UnsupportedPixels(
            f"has {num:,} channels per pixel; at most {MAX_CHANNELS} are read; save those that matter"
        )


def decode_values(content: bytes, facts: Channels) -> NDArray[np.generic]:
    """All values as they are in the file.

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
    """Each channel as an image of mode L.

    `ranges`: black and white for all channels or for each, or "own": the range of each channel's own values.

    Raises:
        UnsupportedPixels: floating point without a range; ranges for another number of channels.

    """
    if values.dtype == bool:
        values = values.view(np.uint8) * 255
    if values.dtype == np.uint8 and (ranges is None or ranges == "own"):
        return [Image.fromarray(np.ascontiguousarray(plane)) for plane in values]
    per_plane = _ranges_per_plane(values, ranges)
    return [Image.fromarray(scale_values(plane, each)) for plane, each in zip(values, per_plane, strict=True)]


def _ranges_per_plane(values: NDArray[np.generic], ranges: Ranges | str | None) -> Sequence[Range | None]:
    if ranges == "own":
        return [_increasing(own_range(plane)) for plane in values]
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


def _increasing(value_range: Range | None) -> Range:
    low, high = value_range or (0.0, 1.0)
    return low, high if high > low else low + 1


def as_colours(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Many channels as a colour image to look at.

    Red, green and blue are the means of the first, second and last third of the channels. Grey and colour stay as they
    are.

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
    """The `wanted` bands of an image that Pillow has decoded.

    Raises:
        UnsupportedPixels: it has another number of bands, or a mode whose bands are not channels.

    """
    bands = image.getbands()
    if len(bands) != wanted or image.mode in ("P", "CMYK", "YCbCr", "LAB", "HSV"):
        raise UnsupportedPixels(channels_differ(len(bands), wanted))
    return list(image.split())


def array_to_file(array: NDArray[np.generic]) -> bytes:
    """An array as the bytes of a .npy file.

    Raises:
        ImageError: its values are not numbers.

    """
    if array.dtype.hasobject:
        raise ImageError("is an array of Python objects; give numbers")
    stream = io.BytesIO()
    np.save(stream, np.ascontiguousarray(array), allow_pickle=False)
    return stream.getvalue()
