"""The values of a TIFF with any number of channels.

They may be interleaved or planar, in strips or tiles, compressed or not. Enters: the bytes of a TIFF. Leaves: an array
(C, H, W) of its own type. Called by channels.py.

Pillow does not read such files, but its libtiff can: it gets interleaved samples as one greyscale image that is C times
as wide, and planes as C greyscale images. The pixels stay where they are; a new list of tags is appended to them.
Differences between neighbours (the predictor) are then added up here, since libtiff does not know about the channels.
"""

import io
import struct
import warnings

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from catseye.decoding import tiff_tags as tags
from catseye.decoding.tiff_tags import Tags
from catseye.errors import ImageError, UnsupportedPixels

Values = NDArray[np.generic]
# None, LZW, deflate (two numbers), PackBits, LZMA, Zstandard: they do not depend on the number of channels.
_COMPRESSIONS = (1, 5, 8, 32946, 32773, 34925, 50000)
_WANTED = (
    *tags.SHORT_TAGS, tags.COMPRESSION, tags.STRIP_OFFSETS, tags.ROWS_PER_STRIP, tags.STRIP_BYTES, tags.PLANAR,
    tags.FILL_ORDER, tags.PREDICTOR, tags.TILE_WIDTH, tags.TILE_HEIGHT, tags.TILE_OFFSETS, tags.TILE_BYTES,
)  # fmt: skip
_KINDS = {1: "u", 2: "i", 3: "f"}  # SampleFormat
DIFFERENCES, FLOAT_DIFFERENCES = 2, 3  # predictors


def tiff_dtype(fields: Tags) -> np.dtype[np.generic] | None:
    """The type of its values; None if it cannot be read here, or differs by channel."""
    bits, kinds = set(fields.get(tags.BITS, (1,))), set(fields.get(tags.SAMPLE_FORMAT, (1,)))
    if len(bits) > 1 or len(kinds) > 1:
        return None
    name = f"{_KINDS.get(kinds.pop(), '?')}{bits.pop() // 8}"
    return np.dtype(name) if name in ("u1", "i1", "u2", "i2", "f4") else None


def read_planes(content: bytes) -> Values:
    """All channels of the first image.

    Shape: (C, H, W).

    Raises:
        ImageError: it is damaged. UnsupportedPixels: its values or its compression are not read here.
        OSError: its pixels cannot be decoded.

    """
    fields = tags.read_tags(content, _WANTED)
    dtype = tiff_dtype(fields)
    if dtype is None:
        raise UnsupportedPixels(
            f"is a TIFF of several channels with {fields.get(tags.BITS, (1,))[0]} bits per value; whole numbers of 8 "
            "and 16 bits and floating point of 32 are read"
        )
    compression = fields.get(tags.COMPRESSION, (1,))[0]
    if compression not in _COMPRESSIONS:
        raise UnsupportedPixels(
            f"is a TIFF of several channels in compression {compression}; save it with LZW, deflate or none"
        )
    num, planar = fields[tags.SAMPLES][0], fields.get(tags.PLANAR, (1,))[0] == 2
    if not planar:
        return _plane(content, fields, num, slice(None), dtype)
    offsets = len(fields.get(tags.TILE_OFFSETS, fields.get(tags.STRIP_OFFSETS, ())))
    if not offsets or offsets % num:
        raise ImageError("is damaged: its list of strips does not fit its number of channels")
    per_plane = offsets // num
    parts = [_plane(content, fields, 1, slice(at, at + per_plane), dtype) for at in range(0, offsets, per_plane)]
    return np.concatenate(parts)


