"""SpeedNet, of the recipe `speed`: good CIFAR-10 accuracy at little cost.

Based on Jordan 2024, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU",
arXiv 2404.00498 (whitening first layer, identity-initialised convolutions, pooling before the norm, norms without
scale, output divided by 9), which builds on Page 2019, "How to train your ResNet", and hlb-CIFAR10 (2023).
Deviations: `EPSILON` damps the kernels of the first layer that would only amplify noise, the norms' momentum suits
batches of some hundred images, and any input of 16 px or more works, because the last pooling is global.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from catseye.errors import UsageError
from catseye.models.registry import network

WIDTHS = (64, 256, 256)
EPSILON = 5e-4
LOGIT_SCALE = 1 / 9


class Whitening(nn.Conv2d):
    """2 x 2 convolution whose outputs are uncorrelated, with variance 1.

    Each output has both signs; only the bias learns.

    Shape: (N, C, H, W) -> (N, 8·C, H - 1, W - 1).
    """

    def __init__(self, in_channels: int) -> None:
        super().__init__(in_channels, 8 * in_channels, 2)
        self.weight.requires_grad_(False)
        nn.init.zeros_(self.bias)  # type: ignore[arg-type]

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """Set the kernels to the whitening vectors of all 2 x 2 patches.

        They are the eigenvectors of the patches' covariance, divided by the square root of the eigenvalues.

        Shape: (N, C, H, W) normalised training images.
        """
        patches = x.unfold(2, 2, 1).unfold(3, 2, 1).permute(0, 2, 3, 1, 4, 5).reshape(-1, 4 * x.shape[1])
        patches = patches.to("cpu", torch.float64)
        values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
        # An eigenvector's sign is arbitrary; with both signs among the kernels it does not matter.
        kernels = (vectors / (values + EPSILON).sqrt()).T.reshape(-1, *self.weight.shape[1:])
        self.weight.copy_(torch.cat([kernels, -kernels]))


class Block(nn.Module):
    """Convolution, 2 x 2 max pooling, norm, GELU; convolution, norm, GELU.

    Shape: (N, I, H, W) -> (N, O, H // 2, W // 2).
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = _identity_conv(in_channels, out_channels), _norm(out_channels)
        self.conv2, self.norm2 = _identity_conv(out_channels, out_channels), _norm(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Shape: see the class."""
        return F.gelu(self.norm2(self.conv2(self.shrink(x))))

    def shrink(self, x: Tensor) -> Tensor:
        """The first half, pooled before the norm, which then costs a quarter."""
        return F.gelu(self.norm1(F.max_pool2d(self.conv1(x), 2)))


class DeepBlock(Block):
    """A block with a third convolution, and a skip around the last two.

    Source: Jordan 2024, the network for 96%.

    Shape: (N, I, H, W) -> (N, O, H // 2, W // 2).
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels)
        self.conv3, self.norm3 = _identity_conv(out_channels, out_channels), _norm(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Shape: see the class."""
        x = self.shrink(x)
        return F.gelu(x + self.norm3(self.conv3(F.gelu(self.norm2(self.conv2(x))))))


class Scale(nn.Module):
    """Multiply by a constant."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        """Shape: any -> the same."""
        return x * self.factor


class SpeedNet(nn.Module):
    """Whitening, three blocks, global max pooling, linear layer without bias.

    Shape: (N, C, H, W) -> features (N, widths[2], (H - 1) // 8, (W - 1) // 8) -> (N, K).
    """

    def __init__(
        self, num_classes: int = 10, in_channels: int = 3, *, widths: tuple[int, int, int] = WIDTHS, depth: int = 2
    ) -> None:
        super().__init__()
        block = {2: Block, 3: DeepBlock}[depth]
        self.features = nn.Sequential(
            Whitening(in_channels),
            nn.GELU(),
            block(8 * in_channels, widths[0]),
            block(widths[0], widths[1]),
            block(widths[1], widths[2]),
        )
        self.head = nn.Sequential(
            nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(widths[2], num_classes, bias=False), Scale(LOGIT_SCALE)
        )

    def initialise(self, x: Tensor) -> None:
        """Fit the whitening layer to the training images, once before training.

        Shape: (N, C, H, W) normalised.
        """
        first = self.features[0]
        assert isinstance(first, Whitening)
        first.initialise(x)

    def forward(self, x: Tensor) -> Tensor:
        """Shape: (N, C, H, W) -> (N, K) logits."""
        logits: Tensor = self.head(self.features(x))
        return logits


def _identity_conv(in_channels: int, out_channels: int) -> nn.Conv2d:
    """A convolution whose first `in_channels` outputs start as copies of the inputs."""
    conv = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
    with torch.no_grad():
        nn.init.dirac_(conv.weight[:in_channels])
    return conv


def _norm(channels: int) -> nn.BatchNorm2d:
    """A norm of which only the shift learns.

    Its momentum forgets within about ten steps, because the weights change fast.
    """
    norm = nn.BatchNorm2d(channels, momentum=0.2)
    norm.weight.requires_grad_(False)
    return norm


@network(
    "speednet",
    year=2024,
    innovation="whitened input, identity start and few large layers: most accuracy per FLOP on 32-px images",
    source="after Jordan 2024, arXiv 2404.00498",
)
def speednet(*, num_classes: int, in_channels: int, input_px: int, width: float = 1.0, depth: int = 2) -> SpeedNet:
    """SpeedNet for inputs of 16 px and more.

    `width` multiplies the channels of every block. `depth` is the number of convolutions per block: 2, or 3 with a
    skip around the last two.
    """
    if depth not in (2, 3):
        raise UsageError(f"speednet has 2 or 3 convolutions per block; got model.depth = {depth}")
    if input_px < 16:
        raise UsageError(f"speednet needs an input of 16 px or more; got data.input_px = {input_px}")
    first, second, third = (max(8, round(channels * width / 8) * 8) for channels in WIDTHS)
    return SpeedNet(num_classes, in_channels, widths=(first, second, third), depth=depth)
