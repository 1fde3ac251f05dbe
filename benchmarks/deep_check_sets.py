"""Sets with planted outliers and planted near duplicates, for `deep_check.py`.

Enters: a folder and a seed. Leaves: images in class folders, and `Planted`. Images are drawn by tests/stranger_sets.py,
or they are those of a folder of class folders.
"""

import io
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageOps
from tests.stranger_sets import SETS

STRANGERS = {"photos": "drawings", "drawings": "photos", "textures": "photos", "real": "drawings"}
OUTLIERS, COPIES = 0.015, 0.06  # of the images
CHANGES = ("crop", "mirror", "turn", "brighter")


@dataclass
class Planted:
    """Names of images of another kind, and pairs (original, copy) by change."""

    outliers: set[str] = field(default_factory=set)
    pairs: dict[tuple[str, str], str] = field(default_factory=dict)


def changed(image: Image.Image, how: str, rng: np.random.Generator) -> Image.Image:
    """The same image in another framing or light, saved once more as JPEG."""
    image = image.convert("RGB")
    width, height = image.size
    if how == "crop":
        left, top = (round(float(rng.uniform(0.02, 0.12)) * size) for size in image.size)
        image = image.crop((left, top, round(0.9 * width), round(0.9 * height)))
    elif how == "mirror":
        image = ImageOps.mirror(image).crop((4, 4, width - 4, height - 4))
    elif how == "turn":
        image = image.rotate(6, Image.Resampling.BICUBIC).crop(
            (width // 12, height // 12, width * 11 // 12, height * 11 // 12)
        )
    else:
        image = ImageEnhance.Brightness(image).enhance(1.3).crop((6, 3, width - 3, height - 8))
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=int(rng.integers(70, 92)))
    return Image.open(stream)


def plant(name: str, folder: Path, seed: int, real: Path | None = None) -> Planted:
    """Write a set with planted outliers and copies."""
    rng = np.random.default_rng([seed, 7])
    if real is None:
        draw, counts, _ = SETS[name]
        there = {label: [draw(kind, rng) for _ in range(num)] for kind, (label, num) in enumerate(counts.items())}
    else:
        there = {}
        for path in sorted(real.rglob("*.jpg")):
            there.setdefault(path.parent.name, []).append(Image.open(path).convert("RGB"))
    strange, kinds, _ = SETS[STRANGERS[name]]
    names = [(label, number) for label, images in there.items() for number in range(len(images))]
    for label, images in there.items():
        (folder / label).mkdir(parents=True)
        for number, image in enumerate(images):
            image.convert("RGB").save(folder / label / f"{number:04d}.jpg", quality=92)
    planted = Planted()
    for number in range(max(2, round(OUTLIERS * len(names)))):
        label = list(there)[number % len(there)]
        strange(number % len(kinds), rng).convert("RGB").save(folder / label / f"zo{number:02d}.jpg", quality=92)
        planted.outliers.add(f"{label}/zo{number:02d}.jpg")
    for number, place in enumerate(rng.permutation(len(names))[: round(COPIES * len(names))].tolist()):
        label, index = names[place]
        copy, how = f"{label}/zc{number:03d}.jpg", CHANGES[number % len(CHANGES)]
        changed(there[label][index], how, rng).save(folder / copy, quality=88)
        planted.pairs[(f"{label}/{index:04d}.jpg", copy)] = how
    return planted
