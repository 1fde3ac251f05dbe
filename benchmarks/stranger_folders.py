"""The six sets of the strangers' benchmarks as folders.

Each has train/CLASS and test/CLASS (or val/CLASS).

ants-bees (FOLDER has train/CLASS and val/CLASS), cifar10 (slices of 1,000 training and 1,000 test images; FOLDER has
train/CLASS and test/CLASS), photos, drawings and textures (tests/stranger_sets.py), digits (scikit-learn's). The sets
without a split are split once, so that everything is measured on the same images.
"""

import argparse
import shutil
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from catseye.preprocess import FILE_SUFFIXES

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.stranger_sets import write_set  # noqa: E402

GENERATED = ("photos", "drawings", "textures")
NAMES = ("ants-bees", "cifar10", *GENERATED, "digits")
CIFAR10_IMAGES = 1_000
HELD_OUT = 0.3  # of the sets without a split


def write_images(name: str, target: Path, options: argparse.Namespace) -> Path:
    """A folder with train/CLASS and test/CLASS, or val/CLASS for ants and bees.

    It is the same for every part and seed.
    """
    if name == "ants-bees":
        if not options.ants_bees:
            raise SystemExit("ants-bees needs --ants-bees FOLDER")
        return Path(options.ants_bees)
    if name == "cifar10":
        if not options.cifar10:
            raise SystemExit("cifar10 needs --cifar10 FOLDER")
        classes = tuple(sorted(path.name for path in (options.cifar10 / "train").iterdir()))
        for side in ("train", "test"):
            draw_slice(options.cifar10 / side, classes, target / side, CIFAR10_IMAGES, 0)
        return target
    if name == "digits":
        digits = load_digits()
        images = [
            (str(label), Image.fromarray((pixels * 15.9).astype(np.uint8)))
            for label, pixels in zip(digits.target, digits.images, strict=True)
        ]
    else:
        folder = write_set(name, target / "whole")
        images = [(path.parent.name, Image.open(path)) for path in sorted(folder.rglob("*")) if path.is_file()]
    rng = np.random.default_rng(0)
    order = rng.permutation(len(images)).tolist()
    for place, index in enumerate(order):
        label, image = images[index]
        side = "test" if place < HELD_OUT * len(images) else "train"
        (target / "data" / side / label).mkdir(parents=True, exist_ok=True)
        image.save(target / "data" / side / label / f"{index:05d}.png")
    return target / "data"


def listed(data: Path, side: str) -> tuple[list[Path], np.ndarray, list[str]]:
    classes = sorted(path.name for path in (data / "train").iterdir() if path.is_dir())
    files = [path for name in classes for path in sorted((data / side / name).iterdir())]
    files = [path for path in files if path.suffix.lower() in FILE_SUFFIXES]
    return files, np.array([classes.index(path.parent.name) for path in files]), classes


def held_out(data: Path) -> str:
    return "test" if (data / "test").is_dir() else "val"


def draw_slice(source: Path, classes: tuple[str, ...], target: Path, num_images: int, seed: int) -> None:
    """Copy equally many images of each class, drawn from the seed."""
    for label in classes:
        (target / label).mkdir(parents=True)
        files = sorted(path for path in (source / label).iterdir() if path.suffix.lower() in FILE_SUFFIXES)
        rng = np.random.default_rng([seed, *label.encode()])
        for index in rng.permutation(len(files))[: num_images // len(classes)].tolist():
            shutil.copy(files[index], target / label)
