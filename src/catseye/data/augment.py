"""Augmentation: one function per transform, drawn separately for each image.

Enters: a batch on the training device. Leaves: a batch of the same shape. All but `random_resized_crop`, which needs
the pixels of the file, work per batch, with random draws per image from an explicit generator; torchvision's v2
transforms draw once per batch, so these are our own. Called by `training/step.py` through `augment_batch`.
"""

import math
import random
from collections.abc import Callable
from functools import lru_cache

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Generator, Tensor

from catseye.preprocess import Preprocessing, fit_to_square
from catseye.settings.schema import AugmentSettings

REC_601 = (0.299, 0.587, 0.114)
GOLDEN_RATIO = (5**0.5 - 1) / 2  # its multiples, modulo 1, are evenly spread


class RowGenerator(Generator):
    """The generator of a process with rows `first` … of a batch of `total` images.

    Each process draws for the whole batch and uses its own rows, so that N processes change every image exactly as one
    process would.
    """

    first: int = 0
    total: int | None = None


def draw_rows(n: int, generator: Generator, draw: Callable[[int], Tensor], dim: int = 0) -> Tensor:
    """`draw(n)`; for a `RowGenerator` its rows of `draw(total)`, along axis `dim`."""
    total = getattr(generator, "total", None)
    return draw(n) if total is None else draw(total).narrow(dim, getattr(generator, "first", 0), n)


