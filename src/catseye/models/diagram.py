"""A block of a network as a diagram of boxes and arrows, traced from the module.

Enters: a registered network's name. Leaves: `Diagram`. The module's own forward pass is traced (torch.fx), so a skip in
the diagram is a skip in the code. Networks are built on the meta device, without memory for weights. Called by lab.
"""

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn

from catseye.errors import UnknownName
from catseye.models import registry

# (class of block, index among the blocks of that class): the first that shows the paper's idea and keeps the shape.
BLOCKS: dict[str, tuple[str, int]] = {
    "residual": ("ResidualBlock", 1),
    "tower": ("ResidualBlock", 0),
    "googlenet": ("Inception", 0),
    "resnet50": ("Bottleneck", 1),
    "efficientnet_b0": ("MBConv", 2),
    "convnext_tiny": ("CNBlock", 0),
    "econvnext_tiny": ("EConvNeXtBlock", 0),
}
# For networks without blocks: how many of the first layers, counted through features and head.
FIRST_LAYERS = {"lenet5": 13, "alexnet": 13, "vgg16": 10}
_WHOLE = {"SqueezeExcitation", "ChannelAttention"}  # drawn as one box
_HIDDEN = {"Identity", "Permute", "StochasticDepth"}  # they do nothing, or nothing outside training
_WORDS = {
    "BatchNorm2d": "batch norm",
    "LayerNorm": "layer norm",
    "LayerNorm2d": "layer norm",
    "ScaledTanh": "tanh",
    "SiLU": "swish",
    "Flatten": "flatten",
    "AdaptiveAvgPool2d": "global average pooling",
    "SqueezeExcitation": "squeeze and excite",
    "ChannelAttention": "channel attention",
}


@dataclass(frozen=True)
class DiagramBox:
    """A box: its text, its row from the top, and its lane, 0 in the middle.

    `kind` selects the colour.
    """

    lines: tuple[str, ...]
    kind: str
    row: int
    lane: float


@dataclass(frozen=True)
class Arrow:
    """From box to box by their numbers; with `skip`, past other boxes."""

    start: int
    end: int
    skip: bool


@dataclass(frozen=True)
class Diagram:
    """Boxes in the order of computation, and arrows. `block` names what is drawn."""

    block: str
    boxes: tuple[DiagramBox, ...]
    arrows: tuple[Arrow, ...]


def block_diagram(name: str) -> Diagram:
    """The block that a network of the timeline is made of, or its first layers.

    Raises:
        UnknownName: no block of this network is known.

    """
    if name not in BLOCKS and name not in FIRST_LAYERS:
        raise UnknownName("diagram", name, [*BLOCKS, *FIRST_LAYERS])
    # As in their papers: grey digits of ten classes, or photos of a thousand.
    channels, side, classes = (1, 32, 10) if name == "lenet5" else (3, 224, 1000)
    with torch.device("meta"):
        model = registry.create(name, num_classes=classes, in_channels=channels, input_px=side)
    if name in BLOCKS:
        kind, index = BLOCKS[name]
        blocks = [module for module in model.modules() if type(module).__name__ == kind]
        return diagram(blocks[index], kind)
    layers = [*model.get_submodule("features").children(), *model.get_submodule("head").children()]
    return diagram(nn.Sequential(*layers[: FIRST_LAYERS[name]]), f"the first {FIRST_LAYERS[name]} layers")


def diagram(module: nn.Module, block: str = "block") -> Diagram:
    """Trace a module and lay out its layers as boxes.

    A norm or activation shares the box of the layer that it follows.

    >>> [box.lines for box in diagram(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU())).boxes]
    [('input',), ('3×3 convolution, 2', 'ReLU')]
    """
    graph = _Tracer().trace(module.eval())
    boxes: list[_Draft] = []
    place: dict[fx.Node, int] = {}  # node -> number of the box that has its result
    for node in graph.nodes:
        sources = [place[source] for source in node.all_input_nodes if source in place]
        drawn = _describe(node, module)
        if node.op in ("output", "get_attr"):
            continue
        if drawn is None:
            place[node] = sources[0]
            continue
        text, kind = drawn
        if _shares_box(node, kind, place, boxes):
            boxes[sources[0]].lines.append(text)
            place[node] = sources[0]
        else:
            place[node] = len(boxes)
            row = 1 + max((boxes[source].row for source in sources), default=-1)
            boxes.append(_Draft([text], kind, row, sources))
    _give_lanes(boxes)
    arrows = [
        Arrow(source, number, _passes_by(boxes, source, number))
        for number, box in enumerate(boxes)
        for source in box.sources
    ]
    return Diagram(
        block, tuple(DiagramBox(tuple(box.lines), box.kind, box.row, box.lane) for box in boxes), tuple(arrows)
    )


