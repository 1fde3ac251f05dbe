"""One look at every image: whether it can be read, its format, a thumbnail.

Enters: `ImageSet`. Leaves: `Looks`, one row per image. Called by `check.py`. An image is decoded as everywhere else
(`preprocess.open_image`), so an image that can be read here can be trained on.
"""

import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from catseye.data.cache import KeptEntry, keep_entry, kept_entry, key_of, worth_keeping
from catseye.data.check.duplicates import THUMB_PX
from catseye.data.file_facts import stamp_files
from catseye.data.pool import shared_out
from catseye.data.sources import ImageSet
from catseye.decoding.channels import read_channels
from catseye.errors import ImageError, ImageTooLarge, UnsupportedPixels
from catseye.preprocess import FILE_FORMATS, FILE_SUFFIXES, ORIENTATION, Pixels, is_pointer, open_image, quiet_pillow

MAX_COLOURS = 256  # images with more are not counted
_SUFFIXES = {
    "JPEG": {".jpg", ".jpeg", ".jfif"},
    "PNG": {".png"},
    "WEBP": {".webp"},
    "BMP": {".bmp"},
    "GIF": {".gif"},
    "TIFF": {".tif", ".tiff"},
    "PPM": {".ppm", ".pgm", ".pbm", ".pnm"},
}
_HEADS = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"BM", b"II*\0", b"MM\0*")  # how image files begin


@dataclass(frozen=True)
class Look:
    """What one file holds.

    `spread` is the largest standard deviation of a channel, `num_colours` is 0 if there are more than 256.
    """

    digest: bytes
    width_px: int
    height_px: int
    format: str
    misnamed: bool
    turned: bool
    transparent: bool
    spread: float
    num_colours: int
    thumb: Pixels


@dataclass(frozen=True)
class Fault:
    """Why an image cannot be used. `kind` is a key of `image_rules._FAULTS`."""

    kind: str
    reason: str


@dataclass(frozen=True)
class Looks:
    """All images, one row each; rows of `faults` are zero, sizes are upright."""

    digests: list[bytes]
    width_px: NDArray[np.int32]
    height_px: NDArray[np.int32]
    formats: list[str]
    misnamed: NDArray[np.bool_]
    turned: NDArray[np.bool_]
    transparent: NDArray[np.bool_]
    spread: NDArray[np.float32]
    num_colours: NDArray[np.int32]
    thumbs: Pixels
    faults: dict[int, Fault]

    @property
    def readable(self) -> NDArray[np.bool_]:
        """(N,) True if the image can be used."""
        result = np.ones(len(self.digests), bool)
        result[list(self.faults)] = False
        return result


def look_at_all(images: ImageSet, *, stamp: bytes = b"", tell: Callable[[int], None] | None = None) -> Looks:
    """Look at every image; `tell` is called with the number of images done.

    With a `stamp` (file_facts.py), the result of an earlier look at the same files is used.

    Shape: every array of the result has N rows.
    """
    num = len(images)
    key = key_of("looks", stamp, images.value_range, images.channels)
    if (kept := kept_entry(key)) is not None:
        return _restored_looks(kept)
    looks = Looks(
        digests=[b""] * num,
        width_px=np.zeros(num, np.int32),
        height_px=np.zeros(num, np.int32),
        formats=[""] * num,
        misnamed=np.zeros(num, bool),
        turned=np.zeros(num, bool),
        transparent=np.zeros(num, bool),
        spread=np.zeros(num, np.float32),
        num_colours=np.zeros(num, np.int32),
        thumbs=np.zeros((num, THUMB_PX, THUMB_PX, 3), np.uint8),
        faults={},
    )
    begun, num_done = time.monotonic(), 0

    def look_at(portion: range) -> list[Look | Fault]:
        return [_look(images, index) for index in portion]

    for portion, results in shared_out(look_at, num):
        for index, result in zip(portion, results, strict=True):
            if isinstance(result, Fault):
                looks.faults[index] = result
            else:
                _write_row(looks, index, result)
        num_done += len(portion)
        if tell is not None:
            tell(num_done)
    took_s = time.monotonic() - begun
    if worth_keeping(took_s) and stamp and stamp == stamp_files(images):
        keep_entry(key, took_s, *_described_looks(looks))
    return looks


_ARRAYS = ("width_px", "height_px", "misnamed", "turned", "transparent", "spread", "num_colours", "thumbs")