def augment_batch(
    pixels: Tensor,
    settings: AugmentSettings,
    spec: Preprocessing,
    generator: Generator,
    *,
    indices: Tensor | None = None,
    epoch: int | Tensor = 0,
    own: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Augment a batch: geometry, colour, noise, normalisation, erasing.

    `indices` (N,) and `epoch` say which images these are and how often each has been seen, for alternating flips.
    `own` is the caller's augmentation: (N, C, H, W) float in [0, 1] -> the same shape, before normalisation.

    Shape: (N, C, H, W) uint8 -> (N, C, H, W) float32, normalised.
    """
    if settings.crop_padding_px:
        pixels = random_crop(pixels, settings.crop_padding_px, generator, fill=settings.crop_padding)
    if settings.hflip and settings.hflip_alternate and indices is not None:
        pixels = alternating_flip(pixels, settings.hflip, indices, epoch)
    elif settings.hflip:
        pixels = horizontal_flip(pixels, settings.hflip, generator)
    x = to_unit(pixels)
    if settings.rotate_deg:
        x = rotate(x, settings.rotate_deg, generator)
    if settings.brightness:
        x = random_brightness(x, settings.brightness, generator)
    if settings.contrast:
        x = contrast(x, settings.contrast, generator)
    if settings.saturation:
        x = saturation(x, settings.saturation, generator)
    if settings.noise_std:
        x = gaussian_noise(x, settings.noise_std, generator)
    if own is not None:
        x = own(x)
    x = normalise_batch(x, spec)
    if settings.erase:
        x = random_erase(x, settings.erase, generator)
    return x


def to_unit(pixels: Tensor) -> Tensor:
    """Shape: uint8 0 ... 255 -> float32 0 ... 1, memory layout kept."""
    return pixels.float().div_(255)


def normalise_batch(x: Tensor, spec: Preprocessing) -> Tensor:
    """Per channel (x - mean) / std.

    Shape: (N, C, H, W) float in [0, 1] -> the same shape.
    """
    return (x - channel_values(spec.mean, x)) / channel_values(spec.std, x)


def channel_values(values: tuple[float, ...], x: Tensor) -> Tensor:
    """One value per channel on the device of `x`; copied once: copies block a GPU.

    Shape: (C,) -> (1, C, 1, 1).
    """
    if x.device.type == "cpu" or type(x) is not Tensor:  # a tensor made while a graph is traced must not be cached
        return torch.tensor(values, dtype=x.dtype, device=x.device).view(1, -1, 1, 1)
    return _on_device(values, x.dtype, x.device).view(1, -1, 1, 1)


@lru_cache(maxsize=64)
def _on_device(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # inference tensors could not take part in a backward pass later
        return torch.tensor(values, dtype=dtype, device=device)


def horizontal_flip(x: Tensor, probability: float, generator: Generator) -> Tensor:
    """Mirror each image with this probability.

    Shape: (N, C, H, W), any dtype -> the same.
    """
    return torch.where(_draw_mask(x, probability, generator), x.flip(-1), x)


def alternating_flip(x: Tensor, share: float, indices: Tensor, epoch: int | Tensor) -> Tensor:
    """Mirror each image in a share of the epochs, evenly spread (0.5: every second).

    Two consecutive epochs then show every image both ways; random draws would show half of them the same way twice.

    Shape: (N, C, H, W), any dtype -> the same; indices (N,).
    Source: Jordan 2024, arXiv 2404.00498, section 3.6; any share, and the first epoch's choice by the golden ratio
    instead of a hash.
    """
    start = (indices.double() * GOLDEN_RATIO) % 1
    flipped = (start + (epoch + 1) * share).floor() > (start + epoch * share).floor()
    return torch.where(flipped.view(-1, 1, 1, 1).to(x.device), x.flip(-1), x)


def resize_batch(x: Tensor, side_px: int) -> Tensor:
    """Resize to a shorter side of `side_px`, bilinear with antialiasing.

    Shape: (N, C, H, W) float -> (N, C, side_px, side_px) if it was square, channels-last in memory.
    """
    height, width = x.shape[2:]
    size = [round(side_px * side / min(height, width)) for side in (height, width)]
    small = F.interpolate(x, size=size, mode="bilinear", align_corners=False, antialias=True)
    return small.contiguous(memory_format=torch.channels_last)


def random_crop(x: Tensor, padding_px: int, generator: Generator, *, fill: str = "zero") -> Tensor:
    """Shift each image by up to `padding_px`: pad it, then crop its size at random.

    The padding is zeros, or with `fill="reflect"` the mirrored image.

    Shape: (N, C, H, W), any dtype -> the same; channels-last in memory.
    """
    n, _, h, w = x.shape
    padded = F.pad(x, (padding_px,) * 4) if fill == "zero" else _reflected(x, padding_px)
    top = draw_rows(n, generator, lambda n: _integers(n, 2 * padding_px + 1, generator))
    left = draw_rows(n, generator, lambda n: _integers(n, 2 * padding_px + 1, generator))
    sample = torch.arange(n, device=x.device).view(n, 1, 1)
    rows = (top + torch.arange(h, device=x.device)).view(n, h, 1)
    columns = (left + torch.arange(w, device=x.device)).view(n, 1, w)
    return padded[sample, :, rows, columns].permute(0, 3, 1, 2)


def _reflected(x: Tensor, padding_px: int) -> Tensor:
    """F.pad with mode reflect, for uint8 too.

    Shape: (N, C, H, W) -> (N, C, H + 2 p, W + 2 p).
    """
    _, _, h, w = x.shape
    rows = F.pad(torch.arange(float(h), device=x.device)[None], (padding_px, padding_px), mode="reflect")[0].long()
    columns = F.pad(torch.arange(float(w), device=x.device)[None], (padding_px, padding_px), mode="reflect")[0].long()
    return x[:, :, rows][:, :, :, columns]


def rotate(x: Tensor, degrees: float, generator: Generator) -> Tensor:
    """Rotate each image about its centre by an angle from -degrees to degrees.

    Bilinear; corners are filled with 0.

    Shape: (N, C, H, W) float -> the same.
    """
    n, _, h, w = x.shape
    angle = (draw_rows(n, generator, lambda n: _uniform((n,), generator)) * 2 - 1) * math.radians(degrees)
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    # affine_grid works in units of half the side, so rotating a non-square image needs the ratio of its sides.
    matrix = torch.stack([cos, -sin * h / w, zero, sin * w / h, cos, zero], dim=1).view(n, 2, 3)
    grid = F.affine_grid(matrix, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def random_brightness(x: Tensor, strength: float, generator: Generator) -> Tensor:
    """Multiply each image by a factor from 1 - strength to 1 + strength.

    Shape: (N, C, H, W) float in [0, 1] -> the same.
    """
    return (x * _factors(x, strength, generator)).clamp(0, 1)


def contrast(x: Tensor, strength: float, generator: Generator) -> Tensor:
    """Scale each image's difference from its mean grey by a factor from 1 ± strength.

    Shape: (N, C, H, W) float in [0, 1] -> the same.
    """
    return _blend(x, luma(x).mean(dim=(1, 2, 3), keepdim=True), _factors(x, strength, generator))


def saturation(x: Tensor, strength: float, generator: Generator) -> Tensor:
    """Scale each pixel's difference from its own grey by a factor from 1 ± strength.

    Shape: (N, C, H, W) float in [0, 1] -> the same.
    """
    return _blend(x, luma(x), _factors(x, strength, generator))


def gaussian_noise(x: Tensor, std: float, generator: Generator) -> Tensor:
    """Add normal noise of this standard deviation to every value.

    Shape: (N, C, H, W) float in [0, 1] -> the same.
    """
    noise = draw_rows(
        len(x), generator, lambda n: torch.randn((n, *x.shape[1:]), generator=generator, device=x.device, dtype=x.dtype)
    )
    return (x + noise * std).clamp(0, 1)


def random_erase(x: Tensor, probability: float, generator: Generator) -> Tensor:
    """Set a rectangle of 2 to 33 % of the area to 0, the mean after normalisation.

    Its sides have a ratio of 0.3 to 3.3.

    Shape: (N, C, H, W) -> the same.
    Source: Zhong et al. 2017, Random Erasing, section 3.2; a square is DeVries and Taylor's cutout.
    """
    n, _, h, w = x.shape
    draw = draw_rows(n, generator, lambda n: _uniform((4, n), generator), dim=1)
    area = h * w * (0.02 + draw[0] * 0.31)
    ratio = torch.exp((draw[1] * 2 - 1) * math.log(3.3))
    height = (area * ratio).sqrt().round().clamp(1, h)
    width = (area / ratio).sqrt().round().clamp(1, w)
    inside = rectangles(height, width, draw[2], draw[3], h, w)
    return x.masked_fill(inside & _draw_mask(x, probability, generator), 0.0)


def random_resized_crop(image: Image.Image, spec: Preprocessing, min_area: float, rng: random.Random) -> Image.Image:
    """Crop a random part of the image and resize it to the input size.

    The part has `min_area` to 1 of the area, and 3/4 to 4/3 of the input's ratio of sides.

    Source: Szegedy et al. 2014, Going Deeper with Convolutions, section 6. Ten tries, then the evaluation resize.
    """
    for _ in range(10):
        area = image.width * image.height * rng.uniform(min_area, 1.0)
        ratio = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3))) * (spec.width_px / spec.height_px)
        width, height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < width <= image.width and 0 < height <= image.height:
            left, top = rng.randint(0, image.width - width), rng.randint(0, image.height - height)
            part = image.crop((left, top, left + width, top + height))
            return fit_to_square(part, spec.model_copy(update={"resize": "squash"}))
    return fit_to_square(image, spec)


def rectangles(height: Tensor, width: Tensor, y: Tensor, x: Tensor, h: int, w: int) -> Tensor:
    """Masks that are true inside a rectangle, one per image.

    Shape: four (N,) tensors, y and x in [0, 1) -> (N, 1, h, w) bool.
    """
    top = (y * (h - height + 1)).floor().view(-1, 1, 1, 1)
    left = (x * (w - width + 1)).floor().view(-1, 1, 1, 1)
    rows = torch.arange(h, device=y.device).view(1, 1, h, 1)
    columns = torch.arange(w, device=y.device).view(1, 1, 1, w)
    return (
        (rows >= top)
        & (rows < top + height.view(-1, 1, 1, 1))
        & (columns >= left)
        & (columns < left + width.view(-1, 1, 1, 1))
    )


def _draw_mask(x: Tensor, probability: float, generator: Generator) -> Tensor:
    return draw_rows(len(x), generator, lambda n: _uniform((n, 1, 1, 1), generator)) < probability


def _factors(x: Tensor, strength: float, generator: Generator) -> Tensor:
    return 1 + (draw_rows(len(x), generator, lambda n: _uniform((n, 1, 1, 1), generator)) * 2 - 1) * strength


def _uniform(shape: tuple[int, ...], generator: Generator) -> Tensor:
    return torch.rand(shape, generator=generator, device=generator.device)


def _integers(n: int, below: int, generator: Generator) -> Tensor:
    return torch.randint(below, (n, 1), generator=generator, device=generator.device)


def luma(x: Tensor) -> Tensor:
    """Grey by ITU-R 601, as in Pillow and torchvision.

    If the channels are not RGB, their mean.

    Shape: (N, C, H, W) -> (N, 1, H, W).
    """
    if x.shape[1] == 1:
        return x
    if x.shape[1] != 3:
        return x.mean(1, keepdim=True)
    return (x * _on_device(REC_601, torch.float32, x.device).view(1, 3, 1, 1)).sum(1, keepdim=True)


def _blend(x: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    return (other + (x - other) * factor).clamp(0, 1)
