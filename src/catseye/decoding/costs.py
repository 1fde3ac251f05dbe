"""The memory that decoding takes, from format, kind of pixels and size alone.

Enters: a `Header`. Leaves: bytes, or an error. Called before a decoder runs: by preprocess.py for every image, and by
serving/lanes.py, which decodes only as many images at a time as fit in memory. `tests/unit/test_decoding.py` compares
the numbers with measured peaks.
"""

from catseye.decoding.headers import Header
from catseye.errors import ImageTooLarge

MAX_SIDE_PX = 65_535  # the longest of a JPEG; Pillow keeps a pointer per row, so tall images cost more than their area
MOST_BYTES_PER_PIXEL = 8  # times the largest number of pixels allowed: what any image may take
MAX_RUN_LENGTH_PIXELS = 4_000_000  # Pillow decodes run-length BMPs byte by byte in Python
ENOUGH_BYTES = 32_000_000
RESERVE_BYTES = 8_000_000  # tables, rows, the strip that is being converted
# Peak bytes per pixel while an image is decoded, converted to 8 bits and turned: Pillow's RGB and LA take 4 per pixel.
_PER_PIXEL: dict[str, dict[str, float]] = {
    "PNG": {"L": 3, "L 16": 5, "LA": 6.5},
    "WEBP": {"": 16},  # two canvases, the frame as bytes, the image
    "GIF": {},
    "BMP": {},
    "TIFF": {"1": 4, "L": 4, "I;16": 8, "I;16B": 8, "": 16},
    "PPM": {"": 12},
    "AVIF": {"": 16},
    "HEIF": {"": 14},
    "JPEG2000": {"L": 8, "I;16": 10, "": 28},
}
_OTHERWISE = 8.5


def most_bytes(max_pixels: int) -> int:
    """How much memory one image may take while it is decoded.

    >>> most_bytes(50_000_000)
    400000000
    """
    return max(ENOUGH_BYTES, MOST_BYTES_PER_PIXEL * max_pixels)


def decoding_bytes(header: Header, num_bytes: int, *, shrunk: int = 1, width_px: int = 0) -> int:
    """Peak memory of decoding on top of the file's `num_bytes`, and of a resize.

    The resize is to `width_px` columns. `shrunk`: a JPEG is decoded at 1/`shrunk` of its sides; the coefficients that
    it keeps until its last scan are not fewer for that.

    >>> decoding_bytes(Header("WEBP", 7071, 7071), 38) // 10**6
    808
    >>> decoding_bytes(Header("JPEG", 4000, 3000, "sequential 3"), 10**6, shrunk=8) // 10**6
    9
    """
    pixels = header.width * header.height
    resized = 4 * width_px * -(-header.height // shrunk) + 8 * header.height
    if header.format in ("JPEG", "MPO"):
        shrunk = 1 if "whole" in header.kind else shrunk
        padded = pixels + 16 * (header.width + header.height + 16)  # up to full blocks
        image = 8 * -(-header.width // shrunk) * -(-header.height // shrunk)
        return int(image + 2 * header.coefficients * padded + resized + RESERVE_BYTES)
    kinds = _PER_PIXEL.get(header.format, {"": 28})
    kind, animated, _ = header.kind.partition(" animated") if header.kind != "bound" else ("", "", "")
    each = kinds.get(kind, kinds.get("", _OTHERWISE)) * (2 if animated else 1)
    copied = 2 * num_bytes if header.format == "WEBP" else 0  # Pillow reads the complete file and passes on a copy
    return int(each * pixels + resized + copied + RESERVE_BYTES)


def require_affordable(header: Header, num_bytes: int, max_pixels: int) -> None:
    """Refuse an image for its size, or because decoding it takes `num_bytes`.

    Raises:
        ImageTooLarge: it has too many pixels, too long a side, or needs more memory than `most_bytes`; the message
            lacks its subject.

    """
    width, height = header.width, header.height
    if width * height > max_pixels:
        raise ImageTooLarge(f"has {width} x {height} pixels; at most {max_pixels:,} are read")
    if max(width, height) > MAX_SIDE_PX:
        raise ImageTooLarge(f"has {width} x {height} pixels; a side has at most {MAX_SIDE_PX:,}")
    if "run-length" in header.kind and width * height > MAX_RUN_LENGTH_PIXELS:
        raise ImageTooLarge(
            f"is a run-length BMP of {width} x {height} pixels; at most {MAX_RUN_LENGTH_PIXELS:,} are read; "
            "save it as PNG"
        )
    if num_bytes > most_bytes(max_pixels) + RESERVE_BYTES:
        raise ImageTooLarge(
            f"is a {header.format} of {width} x {height} pixels, which takes {num_bytes / 1e6:,.0f} MB to decode; "
            f"at most {most_bytes(max_pixels) / 1e6:,.0f} MB are allowed; make it smaller, or save it as JPEG"
        )
