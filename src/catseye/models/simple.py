"""The small CNN of textbooks: three blocks of convolution, norm, ReLU, pooling.

Source: none; the widths 32-64-128 and the head 256 with dropout 0.5 are the usual teaching example.
"""

from itertools import pairwise

from torch import Tensor, nn

from catseye.errors import UsageError
from catseye.models.blocks import conv_bn
from catseye.models.registry import network


class SimpleCNN(nn.Module):
    """Three blocks (`features`), then two dense layers (`head`).

    Shape: (N, C, H, W) -> features (N, 128, H // 8, W // 8) -> (N, K); a 3 x 32 x 32 image becomes (32, 16, 16),
    (64, 8, 8), (128, 4, 4), 2048, 256, K.
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 3,
        input_px: int | tuple[int, int] = 32,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        height, width = (input_px, input_px) if isinstance(input_px, int) else input_px
        widths = (in_channels, 32, 64, 128)
        self.features = nn.Sequential(
            *(
                nn.Sequential(conv_bn(before, after), nn.ReLU(inplace=True), nn.MaxPool2d(2))
                for before, after in pairwise(widths)
            )
        )
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(128 * (height // 8) * (width // 8), 256),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(256, num_classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Shape: (N, C, H, W) -> (N, K) logits."""
        logits: Tensor = self.head(self.features(x))
        return logits


@network("simple", year=2015, innovation="the textbook CNN: conv-BN-ReLU-pool three times", source="no paper")
def simple(
    *, num_classes: int, in_channels: int, input_px: int, shape_px: tuple[int, int] = (0, 0), dropout: float = 0.5
) -> SimpleCNN:
    """The textbook CNN for 8 px and more; its first dense layer grows with the input."""
    if input_px < 8:
        raise UsageError(f"simple needs an input of 8 px or more; got data.input_px = {input_px}")
    return SimpleCNN(num_classes, in_channels, shape_px if all(shape_px) else input_px, dropout)
