"""Six small image sets as strangers bring them, drawn from a seed: what plain `catseye train` has to learn.

`write_set("drawings", folder)` writes class folders and returns the folder. By hand:
python -m tests.stranger_sets FOLDER writes all six below FOLDER.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from tests.photos import photo

Draw = Callable[[int, np.random.Generator], Image.Image]  # number of the class -> one image


def photo_like(kind: int, rng: np.random.Generator) -> Image.Image:
    """A thing of three shapes and loose colours before a ground with a photograph's spectrum, 240 x 320 px."""
    ground = Image.fromarray(photo(int(rng.integers(2**31)), 120, 160)).resize((320, 240), Image.Resampling.BICUBIC)
    skin = Image.fromarray(photo(int(rng.integers(2**31)), 60, 80)).resize((320, 240), Image.Resampling.BICUBIC)
    tint = Image.new("RGB", skin.size, tuple(int(value) for value in rng.integers(30, 226, 3)))
    skin = Image.blend(skin, tint, 0.7)
    mask = Image.new("L", skin.size)
    pen, radius = ImageDraw.Draw(mask), int(rng.integers(40, 80))
    x, y = int(rng.integers(90, 230)), int(rng.integers(85, 155))
    box = (x - radius, y - radius, x + radius, y + radius)
    if kind == 0:
        pen.ellipse(box, fill=255)
    elif kind == 1:
        pen.regular_polygon((x, y, radius), 3, rotation=int(rng.integers(360)), fill=255)
    else:
        pen.ellipse(box, fill=255)
        pen.ellipse(tuple(np.array(box) + np.array((1, 1, -1, -1)) * (radius * 0.55)), fill=0)
    return Image.composite(skin, ground, mask)


def drawing(kind: int, rng: np.random.Generator) -> Image.Image:
    """Ink on white, 200 px: closed curves, open zigzags, or crossing lines."""
    image = Image.new("RGB", (200, 200), "white")
    pen, ink = ImageDraw.Draw(image), tuple(int(value) for value in rng.integers(0, 90, 3))
    x, y, size, width = *rng.integers(60, 140, 2), int(rng.integers(30, 58)), int(rng.integers(2, 6))
    if kind == 0:
        angle = np.linspace(0, 2 * np.pi, 40)
        reach = size * (1 + 0.2 * np.sin(rng.integers(2, 6) * angle + rng.uniform(0, 6)))
        points = np.stack([x + reach * np.cos(angle), y + reach * np.sin(angle)], 1)
        pen.line([tuple(point) for point in points], fill=ink, width=width)
    elif kind == 1:
        across = np.linspace(-size, size, 8)
        points = np.stack([x + across, y + rng.uniform(0.4, 1) * size * (-1.0) ** np.arange(8)], 1)
        pen.line([tuple(point) for point in points], fill=ink, width=width)
    else:
        for turn in rng.uniform(0, np.pi) + np.pi / 3 * np.arange(3):
            reach = size * np.array((np.cos(turn), np.sin(turn)))
            pen.line((x - reach[0], y - reach[1], x + reach[0], y + reach[1]), fill=ink, width=width)
    return image


def texture(kind: int, rng: np.random.Generator) -> Image.Image:
    """Grain without any thing in it, 160 px: noise of one of four spectra, in any colour and direction."""
    fy, fx = np.fft.fftfreq(160)[:, None] * 160, np.fft.fftfreq(160)[None] * 160
    turn = rng.uniform(0, np.pi)
    along, beside = fx * np.cos(turn) + fy * np.sin(turn), fy * np.cos(turn) - fx * np.sin(turn)
    reach = np.hypot(fx, fy)
    spectrum = (
        np.exp(-((reach - 10) ** 2) / 8),  # round blobs
        np.exp(-((reach - 30) ** 2) / 8),  # fine grain
        np.exp(-((np.abs(along) - 14) ** 2) / 6 - beside**2 / 30),  # stripes
        1 / np.maximum(reach, 1) ** 1.2,  # clouds
    )[kind]
    plane = np.fft.ifft2(np.fft.fft2(rng.normal(size=(160, 160))) * spectrum).real
    plane = plane[..., None] / plane.std() * rng.uniform(20, 45, 3) + rng.uniform(90, 165, 3)
    return Image.fromarray((plane + rng.normal(0, 6, plane.shape)).clip(0, 255).astype(np.uint8))


def twelve_bits(kind: int, rng: np.random.Generator) -> Image.Image:
    """Values 0 - 4,095 in a 16-bit image, 144 px: one large or several small bright spots on an uneven ground."""
    y, x = np.mgrid[:144, :144] / 144
    values = rng.normal(600, 90, (144, 144)) + 500 * (x * rng.uniform(-1, 1) + y * rng.uniform(-1, 1))
    for _ in range(1 if kind == 0 else 6):
        spread = 0.02 if kind == 0 else 0.002
        cx, cy = rng.uniform(0.25, 0.75, 2)
        values += rng.uniform(900, 1800) * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / spread)
    return Image.fromarray(values.clip(0, 4095).astype(np.uint16))


def tiny(kind: int, rng: np.random.Generator) -> Image.Image:
    """8 px, grey: an upright bar, a lying bar, or a cross, with noise."""
    values = rng.normal(60, 25, (8, 8))
    row, column = rng.integers(2, 6, 2)
    ink = rng.uniform(70, 150)
    if kind != 1:
        values[1:7, column] += ink
    if kind != 0:
        values[row, 1:7] += ink
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


# Name -> what draws an image, images per class, suffix of the files.
SETS: dict[str, tuple[Draw, dict[str, int], str]] = {
    "photos": (photo_like, {"disc": 60, "triangle": 60, "ring": 60}, "jpg"),
    "drawings": (drawing, {"closed": 50, "zigzag": 50, "star": 50}, "png"),
    "textures": (texture, {"blobs": 40, "grain": 40, "stripes": 40, "clouds": 40}, "jpg"),
    "twelve-bits": (twelve_bits, {"one": 60, "several": 60}, "png"),
    "unbalanced": (photo_like, {"disc": 500, "triangle": 10}, "jpg"),
    "tiny": (tiny, {"upright": 60, "lying": 60, "cross": 60}, "png"),
}


def write_set(name: str, folder: Path, seed: int = 0) -> Path:
    draw, counts, suffix = SETS[name]
    rng = np.random.default_rng([seed, *name.encode()])
    for kind, (label, count) in enumerate(counts.items()):
        (folder / label).mkdir(parents=True)
        for number in range(count):
            draw(kind, rng).save(folder / label / f"{number:03d}.{suffix}")
    return folder


if __name__ == "__main__":
    for each in SETS:
        print(write_set(each, Path(sys.argv[1]) / each))
