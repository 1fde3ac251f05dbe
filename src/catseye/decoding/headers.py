"""Sides and kind of pixels of an image, from its first bytes, without a decoder.

Enters: untrusted bytes. Leaves: a `Header`, in microseconds and without allocating. Some of Pillow's plugins allocate
memory as soon as they open a file (WebP: two canvases), and the server must know the size before it queues an image.
Called by `costs.py`, preprocess.py and serving/engine.py.
"""

import struct
from dataclasses import dataclass

from catseye.decoding.boxed import boxed_format, boxed_size

MAX_STEPS = 1000  # parts of a file before its pixels; no real image has more
MAX_SUB_BLOCKS = 10_000  # of 255 bytes: a GIF's comment of 2.5 MB
_FRAMES = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}  # a JPEG's SOF markers
_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
_SHRINKABLE = {0xC0, 0xC1, 0xC2}  # DCT with Huffman codes: `draft` can decode them smaller, and they may come in parts
SOS, EOI = 0xDA, 0xD9
_SIDES = struct.Struct(">HHB")
BOUND = "bound"  # the kind of a header whose sides are an upper bound


@dataclass(slots=True)  # frozen would take as long as reading it
class Header:
    """Sides in pixels as stored, before EXIF turns them; `kind` matters to the cost.

    Sides of 0: the file has this format, but its size could not be read from the header.
    """

    format: str
    width: int = 0
    height: int = 0
    kind: str = ""
    coefficients: float = 0.0  # JPEG: how many per pixel are kept until the last scan
    starts_at: int = 0  # JPEG: the position of the first scan's header


def read_header(content: bytes) -> Header | None:
    r"""Read the header of a JPEG, PNG, WebP, BMP, GIF, AVIF or HEIC; None for others.

    >>> read_header(b"GIF89a\x10\0\x20\0\0\0\0\x2c\0\0\0\0\x10\0\x20\0\0")
    Header(format='GIF', width=16, height=32, kind='', coefficients=0.0, starts_at=0)

    """
    for start, name, read in _READERS:
        if content.startswith(start):
            try:
                return read(content)
            except (IndexError, ValueError, struct.error):
                return Header(name)  # cut off or malformed
    if content[4:8] == b"ftyp":
        return _boxed_header(content)
    return None


def _boxed_header(content: bytes) -> Header | None:
    """HEIC and AVIF: the sides of the largest image, though viewers may show less."""
    try:
        name = boxed_format(content)
        return Header(name, *boxed_size(content), kind=BOUND) if name else None
    except (IndexError, ValueError, struct.error):
        return Header(name) if (name := boxed_format(content[:32].ljust(32, b" "))) else None


def _jpeg_header(content: bytes) -> Header:
    """Walk from marker to marker up to the first scan, as Pillow does.

    It allocates nothing and is quick, because it blocks the server.
    """
    at, width, height, kind, coefficients = 2, 0, 0, "", 0.0
    for _ in range(MAX_STEPS):
        if content[at] != 0xFF:  # bytes that a faulty encoder left between two parts
            at = content.index(b"\xff", at)
        marker = content[at + 1]
        while marker == 0xFF:
            at += 1
            marker = content[at + 1]
        at += 2
        if marker in _FRAMES:
            width, height, kind, coefficients = _jpeg_frame(content, at, marker)
        elif marker == SOS:
            if "progressive" not in kind and content[at + 2] >= int(kind[-1:] or 0):
                coefficients = 0.0
            return Header("JPEG", width, height, kind, coefficients, at - 2)
        elif marker == EOI:
            break
        elif 0xD0 <= marker <= 0xD8 or marker <= 1:
            continue
        at += content[at] << 8 | content[at + 1]
    return Header("JPEG")


def _jpeg_frame(content: bytes, at: int, marker: int) -> tuple[int, int, str, float]:
    """SOF: width, height, kind, and the samples per pixel of all components together.

    The kind ends in the number of components.
    """
    height, width, num_components = _SIDES.unpack_from(content, at + 3)
    area, across, down = 0, 1, 1
    for factors in content[at + 9 : at + 9 + 3 * num_components : 3]:
        wide, high = factors >> 4, factors & 15
        area += wide * high
        across, down = across if across > wide else wide, down if down > high else high
    if len(content) <= at + 6 + 3 * num_components:
        raise IndexError("it is cut off")
    words = "progressive" if marker in _PROGRESSIVE else "sequential"
    if marker not in _SHRINKABLE:
        words += " whole"
    return width, height, f"{words} {num_components}", area / (across * down)


def _png_header(content: bytes) -> Header:
    if content[12:16] != b"IHDR":
        return Header("PNG")
    width, height, depth, colours = struct.unpack_from(">IIBB", content, 16)
    kind = {0: "L", 2: "RGB", 3: "P", 4: "LA", 6: "RGBA"}.get(colours, "")
    if kind and depth == 16:
        kind += " 16"
    at = 33
    for _ in range(MAX_STEPS):
        length, name = struct.unpack_from(">I4s", content, at)
        if name == b"acTL":
            return Header("PNG", width, height, f"{kind} animated")
        if name == b"IDAT":
            return Header("PNG", width, height, kind)
        at += 12 + length
    return Header("PNG")


def _webp_header(content: bytes) -> Header:
    """As libwebp reads it: a canvas (VP8X), lossless (VP8L) or lossy (VP8)."""
    chunk, width, height = content[12:16], 0, 0
    if content[8:12] != b"WEBP":
        return Header("WEBP")
    if chunk == b"VP8X":
        width, height = (int.from_bytes(content[at : at + 3], "little") + 1 for at in (24, 27))
    elif chunk == b"VP8L" and content[20] == 0x2F:
        (bits,) = struct.unpack_from("<I", content, 21)
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif chunk == b"VP8 " and content[23:26] == b"\x9d\x01\x2a":
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", content, 26))
    return Header("WEBP", width, height)


def _bmp_header(content: bytes) -> Header:
    (size,) = struct.unpack_from("<I", content, 14)
    if size == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", content, 18)
        return Header("BMP", width, height, str(bits))
    width, height, _, bits, compression = struct.unpack_from("<IiHHI", content, 18)
    return Header("BMP", width, abs(height), f"{bits} run-length" if compression in (1, 2) else str(bits))


def _gif_header(content: bytes) -> Header:
    """The screen, or the first frame if it is larger, as in Pillow."""
    width, height, flags = struct.unpack_from("<HHB", content, 6)
    at = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    for _ in range(MAX_STEPS):
        if content[at] == 0x2C:
            left, top, across, down = struct.unpack_from("<HHHH", content, at + 1)
            return Header("GIF", max(width, left + across), max(height, top + down))
        if content[at] != 0x21:
            at += 1
            continue
        at += 2
        for _ in range(MAX_SUB_BLOCKS):
            if not content[at]:
                break
            at += 1 + content[at]
        at += 1
    return Header("GIF")


_READERS = (
    (b"\xff\xd8\xff", "JPEG", _jpeg_header),
    (b"\x89PNG\r\n\x1a\n", "PNG", _png_header),
    (b"RIFF", "WEBP", _webp_header),
    (b"BM", "BMP", _bmp_header),
    (b"GIF8", "GIF", _gif_header),
)
