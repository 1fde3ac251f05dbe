"""A frozen network that turns images into vectors: a run's, or a published one.

Enters: a run, or nothing. Leaves: `Backbone`. Called by embed.py, and by the rooms that work on features.
"""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from catseye.data.augment import normalise_batch, to_unit
from catseye.data.channel_counts import count_channels
from catseye.data.input_spec import LARGER_THAN_TRAINED
from catseye.data.sources import ImageSet
from catseye.data.sources.image_set import content_digest
from catseye.data.value_range import choose_value_range
from catseye.errors import ImageError, UsageError
from catseye.machine.cores import num_cores
from catseye.machine.devices import choose_device
from catseye.machine.memory import split_for_inference
from catseye.models import registry
from catseye.models.folding import fold_norms
from catseye.models.pretrained import DEFAULT_BACKBONE, find_published
from catseye.models.zoo import count_published_classes, load_published
from catseye.preprocess import Expected, Pixels, Preprocessing, open_image, preprocess
from catseye.runtimes.loading import open_model
from catseye.seeds import derive
from catseye.settings.schema import DataSettings

SMALLEST_PX, ENLARGED = 96, 4  # published weights get small images at four times their size
SAMPLE = 100  # images that are opened to learn the typical size
BATCH = 64


@dataclass(frozen=True)
class Backbone:
    """A network of which only `features` is used.

    `sha256` identifies its weights and preprocessing.
    """

    network: nn.Module
    spec: Preprocessing
    device: torch.device
    name: str
    sha256: str

    @torch.inference_mode()
    def embed(self, pixels: Pixels) -> NDArray[np.float32]:
        """The pooled features.

        Shape: (N, H, W, C) uint8, as `preprocess` makes them with `spec` -> (N, F).
        """
        layers = self._layers
        pooled: list[Tensor] = []
        for start in range(0, len(pixels), BATCH):
            batch = torch.from_numpy(pixels[start : start + BATCH])
            x = normalise_batch(to_unit(batch.to(self.device).permute(0, 3, 1, 2)), self.spec)
            pooled += _pooled_per_core(layers, x) if self.device.type == "cpu" else [_pooled(layers, x)]
        return np.ascontiguousarray(torch.cat(pooled).cpu().numpy(), np.float32)

    @cached_property
    def _layers(self) -> nn.Module:
        """The feature layers, norms folded into convolutions if the result is equal."""
        layers = self.network.get_submodule("features")
        shape = (2, self.spec.channels, self.spec.height_px, self.spec.width_px)
        probe = torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(self.device)
        return fold_norms(layers, probe)


def _pooled(layers: nn.Module, x: Tensor) -> Tensor:
    """Shape: (n, C, H, W) -> (n, F)."""
    pooled: Tensor = layers(x).float().mean((2, 3))
    return pooled


def _pooled_per_core(layers: nn.Module, x: Tensor) -> list[Tensor]:
    """The pooled features of a batch on the CPU; each core has images of its own.

    Threads that share one image wait for each other at every layer. While other programs use the cores too, that takes
    four times the processor time; so each core works alone.

    Shape: (N, C, H, W) -> tensors (n, F) of N rows together.
    """
    cores = min(num_cores(), len(x))
    parts = [each for part in split_for_inference(x) for each in torch.split(part, math.ceil(len(part) / cores))]
    if cores == 1:
        return [_pooled(layers, part) for part in parts]

    def compute(part: Tensor) -> Tensor:
        with torch.inference_mode():  # the mode holds for one thread only
            return _pooled(layers, part)

    before = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(cores, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(compute, parts))
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True)
class Embedded:
    """Features of readable images; `bad`: number -> reason for the others.

    Shape: features (M, F), indices (M,) numbers of the images, digests M of their contents.
    """

    features: NDArray[np.float32]
    indices: NDArray[np.int64]
    digests: list[bytes]
    bad: dict[int, str]


