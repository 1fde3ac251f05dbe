"""Keeps decoded images in memory if they fit; else files are decoded every epoch.

Called by `prepare.py` and `prepare_evaluation.py`.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from catseye.counting import count
from catseye.data.loaders import Indices, MemoryLoader
from catseye.data.sources import ImageSet
from catseye.errors import DataError, UsageError
from catseye.machine.memory import free_memory_bytes
from catseye.preprocess import Preprocessing
from catseye.settings.schema import DataSettings

MEMORY_SHARE = 0.25  # of what is free: the decoded images may take this much
EVALUATION_BATCH = 256


def choose_storage(
    settings: DataSettings, needed: int, min_area: float, device: torch.device, num_sharing: int
) -> tuple[bool, str]:
    """Whether `needed` bytes of decoded images stay in memory, and why.

    Raises:
        UsageError: the settings require memory, but that is impossible.

    """
    free = free_memory_bytes(device) // num_sharing
    size = f"{needed / 1e6:,.0f} MB decoded" if needed < 1e9 else f"{needed / 1e9:,.1f} GB decoded"
    if settings.storage == "memory" and min_area < 1:
        raise UsageError("augment.crop_scale would do nothing here: data.storage is memory; set it to stream or auto")
    if settings.storage == "memory" and needed > free:
        raise UsageError(f"data.storage = memory: {size}, but {free / 1e9:,.1f} GB are free; set it to auto or stream")
    if settings.storage == "stream" or min_area < 1:
        why = "as set" if settings.storage == "stream" else "random resized crop needs the files"
        return False, f"images are streamed from their files ({why})"
    if settings.storage == "memory" or needed < MEMORY_SHARE * free:
        return True, f"images stay in memory ({size})"
    return (
        False,
        f"images are streamed from their files ({size}, more than a quarter of the {free / 1e9:.0f} GB free)",
    )


def fits_in_memory(num_images: int, spec: Preprocessing, device: torch.device) -> bool:
    """Whether decoded images take less than their share of the free memory."""
    return decoded_bytes(num_images, spec) < MEMORY_SHARE * free_memory_bytes(device)


def decoded_bytes(num_images: int, spec: Preprocessing) -> int:
    """The memory of that many images as network inputs."""
    return num_images * spec.height_px * spec.width_px * spec.channels


def refuse_bad(images: ImageSet, bad: dict[int, str], strict: bool) -> None:
    """Refuse unreadable images if data.strict is set.

    Raises:
        DataError: there are some.

    """
    if bad and strict:
        listed = "\n  ".join(list(bad.values())[:10])
        raise DataError(f"{images.source}: {count(len(bad), 'image')} cannot be read (data.strict):\n  {listed}")


def evaluation_loader(
    images: ImageSet, pixels: NDArray[np.uint8], usable: Indices, device: torch.device, bad: dict[int, str]
) -> MemoryLoader:
    """A loader of decoded images, in the order of their numbers, for evaluation.

    Raises:
        DataError: no image could be read.

    """
    if not len(usable):
        raise DataError(
            f"{images.source}: none of {count(len(bad), 'image')} can be read; first: {next(iter(bad.values()))}"
        )
    row = np.full(len(images), -1, np.int64)
    row[usable] = np.arange(len(usable))
    labels = torch.from_numpy(images.labels[usable]).to(device)
    return MemoryLoader(torch.from_numpy(pixels).to(device), labels, row, usable, EVALUATION_BATCH, bad=bad)
