"""Time `catseye check`, and measure which copies its search finds.

    python benchmarks/check_data.py NAME DATA [--say HOW_DATA_IS_WRITTEN_DOWN]

Writes benchmarks/results/check-NAME.json: wall time of the whole command, the findings with their counts, and for
each kind of change the share of copies of 1,000 images of DATA that the search pairs with their original. A pair
counts only if both steps agree: few bits between the hashes, a high correlation (constants in check/duplicates.py).
`random_pairs` is the same for pairs of different images: what it lets through by chance.
"""

import argparse
import io
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance
from train_result import commit

from catseye.data.check.duplicates import (
    MAX_DISTANCE,
    MIN_CORRELATION,
    MIN_MIRRORED,
    MIRROR_MASK,
    correlations,
    perceptual_hashes,
)
from catseye.data.check.looks import make_thumb
from catseye.data.sources import open_source
from catseye.environment import environment
from catseye.errors import ImageError
from catseye.preprocess import open_image
from catseye.runs import write_json

ROOT = Path(__file__).parents[1]
SAMPLE = 1000
SEED = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("data")
    parser.add_argument("--say")
    options = parser.parse_args()
    begun = time.perf_counter()
    command = [sys.executable, "-m", "catseye", "check", options.data, "--json"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    wall_s = time.perf_counter() - begun
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    verdict = json.loads(done.stdout)
    result = {
        "command": f"catseye check {options.say or options.data} --json",
        "n": verdict["num_images"],
        "seeds": [SEED],
        "wall_s": round(wall_s, 2),
        "cpu_s": round(used.ru_utime + used.ru_stime, 2),  # of all threads; other jobs on the machine change it little
        "near_duplicates": verdict["near_duplicates"],
        "findings": [{key: finding[key] for key in ("rule", "severity", "count")} for finding in verdict["findings"]],
        "copies_found": copies_found(options.data),
        "commit": commit(),
        "environment": environment(),
    }
    write_json(ROOT / "benchmarks" / "results" / f"check-{options.name}.json", result)
    print(json.dumps({key: result[key] for key in ("n", "wall_s", "cpu_s", "findings", "copies_found")}, indent=1))


def copies_found(data: str) -> dict[str, object]:
    """The share of copies that both steps pair with their original, per change."""
    images = open_source(data)
    rng = np.random.default_rng(SEED)
    images = []
    for index in rng.permutation(len(images))[:SAMPLE].tolist():
        try:
            images.append(open_image(images.read(index)).convert("RGB"))
        except ImageError:
            continue
        images[-1].thumbnail((512, 512))  # more pixels would change neither step
    original = thumbs(images)
    hashes = perceptual_hashes(original)

    def is_paired(copies: np.ndarray, mirror: bool = False) -> np.ndarray:
        mask = MIRROR_MASK if mirror else np.uint64(0)
        close = np.bitwise_count(hashes ^ perceptual_hashes(copies) ^ mask) <= MAX_DISTANCE
        alike = correlations(original, copies[:, :, ::-1] if mirror else copies)
        return close & (alike >= (MIN_MIRRORED if mirror else MIN_CORRELATION))

    shares = {
        name: float(is_paired(thumbs([change(image) for image in images]), name == "mirrored").mean())
        for name, change in CHANGES.items()
    }
    by_chance = sum(int(is_paired(np.roll(original, step, axis=0)).sum()) for step in range(1, 101))
    return {"n": len(images), **shares, "random_pairs": {"n": 100 * len(images), "found": by_chance}}


def thumbs(images: list[Image.Image]) -> np.ndarray:
    return np.stack([make_thumb(image) for image in images])


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return Image.open(stream)


def shift(image: Image.Image, px: int) -> Image.Image:
    pixels = np.pad(np.asarray(image), ((px, 0), (px, 0), (0, 0)), "edge")[: image.height, : image.width]
    return Image.fromarray(pixels)


def scale(image: Image.Image, factor: float) -> Image.Image:
    return image.resize((max(1, round(image.width * factor)), max(1, round(image.height * factor))))


CHANGES = {
    "JPEG, quality 75": lambda image: jpeg(image, 75),
    "JPEG, quality 30": lambda image: jpeg(image, 30),
    "three quarters of the size": lambda image: scale(image, 0.75),
    "half the size": lambda image: scale(image, 0.5),
    "brightness x 0.75": lambda image: ImageEnhance.Brightness(image).enhance(0.75),
    "brightness x 1.25": lambda image: ImageEnhance.Brightness(image).enhance(1.25),
    "contrast x 1.3": lambda image: ImageEnhance.Contrast(image).enhance(1.3),
    "moved by 1 px": lambda image: shift(image, 1),
    "moved by 2 px": lambda image: shift(image, 2),
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "grey": lambda image: image.convert("L").convert("RGB"),
}


if __name__ == "__main__":
    main()
