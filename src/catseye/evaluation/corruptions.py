"""Accuracy on degraded images: five corruptions at five strengths.

Enters: the measurement of clean images. Leaves: `Corruptions`. A corruption acts on the decoded image in the network's
input size, so that a strength means the same for every source. Called by `evaluate.py`.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from catseye.data.loaders import MemoryLoader
from catseye.decoding.channels import PLAIN_CHANNELS
from catseye.errors import ImageError, UsageError
from catseye.evaluation.measure import MeasuredModel, collect_outputs
from catseye.preprocess import Pixels, preprocess
from catseye.seeds import derive

MAX_IMAGES = 2000  # with more, 25 passes take minutes, and change the shares by less than their interval
Corrupt = Callable[[Pixels, int, np.random.Generator], Pixels]


@dataclass(frozen=True)
class Corruptions:
    """Accuracies, 0 to 1: clean, and per corruption at strengths 1 to 5."""

    clean: float
    accuracy: dict[str, list[float]]
    num_images: int

    def to_json(self) -> dict[str, Any]:
        """As plain JSON types."""
        return vars(self)


def noise(pixels: Pixels, strength: int, rng: np.random.Generator) -> Pixels:
    """Gaussian noise.

    Its standard deviation is 0.04, 0.06, 0.08, 0.09 or 0.10 of the full range, by strength.

    Source: Hendrycks, Dietterich 2019, Benchmarking Neural Network Robustness, code for CIFAR-10-C.
    """
    spread = 255 * (0.04, 0.06, 0.08, 0.09, 0.10)[strength - 1]
    return _clip(pixels + rng.normal(0, spread, pixels.shape))


def blur(pixels: Pixels, strength: int, rng: np.random.Generator) -> Pixels:
    """Gaussian blur with a radius of 1.25 % to 6.25 % of the image's height."""
    image = _corrupted_image(pixels).filter(ImageFilter.GaussianBlur(strength * 0.0125 * pixels.shape[0]))
    return _pixels(image, pixels)


def jpeg(pixels: Pixels, strength: int, rng: np.random.Generator) -> Pixels:
    """JPEG of quality 80, 65, 58, 50, 40; the source is that of `noise`."""
    stream = io.BytesIO()
    _corrupted_image(pixels).save(stream, "JPEG", quality=(80, 65, 58, 50, 40)[strength - 1])
    return _pixels(Image.open(stream), pixels)


def brightness(pixels: Pixels, strength: int, rng: np.random.Generator) -> Pixels:
    """Brighter or darker, drawn per image, by a tenth of the full range per step."""
    return _clip(pixels + float(rng.choice([-1, 1])) * 25.5 * strength)


def rotation(pixels: Pixels, strength: int, rng: np.random.Generator) -> Pixels:
    """Rotated by 6 degrees per step, left or right.

    The corners are filled with the border's mean.
    """
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]]).mean(0).round().astype(int)
    fill: int | tuple[int, ...] = int(border[0]) if pixels.shape[2] == 1 else tuple(border.tolist())
    angle = float(rng.choice([-1, 1])) * 6 * strength
    return _pixels(_corrupted_image(pixels).rotate(angle, Image.Resampling.BILINEAR, fillcolor=fill), pixels)


CORRUPTIONS: dict[str, Corrupt] = {
    "noise": noise,
    "blur": blur,
    "JPEG": jpeg,
    "brightness": brightness,
    "rotation": rotation,
}


def measure_corruptions(measured: MeasuredModel) -> Corruptions:
    """Accuracy on at most 2,000 of the same images, clean and corrupted.

    The random draws depend only on the image.

    Raises:
        UsageError: the model reads other channels than greyscale or colour.

    """
    outputs, images, device = measured.outputs, measured.images, torch.device(measured.model.device)
    if (channels := measured.model.manifest.preprocessing.channels) not in PLAIN_CHANNELS:
        raise UsageError(
            f"--corruptions takes greyscale and colour; this model reads {channels} channels; leave it out"
        )
    rows = np.sort(np.random.default_rng(0).permutation(len(outputs.labels))[:MAX_IMAGES])
    clean, kept = [], []
    for row in rows.tolist():
        try:
            source = images.read(int(outputs.indices[row]))
            clean.append(preprocess(source, measured.model.manifest.preprocessing))
            kept.append(row)
        except ImageError:
            continue  # no longer readable; it counts in none of the passes
    labels = outputs.labels[kept]
    results: dict[str, list[float]] = {}
    for name, corrupt in CORRUPTIONS.items():
        results[name] = []
        for strength in range(1, 6):
            changed = [
                corrupt(pixels, strength, np.random.default_rng(derive(0, name, row)))
                for pixels, row in zip(clean, kept, strict=True)
            ]
            corrupted = collect_outputs(
                measured.model, _loader(np.stack(changed), labels, device), f"{name} {strength}"
            )
            results[name].append(float((corrupted.logits.argmax(1) == labels).mean()))
    return Corruptions(float((outputs.logits[kept].argmax(1) == labels).mean()), results, len(kept))


def corruptions_figure(corruptions: Corruptions) -> Figure:
    """Accuracy against strength, a line per corruption."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for name, values in corruptions.accuracy.items():
        axes.plot(range(6), [corruptions.clean, *values], marker=".", label=name)
    axes.set(xlabel="strength", ylabel="accuracy", ylim=(0, 1), title=f"n = {corruptions.num_images:,}")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def _loader(pixels: Pixels, labels: NDArray[np.int64], device: torch.device) -> MemoryLoader:
    everything = np.arange(len(pixels), dtype=np.int64)
    stored, truth = torch.from_numpy(pixels).to(device), torch.from_numpy(labels).to(device)
    return MemoryLoader(stored, truth, everything, everything, 256, shuffle=False, seed=0)


def _corrupted_image(pixels: Pixels) -> Image.Image:
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def _pixels(image: Image.Image, like: Pixels) -> Pixels:
    return np.asarray(image, dtype=np.uint8).reshape(like.shape)


def _clip(values: NDArray[np.floating]) -> Pixels:
    return values.round().clip(0, 255).astype(np.uint8)
