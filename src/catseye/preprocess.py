"""Image bytes in, one uint8 array out: the only preprocessing for evaluation.

Validation, testing, `predict`, the export check and the server call `preprocess` and nothing else, so they cannot
disagree. Pillow and NumPy only; no torch. Longer than other files, so that all the steps from bytes to pixels are read
in one place.
"""

import io
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from catseye.decoding.arrays_in_files import NPY
from catseye.decoding.boxed import boxed_formats
from catseye.decoding.channels import MAX_CHANNELS, PLAIN_CHANNELS, channels_differ, read_channels
from catseye.decoding.channels import Ranges as Ranges
from catseye.decoding.colours import to_colours
from catseye.decoding.costs import decoding_bytes, require_affordable
from catseye.decoding.failures import is_pointer as is_pointer
from catseye.decoding.failures import naming
from catseye.decoding.greys import is_deep, range_of, to_grey
from catseye.decoding.headers import BOUND, Header, read_header
from catseye.decoding.jpegs import load_whole
from catseye.decoding.planes import channel_bytes, channels_as_image, decode_channels
from catseye.decoding.tiff_tags import is_tiff
from catseye.decoding.upright import ORIENTATION as ORIENTATION
from catseye.decoding.upright import orientation_of, turned
from catseye.decoding.upright import quiet_pillow as quiet_pillow
from catseye.decoding.upright import read_file as read_file
from catseye.errors import ImageError, UnsupportedPixels

Pixels = NDArray[np.uint8]
Box = tuple[float, float, float, float]  # left, top, right, bottom
ImageSource = str | Path | bytes | Pixels | Image.Image

# Formats that may be uploaded. Pillow opens dozens of formats; the ones left out run large parsers.
UPLOAD_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", *boxed_formats())
# Formats that are read from a user's own folder.
FILE_FORMATS = (*UPLOAD_FORMATS, "TIFF", "PPM", "JPEG2000")
ARRAY_SUFFIX = ".npy"
FILE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"}
    | {".jp2", ".j2k", ".jpx"}
    | ({".avif"} if "AVIF" in UPLOAD_FORMATS else set())
    | ({".heic", ".heif"} if "HEIF" in UPLOAD_FORMATS else set())
)
LISTED_SUFFIXES = FILE_SUFFIXES | {ARRAY_SUFFIX}  # in a list that names its files; in folders arrays may be features
MAX_PIXELS = 100_000_000  # 10,000 x 10,000; a decoded image of that size takes 300 MB

# EXIF orientations: the stored right or bottom edge is then on the left, or on the top; width and height are swapped.
_TO_THE_LEFT = {2, 3, 6, 7}
_TO_THE_TOP = {3, 4, 7, 8}
_SIDES_SWAPPED = {5, 6, 7, 8}
# JPEGs are decoded at 1/2, 1/4 or 1/8 of their size if that leaves this many pixels for each one of the input, so
# that the resize, not the decoder, decides what the network sees.
DECODED_PER_INPUT_PX = 2.0
_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


