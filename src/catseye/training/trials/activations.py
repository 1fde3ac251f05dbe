"""A backbone split after its frozen stages, whose output is computed once.

Enters: a network and how many of its last stages are tuned. Leaves: its two halves, and a loader of activations. Called
by tuning_rungs.py. Nothing is assumed about the network's code: the halves are checked on one batch, or not used.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from catseye.data.augment import normalise_batch, to_unit
from catseye.data.loaders import Loader, MemoryLoader, StreamLoader
from catseye.training.cached_features import FeatureLoader
from catseye.training.session import RunSession
from catseye.training.transfer import backbone_layers, backbone_units

TOLERANCE = 1e-3


@dataclass(frozen=True)
class Halves:
    """The halves of a network.

    `front` maps images to the input of the first tuned stage; `tail` is the network from there on, with its head.
    """

    front: Callable[[Tensor], Tensor]
    tail: nn.Module
    bytes_per_image: int


class _Reached(Exception):
    """The first tuned layer was reached."""


def split_backbone(model: nn.Module, stages: int, x: Tensor) -> Halves | None:
    """The halves of a network, split before its last `stages`.

    None if together they do not give the same features as the network.
    """
    units = backbone_units(model)
    if not 0 < stages < len(units):
        return None
    first = units[-stages][0]

    @torch.no_grad()
    def front(images: Tensor) -> Tensor:
        reached: list[Tensor] = []

        def stop(_: nn.Module, args: tuple[Tensor, ...]) -> None:
            reached.append(args[0])
            raise _Reached

        handle = first.register_forward_pre_hook(stop)
        try:
            model.get_submodule("features")(images)
        except _Reached:
            pass
        finally:
            handle.remove()
        return reached[0]

    tail = copy.copy(model)
    tail._modules = dict(model._modules)
    features = copy.copy(model.get_submodule("features"))
    tail._modules["features"] = _without_front(features, backbone_layers(model), first)
    training = model.training
    model.eval()
    with torch.no_grad():
        try:
            maps = front(x)
            joined, expected = tail.get_submodule("features")(maps), model.get_submodule("features")(x)
        except (RuntimeError, IndexError):
            return None
    model.train(training)
    if joined.shape != expected.shape:
        return None
    if (joined - expected).abs().max() > TOLERANCE * expected.abs().max().clamp_min(1e-6):
        return None
    return Halves(front, tail, maps[0].numel() * 4)


def _without_front(module: nn.Module, layers: list[nn.Module], first: nn.Module) -> nn.Module:
    """A copy with an identity in place of every layer before `first`.

    The other layers are shared.
    """
    before = set()
    for layer in layers:
        if layer is first:
            break
        before.add(id(layer))

    def shell(part: nn.Module) -> nn.Module:
        if id(part) in before:
            return nn.Identity()
        if not any(id(inner) in before for inner in part.modules()):
            return part
        copied = copy.copy(part)
        copied._modules = {name: child if child is None else shell(child) for name, child in part._modules.items()}
        return copied

    return shell(module)


@torch.no_grad()
def cache_activations(
    front: Callable[[Tensor], Tensor], loader: Loader, session: RunSession, *, mirrored: bool, seed: int,
    check: Callable[[], None],
) -> FeatureLoader:  # fmt: skip
    """The frozen half's output for each image, and for mirror images if wanted.

    `check` is called after every batch; it raises to stop.
    """
    assert isinstance(loader, MemoryLoader | StreamLoader)
    plain = replace(loader, shuffle=False, batch_size=32)
    maps: list[list[Tensor]] = [[], []] if mirrored else [[]]
    labels: list[Tensor] = []
    seen: list[Tensor] = []
    for batch in plain.epoch(0):
        x = normalise_batch(to_unit(batch.pixels), session.prepared.spec)
        for is_mirrored, outputs in enumerate(maps):
            outputs.append(front(x.flip(3) if is_mirrored else x).contiguous())
        labels.append(batch.labels)
        seen.append(batch.indices)
        check()
    indices = torch.cat(seen).numpy()
    row = np.full(int(indices.max()) + 1, -1, np.int64)
    row[indices] = np.arange(len(indices))
    stacked = torch.stack([torch.cat(each) for each in maps])
    size = loader.batch_size if loader.shuffle else 64
    return FeatureLoader(
        stacked, torch.cat(labels), row, np.sort(indices), size, shuffle=loader.shuffle, seed=seed, bad=loader.bad
    )
