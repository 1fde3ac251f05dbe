"""How similar an image's features are to those of the training images.

Low familiarity is the second reason for the answer "unknown". Enters: feature maps. Leaves: one cosine per image.
Attached to a trained network by training and `calibrate`, saved with its weights, and part of every exported graph.
"""

import torch
from torch import Tensor, nn


class Familiarity(nn.Module):
    """The cosine between an image's scaled features and the nearest class centre.

    `scale` (F,) is the spread of each feature, by which it is divided; `centres` (C, F) are unit vectors, one or more
    per class.

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
    """Add a familiarity module to a network in place, or replace the one it has.

    Shape: scale (F,), centres (C, F).
    """
    module = Familiarity(centres.shape[1], centres.shape[0])
    module.load_state_dict({"scale": scale, "centres": centres})
    model.familiarity = module.to(next(model.parameters()).device)
