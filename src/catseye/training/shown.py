"""`catseye.show_batch`: training images as the network sees them.

Enters: a run. Leaves: a matplotlib figure. Called by `catseye.show_batch` and `run.show_batch`.
"""

from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from catseye.data.augment import RowGenerator, augment_batch, normalise_batch
from catseye.data.decode import decode_all
from catseye.data.loaders import StreamLoader
from catseye.data.moved import locate_data
from catseye.data.sources import Images, open_source
from catseye.errors import DataError
from catseye.evaluation.answered import grid_figure
from catseye.files import StrPath
from catseye.preprocess import Pixels, Preprocessing
from catseye.runs import open_run
from catseye.runtimes.loading import open_model
from catseye.seeds import derive


def show_batch(run: StrPath, num_images: int = 16, *, epoch: int = 0, data: Images | None = None) -> Figure:
    """Some training images of a run, augmented, each with its class.

    Each `epoch` draws other images and transforms, from the run's seed. Mixing (mixup, cutmix) and an augmentation of
    your own are not shown. `data` is the new place of the run's images, if they were moved.

    Raises:
        ModelFileError: it is not a run with weights. DataError: the images are missing.

    """
    opened = open_run(run)
    settings, recorded = opened.settings, opened.data
    spec = open_model(opened, device="cpu", need="facts").manifest.preprocessing
    folder = Path(recorded["data_dir"]) if recorded["data_dir"] else None
    place = locate_data(recorded, data, folder, settings.data)
    images = open_source(place, data_dir=folder, settings=settings.data)
    number = {name: index for index, name in enumerate(images.names)}
    names = [name for name in recorded["splits"]["train"] if name in number]
    seed = derive(settings.seed, "shown", epoch)
    picked = np.random.default_rng(seed).permutation(len(names))[:num_images]
    indices = np.array([number[names[index]] for index in picked], np.int64)
    if settings.augment.crop_scale < 1:
        loader = StreamLoader(
            images, spec, indices, num_images, 0, torch.device("cpu"), seed=seed, min_area=settings.augment.crop_scale
        )
        batch = next(loader.epoch(epoch), None)
        pixels, indices = (batch.pixels, batch.indices.numpy()) if batch else (torch.empty(0), indices[:0])
    else:
        array, indices, _ = decode_all(images, indices, spec)
        pixels = torch.from_numpy(array).permute(0, 3, 1, 2)
    if not len(indices):
        raise DataError(f"{images.source}: none of the training images can be read")
    generator = RowGenerator("cpu")
    generator.manual_seed(seed)
    x = augment_batch(pixels, settings.augment, spec, generator, indices=torch.from_numpy(indices), epoch=epoch)
    labels = [images.classes[label] for label in images.labels[indices].tolist()]
    return grid_figure(
        list(zip(_shown(x, spec), labels, strict=True)), columns=min(8, max(1, round(len(labels) ** 0.5)))
    )


def _shown(x: torch.Tensor, spec: Preprocessing) -> list[Pixels]:
    """Normalised tensors converted back to pixels.

    Shape: (N, C, H, W) float -> N of (H, W, C) uint8.
    """
    black, white = (normalise_batch(torch.full((1, spec.channels, 1, 1), value), spec) for value in (0.0, 1.0))
    unit = (x - black) / (white - black)
    pixels: list[Pixels] = list((unit.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy())
    return pixels
