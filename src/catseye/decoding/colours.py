"""Palettes, transparency, CMYK and one bit to 8-bit RGB or L.

Enters: a decoded image of a mode with at most 8 bits per value. Leaves: mode RGB, or L where it is grey by its mode.
Called by preprocess.py.
"""

import numpy as np
from PIL import Image

from catseye.decoding.greys import strips


def to_colours(image: Image.Image) -> Image.Image:
    """Lay transparent pixels on white, as every viewer shows them, and drop what RGB or L cannot say.

    An alpha channel that is 0 everywhere hides the whole image. Where there is one beneath (its colours differ), and in
    a BMP always, such a channel was written by mistake: the image counts as opaque.
    """
    if image.mode in ("RGB", "L") and not image.has_transparency_data:
        return image
    grey = "L" if image.mode in ("1", "L", "LA") or (image.mode == "P" and _is_grey_palette(image)) else "RGB"
    if not image.has_transparency_data:
        return image.convert(grey)
    result, seen = Image.new(grey, image.size), False
    for box in strips(image.size):
        layer = image.crop(box).convert("RGBA")
        seen = seen or layer.getchannel("A").getextrema() != (0, 0)
        white = Image.new("RGBA", layer.size, "white")
        result.paste(Image.alpha_composite(white, layer).convert(grey), box)
    return result if seen else _beneath(image, result)


def _beneath(image: Image.Image, result: Image.Image) -> Image.Image:
    """What a channel that hides everything hides, written over `result`; white where that is one colour only."""
    for box in strips(image.size):
        result.paste(image.crop(box).convert("RGBA").convert(result.mode), box)
    extrema = np.array(result.getextrema()).reshape(-1, 2)  # of each band
    if image.format != "BMP" and (extrema[:, 0] == extrema[:, 1]).all():
        result.paste("white", (0, 0, *result.size))
    return result


def _is_grey_palette(image: Image.Image) -> bool:
    palette = np.frombuffer(bytes(image.getpalette() or b""), np.uint8).reshape(-1, 3)
    return bool((palette == palette[:, :1]).all())
