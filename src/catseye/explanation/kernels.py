"""The filters of the first convolution, the only one applied to the image itself.

Enters: a network. Leaves: its weights (F, C, k, k), and a figure of them. Called by the lab and the verbs of explain.
"""

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import nn

from catseye.errors import UsageError


@dataclass(frozen=True)
class Filters:
    """The first convolution: name, weights (F, C, k, k), stride and padding."""

    layer: str
    weights: NDArray[np.float32]
    stride: int
    padding: int


def first_filters(model: nn.Module) -> Filters:
    """The first convolution of a network, in the order of its parts.

    Raises:
        UsageError: it has none.

    """
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Conv2d):
            padding = layer.padding[0] if isinstance(layer.padding, tuple) else 0
            weights = layer.weight.detach().float().cpu().numpy()
            return Filters(name, weights, layer.stride[0], int(padding))
    raise UsageError(f"{type(model).__name__} has no convolution, so it has no filters to show")


def filter_image(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """One filter as a small image.

    0.5 is a weight of 0; the largest weight of the filter becomes 0 or 1. Three channels are R, G, B; otherwise their
    mean is shown in grey.

    Shape: (C, k, k) -> (k, k, 3) in 0 to 1.
    """
    shown = weights if weights.shape[0] == 3 else weights.mean(0, keepdims=True).repeat(3, 0)
    largest = max(float(np.abs(shown).max()), 1e-12)
    image: NDArray[np.float32] = (shown / largest / 2 + 0.5).transpose(1, 2, 0).astype(np.float32)
    return image


def filter_figure(filters: Filters, *, count: int = 64) -> Figure:
    """The first filters in a grid."""
    shown = filters.weights[:count]
    columns = min(8, len(shown))
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(1.1 * columns, 1.1 * rows + 0.5), layout="constrained")
    for number, axes in enumerate(figure.subplots(rows, columns, squeeze=False).flat):
        axes.axis("off")
        if number < len(shown):
            axes.imshow(filter_image(shown[number]), interpolation="nearest")
    shape = " x ".join(str(size) for size in filters.weights.shape)
    figure.suptitle(f"{filters.layer} ({shape}); grey is a weight of 0")
    return figure
