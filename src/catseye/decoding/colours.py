"""Palettes, transparency, CMYK and one bit to 8-bit RGB or L.

Enters: a decoded image whose mode has at most 8 bits per value. Leaves: mode RGB, or L if its mode is grey. Called by
preprocess.py.
"""

import numpy as np
from PIL import Image

from catseye.decoding.greys import strips


def to_colours(image: Image.Image) -> Image.Image:
    """Convert to RGB or L, with transparent pixels on white, as viewers show them.

    An alpha channel that is 0 everywhere hides the whole image. If the hidden pixels differ in colour, and always in a
    BMP, such a channel was written by mistake: the image counts as opaque.
    """
    if image.mode in ("RGB", "L") and not image.has_transparency_data:
        return image
    grey = "L" if image.mode in ("1", "L", "LA") or (image.mode == "P" and _is_grey_palette(image)) else "RGB"
    if not image.has_transparency_data:
        return image.convert(grey)
    result, visible = Image.new(grey, image.size), False
    for box in strips(image.size):
        layer = image.crop(box).convert("RGBA")
        visible = visible or layer.getchannel("A").getextrema() != (0, 0)
        white = Image.new("RGBA", layer.size, "white")
        result.paste(Image.alpha_composite(white, layer).convert(grey), box)
    return result if visible else _without_alpha(image, result)


def _without_alpha(image: Image.Image, result: Image.Image) -> Image.Image:
    """Write the hidden pixels over `result`; white if they have only one colour."""
    for box in strips(image.size):
        result.paste(image.crop(box).convert("RGBA").convert(result.mode), box)
    extrema = np.array(result.getextrema()).reshape(-1, 2)  # of each band
    if image.format != "BMP" and (extrema[:, 0] == extrema[:, 1]).all():
        result.paste("white", (0, 0, *result.size))
    return result


def _is_grey_palette(image: Image.Image) -> bool:
    palette = np.frombuffer(bytes(image.getpalette() or b""), np.uint8).reshape(-1, 3)
    return bool((palette == palette[:, :1]).all())