def _described_looks(looks: Looks) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """What the cache keeps: arrays, and the rest as plain JSON types."""
    arrays: dict[str, NDArray[Any]] = {name: getattr(looks, name) for name in _ARRAYS}
    arrays["digests"] = np.frombuffer(b"".join(each or bytes(16) for each in looks.digests), np.uint8)
    faults = {index: [fault.kind, fault.reason] for index, fault in looks.faults.items()}
    return arrays, {"formats": looks.formats, "faults": faults}


def _restored_looks(kept: KeptEntry) -> Looks:
    faults = {int(index): Fault(*fields) for index, fields in kept.facts["faults"].items()}
    whole = kept.arrays["digests"].tobytes()
    digests = [whole[start : start + 16] for start in range(0, len(whole), 16)]
    for index in faults:
        digests[index] = b""
    arrays = {name: kept.arrays[name] for name in _ARRAYS}
    return Looks(digests=digests, formats=kept.facts["formats"], faults=faults, **arrays)


def _write_row(looks: Looks, index: int, look: Look) -> None:
    looks.digests[index], looks.formats[index] = look.digest, look.format
    looks.width_px[index], looks.height_px[index] = look.width_px, look.height_px
    looks.misnamed[index], looks.turned[index] = look.misnamed, look.turned
    looks.transparent[index], looks.spread[index] = look.transparent, look.spread
    looks.num_colours[index] = look.num_colours
    looks.thumbs[index] = look.thumb


def _look(images: ImageSet, index: int) -> Look | Fault:
    name = images.names[index]
    try:
        content = images.read(index)
    except ImageError as error:
        return Fault("missing", f"{name}: {error}")
    raw = content if isinstance(content, bytes) else content.tobytes()
    try:
        image = open_image(content, value_range=images.value_range or "own")
    except ImageError as error:
        return Fault(_fault_kind(raw, error), f"{name}: {error}")
    kind, turned, transparent = _header(content) if isinstance(content, bytes) else ("", False, False)
    colours = image.getcolors(MAX_COLOURS)
    return Look(
        digest=blake2b(raw, digest_size=16).digest(),
        width_px=image.width,
        height_px=image.height,
        format=kind,
        misnamed=bool(kind) and PurePosixPath(name).suffix.lower() not in _SUFFIXES.get(kind, FILE_SUFFIXES),
        turned=turned,
        transparent=transparent,
        spread=_channel_spread(image),
        num_colours=len(colours) if colours else 0,
        thumb=make_thumb(image),
    )


def _fault_kind(content: bytes, error: ImageError) -> str:
    """Which kind of fault it is that bytes could not be decoded."""
    if isinstance(error, ImageTooLarge):
        return "too large"
    if isinstance(error, UnsupportedPixels):
        return "unsupported"
    if not content:
        return "empty"
    if is_pointer(content):
        return "pointer"
    is_webp = content[:4] == b"RIFF" and content[8:12] == b"WEBP"
    return "cut off" if content.startswith(_HEADS) or is_webp else "no image"


def _header(content: bytes) -> tuple[str, bool, bool]:
    """Format, whether EXIF turns the image, whether a pixel is transparent."""
    facts = read_channels(content)
    if facts is not None and (facts.format == "NPY" or not facts.colour):
        return facts.format, False, False
    with quiet_pillow(), Image.open(io.BytesIO(content), formats=FILE_FORMATS) as image:
        kind = {"MPO": "JPEG"}.get(image.format or "", image.format or "")
        try:
            turned = image.getexif().get(ORIENTATION, 1) in range(2, 9)
        except Exception:  # noqa: BLE001 - a readable image may have damaged EXIF
            turned = False
        if not image.has_transparency_data:
            return kind, turned, False
        lowest, _ = image.convert("RGBA").getchannel("A").getextrema()
        return kind, turned, isinstance(lowest, int | float) and lowest < 250


def _channel_spread(image: Image.Image) -> float:
    """The largest standard deviation of a channel, in grey levels of 256."""
    counts = np.array(image.histogram(), np.float64).reshape(-1, 256)
    levels = np.arange(256)
    total = counts.sum(1)
    mean = counts @ levels / total
    return float(np.sqrt(np.maximum(counts @ levels**2 / total - mean**2, 0).max()))


def make_thumb(image: Image.Image) -> Pixels:
    """The whole image, whatever its aspect ratio.

    Shape: (16, 16, 3) uint8.
    """
    small = image.resize((THUMB_PX, THUMB_PX), Image.Resampling.BILINEAR, reducing_gap=4.0)
    return np.asarray(small.convert("RGB"), np.uint8)