def open_backbone(
    model: str | Path | None, images: ImageSet | None, *, device: str = "auto", spec: Preprocessing | None = None
) -> Backbone:
    """The network of a run; without `model`, a published EfficientNet-Lite0.

    For published weights, input size and range of values follow from `images`, unless `spec` sets them.

    Raises:
        ModelFileError: the run cannot be used. UsageError: an exported file has no layers.

    """
    if model is not None:
        opened = open_model(model, device=device, need="layers")
        own, layers = opened.manifest.preprocessing, opened.layers()
        mark = sha256(f"{opened.sha256} {own.model_dump_json()}".encode()).hexdigest()
        return Backbone(layers, own, torch.device(opened.device), str(model), mark)
    published = find_published(DEFAULT_BACKBONE)
    if spec is None:
        assert images is not None  # callers without images pass a spec
        spec = _published_spec(images, published.expected)
    with torch.device("meta"):
        empty = registry.create(DEFAULT_BACKBONE, num_classes=2, in_channels=3, input_px=spec.height_px)
    num_classes = count_published_classes(empty, published.state)
    network = registry.create(DEFAULT_BACKBONE, num_classes=num_classes, in_channels=3, input_px=spec.height_px)
    load_published(network, published.state)
    torch_device = choose_device(device)
    network = network.eval().to(torch_device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    mark = sha256(f"{published.source} {spec.model_dump_json()}".encode()).hexdigest()
    return Backbone(network, spec, torch_device, published.source, mark)


def _published_spec(images: ImageSet, expected: Expected) -> Preprocessing:
    if channels := count_channels(images).only:
        raise UsageError(
            f"published weights take colour, 3 channels per pixel; the images have {channels}; use a run that was "
            "trained on such images"
        )
    px = min(round(expected.px * LARGER_THAN_TRAINED / 32) * 32, _enlarged(images))
    return Preprocessing(
        height_px=px,
        width_px=px,
        filter=expected.filter,
        mean=expected.mean,
        std=expected.std,
        value_range=choose_value_range(images, DataSettings()),
    )


def _enlarged(images: ImageSet) -> int:
    """Four times the typical side, in steps of 32."""
    numbers = np.random.default_rng(derive(0, "survey")).permutation(len(images))[:SAMPLE]
    sides = []
    for index in numbers.tolist():
        try:
            image = open_image(images.read(index), value_range="own")
        except ImageError:
            continue
        sides.append((image.width * image.height) ** 0.5)
    typical = float(np.median(sides)) if sides else SMALLEST_PX
    return max(SMALLEST_PX, round(ENLARGED * typical / 32) * 32)


def embed_portion(backbone: Backbone, images: ImageSet, indices: NDArray[np.int64]) -> Embedded:
    """Features of some images, each file read once."""

    def read(index: int) -> tuple[bytes, Pixels] | str:
        try:
            content = images.read(index)
            return content_digest(content), preprocess(content, backbone.spec)
        except ImageError as error:
            return f"{images.names[index]}: {error}"

    good, digests, pixels, bad = [], [], [], {}
    with ThreadPoolExecutor(num_cores()) as pool:
        for index, image in zip(indices.tolist(), pool.map(read, indices.tolist()), strict=True):
            if isinstance(image, str):
                bad[index] = image
                continue
            good.append(index)
            digests.append(image[0])
            pixels.append(image[1])
    features = backbone.embed(np.stack(pixels)) if pixels else np.empty((0, 0), np.float32)
    return Embedded(features, np.array(good, np.int64), digests, bad)


def embed_images(
    backbone: Backbone, images: ImageSet, *, tell: Callable[[int], None] | None = None, portion: int = 256
) -> Embedded:
    """Features of all images, in memory; `tell` gets the number of images done."""
    parts = []
    for start in range(0, len(images), portion):
        indices = np.arange(start, min(start + portion, len(images)))
        parts.append(embed_portion(backbone, images, indices))
        if tell is not None:
            tell(int(indices[-1]) + 1)
    return join_embedded(parts)


def join_embedded(parts: list[Embedded]) -> Embedded:
    """Join portions in their order."""
    bad = {index: reason for part in parts for index, reason in part.bad.items()}
    kept = [part for part in parts if len(part.indices)]
    if not kept:
        return replace(parts[0], bad=bad)
    return Embedded(
        np.concatenate([part.features for part in kept]),
        np.concatenate([part.indices for part in kept]),
        [digest for part in kept for digest in part.digests],
        bad,
    )
