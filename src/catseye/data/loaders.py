"""Batches of uint8 pixels on the training device, from memory or from the files.

Enters: `Pictures`, the numbers of one split, the preprocessing. Leaves: `Batch`es. Two loaders with one
face: `num_batches` and `epoch(number, start)`. The order of an epoch depends on (seed, epoch) alone.
Called by `prepare.py`, iterated by `training/fit.py` and `evaluation/predict.py`.
"""

import os
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from catseye.data.augment import random_resized_crop
from catseye.data.sources import Pictures
from catseye.errors import ImageError
from catseye.preprocess import Pixels, Preprocessing, open_image, preprocess, to_pixels
from catseye.seeds import derive

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """Pixels (N, C, H, W) uint8 and labels (N,) int64 on the training device; indices (N,) of `Pictures` on the CPU."""

    pixels: Tensor
    labels: Tensor
    indices: Tensor
    epoch: int = 0  # number of the epoch, from 0


class Loader(Protocol):
    """What fit and predict iterate."""

    indices: Indices
    bad: dict[int, str]  # number -> reason, of pictures met on the way that could not be read

    @property
    def num_batches(self) -> int:
        """Batches per epoch."""
        ...

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch, from batch `start` on."""
        ...


def epoch_order(indices: Indices, batch_size: int, *, shuffle: bool, seed: int, epoch: int) -> list[Indices]:
    """The numbers of every batch of one epoch; the last one is smaller, never dropped.

    Only a last training batch of a single picture is left out: batch normalisation has no variance there.
    """
    if shuffle:
        indices = np.random.default_rng(derive(seed, "shuffle", epoch)).permutation(indices)
    batches = [indices[start : start + batch_size] for start in range(0, len(indices), batch_size)]
    if shuffle and batch_size > 1 and len(batches) > 1 and len(batches[-1]) == 1:
        batches.pop()
    return batches


def count_batches(indices: Indices, batch_size: int, shuffle: bool) -> int:
    """How many batches `epoch_order` makes, without drawing an order."""
    full, rest = divmod(len(indices), batch_size)
    return full + (rest > 0 and not (shuffle and full > 0 and rest == 1))


@dataclass
class MemoryLoader:
    """Batches cut out of one decoded array that all splits share.

    `pixels` (M, H, W, C) uint8 and `labels` (M,) lie on the training device; `row` (N,) leads from a
    picture's number to its row.
    """

    pixels: Tensor
    labels: Tensor
    row: Indices
    indices: Indices
    batch_size: int
    shuffle: bool
    seed: int
    bad: dict[int, str] = field(default_factory=dict)

    @property
    def num_batches(self) -> int:
        """Batches per epoch."""
        return count_batches(self.indices, self.batch_size, self.shuffle)

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch, from batch `start` on."""
        order = epoch_order(self.indices, self.batch_size, shuffle=self.shuffle, seed=self.seed, epoch=number)
        for chosen in order[start:]:
            rows = torch.from_numpy(self.row[chosen]).to(self.pixels.device)
            # Stored as (H, W, C), so the permuted view already is channels-last.
            yield Batch(self.pixels[rows].permute(0, 3, 1, 2), self.labels[rows], torch.from_numpy(chosen), number)


@dataclass
class StreamLoader:
    """Batches decoded by worker processes, for what does not fit into memory.

    A picture that turns out unreadable is left out of its batch and recorded in `bad`; nothing takes its place.
    """

    pictures: Pictures
    spec: Preprocessing
    indices: Indices
    batch_size: int
    shuffle: bool
    seed: int
    workers: int
    device: torch.device
    min_area: float = 1.0  # below 1: random resized crop
    bad: dict[int, str] = field(default_factory=dict)

    @property
    def num_batches(self) -> int:
        """Batches per epoch."""
        return count_batches(self.indices, self.batch_size, self.shuffle)

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch, from batch `start` on."""
        order = epoch_order(self.indices, self.batch_size, shuffle=self.shuffle, seed=self.seed, epoch=number)[start:]
        decoder = _Decoder(self.pictures, self.spec, self.min_area, derive(self.seed, "crop", number))
        loader = DataLoader(
            decoder,
            batch_sampler=[batch.tolist() for batch in order],
            num_workers=self.workers,
            collate_fn=_collate,
            pin_memory=self.device.type == "cuda",
            timeout=120 if self.workers else 0,
        )
        for pixels, indices, bad in loader:
            self.bad.update(bad)
            if len(indices):
                labels = torch.from_numpy(self.pictures.labels[indices.numpy()])
                yield Batch(
                    pixels.to(self.device, non_blocking=True).permute(0, 3, 1, 2),
                    labels.to(self.device),
                    indices,
                    number,
                )


@dataclass(frozen=True)
class _Decoder(Dataset[tuple[int, Pixels | str]]):
    """Runs inside a worker: picture number -> pixels, or the reason why there are none."""

    pictures: Pictures
    spec: Preprocessing
    min_area: float
    seed: int

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> tuple[int, Pixels | str]:
        try:
            source = self.pictures.read(index)
            if self.min_area == 1.0:
                return index, preprocess(source, self.spec)
            # Seeded by the picture, not by the worker: the crop is the same whoever decodes it.
            rng = random.Random(derive(self.seed, index))  # noqa: S311
            image = random_resized_crop(open_image(source), self.spec, self.min_area, rng)
            return index, to_pixels(image, self.spec.channels)
        except ImageError as error:
            return index, f"{self.pictures.names[index]}: {error}"


def _collate(items: list[tuple[int, Pixels | str]]) -> tuple[Tensor, Tensor, dict[int, str]]:
    bad = {index: item for index, item in items if isinstance(item, str)}
    good = [(index, item) for index, item in items if not isinstance(item, str)]
    pixels = torch.from_numpy(np.stack([item for _, item in good])) if good else torch.empty(0, dtype=torch.uint8)
    return pixels, torch.tensor([index for index, _ in good], dtype=torch.int64), bad


def decode_all(pictures: Pictures, indices: Indices, spec: Preprocessing) -> tuple[Pixels, Indices, dict[int, str]]:
    """Decode pictures once into one array.

    Shape: returns pixels (M, H, W, C) uint8, the M numbers that could be read, and number -> reason for the others.
    """

    def decode(index: int) -> Pixels | str:
        try:
            return preprocess(pictures.read(index), spec)
        except ImageError as error:
            return f"{pictures.names[index]}: {error}"

    pixels = np.empty((len(indices), spec.height_px, spec.width_px, spec.channels), np.uint8)
    good: list[int] = []
    bad: dict[int, str] = {}
    # Pillow lets go of the interpreter lock while it decodes and resizes.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(indices), 4096):  # in portions, so that the decoded queue stays short
            portion = indices[start : start + 4096].tolist()
            for index, result in zip(portion, pool.map(decode, portion, chunksize=64), strict=True):
                if isinstance(result, str):
                    bad[index] = result
                else:
                    pixels[len(good)] = result
                    good.append(index)
    return pixels[: len(good)], np.array(good, dtype=np.int64), bad


def free_memory_bytes() -> int:
    """Memory that can be taken without swapping; half of all memory where the system does not say."""
    try:
        with open("/proc/meminfo", encoding="ascii") as stream:  # noqa: PTH123
            for line in stream:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
