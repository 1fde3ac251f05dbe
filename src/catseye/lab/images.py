"""The images on the bench: drawn here, or dropped onto a page by the user.

Enters: bytes of an image file. Leaves: `LabImage`, upright RGB or grey pixels of at most 1,024 px a side. Dropped
images stay in memory until the lab ends; none is written to disk.
"""

import contextlib
import io
import threading
from collections import OrderedDict
from dataclasses import dataclass
from functools import cache, cached_property
from hashlib import sha256

import numpy as np
from PIL import Image, ImageDraw

from catseye.data.builtin import load_builtin
from catseye.errors import MissingDependency, UsageError
from catseye.preprocess import UPLOAD_FORMATS, Pixels, open_image, to_pixels

LONGEST_PX = 1024
MAX_DROPPED = 12
DRAWN_PX = 192
_LARGER = 3  # drawn this many times larger, then shrunk, for smooth edges


@dataclass(frozen=True)
class LabImage:
    """Pixels (H, W, C) uint8 with C 1 or 3, and a title.

    `given_px` is (width, height) of the file.
    """

    name: str
    title: str
    pixels: Pixels
    given_px: tuple[int, int]

    @cached_property
    def png(self) -> bytes:
        """The image as a file, for the page to show."""
        stream = io.BytesIO()
        image = Image.fromarray(self.pixels[:, :, 0] if self.pixels.shape[2] == 1 else self.pixels)
        image.save(stream, "PNG")
        return stream.getvalue()

    @property
    def pil(self) -> Image.Image:
        """The image as a Pillow image."""
        return Image.fromarray(self.pixels[:, :, 0] if self.pixels.shape[2] == 1 else self.pixels)

    def fitted(self, side_px: int, *, channels: int = 3) -> Pixels:
        """The whole image, shrunk if its longer side is more than `side_px`.

        Shape: (h, w, C) uint8 with max(h, w) at most side_px.
        """
        pil = self.pil
        if max(pil.size) > side_px:
            scale = side_px / max(pil.size)
            size = (max(1, round(pil.width * scale)), max(1, round(pil.height * scale)))
            pil = pil.resize(size, Image.Resampling.BOX)
        return to_pixels(pil, channels)


class LabImages:
    """All images by name: the built-in ones and the latest twelve dropped ones."""

    def __init__(self) -> None:
        self._dropped: OrderedDict[str, LabImage] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, name: str) -> LabImage:
        """The image of that name.

        Raises:
            UsageError: there is no such image, or no longer.

        """
        with self._lock:
            dropped = self._dropped.get(name)
        image = dropped or built_in().get(name)
        if image is None:
            raise UsageError(f"the lab has no image {name[:40]!r}; it may have been restarted: drop the image again")
        return image

    def add(self, content: bytes, max_pixels: int) -> LabImage:
        """Add an image from the bytes of its file; the same file twice is one image.

        Raises:
            ImageError: it is not an image, is damaged or has too many pixels.

        """
        name = f"own-{sha256(content).hexdigest()[:12]}"
        with self._lock:
            if name in self._dropped:
                return self._dropped[name]
        pil = open_image(content, formats=UPLOAD_FORMATS, max_pixels=max_pixels)
        given_px = pil.size
        pil.thumbnail((LONGEST_PX, LONGEST_PX), Image.Resampling.LANCZOS)
        image = LabImage(name, "your image", to_pixels(pil, 1 if pil.mode == "L" else 3), given_px)
        with self._lock:
            self._dropped[name] = image
            while len(self._dropped) > MAX_DROPPED:
                self._dropped.popitem(last=False)
        return image

    def all(self) -> list[LabImage]:
        """The built-in ones first, then the dropped ones in order."""
        with self._lock:
            return [*built_in().values(), *self._dropped.values()]


@cache
def built_in() -> dict[str, LabImage]:
    """The images drawn here, and digits if scikit-learn is installed.

    No file is read.
    """
    drawn = [
        LabImage("eye", "cat’s eye", _eye(), (DRAWN_PX, DRAWN_PX)),
        LabImage("street", "street", _street(), (DRAWN_PX, DRAWN_PX)),
        LabImage("shapes", "shapes", _shapes(), (DRAWN_PX, DRAWN_PX)),
    ]
    with contextlib.suppress(MissingDependency):  # the drawn images are enough
        digits = load_builtin("digits").pixels
        drawn += [LabImage(f"digit-{which}", f"digit {which}", digits[which], (8, 8)) for which in _DIGITS]
    return {image.name: image for image in drawn}


_DIGITS = (0, 4)  # the first ten images of the set are 0 to 9; a round one, an angular one


def _shrunk(image: Image.Image) -> Pixels:
    return np.array(image.resize((DRAWN_PX, DRAWN_PX), Image.Resampling.BOX), np.uint8)


