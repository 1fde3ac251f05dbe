"""Count false pairs of the near-duplicate search, and the copies that it finds.

    python benchmarks/near_duplicates.py [--images 900] [--copies 200]

Writes benchmarks/results/near-duplicates.json. Every family below draws each image from new random numbers, so that no
two show the same: a false pair is a fault of the search. For each family: how many of all pairs both steps take for
copies, how many the first step alone (16 x 16) does, and for each kind of change the share of copies that each finds.
"""

import argparse
import io
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter
from train_result import commit

from catseye.data.check.copies import Glances, find_copies
from catseye.data.check.duplicates import find_twins
from catseye.data.check.looks import make_thumb
from catseye.data.sources import ImageSet
from catseye.environment import environment
from catseye.runs import write_json

ROOT = Path(__file__).parents[1]
SEED = 0
Draw = Callable[[np.random.Generator], Image.Image]


def photo(rng: np.random.Generator, width: int = 128, height: int = 96) -> Image.Image:
    """Noise with amplitude 1 / frequency, as in photographs.

    Most of it is common to all channels.
    """
    down, right = np.fft.fftfreq(height)[:, None] * height, np.fft.fftfreq(width)[None] * width
    waves = np.fft.fft2(rng.normal(size=(4, height, width))) / np.maximum(np.hypot(down, right), 1)
    planes = np.fft.ifft2(waves).real
    planes /= planes.std((1, 2), keepdims=True)
    channels = np.moveaxis(planes[0] + 0.4 * planes[1:], 0, 2)
    return Image.fromarray((channels * rng.uniform(30, 55) + rng.uniform(90, 160)).clip(0, 255).astype(np.uint8))


def small_photo(rng: np.random.Generator) -> Image.Image:
    """The same at 32 px."""
    return photo(rng, 32, 32)


def studio(rng: np.random.Generator) -> Image.Image:
    """One object of random outline on the same table, in the same place."""
    image = Image.new("RGB", (160, 120), (206, 203, 196))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 92, 160, 120), fill=(118, 106, 92))
    angles = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    radii = rng.uniform(16, 38, 12)
    centre = (80 + rng.normal(0, 2), 62 + rng.normal(0, 2))
    outline = [(centre[0] + r * np.cos(a), centre[1] + r * np.sin(a)) for r, a in zip(radii, angles, strict=True)]
    draw.polygon(outline, fill=tuple((np.array([140, 96, 70]) + rng.integers(-10, 11, 3)).tolist()))
    return image.filter(ImageFilter.GaussianBlur(0.8))


def rotated(rng: np.random.Generator) -> Image.Image:
    """A pale scene with discs, turned by some angle; the corners are black."""
    image = Image.new("RGB", (200, 160), (214, 222, 205))
    draw = ImageDraw.Draw(image)
    for _ in range(14):
        x, y, r = rng.uniform(0, 200), rng.uniform(0, 160), rng.uniform(6, 15)
        draw.ellipse((x - r, y - r, x + r, y + r), fill=tuple(rng.integers(120, 215, 3).tolist()))
    return image.rotate(float(rng.uniform(-20, 20)), Image.Resampling.BILINEAR, fillcolor=(0, 0, 0))


def round_window(rng: np.random.Generator) -> Image.Image:
    """A faint texture within a disc, black around it, as through an eyepiece."""
    texture = np.asarray(photo(rng, 96, 96), float) * 0.3 + np.array([92.0, 50.0, 26.0])
    mask = Image.new("L", (96, 96), 0)
    ImageDraw.Draw(mask).ellipse((3, 3, 92, 92), fill=255)
    inside = Image.fromarray(texture.clip(0, 255).astype(np.uint8))
    return Image.composite(inside, Image.new("RGB", (96, 96)), mask)


def even_ground(rng: np.random.Generator) -> Image.Image:
    """A few dark spots near the middle of an even ground."""
    image = Image.new("RGB", (128, 96), tuple(rng.integers(170, 245, 3).tolist()))
    draw = ImageDraw.Draw(image)
    for _ in range(5):
        x, y, r = rng.normal(64, 11), rng.normal(48, 9), rng.uniform(3, 9)
        draw.ellipse((x - r, y - r, x + r, y + r), fill=tuple(rng.integers(0, 160, 3).tolist()))
    return image


def drawing(rng: np.random.Generator) -> Image.Image:
    """Black strokes on white."""
    image = Image.new("RGB", (128, 128), (255, 255, 255))
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(4, 9))):
        points = rng.uniform(8, 120, 4).tolist()
        draw.line(points, fill=(0, 0, 0), width=3)
    return image


ANATOMY = np.asarray(photo(np.random.default_rng(7), 96, 96).convert("L"), float)


def radiograph(rng: np.random.Generator) -> Image.Image:
    """The same anatomy in all images, with a fainter texture of its own in each."""
    own = np.asarray(photo(rng, 96, 96).convert("L"), float) - 128
    return Image.fromarray((ANATOMY * rng.uniform(0.95, 1.05) + 0.22 * own).clip(0, 255).astype(np.uint8))


