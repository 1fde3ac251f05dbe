"""Heads of transfer learning, which follow the feature maps; their last layer."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HeadKind = Literal["linear", "transfer"]


def linear_head(num_features: int, num_classes: int) -> nn.Sequential:
    """Global average pooling, dropout 0.2, one linear layer.

    A class activation map can be computed from its weights.

    Shape: (N, F, h, w) -> (N, K); pooled features may be passed as (N, F, 1, 1).
    """
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(num_features, num_classes))


def transfer_head(num_features: int, num_classes: int) -> nn.Sequential:
    """The head of runs before version 0.2: pooling, two linear layers, dropout.

    Shape: (N, F, h, w) -> (N, K); pooled features may be passed as (N, F, 1, 1).
    """
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(num_features, 256),
        nn.ReLU(inplace=True),
        nn.Dropout(0.2),
        nn.Linear(256, num_classes),
    )


def count_features(model: nn.Module, in_channels: int, input_px: int) -> int:
    """F of the network's feature maps (N, F, h, w), from one pass over a black image."""
    features = model.get_submodule("features")
    device = next(model.parameters()).device
    training = features.training
    with torch.no_grad():
        maps = features.eval()(torch.zeros(1, in_channels, input_px, input_px, device=device))
    features.train(training)
    return int(maps.shape[1])


def replace_head(
    model: nn.Module, num_classes: int, in_channels: int, input_px: int, kind: HeadKind = "linear"
) -> nn.Module:
    """Put a fresh head on a network in place, and remove its auxiliary heads."""
    device = next(model.parameters()).device
    make = linear_head if kind == "linear" else transfer_head
    model.head = make(count_features(model, in_channels, input_px), num_classes).to(device)
    if getattr(model, "taps", None):
        model.taps = {}  # type: ignore[assignment]
        del model.auxiliary
    return model


@torch.inference_mode()
def linear_on_pooled(model: nn.Module) -> Tensor | None:
    """The classifier of a network, if it is linear on the mean of its maps.

    None if it is not. The head is asked about random maps, because heads of other libraries do not show what they
    compute.

    Shape: (K, F + 1); the last column is the bias.
    """
    head = model.get_submodule("head")
    layers = [layer for layer in head.modules() if isinstance(layer, nn.Linear)]
    if not layers:
        return None
    weight, bias = layers[-1].weight, layers[-1].bias
    maps = torch.rand(2, weight.shape[1], 3, 3, generator=torch.Generator().manual_seed(0)).to(weight.device)
    try:
        logits = head(maps)
    except RuntimeError:  # hidden layers for maps of another shape
        return None
    expected = F.linear(maps.mean((2, 3)), weight, bias)
    if logits.shape != expected.shape or not torch.allclose(logits, expected, rtol=1e-3, atol=1e-4):
        return None
    column = torch.zeros(len(weight), 1, device=weight.device) if bias is None else bias[:, None]
    return torch.cat([weight, column], 1).float().cpu()


def last_linear(head: nn.Module) -> nn.Linear | None:
    """The linear layer of a head of pooling and that layer only; else None."""
    layers = [layer for layer in head.modules() if not isinstance(layer, nn.Sequential | nn.Dropout | nn.Identity)]
    if len(layers) != 3:
        return None
    pool, flatten, linear = layers
    averages = isinstance(pool, nn.AdaptiveAvgPool2d) and pool.output_size in (1, (1, 1))
    if averages and isinstance(flatten, nn.Flatten) and isinstance(linear, nn.Linear):
        return linear
    return None
