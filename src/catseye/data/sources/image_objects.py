"""One image in memory, whatever its type, as the bytes of a file or as pixels.

Enters: bytes, a path, an array, a tensor or a Pillow image. Leaves: bytes or pixels, and a reader of many such images.
Called by given.py.
"""

import io
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from catseye.decoding.arrays_in_files import channel_axis
from catseye.decoding.channels import array_to_file
from catseye.errors import ImageError
from catseye.preprocess import Pixels, read_file


@dataclass(frozen=True)
class GivenReader:
    """Reads the objects that `get` returns for a number, see `as_content`."""

    get: Callable[[int], Any]
    names: Sequence[str]
    _sizes: dict[int, int] = field(default_factory=dict, repr=False)

    def __call__(self, index: int) -> bytes | Pixels:
        """The bytes of a file, or the pixels."""
        return as_content(self.get(index), self.names[index])

    def size_bytes(self, index: int) -> int:
        """The size of what `__call__` returns; if that has to be computed, only once."""
        if index not in self._sizes:
            item = self.get(index)
            plain = isinstance(item, np.ndarray) and item.dtype == np.uint8
            self._sizes[index] = item.nbytes if plain else _size(as_content(item, self.names[index]))
        return self._sizes[index]


def _size(content: bytes | Pixels) -> int:
    return len(content) if isinstance(content, bytes) else int(content.nbytes)


def as_content(item: Any, name: str = "an image") -> bytes | Pixels:
    """One image of any kind as the bytes of a file, or as pixels (H, W, C) uint8.

    Floats from 0 to 1 become 0 to 255. Images with more than 8 bits, transparency or a palette become lossless files,
    to which the same rules apply as to files on disk.

    Raises:
        ImageError: it is not an image, or the range of its values is unknown.

    """
    if isinstance(item, bytes):
        return item
    if isinstance(item, str | os.PathLike):
        return read_file(Path(item))
    if isinstance(item, Mapping) and ("bytes" in item or "path" in item):  # an undecoded image of Hugging Face
        return item["bytes"] if item.get("bytes") is not None else read_file(Path(str(item["path"])))
    if isinstance(item, Image.Image):
        if item.mode in ("L", "RGB"):
            array = np.asarray(item)
            return array.reshape(item.height, item.width, -1)
        return _encoded(item)
    if hasattr(item, "detach"):  # a tensor
        item = item.detach().cpu().numpy()
    try:
        return _array_content(np.asarray(item))
    except (TypeError, ValueError) as error:
        raise ImageError(f"{name} is not an image: {error}") from None


def _array_content(array: NDArray[Any]) -> bytes | Pixels:
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim == 3 and array.shape[0] not in (1, 3) and array.shape[2] not in (1, 3, 4):
        channel_axis(array.shape)
        return array_to_file(array)
    if array.ndim == 3 and array.shape[0] in (1, 3) and array.shape[2] not in (1, 3, 4):  # torch's order
        array = array.transpose(1, 2, 0)
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or 0 in array.shape:
        raise ValueError(f"its shape is (H, W), (H, W, C) or (C, H, W); got {array.shape}")
    if array.dtype == bool:
        array = array.astype(np.uint8) * 255
    if np.issubdtype(array.dtype, np.floating):
        low, high = float(array.min()), float(array.max())
        if not (low >= 0 and high <= 1):
            raise ValueError(
                f"floats are read from 0 (black) to 1 (white); got {low:.3g} to {high:.3g}; scale them, or use uint8"
            )
        array = (array * 255).round().astype(np.uint8)
    if array.dtype == np.uint16 and array.shape[2] == 1:
        return _encoded(Image.fromarray(np.ascontiguousarray(array[:, :, 0])))
    if array.dtype != np.uint8:
        raise ValueError(f"values are uint8, uint16 (grey) or floats from 0 to 1; got {array.dtype}")
    if array.shape[2] == 4:
        return _encoded(Image.fromarray(np.ascontiguousarray(array)))
    return np.ascontiguousarray(array)


def _encoded(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "TIFF" if image.mode == "F" else "PNG", **({} if image.mode == "F" else {"compress_level": 1}))
    return stream.getvalue()
