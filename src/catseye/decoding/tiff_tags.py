"""The tags of a TIFF's first image, read in bounded time and memory.

Enters: untrusted bytes. Leaves: the values of the tags that are needed, nothing copied. Called by channels.py for every
TIFF (in the server before the image is queued), and by tiff_planes.py.
"""

import struct

MAX_ENTRIES = 1_000  # tags per image
MAX_VALUES = 1_000_000  # strips or tiles
WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262  # TIFF 6.0, section 8
STRIP_OFFSETS, SAMPLES, ROWS_PER_STRIP, STRIP_BYTES, PLANAR = 273, 277, 278, 279, 284
FILL_ORDER, ORIENTATION_TAG, PREDICTOR = 266, 274, 317
TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_BYTES = 322, 323, 324, 325
EXTRA_SAMPLES, SAMPLE_FORMAT = 338, 339
SHORT_TAGS = (WIDTH, HEIGHT, BITS, PHOTOMETRIC, SAMPLES, EXTRA_SAMPLES, SAMPLE_FORMAT)
_LAYOUTS = {1: ("B", 1), 3: ("H", 2), 4: ("I", 4), 16: ("Q", 8)}  # field type -> struct's letter, bytes
_BEGINNINGS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the last two: BigTIFF

Tags = dict[int, tuple[int, ...]]


def is_tiff(content: bytes) -> bool:
    """Whether these bytes begin as a TIFF."""
    return content.startswith(_BEGINNINGS)


def byte_order(content: bytes) -> str:
    """The byte order, as struct writes it."""
    return "<" if content[:2] == b"II" else ">"


def read_tags(content: bytes, wanted: tuple[int, ...] = SHORT_TAGS) -> Tags:
    """The wanted tags of the first image; empty if it is damaged or not a TIFF.

    >>> read_tags(b"II*" + bytes(20))
    {}
    """
    if not is_tiff(content):
        return {}
    order, big = byte_order(content), content[2:4] in (b"+\0", b"\0+")
    num_letter, place_letter, inline = ("Q", "Q", 8) if big else ("H", "I", 4)
    try:
        (at,) = struct.unpack_from(order + place_letter, content, 8 if big else 4)
        (num,) = struct.unpack_from(order + num_letter, content, at)
        at += struct.calcsize(num_letter)
        if not 0 < num <= MAX_ENTRIES:
            return {}
        entry = struct.Struct(f"{order}HH{place_letter}")
        tags: Tags = {}
        for place in range(at, at + num * (entry.size + inline), entry.size + inline):
            tag, kind, count = entry.unpack_from(content, place)
            if tag not in wanted or kind not in _LAYOUTS or not 0 < count <= MAX_VALUES:
                continue
            letter, width = _LAYOUTS[kind]
            begin = place + entry.size
            if count * width > inline:
                (begin,) = struct.unpack_from(order + place_letter, content, begin)
            tags[tag] = struct.unpack_from(f"{order}{count}{letter}", content, begin)
    except (struct.error, OverflowError):
        return {}
    return tags
