"""A small residual network for 32-px images; with its standard stem for photos.

Paper: He, Zhang, Ren, Sun 2015, "Deep Residual Learning for Image Recognition", arXiv 1512.03385, section 3.
Deviations: the CIFAR-10 networks of its section 4.2 have widths 16-32-64, zero-padded shortcuts and no
dropout; this one has a stem of 32, stages of 64, 128 and 256 with two blocks each, 1x1 convolutions on
the shortcuts and dropout before the last layer. `stem="standard"` is that of the paper's section 4.1, a 7x7 convolution
of stride 2 and a pooling of stride 2: at 224 px the stages then get 56 x 56 instead of 224 x 224, a sixteenth.
"""

from torch import Tensor, nn

from catseye.models.blocks import ResidualBlock, conv_bn
from catseye.models.registry import network
from catseye.models.stems import choose_stem


class ResidualNet(nn.Module):
    """Stem 32, stages 64, 128 and 256, average pooling, dropout, linear layer.

    Shape: (N, C, H, W) -> features (N, 256, ceil(H / 4), ceil(W / 4)) -> (N, K); a sixteenth of H and W with the
    standard stem.
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 3,
        *,
        dropout: float = 0.3,
        skip: bool = True,
        small: bool = True,
    ) -> None:
        super().__init__()
        stem = (
            (conv_bn(in_channels, 32), nn.ReLU(inplace=True))
            if small
            else (conv_bn(in_channels, 32, kernel=7, stride=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, padding=1))
        )
        self.features = nn.Sequential(
            nn.Sequential(*stem),
            _stage(32, 64, stride=1, skip=skip),
            _stage(64, 128, stride=2, skip=skip),
            _stage(128, 256, stride=2, skip=skip),
        )
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout), nn.Linear(256, num_classes)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Shape: (N, C, H, W) -> (N, K) logits."""
        logits: Tensor = self.head(self.features(x))
        return logits


def _stage(in_channels: int, out_channels: int, *, stride: int, skip: bool) -> nn.Sequential:
    return nn.Sequential(
        ResidualBlock(in_channels, out_channels, stride=stride, skip=skip),
        ResidualBlock(out_channels, out_channels, skip=skip),
    )


@network(
    "residual",
    year=2015,
    innovation="skips: each block learns what to add to its input",
    source="He et al. 2015, arXiv 1512.03385",
    photos=True,
)
def residual(
    *,
    num_classes: int,
    in_channels: int,
    input_px: int,
    dropout: float = 0.3,
    skip: bool = True,
    stem: str = "small",
) -> ResidualNet:
    """The small residual network; `skip=False` leaves the shortcuts out, to compare.

    `stem` is `small` by default for every input size, as in files of version 0.1; `auto` is `standard` above 64 px.
    """
    small = choose_stem(stem, input_px) == "small"
    return ResidualNet(num_classes, in_channels, dropout=dropout, skip=skip, small=small)
