"""What stands behind the feature maps: transfer learning's head, and what class activation maps need of a head."""

import torch
from torch import nn


def transfer_head(num_features: int, num_classes: int) -> nn.Sequential:
    """Global average pooling, dropout 0.3, linear 256, ReLU, dropout 0.2, linear K.

    Shape: (N, F, h, w) -> (N, K); pooled features may be handed in as (N, F, 1, 1).
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
    """F of the network's feature map (N, F, h, w), from one pass over an image of zeros."""
    features = model.get_submodule("features")
    device = next(model.parameters()).device
    training = features.training
    with torch.no_grad():
        maps = features.eval()(torch.zeros(1, in_channels, input_px, input_px, device=device))
    features.train(training)
    return int(maps.shape[1])


def replace_head(model: nn.Module, num_classes: int, in_channels: int, input_px: int) -> nn.Module:
    """Put a fresh transfer head on a network, in place; auxiliary heads of the old task are dropped."""
    device = next(model.parameters()).device
    model.head = transfer_head(count_features(model, in_channels, input_px), num_classes).to(device)
    if getattr(model, "taps", None):
        model.taps = {}  # type: ignore[assignment]
        del model.auxiliary
    return model


def last_linear(head: nn.Module) -> nn.Linear | None:
    """The one linear layer behind global average pooling, or None where the head has anything more in it."""
    layers = [layer for layer in head.modules() if not isinstance(layer, nn.Sequential | nn.Dropout | nn.Identity)]
    if len(layers) != 3:
        return None
    pool, flatten, linear = layers
    averages = isinstance(pool, nn.AdaptiveAvgPool2d) and pool.output_size in (1, (1, 1))
    if averages and isinstance(flatten, nn.Flatten) and isinstance(linear, nn.Linear):
        return linear
    return None
