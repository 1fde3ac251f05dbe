"""Images in .npy files: shape, type, and the values as a view of the bytes.

Enters: untrusted bytes. Leaves: an array (C, H, W), or an error. Called by channels.py. Nothing is unpickled, and no
memory is allocated just because a header claims it.
"""

import io
import math
from dataclasses import dataclass

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from catseye.errors import ImageCutOff, ImageError, UnsupportedPixels

NPY = b"\x93NUMPY"
_MAX_HEADER_BYTES = 10_000
_DTYPES = ["b1", "u1", "i1", "u2", "i2", "u4", "i4", "f2", "f4", "f8"]


@dataclass(frozen=True)
class NpyHeader:
    """What the header of a .npy file says about its array."""

    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    columns_first: bool  # Fortran's order
    starts_at: int


def read_npy_header(content: bytes) -> NpyHeader:
    """Read shape and type.

    Raises:
        ImageError: the header is damaged, or there are fewer bytes than it says.
        UnsupportedPixels: the values are objects, or of another type that no image has.

    """
    stream = io.BytesIO(content[:_MAX_HEADER_BYTES])
    try:
        version = npy_format.read_magic(stream)
        read = npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
        shape, columns_first, dtype = read(stream, max_header_size=_MAX_HEADER_BYTES)
    except Exception as error:  # noqa: BLE001 - a damaged header may raise anything
        raise ImageError(f"is a .npy file with a damaged header ({str(error).splitlines()[0][:100]})") from None
    if dtype.hasobject:
        raise UnsupportedPixels("is a .npy file of Python objects, which are never loaded; save an array of numbers")
    if dtype.str[1:] not in _DTYPES:
        raise UnsupportedPixels(f"is a .npy file of {dtype}; whole numbers and floating point are read")
    header = NpyHeader(shape, dtype, columns_first, stream.tell())
    needed, present = math.prod(shape) * dtype.itemsize, len(content) - header.starts_at
    if any(side < 0 for side in shape) or present < needed:
        raise ImageCutOff(
            f"is a .npy file that is cut off: {shape} of {dtype} take {needed:,} bytes; it has {present:,}"
        )
    return header


def read_npy(content: bytes, header: NpyHeader) -> NDArray[np.generic]:
    """The array, as a view of the bytes."""
    values = np.frombuffer(content, header.dtype, math.prod(header.shape), header.starts_at)
    return values.reshape(header.shape, order="F" if header.columns_first else "C")


def channel_axis(shape: tuple[int, ...], channels: int | None = None) -> int:
    """The axis that holds the channels: the first, or the last.

    If `channels` is given and only one of them has that length, it is that axis; else the one that is shorter than
    the other two.

    Raises:
        ImageError: the shape is not that of an image, or either axis could hold the channels.

    >>> channel_axis((64, 64, 13)), channel_axis((13, 64, 64)), channel_axis((4, 4, 5), channels=5)
    (2, 0, 2)

    """
    if len(shape) != 3 or 0 in shape:
        raise ImageError(f"must be an array of (H, W), (H, W, C) or (C, H, W); its shape is {shape}")
    first, middle, last = shape
    if channels is not None and (first == channels) != (last == channels):
        return 0 if first == channels else 2
    if last < min(first, middle):
        return 2
    if first < min(middle, last):
        return 0
    if last in (1, 3) or first in (1, 3):
        return 2 if last in (1, 3) else 0
    raise ImageError(
        f"does not say which axis holds the channels: its shape is {shape}; save it as (H, W, C) and set data.channels"
    )