FAMILIES: dict[str, Draw] = {
    "photos": photo,
    "photos of 32 px": small_photo,
    "studio framing": studio,
    "rotated, black corners": rotated,
    "round window": round_window,
    "even ground": even_ground,
    "drawings": drawing,
    "radiographs": radiograph,
}


def resaved(image: Image.Image, quality: int) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return Image.open(io.BytesIO(stream.getvalue()))


def scaled(image: Image.Image, factor: float) -> Image.Image:
    return image.resize((round(image.width * factor), round(image.height * factor)))


def cropped(image: Image.Image, share: float) -> Image.Image:
    across, down = round(image.width * share), round(image.height * share)
    return image.crop((across, down, image.width - across, image.height - down))


def copied_by_people(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Another size, another brightness, saved again, as in check_faults.py."""
    smaller = scaled(image, rng.uniform(0.5, 1.0))
    return resaved(ImageEnhance.Brightness(smaller).enhance(rng.uniform(0.75, 1.25)), int(rng.integers(30, 95)))


CHANGES: dict[str, Callable[[Image.Image, np.random.Generator], Image.Image]] = {
    "JPEG 75": lambda image, rng: resaved(image, 75),
    "JPEG 30": lambda image, rng: resaved(image, 30),
    "three quarters of the size": lambda image, rng: scaled(image, 0.75),
    "half of the size": lambda image, rng: scaled(image, 0.5),
    "brightness x 0.75": lambda image, rng: ImageEnhance.Brightness(image).enhance(0.75),
    "brightness x 1.25": lambda image, rng: ImageEnhance.Brightness(image).enhance(1.25),
    "contrast x 1.3": lambda image, rng: ImageEnhance.Contrast(image).enhance(1.3),
    "cropped by 1 % at each edge": lambda image, rng: cropped(image, 0.01),
    "cropped by 2 % at each edge": lambda image, rng: cropped(image, 0.02),
    "smaller, lighter or darker, saved again": copied_by_people,
}


class Drawn:
    """Reads images in memory as if they were PNG files."""

    def __init__(self, images: list[Image.Image]) -> None:
        self.images = images

    def __call__(self, index: int) -> np.ndarray:
        return np.asarray(self.images[index].convert("RGB"))

    def size_bytes(self, index: int) -> int:
        return self.images[index].width * self.images[index].height * 3


def searched(images: list[Image.Image], lossless: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs by the first step alone, and by both."""
    num = len(images)
    thumbs = np.stack([make_thumb(image) for image in images])
    sides = np.array([min(image.size) for image in images], np.int32)
    listed = ImageSet("drawn", ("one",), [str(i) for i in range(num)], np.zeros(num, np.int64),
                      np.full(num, -1, np.int8), Drawn(images))  # fmt: skip
    everything = np.ones(num, bool)
    return find_twins(thumbs, everything).pairs, find_copies(listed, Glances(thumbs, sides, lossless), everything).pairs


def measure(draw: Draw, num_images: int, num_copies: int) -> dict[str, object]:
    rng = np.random.default_rng(SEED)
    images = [draw(rng) for _ in range(num_images)]
    begun = time.perf_counter()
    first, both = searched(images, np.zeros(num_images, bool))  # as JPEG: the wider tolerance
    seconds = time.perf_counter() - begun
    recall = {}
    for name, change in CHANGES.items():
        changed = [change(image, rng) for image in images[:num_copies]]
        # Among 400 others, so that the set has a mean image.
        lossless = np.array([False] * 400 + ["JPEG" not in name and "saved" not in name] * num_copies, bool)
        lossless[:num_copies] = lossless[-1]
        matches = [pairs[pairs[:, 1] - pairs[:, 0] == 400] for pairs in searched(images[:400] + changed, lossless)]
        right = [int((pairs[:, 0] < num_copies).sum()) for pairs in matches]
        recall[name] = {"first_look": right[0] / num_copies, "both_looks": right[1] / num_copies}
    return {
        "pairs": num_images * (num_images - 1) // 2,
        "false_first_look": len(first),
        "false_both_looks": len(both),
        "search_s": round(seconds, 1),
        "recall": recall,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=900)
    parser.add_argument("--copies", type=int, default=200)
    parser.add_argument("--families", nargs="*", default=list(FAMILIES), choices=list(FAMILIES))
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "near-duplicates.json")
    options = parser.parse_args()
    rows = {}
    for name in options.families:
        rows[name] = measure(FAMILIES[name], options.images, options.copies)
        print(name, json.dumps(rows[name]), flush=True)
    pairs, false = (sum(row[key] for row in rows.values()) for key in ("pairs", "false_both_looks"))
    result = {
        "command": f"python benchmarks/near_duplicates.py --images {options.images} --copies {options.copies}",
        "n": pairs,
        "seeds": [SEED],
        "images_per_family": options.images,
        "copies_per_change": options.copies,
        "false_pairs": false,
        "false_pairs_per_million": 1e6 * false / pairs,
        # No false pair among n: with 95 % confidence the rate is below 3 / n (Hanley and Lippman-Hand, JAMA 1983).
        "false_pairs_per_million_at_most": 3e6 / pairs if not false else None,
        "families": rows,
        "commit": commit(),
        "environment": environment(),
    }
    write_json(options.out, result)


if __name__ == "__main__":
    main()
