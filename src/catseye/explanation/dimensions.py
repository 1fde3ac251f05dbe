"""`catseye summary`: the size of the data after each layer of a network.

Enters: a network by name, a run, or any module. Leaves: `ModelSummary`. Called by users and by cli.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from catseye.files import StrPath, path_of
from catseye.models import registry
from catseye.models.summary import ModelSummary, summarise
from catseye.runtimes.loading import open_model
from catseye.settings.typed import parse_shape


def summary(
    model: str | StrPath | nn.Module,
    *,
    input: str | Sequence[int] | None = None,
    classes: int = 10,
    no_skip: bool = False,
    stem: str | None = None,
) -> ModelSummary:
    """Summarise every layer of a network, from a real forward pass.

    Each layer has its name, output shape, parameters, multiply-adds and receptive field. `model` is a name of
    `list_models`, a run, its path, or a `torch.nn.Module`. `input` is (C, H, W) or "3x32x32"; the default is a run's
    own, else 3 x 32 x 32. `classes`, `no_skip` and `stem` are for a network given by name.

    Raises:
        UnknownName: no such network. UsageError: an invalid shape, or an option that the network does not have.

    """
    if isinstance(model, nn.Module):
        return summarise(model, _input_shape(input))
    if not isinstance(model, str) or Path(model).exists():
        opened = open_model(path_of(model), device="cpu", need="layers")
        spec = opened.manifest.preprocessing
        own = (spec.channels, spec.height_px, spec.width_px)
        return summarise(opened.layers(), own if input is None else _input_shape(input))
    channels, height, width = _input_shape(input)
    options: dict[str, Any] = {"skip": False} if no_skip else {}
    if stem is not None:
        options["stem"] = stem
    side = height if height == width else (height, width)
    network = registry.create(model, num_classes=classes, in_channels=channels, input_px=side, **options)
    return summarise(network, (channels, height, width))


def _input_shape(given: str | Sequence[int] | None) -> tuple[int, int, int]:
    if given is None:
        return 3, 32, 32
    return parse_shape(given if isinstance(given, str) else "x".join(map(str, given)))
