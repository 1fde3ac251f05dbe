"""Several views of one image through one network: the mean of their feature maps.

Enters: the features of a network. Leaves: features of the same shape. Called by the registry.
"""

from torch import Tensor, nn


class MirroredViews(nn.Module):
    """The mean of an image's feature maps and of its mirror image's, mirrored back.

    A linear head then gives the mean of both logits, and a class activation map shows the regions of both.

    Shape: (N, C, H, W) -> (N, F, h, w).
    Source: Simonyan, Zisserman 2014, arXiv 1409.1556, section 3.2: test images are flipped and the answers averaged.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """Shape: see the class."""
        maps: Tensor = self.network(x)
        mirrored: Tensor = self.network(x.flip(3))
        return (maps + mirrored.flip(3)) / 2