def _plane(content: bytes, fields: Tags, num: int, part: slice, dtype: np.dtype[np.generic]) -> Values:
    """`num` interleaved channels, from the strips or tiles of `part`, as (num, H, W)."""
    width, height = fields[tags.WIDTH][0], fields[tags.HEIGHT][0]
    # Tiles at the right edge are stored at full width, and the predictor needs that.
    tile = fields[tags.TILE_WIDTH][0] if tags.TILE_WIDTH in fields else width
    if not 0 < tile <= 65_536:
        raise ImageError(f"is damaged: its tiles are {tile} pixels wide")
    stored = -(-width // tile) * tile
    grey = _as_grey(content, fields, num * stored, num * tile, part)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd tags
        with Image.open(io.BytesIO(grey), formats=("TIFF",)) as image:
            if image.size != (num * stored, height):
                raise ImageError(f"is damaged: {width} x {height} pixels of {num} channels do not fit its data")
            image.load()
            values = np.asarray(image)
    if dtype == np.float32 and tags.byte_order(content) == ">" and fields.get(tags.COMPRESSION, (1,))[0] != 1:
        values = values.byteswap()  # libtiff has swapped the bytes already, and Pillow swaps them again
    # First converted by value, then reinterpreted: 16-bit values may have the file's byte order.
    values = (
        values.astype(dtype.str.replace("i", "u"), copy=False).view(dtype).reshape(height, stored // tile, tile, num)
    )
    values = _undo_predictor(values, fields.get(tags.PREDICTOR, (1,))[0], tags.byte_order(content))
    return values.reshape(height, stored, num)[:, :width].transpose(2, 0, 1)


def _as_grey(content: bytes, fields: Tags, width: int, tile: int, part: slice) -> bytes:
    """The same file, its first image replaced by a grey one of these strips or tiles."""
    new: Tags = {
        tags.WIDTH: (width,),
        tags.HEIGHT: fields[tags.HEIGHT],
        tags.BITS: fields[tags.BITS][:1],
        tags.COMPRESSION: fields.get(tags.COMPRESSION, (1,)),
        tags.PHOTOMETRIC: (1,),
        tags.SAMPLES: (1,),
        # Signed numbers are read as unsigned: Pillow would convert them to a wider type.
        tags.SAMPLE_FORMAT: (3 if fields.get(tags.SAMPLE_FORMAT, (1,))[0] == 3 else 1,),
    }
    if tags.FILL_ORDER in fields:
        new[tags.FILL_ORDER] = fields[tags.FILL_ORDER]
    if tags.TILE_WIDTH in fields:
        new |= {tags.TILE_WIDTH: (tile,), tags.TILE_HEIGHT: fields.get(tags.TILE_HEIGHT, (0,))}
        lists = (tags.TILE_OFFSETS, tags.TILE_BYTES)
    else:
        new[tags.ROWS_PER_STRIP] = (min(fields.get(tags.ROWS_PER_STRIP, (2**32 - 1,))[0], fields[tags.HEIGHT][0]),)
        lists = (tags.STRIP_OFFSETS, tags.STRIP_BYTES)
    for tag in lists:
        if not (values := fields.get(tag, ())[part]):
            raise ImageError("is damaged: it does not say where its pixels are")
        new[tag] = values
    order = tags.byte_order(content)
    at = len(content) + len(content) % 2
    long_values = b""
    begin = at + 2 + 12 * len(new) + 4
    entries = []
    for tag in sorted(new):
        packed = struct.pack(f"{order}{len(new[tag])}I", *new[tag])
        if len(packed) > 4:
            long_values, packed = long_values + packed, struct.pack(f"{order}I", begin + len(long_values))
        entries.append(struct.pack(f"{order}HHI", tag, 4, len(new[tag])) + packed)
    head = content[:2] + struct.pack(f"{order}HI", 42, at)
    directory = struct.pack(f"{order}H", len(new)) + b"".join(entries) + bytes(4) + long_values
    return b"".join((head, memoryview(content)[8:], bytes(at - len(content)), directory))


def _undo_predictor(values: Values, predictor: int, order: str) -> Values:
    """Sum up differences along the rows of a strip or tile.

    Shape: (H, tiles, W, C) -> the same.
    """
    if predictor == DIFFERENCES and values.dtype.kind in "ui":
        return np.cumsum(values, axis=2, dtype=values.dtype)
    if predictor == FLOAT_DIFFERENCES and values.dtype == np.float32 and order == "<":
        height, num_tiles, width, num = values.shape
        # Per row: the first bytes of all values, then the second bytes, …; differences between bytes C apart.
        raw = np.ascontiguousarray(values).view(np.uint8).reshape(height, num_tiles, 4 * width, num)
        planes = np.cumsum(raw, axis=2, dtype=np.uint8).reshape(height, num_tiles, 4, width, num)
        return np.ascontiguousarray(np.moveaxis(planes, 2, -1)).view(">f4")[..., 0].astype(np.float32)
    if predictor != 1:
        raise UnsupportedPixels(f"is a TIFF of {values.dtype} with predictor {predictor}; save it with predictor 1")
    return values