@dataclass
class _Draft:
    lines: list[str]
    kind: str
    row: int
    sources: list[int]
    lane: float = 0.0


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether it is drawn as one box: it has no parts, or its parts are not shown."""
        return next(m.children(), None) is None or type(m).__name__ in _WHOLE


def _describe(node: fx.Node, module: nn.Module) -> tuple[str, str] | None:
    """A node's text and kind; None if it is not drawn."""
    if node.op == "placeholder":
        return "input", "end"
    if node.op == "call_module":
        return _describe_layer(module.get_submodule(str(node.target)))
    target: Any = node.target
    if node.op == "call_function":
        unknown = (str(getattr(target, "__name__", target)), "other")
        return _FUNCTIONS.get(target, unknown)
    if node.op == "call_method" and target in ("add", "add_"):
        return _FUNCTIONS[operator.add]
    return None  # permute, contiguous: the same values in another order


def _describe_layer(layer: nn.Module) -> tuple[str, str] | None:
    kind = type(layer).__name__
    if kind in _HIDDEN:
        return None
    if isinstance(layer, nn.Conv2d):
        side = layer.kernel_size[0]
        depthwise = layer.groups == layer.in_channels > 1
        text = f"{side}×{side} {'depthwise' if depthwise else 'convolution'}, {layer.out_channels}"
        text += f", stride {layer.stride[0]}" if layer.stride[0] > 1 else ""
        return text, "depthwise" if depthwise else "convolution" if side > 1 else "pointwise"
    if isinstance(layer, nn.Linear):
        return f"linear, {layer.out_features}", "linear"
    if isinstance(layer, nn.MaxPool2d | nn.AvgPool2d):
        which = "max" if isinstance(layer, nn.MaxPool2d) else "average"
        return f"{which} pooling {layer.kernel_size}×{layer.kernel_size}", "pooling"
    if isinstance(layer, nn.Dropout):
        return f"dropout {layer.p:g}", "after"
    if kind in _WHOLE:
        return _WORDS[kind], "attention"
    if kind.startswith("Adaptive"):
        return _WORDS["AdaptiveAvgPool2d"], "pooling"
    return _WORDS.get(kind, kind), "after"


_FUNCTIONS: dict[Callable[..., Any], tuple[str, str]] = {
    operator.add: ("+", "sum"),
    operator.iadd: ("+", "sum"),
    torch.add: ("+", "sum"),
    operator.mul: ("× a learned scale", "after"),
    torch.mul: ("× a learned scale", "after"),
    torch.cat: ("concatenate", "sum"),
    nn.functional.relu: ("ReLU", "after"),
    nn.functional.gelu: ("GELU", "after"),
}


def _shares_box(node: fx.Node, kind: str, place: dict[fx.Node, int], boxes: list[_Draft]) -> bool:
    """Whether it is a norm or activation, and the only reader of what it follows."""
    before = [source for source in node.all_input_nodes if source in place]
    if kind != "after" or len(before) != 1 or len(before[0].users) != 1:
        return False
    return boxes[place[before[0]]].kind != "end"


def _give_lanes(boxes: list[_Draft]) -> None:
    """Put each box below the mean of its sources; spread out overlapping boxes."""
    for row in range(1, max((box.row for box in boxes), default=0) + 1):
        in_row = [box for box in boxes if box.row == row]
        for box in in_row:
            box.lane = sum(boxes[source].lane for source in box.sources) / len(box.sources)
        for lane in {box.lane for box in in_row}:
            overlapping = [box for box in in_row if box.lane == lane]
            for number, box in enumerate(overlapping):
                box.lane += number - (len(overlapping) - 1) / 2


def _passes_by(boxes: list[_Draft], start: int, end: int) -> bool:
    """Whether a straight arrow would run through another box."""
    first, last = boxes[start], boxes[end]
    return any(first.row < box.row < last.row and abs(box.lane - (first.lane + last.lane) / 2) < 0.5 for box in boxes)
