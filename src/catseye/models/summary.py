"""The dimension flow of a network: layer, output shape, parameters, multiply-adds, receptive field.

Enters: a network and an input shape. Leaves: one `LayerRow` per layer, from a real forward pass; each
convolution's and pooling's shape is checked against the output-size formula. Called by cli and lab.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from catseye.counting import shortened

if TYPE_CHECKING:
    from rich.table import Table

_WINDOWS = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)


@dataclass(frozen=True)
class LayerRow:
    """One layer. `receptive_px` is the side of the input region that one output value sees, on the longest path.

    `step_px` lies between the regions of two neighbours, and the first value's region begins at `start_px`, below 0
    where it hangs over the edge. `span_px` is `receptive_px` before it was cut at the image's side.
    """

    name: str
    kind: str
    output_shape: tuple[int, ...]
    num_parameters: int
    num_macs: int
    receptive_px: int
    step_px: int
    start_px: float
    span_px: int


@dataclass(frozen=True)
class ModelSummary:
    """All layers in the order in which data met them, their totals, and what the network says of itself."""

    rows: list[LayerRow]
    num_parameters: int
    num_macs: int
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON types."""
        return asdict(self)


EVERYTHING = 10**9


@dataclass(frozen=True)
class _Reach:
    """Receptive field of one value, the distance between two neighbours, where the first one's begins; in input pixels.

    `side` is that of the map the values lie in, 0 where they lie in none.
    """

    size: int = 1
    step: int = 1
    start: float = 0.0
    side: int = 0

    def through(self, kernel: int, stride: int, padding: int, dilation: int, side: int) -> "_Reach":
        """Behind a window. Growth (kernel - 1) · dilation · step, then step · stride.

        Source: Araujo, Norris, Sim 2019, Computing Receptive Fields of Convolutional Neural Networks, eq. 2 and 3.
        """
        size = self.size + (kernel - 1) * dilation * self.step
        return _Reach(size, self.step * stride, self.start - padding * self.step, side)

    def grown(self, size: int) -> "_Reach":
        """At least so large, about the same centres."""
        larger = max(size, self.size)
        return replace(self, size=larger, start=self.start - (larger - self.size) / 2)


def output_size(size: int, kernel: int, *, stride: int = 1, padding: int = 0, dilation: int = 1) -> int:
    """floor((size + 2 padding - dilation (kernel - 1) - 1) / stride) + 1.

    Source: Dumoulin and Visin 2016, arXiv 1603.07285, relationship 15.

    >>> [output_size(32, 3), output_size(32, 3, padding=1), output_size(32, 3, stride=2, padding=1)]
    [30, 32, 16]
    """
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def summarise(model: nn.Module, shape: Sequence[int]) -> ModelSummary:
    """Run one image of zeros through the network and write down what each layer did.

    Shape: `shape` is (C, H, W).

    Raises:
        AssertionError: a layer's shape contradicts the output-size formula (a fault in catseye).

    """
    rows: list[LayerRow] = []
    reach: dict[int, _Reach] = {}  # by id of the tensor, so that a skip's two paths meet in their sum
    kept: list[Tensor] = []  # a freed tensor's id could be given to another one

    def note(name: str, layer: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        # Some of timm's layers are given a list of maps, which they lay on top of one another.
        sources = list(inputs[0]) if isinstance(inputs[0], list | tuple) else [inputs[0]]
        source = sources[0]
        before = max((reach.get(id(one)) or _joined(reach, one) for one in sources), key=lambda one: one.size)
        # A layer of layers has been walked through already: what it gives sees no more than its last part did.
        if _has_parts(layer):
            after = reach.get(id(output)) or _joined(reach, output)
        else:
            after = _reach_after(layer, before, source, output)
        _check_formula(name, layer, source, output)
        reach[id(output)] = after
        kept.extend((*sources, output))
        rows.append(
            LayerRow(
                name=name,
                kind=type(layer).__name__,
                output_shape=tuple(output.shape[1:]),
                num_parameters=sum(p.numel() for p in layer.parameters(recurse=False)),
                num_macs=count_macs(layer, output),
                receptive_px=min(after.size, max(shape[1:])),
                step_px=after.step,
                start_px=after.start,
                span_px=after.size,
            )
        )

    # Layers, and layers of layers that own a parameter beside them: ConvNeXt's blocks own their layer scale.
    leaves = [
        (name, layer)
        for name, layer in model.named_modules()
        if not _has_parts(layer) or any(True for _ in layer.parameters(recurse=False))
    ]
    hooks = [
        layer.register_forward_hook(lambda layer, inputs, output, name=name: note(name, layer, inputs, output))
        for name, layer in leaves
    ]
    training = model.training
    try:
        device = next(model.parameters()).device
        with torch.no_grad():
            model.eval()(torch.zeros(1, *shape, device=device))
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    return ModelSummary(
        rows,
        sum(p.numel() for p in model.parameters()),
        sum(row.num_macs for row in rows),
        list(getattr(model, "notes", ())),
    )


def _has_parts(layer: nn.Module) -> bool:
    return next(layer.children(), None) is not None


def _joined(reach: dict[int, _Reach], met: Tensor) -> _Reach:
    """What a tensor sees that no layer made: a sum of paths, a product, or a pooling that is only a function.

    As much as the widest so far, at the places of the latest map of its own size; where it is smaller than any, it was
    pooled with a window of the factor between the two.
    """
    widest = max((one.size for one in reach.values()), default=1)
    side = met.shape[2] if met.dim() == 4 else 0
    same = [one for one in reach.values() if one.side == side]
    if same:
        return max(same, key=lambda one: one.size).grown(widest)
    larger = [one for one in reach.values() if one.side > side]
    if side and larger:
        source = min(larger, key=lambda one: (one.side, -one.size))
        factor = source.side // side
        return source.through(factor, factor, 0, 1, side).grown(widest)
    if reach:
        return max(reach.values(), key=lambda one: one.size)
    return _Reach(side=side)


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))


