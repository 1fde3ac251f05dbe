"""Batches of uint8 pixels on the training device, from memory or from the files.

Enters: `ImageSet`, the numbers of one split, the preprocessing. Leaves: `Batch`es. Two loaders with one interface,
`Loader`: `num_batches`, `epoch(number, start)`, and `subset` and `share`, which return a loader of fewer images or of a
part of every batch. The order of an epoch depends only on (seed, epoch).
Made by `prepare.py` and `prepare_evaluation.py`, used by `training/fit.py` and `evaluation/predict.py`.
"""

import random
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from catseye.counting import count
from catseye.data.augment import random_resized_crop
from catseye.data.pool import settle_worker
from catseye.data.sources import ImageSet
from catseye.data.workers import POLL_S, watched
from catseye.decoding.channels import PLAIN_CHANNELS
from catseye.errors import DataError, ImageError
from catseye.preprocess import Pixels, Preprocessing, open_image, open_planes, preprocess, to_pixels
from catseye.seeds import derive

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """Images and labels on the training device, and their numbers on the CPU.

    `place` is the position of the batch in its epoch; a batch without a readable image leaves a gap. If several
    processes train, these are rows `first` to `first + N` of a batch of `total` images.

    Shape: pixels (N, C, H, W) uint8, labels (N,) int64, indices (N,).
    """

    pixels: Tensor
    labels: Tensor
    indices: Tensor
    epoch: int = 0  # number of the epoch, from 0
    place: int = 0
    first: int = 0
    total: int | None = None

    @property
    def num_images(self) -> int:
        """Images of the complete batch, over all processes."""
        return len(self.labels) if self.total is None else self.total


@dataclass(frozen=True)
class Share:
    """The part of every training batch that one of `world_size` processes takes."""

    rank: int = 0
    world_size: int = 1

    def cut(self, batch: Indices) -> tuple[Indices, int]:
        """The numbers of this process's images and the row of the first one.

        A batch with fewer than two images per process goes to every process completely: batch normalisation has no
        variance in one image, and a process without any would keep the others waiting.
        """
        if len(batch) < 2 * self.world_size:
            return batch, 0
        # Consecutive images, as in numpy.array_split: the first processes take the remainder, one image each.
        size, rest = divmod(len(batch), self.world_size)
        first = self.rank * size + min(self.rank, rest)
        return batch[first : first + size + (self.rank < rest)], first


class Loader(Protocol):
    """What `fit` and `predict` iterate over."""

    indices: Indices
    batch_size: int
    bad: dict[int, str]  # number -> reason, of images that could not be read during an epoch

    @property
    def num_batches(self) -> int:
        """Batches per epoch."""
        ...

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch, from batch `start` on."""
        ...

    def subset(self, indices: Indices) -> "Loader":
        """The same loader on these images only."""
        ...

    def share(self, rank: int, world_size: int) -> "Loader":
        """The same loader, giving process `rank` of `world_size` its part of every batch."""
        ...


def draw_part(loader: Loader, num_images: int, seed: int) -> Loader:
    """The same loader on `num_images` images drawn from `seed`, or on all."""
    if num_images >= len(loader.indices):
        return loader
    generator = np.random.default_rng(derive(seed, "part"))
    return loader.subset(np.sort(generator.choice(loader.indices, num_images, replace=False)))


def epoch_order(indices: Indices, batch_size: int, *, shuffle: bool, seed: int, epoch: int) -> list[Indices]:
    """The numbers of every batch of an epoch; the last may be smaller, but is kept.

    Only a last training batch of a single image is dropped: batch normalisation has no variance there.
    """
    if shuffle:
        indices = np.random.default_rng(derive(seed, "shuffle", epoch)).permutation(indices)
    batches = [indices[start : start + batch_size] for start in range(0, len(indices), batch_size)]
    if shuffle and batch_size > 1 and len(batches) > 1 and len(batches[-1]) == 1:
        batches.pop()
    return batches


def count_batches(indices: Indices, batch_size: int, shuffle: bool) -> int:
    """How many batches `epoch_order` returns, without drawing an order."""
    full, rest = divmod(len(indices), batch_size)
    return full + (rest > 0 and not (shuffle and full > 0 and rest == 1))


def send_to(values: Tensor, device: torch.device) -> Tensor:
    """Copy a few numbers to the device.

    A plain copy to a GPU would wait for all work launched before.
    """
    return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values.to(device)


class NumberedImages:
    """What loaders do with the numbers of their images; subclasses have the fields."""

    indices: Indices
    batch_size: int
    shuffle: bool
    seed: int
    shared: Share

    @property
    def num_batches(self) -> int:
        """Batches per epoch."""
        return count_batches(self.indices, self.batch_size, self.shuffle)

    def subset(self, indices: Indices) -> Self:
        """The same loader on these images only."""
        return replace(self, indices=indices)  # type: ignore[type-var]

    def share(self, rank: int, world_size: int) -> Self:
        """The same loader, giving process `rank` of `world_size` its part of every batch."""
        return replace(self, shared=Share(rank, world_size))  # type: ignore[type-var]

    def order(self, epoch: int) -> list[Indices]:
        """The numbers of every batch of one epoch."""
        return epoch_order(self.indices, self.batch_size, shuffle=self.shuffle, seed=self.seed, epoch=epoch)


@dataclass
class MemoryLoader(NumberedImages):
    """Batches from one decoded array that all splits share.

    `pixels` and `labels` are on the training device; `row[i]` is the row of image i.

    Shape: pixels (M, H, W, C) uint8, labels (M,), row (N,).
    """

    pixels: Tensor
    labels: Tensor
    row: Indices
    indices: Indices
    batch_size: int
    _: KW_ONLY
    shuffle: bool = False
    seed: int = 0
    bad: dict[int, str] = field(default_factory=dict)
    shared: Share = field(default_factory=Share)

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch, from batch `start` on."""
        order = self.order(number)
        for place, batch in enumerate(order[start:], start):
            indices, first = self.shared.cut(batch)
            rows = send_to(torch.from_numpy(self.row[indices]), self.pixels.device)
            # Stored as (H, W, C), so the permuted view is already channels-last.
            pixels = self.pixels[rows].permute(0, 3, 1, 2)
            yield Batch(pixels, self.labels[rows], torch.from_numpy(indices), number, place, first, len(batch))


