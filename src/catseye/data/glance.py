"""Training images per class and typical image size, before a recipe is chosen.

Enters: `ImageSet`. Leaves: `Glance`. Called by `training/facts.py`. Sixty images are opened; none is kept.
"""

from dataclasses import dataclass

import numpy as np

from catseye.counting import count
from catseye.data.sources import NOT_SPLIT, TRAIN, ImageSet
from catseye.errors import DataError, ImageError
from catseye.preprocess import open_image
from catseye.seeds import derive

GLANCED = 60  # images


@dataclass(frozen=True)
class Glance:
    """Approximate training images per class, and the side of a typical image.

    The side is the median of the square roots of the areas.
    """

    class_counts: tuple[int, ...]
    side_px: float


def take_glance(images: ImageSet, *, held_out: float, seed: int = 0) -> Glance:
    """Open some images. `held_out`: the share to hold out if DATA has no split.

    Raises:
        DataError: none of the opened images can be read.

    """
    given = (images.splits != NOT_SPLIT).all()
    labels = images.labels[images.splits == TRAIN] if given else images.labels
    counts = np.bincount(labels, minlength=len(images.classes)) * (1.0 if given else 1 - held_out)
    rng = np.random.default_rng(derive(seed, "glance"))
    sides: list[float] = []
    reason = ""
    for index in rng.permutation(len(images))[:GLANCED].tolist():
        try:
            image = open_image(images.read(index))
        except ImageError as error:
            reason = f"{images.names[index]}: {error}"
            continue
        sides.append((image.width * image.height) ** 0.5)
    if not sides:
        number = f"{GLANCED} images drawn" if len(images) > GLANCED else f"{count(len(images), 'image')}"
        raise DataError(f"{images.source}: none of {number} can be read; the last: {reason}")
    return Glance(tuple(round(count) for count in counts), float(np.median(sides)))
