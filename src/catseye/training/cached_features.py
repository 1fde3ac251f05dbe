"""Frozen features, computed once: every later epoch trains only the head.

Enters: a network whose backbone is frozen, and its loaders. Leaves: loaders of features with the same
numbers, labels and order. Called by network.py for feature extraction. `tensors_of` and `restore` convert such loaders
to tensors for the folder of an unfinished run, and back (kept_features.py).
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn

from catseye.data.augment import augment_batch, normalise_batch, to_unit
from catseye.data.loaders import (
    Batch,
    Indices,
    Loader,
    MemoryLoader,
    NumberedImages,
    Share,
    StreamLoader,
)
from catseye.machine.memory import split_for_inference
from catseye.machine.waiting import Waiting
from catseye.preprocess import Preprocessing
from catseye.seeds import derive
from catseye.settings.schema import AugmentSettings


@dataclass
class FeatureLoader(NumberedImages):
    """Batches of pooled features (N, F, 1, 1) float32 in place of images.

    `features` (V, M, F), or (V, M, C, h, w) for an inner layer: V variants of each image, the first one without
    augmentation; `row` maps an image's number to its row. A training epoch draws one variant per image,
    evaluation takes the first.
    """

    features: Tensor
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
        num_variants = len(self.features) if self.shuffle else 1
        draw = np.random.default_rng(derive(self.seed, "variant", number)).integers(num_variants, size=len(self.row))
        for place, whole in enumerate(order[start:], start):
            numbers, first = self.shared.cut(whole)
            rows = torch.from_numpy(self.row[numbers])
            features = self.features[torch.from_numpy(draw[numbers]), rows]
            picked = torch.from_numpy(numbers)
            maps = features[..., None, None] if features.ndim == 2 else features
            yield Batch(maps, self.labels[rows], picked, number, place, first, len(whole))


def tensors_of(loaders: Mapping[str, Loader]) -> dict[str, Tensor]:
    """The tensors from which `restore` makes the same loaders."""
    tensors: dict[str, Tensor] = {}
    for name, loader in loaders.items():
        if isinstance(loader, FeatureLoader):
            parts = {"features": loader.features, "labels": loader.labels}
            parts |= {"row": torch.from_numpy(loader.row), "indices": torch.from_numpy(loader.indices)}
            tensors |= {f"{name}.{part}": value for part, value in parts.items()}
    return tensors


def restore(
    tensors: Mapping[str, Tensor], loaders: Mapping[str, Loader], *, batch_size: int, seed: int, device: torch.device
) -> dict[str, Loader]:
    """Loaders of features computed before; other loaders stay as they are."""
    made = dict(loaders)
    for name, loader in loaders.items():
        if f"{name}.features" in tensors:
            shuffle = name == "train"
            made[name] = FeatureLoader(
                tensors[f"{name}.features"].to(device),
                tensors[f"{name}.labels"].to(device),
                tensors[f"{name}.row"].numpy(),
                tensors[f"{name}.indices"].numpy(),
                batch_size if shuffle else 4096,
                shuffle=shuffle,
                seed=seed,
                bad=loader.bad,
            )
    return made


@dataclass(frozen=True)
class Cached:
    """The loaders, and how long the plain loop would take.

    `plain_epoch_s` are the seconds of one pass of the backbone over `train`.
    """

    loaders: dict[str, Loader]
    seconds_s: float
    plain_epoch_s: float


@torch.inference_mode()
def cache_features(
    features: nn.Module,
    loaders: Mapping[str, Loader],
    spec: Preprocessing,
    augment: AugmentSettings,
    *,
    variants: int,
    seed: int,
    batch_size: int,
) -> Cached:
    """Run the backbone once over every image.

    For training images, also over `variants - 1` augmented copies.

    Test images are left to the evaluation, which runs the whole network on them anyway.
    """
    begun = time.perf_counter()
    made: dict[str, Loader] = {}
    train_seconds = 0.0
    sides = [side for side in ("train", "val", "test") if side != "test" or not len(loaders["val"].indices)]
    rounds = {side: variants if side == "train" else 1 for side in sides}
    waiting = Waiting("computing features", sum(rounds[side] * len(loaders[side].indices) for side in sides))
    for name in ("train", "val", "test"):
        loader = loaders[name]
        if name not in sides or not len(loader.indices):
            made[name] = loader
            continue
        with waiting:
            parts = [
                _one_round(features, loader, spec, augment if v else None, seed, v, waiting)
                for v in range(rounds[name])
            ]
        if name == "train":
            train_seconds = time.perf_counter() - begun
        indices = np.concatenate([batch.indices.numpy() for batch in parts[0][1]])
        row = np.full(int(indices.max()) + 1, -1, np.int64)
        row[indices] = np.arange(len(indices))
        labels = torch.cat([batch.labels for batch in parts[0][1]])
        stacked = torch.stack([part for part, _ in parts])
        shuffle = name == "train"
        made[name] = FeatureLoader(
            stacked,
            labels,
            row,
            np.sort(indices),
            batch_size if shuffle else 4096,
            shuffle=shuffle,
            seed=seed,
            bad=loader.bad,
        )
    return Cached(made, time.perf_counter() - begun, train_seconds / variants)


def in_order(loader: Loader, *, plain: bool) -> Loader:
    """The same images in order, with the last partial batch.

    The plain variant has no random crops.
    """
    if isinstance(loader, StreamLoader):
        return replace(loader, shuffle=False, min_area=1.0 if plain else loader.min_area, bad=loader.bad)
    assert isinstance(loader, MemoryLoader | FeatureLoader)
    return replace(loader, shuffle=False)


def _one_round(
    features: nn.Module,
    loader: Loader,
    spec: Preprocessing,
    augment: AugmentSettings | None,
    seed: int,
    variant: int,
    waiting: Waiting,
) -> tuple[Tensor, list[Batch]]:
    """Pooled features (M, F) of one variant, and the batches they came from.

    They are in the order of the images' numbers.
    """
    pooled: list[Tensor] = []
    seen: list[Batch] = []
    for number, batch in enumerate(in_order(loader, plain=augment is None).epoch(variant)):
        if augment is None:
            x = normalise_batch(to_unit(batch.pixels), spec)
        else:
            generator = torch.Generator(batch.pixels.device).manual_seed(derive(seed, "augment", variant, number))
            x = augment_batch(batch.pixels, augment, spec, generator, indices=batch.indices, epoch=variant)
        pooled += [features(part).float().mean((2, 3)) for part in split_for_inference(x)]
        seen.append(Batch(torch.empty(0), batch.labels, batch.indices))
        waiting.step(len(batch.indices))
    return torch.cat(pooled), seen
