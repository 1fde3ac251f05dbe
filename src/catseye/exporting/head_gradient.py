"""Grad-CAM inside an exported graph, for runtimes without autograd.

The gradient of the head is computed backwards, layer by layer. Enters: a head and the shape of its feature maps.
Leaves: `HeadGradient`, or None if a layer has no rule here. Called by `graph.py`. For pooling and one linear layer this
is the class activation map of Zhou et al.; with a hidden layer, W2 · diag(relu') · W1, which depends on the image.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from catseye.models.lenet import ScaledTanh
from catseye.models.speednet import Scale

MAX_WEIGHTS = 8_000_000  # VGG's dense layers would be read twice for every image


class HeadGradient(nn.Module):
    """A head's logits, and the map of the most probable class.

    Shape: features (N, F, h, w) -> logits (N, K), map (N, h, w): the feature maps weighted by the sum of the class's
    gradient over their positions, h · w times Grad-CAM's before its ReLU.
    Source: Selvaraju et al. 2017, Grad-CAM, eq. 1 and 2; the chain rule for each layer.
    """

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_layers_in_order(head))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Shape: see the class."""
        passed = [features]
        for layer in self.layers:
            # Some layers work in place, but their input is needed for the gradient.
            passed.append(F.relu(passed[-1]) if isinstance(layer, nn.ReLU) else _layer_answer(layer, passed[-1]))
        logits = passed[-1]
        places = torch.arange(logits.shape[1], device=logits.device)
        gradient = (places == logits.argmax(1, keepdim=True)).to(logits.dtype)
        for layer, x, y in reversed(list(zip(self.layers, passed, passed[1:], strict=False))):
            gradient = _gradient_before(layer, x, y, gradient)
        weights = gradient.sum((2, 3), keepdim=True)
        return logits, (weights * features).sum(1)


def head_gradient(head: nn.Module, maps: tuple[int, ...]) -> HeadGradient | None:
    """The module for a head, or None if the head can have no map.

    The head's feature maps have the shape (F, h, w).
    """
    layers = _layers_in_order(head)
    num_weights = sum(value.numel() for layer in layers for value in layer.parameters())
    if math.prod(maps[1:]) < 2 or num_weights > MAX_WEIGHTS:
        return None
    size = maps[1:]
    for layer in layers:
        if not _has_rule(layer, size):
            return None
        if isinstance(layer, nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d):
            size = (1, 1)
        elif isinstance(layer, nn.Conv2d):
            size = tuple(side - edge + 1 for side, edge in zip(size, layer.kernel_size, strict=True))
    return HeadGradient(head)


def _layers_in_order(head: nn.Module) -> list[nn.Module]:
    """The layers in order, out of nested `Sequential`s."""
    if isinstance(head, nn.Sequential):
        return [layer for part in head for layer in _layers_in_order(part)]
    return [head]


def _has_rule(layer: nn.Module, size: tuple[int, ...]) -> bool:
    if isinstance(layer, nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d):
        return layer.output_size in (1, (1, 1)) and not getattr(layer, "return_indices", False)
    if isinstance(layer, nn.Conv2d):
        plain = layer.stride == (1, 1) and layer.padding == (0, 0) and layer.dilation == (1, 1)
        return plain and all(edge <= side for side, edge in zip(size, layer.kernel_size, strict=True))
    if isinstance(layer, nn.Flatten):
        return layer.start_dim == 1 and layer.end_dim == -1
    known = (nn.Dropout, nn.Identity, nn.Linear, nn.ReLU, nn.Hardswish, nn.Tanh, ScaledTanh, Scale)
    return isinstance(layer, known)


def _layer_answer(layer: nn.Module, x: Tensor) -> Tensor:
    y: Tensor = F.hardswish(x) if isinstance(layer, nn.Hardswish) else layer(x)
    return y


def _gradient_before(layer: nn.Module, x: Tensor, y: Tensor, gradient: Tensor) -> Tensor:
    """The gradient at a layer's input, from the gradient at its output."""
    if isinstance(layer, nn.Linear):
        return gradient @ layer.weight
    if isinstance(layer, nn.Conv2d):
        return F.conv_transpose2d(gradient, layer.weight, groups=layer.groups)
    if isinstance(layer, nn.Flatten):
        return gradient.reshape(-1, *x.shape[1:])
    if isinstance(layer, nn.AdaptiveAvgPool2d):
        return (gradient / (x.shape[2] * x.shape[3])).expand(-1, -1, x.shape[2], x.shape[3])
    if isinstance(layer, nn.AdaptiveMaxPool2d):
        highest = (x == y).to(x.dtype)
        return gradient * highest / highest.sum((2, 3), keepdim=True)
    return gradient * _derivative(layer, x, y)


def _derivative(layer: nn.Module, x: Tensor, y: Tensor) -> Tensor | float:
    """The derivative of a layer that works on each value separately."""
    if isinstance(layer, nn.ReLU):
        return (y > 0).to(x.dtype)
    if isinstance(layer, nn.Tanh):
        return 1 - y * y
    if isinstance(layer, ScaledTanh):
        return ScaledTanh.GAIN * ScaledTanh.SLOPE - y * y * (ScaledTanh.SLOPE / ScaledTanh.GAIN)
    if isinstance(layer, nn.Hardswish):
        return torch.where(x > 3, torch.ones_like(x), (x / 3 + 0.5) * (x > -3).to(x.dtype))
    return layer.factor if isinstance(layer, Scale) else 1.0