def _canvas(colour: tuple[int, int, int]) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("RGB", (DRAWN_PX * _LARGER, DRAWN_PX * _LARGER), colour)
    return image, ImageDraw.Draw(image)


def _eye() -> Pixels:
    """An amber eye with a slit pupil in dark fur; the iris is lighter inside."""
    side = DRAWN_PX * _LARGER
    y, x = np.mgrid[0:side, 0:side] / (side - 1) * 2 - 1
    angle, radius = np.arctan2(y, x), np.hypot(x, y)
    fur = 0.5 + 0.5 * np.sin(38 * angle + 9 * np.sin(3 * angle) + 30 * radius)
    colour = (24 + 26 * fur)[..., None] * np.array([1.0, 0.86, 0.72])
    # Two circles that meet make the almond between the lids.
    lids = np.maximum(np.hypot(x, y - 0.62), np.hypot(x, y + 0.62))
    rays = 0.5 + 0.5 * np.sin(64 * angle)
    iris = np.stack([232 - 60 * radius + 22 * rays, 172 - 96 * radius + 26 * rays, 52 - 20 * radius], 2)
    colour = np.where((lids < 1.06)[..., None], np.array([226.0, 214.0, 176.0]), colour)
    colour = np.where(((lids < 1.06) & (radius < 0.52))[..., None], np.array([92.0, 56.0, 16.0]), colour)
    colour = np.where(((lids < 1.06) & (radius < 0.48))[..., None], iris, colour)
    colour = np.where((((x / 0.13) ** 2 + (y / 0.43) ** 2) < 1)[..., None], np.array([14.0, 14.0, 18.0]), colour)
    colour = np.where((np.hypot(x - 0.17, y + 0.2) < 0.085)[..., None], np.array([255.0, 253.0, 244.0]), colour)
    return _shrunk(Image.fromarray(colour.clip(0, 255).astype(np.uint8)))


def _street() -> Pixels:
    """A house, a tree, the sun: large plain areas, straight and round edges."""
    image, pen = _canvas((150, 200, 235))
    s = DRAWN_PX * _LARGER / 100
    for row in range(62):
        shade = round(row * 0.9)
        pen.rectangle((0, row * s, 100 * s, (row + 1) * s), fill=(120 + shade, 178 + shade, 235))
    pen.ellipse((72 * s, 8 * s, 90 * s, 26 * s), fill=(255, 208, 70))
    pen.rectangle((0, 62 * s, 100 * s, 100 * s), fill=(96, 150, 72))
    pen.polygon([(0, 100 * s), (34 * s, 70 * s), (48 * s, 70 * s), (40 * s, 100 * s)], fill=(198, 182, 150))
    pen.rectangle((18 * s, 40 * s, 58 * s, 74 * s), fill=(236, 224, 200))
    pen.polygon([(12 * s, 41 * s), (38 * s, 18 * s), (64 * s, 41 * s)], fill=(176, 64, 48))
    pen.rectangle((33 * s, 54 * s, 44 * s, 74 * s), fill=(104, 66, 40))
    for left in (22, 47):
        pen.rectangle((left * s, 48 * s, (left + 8) * s, 58 * s), fill=(70, 104, 140))
        pen.rectangle(((left + 3.6) * s, 48 * s, (left + 4.4) * s, 58 * s), fill=(236, 224, 200))
        pen.rectangle((left * s, 52.6 * s, (left + 8) * s, 53.4 * s), fill=(236, 224, 200))
    pen.rectangle((76 * s, 52 * s, 80 * s, 80 * s), fill=(98, 70, 44))
    for x, y, r in ((78, 42, 12), (70, 48, 8), (86, 49, 8), (78, 52, 9)):
        pen.ellipse(((x - r) * s, (y - r) * s, (x + r) * s, (y + r) * s), fill=(52, 110, 62))
    return _shrunk(image)


def _shapes() -> Pixels:
    """Disc, square, triangle and two sets of bars.

    Each activates one of the classic kernels.
    """
    image, pen = _canvas((245, 242, 234))
    s = DRAWN_PX * _LARGER / 100
    pen.ellipse((8 * s, 8 * s, 44 * s, 44 * s), fill=(214, 62, 50))
    pen.rectangle((56 * s, 10 * s, 90 * s, 44 * s), fill=(36, 92, 176))
    pen.polygon([(26 * s, 54 * s), (46 * s, 92 * s), (6 * s, 92 * s)], fill=(34, 140, 92))
    for bar in range(4):
        pen.rectangle(((56 + bar * 9) * s, 54 * s, (60 + bar * 9) * s, 71 * s), fill=(40, 36, 44))
        pen.rectangle((56 * s, (75 + bar * 5) * s, 91 * s, (77.4 + bar * 5) * s), fill=(40, 36, 44))
    return _shrunk(image)
