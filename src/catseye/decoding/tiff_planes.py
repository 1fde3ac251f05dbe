"""The values of a TIFF with any number of channels: interleaved or planar, in strips or tiles, compressed or not.

Enters: the bytes of a TIFF. Leaves: an array (C, H, W) of its own type. Called by channels.py.

Pillow reads no such files, but its libtiff can: interleaved samples are given to it as one greyscale image that is C
times as wide, planes as C greyscale images. The pixels are not copied for that; a new list of tags is put behind them.
Differences between neighbours (the predictor) are then added up here, for libtiff does not know of the channels.
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
# None, LZW, deflate (two numbers), PackBits, LZMA, Zstandard: what does not depend on the number of channels.
_COMPRESSIONS = (1, 5, 8, 32946, 32773, 34925, 50000)
_WANTED = (
    *tags.SHORT_TAGS, tags.COMPRESSION, tags.STRIP_OFFSETS, tags.ROWS_PER_STRIP, tags.STRIP_BYTES, tags.PLANAR,
    tags.FILL_ORDER, tags.PREDICTOR, tags.TILE_WIDTH, tags.TILE_HEIGHT, tags.TILE_OFFSETS, tags.TILE_BYTES,
)  # fmt: skip
_KINDS = {1: "u", 2: "i", 3: "f"}  # SampleFormat
DIFFERENCES, FLOAT_DIFFERENCES = 2, 3  # predictors


def tiff_dtype(found: Tags) -> np.dtype[np.generic] | None:
    """The type of its values; None where it has none that is read here, or several."""
    bits, kinds = set(found.get(tags.BITS, (1,))), set(found.get(tags.SAMPLE_FORMAT, (1,)))
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
    found = tags.read_tags(content, _WANTED)
    dtype = tiff_dtype(found)
    if dtype is None:
        raise UnsupportedPixels(
            f"is a TIFF of several channels with {found.get(tags.BITS, (1,))[0]} bits per value; whole numbers of 8 "
            "and 16 bits and floating point of 32 are read"
        )
    compression = found.get(tags.COMPRESSION, (1,))[0]
    if compression not in _COMPRESSIONS:
        raise UnsupportedPixels(
            f"is a TIFF of several channels in compression {compression}; save it with LZW, deflate or none"
        )
    num, planar = found[tags.SAMPLES][0], found.get(tags.PLANAR, (1,))[0] == 2
    if not planar:
        return _plane(content, found, num, slice(None), dtype)
    offsets = len(found.get(tags.TILE_OFFSETS, found.get(tags.STRIP_OFFSETS, ())))
    if not offsets or offsets % num:
        raise ImageError("is damaged: its list of strips does not fit its number of channels")
    each = offsets // num
    parts = [_plane(content, found, 1, slice(at, at + each), dtype) for at in range(0, offsets, each)]
    return np.concatenate(parts)


def _plane(content: bytes, found: Tags, num: int, part: slice, dtype: np.dtype[np.generic]) -> Values:
    """`num` interleaved channels, from the strips or tiles of `part`, as (num, H, W)."""
    width, height = found[tags.WIDTH][0], found[tags.HEIGHT][0]
    # Tiles at the right edge are stored whole; the predictor needs them so.
    tile = found[tags.TILE_WIDTH][0] if tags.TILE_WIDTH in found else width
    if not 0 < tile <= 65_536:
        raise ImageError(f"is damaged: its tiles are {tile} pixels wide")
    stored = -(-width // tile) * tile
    grey = _as_grey(content, found, num * stored, num * tile, part)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd tags
        with Image.open(io.BytesIO(grey), formats=("TIFF",)) as image:
            if image.size != (num * stored, height):
                raise ImageError(f"is damaged: {width} x {height} pixels of {num} channels do not fit its data")
            image.load()
            values = np.asarray(image)
    if dtype == np.float32 and tags.byte_order(content) == ">" and found.get(tags.COMPRESSION, (1,))[0] != 1:
        values = values.byteswap()  # libtiff has done so already, and Pillow does so once more
    # By value, then by bits: 16 bits may come in the file's order of bytes.
    values = (
        values.astype(dtype.str.replace("i", "u"), copy=False).view(dtype).reshape(height, stored // tile, tile, num)
    )
    values = _undo_predictor(values, found.get(tags.PREDICTOR, (1,))[0], tags.byte_order(content))
    return values.reshape(height, stored, num)[:, :width].transpose(2, 0, 1)


def _as_grey(content: bytes, found: Tags, width: int, tile: int, part: slice) -> bytes:
    """The same file whose first image is greyscale, with these strips or tiles."""
    given: Tags = {
        tags.WIDTH: (width,),
        tags.HEIGHT: found[tags.HEIGHT],
        tags.BITS: found[tags.BITS][:1],
        tags.COMPRESSION: found.get(tags.COMPRESSION, (1,)),
        tags.PHOTOMETRIC: (1,),
        tags.SAMPLES: (1,),
        # Signed numbers are read as unsigned: Pillow would widen them.
        tags.SAMPLE_FORMAT: (3 if found.get(tags.SAMPLE_FORMAT, (1,))[0] == 3 else 1,),
    }
    if tags.FILL_ORDER in found:
        given[tags.FILL_ORDER] = found[tags.FILL_ORDER]
    if tags.TILE_WIDTH in found:
        given |= {tags.TILE_WIDTH: (tile,), tags.TILE_HEIGHT: found.get(tags.TILE_HEIGHT, (0,))}
        lists = (tags.TILE_OFFSETS, tags.TILE_BYTES)
    else:
        given[tags.ROWS_PER_STRIP] = (min(found.get(tags.ROWS_PER_STRIP, (2**32 - 1,))[0], found[tags.HEIGHT][0]),)
        lists = (tags.STRIP_OFFSETS, tags.STRIP_BYTES)
    for tag in lists:
        if not (values := found.get(tag, ())[part]):
            raise ImageError("is damaged: it does not say where its pixels are")
        given[tag] = values
    order = tags.byte_order(content)
    at = len(content) + len(content) % 2
    apart = b""
    begin = at + 2 + 12 * len(given) + 4
    entries = []
    for tag in sorted(given):
        packed = struct.pack(f"{order}{len(given[tag])}I", *given[tag])
        if len(packed) > 4:
            apart, packed = apart + packed, struct.pack(f"{order}I", begin + len(apart))
        entries.append(struct.pack(f"{order}HHI", tag, 4, len(given[tag])) + packed)
    head = content[:2] + struct.pack(f"{order}HI", 42, at)
    listed = struct.pack(f"{order}H", len(given)) + b"".join(entries) + bytes(4) + apart
    return b"".join((head, memoryview(content)[8:], bytes(at - len(content)), listed))


def _undo_predictor(values: Values, predictor: int, order: str) -> Values:
    """Sums of differences along the rows of a strip or tile; `values` (H, tiles, W, C)."""
    if predictor == DIFFERENCES and values.dtype.kind in "ui":
        return np.cumsum(values, axis=2, dtype=values.dtype)
    if predictor == FLOAT_DIFFERENCES and values.dtype == np.float32 and order == "<":
        height, num_tiles, width, num = values.shape
        # Per row: the first bytes of all values, then the second ones, …; differences between bytes C apart.
        raw = np.ascontiguousarray(values).view(np.uint8).reshape(height, num_tiles, 4 * width, num)
        planes = np.cumsum(raw, axis=2, dtype=np.uint8).reshape(height, num_tiles, 4, width, num)
        return np.ascontiguousarray(np.moveaxis(planes, 2, -1)).view(">f4")[..., 0].astype(np.float32)
    if predictor != 1:
        raise UnsupportedPixels(f"is a TIFF of {values.dtype} with predictor {predictor}; save it with predictor 1")
    return values
