import operator

import pytest
import torch
from torch import nn

from catseye.errors import UnknownName
from catseye.models import registry
from catseye.models.blocks import ResidualBlock
from catseye.models.diagram import BLOCKS, FIRST_LAYERS, block_diagram, diagram
from catseye.models.milestones import MILESTONES


def lines(found):
    return [box.lines for box in found.boxes]


def test_a_skip_is_drawn_where_the_code_has_one():
    found = diagram(ResidualBlock(4, 4))
    assert lines(found) == [
        ("input",),
        ("3×3 convolution, 4", "batch norm", "ReLU"),
        ("3×3 convolution, 4", "batch norm"),
        ("+", "ReLU"),
    ]
    assert [(arrow.start, arrow.end, arrow.skip) for arrow in found.arrows] == [
        (0, 1, False), (1, 2, False), (2, 3, False), (0, 3, True),
    ]  # fmt: skip
    plain = diagram(ResidualBlock(4, 4, skip=False))
    assert not any(arrow.skip for arrow in plain.arrows)
    assert not any("+" in box.lines for box in plain.boxes)
    wider = diagram(ResidualBlock(4, 8, stride=2))
    assert ("1×1 convolution, 8, stride 2", "batch norm") in lines(wider)


def test_every_milestone_has_its_diagram():
    names = {one.name for one in MILESTONES}
    assert names <= set(BLOCKS) | set(FIRST_LAYERS)
    with pytest.raises(UnknownName, match="resnet5"):
        block_diagram("resnet5")


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("lenet5", [("5×5 convolution, 6", "tanh"), ("average pooling 2×2",)]),
        ("vgg16", [("3×3 convolution, 64", "ReLU"), ("3×3 convolution, 64", "ReLU"), ("max pooling 2×2",)]),
        ("googlenet", [("1×1 convolution, 64", "batch norm", "ReLU"), ("concatenate",)]),
        ("resnet50", [("3×3 convolution, 64", "batch norm", "ReLU"), ("+", "ReLU")]),
        ("efficientnet_b0", [("squeeze and excite",), ("+",)]),
        ("convnext_tiny", [("7×7 depthwise, 96", "layer norm"), ("linear, 384", "GELU"), ("+",)]),
        ("econvnext_tiny", [("channel attention",), ("+",)]),
    ],
)
def test_what_was_new_can_be_seen(name, wanted):
    found = lines(block_diagram(name))
    for one in wanted:
        assert one in found, found


@pytest.mark.parametrize("name", sorted(BLOCKS))
def test_a_block_with_a_sum_has_a_skip_and_every_convolution_is_drawn(name):
    found = block_diagram(name)
    kind, which = BLOCKS[name]
    with torch.device("meta"):
        model = registry.create(name, num_classes=10, input_px=224)
    module = [one for one in model.modules() if type(one).__name__ == kind][which]
    inside_attention = {
        layer
        for one in module.modules()
        if type(one).__name__ in ("SqueezeExcitation", "ChannelAttention")
        for layer in one.modules()
    }
    wanted = sum(isinstance(one, nn.Conv2d | nn.Linear) and one not in inside_attention for one in module.modules())
    drawn = sum(box.kind in ("convolution", "pointwise", "depthwise", "linear") for box in found.boxes)
    assert drawn == wanted
    sums = [number for number, box in enumerate(found.boxes) if box.lines[0] == "+"]
    assert all(any(arrow.skip and arrow.end == number for arrow in found.arrows) for number in sums)
    assert len({(box.row, box.lane) for box in found.boxes}) == len(found.boxes)  # no two in one place
    for arrow in found.arrows:
        assert found.boxes[arrow.start].row < found.boxes[arrow.end].row


def test_functions_nobody_has_words_for_are_called_by_their_name():
    class Odd(nn.Module):
        def forward(self, x):
            return operator.sub(x, 1)

    assert lines(diagram(Odd())) == [("input",), ("sub",)]
