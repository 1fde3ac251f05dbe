"""A tower of equal layers, of any depth, with or without skips, to compare them.

Paper: He, Zhang, Ren, Sun 2015, "Deep Residual Learning for Image Recognition", arXiv 1512.03385, sections 4.1 and
4.2, which train plain and residual networks of the same depth side by side.
Deviations: one width and one resolution throughout (the paper's 6n + 2 layers have three), so that changes along the
tower are due to depth alone; batch normalisation can be left out, as before 2015. It is made for comparison, not for
accuracy, and is not a milestone.
"""

from torch import Tensor, nn

from catseye.errors import UsageError
from catseye.models.blocks import ResidualBlock, conv_bn
from catseye.models.registry import network

MAX_DEPTH = 1202  # the paper's deepest; building a million layers, as a file might request, would never end
CHANNELS = 16


class Tower(nn.Module):
    """A stem, (depth - 2) / 2 blocks of two convolutions, average pooling, linear.

    Shape: (N, C, H, W) -> features (N, 16 · width, H, W) -> (N, K).
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        *,
        depth: int = 50,
        width: float = 1.0,
        skip: bool = True,
        norm: bool = True,
    ) -> None:
        super().__init__()
        if not 4 <= depth <= MAX_DEPTH or depth % 2:
            raise UsageError(
                "a tower is a stem, blocks of two layers and a last layer, so model.depth is 4, 6, 8, … up to "
                f"{MAX_DEPTH}; got {depth}"
            )
        channels = max(1, round(CHANNELS * width))
        stem = nn.Sequential(conv_bn(in_channels, channels, norm=norm), nn.ReLU(inplace=True))
        blocks = [ResidualBlock(channels, channels, skip=skip, norm=norm) for _ in range((depth - 2) // 2)]
        self.features = nn.Sequential(stem, *blocks)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_classes))

    def forward(self, x: Tensor) -> Tensor:
        """Shape: (N, C, H, W) -> (N, K) logits."""
        logits: Tensor = self.head(self.features(x))
        return logits


@network(
    "tower",
    year=2015,
    innovation="equal layers of any depth, with and without skips",
    source="He et al. 2015, arXiv 1512.03385, section 4.2",
)
def tower(
    *,
    num_classes: int,
    in_channels: int,
    input_px: int,
    depth: int = 50,
    width: float = 1.0,
    skip: bool = True,
    norm: bool = True,
) -> Tower:
    """The tower; `depth` counts layers with weights, `skip=False` omits the skips."""
    return Tower(num_classes, in_channels, depth=depth, width=width, skip=skip, norm=norm)
