"""HEIC and AVIF: whether they can be read here, and their sides.

Enters: untrusted bytes. Leaves: the names of the formats that can be read, and a size. Called by headers.py and
preprocess.py. Both formats consist of nested boxes. Pillow reads AVIF if it was built with it; HEIC needs pi-heif
(extra `heif`), whose opener is registered here.
"""

import struct
from collections.abc import Iterator

from PIL import features

MAX_BOXES = 2000
_PARENTS = {b"meta": 4, b"iprp": 0, b"ipco": 0}  # boxes that contain the sizes: bytes to skip before their content


def boxed_formats() -> tuple[str, ...]:
    """Those of the two formats that can be read here, by their names in Pillow."""
    formats = ("AVIF",) if features.check("avif") else ()
    try:
        import pi_heif
    except ImportError:
        return formats
    pi_heif.register_heif_opener(thumbnails=False)
    return (*formats, "HEIF")


def boxed_format(content: bytes) -> str:
    r"""AVIF or HEIF, by the brands in the first box; empty if it is neither.

    >>> boxed_format(b"\0\0\0\x1cftypheic\0\0\0\0mif1heicmiaf")
    'HEIF'
    """
    if content[4:8] != b"ftyp":
        return ""
    (length,) = struct.unpack_from(">I", content)
    brands = [content[at : at + 4] for at in (8, *range(16, min(length, 256), 4))]
    if b"avif" in brands or b"avis" in brands:
        return "AVIF"
    return "HEIF" if {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"} & set(brands) else ""


def boxed_size(content: bytes) -> tuple[int, int]:
    """Width and height of the largest image in the file.

    No image that is decoded from it takes more memory.

    Raises:
        ValueError: there is no size, or its boxes are malformed.

    """
    sizes = [struct.unpack_from(">II", content, at + 4) for name, at, _ in _boxes(content) if name == b"ispe"]
    if not sizes:
        raise ValueError("no size")
    return max(sizes, key=lambda size: size[0] * size[1])


def _boxes(content: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and end of the content of every box on the way to the sizes."""
    waiting, seen = [(0, len(content))], 0
    while waiting:
        at, end = waiting.pop()
        while at + 8 <= end:
            seen += 1
            length, name = struct.unpack_from(">I4s", content, at)
            begin = at + 8
            if length == 1:
                (length,) = struct.unpack_from(">Q", content, begin)
                begin += 8
            length = length or end - at
            if length < begin - at or seen > MAX_BOXES:
                raise ValueError("a box that is shorter than its head, or too many boxes")
            box_end = min(end, at + length)
            yield name, begin, box_end
            if name in _PARENTS:
                waiting.append((begin + _PARENTS[name], box_end))
            at += length
