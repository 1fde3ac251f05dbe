"""How much an image's features look like those a network was trained on: the second ground for saying "unknown".

Enters: feature maps. Leaves: one cosine per image. Attached to a finished network by training and `calibrate`, saved
with its weights, and part of every exported graph.
"""

import torch
from torch import Tensor, nn


class Familiarity(nn.Module):
    """The cosine between an image's pooled features, in units of their spread, and the nearest centre of a class.

    `scale` (F,) is that spread, `centres` (C, F) are unit vectors: one or several per class.

    Shape: (N, F, h, w) -> (N,), -1 to 1.
    """

    scale: Tensor
    centres: Tensor

    def __init__(self, num_features: int, num_centres: int) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(num_features))
        self.register_buffer("centres", torch.zeros(num_centres, num_features))

    def forward(self, maps: Tensor) -> Tensor:
        """Shape: see the class."""
        scaled = maps.mean((2, 3)) / self.scale
        unit = scaled / scaled.norm(dim=1, keepdim=True).clamp_min(1e-12)
        nearest: Tensor = (unit @ self.centres.T).amax(1)
        return nearest


def attach_familiarity(model: nn.Module, scale: Tensor, centres: Tensor) -> None:
    """Give a network its familiarity, in place; one that it has already is replaced.

    Shape: scale (F,), centres (C, F).
    """
    module = Familiarity(centres.shape[1], centres.shape[0])
    module.load_state_dict({"scale": scale, "centres": centres})
    model.familiarity = module.to(next(model.parameters()).device)
