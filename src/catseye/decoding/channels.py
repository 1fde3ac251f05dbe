"""How many values a TIFF has per pixel: microscopes and satellites write more than the three colours that are read.

Enters: the bytes of a TIFF, or its size. Leaves: a number, or the refusal that names it. Called by preprocess.py and
failures.py.
"""

import io
import warnings

from PIL import Image, TiffImagePlugin

from catseye.errors import UnsupportedPixels

MOST_CHANNELS = 4  # colour and transparency
_VALUES_PER_PIXEL = 277  # TIFF 6.0, SamplesPerPixel


def refuse_more_channels(image: Image.Image) -> None:
    """Refuse a TIFF of which Pillow would show the first three of many channels and drop the others.

    Raises:
        UnsupportedPixels: it has more than four.

    """
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return
    if (num := image.tag_v2.get(_VALUES_PER_PIXEL, 1)) > MOST_CHANNELS:
        raise UnsupportedPixels(too_many_channels(num))


def too_many_channels(num: int) -> str:
    """The sentence about it, without its subject."""
    return (
        f"has {num} channels per pixel, and 1 (greyscale) or 3 (colour) are read; save the three that matter as an RGB "
        "image, or one of them as greyscale"
    )


def tiff_channels(content: bytes) -> int:
    """Values per pixel of a TIFF that no decoder takes; 0 where it does not say."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd tags, which are not what is asked for
            tags = TiffImagePlugin.ImageFileDirectory_v2(content[:8])
            stream = io.BytesIO(content)
            stream.seek(tags.next)
            tags.load(stream)
            return int(tags.get(_VALUES_PER_PIXEL, 0))
    except Exception:  # noqa: BLE001 - damaged tags end in any exception, and are somebody else's sentence
        return 0
