"""Decodes a JPEG and detects one that was cut off, even with a new end marker.

libjpeg fills missing pixels with grey and only warns, and Pillow does not pass its warnings on. So the bytes go to
Pillow's decoder in two parts, split before the last marker: after the first part the decoder of a complete image has
finished or waits for a marker, while that of a cut image still needs pixels. Nothing is decoded twice. The messages
lack their subject, the image's name. Called by preprocess.py.
"""

import re

from PIL import Image, ImageFile

from catseye.decoding.headers import EOI, SOS, Header
from catseye.errors import ImageCutOff, ImageError

FILLER = b"\0" * 16  # the decoder reads up to 8 bytes ahead; a cut within the last 16 bytes is not detected
COPIED_BYTES = 1_000_000  # up to this size one call with a copy is faster than two
_PROBES = 4
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")  # neither a stuffed byte nor a restart within a scan
MAX_SCANS = 100  # a progressive JPEG has about 10; every further scan would cost a pass over the whole image
Scan = tuple[bytes, int, int, int]  # numbers of its components, first and last coefficient, bits still missing


def load_whole(image: ImageFile.ImageFile, header: Header, content: bytes) -> None:
    """Decode all pixels, as `image.load()` does.

    Raises:
        ImageCutOff: pixels are missing, whatever marker ends the file.
        ImageError: there are too many scans.
        OSError: the data are damaged or end without a marker, or memory ran out.

    """
    several = header.coefficients > 0
    # Searching all bytes for the end takes a hundredth of the time of decoding; mostly it is at the end of the file.
    simple = not several and image.format == "JPEG" and content.endswith(b"\xff\xd9")
    end, scans = (len(content) - 2, []) if simple else _scans_of(content, header.starts_at)
    if len(scans) > MAX_SCANS:
        raise ImageError(f"is a JPEG with too many scans; at most {MAX_SCANS} are read; save it again")
    if end is None or not header.kind or "whole" in header.kind or len(image.tile) != 1 or image.tile[0].offset:
        image.load()  # arithmetic codes cannot come in parts; a missing end marker is an error of Pillow's own
        return
    if several and not _is_complete(scans, int(header.kind[-1])):
        raise ImageCutOff("is cut off: scans are missing")
    complete, failed = _feed(image, memoryview(content), end)
    image.tile = []
    image.readonly = 0
    image.load_end()
    if failed:
        raise OSError("broken data stream")  # Pillow's own message; also if libjpeg got no memory
    if complete and simple and _ends_grey(image):  # libjpeg fills with grey; there may be a marker before the last one
        complete = _MARKER.search(content, header.starts_at + 4, end) is None
    if not complete:
        raise ImageCutOff("is cut off: pixels are missing at its end")


def _feed(image: ImageFile.ImageFile, content: memoryview, end: int) -> tuple[bool, bool]:
    """Decode up to `end`, check what the decoder still needs, then pass it the rest.

    Returns whether the image is complete, and whether decoding failed.
    """
    image.load_prepare()
    name, extents, _, args = image.tile[0]
    decoder = Image._getdecoder(image.mode, name, args, image.decoderconfig)
    try:
        decoder.setimage(image.im, extents)
        if end < COPIED_BYTES:
            rest = bytes(content[:end]) + FILLER
        else:
            used, error = decoder.decode(content[:end])
            if used < 0:
                return not error, bool(error)
            rest = bytes(content[used:end]) + FILLER
        waits = True
        for _ in range(_PROBES):
            used, error = decoder.decode(rest)
            if used < 0:
                return not error, bool(error)
            rest = rest[used:]
            # Between markers the decoder skips all bytes at once; within a scan it leaves bytes until a block is full.
            waits = waits and not rest
            rest += b"\0"
        if not waits:
            return False, False
        used, error = decoder.decode(rest + bytes(content[end:]))
        return used < 0 and not error, bool(error)
    finally:
        decoder.cleanup()


def _scans_of(content: bytes, at: int) -> tuple[int | None, list[Scan]]:
    """The end of the last scan's data, None without an end marker; and all scans."""
    scans: list[Scan] = []
    end = None
    while len(scans) <= MAX_SCANS and at + 4 <= len(content):
        marker = content[at + 1]
        if marker == EOI:
            return end, scans
        following = at + 2 + int.from_bytes(content[at + 2 : at + 4], "big")
        if marker == SOS and following <= len(content):
            num = content[at + 4]
            first, last, bits = content[at + 5 + 2 * num : at + 8 + 2 * num]
            scans.append((content[at + 5 : at + 5 + 2 * num : 2], first, last, bits & 15))
        marker_match = _MARKER.search(content, following)
        if marker_match is None:
            return (end, scans) if content[at + 1] == EOI else (None, scans)
        if marker == SOS:
            end = marker_match.start()
        at = marker_match.start()
    return (end, scans) if content[at : at + 2] == bytes((0xFF, EOI)) else (None, scans)


def _ends_grey(image: ImageFile.ImageFile) -> bool:
    corner = image.im.getpixel((image.width - 1, image.height - 1))
    return all(value in (127, 128) for value in (corner if isinstance(corner, tuple) else (corner,)))


def _is_complete(scans: list[Scan], num_components: int) -> bool:
    """Whether every coefficient of every component is there to its last bit."""
    left: dict[int, list[int]] = {}
    for components, first, last, bits in scans:
        for component in components:
            left.setdefault(component, [1] * 64)[first : last + 1] = [bits] * (last + 1 - first)
    return len(left) == num_components and all(not any(each) for each in left.values())