def _reach_after(layer: nn.Module, before: _Reach, source: Tensor, output: Tensor) -> _Reach:
    side = output.shape[2] if output.dim() == 4 else 0
    if isinstance(layer, _WINDOWS):
        kernel, stride = _pair(layer.kernel_size)[0], _pair(layer.stride)[0]
        padding = 0 if isinstance(layer.padding, str) else _pair(layer.padding)[0]
        dilation = 1 if isinstance(layer, nn.AvgPool2d) else _pair(layer.dilation)[0]
        if layer.padding == "same":
            padding = dilation * (kernel - 1) // 2
        return before.through(kernel, stride, padding, dilation, side)
    if isinstance(layer, nn.AdaptiveAvgPool2d | nn.Linear) and source.dim() == 4 and side < source.shape[2]:
        return before.through(source.shape[2], source.shape[2], 0, 1, side)
    if isinstance(layer, nn.Linear | nn.Flatten) and output.dim() < 4:
        return replace(before, size=EVERYTHING, side=0)  # sees everything; the caller cuts at the image's side
    return replace(before, side=side)


def _check_formula(name: str, layer: nn.Module, source: Tensor, output: Tensor) -> None:
    # A subclass may pad in its own way, as timm's do to match TensorFlow.
    if not isinstance(layer, _WINDOWS) or type(layer) not in _WINDOWS or isinstance(layer.padding, str):
        return
    kernel, stride, padding = _pair(layer.kernel_size), _pair(layer.stride), _pair(layer.padding)
    dilation = (1, 1) if isinstance(layer, nn.AvgPool2d) else _pair(layer.dilation)
    for axis in (0, 1):
        if getattr(layer, "ceil_mode", False):
            continue
        size = output_size(
            source.shape[2 + axis], kernel[axis], stride=stride[axis], padding=padding[axis], dilation=dilation[axis]
        )
        assert size == output.shape[2 + axis], f"{name}: formula {size}, forward pass {output.shape[2 + axis]}"


def count_macs(layer: nn.Module, output: Tensor) -> int:
    """Multiply-adds for one image; biases, norms and activations do not count, as in the papers."""
    if isinstance(layer, nn.Conv2d):
        per_value = layer.in_channels // layer.groups * math.prod(layer.kernel_size)
        return per_value * math.prod(output.shape[1:])
    if isinstance(layer, nn.Linear):
        return layer.in_features * math.prod(output.shape[1:])
    return 0


def summary_table(summary: ModelSummary, width: int = 80) -> "Table":
    """The dimension flow as a table for a terminal; names are shortened in the middle where they do not fit."""
    from rich.table import Table

    head = ("layer", "kind", "output shape", "parameters", "MACs", "sees")
    lines = [_summary_cells(row) for row in summary.rows]
    sizes = [max(len(line[place]) for line in (head, *lines)) for place in range(len(head))]
    left = width - sum(sizes[2:]) - 2 * len(head)
    kinds = min(sizes[1], max(left // 3, left - sizes[0], 8))
    names = max(left - kinds, 12)
    table = Table(*head, box=None)
    for column in table.columns[3:]:
        column.justify = "right"
    for name, kind, *rest in lines:
        table.add_row(shortened(name, names), shortened(kind, kinds), *rest)
    return table


def _summary_cells(row: LayerRow) -> tuple[str, ...]:
    shape = " x ".join(str(size) for size in row.output_shape)
    parameters = f"{row.num_parameters:,}" if row.num_parameters else "-"
    macs = f"{row.num_macs:,}" if row.num_macs else "-"
    return row.name, row.kind, shape, parameters, macs, f"{row.receptive_px} px"
