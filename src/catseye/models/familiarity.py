"""How much an image's features look like those a network was trained on: the second ground for saying "unknown".

Enters: feature maps. Leaves: one cosine per image. Attached to a finished network by training and `calibrate`, saved
with its weights, and part of every exported graph.
"""

import torch
from torch import Tensor, nn


class Familiarity(nn.Module):
    """The cosine between an image's pooled features and the nearest class mean, features in units of their spread.

    `scale` (F,) is that spread, `centres` (K, F) the unit vectors towards the class means.

    Shape: (N, F, h, w) -> (N,), -1 to 1.
    """

    scale: Tensor
    centres: Tensor

    def __init__(self, num_features: int, num_classes: int) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(num_features))
        self.register_buffer("centres", torch.zeros(num_classes, num_features))

    def forward(self, maps: Tensor) -> Tensor:
        """Shape: see the class."""
        scaled = maps.mean((2, 3)) / self.scale
        unit = scaled / scaled.norm(dim=1, keepdim=True).clamp_min(1e-12)
        nearest: Tensor = (unit @ self.centres.T).amax(1)
        return nearest


def attach_familiarity(model: nn.Module, scale: Tensor, centres: Tensor) -> None:
    """Give a network its familiarity, in place; one that it has already is replaced.

    Shape: scale (F,), centres (K, F).
    """
    module = Familiarity(centres.shape[1], centres.shape[0])
    module.load_state_dict({"scale": scale, "centres": centres})
    model.familiarity = module.to(next(model.parameters()).device)
