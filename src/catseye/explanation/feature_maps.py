"""Each layer's output for an image; the images that activate a channel most.

Enters: a network in evaluation mode and normalised images (N, C, H, W). Leaves: maps by layer, strongest first, and the
places of a data set where a channel is most active. The network is not changed: a hook reads and copies a layer's
output, because the next layer may work in place. Called by the lab and by the verbs of explain.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from catseye.errors import UnknownName, UsageError


@dataclass(frozen=True)
class FeatureMaps:
    """Maps (C, h, w) of one image after one layer.

    `order` (C,) has the strongest channel first; `strength` (C,) is a channel's mean absolute value.
    """

    layer: str
    maps: Tensor
    strength: Tensor
    order: Tensor


@dataclass(frozen=True)
class Patch:
    """A place of a data set with a channel's value there.

    `image` is the image's index, `row` and `column` are the place in the map.
    """

    image: int
    row: int
    column: int
    value: float


def find_layer(model: nn.Module, layer: str) -> nn.Module:
    """The part of a network by its dotted name, as `catseye summary` prints it.

    Raises:
        UnknownName: it has no such part.

    """
    known: dict[str, nn.Module] = dict(model.named_modules())
    if layer not in known or not layer:
        raise UnknownName("layer", layer, [name for name in known if name], see="`catseye summary` lists them.")
    return known[layer]


def output_of(model: nn.Module, x: Tensor, layer: str) -> Tensor:
    """The output of a layer for x; with its autograd graph if x has one.

    Shape: (N, C, H, W) -> (N, c, h, w), or (N, c) after a dense layer.

    Raises:
        UnknownName: no such layer. UsageError: the images do not pass through it.

    """
    part = find_layer(model, layer)
    seen: list[Tensor] = []
    hook = part.register_forward_hook(lambda _, inputs, output: seen.append(output.clone()))
    try:
        model(x)
    finally:
        hook.remove()
    if not seen:
        raise UsageError(f"the layer {layer} exists, but images do not pass through it; choose another layer")
    return channels_first(seen[-1])


def channels_first(values: Tensor) -> Tensor:
    """Move channels that are on the last axis to the front.

    Some layers of ConvNeXt and Swin keep them last. Maps are square, so the axis that differs is that of the channels.

    Shape: (N, C, h, w) or (N, h, h, C) -> (N, C, h, w); other numbers of axes stay.
    """
    if values.dim() == 4 and values.shape[1] == values.shape[2] != values.shape[3]:
        return values.permute(0, 3, 1, 2)
    return values


def feature_maps(model: nn.Module, x: Tensor, layer: str) -> FeatureMaps:
    """The maps of one image after one layer, strongest first.

    A dense layer has maps of one value each.

    Shape: x (1, C, H, W).

    Raises:
        UnknownName: no such layer. UsageError: its output is no map.

    """
    with torch.no_grad():
        values = output_of(model, x, layer)[0].float()
    if values.dim() == 1:
        values = values[:, None, None]
    if values.dim() != 3:
        raise UsageError(
            f"a feature map has the shape (C, h, w); the layer {layer} has {tuple(values.shape)}; choose another layer"
        )
    strength = values.abs().mean((1, 2))
    return FeatureMaps(layer, values, strength, strength.argsort(descending=True, stable=True))


def top_patches(model: nn.Module, batches: Iterable[Tensor], layer: str, channel: int, count: int = 9) -> list[Patch]:
    """The places in many images where one channel has its highest values.

    At most one place per image.

    Shape: batches of (N, C, H, W), normalised.
    Source: Zeiler and Fergus 2013, arXiv 1311.2901, section 4: the top nine activations of a feature map.

    Raises:
        UnknownName: no such layer. UsageError: it has no such channel.

    """
    patches: list[Patch] = []
    start = 0
    for batch in batches:
        with torch.no_grad():
            values = output_of(model, batch, layer)
        if values.dim() == 2:
            values = values[:, :, None, None]
        if values.dim() != 4 or not 0 <= channel < values.shape[1]:
            raise UsageError(f"the layer {layer} has the channels 0 to {values.shape[1] - 1}; got {channel}")
        width = values.shape[3]
        highest, place = values[:, channel].float().flatten(1).max(1)
        patches += [
            Patch(start + index, int(position) // width, int(position) % width, float(value))
            for index, (value, position) in enumerate(zip(highest, place, strict=True))
        ]
        # The sort is stable: of equal values the earlier image is kept.
        patches = sorted(patches, key=lambda patch: -patch.value)[:count]
        start += len(batch)
    return patches


def feature_map_figure(maps: FeatureMaps, *, count: int = 16) -> Figure:
    """The strongest maps side by side, with channel and strength above each.

    Each map has its own grey scale.
    """
    shown = maps.order[:count].tolist()
    columns = min(4, len(shown))
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(2.2 * columns, 2.4 * rows), layout="constrained")
    for number, axes in enumerate(figure.subplots(rows, columns, squeeze=False).flat):
        axes.axis("off")
        if number < len(shown):
            channel = shown[number]
            axes.imshow(maps.maps[channel].cpu().numpy(), cmap="gray", interpolation="nearest")
            axes.set_title(f"channel {channel}: {float(maps.strength[channel]):.2f}", fontsize=9)
    shape = " x ".join(str(size) for size in maps.maps.shape)
    figure.suptitle(f"{maps.layer} ({shape}), mean |value| above each map")
    return figure
