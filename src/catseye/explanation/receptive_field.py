"""The region of an image that one activation can see, and does look at.

Enters: a network in evaluation mode, an image, a layer and a place in its map. Leaves: the box given by the sizes of
the windows, and the gradient inside it. Called by the lab and the verbs of explain.
"""

import math
from dataclasses import dataclass

import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor, nn

from catseye.errors import UnknownName, UsageError
from catseye.explanation.feature_maps import find_layer, output_of
from catseye.models.summary import LayerRow, ModelSummary, summarise
from catseye.preprocess import Pixels


@dataclass(frozen=True)
class Box:
    """Pixels from (top, left) to (bottom, right), exclusive.

    The box is cut at the image's edges; `side_px` is uncut.
    """

    top: int
    left: int
    bottom: int
    right: int
    side_px: int


def receptive_field(summary: ModelSummary, layer: str, row: int, column: int, side_px: int | tuple[int, int]) -> Box:
    """The box that one activation can see.

    It follows from the sizes, strides and paddings of the layers before it. If paths meet in a sum, it is the box of
    the widest path. `side_px` is the side of the input, or its (height, width).

    Source: Araujo, Norris, Sim 2019, Computing Receptive Fields of Convolutional Neural Networks, eq. 2 to 4.

    Raises:
        UnknownName: the summary has no such layer. UsageError: its map has no such place.

    """
    layer_row = row_of(summary, layer)
    height_px, width_px = (side_px, side_px) if isinstance(side_px, int) else side_px
    if len(layer_row.output_shape) != 3:
        return Box(0, 0, height_px, width_px, layer_row.span_px)
    rows, columns = map_size(layer_row, height_px / width_px)
    if not (0 <= row < rows and 0 <= column < columns):
        raise UsageError(
            f"the map of {layer} has rows 0 to {rows - 1} and columns 0 to {columns - 1}; got ({row}, {column})"
        )

    def cut(place: int, side: int) -> tuple[int, int]:
        first = layer_row.start_px + place * layer_row.step_px
        return max(0, math.floor(first)), min(side, math.ceil(first + layer_row.span_px))

    (top, bottom), (left, right) = cut(row, height_px), cut(column, width_px)
    return Box(top, left, bottom, right, layer_row.span_px)


def row_of(summary: ModelSummary, layer: str) -> LayerRow:
    """The row of a layer in the summary.

    Raises:
        UnknownName: there is none.

    """
    for row in summary.rows:
        if row.name == layer:
            return row
    raise UnknownName("layer", layer, [row.name for row in summary.rows], see="`catseye summary` lists them.")


def map_side(row: LayerRow) -> int:
    """The side of a layer's maps, whichever axis its channels are on."""
    first, second, third = row.output_shape
    return first if first == second != third else third


def map_size(row: LayerRow, ratio: float) -> tuple[int, int]:
    """Height and width of a layer's maps, whichever axis its channels are on.

    `ratio` is the input's height divided by its width.
    """
    if ratio == 1:
        return (map_side(row),) * 2
    first, second, third = row.output_shape
    return min(((second, third), (first, second)), key=lambda size: abs(math.log(size[0] / size[1] / ratio)))


def gradient_field(model: nn.Module, x: Tensor, layer: str, channel: int, row: int, column: int) -> Tensor:
    """The change of one activation with each pixel.

    |d activation / d pixel|, summed over the channels.

    Shape: x (1, C, H, W) -> (H, W), at least 0.
    Source: Luo, Li, Urtasun, Zemel 2016, Understanding the Effective Receptive Field, section 2.

    Raises:
        UnknownName: no such layer. UsageError: no such channel or place.

    """
    find_layer(model, layer)
    x = x.detach().clone().requires_grad_(True)
    with torch.enable_grad():
        values = output_of(model, x, layer)[0]
        if values.dim() == 1:
            values = values[:, None, None]
        if not (0 <= channel < values.shape[0] and 0 <= row < values.shape[1] and 0 <= column < values.shape[2]):
            raise UsageError(f"{layer} gives {tuple(values.shape)} values; got ({channel}, {row}, {column})")
        (gradient,) = torch.autograd.grad(values[channel, row, column], x)
    return gradient[0].abs().sum(0)


def receptive_field_figure(
    model: nn.Module, x: Tensor, pixels: Pixels, layer: str, channel: int, row: int, column: int
) -> Figure:
    """The image with the box, and the gradient inside it.

    Shape: x (1, C, H, W) normalised; pixels (H, W, C) uint8, the same image.
    """
    box = receptive_field(summarise(model, x.shape[1:]), layer, row, column, (x.shape[2], x.shape[3]))
    field = gradient_field(model, x, layer, channel, row, column).cpu().numpy()
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.imshow(pixels.squeeze(), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    right.imshow(field, cmap="viridis", interpolation="nearest")
    for axes in (left, right):
        axes.axis("off")
        size = (box.right - box.left, box.bottom - box.top)
        axes.add_patch(Rectangle((box.left - 0.5, box.top - 0.5), *size, fill=False, edgecolor="#d9730d", linewidth=2))
    left.set_title(f"can see {box.side_px} px" if box.side_px < 10**6 else "can see everything")
    right.set_title("does look: |d activation / d pixel|")
    figure.suptitle(f"{layer}, channel {channel}, place ({row}, {column})")
    return figure
