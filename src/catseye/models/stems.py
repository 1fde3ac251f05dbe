"""Small-image mode: stems with fewer strides, for images of 32 px.

Made for 224 px, most networks of the timeline halve the image five times: 32 px become 1 x 1, or nothing. For inputs of
64 px and less the halvings in the stem are left out; widths, depths and heads stay.

    family            changed for small images                                          map at 32 px
    lenet5            nothing: it was made for 32 px                                      5 x 5
    alexnet           11x11/4 -> 3x3/1; its three 3x3/2 poolings are padded               4 x 4
    vgg               convolutions are 3x3/1 already; the last two poolings are left out  4 x 4
    googlenet         7x7/2 -> 3x3/1, first pooling left out                              4 x 4
    inception_v3      stem unstrided and padded, first pooling left out, second padded    3 x 3
    resnet            7x7/2 -> 3x3/1, first pooling left out                              4 x 4
    efficientnet(_v2) the first two of five strides of 2 become 1                         4 x 4
    mobilenet_v3      the first two of five strides of 2 become 1                         4 x 4
    convnext          4x4/4 -> 3x3/1                                                      4 x 4
    econvnext         2x2/2 -> 3x3/1 in the stem and in the first stage                   4 x 4

VGG loses its last poolings rather than its first: without the first two it would cost 16 times as much.
Inception v3 keeps unpadded reductions of 3x3/2 inside its blocks, so 16 px become 7 and then 3.

Source: He et al. 2015, arXiv 1512.03385, section 4.2, uses a 3x3/1 convolution and no pooling for CIFAR-10; the other
rows apply the same idea and are ours.
Enters: a torchvision network. Leaves: the same network, changed in place. Called by zoo.py and econvnext.py.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from catseye.errors import UnknownName, UsageError

SMALL_PX = 64
Stem = Literal["small", "standard"]


@dataclass(frozen=True)
class SmallStem:
    """The change to one family, as text and function, and its smallest input."""

    change: str
    apply: Callable[[Any], None]
    min_px: int


def choose_stem(stem: str, input_px: int) -> Stem:
    """`auto` is `small` up to 64 px and `standard` above.

    Raises:
        UnknownName: `stem` is none of auto, small, standard.

    >>> choose_stem("auto", 32), choose_stem("auto", 224), choose_stem("standard", 32)
    ('small', 'standard', 'standard')

    """
    if stem == "small" or (stem == "auto" and input_px <= SMALL_PX):
        return "small"
    if stem in ("auto", "standard"):
        return "standard"
    raise UnknownName("model.stem", stem, ("auto", "small", "standard"))


def describe_stem(stem: Stem, change: str) -> str:
    """The line about the stem in `catseye summary`."""
    if stem == "standard":
        return "standard stem, as in the paper"
    return f"small-image stem: {change}; model.stem=standard keeps the paper's"


def refuse_collapse(name: str, stem: Stem, input_px: int, min_px: int) -> None:
    """Refuse an input that the network would shrink to nothing.

    Raises:
        UsageError: fewer pixels than the network needs.

    """
    if input_px < min_px:
        advice = "; model.stem=small takes smaller inputs" if stem == "standard" else ""
        raise UsageError(
            f"{name} with its {stem} stem needs an input of {min_px} px or more; got data.input_px = {input_px}{advice}"
        )


def fresh_conv(
    old: nn.Conv2d, *, in_channels: int | None = None, kernel: int = 3, stride: int = 1, padding: int = 1
) -> nn.Conv2d:
    """A new first convolution with the old one's number of outputs.

    Weights are drawn as in He et al. 2015, arXiv 1502.01852, section 2.2 (backward case), because each of these
    convolutions is followed by a norm or a ReLU.
    """
    new = nn.Conv2d(
        old.in_channels if in_channels is None else in_channels,
        old.out_channels,
        kernel,
        stride=stride,
        padding=padding,
        bias=old.bias is not None,
    )
    nn.init.kaiming_normal_(new.weight, mode="fan_out", nonlinearity="relu")
    if new.bias is not None:
        nn.init.zeros_(new.bias)
    return new


def grey_input(net: nn.Module) -> None:
    """Let the first convolution read one channel: its kernels are summed over RGB.

    A grey image then gives the same result as it would as three equal channels.
    """
    for parent in net.modules():
        for name, layer in parent.named_children():
            if isinstance(layer, nn.Conv2d):
                with torch.no_grad():
                    layer.weight = nn.Parameter(layer.weight.sum(1, keepdim=True))
                layer.in_channels = 1
                setattr(parent, name, layer)
                return


def _alexnet(net: Any) -> None:
    net.features[0] = fresh_conv(net.features[0])
    for layer in net.features:
        if isinstance(layer, nn.MaxPool2d):
            layer.padding = 1


def _vgg(net: Any) -> None:
    pools = [index for index, layer in enumerate(net.features) if isinstance(layer, nn.MaxPool2d)]
    for index in pools[-2:]:
        net.features[index] = nn.Identity()


def _googlenet(net: Any) -> None:
    net.conv1.conv = fresh_conv(net.conv1.conv)
    net.maxpool1 = nn.Identity()


def _inception_v3(net: Any) -> None:
    net.Conv2d_1a_3x3.conv.stride = (1, 1)
    for block in (net.Conv2d_1a_3x3, net.Conv2d_2a_3x3, net.Conv2d_4a_3x3):
        block.conv.padding = (1, 1)
    net.maxpool1 = nn.Identity()
    net.maxpool2.padding = 1


def _resnet(net: Any) -> None:
    net.conv1 = fresh_conv(net.conv1)
    net.maxpool = nn.Identity()


def _two_strides(net: nn.Module) -> None:
    strided = [layer for layer in net.modules() if isinstance(layer, nn.Conv2d) and layer.stride == (2, 2)]
    for layer in strided[:2]:  # the kernels stay, so published weights still fit
        layer.stride = (1, 1)


def _convnext(net: Any) -> None:
    net.features[0][0] = fresh_conv(net.features[0][0])


_FEWER_STRIDES = SmallStem("the first two of five strides of 2 are 1", _two_strides, 1)

SMALL: dict[str, SmallStem] = {
    "alexnet": SmallStem("3x3 stride 1 instead of 11x11 stride 4, poolings padded", _alexnet, 1),
    "vgg": SmallStem("the last two poolings are left out", _vgg, 8),
    "googlenet": SmallStem("3x3 stride 1 instead of 7x7 stride 2, no first pooling", _googlenet, 4),
    "inception_v3": SmallStem("no stride, no first pooling, padded convolutions", _inception_v3, 13),
    "resnet": SmallStem("3x3 stride 1 instead of 7x7 stride 2, no pooling", _resnet, 1),
    "efficientnet": _FEWER_STRIDES,
    "efficientnet_v2": _FEWER_STRIDES,
    "mobilenet_v3": _FEWER_STRIDES,
    "convnext": SmallStem("3x3 stride 1 instead of 4x4 stride 4", _convnext, 8),
}
