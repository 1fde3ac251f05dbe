"""Chapter 7: what happens to an image on its way into a training batch.

Enters: images and strengths by their names in the settings. Leaves: the batch that the training step would make of
them: the functions, the order and the seed of every draw are those of `training/step.py` and `data/loaders.py`.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from catseye.data.augment import augment_batch, random_resized_crop
from catseye.data.mixing import mix_batch
from catseye.preprocess import Pixels, Preprocessing, fit_to_square, to_pixels
from catseye.seeds import derive
from catseye.settings.merge import load_settings
from catseye.settings.schema import AugmentSettings


@dataclass(frozen=True)
class Transform:
    """One transform and the range of its strength.

    `key` is the strength's name in the settings; it goes from `low` (off) to `high`, and `shown` is a good start.
    `meaning` describes a strength {x}.
    """

    key: str
    title: str
    function: str
    low: float
    high: float
    step: float
    shown: float
    meaning: str


TRANSFORMS = (
    Transform(
        "crop_scale", "resized crop", "random_resized_crop", 1.0, 0.08, 0.01, 0.35,
        "a part of {x} to 1 of the area, its sides 3 : 4 to 4 : 3, resized to the input",
    ),
    Transform(
        "crop_padding_px", "shift", "random_crop", 0, 24, 1, 12,
        "{x} px of black around it, and the original size cut out anywhere: a shift of up to {x} px",
    ),
    Transform("hflip", "mirror", "horizontal_flip", 0, 1, 0.05, 0.5, "mirrored with probability {x}"),
    Transform("rotate_deg", "rotation", "rotate", 0, 180, 1, 15, "turned by an angle from −{x}° to {x}°"),
    Transform(
        "brightness", "brightness", "random_brightness", 0, 1, 0.05, 0.4, "times a factor from 1 − {x} to 1 + {x}"
    ),
    Transform(
        "contrast", "contrast", "contrast", 0, 1, 0.05, 0.5,
        "away from or towards its mean grey, by a factor from 1 − {x} to 1 + {x}",
    ),
    Transform(
        "saturation", "saturation", "saturation", 0, 1, 0.05, 0.8,
        "every pixel away from or towards its own grey, by a factor from 1 − {x} to 1 + {x}",
    ),
    Transform("noise_std", "noise", "gaussian_noise", 0, 0.5, 0.01, 0.1, "normal noise of standard deviation {x}"),
    Transform(
        "erase", "erasing", "random_erase", 0, 1, 0.05, 1.0,
        "with probability {x} a rectangle of 2 to 33% of the area becomes the mean (cutout)",
    ),
)  # fmt: skip
_OFF = {transform.key: transform.low for transform in TRANSFORMS} | {"mixup_alpha": 0.0, "cutmix_alpha": 0.0}
_WHOLE = {"crop_padding_px"}


def augment_settings(strengths: Mapping[str, float]) -> AugmentSettings:
    """Settings with these strengths and all else switched off.

    Raises:
        UsageError: a name is unknown or a strength out of its range.

    >>> augment_settings({"rotate_deg": 15}).rotate_deg
    15.0

    """
    values = {**_OFF, **strengths}
    named = {f"augment.{key}": int(value) if key in _WHOLE else value for key, value in values.items()}
    return load_settings("quick", values=named).augment


def train_command(strengths: Mapping[str, float]) -> str:
    """The command that trains with these strengths.

    >>> train_command({"rotate_deg": 15, "hflip": 0})
    'catseye train DATA --set augment.rotate_deg=15'
    """
    given = [f"--set augment.{key}={value:g}" for key, value in strengths.items() if value != _OFF.get(key, 0.0)]
    return " ".join(["catseye train DATA", *given])


def spec_of(pixels: Pixels, side_px: int) -> Preprocessing:
    """A square input with the image's own mean and standard deviation per channel.

    Shape: (H, W, C) uint8.
    """
    values = pixels.reshape(-1, pixels.shape[2]) / 255
    mean, std = values.mean(0), values.std(0).clip(0.05)
    return Preprocessing(
        height_px=side_px,
        width_px=side_px,
        channels=pixels.shape[2],
        mean=tuple(mean.tolist()),
        std=tuple(std.tolist()),
    )


def batch_of(
    image: Image.Image,
    settings: AugmentSettings,
    spec: Preprocessing,
    *,
    num: int,
    seed: int,
    step: int,
    epoch: int = 0,
) -> Tensor:
    """`num` augmented copies of an image, as training step `step` would see them.

    Shape: (num, C, H, W) float32, normalised.
    """
    stored = np.stack([_stored(image, settings, spec, seed, epoch, index) for index in range(num)])
    pixels = torch.from_numpy(stored).permute(0, 3, 1, 2)
    generator = torch.Generator().manual_seed(derive(seed, "augment", step))
    return augment_batch(pixels, settings, spec, generator, indices=torch.arange(num), epoch=epoch)


def mixed_batch(
    images: Sequence[Pixels], labels: Sequence[int], settings: AugmentSettings, *, seed: int, step: int
) -> tuple[Tensor, Tensor]:
    """A batch of different images after MixUp or CutMix, and its targets.

    Shape: N times (H, W, C) uint8, (N,) -> (N, C, H, W) in [0, 1], (N, K) with rows that sum to 1.
    """
    x = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255
    generator = torch.Generator().manual_seed(derive(seed, "augment", step))
    truth, num_classes = torch.tensor(labels), max(labels) + 1
    x, targets = mix_batch(x, truth, settings, num_classes, generator)
    return x, targets if targets.ndim == 2 else F.one_hot(targets, num_classes).float()


def to_view(batch: Tensor, spec: Preprocessing) -> list[Pixels]:
    """A normalised batch as images again.

    Shape: (N, C, H, W) -> N times (H, W, C) uint8.
    """
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (spec.mean, spec.std))
    levels = ((batch * std + mean) * 255).round().clamp(0, 255).byte()
    return [image.permute(1, 2, 0).numpy() for image in levels]


def changed(before: Pixels, after: Pixels) -> float:
    """The mean difference of two images' values, as a share of the full range.

    >>> changed(np.zeros((2, 2, 1), np.uint8), np.full((2, 2, 1), 51, np.uint8))
    0.2
    """
    return float(np.abs(before.astype(np.float64) - after.astype(np.float64)).mean() / 255)


def _stored(
    image: Image.Image, settings: AugmentSettings, spec: Preprocessing, seed: int, epoch: int, index: int
) -> Pixels:
    """The image as the loader returns it: whole, or cropped while it is read."""
    if settings.crop_scale == 1:
        return to_pixels(fit_to_square(image, spec), spec.channels)
    rng = random.Random(derive(derive(seed, "crop", epoch), index))  # noqa: S311
    return to_pixels(random_resized_crop(image, spec, settings.crop_scale, rng), spec.channels)