@dataclass
class StreamLoader(NumberedImages):
    """Batches decoded by worker processes, for images that do not fit into memory.

    An unreadable image is left out of its batch and recorded in `bad`. If several processes share the batch, the image
    before it takes its place, since all processes need equal batches. With `strict` it is an error.
    """

    images: ImageSet
    spec: Preprocessing
    indices: Indices
    batch_size: int
    workers: int
    device: torch.device
    _: KW_ONLY
    shuffle: bool = False
    seed: int = 0
    min_area: float = 1.0  # below 1: random resized crop
    bad: dict[int, str] = field(default_factory=dict)
    shared: Share = field(default_factory=Share)
    strict: bool = False

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch, from batch `start` on.

        Raises:
            DataError: an image cannot be read and `strict` is set, or no image of a process's share of a batch can.
            WorkerError: a worker process died or hangs.

        """
        order = self.order(number)[start:]
        decoder = _Decoder(self.images, self.spec, self.min_area, derive(self.seed, "crop", number))
        shares = [self.shared.cut(batch) for batch in order]
        loader = DataLoader(
            decoder,
            batch_sampler=[wanted.tolist() for wanted, _ in shares],
            num_workers=self.workers,
            collate_fn=_collate,
            pin_memory=self.device.type == "cuda",
            timeout=POLL_S if self.workers else 0,
            worker_init_fn=_settle,
            # Explicitly, since Python's own choice may be a fork server: that would be the workers' parent, and they
            # would outlive a trainer that is killed.
            multiprocessing_context="fork" if self.workers and sys.platform == "linux" else None,
        )
        with closing(watched(loader)) as batches:
            everything = zip(batches, order, shares, strict=True)
            for place, ((pixels, indices, bad), batch, (wanted, first)) in enumerate(everything, start):
                self.bad.update(bad)
                if bad and self.strict:
                    raise DataError(f"an image cannot be read any more (data.strict): {next(iter(bad.values()))}")
                if bad and self.shared.world_size > 1:
                    pixels, indices = _fill_gaps(pixels, indices, wanted, bad)
                # Batch normalisation has no variance if a single image is left of a training batch.
                if len(indices) > (1 if bad and self.shuffle and self.batch_size > 1 else 0):
                    labels = send_to(torch.from_numpy(self.images.labels[indices.numpy()]), self.device)
                    pixels = pixels.to(self.device, non_blocking=True).permute(0, 3, 1, 2)
                    total = len(batch) if self.shared.world_size > 1 else None
                    yield Batch(pixels, labels, indices, number, place, first, total)


def _settle(_: int) -> None:
    settle_worker()


@dataclass(frozen=True)
class _Decoder(Dataset[tuple[int, Pixels | str]]):
    """Runs inside a worker: image number -> pixels, or why it cannot be read."""

    images: ImageSet
    spec: Preprocessing
    min_area: float
    seed: int

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[int, Pixels | str]:
        try:
            source = self.images.read(index)
            if self.min_area == 1.0:
                return index, preprocess(source, self.spec)
            # Seeded by the image, not by the worker: the crop is the same in any worker.
            rng = random.Random(derive(self.seed, index))  # noqa: S311
            if self.spec.channels not in PLAIN_CHANNELS:
                planes = open_planes(source, self.spec)
                seed = derive(self.seed, index)  # the same crop of every channel
                crops = [
                    random_resized_crop(plane, self.spec, self.min_area, random.Random(seed))  # noqa: S311
                    for plane in planes
                ]
                return index, np.stack([np.asarray(crop) for crop in crops], axis=-1)
            opened = open_image(source, value_range=self.spec.value_range)
            image = random_resized_crop(opened, self.spec, self.min_area, rng)
            return index, to_pixels(image, self.spec.channels)
        except ImageError as error:
            return index, f"{self.images.names[index]}: {error}"


def _collate(items: list[tuple[int, Pixels | str]]) -> tuple[Tensor, Tensor, dict[int, str]]:
    bad = {index: item for index, item in items if isinstance(item, str)}
    good = [(index, item) for index, item in items if not isinstance(item, str)]
    pixels = torch.from_numpy(np.stack([item for _, item in good])) if good else torch.empty(0, dtype=torch.uint8)
    if get_worker_info() is not None:
        # Here an error reaches the trainer; the queue's own thread, which would do it otherwise, would lose it.
        pixels = pixels.share_memory_()  # type: ignore[no-untyped-call]
    return pixels, torch.tensor([index for index, _ in good], dtype=torch.int64), bad


def _fill_gaps(pixels: Tensor, indices: Tensor, wanted: Indices, bad: dict[int, str]) -> tuple[Tensor, Tensor]:
    """As many images as were wanted: the readable image before it replaces a bad one."""
    if not len(indices):
        raise DataError(
            f"all {count(len(wanted), 'image')} of one process's share of a batch are unreadable, "
            f"e.g. {next(iter(bad.values()))}; take them out of the data, or raise training.batch_size"
        )
    before = np.cumsum([number not in bad for number in wanted.tolist()]) - 1
    rows = torch.from_numpy(before.clip(0))
    return pixels[rows], indices[rows]