class Preprocessing(BaseModel):
    """How an image becomes the network's input; stored in every model file.

    `mean` and `std` are in units of [0, 1] per channel. They are applied on the device (or inside
    the exported graph), not here: the array that leaves this file is uint8.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    height_px: int = Field(ge=1, le=4096)
    width_px: int = Field(ge=1, le=4096)
    channels: int = Field(default=3, ge=1, le=MAX_CHANNELS)
    resize: Literal["pad", "crop", "squash"] = "pad"
    filter: Literal["bilinear", "bicubic"] = "bilinear"
    fill: int = Field(default=0, ge=0, le=255)
    mean: tuple[FiniteFloat, ...]
    std: tuple[FiniteFloat, ...]
    value_range: tuple[FiniteFloat, FiniteFloat] | tuple[tuple[FiniteFloat, FiniteFloat], ...] | None = None
    """What becomes black and white in images of more than 8 bits per value, or in each channel; None: 0 and 65,535."""

    def model_post_init(self, context: object, /) -> None:
        """Check `mean`, `std` and `value_range`.

        One mean and one positive std per channel, and black less than white.

        Raises:
            ValueError: one of them is wrong.

        """
        if len(self.mean) != self.channels or len(self.std) != self.channels or min(self.std) <= 0:
            raise ValueError(f"mean and std need {self.channels} values, std above 0; got {self.mean} and {self.std}")
        if self.value_range is None:
            return
        pairs = np.array(self.value_range, np.float64).reshape(-1, 2)
        if len(pairs) not in (1, self.channels) or (pairs[:, 0] >= pairs[:, 1]).any():
            raise ValueError(
                "value_range is black and white, black the smaller one, or such a pair for each channel; got "
                f"{self.value_range}"
            )


@dataclass(frozen=True)
class Expected:
    """The input that published weights were trained with.

    `mean` and `std` are per channel, in units of [0, 1].
    """

    px: int
    filter: Literal["bilinear", "bicubic"]
    mean: tuple[float, ...]
    std: tuple[float, ...]


def preprocess(source: ImageSource, spec: Preprocessing, *, formats: tuple[str, ...] = FILE_FORMATS) -> Pixels:
    """Turn one image into the network's input.

    Large JPEGs are decoded at a reduced size: two to three times faster, with a quarter of the memory or less. The mean
    difference from full decoding is below half a level of 255.

    Shape: (H, W, C) uint8 with H = spec.height_px, W = spec.width_px, C = spec.channels.

    Raises:
        ImageError: the image is empty, cut off, of another format or too large.

    >>> spec = Preprocessing(height_px=32, width_px=32, mean=(0.5,) * 3, std=(0.5,) * 3)
    >>> preprocess(np.zeros((10, 20, 3), np.uint8), spec).shape
    (32, 32, 3)

    """
    return preprocess_sized(source, spec, formats=formats)[0]


def preprocess_sized(
    source: ImageSource,
    spec: Preprocessing,
    *,
    formats: tuple[str, ...] = FILE_FORMATS,
    max_pixels: int = MAX_PIXELS,
    known: tuple[Header | None, int] | None = None,
) -> tuple[Pixels, tuple[int, int]]:
    """As `preprocess`, with the width and height of the upright image.

    A map to lay over the image needs them. `known` is the result of `decoding_cost` for these bytes, if it was called
    before.
    """
    if spec.channels not in PLAIN_CHANNELS:
        planes = decode_channels(source, formats, spec.channels, max_pixels, spec.value_range)
        return fit_planes(planes, spec), planes[0].size
    image, box, size = _open(source, formats, spec, max_pixels, known=known)
    return to_pixels(fit_to_square(image, spec, box), spec.channels), size


def preprocess_twice(
    source: bytes | Pixels, spec: Preprocessing, other: Preprocessing
) -> tuple[Pixels, Pixels, tuple[int, int]]:
    """As `preprocess_sized` for one spec and then another.

    The image is decoded once if both need the same decoding.
    """
    if spec.channels not in PLAIN_CHANNELS and spec.channels == other.channels:
        planes = decode_channels(source, FILE_FORMATS, spec.channels, MAX_PIXELS, spec.value_range)
        return fit_planes(planes, spec), fit_planes(planes, other), planes[0].size
    if spec.channels not in PLAIN_CHANNELS:
        seen, size = preprocess_sized(source, other)
        return preprocess(source, spec), seen, size
    image, box, size = _open(source, FILE_FORMATS, spec)
    first = to_pixels(fit_to_square(image, spec, box), spec.channels)
    is_jpeg = isinstance(source, bytes) and source.startswith(b"\xff\xd8")  # nothing else is decoded smaller
    if spec.value_range != other.value_range or (is_jpeg and _shrink(size, spec) != _shrink(size, other)):
        image, box, _ = _open(source, FILE_FORMATS, other)
    return first, to_pixels(fit_to_square(image, other, box), other.channels), size


def open_image(
    source: ImageSource,
    *,
    formats: tuple[str, ...] = FILE_FORMATS,
    max_pixels: int = MAX_PIXELS,
    value_range: Ranges | Literal["own"] | None = "own",
) -> Image.Image:
    """Decode completely, turn upright by EXIF, convert to 8-bit RGB or L.

    Greyscale stays L. Transparent pixels are laid on white, as every viewer shows them; of an animation, the first
    frame is taken. Greyscale of more than 8 bits is scaled by `value_range` (`Preprocessing` has a data set's). "own",
    good for viewing, scales floating point by each image's own range and 16 bits from 0 to 65,535. If there are more
    channels than three, red, green and blue are the means of their first, second and last third.

    Raises:
        ImageError: as in `preprocess`.

    """
    return _open(source, formats, None, max_pixels, value_range)[0]


def open_planes(source: ImageSource, spec: Preprocessing) -> list[Image.Image]:
    """Every channel of an image as `preprocess` reads it, upright, each as mode L.

    Raises:
        ImageError: as in `preprocess`, or it has another number of channels.

    """
    return decode_channels(source, FILE_FORMATS, spec.channels, MAX_PIXELS, spec.value_range)


def decoding_cost(content: bytes, spec: Preprocessing | None) -> tuple[Header | None, int]:
    """The header of an upload, and the memory that `preprocess` takes for it.

    Only the first bytes are read; nothing is decoded. For a format outside `UPLOAD_FORMATS`, the header is None and the
    memory the size of `content`: the upload is refused at once. Without a `spec` the image is decoded at its full size.
    """
    if spec is not None and spec.channels not in PLAIN_CHANNELS:
        with suppress(ImageError):  # reported when it is decoded
            if (facts := read_channels(content, spec.channels)) is not None:
                return facts.header, channel_bytes(facts, len(content), spec.height_px * spec.width_px)
    header = read_header(content)
    return header, _bytes_for(header, len(content), spec) if header else len(content)


def _bytes_for(header: Header, num_bytes: int, spec: Preprocessing | None) -> int:
    if spec is None:
        return decoding_bytes(header, num_bytes)
    size = header.width, header.height
    shrunk = _shrink(size, spec)
    if shrunk > 1 and spec.width_px != spec.height_px:  # EXIF may rotate it; the higher cost is taken
        shrunk = min(shrunk, _shrink(size[::-1], spec))
    return decoding_bytes(header, num_bytes, shrunk=shrunk, width_px=spec.width_px)


def _open(
    source: ImageSource,
    formats: tuple[str, ...],
    spec: Preprocessing | None,
    max_pixels: int = MAX_PIXELS,
    value_range: Ranges | Literal["own"] | None = None,
    known: tuple[Header | None, int] | None = None,
) -> tuple[Image.Image, Box | None, tuple[int, int]]:
    """The decoded image, the box of the original in it, and the original's size.

    There is a box if the image was decoded at the reduced size that `spec` allows, else None.
    """
    if spec is not None:
        value_range = spec.value_range
    if isinstance(source, np.ndarray):
        image = _from_array(source)
        return image, None, image.size
    name = "the image"
    if isinstance(source, Image.Image):
        if 0 in source.size:
            raise ImageError(f"an image must hold pixels; got {source.width} x {source.height}")
        with naming(name, source, formats, 4 * source.width * source.height):
            source.load()
            upright = turned(_to_eight_bit(source, value_range), orientation_of(source))
        return upright, None, upright.size
    if isinstance(source, str | Path):
        name = str(source)
        source = read_file(Path(source))
    if not source:
        raise ImageError(f"{name} is empty (0 bytes)")
    if "TIFF" in formats and (source.startswith(NPY) or is_tiff(source)):  # not an upload
        with naming(name, source, formats, len(source)):
            facts = read_channels(source)
        if facts is not None and (facts.format == "NPY" or not facts.colour):
            wanted = spec.channels if spec else None
            image = channels_as_image(source, name, formats, facts, max_pixels, value_range, wanted)
            return image, None, image.size
    header, cost = known or decoding_cost(source, spec)
    with naming(name, source, formats, cost):
        if header and header.width:  # before Pillow sees it: its plugin for WebP allocates when it opens a file
            require_affordable(header, cost, max_pixels)
        return _decode(source, header, formats, spec, max_pixels, value_range)


def _decode(
    content: bytes,
    header: Header | None,
    formats: tuple[str, ...],
    spec: Preprocessing | None,
    max_pixels: int,
    value_range: Ranges | Literal["own"] | None,
) -> tuple[Image.Image, Box | None, tuple[int, int]]:
    with quiet_pillow():
        with Image.open(io.BytesIO(content), formats=formats) as image:
            if header is None or not header.width:
                header = Header(image.format or "", *image.size, image.mode)
                require_affordable(header, _bytes_for(header, len(content), spec), max_pixels)
            elif header.kind == BOUND and image.width * image.height <= header.width * header.height:
                header = replace(header, width=image.width, height=image.height)
            elif image.size != (header.width, header.height):
                raise ImageError(f"says two sizes, {header.width} x {header.height} and {image.width} x {image.height}")
            box = None
            if image.format in ("JPEG", "MPO"):
                turn = orientation_of(image)
                box = _reduce(image, spec, turn) if spec else None
                load_whole(image, header, content)
            else:
                image.load()
                turn = orientation_of(image)  # EXIF may follow the pixels
            width, height = header.width, header.height
            eight_bit = _to_eight_bit(image, value_range)
        del image  # frees the decoder and its memory before the next copy is made
    return turned(eight_bit, turn), box, (height, width) if turn in _SIDES_SWAPPED else (width, height)


def _reduce(image: Image.Image, spec: Preprocessing, turn: int) -> Box | None:
    """Set a JPEG's decoder to a smaller size; returns the original's upright box.

    The decoder rounds a side up to whole pixels, so the box ends a part of a pixel before the right and the bottom.
    """
    width, height = image.size
    scale = _shrink((height, width) if turn in _SIDES_SWAPPED else (width, height), spec)
    drafted = image.draft(None, (max(1, width // scale), max(1, height // scale))) if scale > 1 else None
    if drafted is None:
        return None
    rest_x, rest_y = image.width - drafted[1][2], image.height - drafted[1][3]
    width, height = image.size
    if turn in _SIDES_SWAPPED:
        width, height, rest_x, rest_y = height, width, rest_y, rest_x
    left = rest_x if turn in _TO_THE_LEFT else 0.0
    top = rest_y if turn in _TO_THE_TOP else 0.0
    return left, top, left + width - rest_x, top + height - rest_y


def _shrink(upright: tuple[int, int], spec: Preprocessing) -> int:
    """The number of pixels of a side that a JPEG's decoder may merge into one."""
    per_px = (upright[0] / spec.width_px, upright[1] / spec.height_px)
    shrink = max(per_px) if spec.resize == "pad" else min(per_px)
    for scale in (8, 4, 2):
        if shrink >= scale * DECODED_PER_INPUT_PX:
            return scale
    return 1


def fit_to_square(image: Image.Image, spec: Preprocessing, box: Box | None = None) -> Image.Image:
    """Resize to the input size.

    `box` is the part of `image` that holds the content, if not all of it. `pad` keeps the whole image and its
    proportions and fills the rest; `crop` scales the short side and cuts out the centre; `squash` changes the
    proportions.
    """
    target = (spec.width_px, spec.height_px)
    if image.size == target and box is None:
        return image
    method = _FILTERS[spec.filter]
    left, top, right, bottom = box or (0, 0, image.width, image.height)
    width, height = right - left, bottom - top
    if spec.resize == "crop":
        ratio = target[0] / target[1]
        inside = (ratio * height, height) if width / height > ratio else (width, width / ratio)
        left, top = left + (width - inside[0]) / 2, top + (height - inside[1]) / 2
        # Limited to the edge: Pillow refuses a box that a rounding error puts beyond it.
        right, bottom = min(right, left + inside[0]), min(bottom, top + inside[1])
    if spec.resize != "pad":
        return image.resize(target, method, (left, top, right, bottom))
    scale = min(target[0] / width, target[1] / height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    canvas = Image.new(image.mode, target, spec.fill if image.mode == "L" else (spec.fill,) * 3)
    resized = image.resize(size, method, (left, top, right, bottom))
    canvas.paste(resized, ((target[0] - size[0]) // 2, (target[1] - size[1]) // 2))
    return canvas


def fit_planes(planes: Sequence[Image.Image], spec: Preprocessing) -> Pixels:
    """Each channel fitted by itself.

    Shape: C images of mode L -> (H, W, C) uint8.
    """
    return np.stack([np.asarray(fit_to_square(plane, spec)) for plane in planes], axis=-1)


def to_pixels(image: Image.Image, channels: int) -> Pixels:
    """The image's values as an array.

    Shape: (H, W, C) uint8.
    """
    image = image.convert("L" if channels == 1 else "RGB")
    pixels = np.array(image, dtype=np.uint8)  # a copy: Pillow lends its own memory read-only
    return pixels.reshape(image.height, image.width, channels)


def normalise(pixels: Pixels, spec: Preprocessing) -> NDArray[np.float32]:
    """The float input of a network that has no normalisation inside its graph.

    Shape: (N, H, W, C) uint8 -> (N, C, H, W) float32, per channel (x / 255 - mean) / std.
    """
    mean, std = np.array(spec.mean, np.float32), np.array(spec.std, np.float32)
    scaled = (pixels.astype(np.float32) / np.float32(255) - mean) / std
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))


def _from_array(array: NDArray[np.generic]) -> Image.Image:
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3)):
        raise ImageError(
            f"an array must be uint8 of shape (H, W), (H, W, 1) or (H, W, 3); got {array.dtype} {array.shape}"
        )
    if array.size == 0:
        raise ImageError(f"an array must hold pixels; got shape {array.shape}")
    return Image.fromarray(array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array)


def _to_eight_bit(image: Image.Image, value_range: Ranges | Literal["own"] | None) -> Image.Image:
    if not is_deep(image.mode):
        return to_colours(image)
    if value_range == "own" and image.mode == "F":
        low, high = range_of(image) or (0.0, 1.0)
        value_range = (low, high if high > low else low + 1)
    elif value_range == "own":
        value_range = None
    if value_range is not None and isinstance(value_range[0], tuple):
        raise UnsupportedPixels(channels_differ(1, len(value_range)))
    return to_grey(image, value_range)
