"""Building blocks that several networks share."""

from torch import Tensor, nn


def conv_bn(
    in_channels: int, out_channels: int, *, kernel: int = 3, stride: int = 1, norm: bool = True
) -> nn.Sequential:
    """Convolution with "same" padding and batch norm, which makes a bias redundant.

    Without `norm`, the convolution has a bias.

    Shape: (N, C_in, H, W) -> (N, C_out, ceil(H / stride), ceil(W / stride)).
    """
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, stride=stride, padding=kernel // 2, bias=not norm),
        nn.BatchNorm2d(out_channels) if norm else nn.Identity(),
    )


class ResidualBlock(nn.Module):
    """y = ReLU(F(x) + x), F = conv 3x3, BN, ReLU, conv 3x3, BN.

    Where the shape changes, the skip is a 1x1 convolution with BN. Without a skip, y = ReLU(F(x)). `norm=False` leaves
    the BNs out, for experiments only.

    Shape: (N, C_in, H, W) -> (N, C_out, ceil(H / stride), ceil(W / stride)).
    Source: He et al. 2015, Deep Residual Learning, eq. 1 and 2, shortcut option B.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, stride: int = 1, skip: bool = True, norm: bool = True
    ) -> None:
        super().__init__()
        self.conv1 = conv_bn(in_channels, out_channels, stride=stride, norm=norm)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv2 = conv_bn(out_channels, out_channels, norm=norm)
        self.shortcut: nn.Module | None = None
        if skip:
            same_shape = stride == 1 and in_channels == out_channels
            self.shortcut = (
                nn.Identity() if same_shape else conv_bn(in_channels, out_channels, kernel=1, stride=stride, norm=norm)
            )
        self.relu2 = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Shape: see the class."""
        residual = self.conv2(self.relu1(self.conv1(x)))
        if self.shortcut is not None:
            residual = residual + self.shortcut(x)
        y: Tensor = self.relu2(residual)
        return y
