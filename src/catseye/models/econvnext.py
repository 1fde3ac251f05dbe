"""E-ConvNeXt-Tiny.

Paper: Wang, Li, Chao, Zhuo, Ji, Peng, Sun 2025, "E-ConvNeXt: A Lightweight and Efficient ConvNeXt Variant
with Cross-Stage Partial Connections", arXiv 2508.20955, section 3; authors' table: 80.6 % on ImageNet, 2.0
GFLOPs at 224, 13.2 M parameters. Built here: 13,248,520 parameters, 2.025 G multiply-adds.

Kept: cross-stage-partial stages, whose blocks get half of the channels while the other half bypasses them; a
transition to (in + out) / 2 channels before each; a stepped stem of 2x2 and 3x3 convolutions; batch normalisation in
place of layer normalisation; channel attention in place of layer scale.
Sources read: the paper's abstract, and its tables as the authors' repository repeats them
(github.com/violetweir/E-ConvNeXt). Details that these do not state follow the configuration released there: depths
3-3-9-3, widths 64-128-256-512-1024, stem 2x2/2, 3x3, 3x3 with 32-32-64 channels; the transition is the 2x2/2
convolution that also halves the image, and the 1x1 convolutions after it make the two halves.
Deviations: the norm before the classifier comes before the average, not after it. At inference both orders are the
same affine map; in training this order also works with a batch of one. Stochastic depth is left out: the released
configuration sets it to 0.
"""

import torch
from torch import Tensor, nn

from catseye.models.registry import network
from catseye.models.stems import choose_stem, describe_stem, refuse_collapse


def _conv_bn_gelu(in_channels: int, out_channels: int, kernel: int, *, stride: int = 1) -> nn.Sequential:
    """Convolution, norm, GELU. Even kernels get no padding: they tile the image."""
    padding = kernel // 2 if kernel % 2 else 0
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, stride=stride, padding=padding),
        nn.BatchNorm2d(out_channels),
        nn.GELU(),
    )


class ChannelAttention(nn.Module):
    """x · hardsigmoid(W mean(x)): one dense layer that keeps the width.

    Shape: (N, C, H, W) -> the same.
    Source: Lee and Park 2020, CenterMask, arXiv 1911.06667, section 3.3 (effective squeeze-and-excitation).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Conv2d(channels, channels, 1)
        self.gate = nn.Hardsigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """Shape: see the class."""
        y: Tensor = x * self.gate(self.fc(self.pool(x)))
        return y


class EConvNeXtBlock(nn.Module):
    """x + attention(BN(1x1(GELU(1x1(BN(7x7 depthwise(x))))))), wide inside.

    Between the 1x1 convolutions there are four times as many channels.

    Shape: (N, C, H, W) -> the same.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(channels, channels, 7, padding=3, groups=channels),
            nn.BatchNorm2d(channels),
            nn.Conv2d(channels, 4 * channels, 1),
            nn.GELU(),
            nn.Conv2d(4 * channels, channels, 1),
            nn.BatchNorm2d(channels),
            ChannelAttention(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Shape: see the class."""
        y: Tensor = x + self.residual(x)
        return y


class CrossStagePartialStage(nn.Module):
    """Transition, two paths of which one has the blocks, attention, 1x1 convolution.

    The transition leads to M = (in + out) / 2 channels; M / 2 go through the blocks, M / 2 past them.

    Shape: (N, C_in, H, W) -> (N, C_out, H / stride, W / stride).
    Source: Wang et al. 2019, CSPNet, arXiv 1911.11929, section 3, for the two paths.
    """

    def __init__(self, in_channels: int, out_channels: int, *, depth: int, stride: int = 2) -> None:
        super().__init__()
        middle = (in_channels + out_channels) // 2
        kernel = 2 if stride == 2 else 3
        self.transition = _conv_bn_gelu(in_channels, middle, kernel, stride=stride)
        self.past = _conv_bn_gelu(middle, middle // 2, 1)
        self.through = nn.Sequential(
            _conv_bn_gelu(middle, middle // 2, 1), *(EConvNeXtBlock(middle // 2) for _ in range(depth))
        )
        self.attention = ChannelAttention(middle)
        self.merge = _conv_bn_gelu(middle, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Shape: see the class."""
        x = self.transition(x)
        both = torch.cat((self.past(x), self.through(x)), dim=1)
        y: Tensor = self.merge(self.attention(both))
        return y


class EConvNeXt(nn.Module):
    """Stepped stem, four stages, norm (`features`); average, dense layer (`head`).

    Shape: (N, C, H, W) -> features (N, 1024, H / 32, W / 32), H / 8 with the small stem -> (N, K).
    """

    def __init__(self, num_classes: int = 1000, in_channels: int = 3, *, small: bool = False) -> None:
        super().__init__()
        first, *widths = (64, 128, 256, 512, 1024)
        stem = nn.Sequential(
            _conv_bn_gelu(in_channels, first // 2, 3) if small else _conv_bn_gelu(in_channels, first // 2, 2, stride=2),
            _conv_bn_gelu(first // 2, first // 2, 3),
            _conv_bn_gelu(first // 2, first, 3),
        )
        stages = []
        before = first
        for width, depth, stride in zip(widths, (3, 3, 9, 3), (1 if small else 2, 2, 2, 2), strict=True):
            stages.append(CrossStagePartialStage(before, width, depth=depth, stride=stride))
            before = width
        self.features = nn.Sequential(stem, *stages, nn.BatchNorm2d(before))
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, num_classes))
        self.notes: tuple[str, ...] = ()
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Shape: (N, C, H, W) -> (N, K) logits."""
        logits: Tensor = self.head(self.features(x))
        return logits


@network(
    "econvnext_tiny",
    year=2025,
    innovation="ConvNeXt with cross-stage-partial stages and channel attention: half the cost",
    source="Wang et al. 2025, arXiv 2508.20955",
    family="econvnext",
    photos=True,
)
def econvnext_tiny(*, num_classes: int, in_channels: int, input_px: int, stem: str = "auto") -> EConvNeXt:
    """E-ConvNeXt-Tiny.

    `stem="small"` begins with 3x3/1 convolutions and halves the image three times instead of five.
    """
    variant = choose_stem(stem, input_px)
    refuse_collapse("econvnext_tiny", variant, input_px, 8 if variant == "small" else 32)
    model = EConvNeXt(num_classes, in_channels, small=variant == "small")
    model.notes = (describe_stem(variant, "3x3 stride 1 instead of 2x2 stride 2 in the stem and in the first stage"),)
    return model
