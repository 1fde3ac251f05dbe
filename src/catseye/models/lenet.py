"""LeNet-5.

Paper: LeCun, Bottou, Bengio, Haffner 1998, "Gradient-Based Learning Applied to Document Recognition",
Proceedings of the IEEE 86(11), section II.B and figure 2.

Kept: 32 x 32 input, 5 x 5 convolutions with 6, 16 and 120 maps, 2 x 2 average subsampling, F6 with 84
units, the scaled tanh 1.7159 tanh(2x/3) of appendix A.
Deviations: C3 reads all six maps (the paper's table I leaves connections out to save time: 1,516 instead of 2,416
parameters), S2 and S4 have no trainable coefficients, and the output is linear, for a softmax, instead of radial basis
functions on fixed codes. This is the form with the often-quoted 61,706 parameters.
"""

import torch
from torch import Tensor, nn

from catseye.errors import UsageError
from catseye.models.registry import network


class ScaledTanh(nn.Module):
    """1.7159 tanh(2x/3), which has f(1) = 1 and f(-1) = -1 (appendix A)."""

    GAIN, SLOPE = 1.7159, 2 / 3

    def forward(self, x: Tensor) -> Tensor:
        """Shape: any -> the same."""
        return self.GAIN * torch.tanh(x * self.SLOPE)


class LeNet5(nn.Module):
    """Convolutions and subsampling (`features`); C5, F6, output layer (`head`).

    Shape: (N, 1, 32, 32) -> features (N, 16, 5, 5) -> (N, K).
    Variants: three input channels add 300 parameters to C1. A larger input leaves more than one position after C5;
    these are averaged, so the number of parameters does not depend on the input size.
    """

    def __init__(self, num_classes: int = 10, in_channels: int = 1) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, 6, kernel_size=5),  # C1 (N, 6, 28, 28)
            ScaledTanh(),
            nn.AvgPool2d(2),  # S2 (N, 6, 14, 14)
            nn.Conv2d(6, 16, kernel_size=5),  # C3 (N, 16, 10, 10)
            ScaledTanh(),
            nn.AvgPool2d(2),  # S4 (N, 16, 5, 5)
        )
        self.head = nn.Sequential(
            nn.Conv2d(16, 120, kernel_size=5),  # C5 (N, 120, 1, 1)
            ScaledTanh(),
            nn.AdaptiveAvgPool2d(1),  # nothing to average at 32 x 32
            nn.Flatten(),
            nn.Linear(120, 84),  # F6
            ScaledTanh(),
            nn.Linear(84, num_classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Shape: (N, C, H, W) -> (N, K) logits."""
        logits: Tensor = self.head(self.features(x))
        return logits


@network(
    "lenet5",
    year=1998,
    innovation="first practical CNN: convolution, subsampling, learned end to end",
    source="LeCun et al. 1998",
)
def lenet5(*, num_classes: int, in_channels: int, input_px: int) -> LeNet5:
    """LeNet-5 for inputs of 32 px and more."""
    if input_px < 32:
        raise UsageError(f"lenet5 needs an input of 32 px or more; got data.input_px = {input_px}")
    return LeNet5(num_classes, in_channels)
