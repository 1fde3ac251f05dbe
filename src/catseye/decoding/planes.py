"""Decodes images with many channels: each in mode L, or all as one to view.

Enters: a path, bytes, an array or an image of Pillow. Leaves: images, or an error. Called by preprocess.py.
"""

import io
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from catseye.decoding.channels import (
    PLAIN_CHANNELS,
    Channels,
    Ranges,
    as_colours,
    channels_differ,
    decode_values,
    planes_of,
    read_channels,
    require_channels,
    to_planes,
)
from catseye.decoding.costs import RESERVE_BYTES, decoding_bytes, require_affordable
from catseye.decoding.failures import naming
from catseye.decoding.headers import Header, read_header
from catseye.decoding.tiff_tags import read_tags
from catseye.decoding.upright import ORIENTATION, orientation_of, quiet_pillow, read_file, turned
from catseye.errors import ImageError, UnsupportedPixels


def channel_bytes(facts: Channels, num_bytes: int, input_pixels: int = 0) -> int:
    """Peak memory of decoding an image with many channels and fitting it to an input."""
    fitted = 2 * input_pixels * facts.num
    return facts.width * facts.height * facts.bytes_per_pixel + 2 * num_bytes + fitted + RESERVE_BYTES


def decode_channels(
    source: str | Path | bytes | NDArray[np.uint8] | Image.Image,
    formats: tuple[str, ...],
    channels: int,
    max_pixels: int,
    value_range: Ranges | Literal["own"] | None,
) -> list[Image.Image]:
    """Every channel of an image that has `channels` of them, upright, as mode L.

    Raises:
        ImageError: it is damaged or too large, or has another number of channels.

    """
    name = "the image"
    if isinstance(source, np.ndarray):
        if source.dtype != np.uint8 or source.ndim != 3 or source.shape[2] != channels or 0 in source.shape:
            raise ImageError(
                f"an array must be uint8 of shape (H, W, {channels}); got {source.dtype} {source.shape}; other types "
                "are read from .npy files"
            )
        return to_planes(source.transpose(2, 0, 1), None)
    if isinstance(source, Image.Image):
        with naming(name, source, formats, 4 * source.width * source.height):
            return [turned(plane, orientation_of(source)) for plane in planes_of(source, channels)]
    if isinstance(source, str | Path):
        name = str(source)
        source = read_file(Path(source))
    if not source:
        raise ImageError(f"{name} is empty (0 bytes)")
    with naming(name, source, formats, len(source)):
        facts = read_channels(source, channels)
    if facts is not None:
        return _decode_planes(source, name, formats, facts, max_pixels, value_range, channels)
    header = read_header(source)
    cost = decoding_bytes(header, len(source)) if header else len(source)
    with naming(name, source, formats, cost), quiet_pillow():
        if header is not None and header.width:
            require_affordable(header, cost, max_pixels)
        with Image.open(io.BytesIO(source), formats=formats) as image:
            header = Header(image.format or "", *image.size, image.mode)
            require_affordable(header, decoding_bytes(header, len(source)), max_pixels)
            return [turned(plane, orientation_of(image)) for plane in planes_of(image, channels)]


def _decode_planes(
    content: bytes,
    name: str,
    formats: tuple[str, ...],
    facts: Channels,
    max_pixels: int,
    value_range: Ranges | Literal["own"] | None,
    channels: int | None = None,
) -> list[Image.Image]:
    cost = channel_bytes(facts, len(content))
    with naming(name, content, formats, cost), quiet_pillow():
        if channels is not None and facts.num != channels:
            raise UnsupportedPixels(channels_differ(facts.num, channels))
        require_channels(facts.num)
        require_affordable(facts.header, cost, max_pixels)
        turn = read_tags(content, (ORIENTATION,)).get(ORIENTATION, (1,))[0]
        return [turned(plane, turn) for plane in to_planes(decode_values(content, facts), value_range)]


def channels_as_image(
    content: bytes,
    name: str,
    formats: tuple[str, ...],
    facts: Channels,
    max_pixels: int,
    value_range: Ranges | Literal["own"] | None,
    wanted: int | None,
) -> Image.Image:
    """A .npy file, or a TIFF with many channels, as a grey or colour image.

    `wanted` is the number of channels that the model takes.

    Raises:
        ImageError: it is damaged or too large, or has another number of channels than the model takes.

    """
    if wanted is not None and facts.num not in PLAIN_CHANNELS:
        with naming(name, content, formats, len(content)):
            raise UnsupportedPixels(channels_differ(facts.num, wanted))
    planes = _decode_planes(content, name, formats, facts, max_pixels, value_range)
    if len(planes) == 1:
        return planes[0]
    return Image.fromarray(as_colours(np.stack([np.asarray(plane) for plane in planes], axis=-1)))
